//! Pictures that users have brought: what is known of each, and how much a session may have.
//!
//! Comes in: pictures that were decoded and stored (`blobs`). Goes out: to whom they belong and what
//! they are, and the same of frames, which a request may name in their place. Invariant: a record's
//! blob is there; it is written before the record and removed after it. A record lives for
//! [`FILE_LIFETIME`] and is never prolonged: a job that starts from a file has a copy of its own.

use std::time::Duration;

use super::codec::number;
use super::{Store, StoreError, keys};
use crate::domain::{Artifact, ArtifactId, FileId, MediaType, SessionId};

/// How long an uploaded file stays: a day's work with one picture.
pub const FILE_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Files of one session: a day of painting one mask after the other. Beyond it 429.
pub const FILES_MAX: u32 = 200;
/// Stored bytes of all files of one session. Beyond it 429.
pub const FILES_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// An uploaded picture, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// Whose it is.
    pub session: SessionId,
    /// How it is encoded.
    pub content_type: MediaType,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Size of the stored form.
    pub bytes: u64,
    /// Digest of the stored form, in hex.
    pub sha256: String,
    /// When it goes, in ms since 1970 by Redis' clock; of a file to be kept it is not known yet.
    pub expires_at: u64,
}

/// Answers of `keep_file.lua`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It is recorded, and goes at this moment (ms since 1970).
    Kept(u64),
    /// The session has as much as it may.
    Full {
        /// Files it has.
        files: u32,
        /// Their stored bytes.
        bytes: u64,
        /// Until the first of them expires.
        room_in: Duration,
    },
}

impl Store {
    /// Records a file whose bytes are stored. Called again, it answers as the first time.
    pub async fn keep_file(&self, id: &FileId, file: &StoredFile) -> Result<Kept, StoreError> {
        let arguments = [
            id.as_str(),
            file.session.as_str(),
            file.content_type.as_str(),
            &file.width.to_string(),
            &file.height.to_string(),
            &file.bytes.to_string(),
            &file.sha256,
            &FILE_LIFETIME.as_millis().to_string(),
            &FILES_MAX.to_string(),
            &FILES_BYTES_MAX.to_string(),
        ];
        let reply = self.run(&self.shared.scripts.keep_file, id.cell(), &arguments).await?;
        let words = reply.into_words()?;
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["kept", expires_at] => Ok(Kept::Kept(number(expires_at)?)),
            ["full", files, bytes, room_ms] => Ok(Kept::Full {
                files: number(files)?,
                bytes: number(bytes)?,
                room_in: Duration::from_millis(number(room_ms)?),
            }),
            _ => Err(StoreError::Garbled(format!("{words:?}"))),
        }
    }

    /// Reads what is known of a session's file; `None` if it is not there, or another's.
    pub async fn file(
        &self,
        id: &FileId,
        session: &SessionId,
    ) -> Result<Option<StoredFile>, StoreError> {
        const FIELDS: [&str; 7] =
            ["session", "content_type", "width", "height", "bytes", "sha256", "expires_at"];
        if id.cell() != session.cell() {
            return Ok(None);
        }
        let read = redis::cmd("HMGET").arg(keys::file(id)).arg(&FIELDS).to_owned();
        let found: Vec<Option<String>> = self.command(id.cell(), &read).await?;
        let found: Option<Vec<String>> = found.into_iter().collect();
        let Some([owner, content_type, width, height, bytes, sha256, expires_at]) =
            found.as_deref()
        else {
            return Ok(None);
        };
        if owner != session.as_str() {
            return Ok(None);
        }
        let kind = MediaType::ALL.into_iter().find(|kind| kind.as_str() == content_type);
        let content_type = kind.ok_or_else(|| StoreError::Garbled(content_type.clone()))?;
        Ok(Some(StoredFile {
            session: session.clone(),
            content_type,
            width: number(width)?,
            height: number(height)?,
            bytes: number(bytes)?,
            sha256: sha256.clone(),
            expires_at: number(expires_at)?,
        }))
    }

    /// Forgets a session's file; tells whether there was one. Its blob is the caller's to remove,
    /// afterwards: nothing refers to it then.
    pub async fn forget_file(&self, id: &FileId, session: &SessionId) -> Result<bool, StoreError> {
        if id.cell() != session.cell() {
            return Ok(false);
        }
        let arguments = [id.as_str(), session.as_str()];
        let reply = self.run(&self.shared.scripts.forget_file, id.cell(), &arguments).await?;
        match &reply.into_words()?[..] {
            [word] if word == "forgotten" => Ok(true),
            [word] if word == "missing" => Ok(false),
            other => Err(StoreError::Garbled(format!("{other:?}"))),
        }
    }

    /// Reads a frame that one of a session's jobs has announced; `None` if there is none, or it is
    /// another's.
    pub async fn frame(
        &self,
        id: &ArtifactId,
        session: &SessionId,
    ) -> Result<Option<Artifact>, StoreError> {
        if id.job.cell() != session.cell() {
            return Ok(None);
        }
        let fields = ["session", "artifacts"];
        let read = redis::cmd("HMGET").arg(keys::job(&id.job)).arg(&fields).to_owned();
        let (owner, frames): (Option<String>, Option<String>) =
            self.command(id.job.cell(), &read).await?;
        let Some(frames) = frames.filter(|_| owner.as_deref() == Some(session.as_str())) else {
            return Ok(None);
        };
        let frames: Vec<Artifact> = serde_json::from_str(&frames)
            .map_err(|error| StoreError::Garbled(format!("frames of {}: {error}", id.job)))?;
        let url = id.url();
        Ok(frames.into_iter().find(|frame| frame.url == url))
    }
}
