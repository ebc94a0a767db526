//! What must hold in Redis after every step, whatever the step was.
//!
//! A queued job is in exactly one of: its line, the window, the delay. A running one is in `lease`
//! and in `live`, an ended one in none; one that follows another is behind its leader alone. The window is within `out`. Load never grows beyond the
//! capacity, nor a session beyond its cap. Nothing waits while it could run.

use std::collections::{HashMap, HashSet};

use framewire_shared::domain::{Event, JobId, Priority, SessionId, State};
use framewire_shared::store::keys;
use redis::Connection;

use super::Command;
use super::pure::{Place, Pure, PureJob};
use super::sharing::print;

const ROOT: &str = "fw:{c0}:";

/// Jobs admitted or running, in all and per session; it may shrink at any time, and grow only
/// within the caps.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Load {
    pool: usize,
    sessions: [usize; super::SESSIONS],
}

fn members(redis: &mut Connection, key: &str) -> HashSet<String> {
    let all: Vec<String> =
        redis::cmd("ZRANGE").arg(format!("{ROOT}{key}")).arg(0).arg(-1).query(redis).unwrap();
    all.into_iter().collect()
}

fn set(redis: &mut Connection, key: &str) -> HashSet<String> {
    redis::cmd("SMEMBERS").arg(format!("{ROOT}{key}")).query(redis).unwrap()
}

pub(super) fn is_out(redis: &mut Connection, job: &JobId) -> bool {
    members(redis, "out:default").contains(job.as_str())
}

fn window(redis: &mut Connection) -> HashSet<String> {
    let classes = Priority::ALL.iter();
    classes.flat_map(|class| members(redis, &format!("ready:default:{}", class.as_str()))).collect()
}

/// Reads who leads for a fingerprint.
pub(super) fn leader(redis: &mut Connection, same: usize) -> Option<String> {
    redis::cmd("GET").arg(format!("{ROOT}leader:{}", print(same))).query(redis).unwrap()
}

/// Compares who leads and who is to be handed over with what is expected.
fn same_shares(redis: &mut Connection, pure: &Pure, command: &Command) {
    for (same, share) in pure.shares.iter().enumerate() {
        let expected = share.leader.as_ref().map(ToString::to_string);
        assert_eq!(leader(redis, same), expected, "leader of {same} after {command:?}");
        let landed: Option<u64> = redis::cmd("ZSCORE")
            .arg(format!("{ROOT}landed"))
            .arg(print(same))
            .query(redis)
            .unwrap();
        assert_eq!(landed, share.landed, "{same} in landed after {command:?}");
        let followers = pure.followers(same).into_iter().map(|job| pure.jobs[job].id.to_string());
        let real = members(redis, &format!("follow:{}", print(same)));
        assert_eq!(real, followers.collect(), "followers of {same} after {command:?}");
    }
}

/// Lists jobs popped longer than the grace ago, unclaimed, and not offered again.
pub(super) fn popped_and_unclaimed(redis: &mut Connection, now: u64) -> Vec<String> {
    let offered = window(redis);
    let out: Vec<(String, f64)> = redis::cmd("ZRANGE")
        .arg(format!("{ROOT}out:default"))
        .arg(0)
        .arg(-1)
        .arg("WITHSCORES")
        .query(redis)
        .unwrap();
    let late = |(job, at): &(String, f64)| !offered.contains(job) && *at as u64 + 750 <= now;
    out.into_iter().filter(late).map(|(job, _)| job).collect()
}

/// Checks that the sweep has offered these again, unless it has ended them.
pub(super) fn offered_or_gone(redis: &mut Connection, jobs: &[String]) {
    let (out, offered) = (members(redis, "out:default"), window(redis));
    for job in jobs {
        assert!(!out.contains(job) || offered.contains(job), "the sweep left {job} popped");
    }
}

