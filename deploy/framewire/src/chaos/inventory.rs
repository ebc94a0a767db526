//! What Redis and the gateways hold when everything is over.

use std::io;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::dice::Dice;
use super::user::User;
use super::wire::Wire;

/// Frames that are fetched and compared.
const FRAMES_MAX: usize = 150;
/// How often a frame is asked for before it counts as missing.
const TRIES: u32 = 4;
const BETWEEN_TRIES: Duration = Duration::from_millis(250);
/// Jobs that a stranger asks for.
const STRANGERS_MAX: usize = 20;

const JOBS: &str = "
local rows = {}
for _, key in ipairs(redis.call('KEYS', 'fw:{c0}:job:*')) do
  local row = redis.call('HMGET', key, 'session', 'state', 'attempt_count', 'retry_count',
    'losses', 'idempotency_key', 'error_message')
  table.insert(row, 1, string.match(key, '[^:]+$'))
  rows[#rows + 1] = row
end
return rows";

/// What must not exist when no job is unfinished: empty structures have no key.
const LEFT: &str = "
local left = {}
for _, name in ipairs({'queue', 'wait', 'turn', 'held', 'ready', 'out', 'lease', 'live', 'delayed',
    'deadline', 'active'}) do
  for _, key in ipairs(redis.call('KEYS', 'fw:{c0}:' .. name .. ':*')) do left[#left + 1] = key end
end
return left";

/// A job's record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) session: String,
    pub(super) state: String,
    pub(super) attempts: i64,
    pub(super) retries: i64,
    pub(super) losses: i64,
    pub(super) key: String,
    pub(super) error: String,
}

/// Lists the dead letters.
pub(super) fn dead(wire: &mut Wire) -> io::Result<Vec<String>> {
    let dead = wire.call(&["ZRANGE", "fw:{c0}:dead", "0", "-1"])?;
    Ok(dead.list().iter().map(|id| id.text().to_owned()).collect())
}

/// Reads all jobs.
pub(super) fn jobs(wire: &mut Wire) -> io::Result<Vec<Record>> {
    let rows = wire.eval(JOBS, &[])?;
    let record = |row: &super::wire::Answer| {
        let [id, session, state, attempts, retries, losses, key, error] = row.list() else {
            return Record::default();
        };
        Record {
            id: id.text().to_owned(),
            session: session.text().to_owned(),
            state: state.text().to_owned(),
            attempts: attempts.number(),
            retries: retries.number(),
            losses: losses.number(),
            key: key.text().to_owned(),
            error: error.text().to_owned(),
        }
    };
    Ok(rows.list().iter().map(record).collect())
}

/// Lists keys of structures that should be empty.
pub(super) fn leftovers(wire: &mut Wire) -> io::Result<Vec<String>> {
    let left = wire.eval(LEFT, &[])?;
    Ok(left.list().iter().map(|key| key.text().to_owned()).collect())
}

/// What the gateways were asked for, and what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) frames: usize,
    pub(super) bad_frames: Vec<String>,
    pub(super) leaked: Vec<String>,
}

/// Fetches frames as their users would, and jobs as strangers would.
pub(super) async fn fetch(users: &[User], jobs: &[Record], dice: &mut Dice) -> Checked {
    let mut checked = Checked::default();
    let completed: Vec<_> = jobs.iter().filter(|job| job.state == "completed").collect();
    let stride = completed.len().div_ceil(FRAMES_MAX).max(1);
    for job in completed.iter().step_by(stride) {
        let Some(owner) = users.iter().find(|user| user.session == job.session) else {
            continue;
        };
        checked.frames += 1;
        // A gateway may have to find out first that its connection is dead; that takes one call.
        let mut outcome = Ok(());
        for _ in 0..TRIES {
            outcome = frame(owner, &job.id, dice).await;
            if outcome.is_ok() {
                break;
            }
            tokio::time::sleep(BETWEEN_TRIES).await;
        }
        if let Err(what) = outcome {
            checked.bad_frames.push(format!("{}: {what}", job.id));
        }
    }
    for job in completed.iter().take(STRANGERS_MAX) {
        let stranger = users.iter().find(|user| user.session != job.session);
        let path = format!("/v1/jobs/{}", job.id);
        if let Some(stranger) = stranger
            && let Some((status, _)) = stranger.get(&path, dice).await
            && status.is_success()
        {
            let text = format!("a stranger who asked for {} was told {status}", job.id);
            checked.leaked.push(text);
        }
    }
    checked
}

/// Checks that a completed job's frames are there, whole, and pictures.
async fn frame(owner: &User, id: &str, dice: &mut Dice) -> Result<(), String> {
    let shown = owner.get(&format!("/v1/jobs/{id}"), dice).await;
    let Some((status, job)) = shown else {
        return Err("could not be asked for".into());
    };
    let frames = job["frames"].as_array().filter(|frames| frames.len() == 1);
    let Some([frame]) = frames.map(Vec::as_slice) else {
        return Err(format!("has not one frame: {status} {job}"));
    };
    let url = frame["url"].as_str().unwrap_or_default();
    let bytes = owner.bytes(url, dice).await;
    let bytes = bytes.map_err(|error| format!("{url} could not be fetched: {error}"))?;
    // IHDR is the first chunk: length, name, width, height. The digest is the worker's, who has
    // decoded the picture before it was stored.
    let is_png = bytes.starts_with(b"\x89PNG\r\n\x1a\n")
        && bytes.get(16..24) == Some(&[0, 0, 0, 64, 0, 0, 0, 64])
        && bytes.windows(4).rev().take(16).any(|four| four == b"IEND");
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if is_png && frame["sha256"] == Value::String(digest) {
        Ok(())
    } else {
        Err(format!("{url} is not the picture that was stored"))
    }
}
