//! Jobs by name: read, wait for, list, cancel, retry, delete.
//!
//! Every path here begins with "is it this session's?", and the answer to anybody else is the same
//! 404 as for a job that never was, or that has expired or was deleted: no trace is kept of those, so
//! nobody could be told 410. An answer's ETag is `"<v>-<digest>"`: `v` for people, the digest
//! because progress and position move without a change of `v`.

use std::time::Duration;

use actix_web::http::header::{ETAG, HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use framewire_shared::domain::JobId;
use framewire_shared::store::codec::{Deleted, JobRow, Retried};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::auth::Session;
use super::extract::Params;
use super::job_json::{JobView, Urls};
use super::problem::{Code, Problem};
use super::{Context, NO_STORE};

/// Seconds that a caller may wait for a job's end in one request.
pub const WAIT_S: std::ops::RangeInclusive<u32> = 1..=60;
/// Jobs on one page.
const PAGE_JOBS: std::ops::RangeInclusive<u32> = 1..=100;
/// Jobs on one page where the caller does not say.
const PAGE_JOBS_DEFAULT: u32 = 20;
/// Who cancels, as the event tells it.
const BY_USER: &str = "user";

/// Reads a job's name; what is no name is no job.
fn name(path: &str) -> Result<JobId, Problem> {
    path.parse().map_err(|_| Problem::no_job())
}

/// Reads a job of this session, waiting up to `wait` for its end.
pub async fn own(
    context: &Context,
    session: &Session,
    id: &JobId,
    wait: Duration,
) -> Result<JobRow, Problem> {
    let row = context.store.job(id).await?;
    let row = row.filter(|row| row.job.session == session.id).ok_or_else(Problem::no_job)?;
    if wait.is_zero() || row.job.state.is_terminal() {
        return Ok(row);
    }
    context.live.wait_for(&session.id, id, wait).await?.ok_or_else(Problem::no_job)
}

/// Fails with 404 unless the job is this session's.
async fn refuse_others(context: &Context, session: &Session, id: &JobId) -> Result<(), Problem> {
    match context.store.owner(id).await? {
        Some(owner) if owner == session.id => Ok(()),
        _ => Err(Problem::no_job()),
    }
}

/// Finishes an answer with JSON that nobody may keep.
pub fn answer(response: &mut HttpResponseBuilder, view: &impl Serialize) -> HttpResponse {
    let body = serde_json::to_vec(view)
        .unwrap_or_else(|error| unreachable!("our types are JSON: {error}"));
    response.insert_header(NO_STORE).content_type("application/json").body(body)
}

/// Shows one job.
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "getJob",
    params(
        ("id" = String, Path, description = "The job"),
        ("wait" = Option<u32>, Query, description = "Wait so many seconds for its end",
            minimum = 1, maximum = 60),
        ("If-None-Match" = Option<String>, Header, description = "The ETag that you have"),
    ),
    responses(
        (status = 200, description = "The job", body = JobView,
            headers(("ETag", description = "Changes with the job"),
                ("Retry-After", description = "When to ask again; absent when it has ended"))),
        (status = 304, description = "You have it"),
        (status = 400, description = "`wait` can't be read"),
        (status = 401, description = "No session"),
        (status = 404, description = "No such job in this session"),
    ))]
pub async fn show(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let id = name(&path)?;
    let wait = Params::of(&request)?.number("wait", WAIT_S)?.unwrap_or_default();
    let row = own(&context, &session, &id, Duration::from_secs(wait.into())).await?;
    let body = serde_json::to_vec(&JobView::from(&row))
        .unwrap_or_else(|error| unreachable!("our types are JSON: {error}"));
    let etag = etag(row.job.v, &body);
    let mut response = HttpResponse::Ok();
    if !row.job.state.is_terminal() {
        response.insert_header((RETRY_AFTER, "1"));
    }
    response.insert_header((ETAG, etag.as_str()));
    // The browser may keep it, and must ask before it shows it again.
    response.insert_header(super::NO_CACHE);
    if matches_etag(&request, &etag) {
        return Ok(response.status(actix_web::http::StatusCode::NOT_MODIFIED).finish());
    }
    Ok(response.content_type("application/json").body(body))
}

fn etag(v: u64, body: &[u8]) -> String {
    let digest = Sha256::digest(body);
    let short = digest.iter().take(8).fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    format!("\"{v}-{short:016x}\"")
}

/// Tells whether the caller has this version already.
pub fn matches_etag(request: &HttpRequest, etag: &str) -> bool {
    let lines = request.headers().get_all(IF_NONE_MATCH);
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(|tag| tag.trim().trim_start_matches("W/"))
        .any(|tag| tag == etag || tag == "*")
}

/// A page of jobs, newest first
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = JobPage)]
pub struct Page<'a> {
    /// Always `list`
    object: &'static str,
    /// The jobs
    data: Vec<JobView<'a>>,
    /// Send it as `cursor` for the next page; null on the last
    #[schema(required, value_type = Option<String>)]
    next_cursor: Option<&'a JobId>,
}

/// The unfinished jobs, and the position in the event stream that they reflect
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ActiveJobs)]
pub struct Active<'a> {
    /// Send it as `cursor` to `GET /v1/events` to miss nothing that comes after
    head: String,
    /// The jobs, newest first
    jobs: Vec<JobView<'a>>,
    /// Whether there are more
    more: bool,
}