/// Compares one stored job with its pure twin.
pub(super) fn same(redis: &mut Connection, job: &PureJob, command: &Command) {
    let fields: HashMap<String, String> =
        redis::cmd("HGETALL").arg(format!("{ROOT}job:{}", job.id)).query(redis).unwrap();
    if job.gone {
        assert!(fields.is_empty(), "{} is still there after {command:?}", job.id);
        return;
    }
    let field = |name: &str| fields.get(name).cloned().unwrap_or_default();
    assert_eq!(field("state"), job.state.as_str(), "{} after {command:?}", job.id);
    let count = |name| fields.get(name).cloned().unwrap_or_else(|| "0".to_owned());
    let counts = ["fence", "attempt_count", "retry_count", "losses"].map(count);
    let expected = [
        job.fence.to_string(),
        job.attempt_count.to_string(),
        job.retry_count.to_string(),
        job.losses.to_string(),
    ];
    assert_eq!(counts, expected, "{} after {command:?}", job.id);
    let missing = if job.is_short {
        r#"[{"index":1,"error":{"code":"PERMANENT","message":"no \"one\""}}]"#
    } else {
        ""
    };
    assert_eq!(field("missing"), missing, "{} after {command:?}", job.id);
    assert_eq!(!field("cancel_requested").is_empty(), job.cancel_requested, "after {command:?}");
    let delayed = job.state == State::Queued && matches!(job.place, Place::Delayed(_));
    assert_eq!(fields.contains_key("retry_at"), delayed, "{} after {command:?}", job.id);
    let ttl: i64 = redis::cmd("PTTL").arg(format!("{ROOT}job:{}", job.id)).query(redis).unwrap();
    assert_eq!(ttl > 0, job.state.is_terminal(), "lifetime of {} after {command:?}", job.id);
}

/// Checks that a session's stream is one dense chain with as many events as expected.
pub(super) fn same_stream(
    redis: &mut Connection,
    session: &SessionId,
    expected: usize,
    command: &Command,
) {
    let events: Vec<String> = redis::cmd("LRANGE")
        .arg(format!("{ROOT}stream:{session}"))
        .arg(0)
        .arg(-1)
        .query(redis)
        .unwrap();
    let events: Vec<Event<'_>> =
        events.iter().map(|text| Event::parse(text).expect("an event")).collect();
    let newest = events.last().and_then(|event| event.place.as_ref()).map_or(0, |p| p.at.n);
    assert_eq!(newest, expected as u64, "events of {session} after {command:?}");
    for pair in events.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(|event| event.place.as_ref().unwrap());
        assert!(after.follows(&before.at), "{after:?} does not follow {before:?}");
    }
    for event in &events {
        let data: serde_json::Value = serde_json::from_str(event.data).expect("JSON");
        assert_eq!(data["job"], event.job);
    }
}

/// Compares a session's last frame with the one expected, if any.
pub(super) fn same_last(
    redis: &mut Connection,
    session: &SessionId,
    expected: Option<&str>,
    command: &Command,
) {
    let all: HashMap<String, String> =
        redis::cmd("HGETALL").arg(format!("{ROOT}last:{session}")).query(redis).unwrap();
    let expected = expected.map(|kept| ("builtin".to_owned(), kept.to_owned()));
    assert_eq!(all, expected.into_iter().collect(), "last of {session} after {command:?}");
}

