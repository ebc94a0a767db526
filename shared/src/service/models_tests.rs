//! What may be configured, and what each refusal names.

use super::super::settings::{Settings, WhenClosed};
use super::*;

/// A workflow of which every slot but the mask's is found without a word.
const WORKFLOW: &str = r#"{
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "denoise": 1,
        "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512}},
    "6": {"class_type": "CLIPTextEncode", "_meta": {"title": "Positive"}, "inputs": {"text": "a"}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "b"}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "fw", "images": ["3", 0]}}
}"#;

fn load(text: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("framewire.toml");
    std::fs::write(&file, text).unwrap();
    let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Settings::load(Some(&file), variables).map_err(|error| error.to_string())
}

fn refused(text: &str, variables: &[(&str, &str)], words: &[&str]) {
    let error = load(text, variables).map(drop).unwrap_err();
    for word in words {
        assert!(error.contains(word), "{word} is missing in: {error}");
    }
    assert!(!error.contains("sk-secret"), "{error}");
}

#[test]
fn a_single_key_makes_a_provider_a_pool_and_a_model_beside_the_built_in_one() {
    let settings = load("", &[("FRAMEWIRE_OPENAI_API_KEY", "sk-secret")]).unwrap();
    assert_eq!(settings.models.0.keys().collect::<Vec<_>>(), ["builtin", "gpt-image-1.5"]);
    let (name, model) = settings.models.find(Some("gpt-image-1.5")).unwrap();
    assert_eq!((name, model.pool.as_str()), ("gpt-image-1.5", "openai"));
    assert_eq!(model.abilities.size_default(), Some((1024, 1024)));
    assert_eq!(settings.models.find(None).unwrap().0, "builtin", "it stays the default");
    let pools: Vec<_> = settings.worker.pools.iter().map(Pool::as_str).collect();
    assert_eq!(pools, ["default", "openai"]);
    assert!(settings.providers["openai"].guard(true).unwrap().budget.is_some(), "calls cost");
    assert!(settings.providers["builtin"].guard(true).is_none());
}

#[test]
fn every_adapter_can_be_set_up_by_its_section() {
    let folder = tempfile::tempdir().unwrap();
    let workflow = folder.path().join("workflow.json");
    std::fs::write(&workflow, WORKFLOW).unwrap();
    let settings = load(
        "[replicate]\nmodel = \"owner/name\"\ninput = { prompt = \"$prompt\" }\n",
        &[
            ("FRAMEWIRE_REPLICATE_API_TOKEN", "r8"),
            ("FRAMEWIRE_FAL_KEY", "key"),
            ("FRAMEWIRE_AUTOMATIC1111_URL", "http://127.0.0.1:7860"),
            ("FRAMEWIRE_COMFYUI_URL", "http://127.0.0.1:8188"),
            ("FRAMEWIRE_COMFYUI_WORKFLOW", workflow.to_str().unwrap()),
        ],
    )
    .unwrap();
    let names: Vec<_> = settings.models.0.keys().map(String::as_str).collect();
    assert_eq!(names, ["automatic1111", "builtin", "comfyui", "fal-ai/flux/dev", "owner/name"]);
    let abilities = |name: &str| settings.models.0[name].abilities.clone();
    assert!(abilities("comfyui").negative_prompt && !abilities("comfyui").image);
    assert!(!abilities("owner/name").seed && abilities("fal-ai/flux/dev").seed);
    assert_eq!(settings.providers["comfyui"].guard(true).unwrap().concurrency, 1);
}

/// Settings of a workflow's file, and what else its provider says.
fn with_workflow(workflow: &str, more: &str) -> Result<Settings, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("flow.json");
    std::fs::write(&file, workflow).unwrap();
    load(&format!("[comfyui]\nurl = \"http://x\"\nworkflow = {file:?}\n{more}"), &[])
}

#[test]
fn a_workflow_says_itself_what_its_model_can_do() {
    let abilities = |workflow: &str, more: &str| {
        let settings = with_workflow(workflow, more).unwrap();
        settings.models.0["comfyui"].abilities.clone()
    };
    let plain = abilities(WORKFLOW, "");
    assert!(plain.negative_prompt && plain.steps && !plain.image && !plain.image_needed);
    let mute = WORKFLOW.replace("[\"7\", 0]", "[\"6\", 0]").replace("\"b\"", "[\"6\", 0]");
    assert!(!abilities(&mute, "").negative_prompt, "nothing leads to a negative prompt");
    let loads = WORKFLOW.replace("EmptyLatentImage", "LoadImage");
    let loads = loads.replace("\"width\": 512, \"height\": 512", "\"image\": \"example.png\"");
    let repaint = abilities(&loads, "slots = { image = \"5.image\" }\n");
    assert!(repaint.image && repaint.image_needed && !repaint.mask);
    assert_eq!(repaint.sourceless_faults()[0].pointer, "#/input/image");

    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), loads).unwrap();
    let path = file.path();
    let text = format!(
        "[providers.a]\nadapter = \"comfyui\"\nurl = \"http://x\"\nworkflow = {path:?}\n\
         slots = {{ image = \"5.image\" }}\n[providers.b]\nadapter = \"replicate\"\n\
         api_key = \"r8\"\nmodel = \"a/b\"\ninput = {{ prompt = \"$prompt\" }}\n\
         [models.m]\nroutes = [{{ provider = \"a\" }}, {{ provider = \"b\" }}]\n"
    );
    refused(&text, &[], &["models.m", "picture"]);
}

