//! The artifacts' bytes on disk.

use std::time::{Duration, SystemTime};

use framewire_shared::domain::artifact::Slot;
use framewire_shared::domain::{ArtifactId, Cell, Fence, JobId, MediaType};
use framewire_shared::store::blobs::Blobs;
use uuid::Uuid;

fn id() -> ArtifactId {
    ArtifactId {
        job: JobId::new(Cell::FIRST, Uuid::now_v7()),
        fence: Fence(1),
        slot: Slot::Frame(0),
        media_type: MediaType::Png,
    }
}

#[tokio::test]
async fn what_is_put_is_read_whole_and_in_parts_and_what_is_not_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::on_disk(folder.path()).unwrap();
    let id = id();
    assert_eq!(blobs.size(&id).await.unwrap(), None);
    blobs.put(&id, "0123456789".into()).await.unwrap();
    assert_eq!(blobs.size(&id).await.unwrap(), Some(10));
    assert_eq!(blobs.read(&id, 2..5).await.unwrap().unwrap(), "234");
}

#[tokio::test]
async fn only_what_is_older_than_its_time_is_removed_with_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::on_disk(folder.path()).unwrap();
    let id = id();
    blobs.put(&id, "x".into()).await.unwrap();
    let day = Duration::from_secs(24 * 3600);
    let now = SystemTime::now();
    assert_eq!(blobs.remove_older(day, now).await.unwrap(), 0);
    assert_eq!(blobs.remove_older(day, now + day + Duration::from_secs(60)).await.unwrap(), 1);
    assert_eq!(blobs.size(&id).await.unwrap(), None);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "an empty folder stays");
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    assert!(Blobs::on_disk(&file.join("below")).is_err());
}
