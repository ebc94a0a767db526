//! Every error as one document: RFC 9457 members and an OpenAI-style `error` object, both true.
//!
//! Comes in: a `Code` with what the caller may read, from every handler and extractor; a
//! `StoreError` through the one exhaustive map below. Goes out: `application/problem+json`, with
//! the headers that belong to it (Retry-After, Allow, WWW-Authenticate, Content-Range).
//! Invariant: `detail` says what to do and names no secret, host or prompt; the operator's side,
//! `cause`, goes to the log only. `type` is a URN, because nobody should have to be online to look
//! up an error. Whoever is left without a picture is given one to show, `fallback`: that of the
//! script that refused, else the one that ships, which needs no Redis.
//! Source: RFC 9457; both OpenAI SDKs read the `error` object (reference/genapi.md 3).

/// What can go wrong.
mod code;

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_RANGE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use actix_web::{HttpResponse, ResponseError};
use framewire_shared::domain::{Fallback, InputFault};
use framewire_shared::store::StoreError;
use serde::Serialize;

use super::openapi::mirror::{self, FieldFault};
pub use code::Code;

/// Seconds after which a request refused for want of Redis is worth another try.
const RETRY_STORE_S: u32 = 2;
/// Seconds after which a full queue may have room again, where its pace is not known.
const RETRY_FULL_S: u32 = 10;
/// Bounds of what the pool's pace says, in seconds: never at once, and what is further away than a
/// minute is not foreseen.
const RETRY_PACE_S: std::ops::RangeInclusive<u64> = 1..=60;

/// An error on its way to the caller. Boxed, because every `Result` of a handler has room for it.
#[derive(Debug)]
pub struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<InputFault>,
    param: Option<String>,
    fallback: Option<Fallback>,
    headers: Vec<(HeaderName, HeaderValue)>,
    cause: Option<String>,
}

/// Any error, as a document (RFC 9457) with an OpenAI-style `error` in it
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Problem, example = json!({"type": "urn:framewire:problem:job_not_found",
    "title": "No such job", "status": 404,
    "detail": "There is no such job in this session; it may have expired.",
    "instance": "/v1/jobs/job_c0_0", "code": "job_not_found",
    "error": {"message": "There is no such job in this session; it may have expired.",
        "type": "invalid_request_error", "param": null, "code": "job_not_found"}}))]
pub struct Document<'a> {
    /// Names the kind of error; not meant to be looked up
    r#type: String,
    /// The kind of error, for people
    title: &'static str,
    /// The HTTP status
    status: u16,
    /// What is wrong and what to do
    detail: &'a str,
    /// The path at which it happened
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// The kind of error, for programs
    code: &'static str,
    /// Every faulty field
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    #[schema(required = false, value_type = Vec<FieldFault>)]
    errors: &'a [InputFault],
    /// What to show instead, where a picture was wanted
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false, value_type = mirror::Fallback)]
    fallback: Option<&'a Fallback>,
    /// The same, as OpenAI's clients read it
    error: OpenAiError<'a>,
}

/// An error as OpenAI's clients read it
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = OpenAiError)]
pub struct OpenAiError<'a> {
    /// What is wrong and what to do
    message: &'a str,
    /// A coarse kind of error
    r#type: &'static str,
    /// The first faulty field
    #[schema(required)]
    param: Option<&'a str>,
    /// The kind of error, for programs
    code: &'static str,
}

impl Problem {
    /// Makes a problem; `detail` says to the caller what is wrong and what to do.
    pub fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Parts {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            param: None,
            fallback: code.leaves_no_frame().then(Fallback::shipped),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// Makes the 422 that names every faulty field at once.
    pub fn invalid(errors: Vec<InputFault>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{} {}", only.pointer, only.detail),
            many => format!("{} fields can't be accepted; see `errors`", many.len()),
        };
        let mut problem = Self::new(Code::InvalidValue, detail);
        let first = errors.first().map(|fault| fault.pointer.trim_start_matches("#/"));
        problem.0.param = first.map(|pointer| pointer.replace('/', "."));
        problem.0.errors = errors;
        problem
    }

    /// Makes the 404 for a job that is not there, has expired, or is another's: nobody can tell.
    pub fn no_job() -> Self {
        let detail = "There is no such job in this session; it may have expired.";
        Self::new(Code::JobNotFound, detail)
    }

    /// Names the query parameter or header that it is about.
    pub fn param(mut self, name: &str) -> Self {
        self.0.param = Some(name.to_owned());
        self
    }

    /// Gives a picture that is nearer to the one that was wanted.
    pub fn fallback(mut self, fallback: Fallback) -> Self {
        self.0.fallback = Some(fallback);
        self
    }

    /// Tells whether it shows a picture in place of the one that was wanted.
    pub fn has_fallback(&self) -> bool {
        self.0.fallback.is_some()
    }

    /// Says when another try is worth it.
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Lists the methods that the path has.
    pub fn allow(self, methods: &str) -> Self {
        match HeaderValue::try_from(methods) {
            Ok(value) => self.header(ALLOW, value),
            Err(_) => self,
        }
    }

    /// Says how long the thing is whose range was asked for.
    pub fn length(self, bytes: u64) -> Self {
        match HeaderValue::try_from(format!("bytes */{bytes}")) {
            Ok(value) => self.header(CONTENT_RANGE, value),
            Err(_) => self,
        }
    }

