//! Workflows as people export them, and what is wrong with some.

use serde_json::json;

use super::*;

/// What ComfyUI's default workflow exports.
fn default_workflow() -> Value {
    json!({
        "3": {"class_type": "KSampler", "_meta": {"title": "KSampler"}, "inputs": {
            "seed": 156680208700286u64, "steps": 20, "cfg": 8, "sampler_name": "euler",
            "scheduler": "normal", "denoise": 1, "model": ["4", 0], "positive": ["6", 0],
            "negative": ["7", 0], "latent_image": ["5", 0]}},
        "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
        "5": {"class_type": "EmptyLatentImage",
            "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "6": {"class_type": "CLIPTextEncode", "_meta": {"title": "Positive"},
            "inputs": {"text": "beautiful scenery", "clip": ["4", 1]}},
        "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "text, watermark", "clip": ["4", 1]}},
        "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["8", 0]}},
    })
}

fn marks(slots: &[(&str, &str)]) -> Marks {
    let pair = |(slot, place): &(&str, &str)| ((*slot).to_owned(), (*place).to_owned());
    Marks { slots: slots.iter().map(pair).collect(), output: None }
}

fn parsed(workflow: &Value) -> Template {
    Template::parse(&workflow.to_string(), &Marks::default()).unwrap()
}

fn faults(workflow: &Value, marks: &Marks) -> Vec<String> {
    match Template::parse(&workflow.to_string(), marks) {
        Err(TemplateError::Unfit(faults)) => faults,
        other => panic!("{other:?}"),
    }
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut workflow = default_workflow();
    change(&mut workflow);
    workflow
}

fn values() -> BTreeMap<Slot, Value> {
    BTreeMap::from([
        (Slot::Prompt, "a \"fox\" {{seed}}".into()),
        (Slot::NegativePrompt, "".into()),
        (Slot::Seed, 42.into()),
        (Slot::Width, 640.into()),
        (Slot::Height, 480.into()),
        (Slot::Steps, 8.into()),
        (Slot::BatchSize, 1.into()),
        (Slot::Strength, 0.5.into()),
    ])
}

#[test]
fn the_default_workflow_needs_no_declaration() {
    let template = parsed(&default_workflow());
    let expected = changed(|it| {
        it["3"]["inputs"]["seed"] = 42.into();
        it["3"]["inputs"]["steps"] = 8.into();
        it["5"]["inputs"] = json!({"width": 640, "height": 480, "batch_size": 1});
        // What a user writes is never a placeholder.
        it["6"]["inputs"]["text"] = "a \"fox\" {{seed}}".into();
        it["7"]["inputs"]["text"] = "".into();
        it["9"]["inputs"]["filename_prefix"] = "ComfyUI-id".into();
    });
    assert_eq!(template.fill(&values(), "id"), expected);
    assert_eq!(template.output(), "9");
    assert!(!template.has(Slot::Strength), "nothing to keep of: there is no picture to start from");
    let place = Place { node: "6".into(), input: "text".into(), guessed: true };
    assert_eq!(template.places(Slot::Prompt), [place]);
}

#[test]
fn a_placeholder_wins_over_a_guess_and_may_stand_inside_a_text_and_twice() {
    let template = parsed(&changed(|it| {
        it["6"]["inputs"]["text"] = "photo of {{ prompt }}, {{width}}px".into();
        it["7"]["inputs"]["text"] = "{{prompt}}".into();
        it["3"]["inputs"]["seed"] = "{{seed}}".into();
    }));
    let filled = template.fill(&values(), "id");
    assert_eq!(filled["6"]["inputs"]["text"], "photo of a \"fox\" {{seed}}, 640px");
    assert_eq!(filled["7"]["inputs"]["text"], "a \"fox\" {{seed}}");
    assert_eq!(filled["3"]["inputs"]["seed"], 42, "a number, not a text");
    assert!(!template.has(Slot::NegativePrompt));
    assert!(template.places(Slot::Prompt).iter().all(|place| !place.guessed));
}

#[test]
fn the_side_table_reaches_what_the_editor_can_not() {
    let workflow = changed(|it| {
        it["5"] = json!({"class_type": "LoadImage", "inputs": {"image": "example.png"}});
        it["10"] = json!({"class_type": "LoadImageMask",
            "inputs": {"image": "example.png", "channel": "red"}});
    });
    let table =
        marks(&[("image", "5.image"), ("mask", "10.inputs.image"), ("prompt", "6.text, 7.text")]);
    let template = Template::parse(&workflow.to_string(), &table).unwrap();
    let mut values = values();
    values
        .extend([(Slot::Image, "framewire/a.png".into()), (Slot::Mask, "framewire/b.png".into())]);
    let filled = template.fill(&values, "id");
    assert_eq!(filled["5"]["inputs"]["image"], "framewire/a.png");
    assert_eq!(filled["10"]["inputs"]["image"], "framewire/b.png");
    assert_eq!(filled["7"]["inputs"]["text"], filled["6"]["inputs"]["text"]);
    assert_eq!(filled["3"]["inputs"]["denoise"], 0.5);
    assert!(!template.has(Slot::Width), "the size is the picture's");
}

