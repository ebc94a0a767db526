//! The two streams: all events of a session, and one job from now to its end; and the poll, for who
//! can hold no stream.
//!
//! Comes in: the session, and the position to go on from: the header `Last-Event-ID`, which a browser
//! sends when it reconnects by itself, wins over `?cursor=`, which by then is old. A position that
//! makes no sense is answered with `reset` in the stream, because a client can't mend it. Goes out: a
//! response that ends when the stream does.
//! A browser's EventSource gives up for ever on any status but 200, so limits, overload, drain and a
//! Redis that is down are said in band, as a stream of one `bye`; programs ask for statuses with
//! `?errors=http`, and a poll, which is no EventSource, gets them always. Only who has no session (401),
//! or not this job (404), gets a status in any case.
//! Nothing between us and the reader may hold frames back: no cache, no transformation, no buffering.

use std::time::Duration;

use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, HeaderName, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use framewire_shared::domain::JobId;

use super::extract::Params;
use super::problem::{Code, Problem};
use super::tickets::Reader;
use super::{Context, NO_STORE, address, job_json};
use crate::live::{Asked, Bye, Caller, Subscription, farewell};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// What nginx obeys.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// Seconds that a poll may wait for the next event.
const POLL_WAIT_S: std::ops::RangeInclusive<u32> = 0..=60;

/// Streams the session's events.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "events",
    operation_id = "streamEvents",
    summary = "Streams the session's events (Server-Sent Events)",
    description = "Begins with `sync`, whose `mode` says whether every event since the position \
        follows (`resumed`), or whether a snapshot is needed (`fresh`, `reset`): \
        `GET /v1/jobs?active=1`. Then come the events, `ping` every 15 s, and `bye` before a \
        deliberate end, which says when to come back.",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event seen"),
        ("cursor" = Option<String>, Query, description = "The same, for the first connection"),
        ("ticket" = Option<String>, Query, description = "Of `POST /v1/stream-tickets`, in place of a session"),
        ("errors" = Option<String>, Query, description = "`http`: refuse with a status instead of `bye`"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = String),
        (status = 401, description = "No session"),
        (status = 429, description = "Too many streams of this session or address; only with `errors=http`"),
        (status = 503, description = "Overloaded, draining, or Redis is down; only with `errors=http`"),
    )
)]
pub async fn session_events(
    context: Data<Context>,
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request)?;
    let statuses = wants_statuses(&params);
    let session = match reader.0 {
        Ok(session) => session.id,
        Err(problem) if statuses => return Err(problem),
        Err(_) => return respond(Err(Bye::BackendDown), statuses).await,
    };
    let asked = match request.headers().get(LAST_EVENT_ID) {
        // Bytes that are no text are no position either.
        Some(header) => Asked::read(Some(header.to_str().unwrap_or("not text"))),
        None => Asked::read(params.text("cursor")),
    };
    let address = address::of(&request, &context.settings.gateway);
    let stream = context.live.session_stream(Caller { session: &session, address }, asked);
    respond(stream, statuses).await
}

/// Answers with the session's events after a position.
#[utoipa::path(
    get,
    path = "/v1/events/poll",
    tag = "events",
    operation_id = "pollEvents",
    summary = "Answers with the session's events after a position",
    description = "For programs, and for networks that hold streams up. One after the other, each with \
        the last one's `cursor` as `after`, polls see every durable event once and in order, through \
        whichever gateway; the newest ephemeral ones come along. With `wait` the answer comes with the \
        next durable event. `mode` is that of a stream's `sync`: `fresh` (no `after`) and `reset` come \
        at once, with no events, and want a snapshot: `GET /v1/jobs?active=1`.",
    params(
        ("after" = Option<String>, Query, description = "The `cursor` of the last answer, or the `id` of an event"),
        ("wait" = Option<u32>, Query, description = "Wait so many seconds for the next event",
            minimum = 0, maximum = 60),
        ("ticket" = Option<String>, Query, description = "Of `POST /v1/stream-tickets`, in place of a session"),
    ),
    responses(
        (status = 200, description = "The events, perhaps none", body = super::openapi::streams::Polled),
        (status = 400, description = "`wait` can't be read"),
        (status = 401, description = "No session"),
        (status = 429, description = "Too many streams and polls of this session or address"),
        (status = 503, description = "Overloaded, draining, or Redis is down"),
    )
)]
pub async fn poll(
    context: Data<Context>,
    reader: Reader,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let session = reader.0?.id;
    let params = Params::of(&request)?;
    let wait_s = params.number("wait", POLL_WAIT_S)?.unwrap_or_default();
    let address = address::of(&request, &context.settings.gateway);
    let caller = Caller { session: &session, address };
    let asked = Asked::read(params.text("after"));
    let polled = context.live.poll(caller, asked, Duration::from_secs(wait_s.into())).await;
    let polled = polled.map_err(refuse)?;
    let mut response = HttpResponse::Ok();
    response.insert_header(NO_STORE).insert_header((REFERRER_POLICY, "no-referrer"));
    Ok(response.content_type("application/json").body(polled.json()))
}