    /// Says how to authenticate.
    pub fn challenge(self, challenge: &'static str) -> Self {
        self.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))
    }

    /// Keeps what an operator needs to know; it goes to the log, never to the caller.
    pub fn cause(mut self, error: &(dyn std::error::Error + 'static)) -> Self {
        self.0.cause = Some(chain(error));
        self
    }

    /// Tells what an operator needs to know.
    pub fn operators_cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// Tells its code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Renders it, with the path at which it happened.
    pub fn respond(&self, instance: Option<&str>) -> HttpResponse {
        let (code, status, title, kind) = self.0.code.row();
        let document = Document {
            r#type: format!("urn:framewire:problem:{code}"),
            title,
            status,
            detail: &self.0.detail,
            instance,
            code,
            errors: &self.0.errors,
            fallback: self.0.fallback.as_ref(),
            error: OpenAiError {
                message: &self.0.detail,
                r#type: kind,
                param: self.0.param.as_deref(),
                code,
            },
        };
        let body = serde_json::to_vec(&document)
            .unwrap_or_else(|error| unreachable!("our types are JSON: {error}"));
        let mut response = HttpResponse::build(self.0.code.status());
        response.content_type("application/problem+json");
        response.insert_header((CACHE_CONTROL, "no-store"));
        for (name, value) in &self.0.headers {
            response.insert_header((name, value));
        }
        response.body(body)
    }

    fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.word(), self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.code.status()
    }

    fn error_response(&self) -> HttpResponse {
        self.respond(None)
    }
}

/// The one map from what the store may answer to what a caller reads.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = match &error {
            StoreError::Unavailable(_) => Self::new(
                Code::Unavailable,
                "The queue can't be reached right now. Nothing is lost; send the same request \
                 again in a moment.",
            )
            .retry_after(RETRY_STORE_S),
            StoreError::Refused(_) => Self::new(
                Code::Unavailable,
                "The queue accepts nothing right now. Send the same request again later.",
            )
            .retry_after(RETRY_FULL_S),
            StoreError::Blobs(_) => Self::new(
                Code::Unavailable,
                "The frames can't be read right now. Ask again in a moment.",
            )
            .retry_after(RETRY_STORE_S),
            StoreError::Garbled(_) => Self::new(
                Code::Internal,
                "The gateway did not understand what it has stored. An operator can see why in \
                 its log.",
            ),
        };
        problem.cause(&error)
    }
}

/// Writes an error and what caused it on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("failed to {error}");
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// Makes the refusals of a submission that is well-formed but has no room.
pub mod full {
    use std::time::Duration;

    use framewire_shared::store::codec::Full;

    use super::{Code, Problem, RETRY_FULL_S, RETRY_PACE_S};

    /// The session has as many unfinished jobs as it may.
    pub fn session(full: Full) -> Problem {
        let detail = format!(
            "This session has {} unfinished jobs, which is as many as it may have. \
             Wait for one to end, or cancel one.",
            full.jobs
        );
        refuse(Code::SessionFull, detail, full)
    }

    /// The pool has as many waiting jobs as it may.
    pub fn queue(full: Full) -> Problem {
        let jobs = full.jobs;
        let detail = format!("{jobs} jobs wait already, which is as many as may. Try again later.");
        refuse(Code::QueueFull, detail, full)
    }

    /// Nobody may be asked to draw for so long, and the pool refuses meanwhile.
    pub fn closed(wait: Duration) -> Problem {
        let detail = "Nobody who draws this model can be asked right now. Try again later.";
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        Problem::new(Code::PoolClosed, detail).retry_after(retry_s(Some(wait_ms)))
    }

    fn refuse(code: Code, detail: String, full: Full) -> Problem {
        let retry_s = retry_s(full.room_ms);
        Problem::new(code, detail).retry_after(retry_s).fallback(full.fallback)
    }

    /// Says in whole seconds when there should be room.
    pub(super) fn retry_s(room_ms: Option<u64>) -> u32 {
        let seconds = room_ms.map_or(RETRY_FULL_S.into(), |ms| ms.div_ceil(1_000));
        let seconds = seconds.clamp(*RETRY_PACE_S.start(), *RETRY_PACE_S.end());
        u32::try_from(seconds).unwrap_or(RETRY_FULL_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody;

    fn document(problem: &Problem) -> String {
        let response = problem.respond(Some("/v1/jobs"));
        let body = response.into_body().try_into_bytes().unwrap();
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    }

    #[test]
    fn a_422_names_every_field_in_both_dialects() {
        let problem = Problem::invalid(vec![
            InputFault::new("#/input/width", "must be a multiple of 8 from 64 to 2048, but is 0"),
            InputFault::new("#/input/prompt", "must not be empty"),
        ]);
        insta::assert_snapshot!(document(&problem));
    }

    #[test]
    fn what_broke_redis_is_for_the_operator_alone() {
        let error = std::io::Error::other("OOM command not allowed at 10.0.0.7");
        let problem = Problem::from(StoreError::Refused(error.into()));
        assert!(!document(&problem).contains("OOM"));
        assert!(!document(&problem).contains("10.0.0.7"));
        assert_eq!(
            problem.operators_cause(),
            Some("failed to have Redis accept a command: OOM command not allowed at 10.0.0.7")
        );
        assert_eq!(problem.status_code(), 503);
        insta::assert_snapshot!(document(&problem));
    }

    #[test]
    fn a_wait_for_room_is_never_none_and_never_more_than_can_be_foreseen() {
        let waits = [Some(0), Some(1), Some(1_000), Some(1_001), Some(u64::MAX), None];
        assert_eq!(waits.map(full::retry_s), [1, 1, 1, 2, 60, RETRY_FULL_S]);
    }

    #[test]
    fn no_two_codes_share_a_word() {
        for (place, code) in Code::ALL.iter().enumerate() {
            let twin = Code::ALL[..place].iter().find(|other| other.word() == code.word());
            assert_eq!(twin, None);
            assert!(code.status().is_client_error() || code.status().is_server_error());
        }
    }
}
