//! `POST /v1/sessions`: a new session, as a token for programs and a cookie for browsers.

use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use framewire_shared::domain::InputFault;
use framewire_shared::service::settings::Settings;
use framewire_shared::store::sessions::SESSION_LIFETIME;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::job_json::At;
use super::problem::Problem;
use super::{Context, auth, extract};

/// A session that is asked for
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// Keeps the session that the browser's cookie opens, if it opens one; a page that asks so on every
    /// visit has a session without a failed request, and one that lives as long as it is used
    #[serde(default)]
    keep: bool,
}

impl extract::Body for SessionRequest {
    const REQUIRED: &'static [&'static str] = &[];

    fn expected(pointer: &str) -> Option<&'static str> {
        (pointer == "/keep").then_some("true or false")
    }

    fn placeholder(_: &str) -> Value {
        Value::Bool(false)
    }

    fn check(&self, _: &Settings) -> Vec<InputFault> {
        Vec::new()
    }
}

/// A new session
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionView<'a> {
    /// Its name
    id: &'a str,
    /// Its secret, shown this once; absent where a session was kept
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// When it ends unless it is used
    #[schema(value_type = String, format = DateTime)]
    expires_at: At,
}

/// Makes a session.
///
/// Programs send the token as `Authorization: Bearer`; browsers keep it in a cookie. A tenant's
/// backend sends the tenant's key as `Authorization: Bearer`, and the session is the tenant's; where
/// the operator has switched sessions without a key off, that is the only way to one.
#[utoipa::path(post, path = "/v1/sessions", tag = "sessions", operation_id = "createSession",
    security(()), request_body(content = Option<SessionRequest>, description = "`{}` or nothing"),
    responses(
        (status = 200, description = "The session that was kept", body = SessionView,
            headers(("Set-Cookie", description = "The token, for as long again"))),
        (status = 201, description = "A new session", body = SessionView,
            headers(("Set-Cookie", description = "The token, for browsers"))),
        (status = 401, description = "No tenant's key, where one is needed, or one that is nobody's"),
        (status = 403, description = "Another site asked for it"),
        (status = 503, description = "Not available right now"),
    ))]
pub async fn create(
    context: Data<Context>,
    request: HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    // A page of another site could otherwise replace a user's session with a fresh one by a form.
    auth::refuse_cross_site(&request, &context.settings)?;
    // Who has a session keeps it without a key.
    let tenant = auth::tenant(&request, &context.settings);
    let bytes_max = context.settings.gateway.body_bytes_max;
    let bytes = extract::bytes(&request, payload, bytes_max, |_| Ok(())).await?;
    let mut wanted = SessionRequest::default();
    if !bytes.is_empty() {
        extract::refuse_other_types(&request)?;
        wanted = extract::parse::<SessionRequest>(&bytes, &context.settings)?;
    }
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let expires_at = At(now_ms + SESSION_LIFETIME.as_secs() * 1_000);
    let secure = context.settings.gateway.has_secure_cookie();
    if wanted.keep
        && let Some((session, token)) = auth::of_cookie(&request, &context).await?
    {
        let kept = SessionView { id: session.id.as_str(), token: None, expires_at };
        return Ok(HttpResponse::Ok()
            .cookie(auth::cookie(token, secure))
            .insert_header(super::NO_STORE)
            .json(kept));
    }
    let session = context.store.create_session_for(&tenant?).await?;
    let made = SessionView { id: session.id.as_str(), token: Some(&session.token), expires_at };
    Ok(HttpResponse::Created()
        .cookie(auth::cookie(&session.token, secure))
        .insert_header(super::NO_STORE)
        .json(made))
}
