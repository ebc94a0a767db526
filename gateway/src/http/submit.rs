//! `POST /v1/jobs`: from a body to a job in the queue, with one script and nothing else.
//!
//! The answer is built from the request and the script's reply, not read back; a refusal carries what
//! the script says to show instead. A seed that the caller did not choose is drawn here and stored
//! with the input, so that the frame can be made again. The digest of an idempotent request is taken
//! before that: the same request has the same digest whatever seed it got.
//! A reply that got lost is no second job: the same job id submitted twice is accepted once
//! (`lua/submit.lua`), and across requests the caller's Idempotency-Key does the same.

use std::time::Duration;

use actix_web::http::header::{HeaderName, HeaderValue, LOCATION, RETRY_AFTER};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::{Artifact, Fallback, JobId, State};
use framewire_shared::service::failpoint;
use framewire_shared::service::settings::WhenClosed;
use framewire_shared::store::codec::Submitted;
use framewire_shared::store::queue::{Lease, Submission};
use framewire_shared::store::share::{Shared, Sharer};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::auth::Session;
use super::extract;
use super::job_json::{At, JobView, Urls};
use super::job_request::{self, JobRequest, model_of_refused};
use super::problem::{Code, Problem, full};
use super::{Context, jobs, pictures};

/// Characters of an Idempotency-Key.
const KEY_CHARS: std::ops::RangeInclusive<usize> = 1..=128;
/// Says that an answer is that of an earlier request.
pub(super) const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Says that a wish in `Prefer` was honoured.
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// Accepts a job.
///
/// The answer comes before anything is drawn; follow `GET /v1/events` or poll `urls.self`. With
/// `Prefer: wait=N` it comes when the job has ended (200), or after N seconds (202).
#[utoipa::path(post, path = "/v1/jobs", tag = "jobs", operation_id = "submitJob",
    request_body = JobRequest,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "Makes sending the request again \
            safe for 24 hours: 1 to 128 visible ASCII characters, new for every new request",
            max_length = 128),
        ("Prefer" = Option<String>, Header, description = "`wait=N`: wait up to N (1 to 60) seconds"),
    ),
    responses(
        (status = 202, description = "The job waits", body = JobView,
            headers(("Location", description = "The job"),
                ("Retry-After", description = "When to look at it, in seconds"),
                ("Idempotent-Replayed", description = "`true` if it was accepted before"))),
        (status = 200, description = "The job has ended while this request waited, or is answered \
            with frames that are there (`cached`)", body = JobView),
        (status = 400, description = "Malformed JSON or header"),
        (status = 401, description = "No session"),
        (status = 413, description = "The body is too large"),
        (status = 415, description = "The body is not declared as JSON"),
        (status = 422, description = "Some fields can't be accepted, or the Idempotency-Key was \
            used for another request; `fallback` is what to show, here and below"),
        (status = 429, description = "The session has as many unfinished jobs, or files, as it may",
            headers(("Retry-After", description = "When one should have ended, in seconds"))),
        (status = 503, description = "The queue is full or can't be reached, nobody draws, or too \
            many pictures arrive at the same time",
            headers(("Retry-After", description = "When there should be room, in seconds"))),
    ))]
pub async fn submit(
    context: Data<Context>,
    session: Session,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let (bytes, held) =
        job_request::bytes(&request, payload, &context.settings, &context.intake).await?;
    let mut body: JobRequest = match extract::parse(&bytes, &context.settings) {
        Ok(body) => body,
        Err(problem) => return Err(with_fallback(problem, &context, &session, &bytes).await),
    };
    let shared = context.settings.clone();
    let (model, settings) =
        body.resolve(&shared).unwrap_or_else(|| unreachable!("a checked request names a model"));
    let key = idempotency_key(&request)?;
    let fingerprint = body.fingerprint(model, settings);
    let fingerprint = fingerprint.as_deref();
    if context.settings.when_closed(&settings.pool) == WhenClosed::Refuse
        && let Some(wait) =
            context.store.closed(session.id.cell(), &settings.pool, fingerprint).await?
    {
        return Err(with_fallback(full::closed(wait), &context, &session, &bytes).await);
    }
    let digest = key.map(|_| body.digest()).unwrap_or_default();
    let wait = wish_to_wait(&request);
    // Sent again, its pictures may be gone or have no room any more: nobody looks for them.
    if let Some(key) = key
        && body.input.image.is_some()
    {
        let under = (key, digest.as_str());
        match context.store.submitted_under(&session.id, under, (model, settings.catalogue)).await?
        {
            Some(Submitted::Replayed(first)) => {
                drop((bytes, body, held));
                return answer_later(&context, &session, &first, wait, true).await;
            }
            Some(Submitted::KeyReused(_, fallback)) => return Err(key_reused(fallback)),
            _ => {}
        }
    }
    body.input.seed.get_or_insert_with(|| rand::random::<u32>().into());
    let id = JobId::new(session.id.cell(), uuid::Uuid::now_v7());
    let placed = match pictures::place(&context, &session, &id, &mut body).await {
        Ok(placed) => placed,
        Err(problem) => return Err(with_fallback(problem, &context, &session, &bytes).await),
    };
    // The wait for the job's end holds none of it.
    drop((bytes, held));
    let (input, metadata) = (json_text(&body.input), json_text(&body.metadata));
    failpoint::hit("submit_before");
    let answer = context
        .store
        .submit(&Submission {
            id: &id,
            session: &session.id,
            tenant: Some(&session.tenant),
            pool: &settings.pool,
            model,
            priority: body.priority,
            input: input.get(),
            metadata: metadata.get(),
            start_within: body.start_within_s.map(Duration::from_secs),
            catalogue: settings.catalogue,
            shelf: None,
            idempotency: key.map(|key| (key, digest.as_str())),
            fingerprint,
        })
        .await?;
    failpoint::hit("submit_after");
    if !matches!(answer, Submitted::Accepted { .. } | Submitted::Hit { .. }) {
        placed.undo(&context, &session).await;
    }
    match answer {
        Submitted::Accepted { created_at, ahead, wait_ms, fallback } if wait.is_none() => {
            let view = JobView {
                status: State::Queued,
                v: 1,
                model,
                priority: body.priority,
                queue_position: Some(ahead),
                estimated_wait_ms: wait_ms,
                created_at: At(created_at),
                input: &input,
                metadata: &metadata,
                fallback: Some(&fallback),
                ..JobView::new(&id)
            };
            Ok(accepted(&id, &view, false))
        }
        Submitted::Accepted { .. } => answer_later(&context, &session, &id, wait, false).await,
        Submitted::Hit { fence, leader, frames } => {
            let own = Lease { job: id, fence };
            answer_hit(&context, fingerprint, &own, &leader, &frames).await;
            answer_later(&context, &session, &own.job, wait, false).await
        }
        Submitted::Replayed(first) => answer_later(&context, &session, &first, wait, true).await,
        Submitted::KeyReused(_, fallback) => Err(key_reused(fallback)),
        Submitted::ShelfMoved => unreachable!("this job goes on no shelf"),
        Submitted::SessionFull(full) => Err(full::session(full)),
        Submitted::QueueFull(full) => Err(full::queue(full)),
    }
}

