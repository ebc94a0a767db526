//! The Lua files, compiled into the binary, each behind the one prelude, run by digest.
//!
//! Redis keeps a script after its first use; after a restart or `SCRIPT FLUSH` it answers NOSCRIPT,
//! and the script is loaded and run again. That is safe because a NOSCRIPT answer has run nothing.

use redis::Script;

use super::codec::Reply;
use super::{Store, StoreError, keys, nonce};
use crate::domain::Cell;

const PRELUDE: &str = include_str!("../../lua/prelude.lua");

/// Declares the scripts: the field's name is the file's.
macro_rules! scripts {
    ($($name:ident),+ $(,)?) => {
        /// Every script, ready to run.
        pub(super) struct Scripts {
            $(pub(super) $name: Script,)+
        }

        impl Scripts {
            fn with(prelude: &str) -> Self {
                Self {
                    $($name: Script::new(&format!(
                        "{prelude}\n{}",
                        include_str!(concat!("../../lua/", stringify!($name), ".lua"))
                    )),)+
                }
            }
        }
    };
}

scripts!(
    submit,
    claim,
    renew,
    advance,
    progress,
    announce,
    checkpoint,
    complete,
    fail,
    release,
    cancel,
    retry,
    heartbeat,
    sweep,
    show,
    snapshot,
    positions,
    replay,
    purge,
    doctor_jobs,
    doctor_sessions,
    doctor_pool,
);

impl Scripts {
    /// Makes the scripts that read Redis' clock.
    pub(super) fn new() -> Self {
        Self::with(PRELUDE)
    }

    /// Makes the scripts that read the key `clock` (milliseconds), for tests that own the time.
    #[cfg(feature = "testing")]
    pub(super) fn with_clock_key() -> Self {
        const TIME: &str = "local time = redis.call('TIME') --@clock";
        const KEY: &str = "local clock = tonumber(redis.call('GET', root .. 'clock') or 0)\n\
                           local time = {math.floor(clock / 1000), (clock % 1000) * 1000}";
        assert!(PRELUDE.contains(TIME), "the prelude's clock line has changed");
        Self::with(&PRELUDE.replace(TIME, KEY))
    }
}

impl Store {
    /// Runs a script of a cell: `KEYS[1]` is the cell's config, `ARGV[1]` a fresh nonce.
    ///
    /// A connection that broke is made anew and asked once more: every script may run twice with
    /// the same arguments. What a second run answers is said with each method of the queue.
    pub(super) async fn run(
        &self,
        script: &Script,
        cell: Cell,
        arguments: &[&str],
    ) -> Result<Reply, StoreError> {
        let mut connection = self.connection.clone();
        let invocation = |nonce: String| {
            let mut invocation = script.key(keys::config(cell));
            invocation.arg(nonce);
            for argument in arguments {
                invocation.arg(*argument);
            }
            invocation
        };
        let nonce = nonce();
        let value: redis::Value = self
            .in_time(async {
                match invocation(nonce.clone()).invoke_async(&mut connection).await {
                    Err(error) if error.is_unrecoverable_error() => {
                        invocation(nonce + "+").invoke_async(&mut connection).await
                    }
                    answer => answer,
                }
            })
            .await?;
        Reply::from_value(value)
    }
}
