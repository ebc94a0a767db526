//! Seats and subscriptions: what the hub promises the tail and the readers, without Redis.

use std::sync::Arc;
use std::time::Duration;

use framewire_gateway::live::hub::{Hub, Limits, Purpose, Seat};
use framewire_gateway::live::reader::Taken;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::world::session;

const LINGER: Duration = Duration::from_secs(10);
const EVENT: &str = "1-aaaaaaaa - queued j\n{\"v\":1}";

fn hub() -> Arc<Hub> {
    hub_with(8, &Arc::new(Semaphore::new(100)))
}

fn hub_with(per_session_max: usize, seats: &Arc<Semaphore>) -> Arc<Hub> {
    let limits = Limits { per_session_max, seats: seats.clone(), linger: LINGER };
    Hub::new(limits, Arc::default())
}

/// Gives the generation that a reader finds, if that is what it finds.
fn generation(seat: &Seat, joined: u64) -> Option<u64> {
    match seat.reader().take(joined) {
        Taken::Subscription(generation) => Some(generation),
        Taken::Told(_) | Taken::Overflown | Taken::Nothing => None,
    }
}

#[test]
fn a_reader_may_not_read_before_redis_has_acknowledged_its_session() {
    let (hub, session) = (hub(), session());
    let early = hub.sit(&session, Purpose::Stream).unwrap();
    assert_eq!(generation(&early, 0), Some(0));
    let work = hub.take_work(Instant::now());
    assert_eq!(work.subscribe, std::slice::from_ref(&session));
    assert_eq!(generation(&early, 0), Some(0), "asked is not acknowledged");
    hub.acknowledge(3, &work.subscribe);
    assert_eq!(generation(&early, 0), Some(3));
    let late = hub.sit(&session, Purpose::Stream).unwrap();
    assert_eq!(generation(&late, 0), Some(3), "acknowledged is acknowledged for all");
    assert!(hub.take_work(Instant::now()).subscribe.is_empty(), "one is enough");
}

#[test]
fn whoever_joined_under_a_lost_connection_has_to_join_again_before_it_hears_more() {
    let (hub, session) = (hub(), session());
    let seat = hub.sit(&session, Purpose::Stream).unwrap();
    hub.acknowledge(1, &hub.take_work(Instant::now()).subscribe);
    hub.deliver(&session, EVENT);
    hub.lose();
    assert_eq!(generation(&seat, 1), Some(0), "what was heard before comes again with the read");
    let work = hub.take_work(Instant::now());
    assert_eq!(work.subscribe, std::slice::from_ref(&session), "wanted again");
    hub.acknowledge(2, &work.subscribe);
    assert_eq!(generation(&seat, 1), Some(2));
    assert!(matches!(seat.reader().take(2), Taken::Told(_)));
}

#[test]
fn a_session_is_left_only_when_nobody_came_back_for_the_whole_time() {
    let (hub, session) = (hub(), session());
    let start = Instant::now();
    let seat = hub.sit(&session, Purpose::Stream).unwrap();
    hub.acknowledge(1, &hub.take_work(start).subscribe);
    drop(seat);
    let again_at = hub.take_work(start).again_at.unwrap();
    assert!(again_at >= start + LINGER);
    let back = hub.sit(&session, Purpose::Stream).unwrap();
    assert!(hub.take_work(again_at).unsubscribe.is_empty(), "somebody came back");
    drop(back);
    let again_at = Instant::now() + LINGER;
    assert_eq!(hub.take_work(again_at).unsubscribe, std::slice::from_ref(&session));
    // Who comes now wants it anew: the tail has yet to say good-bye.
    let seat = hub.sit(&session, Purpose::Stream).unwrap();
    assert_eq!(generation(&seat, 0), Some(0));
    assert_eq!(hub.take_work(again_at).subscribe, [session]);
}

#[test]
fn all_sessions_are_asked_for_in_batches() {
    let hub = hub();
    let seats: Vec<Seat> =
        (0..100).map(|_| hub.sit(&session(), Purpose::Stream).unwrap()).collect();
    assert_eq!(hub.take_work(Instant::now()).subscribe.len(), 100);
    hub.lose();
    assert_eq!(hub.take_work(Instant::now()).subscribe.len(), 100);
    drop(seats);
    hub.lose();
    assert_eq!(hub.sessions(), 0, "nobody is left to resubscribe for");
}

#[test]
fn readers_that_come_and_go_during_an_outage_leave_nothing_behind() {
    let hub = hub();
    for _ in 0..100 {
        drop(hub.sit(&session(), Purpose::Stream).unwrap());
    }
    assert_eq!(hub.sessions(), 0);
    let work = hub.take_work(Instant::now() + LINGER);
    assert!(work.subscribe.is_empty() && work.unsubscribe.is_empty());
}

#[test]
fn streams_and_waiting_requests_have_limits_of_their_own() {
    let (hub, session) = (hub(), session());
    let streams: Vec<_> = (0..8).map(|_| hub.sit(&session, Purpose::Stream).unwrap()).collect();
    assert!(hub.sit(&session, Purpose::Stream).is_err());
    let waits: Vec<_> = (0..8).map(|_| hub.sit(&session, Purpose::Wait).unwrap()).collect();
    assert!(hub.sit(&session, Purpose::Wait).is_err());
    drop((streams, waits));
    assert!(hub.sit(&session, Purpose::Stream).is_ok());
}

#[test]
fn seats_taken_and_left_by_many_threads_all_come_back() {
    let seats = Arc::new(Semaphore::new(20));
    let hub = hub_with(4, &seats);
    let sessions: Vec<_> = (0..8).map(|_| session()).collect();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for session in sessions.iter().cycle().take(5_000) {
                    let seat = hub.sit(session, Purpose::Stream);
                    hub.deliver(session, EVENT);
                    drop(seat);
                }
            });
        }
    });
    assert_eq!(seats.available_permits(), 20);
    for session in &sessions {
        let seats: Vec<_> = (0..4).map(|_| hub.sit(session, Purpose::Stream)).collect();
        assert!(seats.iter().all(Result::is_ok));
    }
}