fn key_reused(fallback: Fallback) -> Problem {
    Problem::new(
        Code::KeyReused,
        "This Idempotency-Key was sent before with another request. Send a new key with a new \
         request.",
    )
    .param("Idempotency-Key")
    .fallback(fallback)
}

/// Gives the refusal of a body the last frame of the model that it names, where it names one.
pub async fn with_fallback(
    problem: Problem,
    context: &Context,
    session: &Session,
    body: &[u8],
) -> Problem {
    if !problem.has_fallback() {
        return problem;
    }
    let Some((model, settings)) = model_of_refused(body, &context.settings) else {
        return problem;
    };
    match context.store.fallback(&session.id, model, settings.catalogue).await {
        Ok(fallback) => problem.fallback(fallback),
        // It has the picture that ships, which needs no Redis.
        Err(_) => problem,
    }
}

/// Gives a job that was just accepted the frames that another has drawn. Where they can't be copied
/// it is drawn like any other; a failure is left to the workers, who find the job without our help.
async fn answer_hit(
    context: &Context,
    fingerprint: Option<&str>,
    own: &Lease,
    leader: &JobId,
    frames: &[Artifact],
) {
    let (store, blobs) = (context.store.clone(), context.blobs.clone());
    let sharer = Sharer { store, blobs };
    let answered = match sharer.fulfil(own, frames).await {
        Ok(Shared::Uncopied) => {
            sharer.store.land(own.job.cell(), fingerprint, Some(leader)).await.map(drop)
        }
        answer => answer.map(drop),
    };
    if let Err(error) = answered {
        tracing::warn!(job = %own.job, "its frames wait for a worker: failed to {error}");
    }
}

/// Answers with the job as it is now, or as it ends if that is waited for.
async fn answer_later(
    context: &Context,
    session: &Session,
    id: &JobId,
    wait: Option<Duration>,
    replayed: bool,
) -> Result<HttpResponse, Problem> {
    let row = jobs::own(context, session, id, wait.unwrap_or_default()).await?;
    let view = JobView::from(&row);
    let ended = row.job.state.is_terminal() && (wait.is_some() || !replayed);
    let mut response = match ended {
        true => jobs::answer(&mut HttpResponse::Ok(), &view),
        false => accepted(id, &view, replayed),
    };
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    if let Some(wait) = wait
        && let Ok(applied) = HeaderValue::try_from(format!("wait={}", wait.as_secs()))
    {
        response.headers_mut().insert(PREFERENCE_APPLIED, applied);
    }
    Ok(response)
}

fn accepted(id: &JobId, view: &JobView<'_>, replayed: bool) -> HttpResponse {
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, Urls::of(id).to_self()));
    response.insert_header((RETRY_AFTER, "1"));
    if replayed {
        response.insert_header((REPLAYED, "true"));
    }
    jobs::answer(&mut response, view)
}

/// Reads the Idempotency-Key.
fn idempotency_key(request: &HttpRequest) -> Result<Option<&str>, Problem> {
    let mut keys = request.headers().get_all("idempotency-key");
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
    match key.to_str() {
        Ok(text) if visible && KEY_CHARS.contains(&text.len()) && keys.next().is_none() => {
            Ok(Some(text))
        }
        _ => Err(Problem::new(
            Code::InvalidParameter,
            "\"Idempotency-Key\" must be sent once and have 1 to 128 visible ASCII characters.",
        )
        .param("Idempotency-Key")),
    }
}

/// Writes one of our own types as JSON text.
pub fn json_text(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|error| unreachable!("our types are JSON: {error}"))
}

/// Reads `Prefer: wait=N`; a wish that can't be read is no wish (RFC 7240 section 2).
fn wish_to_wait(request: &HttpRequest) -> Option<Duration> {
    let wishes = request.headers().get_all("prefer").filter_map(|line| line.to_str().ok());
    let seconds = wishes
        .flat_map(|line| line.split([',', ';']))
        .find_map(|wish| wish.trim().strip_prefix("wait="))?
        .parse::<u32>()
        .ok()
        .filter(|seconds| *seconds > 0)?;
    Some(Duration::from_secs(seconds.min(*jobs::WAIT_S.end()).into()))
}
