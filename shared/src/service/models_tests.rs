//! What may be configured, and what each refusal names.

use super::super::settings::{Settings, WhenClosed};
use super::*;

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
    std::fs::write(&workflow, r#"{"1": {"inputs": {"text": "{{ negative_prompt }}"}}}"#).unwrap();
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
