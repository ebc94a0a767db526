//! `POST /v1/stream-tickets`: leave to open one stream, in an address instead of a header.
//!
//! For pages of other origins: their EventSource can send no header, and browsers send them no cookie.
//! A token in an address would end up in histories and logs for thirty days; a ticket is good once and
//! for half a minute, and only for reading events. Any gateway takes what another one gave.
//! A spent ticket is 401, which ends an EventSource for good, and that is right: it would otherwise come
//! back with the same address for ever. The page gets a new ticket and opens another, with `cursor`.

use std::future::Future;
use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::http::header::REFERRER_POLICY;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use framewire_shared::store::tickets::TICKET_LIFETIME;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::Session;
use super::extract::Params;
use super::job_json::At;
use super::problem::{Code, Problem};
use super::{Context, NO_STORE};

/// Leave to open one stream
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = StreamTicket)]
pub struct TicketView<'a> {
    /// Good once, for `GET /v1/events`, its `/poll`, or a job's events
    ticket: &'a str,
    /// When it can't be used any more
    #[schema(value_type = String, format = DateTime)]
    expires_at: At,
    /// The stream's address with the ticket in it; add `&cursor=` with the last `id` to go on
    url: String,
}

/// Gives leave to open one stream of this session's events without a header or cookie.
#[utoipa::path(post, path = "/v1/stream-tickets", tag = "events", operation_id = "createStreamTicket",
    summary = "Gives a ticket that opens one stream",
    description = "For pages of other origins, whose EventSource can send neither header nor cookie. \
        A ticket is good once and for 30 s. A stream that ends is opened again with a new one, and \
        with the last `id` as `cursor`; a spent ticket is 401.",
    responses(
        (status = 201, description = "A new ticket", body = TicketView),
        (status = 401, description = "No session"),
        (status = 403, description = "Another site asked for it"),
        (status = 503, description = "Not available right now"),
    ))]
pub async fn create(context: Data<Context>, session: Session) -> Result<HttpResponse, Problem> {
    let ticket = context.store.issue_ticket(&session.id, &session.tenant).await?;
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or_default();
    let lifetime_ms = TICKET_LIFETIME.as_secs() * 1_000;
    Ok(HttpResponse::Created()
        .insert_header(NO_STORE)
        .insert_header((REFERRER_POLICY, "no-referrer"))
        .json(TicketView {
            ticket: &ticket,
            expires_at: At(now_ms + lifetime_ms),
            url: format!("/v1/events?ticket={ticket}"),
        }))
}

/// The session whose events a request may read: that of its ticket, else its own. An error only if
/// nobody can tell right now, which a stream says in band.
#[derive(Debug)]
pub struct Reader(pub Result<Session, Problem>);

impl Reader {
    fn of(answer: Result<Session, Problem>) -> Result<Self, Problem> {
        match answer {
            Err(problem) if problem.code() != Code::Unavailable => Err(problem),
            answer => Ok(Self(answer)),
        }
    }
}

impl FromRequest for Reader {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let params = match Params::of(request) {
            Ok(params) => params,
            Err(problem) => return Box::pin(std::future::ready(Err(problem))),
        };
        let Some(ticket) = params.text("ticket").map(str::to_owned) else {
            let own = Session::from_request(request, payload);
            return Box::pin(async { Self::of(own.await) });
        };
        let context = request.app_data::<Data<Context>>().cloned();
        Box::pin(async move {
            let context = context
                .unwrap_or_else(|| unreachable!("App::build gives every worker the context"));
            Self::of(match context.store.redeem_ticket(&ticket).await {
                Ok(Some((id, tenant))) => Ok(Session { id, tenant }),
                Ok(None) => Err(spent()),
                Err(error) => Err(error.into()),
            })
        })
    }
}

fn spent() -> Problem {
    Problem::new(
        Code::InvalidTicket,
        "This ticket opens no stream: it was used, or is older than 30 s. Get a new one with \
         POST /v1/stream-tickets, and add the last event's id as \"cursor\".",
    )
    .challenge(r#"Bearer realm="framewire", error="invalid_token""#)
}
