//! Waits for one job's end, for requests that would rather wait than ask again.
//!
//! Register first, read second, wait third: an end between the read and the wait is heard. Whatever
//! else happens (the connection is lost, the buffer overflows, time is up) leads to another read,
//! so the answer is always what Redis says, and what was heard only decides when to look.

use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::{JobId, SessionId};
use framewire_shared::store::StoreError;
use framewire_shared::store::codec::JobRow;
use tokio::time::{Instant, timeout_at};

use super::Common;
use super::hub::{Hub, Purpose, Seat};
use super::reader::Taken;

/// Reads the job until it has ended or time is up.
pub async fn for_end(
    hub: &Arc<Hub>,
    common: &Common,
    session: &SessionId,
    job: &JobId,
    timeout: Duration,
) -> Result<Option<JobRow>, StoreError> {
    let deadline = Instant::now() + timeout;
    let Ok(seat) = hub.sit(session, Purpose::Wait) else {
        return common.store.job(job).await;
    };
    let mut joined = 0;
    loop {
        // Without a subscription there is nothing to wait on, but the job can be read all the same.
        let by = deadline.min(Instant::now() + common.options.join_timeout);
        joined = subscribed(&seat, joined, by).await;
        seat.reader().forget();
        let row = common.store.job(job).await?;
        let ended = row.as_ref().is_none_or(|row| row.job.state.is_terminal());
        if ended || Instant::now() >= deadline || common.drain.is_cancelled() {
            return Ok(row);
        }
        // A lost message is made good by looking again now and then, as a stream does.
        let by = deadline.min(Instant::now() + common.options.check);
        tokio::select! {
            () = common.drain.cancelled() => {}
            _ = timeout_at(by, heard_end(&seat, job, joined)) => {}
        }
    }
}

/// Waits until the session is subscribed; gives the generation.
async fn subscribed(seat: &Seat, joined: u64, by: Instant) -> u64 {
    let found = async {
        loop {
            match seat.reader().take(joined) {
                Taken::Subscription(generation) if generation != 0 => return generation,
                Taken::Subscription(_) => seat.reader().woken().await,
                Taken::Told(_) | Taken::Overflown | Taken::Nothing => return joined,
            }
        }
    };
    timeout_at(by, found).await.unwrap_or(0)
}

/// Returns when it is worth reading the job again.
async fn heard_end(seat: &Seat, job: &JobId, joined: u64) {
    loop {
        match seat.reader().take(joined) {
            Taken::Told(told) if told.job == job.as_str() && told.kind.is_terminal() => return,
            Taken::Told(_) => {}
            Taken::Nothing => seat.reader().woken().await,
            Taken::Subscription(0) if joined == 0 => seat.reader().woken().await,
            Taken::Subscription(_) | Taken::Overflown => return,
        }
    }
}
