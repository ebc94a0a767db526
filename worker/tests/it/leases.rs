//! Which leases a worker renews.

use std::task::Poll;
use std::time::Duration;

use framewire_shared::domain::{Cell, Fence, FrameInput};
use framewire_worker::lease_keeper::Kept;
use framewire_worker::runner::Settled;

use crate::world::{Scripted, World, frame};

#[tokio::test]
async fn a_completed_job_is_not_renewed_while_its_frames_are_copied_for_others() {
    let world = World::new();
    world.beat().await;
    let same = FrameInput { width: 64, height: 64, seed: Some(1), ..FrameInput::new("x") };
    let (leader, follower) = (world.submit_same(&same).await, world.submit_same(&same).await);
    let claimed = world.claim(&leader).await;
    let runner = world.runner(Duration::from_secs(60));
    let run = runner.run(leader, claimed, Scripted::new([vec![frame(0)]]));
    tokio::pin!(run);
    // The follower's fence counts up as it is taken over, which is before its copies are made.
    while world.job(&follower).await.fence == Fence(0) {
        let polled = futures::poll!(&mut run);
        assert!(matches!(polled, Poll::Pending), "the follower was not served");
    }
    assert_eq!(world.keeper.tick(Cell::FIRST).await.unwrap(), Kept::default());
    assert_eq!(run.await, Settled::Completed);
}
