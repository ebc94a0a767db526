//! Tells sessions where their queued jobs stand.
//!
//! Every move of a queue moves everybody behind, so positions are not events of the scripts: each
//! gateway asks, once per session and round and not once per reader, and tells what has changed as
//! ephemeral `position` events. Only sessions with readers that may have queued jobs are asked for:
//! a reader's arrival and a `queued` event put a session on the list, an answer without jobs takes
//! it off. A job that waits for its next attempt stands in no line; it comes back into one without
//! an event, so its session stays on the list until then.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use framewire_shared::domain::SessionId;
use framewire_shared::store::Store;
use framewire_shared::store::codec::Position;
use futures::StreamExt;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::hub::Hub;

/// Sessions asked for at the same time.
const ASKED_MAX: usize = 16;

/// What each session was told last.
type Known = HashMap<SessionId, Vec<Position>>;

/// Makes a round every period until told to stop.
pub async fn run(store: Store, hub: Arc<Hub>, period: Duration, stop: CancellationToken) {
    let mut known = Known::new();
    let mut ticks = interval(period);
    // After an outage there is nothing to catch up with.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let rounds = async {
        loop {
            ticks.tick().await;
            known = round(&store, &hub, &known).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = rounds => {}
    }
}

/// Asks for every session on the list, and tells what has changed.
async fn round(store: &Store, hub: &Hub, known: &Known) -> Known {
    let answers = futures::stream::iter(hub.waiting())
        .map(async |session| {
            let asked_at = Instant::now();
            (store.positions(&session).await, asked_at, session)
        })
        .buffer_unordered(ASKED_MAX);
    answers
        .filter_map(async |(answer, asked_at, session)| match answer {
            // Its place on the list stays; the next round may have more luck.
            Err(_) => None,
            Ok(places) => {
                if places.is_empty() {
                    hub.nothing_waits(&session, asked_at);
                    return None;
                }
                tell(hub, &session, &places, known.get(&session));
                Some((session, places))
            }
        })
        .collect()
        .await
}

fn tell(hub: &Hub, session: &SessionId, places: &[Position], known: Option<&Vec<Position>>) {
    for place in places {
        if !known.is_some_and(|known| known.contains(place)) {
            hub.deliver(session, &event(place));
        }
    }
}

/// Writes the event as a script would.
fn event(place: &Position) -> String {
    let Position { job, v, ahead, wait_ms } = place;
    let at = super::epoch_ms();
    let eta_ms = wait_ms.map_or_else(|| "null".to_owned(), |ms| ms.to_string());
    format!(
        "- - position {job}\n{{\"job\":\"{job}\",\"v\":{v},\"status\":\"queued\",\"at\":{at},\
         \"ahead\":{ahead},\"eta_ms\":{eta_ms}}}"
    )
}
