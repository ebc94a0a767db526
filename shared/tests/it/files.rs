//! Records of uploads, in Redis.

use framewire_shared::domain::{Cell, FileId, MediaType, SessionId};
use framewire_shared::store::files::{FILES_BYTES_MAX, Kept, StoredFile};
use framewire_shared::testing::RedisServer;
use uuid::Uuid;

fn file(session: &SessionId, bytes: u64) -> StoredFile {
    StoredFile {
        session: session.clone(),
        content_type: MediaType::Webp,
        width: 64,
        height: 48,
        bytes,
        sha256: "ab".into(),
        expires_at: 0,
    }
}

fn session() -> SessionId {
    SessionId::new(Cell::FIRST, Uuid::new_v4())
}

fn id() -> FileId {
    FileId::new(Cell::FIRST, Uuid::new_v4())
}

#[tokio::test]
async fn a_record_is_read_as_it_was_kept_by_its_session_alone() {
    let redis = RedisServer::start();
    redis.set_clock(1_000_000);
    let store = redis.store_with_clock(Default::default());
    let (owner, id) = (session(), id());
    let kept = store.keep_file(&id, &file(&owner, 9)).await.unwrap();
    let expires_at = 1_000_000 + 24 * 3_600_000;
    assert_eq!(kept, Kept::Kept(expires_at));
    let read = store.file(&id, &owner).await.unwrap();
    assert_eq!(read, Some(StoredFile { expires_at, ..file(&owner, 9) }));
    assert_eq!(store.file(&id, &session()).await.unwrap(), None);
    assert!(!store.forget_file(&id, &session()).await.unwrap());
    assert!(store.forget_file(&id, &owner).await.unwrap());
    assert!(!store.forget_file(&id, &owner).await.unwrap());
    assert_eq!(store.file(&id, &owner).await.unwrap(), None);
}

#[tokio::test]
async fn the_bytes_of_a_session_are_bounded_and_the_same_file_counts_once() {
    let redis = RedisServer::start();
    redis.set_clock(1_000_000);
    let store = redis.store_with_clock(Default::default());
    let (owner, first) = (session(), id());
    let most = file(&owner, FILES_BYTES_MAX);
    for _ in 0..2 {
        assert!(matches!(store.keep_file(&first, &most).await.unwrap(), Kept::Kept(_)));
    }
    redis.set_clock(1_000_000 + 3_600_000);
    let full = store.keep_file(&id(), &file(&owner, 1)).await.unwrap();
    let room_in = std::time::Duration::from_secs(23 * 3_600);
    assert_eq!(full, Kept::Full { files: 1, bytes: FILES_BYTES_MAX, room_in });
    let other = session();
    assert!(matches!(store.keep_file(&id(), &file(&other, 1)).await.unwrap(), Kept::Kept(_)));
    // What has expired makes room, and its entry goes.
    redis.set_clock(1_000_000 + 24 * 3_600_000);
    assert!(matches!(store.keep_file(&id(), &file(&owner, 1)).await.unwrap(), Kept::Kept(_)));
}
