//! Whether the process lives, and whether it can serve.
//!
//! `/healthz` asks nothing of anybody: a gateway whose Redis is down must not be restarted for it.
//! `/readyz` is for the load balancer: Redis answers, may be trusted, and no drain has begun.
//! `Readiness` also holds the one loop that watches Redis from start to end: it checks fitness and
//! writes the settings' caps whenever Redis is reached anew, because a Redis that was away may come
//! back as another one.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use framewire_shared::domain::Pool;
use framewire_shared::service::settings::Settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::Store;
use framewire_shared::store::operate::Unfit;
use serde_json::json;
use tokio::sync::watch;

use super::problem::{Code, Problem};
use super::{Context, NO_STORE};

/// How often Redis is asked while it does not answer.
const ASK_WHILE_DOWN: Duration = Duration::from_millis(250);
/// How often Redis is asked while all is well.
const ASK_WHILE_UP: Duration = Duration::from_secs(2);

/// What is known of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fitness {
    /// Not reached since the start or since the last failure.
    Unknown,
    /// Reached, and to be trusted with jobs.
    Fit,
    /// Reached, and not to be trusted, with the reason.
    Unfit(String),
}

/// Watches Redis for the process.
#[derive(Debug)]
pub struct Readiness {
    store: Store,
    session_cap: u32,
    pool_caps: BTreeMap<Pool, u32>,
    fitness: watch::Sender<Fitness>,
}

impl Readiness {
    /// Starts with nothing known.
    pub fn new(store: Store, settings: &Settings) -> Self {
        let fitness = watch::Sender::new(Fitness::Unknown);
        let session_cap = settings.queue.session_cap.get();
        Self { store, session_cap, pool_caps: settings.pool_caps(), fitness }
    }

    /// Tells what is known, and what comes to be known.
    pub fn subscribe(&self) -> watch::Receiver<Fitness> {
        self.fitness.subscribe()
    }

    /// Asks Redis once, thoroughly if it was not known to be fit.
    ///
    /// Errors: it can't be asked, or must not be used; either is also noted.
    pub async fn tick(&self) -> Result<(), Unfit> {
        let was_fit = *self.fitness.borrow() == Fitness::Fit;
        let answer = if was_fit {
            self.store.ping().await.map_err(Unfit::from)
        } else {
            self.introduce().await
        };
        let now = match &answer {
            Ok(()) => Fitness::Fit,
            Err(Unfit::Store(_)) => Fitness::Unknown,
            Err(unfit) => Fitness::Unfit(unfit.to_string()),
        };
        self.fitness.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        answer
    }

    async fn introduce(&self) -> Result<(), Unfit> {
        self.store.check_fitness().await?;
        Ok(self.store.set_default_caps(self.session_cap, &self.pool_caps).await?)
    }

    /// Asks Redis again and again until told to stop; says each change once.
    pub async fn run(&self, shutdown: Shutdown) {
        let mut said = self.fitness.borrow().clone();
        loop {
            let pause = if said == Fitness::Fit { ASK_WHILE_UP } else { ASK_WHILE_DOWN };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.stop.cancelled() => return,
            }
            let answer = self.tick().await;
            let now = self.fitness.borrow().clone();
            if now != said {
                say(&now, answer.err());
                said = now;
            }
        }
    }
}

fn say(now: &Fitness, error: Option<Unfit>) {
    match now {
        Fitness::Fit => tracing::info!("Redis answers; ready"),
        Fitness::Unknown => {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            tracing::warn!(error, "lost Redis; requests get 503 until it is back");
        }
        Fitness::Unfit(reason) => {
            tracing::error!(
                reason,
                "Redis is back but must not be used; not ready until it is mended"
            );
        }
    }
}

/// Says that the process lives.
#[utoipa::path(get, path = "/healthz", tag = "service", operation_id = "isAlive", security(()),
    responses((status = 200, description = "It lives", body = Object,
        example = json!({"status": "alive"}))))]
pub async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header(NO_STORE).json(json!({"status": "alive"}))
}

/// Says whether requests can be served now; 503 names the check that failed.
#[utoipa::path(get, path = "/readyz", tag = "service", operation_id = "isReady", security(()),
    responses(
        (status = 200, description = "It can serve", body = Object,
            example = json!({"status": "ready"})),
        (status = 503, description = "It can't; `detail` begins with the check that failed"),
    ))]
pub async fn ready(context: Data<Context>) -> Result<HttpResponse, Problem> {
    let not_ready = |detail: String| Problem::new(Code::NotReady, detail).retry_after(2);
    if context.shutdown.drain.is_cancelled() {
        return Err(not_ready("drain: this gateway is stopping; ask another.".into()));
    }
    let fitness = context.readiness.fitness.borrow().clone();
    match fitness {
        Fitness::Fit => {}
        Fitness::Unknown => return Err(not_ready("redis: it does not answer.".into())),
        Fitness::Unfit(reason) => return Err(not_ready(format!("redis: {reason}"))),
    }
    context
        .store
        .ping()
        .await
        .map_err(|error| not_ready("redis: it does not answer.".into()).cause(&error))?;
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(json!({"status": "ready"})))
}
