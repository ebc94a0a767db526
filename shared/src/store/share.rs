//! One picture for all that ask for the very same: its frames are copied for each job that waits.
//!
//! Jobs with the same fingerprint in one cell have a leader, which draws or has drawn; the others
//! follow it (`lua/prelude/follow.lua`). Comes in: followers of a completed leader, each with a fence.
//! Goes out: copies of its frames under the follower's own names, then its end in one script. The
//! worker that completed the leader does that, a gateway for a job that it has just accepted, and the
//! sweep for those whose helper has died: the fence says whose copies count, so that a name never
//! stands for two pictures. Where frames can't be copied a follower leads and draws: nobody waits
//! for bytes that are gone.

use super::blobs::Blobs;
use super::codec::{Completed, Reply, number};
use super::queue::{Lease, event_of, json, ms};
use super::{Store, StoreError};
use crate::domain::artifact::Slot;
use crate::domain::{Artifact, ArtifactId, Cell, Fence, JobId, State};

/// Followers handed out in one step, so that Redis is never held for long.
const HANDED_MAX: u32 = 50;

/// What a leader has drawn, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Landing {
    /// What they ask for.
    pub fingerprint: String,
    /// Who has drawn it.
    pub leader: JobId,
    /// Its frames.
    pub frames: Vec<Artifact>,
    /// Who waits for copies.
    pub followers: Vec<Lease>,
}

impl Landing {
    /// Reads the answer of `land.lua`; `None` where there is nobody to hand over.
    fn parse(reply: Reply) -> Result<Option<Self>, StoreError> {
        let words = reply.into_words()?;
        let (fingerprint, leader, frames, followers) = match &words[..] {
            [word] if word == "idle" => return Ok(None),
            [word, fingerprint, leader, frames, followers @ ..] if word == "landed" => {
                (fingerprint, leader, frames, followers)
            }
            other => return Err(StoreError::Garbled(format!("{other:?}"))),
        };
        let follower =
            |pair: &[String]| Ok(Lease { job: job_id(&pair[0])?, fence: Fence(number(&pair[1])?) });
        let followers = followers.chunks_exact(2).map(follower);
        Ok(Some(Self {
            fingerprint: fingerprint.clone(),
            leader: job_id(leader)?,
            frames: frames_of(frames)?,
            followers: followers.collect::<Result<_, StoreError>>()?,
        }))
    }
}

fn job_id(text: &str) -> Result<JobId, StoreError> {
    text.parse().map_err(|error| StoreError::Garbled(format!("{error}")))
}

/// Reads a stored job's frames.
pub(super) fn frames_of(text: &str) -> Result<Vec<Artifact>, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Garbled(format!("frames: {error}")))
}

impl Store {
    /// Takes over the followers of a completed leader; `None` if there are none, or none any more.
    ///
    /// Without a fingerprint: of the leader whose followers are due longest. `without` names a leader
    /// whose frames can't be copied: one of its followers leads instead, and draws.
    /// Called twice, the first call's fences count no more.
    pub async fn land(
        &self,
        cell: Cell,
        fingerprint: Option<&str>,
        without: Option<&JobId>,
    ) -> Result<Option<Landing>, StoreError> {
        let without = without.map_or("", JobId::as_str);
        let arguments = [fingerprint.unwrap_or_default(), without, &HANDED_MAX.to_string()];
        Landing::parse(self.run(&self.shared.scripts.land, cell, &arguments).await?)
    }

    /// Ends a follower with frames of its own, whose bytes are stored.
    pub async fn fulfil(
        &self,
        follower: &Lease,
        frames: &[Artifact],
    ) -> Result<Completed, StoreError> {
        let url = frames.last().map_or("", |frame| &frame.url);
        let (fence, retention) = (follower.fence.to_string(), ms(self.shared.queue.retention));
        let (all, events) = (json(frames), frames.iter().map(event_of).collect::<Vec<_>>());
        let mut arguments = vec![follower.job.as_str(), &*fence, &*retention, &*all, url];
        arguments.extend(events.iter().map(String::as_str));
        let script = &self.shared.scripts.fulfil;
        Completed::parse(self.run(script, follower.job.cell(), &arguments).await?)
    }
}

