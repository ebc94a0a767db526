//! `POST /v1/frames/next`: some frames of one request, those ready now at once, the rest queued.
//!
//! What a session has asked for in this way waits on a shelf of its own (`shared/src/store/shelf.rs`)
//! until it is named as seen. A call looks, queues what is wanting, one job for each frame, and looks
//! again. A submit that another call was quicker with is refused by the script, and the look repeated:
//! so calls at the same time have no more queued than one. Where only some could be queued, the
//! answer says what there is; it is a refusal only when that is nothing.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::{Artifact, Fallback, JobId};
use framewire_shared::service::models::ModelSettings;
use framewire_shared::service::settings::WhenClosed;
use framewire_shared::store::codec::Submitted;
use framewire_shared::store::queue::Submission;
use framewire_shared::store::shelf::{Place, Shelf, ShelfName};
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Session;
use super::frames_request::FramesRequest;
use super::job_json::JobView;
use super::openapi::mirror;
use super::problem::{Problem, full};
use super::{Context, extract, jobs, pictures, submit};

/// Frames that are ready, and jobs for the rest
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NextFrames)]
pub struct Next<'a> {
    /// Always `list`
    object: &'static str,
    /// Frames that are ready and were not named as seen, the oldest first
    #[schema(value_type = Vec<mirror::ReadyFrame>)]
    frames: Vec<Ready<'a>>,
    /// Jobs of the others, the oldest first
    jobs: Vec<JobView<'a>>,
    /// What to show meanwhile; null where a frame is ready
    #[schema(required, value_type = Option<mirror::Fallback>)]
    fallback: Option<&'a Fallback>,
}

/// A frame that is ready, and whose it is.
#[derive(Debug, Serialize)]
pub struct Ready<'a> {
    #[serde(flatten)]
    frame: &'a Artifact,
    job: &'a JobId,
}

/// Hands out frames that are ready, and has as many made as are wanting.
///
/// Frames of earlier calls with the same model and input are handed out until they are named in
/// `seen`, so the same call may be made again whenever its answer got lost. It queues nothing twice:
/// frames and jobs together are `count`, or fewer where the session or the queue is full.
#[utoipa::path(post, path = "/v1/frames/next", tag = "frames", operation_id = "nextFrames",
    request_body = FramesRequest,
    responses(
        (status = 200, description = "What is ready and what is on its way", body = Next),
        (status = 400, description = "Malformed JSON"),
        (status = 401, description = "No session"),
        (status = 413, description = "The body is too large"),
        (status = 415, description = "The body is not declared as JSON"),
        (status = 422, description = "Some fields can't be accepted; `fallback` is what to show, \
            here and below"),
        (status = 429, description = "Nothing is ready, and the session has as many unfinished jobs \
            as it may", headers(("Retry-After", description = "When one should have ended"))),
        (status = 503, description = "Nothing is ready, and the queue is full or can't be reached, or \
            nobody draws", headers(("Retry-After", description = "When there should be room"))),
    ))]
pub async fn next(
    context: Data<Context>,
    session: Session,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let bytes = extract::json_bytes(&request, payload, &context.settings).await?;
    let body: FramesRequest = match extract::parse(&bytes, &context.settings) {
        Ok(body) => body,
        Err(problem) => {
            return Err(submit::with_fallback(problem, &context, &session, &bytes).await);
        }
    };
    let (model, settings) = body
        .resolve(&context.settings)
        .unwrap_or_else(|| unreachable!("a checked request names a model"));
    let digest = body.digest(model);
    let order = Order { context: &context, session: &session, body, model, settings, digest };
    let (shelf, refusal) = order.fill().await?;
    let count = order.body.count as usize;
    let frames: Vec<Ready<'_>> =
        shelf.frames.iter().take(count).map(|(job, frame)| Ready { frame, job }).collect();
    let jobs: Vec<JobView<'_>> =
        shelf.jobs.iter().take(count - frames.len()).map(JobView::from).collect();
    if let Some(refusal) = refusal
        && frames.is_empty()
        && jobs.is_empty()
    {
        return Err(refusal.fallback(shelf.fallback));
    }
    let fallback = frames.is_empty().then_some(&shelf.fallback);
    let next = Next { object: "list", frames, jobs, fallback };
    Ok(jobs::answer(&mut HttpResponse::Ok(), &next))
}

