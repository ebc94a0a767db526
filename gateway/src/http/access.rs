//! What happens to every request: a name for it, a count, one line in the log, and errors in one form.
//!
//! The request's id is the caller's `X-Request-Id` if it is harmless, else drawn here; it is in the
//! answer and in the log, so that a user can quote it. Errors that are not yet a `Problem` become
//! one here, and each gets the path at which it happened. No page of another origin may embed what
//! does not say itself that it may. Neither query strings nor headers nor
//! bodies are logged: they hold prompts, cursors and tokens.

use std::time::Instant;

use actix_web::Error;
use actix_web::body::{BoxBody, EitherBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{CROSS_ORIGIN_RESOURCE_POLICY, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;

use super::Context;
use super::problem::{Code, Problem};
use super::submit::REPLAYED;
use crate::metrics::Answered;

/// Carries a request's id, in and out.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest id taken over from a caller.
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Whose pages may embed an answer.
const OWN_PAGES: HeaderValue = HeaderValue::from_static("same-origin");

/// Names, times and logs a request, and gives its error the one form.
pub async fn access<B: MessageBody + 'static>(
    request: ServiceRequest,
    next: Next<B>,
) -> Result<ServiceResponse<EitherBody<B, BoxBody>>, Error> {
    let started = Instant::now();
    let id = request_id(&request);
    let response = next.call(request).await?;
    let status = response.status();
    let (mut cause, mut code) = (None, None);
    let mut response = if status.is_client_error() || status.is_server_error() {
        let problem = response.response().error().and_then(Error::as_error::<Problem>);
        cause = problem.and_then(|problem| problem.operators_cause().map(str::to_owned));
        let path = response.request().path();
        let made_here;
        let problem = match problem {
            Some(problem) => problem,
            None => {
                made_here = foreign(status);
                &made_here
            }
        };
        code = Some(problem.code());
        let document = problem.respond(Some(path));
        response.into_response(document).map_into_right_body()
    } else {
        response.map_into_left_body()
    };
    count(&response, code, started);
    log(&response, &id, started, cause.as_deref());
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    if !headers.contains_key(CROSS_ORIGIN_RESOURCE_POLICY) {
        headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, OWN_PAGES);
    }
    Ok(response)
}

fn count<B>(response: &ServiceResponse<B>, code: Option<Code>, started: Instant) {
    let request = response.request();
    let Some(context) = request.app_data::<Data<Context>>() else {
        return;
    };
    let route = request.match_pattern();
    context.metrics.answered(&Answered {
        route: route.as_deref(),
        method: request.method().as_str(),
        status: response.status().as_u16(),
        code,
        replayed: response.headers().contains_key(REPLAYED),
        took: started.elapsed(),
    });
}

fn log<B>(response: &ServiceResponse<B>, id: &HeaderValue, started: Instant, cause: Option<&str>) {
    let status = response.status();
    if !status.is_server_error() && !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let request = response.request();
    let (method, path) = (request.method().as_str(), request.path());
    let request_id = id.to_str().unwrap_or_default();
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let status = status.as_u16();
    if status >= 500 {
        tracing::warn!(method, path, status, elapsed_us, request_id, cause, "refused a request");
    } else {
        tracing::debug!(method, path, status, elapsed_us, request_id, "answered a request");
    }
}

fn request_id(request: &ServiceRequest) -> HeaderValue {
    let harmless = |c: &u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    if let Some(given) = request.headers().get(REQUEST_ID)
        && (1..=REQUEST_ID_CHARS_MAX).contains(&given.len())
        && given.as_bytes().iter().all(harmless)
    {
        return given.clone();
    }
    let drawn = format!("{:016x}", rand::random::<u64>());
    HeaderValue::try_from(drawn).unwrap_or(HeaderValue::from_static("none"))
}

/// Gives the problem for an error that the framework made.
fn foreign(status: StatusCode) -> Problem {
    match status {
        StatusCode::NOT_FOUND => no_route(),
        StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(Code::PayloadTooLarge, "The body is larger than what is accepted.")
        }
        status if status.is_server_error() => {
            Problem::new(Code::Internal, "Something broke on our side. Try again.")
        }
        _ => Problem::new(Code::BadRequest, "The request can't be understood."),
    }
}

/// Gives the problem for a path that leads nowhere.
pub fn no_route() -> Problem {
    Problem::new(
        Code::RouteNotFound,
        "There is nothing at this path. /openapi.json lists all there is.",
    )
}