/// What has become of one follower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// It is completed, with frames of its own.
    Fulfilled,
    /// It is somebody else's to end, or has ended.
    Lost(Option<State>),
    /// The frames can't be copied; what it had is removed.
    Uncopied,
}

/// Gives followers their frames.
#[derive(Debug, Clone)]
pub struct Sharer {
    /// Where they are handed out and ended.
    pub store: Store,
    /// Where the frames are.
    pub blobs: Blobs,
}

impl Sharer {
    /// Copies the frames for one follower, then ends it. Called again, it does so once.
    pub async fn fulfil(
        &self,
        follower: &Lease,
        frames: &[Artifact],
    ) -> Result<Shared, StoreError> {
        let Some(own) = self.copy(follower, frames).await else {
            self.remove(follower, frames).await;
            return Ok(Shared::Uncopied);
        };
        match self.store.fulfil(follower, &own).await? {
            Completed::Completed | Completed::Followed(_) => Ok(Shared::Fulfilled),
            Completed::Lost(state) => {
                self.remove(follower, frames).await;
                Ok(Shared::Lost(state))
            }
            Completed::Refused(state) => Ok(Shared::Lost(Some(state))),
        }
    }

    /// Gives all followers of a completed leader their frames; without a fingerprint, those of the
    /// leader that is due longest. Gives how many are completed; 0 when there was nothing to do.
    ///
    /// Errors: the rest is handed out again by the sweep.
    pub async fn serve(&self, cell: Cell, fingerprint: Option<&str>) -> Result<u32, StoreError> {
        let mut fulfilled = 0;
        let mut next = self.store.land(cell, fingerprint, None).await?;
        while let Some(Landing { fingerprint, leader, frames, followers }) = next {
            let (mut without, mut contested) = (None, false);
            for follower in &followers {
                match self.fulfil(follower, &frames).await? {
                    Shared::Fulfilled => fulfilled += 1,
                    // Somebody else has taken them over, and sees to the rest.
                    Shared::Lost(Some(State::Queued)) => contested = true,
                    Shared::Lost(_) => {}
                    Shared::Uncopied => without = Some(&leader),
                }
                if contested || without.is_some() {
                    break;
                }
            }
            if contested {
                break;
            }
            next = self.store.land(cell, Some(&fingerprint), without).await?;
        }
        Ok(fulfilled)
    }

    /// Copies frames under the follower's names; `None` if one can't be copied.
    async fn copy(&self, follower: &Lease, frames: &[Artifact]) -> Option<Vec<Artifact>> {
        let mut own = Vec::with_capacity(frames.len());
        for frame in frames {
            let from: ArtifactId = frame.url.rsplit('/').next()?.parse().ok()?;
            let to = name(follower, frame);
            match self.blobs.copy(&from, &to).await {
                Ok(true) => own.push(Artifact { url: to.url(), ..frame.clone() }),
                Ok(false) => return None,
                Err(error) => {
                    tracing::warn!(job = %follower.job, "could not copy a frame: {error}");
                    return None;
                }
            }
        }
        (!own.is_empty()).then_some(own)
    }

    /// Removes copies that nobody is told of; what stays goes by its age.
    async fn remove(&self, follower: &Lease, frames: &[Artifact]) {
        for frame in frames {
            if let Err(error) = self.blobs.remove(&name(follower, frame)).await {
                tracing::debug!(job = %follower.job, "a copy stays for a while: {error}");
            }
        }
    }
}

/// Names the copy of a frame.
fn name(follower: &Lease, frame: &Artifact) -> ArtifactId {
    let Lease { job, fence } = follower.clone();
    ArtifactId { job, fence, slot: Slot::Frame(frame.index), media_type: frame.content_type }
}