/// Streams one job to its end.
#[utoipa::path(
    get,
    path = "/v1/jobs/{id}/events",
    tag = "events",
    operation_id = "streamJobEvents",
    summary = "Streams one job to its end (Server-Sent Events)",
    description = "Begins with `snapshot`, the job as `GET /v1/jobs/{id}` shows it; then the job's \
        newer events, whose `id` is the job's `v`; then, after its end, `bye` with `final: true`.",
    params(
        ("id" = String, Path, description = "The job"),
        ("ticket" = Option<String>, Query, description = "Of `POST /v1/stream-tickets`, in place of a session"),
        ("errors" = Option<String>, Query, description = "`http`: refuse with a status instead of `bye`"),
    ),
    responses(
        (status = 200, description = "The stream", content_type = "text/event-stream", body = String),
        (status = 401, description = "No session"),
        (status = 404, description = "No such job in this session"),
        (status = 429, description = "Too many streams of this session or address; only with `errors=http`"),
        (status = 503, description = "Overloaded, draining, or Redis is down; only with `errors=http`"),
    )
)]
pub async fn job_events(
    context: Data<Context>,
    reader: Reader,
    path: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request)?;
    let statuses = wants_statuses(&params);
    let session = match reader.0 {
        Ok(session) => session.id,
        Err(problem) if statuses => return Err(problem),
        Err(_) => return respond(Err(Bye::BackendDown), statuses).await,
    };
    let job: JobId = path.parse().map_err(|_| Problem::no_job())?;
    match context.store.owner(&job).await {
        Ok(Some(owner)) if owner == session => {}
        Ok(_) => return Err(Problem::no_job()),
        Err(error) if statuses => return Err(error.into()),
        Err(_) => return respond(Err(Bye::BackendDown), statuses).await,
    }
    let address = address::of(&request, &context.settings.gateway);
    let caller = Caller { session: &session, address };
    let stream = context.live.job_stream(caller, &job, job_json::render);
    respond(stream, statuses).await
}

fn wants_statuses(params: &Params) -> bool {
    params.text("errors") == Some("http")
}

async fn respond(
    stream: Result<Subscription, Bye>,
    statuses: bool,
) -> Result<HttpResponse, Problem> {
    let mut stream = match stream {
        Ok(stream) => stream,
        Err(reason) if statuses => return Err(refuse(reason)),
        Err(reason) => return Ok(head().body(farewell(reason))),
    };
    if statuses {
        stream.begun().await.map_err(refuse)?;
    }
    Ok(head().streaming(stream.into_stream()))
}

fn head() -> HttpResponseBuilder {
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        // Who comes back does so on a new connection, which a balancer can send elsewhere.
        .force_close()
        .insert_header((CACHE_CONTROL, "no-cache, no-store, no-transform"))
        .insert_header((ACCEL_BUFFERING, "no"))
        // Keeps compression middleware and proxies from collecting frames in order to shrink them.
        .insert_header((CONTENT_ENCODING, "identity"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((REFERRER_POLICY, "no-referrer"));
    response
}

/// Says as a status what would have been said in band.
fn refuse(reason: Bye) -> Problem {
    let retry_s = u32::try_from(reason.retry_ms().end() / 1_000).unwrap_or(u32::MAX);
    let (code, detail) = match reason {
        Bye::Limit => (
            Code::TooManyStreams,
            "This session has as many streams here as it may. Close one and try again.",
        ),
        Bye::AddressLimit => (
            Code::TooManyStreams,
            "Your address has as many streams here as it may. Close one and try again.",
        ),
        Bye::BackendDown => (
            Code::Unavailable,
            "The events can't be read right now. Nothing is lost; come back with your cursor.",
        ),
        Bye::Drain | Bye::Overloaded | Bye::MaxAge | Bye::Slow | Bye::Lagged | Bye::Done => (
            Code::Unavailable,
            "This gateway takes no more streams right now. Come back with your cursor.",
        ),
    };
    Problem::new(code, detail).retry_after(retry_s.max(1))
}