/// A request under way.
struct Order<'a> {
    context: &'a Context,
    session: &'a Session,
    body: FramesRequest,
    model: &'a str,
    settings: &'a ModelSettings,
    digest: String,
}

impl Order<'_> {
    /// Has as many jobs queued as are wanting; gives the shelf, and why there are fewer.
    async fn fill(&self) -> Result<(Shelf, Option<Problem>), Problem> {
        let mut shelf = self.look(&self.body.seen()).await?;
        let count = self.body.count as usize;
        let is_short = shelf.frames.len() + shelf.jobs.len() < count;
        let mut refusal = if is_short { self.closed().await? } else { None };
        let mut queued = 0;
        while refusal.is_none() && shelf.frames.len() + shelf.jobs.len() + queued < count {
            let answer = self.submit(shelf.made + queued as u64).await;
            match answer.inspect_err(|problem| self.count(problem.code().word()))? {
                Ok(true) => {
                    self.count("accepted");
                    queued += 1;
                }
                Ok(false) => {
                    shelf = self.look(&[]).await?;
                    queued = 0;
                }
                Err(refused) => refusal = Some(refused),
            }
        }
        if let Some(refused) = &refusal {
            self.count(refused.code().word());
        }
        if queued > 0 {
            shelf = self.look(&[]).await?;
        }
        Ok((shelf, refusal))
    }

    /// Counts a job that was to be queued, as one of `POST /v1/jobs`.
    fn count(&self, outcome: &str) {
        self.context.metrics.submitted(outcome);
    }

    async fn look(&self, seen: &[JobId]) -> Result<Shelf, Problem> {
        let name = ShelfName { session: &self.session.id, digest: &self.digest };
        Ok(self.context.store.shelf(name, (self.model, self.settings.catalogue), seen).await?)
    }

    /// Gives the refusal while all providers of the pool are closed off, where that is one.
    async fn closed(&self) -> Result<Option<Problem>, Problem> {
        let Self { context, session, settings, .. } = self;
        if context.settings.when_closed(&settings.pool) != WhenClosed::Refuse {
            return Ok(None);
        }
        let wait = context.store.closed(session.id.cell(), &settings.pool, None).await?;
        Ok(wait.map(full::closed))
    }

    /// Queues the job that comes after so many others; false if another call has put one there
    /// since. Gives why there is no room for it, or that its picture is gone: frames that were made
    /// from it before are handed out all the same.
    async fn submit(&self, made: u64) -> Result<Result<bool, Problem>, Problem> {
        let Self { context, session, settings, .. } = self;
        let id = JobId::new(session.id.cell(), uuid::Uuid::now_v7());
        let mut job = self.body.job_after(made);
        let placed = match pictures::place(context, session, &id, &mut job).await {
            Ok(placed) => placed,
            Err(problem) => return Ok(Err(problem)),
        };
        let input = submit::json_text(&job.input);
        let new = Submission {
            id: &id,
            session: &session.id,
            tenant: Some(&session.tenant),
            pool: &settings.pool,
            model: self.model,
            priority: self.body.priority,
            input: input.get(),
            metadata: "{}",
            start_within: None,
            catalogue: settings.catalogue,
            shelf: Some(Place { digest: &self.digest, made }),
            idempotency: None,
            fingerprint: None,
        };
        let answer = context.store.submit(&new).await?;
        if !matches!(answer, Submitted::Accepted { .. } | Submitted::Hit { .. }) {
            placed.undo(context, session).await;
        }
        Ok(match answer {
            Submitted::Accepted { .. } | Submitted::Hit { .. } => Ok(true),
            Submitted::ShelfMoved => Ok(false),
            Submitted::SessionFull(full) => Err(full::session(full)),
            Submitted::QueueFull(full) => Err(full::queue(full)),
            Submitted::Replayed(_) | Submitted::KeyReused(..) => {
                unreachable!("a request without a key has none that is known")
            }
        })
    }
}
