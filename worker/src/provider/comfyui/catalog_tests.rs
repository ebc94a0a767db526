//! Templates against what a server says of its nodes, in the shapes of a real one.

use framewire_shared::domain::workflow::Marks;
use serde_json::json;

use super::*;

fn catalog() -> Catalog {
    serde_json::from_value(json!({
        "Sampler": {"input": {"required": {
            "model": ["MODEL"],
            "seed": ["INT", {"default": 0, "min": 0, "max": 18446744073709551615u64}],
            "cfg": ["FLOAT", {"min": 0.0, "max": 100.0}],
            "sampler_name": [["euler", "heun"], {}],
            "scheduler": ["COMBO", {"options": ["normal", "simple"]}],
        }, "optional": {"tiled": ["BOOLEAN", {}]}}, "output": ["IMAGE", "MASK"], "output_node": false},
        "Loader": {"input": {"required": {"name": [["a.safetensors"], {}]}}, "output": ["MODEL"]},
        "Text": {"input": {"required": {"text": ["STRING", {"multiline": true}]}}, "output": ["*"]},
        "Size": {"input": {"required": {"width": ["INT", {"min": 16}], "height": ["INT", {"min": 16}]}}},
        "SaveImage": {"input": {"required": {"images": ["IMAGE,LATENT", {}], "filename_prefix": ["STRING", {}]},
            "hidden": {"prompt": "PROMPT"}}, "output": [], "output_node": true},
    }))
    .unwrap()
}

fn workflow() -> Value {
    json!({
        "1": {"class_type": "Loader", "inputs": {"name": "a.safetensors", "upload": "image"}},
        "2": {"class_type": "Sampler", "inputs": {"model": ["1", 0], "seed": "{{seed}}", "cfg": 7,
            "sampler_name": "euler", "scheduler": "simple", "tiled": true}},
        "3": {"class_type": "Text", "inputs": {"text": "{{prompt}}"}},
        "4": {"class_type": "Size", "inputs": {"width": "{{width}}", "height": "{{height}}"}},
        "5": {"class_type": "SaveImage", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
    })
}

fn faults(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut workflow = workflow();
    change(&mut workflow);
    catalog().check(&Template::parse(&workflow.to_string(), &Marks::default()).unwrap())
}

#[test]
fn a_workflow_that_the_server_would_take_has_no_faults() {
    assert_eq!(faults(|_| ()), [""; 0]);
    // A wildcard fits everything.
    assert_eq!(faults(|it| it["5"]["inputs"]["images"] = json!(["3", 0])), [""; 0]);
}

#[test]
fn each_thing_that_the_server_would_refuse_is_named_with_its_node() {
    let all = faults(|it| {
        it["1"]["inputs"]["name"] = "b.safetensors".into();
        it["2"]["inputs"] = json!({"model": ["3", 4], "seed": "{{seed}}", "cfg": 700,
            "sampler_name": "{{prompt}}", "scheduler": "karras", "tiled": "yes"});
        it["3"]["inputs"]["text"] = json!(["1", 0]);
        it["4"]["inputs"] = json!({"width": "{{width}}", "height": "{{height}}", "depth": 3});
        it["5"]["inputs"]["images"] = json!(["2", 1]);
        it["6"] = json!({"class_type": "Fancy", "inputs": {}});
        it["7"] = json!({"class_type": "Size", "inputs": {"width": 8}});
    });
    assert_eq!(
        all,
        [
            "node 1 (Loader): its input name is \"b.safetensors\"; the server has [\"a.safetensors\"]",
            "node 2 (Sampler): its input cfg is 700, bigger than its max of 100",
            "node 2 (Sampler): its input model is linked to output 4 of node 3 (Text), which has 1",
            "node 2 (Sampler): its input sampler_name takes COMBO, which the slot prompt is not",
            "node 2 (Sampler): its input scheduler is \"karras\"; the server has [\"normal\", \"simple\"]",
            "node 2 (Sampler): its input tiled takes true or false, not \"yes\"",
            "node 3 (Text): its input text takes STRING, and node 1 (Loader) gives MODEL",
            "node 5 (SaveImage): its input images takes IMAGE,LATENT, and node 2 (Sampler) gives MASK",
            "node 6 (Fancy): the server has no class Fancy; are its custom nodes installed?",
            "node 7 (Size): its input height is missing",
            "node 7 (Size): its input width is 8, smaller than its min of 16",
        ]
    );
}

#[test]
fn a_node_that_saves_nothing_is_no_output() {
    let marks = Marks { output: Some("2".into()), ..Marks::default() };
    let template = Template::parse(&workflow().to_string(), &marks).unwrap();
    let fault = "node 2 (Sampler): it saves nothing, so it can't be the output";
    assert_eq!(catalog().check(&template), [fault]);
}

#[test]
fn a_long_list_of_choices_is_cut() {
    let many: Vec<String> = (0..30).map(|n| format!("{n}.safetensors")).collect();
    let spec = json!([many]);
    let words = check_value(&Spec::read(&spec).unwrap(), &"x".into()).unwrap();
    assert!(words.ends_with("\"7.safetensors\"] and 22 more"), "{words}");
}
