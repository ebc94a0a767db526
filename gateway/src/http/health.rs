//! Whether the process lives, and whether it can serve.
//!
//! `/healthz` asks nothing of anybody: a gateway whose Redis is down must not be restarted for it.
//! `/readyz` is for the load balancer: Redis answers, may be trusted, and no drain has begun. Of
//! several nodes one that answers is enough: all gateways use the same Redis, so failing for the
//! one that is away would take the sessions of all others away with it.
//! `Readiness` also holds the loop that watches each cell's Redis from start to end: it checks fitness
//! and writes the settings' caps whenever Redis is reached anew, because a Redis that was away may come
//! back as another one.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::web::Data;
use framewire_shared::domain::{Cell, Pool};
use framewire_shared::service::settings::Settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::operate::Unfit;
use framewire_shared::store::{Store, StoreError};
use futures::FutureExt;
use futures::future::{join_all, select_ok};
use serde_json::json;
use tokio::sync::watch;

use super::problem::{Code, Problem};
use super::{Context, NO_STORE};

/// How often Redis is asked while it does not answer.
const ASK_WHILE_DOWN: Duration = Duration::from_millis(250);
/// How often Redis is asked while all is well.
const ASK_WHILE_UP: Duration = Duration::from_secs(2);

/// What is known of Redis, from nothing to what matters most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
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
    /// In order of the cells.
    cells: Vec<(Cell, watch::Sender<Fitness>)>,
}

impl Readiness {
    /// Starts with nothing known.
    pub fn new(store: Store, settings: &Settings) -> Self {
        let unknown = |cell| (cell, watch::Sender::new(Fitness::Unknown));
        let cells = store.cells().into_iter().map(unknown).collect();
        let session_cap = settings.queue.session_cap.get();
        Self { store, session_cap, pool_caps: settings.pool_caps(), cells }
    }

    /// Tells what is known of all cells together: unfit if one is, and fit if any is.
    pub fn fitness(&self) -> Fitness {
        let all = self.cells.iter().map(|(_, fitness)| fitness.borrow().clone());
        all.max().unwrap_or(Fitness::Unknown)
    }

    /// Lists the cells whose Redis does not answer.
    pub fn silent(&self) -> Vec<Cell> {
        let silent = self.cells.iter().filter(|(_, fitness)| *fitness.borrow() == Fitness::Unknown);
        silent.map(|(cell, _)| *cell).collect()
    }

    /// Asks the Redis of each cell once, of all at the same time.
    ///
    /// Errors: the first that must not be used; else, if none can be asked, why the first can't.
    pub async fn tick(&self) -> Result<(), Unfit> {
        let ticks = self.cells.iter().map(|(cell, fitness)| self.tick_cell(*cell, fitness));
        let (answers, errors): (Vec<_>, Vec<_>) =
            join_all(ticks).await.into_iter().partition(Result::is_ok);
        let mut errors: Vec<Unfit> = errors.into_iter().filter_map(Result::err).collect();
        let refuses = |error: &Unfit| !matches!(error, Unfit::Store(StoreError::Unavailable(_)));
        match errors.iter().position(refuses) {
            Some(refusal) => Err(errors.swap_remove(refusal)),
            None if answers.is_empty() => errors.into_iter().next().map_or(Ok(()), Err),
            None => Ok(()),
        }
    }

    /// Asks a cell's Redis once, thoroughly if it was not known to be fit.
    ///
    /// Errors: it can't be asked, or must not be used; either is also noted.
    async fn tick_cell(&self, cell: Cell, fitness: &watch::Sender<Fitness>) -> Result<(), Unfit> {
        let was_fit = *fitness.borrow() == Fitness::Fit;
        let answer = if was_fit {
            self.store.ping(cell).await.map_err(Unfit::from)
        } else {
            self.introduce(cell).await
        };
        let now = match &answer {
            Ok(()) => Fitness::Fit,
            Err(Unfit::Store(_)) => Fitness::Unknown,
            Err(unfit) => Fitness::Unfit(unfit.to_string()),
        };
        fitness.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
        answer
    }

    async fn introduce(&self, cell: Cell) -> Result<(), Unfit> {
        self.store.check_fitness(cell).await?;
        Ok(self.store.set_default_caps(cell, self.session_cap, &self.pool_caps).await?)
    }

    /// Asks Redis again and again until told to stop; says each change once. Each cell by itself.
    pub async fn run(&self, shutdown: Shutdown) {
        join_all(self.cells.iter().map(|(cell, fitness)| self.watch(*cell, fitness, &shutdown)))
            .await;
    }

    async fn watch(&self, cell: Cell, fitness: &watch::Sender<Fitness>, shutdown: &Shutdown) {
        let mut said = fitness.borrow().clone();
        loop {
            let pause = if said == Fitness::Fit { ASK_WHILE_UP } else { ASK_WHILE_DOWN };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.stop.cancelled() => return,
            }
            let answer = self.tick_cell(cell, fitness).await;
            let now = fitness.borrow().clone();
            if now != said {
                say(cell, &now, answer.err());
                said = now;
            }
        }
    }
}

fn say(cell: Cell, now: &Fitness, error: Option<Unfit>) {
    match now {
        Fitness::Fit => tracing::info!(%cell, "Redis answers; ready"),
        Fitness::Unknown => {
            let error = error.map(|error| error.to_string()).unwrap_or_default();
            tracing::warn!(%cell, error, "lost Redis; requests get 503 until it is back");
        }
        Fitness::Unfit(reason) => {
            tracing::error!(
                %cell,
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
    match context.readiness.fitness() {
        Fitness::Fit => {}
        Fitness::Unknown => return Err(not_ready("redis: it does not answer.".into())),
        Fitness::Unfit(reason) => return Err(not_ready(format!("redis: {reason}"))),
    }
    let silent = context.readiness.silent();
    let asked = context.store.cells().into_iter().filter(|cell| !silent.contains(cell));
    select_ok(asked.map(|cell| context.store.ping(cell).boxed()))
        .await
        .map_err(|error| not_ready("redis: it does not answer.".into()).cause(&error))?;
    let mut answer = json!({"status": "ready"});
    if !silent.is_empty() {
        let silent: Vec<String> = silent.iter().map(Cell::to_string).collect();
        answer["cells_without_redis"] = silent.into();
    }
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(answer))
}
