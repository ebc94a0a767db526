//! The routes and everything they share, in the order a request meets it.
//!
//! `access` names and logs a request, the table below finds its handler, `auth` finds its
//! session, `extract` reads what it asks for, the handler calls the store once or twice, and what
//! went wrong leaves as a `problem`. Handlers hold no state: what they need is in `Context`.
//! Another gateway on the same Redis gives the same answers.

/// Every error as one document.
pub mod problem;
/// A name, a log line and one form of error for every request.
pub mod access;
/// Tokens and cookies into sessions.
pub mod auth;
/// Bodies and parameters into types.
pub mod extract;
/// The job as everybody sees it.
pub mod job_json;
/// `GET /v1/models`
pub mod models;
/// `POST /v1/sessions`
pub mod sessions;
/// Pictures that users bring, decoded and stored.
pub mod intake;
/// The one file of a form.
pub mod upload;
/// `POST /v1/files`
pub mod files;
/// The body of `POST /v1/jobs`.
pub mod job_request;
/// What a job starts from.
pub mod pictures;
/// `POST /v1/jobs`
pub mod submit;
/// Jobs by name: read, wait for, list, cancel, retry, delete.
pub mod jobs;
/// A picture's bytes as an answer.
pub mod blob;
/// The frames' bytes.
pub mod artifacts;
/// Liveness and readiness.
pub mod health;
/// The streams.
pub mod events;
/// The studio's files, and the picture that ships.
pub mod assets;
/// The description of all this.
pub mod openapi;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, HeaderName};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, Resource, Route, guard};
use framewire_shared::service::settings::Settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::Store;
use framewire_shared::store::blobs::Blobs;

use crate::live::Live;
use problem::{Code, Problem};

/// What only the asker may see, and only now.
pub const NO_STORE: (HeaderName, &str) = (CACHE_CONTROL, "no-store");
/// What a browser may keep but must ask about before it shows it again.
pub const NO_CACHE: (HeaderName, &str) = (CACHE_CONTROL, "private, no-cache");

/// What handlers need.
#[derive(Debug, Clone)]
pub struct Context {
    /// Redis.
    pub store: Store,
    /// The frames' bytes.
    pub blobs: Blobs,
    /// The streams of this process.
    pub live: Arc<Live>,
    /// The settings that the process was started with.
    pub settings: Arc<Settings>,
    /// The process's two stages of stopping.
    pub shutdown: Shutdown,
    /// What is known of Redis.
    pub readiness: Arc<health::Readiness>,
    /// The description of the API, as it is sent.
    pub openapi: web::Bytes,
    /// Tokens verified a moment ago.
    pub tokens: auth::Tokens,
    /// What may be uploaded at the same time.
    pub intake: intake::Intake,
}

impl Context {
    /// Gives a thread of the server its own connection to Redis, made by its first call and driven
    /// on the same thread: a call that has to wake another thread and be woken by it costs twice.
    pub fn for_a_thread(&self) -> Self {
        let (redis, queue) = (self.settings.redis_options(), self.settings.queue_options());
        let store = Store::open(redis, queue).unwrap_or_else(|_| self.store.clone());
        Self { store, ..self.clone() }
    }
}

/// Declares the routes: once for actix, once as a table for the description of the API.
///
/// `GET` answers HEAD too; `STREAM` is a GET that never ends and so does not.
macro_rules! routes {
    ($($path:literal { $($method:ident $handler:path),+ $(,)? })+) => {
        /// Every path with its methods.
        pub const ROUTES: &[(&str, &[&str])] = &[$(($path, &[$(stringify!($method)),+])),+];

        /// Gives actix the routes.
        pub fn configure(config: &mut ServiceConfig) {
            $(config.service(
                resource($path, &[$(stringify!($method)),+])
                    $(.route(route(stringify!($method)).to($handler)))+
            );)+
            config.default_service(web::to(async || Err::<HttpResponse, _>(access::no_route())));
        }
    };
}

routes! {
    "/v1/sessions" { POST sessions::create }
    "/v1/models" { GET models::list }
    "/v1/jobs" { POST submit::submit, GET jobs::list }
    "/v1/jobs/{id}" { GET jobs::show, DELETE jobs::delete }
    "/v1/jobs/{id}/cancel" { POST jobs::cancel }
    "/v1/jobs/{id}/retry" { POST jobs::retry }
    "/v1/jobs/{id}/events" { STREAM events::job_events }
    "/v1/events" { STREAM events::session_events }
    "/v1/files" { POST files::create }
    "/v1/files/{id}" { GET files::serve, DELETE files::delete }
    "/v1/artifacts/{id}" { GET artifacts::serve }
    "/v1/fallback.webp" { GET assets::fallback }
    "/healthz" { GET health::alive }
    "/readyz" { GET health::ready }
    "/openapi.json" { GET openapi::describe }
    "/" { GET assets::root }
    "/studio" { GET assets::index }
    "/studio/{file}" { GET assets::studio }
    "/client/{file}" { GET assets::client }
    "/examples/{name}" { GET assets::example }
    "/examples/{name}/" { GET assets::example_page }
    "/examples/{name}/{file}" { GET assets::example_file }
}

/// Starts a path whose other methods are refused with the list of those it has.
fn resource(path: &str, methods: &[&str]) -> Resource {
    let allowed = methods.iter().map(|method| match *method {
        "GET" => "GET, HEAD",
        "STREAM" => "GET",
        other => other,
    });
    let allowed = allowed.collect::<Vec<_>>().join(", ");
    web::resource(path).default_service(web::to(move || {
        let detail = format!("This path has {allowed} and nothing else.");
        let problem = Problem::new(Code::MethodNotAllowed, detail).allow(&allowed);
        std::future::ready(Err::<HttpResponse, _>(problem))
    }))
}

fn route(method: &str) -> Route {
    match method {
        "GET" => web::route().guard(guard::Any(guard::Get()).or(guard::Head())),
        "STREAM" => web::get(),
        _ => web::method(Method::from_bytes(method.as_bytes()).unwrap_or(Method::POST)),
    }
}
