//! Pictures that users bring: decoded, written anew and stored, few at a time.
//!
//! Comes in: bytes of an upload or a data URI. Goes out: a file of the session. Two bounds keep this
//! process alive whatever is sent: the bytes of all uploads and data URIs under way together, and one
//! decoding at a time, because a picture of a few bytes may unpack to a hundred megabytes. What is stored is our own
//! writing of the pixels, so no metadata of the original gets any further. The blob is stored before
//! its record, so that a file that can be named is there.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_shared::domain::{FileId, MediaType};
use framewire_shared::service::picture::{self, Unreadable};
use framewire_shared::store::files::{FILES_BYTES_MAX, Kept, StoredFile};
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use super::Context;
use super::auth::Session;
use super::problem::{Code, Problem};

/// Bytes of uploads that this process holds at the same time; beyond it 503.
const HELD_BYTES_MAX: usize = 96 * 1024 * 1024;
/// What those bytes are counted in.
const UNIT_BYTES: usize = 64 * 1024;
/// Pictures decoded at the same time: each may take two hundred megabytes for a moment.
const DECODINGS_MAX: usize = 1;
/// Longest wait for one's turn to be decoded; beyond it 503.
const TURN_WAIT: Duration = Duration::from_secs(20);
/// When a gateway that has too much to hold may have room again, in seconds.
const RETRY_BUSY_S: u32 = 5;

/// What this process can take in at the same time.
#[derive(Debug, Clone)]
pub struct Intake {
    held: Arc<Semaphore>,
    decodings: Arc<Semaphore>,
}

impl Default for Intake {
    fn default() -> Self {
        Self {
            held: Arc::new(Semaphore::new(HELD_BYTES_MAX / UNIT_BYTES)),
            decodings: Arc::new(Semaphore::new(DECODINGS_MAX)),
        }
    }
}

/// Bytes of one upload that are counted as held, until it is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<Semaphore>,
    units: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// Begins an upload that holds nothing yet.
    pub fn begin(&self) -> Held {
        Held { all: self.held.clone(), units: None }
    }
}

impl Held {
    /// Counts an upload's bytes as far as they have come.
    ///
    /// Errors: 503 where all uploads together are too many bytes.
    pub fn grow_to(&mut self, bytes: usize) -> Result<(), Problem> {
        let has = self.units.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(has);
        let more = u32::try_from(more).map_err(|_| busy())?;
        let more = self.all.clone().try_acquire_many_owned(more).map_err(|_| busy())?;
        match &mut self.units {
            Some(units) => units.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }
}

fn busy() -> Problem {
    let detail = "Too many pictures arrive at the same time. Send it again in a moment.";
    Problem::new(Code::Unavailable, detail).retry_after(RETRY_BUSY_S)
}

/// Why a picture was not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// It is none, or none that is accepted.
    Unreadable(Unreadable),
    /// Something else, as it is answered.
    Problem(Problem),
}

impl<E: Into<Problem>> From<E> for NotTaken {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

/// A picture written anew.
struct Written {
    bytes: Bytes,
    content_type: MediaType,
    width: u32,
    height: u32,
    sha256: String,
}

/// Stores a picture as a file of a session.
pub async fn take(
    context: &Context,
    session: &Session,
    bytes: Bytes,
) -> Result<(FileId, StoredFile), NotTaken> {
    let turn = tokio::time::timeout(TURN_WAIT, context.intake.decodings.acquire());
    let Ok(Ok(turn)) = turn.await else {
        return Err(busy().into());
    };
    let written = tokio::task::spawn_blocking(move || write_anew(&bytes));
    let written = written.await.unwrap_or(Err(Unreadable::Broken)).map_err(NotTaken::Unreadable)?;
    drop(turn);
    let id = FileId::new(session.id.cell(), Uuid::new_v4());
    let mut file = StoredFile {
        session: session.id.clone(),
        content_type: written.content_type,
        width: written.width,
        height: written.height,
        bytes: written.bytes.len() as u64,
        sha256: written.sha256,
        expires_at: 0,
    };
    context.blobs.put(&id, written.bytes).await?;
    match context.store.keep_file(&id, &file).await {
        Ok(Kept::Kept(expires_at)) => {
            file.expires_at = expires_at;
            Ok((id, file))
        }
        Ok(Kept::Full { files, bytes, room_in }) => {
            remove(context, &id).await;
            Err(full(files, bytes, room_in).into())
        }
        // It may be recorded all the same; what nobody knows of goes by its age.
        Err(error) => Err(error.into()),
    }
}

/// Removes the bytes of a file that nothing refers to; what is left of it goes by its age.
pub async fn remove(context: &Context, id: &FileId) {
    if let Err(error) = context.blobs.remove_file(id).await {
        tracing::warn!(file = %id, %error, "could not remove a file that is forgotten yet");
    }
}

fn write_anew(bytes: &[u8]) -> Result<Written, Unreadable> {
    if bytes.len() > picture::BYTES_MAX {
        return Err(Unreadable::TooManyBytes);
    }
    let (pixels, content_type) = picture::read(bytes)?;
    let bytes = picture::write(&pixels, content_type)?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let (width, height) = (pixels.width(), pixels.height());
    Ok(Written { bytes: bytes.into(), content_type, width, height, sha256 })
}

fn full(files: u32, bytes: u64, room_in: Duration) -> Problem {
    let detail = format!(
        "This session has {files} files with {bytes} bytes, and may have {} files with \
         {FILES_BYTES_MAX} bytes. Delete one with DELETE /v1/files/{{id}}; each goes by itself a day \
         after it came.",
        framewire_shared::store::files::FILES_MAX,
    );
    let seconds = u32::try_from(room_in.as_secs().max(1)).unwrap_or(u32::MAX);
    Problem::new(Code::TooManyFiles, detail).retry_after(seconds)
}

#[cfg(test)]
mod tests {
    use actix_web::FromRequest;
    use actix_web::test::TestRequest;
    use actix_web::web::Payload;
    use framewire_shared::service::settings::Settings;

    use super::*;
    use crate::http::job_request;

    /// Has a submit's body read whose picture has so many letters.
    async fn read(intake: &Intake, letters: usize) -> Result<Held, Problem> {
        let text = format!(r#"{{"input":{{"image":"data:{}"}}}}"#, "A".repeat(letters));
        let sent = TestRequest::post().insert_header(("content-type", "application/json"));
        let (request, mut payload) = sent.set_payload(text).to_http_parts();
        let payload = Payload::from_request(&request, &mut payload).await.unwrap();
        let settings = Settings::default();
        let read = job_request::bytes(&request, payload, &settings, intake);
        read.await.map(|(_, held)| held)
    }

    #[tokio::test]
    async fn bodies_with_data_uris_are_held_within_the_same_bound_as_uploads() {
        let intake = Intake::default();
        let units = intake.held.available_permits();
        let mut uploads = intake.begin();
        uploads.grow_to(HELD_BYTES_MAX).unwrap();
        read(&intake, 1_000).await.expect("a plain body holds nothing");
        assert_eq!(read(&intake, 200_000).await.unwrap_err().code(), Code::Unavailable);
        drop(uploads);
        let held = read(&intake, 200_000).await.unwrap();
        assert_eq!(intake.held.available_permits(), units - 4);
        drop(held);
        assert_eq!(intake.held.available_permits(), units);
    }
}
