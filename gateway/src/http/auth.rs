//! Who asks: a session's token into the session's id.
//!
//! Comes in: `Authorization: Bearer <token>` (also `Key <token>`), else the cookie. Goes out:
//! `Session`, which every route of a session takes; what is not its own does not exist for it.
//! A cookie goes wherever the browser is sent, so a request that another site caused is refused by
//! the browser's own word for it (`Sec-Fetch-Site`), unless its origin is one that the operator listed
//! (`gateway.cors_origins`); a token in a header can't be sent by accident.
//! Verified tokens are remembered by digest for half a minute, so that a submit is one script and no
//! more; a wrong token is never remembered. Tokens are not logged, not stored, not told apart by time.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use actix_web::cookie::time::Duration as CookieDuration;
use actix_web::cookie::{Cookie, SameSite};
use actix_web::dev::Payload;
use actix_web::http::header::{AUTHORIZATION, COOKIE, HeaderValue};
use actix_web::{FromRequest, HttpRequest, web};
use framewire_shared::domain::{SessionId, Tenant};
use framewire_shared::service::settings::Settings;
use framewire_shared::store::sessions::SESSION_LIFETIME;
use framewire_shared::store::{Store, StoreError};
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};
use super::{Context, cors};

/// Name of the cookie that holds the token.
pub const COOKIE_NAME: &str = "framewire";
/// How long a verified token is remembered: the longest time a revoked one still opens a door.
const REMEMBERED: Duration = Duration::from_secs(30);
/// Tokens remembered; beyond it the least used are asked for again.
const REMEMBERED_MAX: u64 = 100_000;
/// Longest text looked at as a token; ours have about 83 characters.
const TOKEN_CHARS_MAX: usize = 128;

/// The session that a request belongs to.
#[derive(Debug, Clone)]
pub struct Session {
    /// Its name.
    pub id: SessionId,
    /// Who answers for it.
    pub tenant: Tenant,
}

/// Verified tokens, by digest.
#[derive(Debug, Clone)]
pub struct Tokens {
    verified: moka::future::Cache<[u8; 32], Session>,
}

impl Default for Tokens {
    fn default() -> Self {
        let verified = moka::future::Cache::builder()
            .max_capacity(REMEMBERED_MAX)
            .time_to_live(REMEMBERED)
            .build();
        Self { verified }
    }
}

impl Tokens {
    /// Tells whose token this is; `None` if nobody's.
    async fn verify(&self, store: &Store, token: &str) -> Result<Option<Session>, StoreError> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(session) = self.verified.get(&digest).await {
            return Ok(Some(session));
        }
        let verified = store.verify_token(token).await?;
        let session = verified.map(|(id, tenant)| Session { id, tenant });
        if let Some(session) = &session {
            self.verified.insert(digest, session.clone()).await;
        }
        Ok(session)
    }
}

impl FromRequest for Session {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let context = request
                .app_data::<web::Data<Context>>()
                .unwrap_or_else(|| unreachable!("App::build gives every worker the context"));
            let token = token(&request, &context.settings)?;
            let session = context.tokens.verify(&context.store, token).await?;
            session.ok_or_else(stranger)
        })
    }
}

/// Reads a header's credential; `None` if it is none of a kind that we take.
pub(super) fn credential(header: &HeaderValue) -> Option<&str> {
    let (scheme, token) = header.to_str().ok()?.trim().split_once(' ')?;
    let known = ["bearer", "key"].iter().any(|word| scheme.eq_ignore_ascii_case(word));
    let token = token.trim();
    (known && token.len() <= TOKEN_CHARS_MAX).then_some(token)
}

/// Tells who answers for a new session: whose key the request carries, the public if it has none.
pub fn tenant(request: &HttpRequest, settings: &Settings) -> Result<Tenant, Problem> {
    let Some(header) = request.headers().get(AUTHORIZATION) else {
        let open = settings.gateway.anonymous_sessions;
        return if open { Ok(Tenant::public()) } else { Err(keyless()) };
    };
    let whose = credential(header).and_then(|key| settings.tenants.whose(key));
    whose.cloned().ok_or_else(|| wrong_key(settings.gateway.anonymous_sessions))
}

/// Finds the token of a request.
fn token<'a>(request: &'a HttpRequest, settings: &Settings) -> Result<&'a str, Problem> {
    if let Some(header) = request.headers().get(AUTHORIZATION) {
        return credential(header).ok_or_else(stranger);
    }
    let cookies = request.headers().get_all(COOKIE).filter_map(|line| line.to_str().ok());
    let token = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value.trim_matches('"')));
    match token {
        None => Err(nobody()),
        Some(token) if token.len() > TOKEN_CHARS_MAX => Err(stranger()),
        Some(token) => refuse_cross_site(request, settings).map(|()| token),
    }
}

/// Finds the session that a browser's cookie opens, with its token; `None` if it opens none.
pub async fn of_cookie<'a>(
    request: &'a HttpRequest,
    context: &Context,
) -> Result<Option<(Session, &'a str)>, StoreError> {
    if request.headers().contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let Ok(token) = token(request, &context.settings) else { return Ok(None) };
    let session = context.tokens.verify(&context.store, token).await?;
    Ok(session.map(|session| (session, token)))
}

/// Refuses what a page of another site made the browser send, if the operator has not listed it.
pub fn refuse_cross_site(request: &HttpRequest, settings: &Settings) -> Result<(), Problem> {
    match request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) if cors::is_listed(request, &settings.gateway.cors_origins) => Ok(()),
        Some(_) => Err(Problem::new(
            Code::CrossSite,
            "Another site made your browser ask for this, so the session's cookie is not honoured. \
             Open the studio itself, or send the token as \"Authorization: Bearer <token>\".",
        )),
    }
}

fn nobody() -> Problem {
    Problem::new(
        Code::InvalidToken,
        "This needs a session. Make one with POST /v1/sessions, then send its token as \
         \"Authorization: Bearer <token>\"; a browser keeps it in a cookie.",
    )
    .challenge(r#"Bearer realm="framewire""#)
}

fn stranger() -> Problem {
    Problem::new(
        Code::InvalidToken,
        "This token opens no session here; it may have expired. Make a new one with \
         POST /v1/sessions.",
    )
    .challenge(r#"Bearer realm="framewire", error="invalid_token""#)
}

fn keyless() -> Problem {
    Problem::new(
        Code::InvalidKey,
        "Sessions are made with a tenant's key here. Have your backend send it as \
         \"Authorization: Bearer <key>\", and hand the session's token to the browser.",
    )
    .challenge(r#"Bearer realm="framewire""#)
}

fn wrong_key(is_open: bool) -> Problem {
    let detail = match is_open {
        true => {
            "This key is no tenant's here. Send the right one, or leave the header out for a \
             session of nobody's in particular."
        }
        false => "This key is no tenant's here. Send the one that the operator gave you.",
    };
    Problem::new(Code::InvalidKey, detail)
        .challenge(r#"Bearer realm="framewire", error="invalid_token""#)
}

/// Makes the cookie that holds a token.
pub fn cookie(token: &str, secure: bool) -> Cookie<'_> {
    let lifetime_s = SESSION_LIFETIME.as_secs().cast_signed();
    Cookie::build(COOKIE_NAME, token)
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(secure)
        .max_age(CookieDuration::seconds(lifetime_s))
        .finish()
}
