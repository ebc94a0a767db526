//! The operator's commands against real processes: what they print, and with which code they end.

use std::path::Path;
use std::process::{Command, Output};

use framewire_shared::domain::{Cell, Fault, FrameInput, JobId, State};
use framewire_shared::store::Store;
use framewire_shared::testing::{RedisServer, submission, until};

use crate::client::Client;
use crate::launcher::{Launcher, refused, up};
use crate::tidy::redis_cli;

/// Runs an operator's command on a data directory; gives its code and what it printed.
pub(crate) fn framewire(data: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire"));
    command.args(arguments).arg("--data").arg(data);
    let Output { status, stdout, stderr } = command.output().expect("start the command");
    let text = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("text"));
    (status.code(), text.concat())
}

fn store(launcher: &Launcher) -> Store {
    let options = framewire_shared::store::RedisOptions {
        url: format!("redis+unix://{}", launcher.socket().display()),
        ..Default::default()
    };
    Store::open(options, framewire_shared::store::QueueOptions::default()).expect("our own URL")
}

async fn state(store: &Store, job: &JobId) -> Option<State> {
    Some(store.job(job).await.expect("Redis")?.job.state)
}

/// Submits a job that the provider refuses for good, and waits until it has failed.
async fn failed(store: &Store, number: u32) -> JobId {
    let session = store.create_session().await.expect("Redis").id;
    let job: JobId = format!("job_{}_{number:032x}", Cell::FIRST).parse().expect("an id");
    let input = FrameInput { fault: Some(Fault::Permanent), ..FrameInput::new("a fox") };
    let input = serde_json::to_string(&input).expect("JSON");
    let pool = "default".parse().expect("a name");
    let new = submission(&job, &session, &pool, &input);
    store.submit(&new).await.expect("Redis");
    until("the failure", async || (state(store, &job).await == Some(State::Failed)).then_some(()))
        .await;
    job
}

#[tokio::test]
async fn the_doctor_finds_a_busy_installation_well_and_names_and_mends_what_is_broken() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    let running = client.submit("a garden", 50, 400).await;
    let waiting = client.submit("a café", 2, 10).await;
    events.until("progress").await;
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
    for words in [
        "ok    redis ",
        "noeviction, AOF everysec",
        "ok    pool default: 1 worker with 1 slot; 1 run, 1 wait",
        "nothing is wrong; looked at 2 jobs",
    ] {
        assert!(said.contains(words), "{words:?} is missing in:\n{said}");
    }

    // Lost: no structure names it, so nothing would ever start it.
    let session: String =
        redis_cli(&launcher.socket(), &["HGET", &format!("fw:{{c0}}:job:{waiting}"), "session"]);
    let line = format!("fw:{{c0}}:wait:default:normal:{session}");
    redis_cli(&launcher.socket(), &["DEL", &line]);
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(1), "{said}");
    let wrong = format!("WRONG {waiting} says queued and is in no line, window or delay");
    assert!(said.contains(&wrong), "{said}");
    let (_, after) = said.split_once(&wrong).unwrap();
    let (_, fix) = after.split_once("→ ").expect("a command");
    let fix = fix.lines().next().unwrap();
    let done = Command::new("sh").args(["-c", fix]).status().expect("a shell");
    assert!(done.success(), "{fix}");
    client.cancel(&running).await;
    let job = client.finished(&waiting).await;
    assert_eq!(job["status"], "completed");
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn the_doctor_that_cannot_look_says_where_it_looked_and_ends_with_2() {
    let data = tempfile::tempdir().unwrap();
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("does `framewire up` run there?"), "{said}");
    assert!(said.contains(&*data.path().to_string_lossy()), "{said}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire"));
    let output =
        command.args(["doctor", "--redis", "redis://me:secret@127.0.0.1:1"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("failed to reach Redis") && said.contains("127.0.0.1:1"), "{said}");
    assert!(!said.contains("secret"), "{said}");
}