#[test]
fn what_could_be_two_inputs_is_asked_and_not_chosen() {
    let workflow = changed(|it| {
        it["13"] = it["3"].clone();
        it["13"]["inputs"]["positive"] = json!(["7", 0]);
        it["14"] = it["9"].clone();
    });
    let faults = faults(&workflow, &Marks::default());
    assert_eq!(
        faults,
        [
            "prompt could be input text of node 6 (CLIPTextEncode \"Positive\") or \
             input text of node 7 (CLIPTextEncode): say which in slots",
            "seed could be input seed of node 13 (KSampler \"KSampler\") or \
             input seed of node 3 (KSampler \"KSampler\"): say which in slots",
            "node 14 (SaveImage) and node 9 (SaveImage) save pictures: \
             say which is the frame with output",
        ]
    );
    let mut marks = marks(&[("seed", "3.seed,13.seed"), ("prompt", "6.text")]);
    marks.output = Some("14".into());
    assert_eq!(Template::parse(&workflow.to_string(), &marks).unwrap().output(), "14");
}

#[test]
fn everything_that_does_not_fit_is_named_with_its_node() {
    let workflow = changed(|it| {
        it["6"]["inputs"]["text"] = "{{promt}}".into();
        it["5"] = json!({"class_type": "NoSize", "inputs": {"batch_size": 4}});
        it["3"]["inputs"]["seed"] = json!(["4", 0]);
        it["9"]["class_type"] = "SaveImageWebsocket".into();
    });
    let table =
        marks(&[("steps", "99.steps"), ("seed", "3.seed"), ("width", "4.width"), ("cfg", "3.cfg")]);
    let mut table = table;
    table.slots.insert("batch_size".into(), "3.cfg".into());
    let text = faults(&workflow, &table).join("\n");
    for words in [
        "slots.cfg: \"cfg\" is no slot; there are prompt, negative_prompt, seed,",
        "slots.seed: input seed of node 3 (KSampler \"KSampler\") is linked to another node",
        "slots.steps: there is no node \"99\"; write it like \"3.steps\"",
        "slots.width: node 4 (CheckpointLoaderSimple) has no input \"width\" with a value",
        "node 6 (CLIPTextEncode \"Positive\"): input text: \"promt\" is no slot",
        "it has no slot for height: write {{height}} as the value of an input",
        "node 5 (NoSize): its batch_size is fixed above 1",
        "node 9 (SaveImageWebsocket): its picture can't be fetched again",
    ] {
        assert!(text.contains(words), "{words:?} is missing in:\n{text}");
    }
}

#[test]
fn nodes_that_do_not_hold_together_are_refused_before_anything_else() {
    let workflow = json!({
        "1": {"inputs": {}},
        "2": {"class_type": "SaveImage"},
        "3": {"class_type": "ImageInvert", "inputs": {"image": ["99", 0]}},
    });
    assert_eq!(
        faults(&workflow, &Marks::default()),
        [
            "node 1: has no class_type",
            "node 2 (SaveImage): has no object of inputs",
            "node 3 (ImageInvert): its input image is linked to node 99, which is missing",
        ]
    );
    assert_eq!(faults(&json!({}), &Marks::default()), ["it has no nodes"]);
}

#[test]
fn a_file_of_another_format_is_told_what_it_is() {
    let parse = |text: &str| Template::parse(text, &Marks::default()).unwrap_err();
    let saved = r#"{"last_node_id": 9, "nodes": [], "links": [], "version": 0.4}"#;
    assert!(parse(saved).to_string().contains("Workflow > Export (API)"));
    for text in ["", "[]", "<html>", "{\"3\": "] {
        assert!(matches!(parse(text), TemplateError::Json(_)), "{text}");
    }
}

#[test]
fn a_mask_that_would_be_read_from_a_missing_channel_is_refused() {
    let workflow = changed(|it| {
        it["5"] = json!({"class_type": "LoadImage", "inputs": {"image": "{{image}}"}});
        it["10"] = json!({"class_type": "LoadImageMask",
            "inputs": {"image": "{{mask}}", "channel": "alpha"}});
    });
    let fault = "node 10 (LoadImageMask): the mask is white and black without alpha; \
                 make its channel red";
    assert_eq!(faults(&workflow, &Marks::default()), [fault]);
}
