//! The worker as a process: drained, frozen, killed, refused.

use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use framewire_shared::domain::{Fault, FrameInput, JobId, State};
use framewire_shared::testing::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::World;

pub(crate) struct Worker(Option<Child>);

impl Worker {
    pub(crate) fn start(world: &World, settings: &[(&str, &str)]) -> Self {
        Self::spawn(command(world).envs(settings.iter().copied()))
    }

    pub(crate) fn spawn(command: &mut Command) -> Self {
        Self(Some(command.spawn().expect("start a worker")))
    }

    pub(crate) fn of(child: Child) -> Self {
        Self(Some(child))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.0.as_ref().unwrap().id();
        kill(Pid::from_raw(pid.cast_signed()), signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        self.0.take().unwrap().wait().unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

pub(crate) fn command(world: &World) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_framewire-worker"));
    command
        .envs(world.redis.environment())
        .env("FRAMEWIRE_ARTIFACTS_PATH", world.folder.path().join("artifacts"))
        .env("FRAMEWIRE_WORKER_SLOTS", "1")
        .env("FRAMEWIRE_BUILTIN_FAULTS", "true")
        .env("FRAMEWIRE_QUEUE_LEASE_MS", "900")
        .env("FRAMEWIRE_QUEUE_RENEW_MS", "200")
        .stderr(Stdio::null());
    command
}

pub(crate) fn input(steps: u32, step_ms: u64) -> FrameInput {
    let base = FrameInput::new("a lighthouse at night");
    FrameInput { width: 64, height: 64, steps, step_ms: Some(step_ms), seed: Some(7), ..base }
}

pub(crate) async fn reaches(world: &World, job: &JobId, state: State) {
    until(state.as_str(), async || (world.job(job).await.state == state).then_some(())).await;
}

#[tokio::test]
async fn a_worker_draws_a_real_picture() {
    let world = World::new();
    let _worker = Worker::start(&world, &[]);
    let job = world.submit_input(&input(3, 0)).await;
    reaches(&world, &job, State::Completed).await;
    let stored = world.job(&job).await;
    let file = world.folder.path().join("artifacts").join(job.as_str());
    let name = stored.artifacts[0].url.rsplit('/').next().unwrap().to_owned();
    let picture = image::open(file.join(name)).unwrap();
    assert_eq!((picture.width(), picture.height()), (64, 64));
}

#[tokio::test]
async fn a_worker_killed_mid_frame_is_followed_by_one_that_finishes_and_nothing_is_burned() {
    let world = World::new();
    let first = Worker::start(&world, &[]);
    let job = world.submit_input(&input(20, 50)).await;
    reaches(&world, &job, State::Generating).await;
    first.signal(Signal::SIGKILL);
    let _second = Worker::start(&world, &[]);
    reaches(&world, &job, State::Completed).await;
    let stored = world.job(&job).await;
    assert_eq!((stored.attempt_count, stored.losses, stored.fence.0), (1, 1, 2));
}

#[tokio::test]
async fn a_worker_frozen_in_its_pop_and_killed_loses_nothing() {
    let world = World::new();
    let first = Worker::start(&world, &[]);
    until("a blocked pop", async || {
        let clients: String =
            redis_cli(&world, &["CLIENT", "LIST"]).stdout.iter().map(|c| char::from(*c)).collect();
        clients.contains("cmd=bzpopmin").then_some(())
    })
    .await;
    first.signal(Signal::SIGSTOP);
    let job = world.submit_input(&input(1, 0)).await;
    first.signal(Signal::SIGKILL);
    let _second = Worker::start(&world, &[]);
    reaches(&world, &job, State::Completed).await;
    assert_eq!(world.job(&job).await.fence.0, 1, "claimed once, by the second worker");
}

#[tokio::test]
async fn a_drained_worker_finishes_what_runs_and_takes_nothing_new() {
    let world = World::new();
    let worker = Worker::start(&world, &[]);
    let running = world.submit_input(&input(10, 50)).await;
    reaches(&world, &running, State::Generating).await;
    worker.signal(Signal::SIGTERM);
    let waiting = world.submit_input(&input(1, 0)).await;
    assert!(worker.wait().success());
    assert_eq!(world.job(&running).await.state, State::Completed);
    assert_eq!(world.job(&waiting).await.state, State::Queued);
}

#[tokio::test]
async fn what_outlasts_the_grace_of_a_drain_goes_back_unburned() {
    let world = World::new();
    let worker = Worker::start(&world, &[("FRAMEWIRE_WORKER_DRAIN_S", "0")]);
    let job = world.submit_input(&input(50, 5_000)).await;
    reaches(&world, &job, State::Generating).await;
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success());
    let stored = world.job(&job).await;
    assert_eq!((stored.state, stored.attempt_count, stored.losses), (State::Queued, 0, 0));
    assert_eq!(world.events().await, ["queued", "started", "queued"]);
}

#[tokio::test]
async fn what_was_asked_of_a_provider_and_what_came_of_it_is_logged_with_stable_fields() {
    let world = World::new();
    let mut command = command(&world);
    let child = command.env("FRAMEWIRE_LOG_FORMAT", "json").stderr(Stdio::piped()).spawn();
    let mut worker = Worker(Some(child.unwrap()));
    let drawn = world.submit_input(&input(1, 0)).await;
    reaches(&world, &drawn, State::Completed).await;
    let refused = FrameInput { fault: Some(Fault::Permanent), ..input(1, 0) };
    let refused = world.submit_input(&refused).await;
    reaches(&world, &refused, State::Failed).await;
    // Behind one that is being drawn, so that nobody starts it in time.
    let slow = world.submit_input(&input(20, 100)).await;
    reaches(&world, &slow, State::Generating).await;
    let late = world.submit_within(&input(1, 0), Duration::from_millis(1)).await;
    reaches(&world, &late, State::Failed).await;
    worker.signal(Signal::SIGTERM);
    let output = worker.0.take().unwrap().wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().filter_map(|line| serde_json::from_str(line).ok());
    let lines: Vec<serde_json::Value> = lines.collect();
    let fields = |message: &str, job: &JobId| {
        let its = lines.iter().find(|it| it["message"] == message && it["id"] == job.as_str());
        its.unwrap_or_else(|| panic!("no {message} of {job} in {said}")).clone()
    };
    for job in [&drawn, &refused] {
        let request = fields("gen.request", job);
        assert_eq!(
            (&request["timeoutMs"], &request["provider"]),
            (&300_000.into(), &"builtin".into())
        );
        assert_eq!(request.get("budgetBefore"), None, "a budget without a guard");
    }
    assert!(fields("gen.success", &drawn)["latencyMs"].is_u64());
    assert_eq!(fields("gen.fail", &refused)["kind"], "4xx");
    for (job, reason) in [(&refused, "PERMANENT"), (&late, "not_started")] {
        let of_it = |line: &&serde_json::Value| {
            line["message"] == "queue.deadletter" && line["jobId"] == job.as_str()
        };
        let told: Vec<_> = lines.iter().filter(of_it).map(|line| &line["reason"]).collect();
        assert_eq!(told, [reason], "{said}");
    }
    let told = lines.iter().filter(|line| line["message"] == "queue.deadletter").count();
    assert_eq!(told, 2, "{said}");
}

#[tokio::test]
async fn a_redis_that_evicts_is_refused_at_the_start_with_the_remedy() {
    let world = World::new();
    redis_cli(&world, &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let output = command(&world).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("failed to use this Redis") && said.contains("noeviction"), "{said}");
}

#[tokio::test]
async fn a_worker_whose_redis_is_emptied_under_its_job_is_unharmed_and_takes_the_next() {
    let world = World::new();
    let worker = Worker::start(&world, &[]);
    for forget in ["FLUSHALL", "SCRIPT FLUSH"] {
        let running = world.submit_input(&input(20, 50)).await;
        reaches(&world, &running, State::Generating).await;
        redis_cli(&world, &forget.split(' ').collect::<Vec<_>>());
        if forget == "FLUSHALL" {
            assert_eq!(world.store.job(&running).await.unwrap(), None);
        } else {
            reaches(&world, &running, State::Completed).await;
        }
        let next = world.submit_input(&input(1, 0)).await;
        reaches(&world, &next, State::Completed).await;
    }
    worker.signal(Signal::SIGTERM);
    assert!(worker.wait().success(), "it was harmed");
}

#[tokio::test]
async fn unknown_settings_are_refused_at_the_start() {
    let world = World::new();
    let output =
        command(&world).env("FRAMEWIRE_WORKER_SLOTZ", "3").stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("slotz"), "{said}");
}

fn redis_cli(world: &World, words: &[&str]) -> Output {
    let socket = world.redis.socket();
    Command::new("redis-cli").arg("-s").arg(socket).args(words).output().expect("run redis-cli")
}