#[test]
fn a_workflow_that_is_no_template_is_refused_by_its_node_before_anything_starts() {
    let refused = |workflow: &str, more: &str, words: &[&str]| {
        let error = with_workflow(workflow, more).map(drop).unwrap_err();
        for word in ["comfyui.workflow", "FRAMEWIRE_COMFYUI_WORKFLOW", "flow.json"] {
            assert!(error.contains(word), "{word} is missing in: {error}");
        }
        for word in words {
            assert!(error.contains(word), "{word} is missing in: {error}");
        }
    };
    let unsaved = WORKFLOW.replace("\"images\": [\"3\", 0]", "\"images\": [\"33\", 0]");
    refused(&unsaved, "", &["node 9 (SaveImage)", "node 33"]);
    refused(WORKFLOW, "slots = { steps = \"4.steps\" }\n", &["slots.steps", "\"4\""]);
    refused("{\"3\": ", "", &["EOF", "line 1"]);
    refused(r#"{"nodes": []}"#, "", &["Export (API)"]);
}

#[test]
fn a_model_can_do_what_all_of_its_routes_can() {
    let text = "[providers.main]\nadapter = \"openai\"\napi_key = \"a\"\n\
        [providers.spare]\nadapter = \"automatic1111\"\n\
        [models.fox]\npool = \"paid\"\n\
        routes = [{ provider = \"main\", model = \"dall-e-3\" }, { provider = \"spare\" }]\n";
    let settings = load(text, &[]).unwrap();
    let abilities = &settings.models.0["fox"].abilities;
    assert!(!abilities.negative_prompt && abilities.frames_max == 1);
    assert_eq!(settings.models.find(None).unwrap().0, "fox", "the only one");
}

#[test]
fn a_key_may_come_from_a_file_or_a_variable_of_its_provider_and_is_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "sk-secret-1\n").unwrap();
    let text = format!(
        "[providers.one]\nadapter = \"openai\"\napi_key_file = {file:?}\n\
         [providers.two]\nadapter = \"openai\"\nheaders = {{ api-key = \"sk-secret-3\" }}\n"
    );
    let key = [("FRAMEWIRE_PROVIDERS_TWO_API_KEY", "sk-secret-2")];
    let settings = load(&text, &key).unwrap();
    use secrecy::ExposeSecret;
    let key = |name: &str| settings.providers[name].api_key.clone().unwrap();
    assert_eq!(key("one").expose_secret(), "sk-secret-1");
    assert_eq!(key("two").expose_secret(), "sk-secret-2");
    let shown = format!("{settings:?}");
    assert!(shown.contains("providers") && !shown.contains("sk-secret"), "{shown}");
}

#[test]
fn each_refusal_names_the_key_and_the_variable() {
    let openai = "[providers.main]\nadapter = \"openai\"\napi_key = \"sk-secret\"\n";
    let empty = [("FRAMEWIRE_OPENAI_API_KEY", "")];
    refused("", &empty, &["openai.api_key", "FRAMEWIRE_OPENAI_API_KEY", "is empty"]);
    refused("[fal]\n", &[], &["fal.api_key", "FRAMEWIRE_FAL_API_KEY", "is missing"]);
    refused(
        "[providers.main]\nadapter = \"openai\"\n",
        &[],
        &["providers.main.api_key", "FRAMEWIRE_PROVIDERS_MAIN_API_KEY", "api_key_file"],
    );
    let url = [("FRAMEWIRE_COMFYUI_URL", "http://127.0.0.1:8188")];
    refused("", &url, &["comfyui.workflow", "FRAMEWIRE_COMFYUI_WORKFLOW"]);
    let gone = [url[0], ("FRAMEWIRE_COMFYUI_WORKFLOW", "/nowhere/flow.json")];
    refused("", &gone, &["FRAMEWIRE_COMFYUI_WORKFLOW", "/nowhere/flow.json"]);
    refused("[replicate]\napi_key = \"sk-secret\"\n", &[], &["replicate.input"]);
    refused("[providers.main]\nurl = \"http://x\"\n", &[], &["providers.main.adapter", "comfyui"]);
    refused(&format!("{openai}workflow = \"x\"\n"), &[], &["providers.main.workflow", "openai"]);
    refused(&format!("{openai}guard = {{ rate = 2.0 }}\n"), &[], &["providers.main.guard", "2"]);
    refused(&format!("{openai}gaurd = {{}}\n"), &[], &["gaurd"]);
    refused("[models.a]\nprovider = \"mian\"\n", &[], &["models.a", "mian", "builtin"]);
    refused("[models.a]\npool = \"p\"\n", &[], &["models.a.routes"]);
    refused(
        &format!("{openai}[models.a]\nprovider = \"main\"\n[models.b]\nprovider = \"builtin\"\n"),
        &[],
        &["models.a", "models.b", "pool default", "main", "builtin"],
    );
    let twice = "[models.a]\nprovider = \"builtin\"\ndefault = true\n\
        [models.b]\nprovider = \"builtin\"\ndefault = true\n";
    refused(twice, &[], &["models.a.default", "models.b.default"]);
    refused("", &[("FRAMEWIRE_WORKER_POOLS", "gpu")], &["worker.pools", "gpu"]);
}

