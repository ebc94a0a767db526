//! A connection that stays open and carries nothing any more.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use framewire_shared::domain::Cell;
use framewire_shared::store::{QueueOptions, RedisOptions, Store, StoreError};
use framewire_shared::testing::{RedisServer, until};

/// Carries bytes one way until its connection is made deaf; then it reads on and drops them.
fn carry(mut from: UnixStream, mut to: UnixStream, deaf: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(read @ 1..) = from.read(&mut bytes) {
            if !deaf.load(Ordering::SeqCst) && to.write_all(&bytes[..read]).is_err() {
                return;
            }
        }
    });
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced_after_the_first_call_that_noticed() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let front = folder.path().join("proxy.sock");
    let listener = UnixListener::bind(&front).unwrap();
    let back = redis.socket();
    let first_is_deaf = Arc::new(AtomicBool::new(false));
    let deaf = first_is_deaf.clone();
    std::thread::spawn(move || {
        for (caller, number) in listener.incoming().zip(0..) {
            let deaf = match number {
                0 => deaf.clone(),
                _ => Arc::default(),
            };
            let (caller, server) = (caller.unwrap(), UnixStream::connect(&back).unwrap());
            carry(caller.try_clone().unwrap(), server.try_clone().unwrap(), deaf.clone());
            carry(server, caller, deaf);
        }
    });
    let options = RedisOptions {
        url: format!("redis+unix://{}", front.display()),
        call_timeout: Duration::from_millis(400),
        ..redis.options()
    };
    let store = Store::open(options, QueueOptions::default()).unwrap();
    until("the first answer", async || store.ping(Cell::FIRST).await.ok()).await;

    first_is_deaf.store(true, Ordering::SeqCst);

    let error = store.ping(Cell::FIRST).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    store.ping(Cell::FIRST).await.expect("a connection that carries again");
}