/// Checks the structures against each other and against the pure side; gives the load.
pub(super) fn check(
    redis: &mut Connection,
    pure: &Pure,
    sessions: &[SessionId],
    before: Load,
    command: &Command,
) -> Load {
    let out = members(redis, "out:default");
    let lease = members(redis, "lease:default");
    let delayed = members(redis, "delayed:default");
    let deadline = members(redis, "deadline:default");
    let dead = members(redis, "dead");
    let (mut queue, mut ready) = (HashSet::new(), HashSet::new());
    for class in Priority::ALL {
        queue.extend(members(redis, &format!("queue:default:{}", class.as_str())));
        ready.extend(members(redis, &format!("ready:default:{}", class.as_str())));
    }
    assert!(ready.is_subset(&out), "the window holds what was not admitted, after {command:?}");

    let mut load = Load { pool: out.len() + lease.len(), sessions: [0; super::SESSIONS] };
    let mut live = HashSet::new();
    let mut waiting = HashSet::new();
    for (index, session) in sessions.iter().enumerate() {
        let its = set(redis, &format!("live:{session}"));
        load.sessions[index] = its.len();
        let cap = pure.caps.of_session(index);
        let allowed = cap.max(before.sessions[index]);
        assert!(its.len() <= allowed, "{session} runs {} after {command:?}", its.len());
        live.extend(its);
        waiting.extend(check_lines(redis, session, load.sessions[index], cap, command));
        let active = members(redis, &format!("active:{session}"));
        let unfinished =
            pure.jobs.iter().filter(|job| job.session == *session && !job.state.is_terminal());
        assert_eq!(active, unfinished.map(|job| job.id.to_string()).collect(), "after {command:?}");
    }
    let allowed = pure.may_run().max(before.pool);
    assert!(load.pool <= allowed, "{} of {allowed} slots after {command:?}", load.pool);
    if load.pool < pure.may_run() {
        for class in Priority::ALL {
            let turn = members(redis, &format!("turn:default:{}", class.as_str()));
            assert!(turn.is_empty(), "{turn:?} wait although they could run, after {command:?}");
        }
    }

    for job in &pure.jobs {
        let id = job.id.as_str();
        let is_in = [&queue, &waiting, &out, &delayed, &lease, &live].map(|all| all.contains(id));
        let allowed: &[[bool; 6]] = match (job.state, job.place) {
            (State::Queued, Place::Following) => &[[false; 6]],
            (State::Queued, Place::Delayed(_)) => &[[false, false, false, true, false, false]],
            (State::Queued, Place::Line) => {
                &[[true, true, false, false, false, false], [true, false, true, false, false, true]]
            }
            (state, _) if state.is_running() => &[[false, false, false, false, true, true]],
            _ => &[[false; 6]],
        };
        assert!(
            allowed.contains(&is_in),
            "{job:?}\nis in [queue, wait, out, delayed, lease, live] = {is_in:?} after {command:?}"
        );
        let must_start = job.state == State::Queued && job.run_by.is_some();
        assert_eq!(deadline.contains(id), must_start, "deadline of {job:?} after {command:?}");
        let failed = job.found() == Some(State::Failed);
        assert_eq!(dead.contains(id), failed, "dead letter after {command:?}");
    }
    same_shares(redis, pure, command);
    check_types(redis);
    load
}

/// Checks a session's lines: it has its turn in a line exactly when something waits there and the
/// cap does not hold it; and whoever is held is found by an end of its own job or among the paused.
/// Gives what waits.
fn check_lines(
    redis: &mut Connection,
    session: &SessionId,
    running: usize,
    cap: usize,
    command: &Command,
) -> HashSet<String> {
    let is_paused = set(redis, "paused").contains(session.as_str());
    let held = set(redis, &format!("held:{session}"));
    let mut waiting = HashSet::new();
    for class in Priority::ALL {
        let line = format!("default:{}", class.as_str());
        let its = members(redis, &format!("wait:{line}:{session}"));
        let has_turn = members(redis, &format!("turn:{line}")).contains(session.as_str());
        let is_held = held.contains(&line);
        assert_eq!(
            has_turn ^ is_held,
            !its.is_empty(),
            "{session} in {line}: waits {}, turn {has_turn}, held {is_held}, after {command:?}",
            its.len()
        );
        assert!(!is_held || running >= cap, "held under its cap after {command:?}");
        assert!(!is_held || running > 0 || is_paused, "held for ever after {command:?}");
        waiting.extend(its);
    }
    waiting
}

/// Checks that every key is one of the table, and of its type.
fn check_types(redis: &mut Connection) {
    let all: Vec<String> = redis::cmd("KEYS").arg("*").query(redis).unwrap();
    for key in all {
        let name = key.strip_prefix(ROOT).expect("a key outside our root");
        let name = name.split(':').next().unwrap();
        if name == "clock" {
            continue;
        }
        let kind: String = redis::cmd("TYPE").arg(&key).query(redis).unwrap();
        let expected = keys::TYPES.iter().find(|(known, _)| *known == name);
        assert_eq!(expected.map(|(_, kind)| *kind), Some(&*kind), "{key} is not in the key table");
    }
}
