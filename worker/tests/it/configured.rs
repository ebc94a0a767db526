//! Models and providers as the settings have them, against servers that play what a test says.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use framewire_shared::domain::guard::Phase;
use framewire_shared::domain::{Cell, ErrorCode, JobId, State};
use framewire_shared::service::settings::Settings;
use framewire_shared::store::codec::Claim;
use framewire_shared::store::queue::Submission;
use framewire_shared::testing::submission;
use framewire_worker::app;
use framewire_worker::routes::Routes;
use framewire_worker::runner::Settled;
use serde_json::json;
use uuid::Uuid;

use crate::scripted::{Play, Server};
use crate::world::{World, png};

const LONG: Duration = Duration::from_secs(60);
const INPUT: &str = r#"{"prompt":"a fox","width":64,"height":64,"seed":1}"#;

pub(crate) fn load(text: &str) -> Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("framewire.toml");
    std::fs::write(&file, text).unwrap();
    Settings::load(Some(&file), std::iter::empty()).unwrap()
}

async fn painter() -> Server {
    let picture = json!({ "b64_json": STANDARD.encode(png(64, 64).bytes) });
    Server::start(move |_| Play::json(200, json!({ "data": [picture] }))).await
}

/// Submits a job of a model, claims it and runs it as a worker would.
pub(crate) async fn run(world: &World, routes: &Routes, model: &str) -> (JobId, Settled) {
    let hour = Duration::from_secs(3_600);
    world.store.heartbeat(Cell::FIRST, &world.pool, &world.worker, 1, hour).await.unwrap();
    let id = JobId::new(Cell::FIRST, Uuid::now_v7());
    let new = submission(&id, &world.session, &world.pool, INPUT);
    world.store.submit(&Submission { model, ..new }).await.unwrap();
    let passes = routes.passes(std::slice::from_ref(&world.pool)).await.unwrap();
    let pass = passes.take(&world.pool).expect("a pass");
    let claim = world.store.claim(&id, &world.worker, pass.provider.name()).await.unwrap();
    let Claim::Claimed(claimed) = claim else { panic!("{claim:?}") };
    let settled = world.runner(LONG).run(id.clone(), claimed, pass).await;
    (id, settled)
}

#[tokio::test]
async fn each_model_of_a_pool_is_drawn_as_its_providers_call_it() {
    let (world, server) = (World::new(), painter().await);
    let settings = load(&format!(
        "[providers.one]\nadapter = \"openai\"\nurl = {:?}\nmodel = \"plain\"\n\
         [models.fox]\nprovider = \"one\"\n\
         [models.hen]\nroutes = [{{ provider = \"one\", model = \"fine\" }}]\n",
        server.url
    ));
    let routes = app::routes(&settings, &world.store, Arc::default()).unwrap();
    for model in ["fox", "hen"] {
        assert_eq!(run(&world, &routes, model).await.1, Settled::Completed);
    }
    let asked: Vec<_> =
        server.requests().iter().map(|request| request.json()["model"].clone()).collect();
    assert_eq!(asked, ["plain", "fine"]);
    let (_, settled) = run(&world, &routes, "new").await;
    assert_eq!(settled, Settled::Retrying, "another worker may know it");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_wrong_key_rests_its_provider_the_next_route_draws_and_nobody_reads_the_key() {
    let (world, spare) = (World::new(), painter().await);
    let echo = json!({ "error": { "message": "Incorrect API key provided: sk-secret" } });
    let main = Server::start(move |_| Play::json(401, echo.clone())).await;
    let settings = load(&format!(
        "[providers.main]\nadapter = \"openai\"\nurl = {:?}\napi_key = \"sk-secret\"\n\
         [providers.spare]\nadapter = \"openai\"\nurl = {:?}\n\
         [models.fox]\nroutes = [{{ provider = \"main\" }}, {{ provider = \"spare\" }}]\n",
        main.url, spare.url
    ));
    // The default model of both is one that draws other sizes; the world's jobs are small.
    let mut settings = settings;
    for route in &mut settings.models.0.get_mut("fox").unwrap().routes {
        route.model = Some("any".into());
    }
    let routes = app::routes(&settings, &world.store, Arc::default()).unwrap();
    let (id, settled) = run(&world, &routes, "fox").await;
    assert_eq!(settled, Settled::Failed);
    let job = world.job(&id).await;
    assert_eq!((job.state, job.error_code), (State::Failed, Some(ErrorCode::AuthError)));
    assert_eq!(main.requests()[0].header("authorization"), Some("Bearer sk-secret"));
    let guard = world.store.guard("main").await.unwrap().0;
    assert_eq!(guard.breaker.phase, Phase::Open);

    assert_eq!(run(&world, &routes, "fox").await.1, Settled::Completed, "by the next route");
    assert_eq!((main.requests().len(), spare.requests().len()), (1, 1));
    let zero = "0-00000000".parse().unwrap();
    let events = world.store.replay(&world.session, Some(&zero)).await.unwrap().events;
    let told = format!("{events:?} {job:?} {guard:?} {settings:?}");
    assert!(told.contains("failed") && !told.contains("sk-secret"), "{told}");
}