#[test]
fn every_example_of_providers_in_the_readme_is_accepted() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let text = std::fs::read_to_string(readme).unwrap();
    let (_, section) = text.split_once("### Providers").unwrap();
    let (section, _) = section.split_once("### Redis").unwrap();
    let examples: Vec<&str> =
        section.split("```toml\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    for name in ["openai", "replicate", "fal", "azure"] {
        std::fs::write(folder.path().join(name), "a key").unwrap();
    }
    std::fs::write(folder.path().join("flow.json"), WORKFLOW).unwrap();
    let mut adapters = BTreeSet::new();
    for example in &examples {
        let text = example
            .replace("/run/secrets", path)
            .replace("flow.json", &format!("{path}/flow.json"));
        let key = [("FRAMEWIRE_PROVIDERS_MAIN_API_KEY", "a key")];
        let said = &key[..usize::from(text.contains("FRAMEWIRE_PROVIDERS_MAIN_API_KEY"))];
        let settings = load(&text, said).unwrap_or_else(|error| panic!("{error}\n{example}"));
        adapters.extend(settings.providers.values().map(|it| it.adapter().as_str()));
    }
    assert!(examples.len() >= 6, "{examples:?}");
    let all = Adapter::OUTSIDE.into_iter().chain([Adapter::Builtin]).map(Adapter::as_str);
    assert_eq!(adapters, all.collect());
}

#[test]
fn every_number_of_a_guard_and_what_a_closed_pool_does_can_be_said() {
    let text = "[providers.main]\nadapter = \"openai\"\napi_key = \"a\"\n\
        [providers.main.guard]\ntimeout_floor_ms = 1\ntimeout_ceiling_ms = 2\ntimeout_margin_ms = 3\n\
        window = 4\nrate = 0.1\nattempts_min = 3\ntimeouts_in_row = 7\nrest_ms = 8\n\
        rest_unpaid_ms = 9\nprobe_every_ms = 10\nsuccesses = 11\nweight_timeout = 0.2\n\
        weight_server = 0.3\nweight_unknown = 0.4\nweight_quota = 0.5\nweight_client = 0.6\n\
        budget_capacity = 12\nbudget_every_ms = 13\nconcurrency = 14\nthrottle_base_ms = 15\n\
        throttle_max_ms = 16\n[pools.openai]\nwhen_closed = \"refuse\"\n";
    let settings = load(text, &[("FRAMEWIRE_BREAKER_ENABLED", "false")]).unwrap();
    let guard = settings.providers["main"].guard(settings.breaker.enabled).unwrap();
    insta::assert_debug_snapshot!(guard);
    assert_eq!(settings.when_closed(&"openai".parse().unwrap()), WhenClosed::Refuse);
    assert_eq!(settings.when_closed(&"default".parse().unwrap()), WhenClosed::Wait);
    let unbounded = text.replace("budget_capacity = 12", "budget_capacity = 0");
    let settings = load(&unbounded, &[]).unwrap();
    assert_eq!(settings.providers["main"].guard(true).unwrap().budget, None);
}

#[test]
fn a_model_shares_only_where_that_is_said() {
    let text = "[models.fox]\nprovider = \"builtin\"\ncache = true\n\
                [models.hen]\nprovider = \"builtin\"\n";
    let models = load(text, &[]).unwrap().models.0;
    assert!(models["fox"].cache && !models["hen"].cache);
    refused("[models.fox]\nprovider = \"builtin\"\ncache = \"us\"\n", &[], &["cache"]);
}
