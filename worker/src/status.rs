//! What a worker says of itself over HTTP, where `worker.listen` asks for it: `/metrics`, `/healthz`,
//! `/readyz`.
//!
//! For a Prometheus and an orchestrator, on an address of the operator's choice; nothing of a job is
//! told, nothing can be changed. `/healthz` asks nothing of anybody: a worker whose Redis is down must
//! not be restarted for it. **Ready** is a worker that got an answer to a pop, or to a renewal when all
//! its slots are busy, within `ANSWER_MAX`, and does not drain: PING would be answered also by a
//! Redis whose blocking pops are stuck.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, get};
use actix_web::{HttpResponse, HttpServer};
use anyhow::Context;
use framewire_shared::service::metrics::CONTENT_TYPE;
use framewire_shared::store::Store;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Longest silence of a Redis that counts as well: a pop blocks for a second, and a worker whose
/// providers are all closed off looks again within five and a bit.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// Requests that wait to be taken; a probe and a scrape are two.
const BACKLOG: u32 = 64;

/// What the answers are made of.
#[derive(Debug, Clone)]
pub struct Status {
    /// What the process has counted.
    pub metrics: Arc<Metrics>,
    /// Redis.
    pub store: Store,
    /// Jobs that may run here at the same time.
    pub slots: usize,
    /// Those of them that are free.
    pub free: Arc<Semaphore>,
    /// Asked for when it stops.
    pub drain: CancellationToken,
}

/// Binds the address of the settings.
///
/// Errors: it is taken, or not ours to listen on.
pub fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| {
        format!(
            "listen on {address}; choose another with worker.listen or FRAMEWIRE_WORKER_LISTEN, \
             one for each worker of a machine"
        )
    })
}

impl Status {
    /// Serves on a listener until the server's handle stops it.
    pub fn serve(self, listener: TcpListener) -> std::io::Result<Server> {
        let address = listener.local_addr()?;
        let server = HttpServer::new(move || {
            actix_web::App::new()
                .app_data(Data::new(self.clone()))
                .route("/metrics", get().to(metrics))
                .route("/healthz", get().to(alive))
                .route("/readyz", get().to(ready))
        })
        .workers(1)
        .backlog(BACKLOG)
        .disable_signals()
        .listen(listener)?
        .run();
        tracing::info!("metrics on http://{address}/metrics");
        Ok(server)
    }

    /// Says why it is not ready; `None` if it is.
    fn unready(&self) -> Option<&'static str> {
        if self.drain.is_cancelled() {
            return Some("drain: this worker is stopping");
        }
        let is_well = self.metrics.pulse.age().is_some_and(|age| age <= ANSWER_MAX);
        (!is_well).then_some("redis: it has not answered a pop or a renewal for a while")
    }
}

async fn metrics(status: Data<Status>) -> HttpResponse {
    let busy = status.slots.saturating_sub(status.free.available_permits());
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, "no-store"))
        .content_type(CONTENT_TYPE)
        .body(status.metrics.text(&status.store, status.slots, busy))
}

async fn alive() -> HttpResponse {
    say(HttpResponse::Ok(), "alive")
}

async fn ready(status: Data<Status>) -> HttpResponse {
    match status.unready() {
        None => say(HttpResponse::Ok(), "ready"),
        Some(why) => say(HttpResponse::ServiceUnavailable(), why),
    }
}

fn say(mut response: actix_web::HttpResponseBuilder, status: &str) -> HttpResponse {
    let text = format!("{}\n", serde_json::json!({ "status": status }));
    response.insert_header((CACHE_CONTROL, "no-store")).content_type("application/json").body(text)
}