/// A page of jobs, or the active ones
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Listed<'a> {
    /// Without `active`
    Page(Page<'a>),
    /// With `active=1`
    Active(Active<'a>),
}

/// Lists jobs, newest first; with `active=1` those that have not ended, with the stream's position.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", operation_id = "listJobs",
    params(
        ("limit" = Option<u32>, Query, description = "Jobs on a page", minimum = 1, maximum = 100),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
        ("active" = Option<String>, Query, description = "`1`: unfinished jobs, read in one step \
            with the stream's position"),
    ),
    responses(
        (status = 200, description = "A page, or the active jobs", body = Listed),
        (status = 400, description = "A parameter can't be read"),
        (status = 401, description = "No session"),
    ))]
pub async fn list(
    context: Data<Context>,
    session: Session,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let params = Params::of(&request)?;
    if params.switch("active")? {
        let snapshot = context.store.snapshot(&session.id).await?;
        let active = Active {
            head: snapshot.head.to_string(),
            jobs: snapshot.jobs.iter().map(JobView::from).collect(),
            more: snapshot.more,
        };
        return Ok(answer(&mut HttpResponse::Ok(), &Listed::Active(active)));
    }
    let limit = params.number("limit", PAGE_JOBS)?.unwrap_or(PAGE_JOBS_DEFAULT);
    let after = params.text("cursor").map(str::parse::<JobId>).transpose().map_err(|_| {
        let detail = "\"cursor\" must be the `next_cursor` of the page before.";
        Problem::new(Code::InvalidParameter, detail).param("cursor")
    })?;
    let (rows, next) = context.store.jobs(&session.id, after.as_ref(), limit).await?;
    let page = Page {
        object: "list",
        data: rows.iter().map(JobView::from).collect(),
        next_cursor: next.as_ref(),
    };
    Ok(answer(&mut HttpResponse::Ok(), &Listed::Page(page)))
}

/// Cancels a job: at once while it waits, through its worker while it runs. Again is the same.
#[utoipa::path(post, path = "/v1/jobs/{id}/cancel", tag = "jobs", operation_id = "cancelJob",
    params(("id" = String, Path, description = "The job")),
    responses(
        (status = 200, description = "The job: cancelled, ended before, or `cancel_requested`",
            body = JobView),
        (status = 401, description = "No session"),
        (status = 404, description = "No such job in this session"),
    ))]
pub async fn cancel(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = name(&path)?;
    refuse_others(&context, &session, &id).await?;
    context.store.cancel(&id, BY_USER).await?;
    let row = own(&context, &session, &id, Duration::ZERO).await?;
    Ok(answer(&mut HttpResponse::Ok(), &JobView::from(&row)))
}

/// Queues a failed or cancelled job again.
#[utoipa::path(post, path = "/v1/jobs/{id}/retry", tag = "jobs", operation_id = "retryJob",
    params(("id" = String, Path, description = "The job")),
    responses(
        (status = 202, description = "The job waits again", body = JobView),
        (status = 401, description = "No session"),
        (status = 404, description = "No such job in this session"),
        (status = 409, description = "It has not failed and is not cancelled"),
    ))]
pub async fn retry(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = name(&path)?;
    refuse_others(&context, &session, &id).await?;
    match context.store.retry(&id).await? {
        Retried::Queued(_) => {}
        Retried::Missing => return Err(Problem::no_job()),
        Retried::Refused(state) => {
            let code = if state.is_terminal() { Code::Conflict } else { Code::JobNotFinished };
            let state = state.as_str();
            let detail = format!(
                "Only a failed or cancelled job can be tried again, and this one is {state}."
            );
            return Err(Problem::new(code, detail));
        }
    }
    let row = own(&context, &session, &id, Duration::ZERO).await?;
    let mut response = HttpResponse::Accepted();
    response.insert_header((LOCATION, Urls::of(&id).to_self()));
    response.insert_header((RETRY_AFTER, HeaderValue::from_static("1")));
    Ok(answer(&mut response, &JobView::from(&row)))
}

/// Deletes a job that has ended, and its frames. No event tells of it.
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", operation_id = "deleteJob",
    params(("id" = String, Path, description = "The job")),
    responses(
        (status = 204, description = "It is gone, and so are its frames"),
        (status = 401, description = "No session"),
        (status = 404, description = "No such job in this session"),
        (status = 409, description = "It has not ended; cancel it first"),
    ))]
pub async fn delete(
    context: Data<Context>,
    session: Session,
    path: Path<String>,
) -> Result<HttpResponse, Problem> {
    let id = name(&path)?;
    match context.store.delete(&id, &session.id).await? {
        Deleted::Deleted => {}
        Deleted::Missing => return Err(Problem::no_job()),
        Deleted::Refused(state) => {
            let state = state.as_str();
            let detail = format!(
                "Only a job that has ended can be deleted, and this one is {state}; cancel it first."
            );
            return Err(Problem::new(Code::JobNotFinished, detail));
        }
    }
    // Nobody can ask for them any more. What is left of them now goes by its age.
    if let Err(error) = context.blobs.remove_job(&id).await {
        tracing::warn!(job = %id, %error, "could not remove the frames of a deleted job yet");
    }
    Ok(HttpResponse::NoContent().finish())
}
