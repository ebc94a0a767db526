//! Session tokens: who may see what.
//!
//! A token is the session's id and 256 random bits: `ses_c0_<32 hex>.<43 characters>`. Redis keeps
//! the digest, never the token, so that reading Redis does not let anybody in. The id in front says
//! in which cell to look; it proves nothing by itself.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::seq::SliceRandom;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Store, StoreError, keys};
use crate::domain::{Cell, SessionId, Tenant};

/// How long a session lives after it was last made use of.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);

/// Cells that are tried for a new session, so that one whose node is away does not matter.
const CELLS_TRIED: usize = 2;

/// A new session, with the only copy of its token.
#[derive(Debug, Clone)]
pub struct NewSession {
    /// Its name.
    pub id: SessionId,
    /// Its secret; not stored anywhere.
    pub token: String,
}

impl Store {
    /// Makes a session of nobody's in particular.
    pub async fn create_session(&self) -> Result<NewSession, StoreError> {
        self.create_session_for(&Tenant::public()).await
    }

    /// Makes a session that a tenant answers for, in a cell drawn at random; in another one if that
    /// does not answer.
    pub async fn create_session_for(&self, tenant: &Tenant) -> Result<NewSession, StoreError> {
        let mut cells = self.cells();
        cells.shuffle(&mut rand::rng());
        let mut answer = self.create_session_in(cells[0], tenant).await;
        for &cell in cells.iter().take(CELLS_TRIED).skip(1) {
            if matches!(answer, Err(StoreError::Unavailable(_))) {
                answer = self.create_session_in(cell, tenant).await;
            }
        }
        answer
    }

    /// Makes a session in this cell.
    pub async fn create_session_in(
        &self,
        cell: Cell,
        tenant: &Tenant,
    ) -> Result<NewSession, StoreError> {
        let id = SessionId::new(cell, uuid::Uuid::new_v4());
        let token = format!("{id}.{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let key = keys::session(&id);
        let digest = digest(&token);
        let fields = [("id", id.as_str()), ("token_sha256", &digest), ("tenant", tenant.as_str())];
        let mut both = redis::pipe();
        both.atomic()
            .hset_multiple(&key, &fields)
            .ignore()
            .expire(&key, SESSION_LIFETIME.as_secs().cast_signed())
            .ignore();
        let () = self.pipeline(cell, &both).await?;
        Ok(NewSession { id, token })
    }

    /// Tells whose token this is, and who answers for that session; `None` if nobody's. Keeps the
    /// session alive.
    pub async fn verify_token(
        &self,
        token: &str,
    ) -> Result<Option<(SessionId, Tenant)>, StoreError> {
        let Some((id, _)) = token.split_once('.') else {
            return Ok(None);
        };
        let Ok(id) = id.parse::<SessionId>() else {
            return Ok(None);
        };
        let (key, cell) = (keys::session(&id), id.cell());
        // A cell that nobody serves has no sessions, whatever a token says.
        if !self.cells().contains(&cell) {
            return Ok(None);
        }
        let fields = redis::cmd("HMGET").arg(&key).arg(&["token_sha256", "tenant"]).to_owned();
        let (stored, tenant): (Option<String>, Option<String>) =
            self.command(cell, &fields).await?;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let tenant = tenant.and_then(|name| name.parse().ok()).unwrap_or_else(Tenant::public);
        if !bool::from(stored.as_bytes().ct_eq(digest(token).as_bytes())) {
            return Ok(None);
        }
        let () = self
            .command(cell, redis::cmd("EXPIRE").arg(&key).arg(SESSION_LIFETIME.as_secs()))
            .await?;
        Ok(Some((id, tenant)))
    }
}

/// Gives the form in which Redis knows a secret.
pub(super) fn digest(token: &str) -> String {
    Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}