#[tokio::test]
async fn dead_letters_are_listed_shown_retried_and_purged_and_nothing_else_is() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let store = store(&launcher);
    let dead = |arguments: &[&str]| framewire(data.path(), &[&["dead"], arguments].concat());
    assert_eq!(dead(&["list"]), (Some(0), "no dead letters\n".into()));

    let (first, second) = (failed(&store, 1).await, failed(&store, 2).await);
    let (code, said) = dead(&["list"]);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((code, lines.len()), (Some(0), 3), "{said}");
    assert!(lines[0].starts_with("AGE"), "{said}");
    for (line, job) in [(lines[1], &second), (lines[2], &first)] {
        assert!(line.contains(job.as_str()) && line.contains("PERMANENT"), "{said}");
    }
    assert_eq!(dead(&["list", "--limit", "1"]).1.lines().count(), 2);

    let (code, said) = dead(&["show", first.as_str()]);
    assert_eq!(code, Some(0));
    assert!(said.contains("failure_stage    generating") && said.contains("a fox"), "{said}");

    // Tried again, it fails again: a letter once more.
    let (code, said) = dead(&["retry", first.as_str()]);
    assert_eq!((code, &*said), (Some(0), &*format!("{first} is queued again (retry 1)\n")));
    until("the second failure", async || {
        (state(&store, &first).await == Some(State::Failed)).then_some(())
    })
    .await;

    let (code, said) = dead(&["purge", "--all", "--older-than", "1h"]);
    assert_eq!((code, &*said), (Some(0), "purged: 0; kept: 2\n"));
    let (code, said) = dead(&["purge", first.as_str()]);
    assert_eq!((code, said), (Some(0), format!("{first} is gone\n")));
    assert_eq!(state(&store, &first).await, None);
    assert_eq!(dead(&["purge", first.as_str()]).0, Some(1), "it is gone already");
    assert_eq!(dead(&["purge", "--all"]), (Some(0), "purged: 1; kept: 0\n".into()));

    let client = Client::new(&launcher.url).await;
    let alive = client.submit("a pond", 50, 400).await;
    for verb in ["show", "retry", "purge"] {
        let (code, said) = dead(&[verb, &alive]);
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("it is left alone"), "{said}");
    }
    assert_eq!(dead(&["retry"]).0, Some(2), "neither a job nor --all");
    assert_eq!(dead(&["purge", "--all", &alive]).0, Some(2), "both");
    assert_eq!(dead(&["purge", "--all", "--older-than", "soon"]).0, Some(2));
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
}

#[tokio::test]
async fn a_cap_raised_while_all_runs_starts_what_waits_and_a_lowered_one_stops_nothing() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start_with(up(data.path()).args(["--slots", "4"]), data.path());
    let caps = |arguments: &[&str]| framewire(data.path(), &[&["caps"], arguments].concat());
    let client = Client::new(&launcher.url).await;
    let mut jobs = Vec::new();
    for _ in 0..4 {
        jobs.push(client.submit("a garden", 50, 400).await);
    }
    let running = async || {
        let mut count = 0;
        for job in &jobs {
            count += usize::from(client.job(job).await["status"] != "queued");
        }
        count
    };
    let run = async |wanted| {
        until("the jobs to run", async || (running().await == wanted).then_some(())).await;
    };
    run(2).await;
    let (code, said) = caps(&[]);
    assert_eq!(code, Some(0), "{said}");
    let rows: Vec<Vec<&str>> = said
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    let used = "2 jobs of 1 session; the busiest has 2";
    assert!(rows.contains(&vec!["session", "2", "settings", used]), "{said}");
    assert!(rows.contains(&vec!["pool default", "-", "2 jobs of 4 slots"]), "{said}");

    let (code, said) = caps(&["set", "session", "3"]);
    let held = "each session runs at most 3 jobs at a time (the operator's cap was: not set)\n";
    assert_eq!((code, &*said), (Some(0), held));
    run(3).await;
    let (code, said) = caps(&["set", "session", "1"]);
    assert!(said.contains("what runs above it goes on"), "{said}");
    assert_eq!((code, running().await), (Some(0), 3));
    assert!(caps(&["set", "tenant", "public", "0"]).1.contains("nothing new begins"));
    assert!(caps(&["list"]).1.contains("tenant public  0 (paused)  operator"));
    let (code, said) = framewire(data.path(), &["doctor"]);
    assert_eq!(code, Some(0), "{said}");
    // That of the tenant away, that of all still holds; the pool's holds beside it.
    caps(&["unset", "tenant", "public"]);
    caps(&["set", "session", "4"]);
    run(4).await;
    assert!(caps(&["set", "pool", "default", "2"]).1.contains("pool default runs at most 2 jobs"));
    assert!(caps(&["set", "pool", "nowhere", "2"]).1.contains("no living worker serves this pool"));
    assert_eq!(running().await, 4);

    for bad in [
        &["set", "session"][..],
        &["set", "session", "-1"],
        &["set", "session", "100001"],
        &["set", "tenant", "A b", "3"],
        &["set", "everything", "3"],
        &["unset", "pool"],
    ] {
        assert_eq!(caps(bad).0, Some(2), "{bad:?}");
    }
    for job in &jobs {
        client.cancel(job).await;
    }
}

#[tokio::test]
async fn strict_durability_syncs_the_private_redis_and_refuses_one_that_does_not() {
    let data = tempfile::tempdir().unwrap();
    let mut command = up(data.path());
    command.env("FRAMEWIRE_REDIS_DURABILITY", "strict");
    let launcher = Launcher::start_with(&mut command, data.path());
    let said = redis_cli(&launcher.socket(), &["CONFIG", "GET", "appendfsync"]);
    assert_eq!(said, "appendfsync\nalways");
    let client = Client::new(&launcher.url).await;
    let job = client.submit("a fox", 2, 10).await;
    assert_eq!(client.finished(&job).await["status"], "completed");
    drop(launcher);

    let redis = RedisServer::start();
    let other = tempfile::tempdir().unwrap();
    let mut command = up(other.path());
    command.args(["--redis", &redis.url()]);
    let said = refused(command.env("FRAMEWIRE_REDIS_DURABILITY", "strict"));
    for words in ["redis.durability = \"strict\"", "everysec", "CONFIG SET appendfsync always"] {
        assert!(said.contains(words), "{words:?} is missing in:\n{said}");
    }
}
