//! Stream tickets: leave to read a session's events once, without its token.
//!
//! A ticket names its cell and 256 random bits: `tkt_c0_<43 characters>`. Redis keeps the digest, as
//! of tokens, and takes the ticket away in the same step in which it is honoured, so that of two who
//! use it at the same moment one is refused. Nobody has to tidy up: what is not used lapses.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::sessions::digest;
use super::{Store, StoreError, keys};
use crate::domain::{Cell, SessionId, Tenant};

/// How long a ticket may be carried before it is used.
pub const TICKET_LIFETIME: Duration = Duration::from_secs(30);

/// What a ticket begins with.
const PREFIX: &str = "tkt_";
/// Longest text looked at as a ticket.
const TICKET_CHARS_MAX: usize = 64;

impl Store {
    /// Issues a ticket for a session's events. Called twice, it issues two.
    pub async fn issue_ticket(
        &self,
        session: &SessionId,
        tenant: &Tenant,
    ) -> Result<String, StoreError> {
        let cell = session.cell();
        let secret = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let ticket = format!("{PREFIX}{cell}_{secret}");
        let set = redis::cmd("SET")
            .arg(keys::ticket(cell, &digest(&ticket)))
            .arg(format!("{session} {tenant}"))
            .arg("EX")
            .arg(TICKET_LIFETIME.as_secs())
            .to_owned();
        let () = self.command(cell, &set).await?;
        Ok(ticket)
    }

    /// Honours a ticket: tells whose events it opens, and forgets it. `None` if it is spent, lapsed or
    /// never was. When the answer is lost, the ticket may be spent all the same.
    pub async fn redeem_ticket(
        &self,
        ticket: &str,
    ) -> Result<Option<(SessionId, Tenant)>, StoreError> {
        let rest = Some(ticket).filter(|ticket| ticket.len() <= TICKET_CHARS_MAX);
        let parts = rest.and_then(|ticket| ticket.strip_prefix(PREFIX)?.split_once('_'));
        let cell = parts.and_then(|(cell, _)| cell.parse::<Cell>().ok());
        let Some(cell) = cell.filter(|cell| self.cells().contains(cell)) else {
            return Ok(None);
        };
        let take = redis::cmd("GETDEL").arg(keys::ticket(cell, &digest(ticket))).to_owned();
        let holder: Option<String> = self.command(cell, &take).await?;
        let Some(holder) = holder else {
            return Ok(None);
        };
        let parsed = holder
            .split_once(' ')
            .and_then(|(session, tenant)| Some((session.parse().ok()?, tenant.parse().ok()?)));
        parsed.map(Some).ok_or_else(|| StoreError::Garbled("a ticket's holder".into()))
    }
}
