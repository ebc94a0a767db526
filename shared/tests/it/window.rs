//! The blocking pop, and what happens to a job whose popper dies with it.

use std::process::{Child, Command, Stdio};

use framewire_shared::domain::Cell;
use framewire_shared::store::QueueOptions;
use framewire_shared::testing::until;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::world::{World, session};

/// Tells whether a client waits in BZPOPMIN.
fn somebody_is_blocked(world: &World) -> bool {
    let clients: String =
        redis::cmd("CLIENT").arg("LIST").query(&mut world.redis.connection()).unwrap();
    clients.contains("cmd=bzpopmin")
}

#[tokio::test]
async fn a_push_late_into_a_block_is_received() {
    // redis-rs gives up on a reply after 500 ms by default, and the server would still pop.
    let world = World::new();
    world.slots(1).await;
    let mut popper = world.store.popper(Cell::FIRST, std::slice::from_ref(&world.pool));
    let started = tokio::time::Instant::now();
    let late = async {
        tokio::time::sleep_until(started + std::time::Duration::from_millis(900)).await;
        world.submit(&session()).await
    };
    let (popped, job) = tokio::join!(popper.pop(), late);
    assert_eq!(popped.unwrap().expect("the late push").job, job);
}

#[tokio::test]
async fn an_empty_block_ends_by_itself_and_the_connection_goes_on() {
    let world = World::new();
    world.slots(1).await;
    let mut popper = world.store.popper(Cell::FIRST, std::slice::from_ref(&world.pool));
    assert_eq!(popper.pop().await.unwrap(), None);
    let job = world.submit(&session()).await;
    assert_eq!(popper.pop().await.unwrap().unwrap().job, job);
}

#[tokio::test]
async fn a_popper_that_is_dropped_in_the_middle_of_a_pop_takes_its_socket_with_it() {
    let world = World::new();
    world.slots(1).await;
    let mut popper = world.store.popper(Cell::FIRST, std::slice::from_ref(&world.pool));
    tokio::select! {
        popped = popper.pop() => panic!("there is nothing to pop: {popped:?}"),
        () = until("a blocked pop", async || somebody_is_blocked(&world).then_some(())) => {}
    }
    drop(popper);
    until("the server to forget it", async || (!somebody_is_blocked(&world)).then_some(())).await;
    let job = world.submit(&session()).await;
    assert_eq!(world.pop(), Some(job));
}

#[tokio::test]
async fn a_popper_that_is_frozen_and_killed_loses_nothing() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(1).await;
    let popper = Popper::start(&world);
    until("a blocked popper", async || somebody_is_blocked(&world).then_some(())).await;
    kill(popper.pid(), Signal::SIGSTOP).unwrap();
    let job = world.submit(&session()).await;
    assert_eq!(world.pop(), None, "the frozen popper's socket did not swallow the job");
    kill(popper.pid(), Signal::SIGKILL).unwrap();

    let sweep = || world.store.sweep_now(Cell::FIRST, &world.pool);
    world.at(700);
    assert_eq!(sweep().await.unwrap().offered_again, 0, "offered again before the grace");
    world.at(750);
    assert_eq!(sweep().await.unwrap().offered_again, 1);
    assert_eq!(world.take().await.unwrap().job, job);
}

#[tokio::test]
async fn a_slow_popper_and_the_one_it_was_offered_to_again_claim_it_once() {
    let world = World::with_clock(QueueOptions::default());
    world.slots(2).await;
    let job = world.submit(&session()).await;
    assert_eq!(world.pop(), Some(job.clone()));
    world.at(1_000);
    world.store.sweep_now(Cell::FIRST, &world.pool).await.unwrap();
    assert_eq!(world.pop(), Some(job.clone()));
    assert!(world.claim(&job).await.is_some());
    assert!(world.claim(&job).await.is_none());
}

#[tokio::test]
async fn a_popper_outlives_a_redis_that_goes_and_comes_back() {
    let mut world = World::new();
    world.slots(1).await;
    let mut popper = world.store.popper(Cell::FIRST, std::slice::from_ref(&world.pool));
    assert_eq!(popper.pop().await.unwrap(), None);
    world.redis.kill();
    assert!(popper.pop().await.is_err());
    world.redis.restart();
    let job = world.submit(&session()).await;
    let popped = until("a pop", async || popper.pop().await.ok().flatten()).await;
    assert_eq!(popped.job, job);
}

/// A process that waits in BZPOPMIN as a worker does.
struct Popper(Child);

impl Popper {
    fn start(world: &World) -> Self {
        let child = Command::new("redis-cli")
            .arg("-s")
            .arg(world.redis.socket())
            .args(["BZPOPMIN", "fw:{c0}:ready:default:normal", "30"])
            .stdout(Stdio::null())
            .spawn()
            .expect("start redis-cli");
        Self(child)
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }
}

impl Drop for Popper {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
