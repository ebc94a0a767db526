//! `GET /openapi.json`: what this API is, generated from the handlers and the types they use.
//!
//! Paths and answers stand on the handlers, shapes on the types; what the domain defines (it knows
//! no OpenAPI) is mirrored here, and `tests/it/http_openapi.rs` compares each mirror with what the
//! real type writes, and the document's paths with the route table. What holds for every operation,
//! the security and the problem, is added once, by `Common`.

/// Shapes of what the domain defines.
pub mod mirror;
/// Shapes of what the streams say.
pub mod streams;

use actix_web::http::header::ETAG;
use actix_web::web::{Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use sha2::{Digest, Sha256};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Ref, RefOr, ResponseBuilder, path::Operation, response::Response,
};
use utoipa::{Modify, OpenApi};

use super::problem::{Code, Document};
use super::{
    Context, artifacts, assets, auth, events, files, health, job_json, job_request, jobs, models,
    sessions, submit,
};

/// The description of the API.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Framewire",
        description = "Submit in milliseconds, watch the frame develop live, never lose one.\n\n\
            Make a session, submit a job, and follow `GET /v1/events` (Server-Sent Events) or poll \
            the job. Every error is a `Problem` (RFC 9457).",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    paths(
        models::list, sessions::create, submit::submit, jobs::list, jobs::show, jobs::cancel, jobs::retry,
        jobs::delete,
        files::create, files::serve, files::delete,
        events::session_events, events::job_events, artifacts::serve, assets::fallback, health::alive, health::ready,
        describe, assets::index, assets::studio, assets::client, assets::root,
        assets::example, assets::example_page, assets::example_file,
    ),
    components(schemas(
        job_request::JobRequest, job_json::JobView<'_>, Document<'_>,
        streams::Sync, streams::Ping, streams::ByeEvent, streams::Queued, streams::Started,
        streams::PreviewReady, streams::FrameReady, streams::Completed, streams::Failed,
        streams::Cancelled, streams::ProgressMade, streams::Position,
    )),
    modifiers(&Common),
    security(("bearer" = []), ("cookie" = [])),
    tags(
        (name = "sessions", description = "Who may see what"),
        (name = "jobs", description = "Requests for frames"),
        (name = "events", description = "What happens, as it happens. The schemas `Queued`, \
            `Started`, `PreviewReady`, `FrameReady`, `Completed`, `Failed` and `Cancelled` are the \
            `data` of durable events (with an `id`), `ProgressMade` and `Position` of ephemeral \
            ones, `Sync`, `Ping` and `Bye` of the stream's own."),
        (name = "files", description = "Pictures to start from, and masks"),
        (name = "frames", description = "The pictures"),
        (name = "service", description = "For operators and load balancers"),
        (name = "studio", description = "The page that shows it all"),
    ),
)]
pub struct Api;

impl Api {
    /// Writes the document.
    pub fn document() -> Bytes {
        let text = Self::openapi()
            .to_pretty_json()
            .unwrap_or_else(|error| unreachable!("our types are JSON: {error}"));
        text.into()
    }
}

/// What holds for every operation.
struct Common;

impl Modify for Common {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The token of `POST /v1/sessions`"))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            auth::COOKIE_NAME,
            "The same token, as browsers keep it; not honoured when another site asks",
        );
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
        for item in api.paths.paths.values_mut() {
            let all = [&mut item.get, &mut item.post, &mut item.delete];
            for operation in all.into_iter().flatten() {
                add_problems(operation);
            }
        }
    }
}

/// Gives every error of an operation the one form, and names the ones that any can have.
fn add_problems(operation: &mut Operation) {
    let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(Response { content: known, .. }) = response
            && status.starts_with(['4', '5'])
            && known.is_empty()
        {
            known.insert("application/problem+json".into(), RefOr::T(content()));
        }
    }
    let words = Code::ALL.iter().map(|code| format!("`{}`", code.word()));
    let description = format!(
        "Any other error; `code` is one of {}. 429 and 503 say in `Retry-After` when to try \
         again.",
        words.collect::<Vec<_>>().join(", ")
    );
    let other = ResponseBuilder::new()
        .description(description)
        .content("application/problem+json", content())
        .build();
    operation.responses.responses.insert("default".into(), RefOr::T(other));
}

/// Describes this API.
#[utoipa::path(get, path = "/openapi.json", tag = "service", operation_id = "describe", security(()),
    responses((status = 200, description = "This document", content_type = "application/json",
        body = Object)))]
pub async fn describe(context: Data<Context>, request: HttpRequest) -> HttpResponse {
    let digest = Sha256::digest(&context.openapi);
    let short = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let etag = format!("\"{short:016x}\"");
    let mut response = HttpResponse::Ok();
    response.insert_header((ETAG, etag.as_str())).insert_header(super::NO_CACHE);
    if jobs::matches_etag(&request, &etag) {
        return response.status(actix_web::http::StatusCode::NOT_MODIFIED).finish();
    }
    response.content_type("application/json").body(context.openapi.clone())
}
