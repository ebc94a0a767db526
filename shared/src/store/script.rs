//! The Lua files, compiled into the binary, each behind the one prelude (`lua/prelude/`), run by digest.
//!
//! Redis keeps a script after its first use; after a restart or `SCRIPT FLUSH` it answers NOSCRIPT,
//! and the script is loaded and run again. That is safe because a NOSCRIPT answer has run nothing.
//! Lua makes every function anew at each call of a script, and that was a fifth of a call's time: so
//! a script is given only what it uses of the prelude ([`compose`]).

use std::time::Duration;

use redis::Script;

use super::codec::Reply;
use super::{Store, StoreError, keys, nonce};
use crate::domain::Cell;

/// Part of a call's time in which replicas must have acknowledged: the rest is for the script, and
/// for asking once more.
const REPLICAS_SHARE: u32 = 2;
/// Longest wait for replicas; healthy ones take a millisecond.
const REPLICAS_PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Joins the prelude's files, in the order in which they build on each other.
macro_rules! prelude {
    ($($name:literal),+ $(,)?) => {
        concat!($(include_str!(concat!("../../lua/prelude/", $name, ".lua")), "\n"),+)
    };
}

const PRELUDE: &str = prelude!(
    "clock", "event", "job", "caps", "admit", "places", "wait", "fallback", "follow", "ends",
    "read",
);

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
                    $($name: Script::new(&compose(
                        prelude,
                        include_str!(concat!("../../lua/", stringify!($name), ".lua")),
                    )),)+
                }
            }
        }
    };
}

scripts!(
    submit,
    seen,
    claim,
    renew,
    advance,
    progress,
    announce,
    checkpoint,
    usage,
    complete,
    land,
    fulfil,
    fail,
    release,
    cancel,
    retry,
    heartbeat,
    closed,
    survey,
    sweep,
    caps,
    set_cap,
    watch,
    abandon,
    guard_load,
    guard_swap,
    show,
    next,
    snapshot,
    positions,
    replay,
    purge,
    delete,
    fallback,
    keep_file,
    forget_file,
    doctor_jobs,
    doctor_sessions,
    doctor_pool,
    doctor_leaders,
);

/// Puts the prelude before a script, without the paragraphs that neither it nor they need.
///
/// The prelude's paragraphs are separated by empty lines. A function is one of them, needed where it
/// is called; others are needed where a name that they declare is used, and headers nowhere. Names
/// come before their use, so one pass from the end finds all that are needed.
fn compose(prelude: &str, script: &str) -> String {
    let mut text = script.to_owned();
    for paragraph in prelude.trim_end().split("\n\n").collect::<Vec<_>>().into_iter().rev() {
        if declared(paragraph).iter().any(|name| mentions(&text, name)) {
            text = format!("{paragraph}\n\n{text}");
        }
    }
    text
}

/// Lists the names that a paragraph of the prelude declares: its function's, or its variables'.
fn declared(paragraph: &str) -> Vec<&str> {
    let locals = paragraph.lines().filter_map(|line| line.strip_prefix("local "));
    locals
        .flat_map(|rest| match rest.strip_prefix("function ") {
            Some(function) => vec![function.split('(').next().unwrap_or_default()],
            None => rest.split('=').next().unwrap_or_default().split(',').map(str::trim).collect(),
        })
        .collect()
}

/// Tells whether Lua text uses a name, as a word of its own.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        !text[..at].ends_with(part_of_a_name)
            && !text[at + name.len()..].starts_with(part_of_a_name)
    })
}

/// Gives the text of `submit.lua` as Redis gets it, for benchmarks without a gateway.
#[cfg(feature = "testing")]
pub(crate) fn submit_text() -> String {
    compose(PRELUDE, include_str!("../../lua/submit.lua"))
}

/// Gives a script that appends and publishes an event as transitions do, and does nothing else.
///
/// `ARGV`: 2 job id, 3 session id, 4 kind, 5 body.
#[cfg(feature = "testing")]
pub(crate) fn emit_script() -> Script {
    const EMIT: &str = "emit({id = ARGV[2], session = ARGV[3], v = 1, state = 'generating'}, \
                        ARGV[4], ARGV[5])\nreturn {'emitted'}";
    Script::new(&compose(PRELUDE, EMIT))
}

/// How scripts differ from the files.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flavour {
    /// Events are published on sharded channels, as a cluster needs it.
    pub(super) sharded: bool,
    /// Time is read from the key `clock` (milliseconds), for tests that own it.
    pub(super) clock_key: bool,
}

impl Scripts {
    /// Makes the scripts.
    pub(super) fn new(flavour: &Flavour) -> Self {
        const TIME: &str = "local time = redis.call('TIME') --@clock";
        const KEY: &str = "local clock = tonumber(redis.call('GET', root .. 'clock') or 0)\n\
                           local time = {math.floor(clock / 1000), (clock % 1000) * 1000}";
        assert!(PRELUDE.contains(TIME), "the prelude's clock line has changed");
        let mut prelude = PRELUDE.to_owned();
        if flavour.clock_key {
            prelude = prelude.replace(TIME, KEY);
        }
        if flavour.sharded {
            prelude = sharded(&prelude);
        }
        Self::with(&prelude)
    }
}

/// Has every marked line publish on sharded channels: in a cluster PUBLISH goes to every node.
fn sharded(prelude: &str) -> String {
    let line = |line: &str| match line.ends_with("--@publish") {
        true => line.replace("'PUBLISH'", "'SPUBLISH'") + "\n",
        false => format!("{line}\n"),
    };
    prelude.lines().map(line).collect()
}

/// Says that a write is on its master and on too few replicas.
#[derive(Debug, thiserror::Error)]
#[error("only {acknowledged} of {wanted} replicas (redis.replicas) acknowledged it in time")]
pub(super) struct TooFewReplicas {
    acknowledged: u32,
    wanted: u32,
}

impl Store {
    /// Runs a script of a cell: `KEYS[1]` is the cell's config, `ARGV[1]` a fresh nonce.
    ///
    /// A connection that broke is made anew and asked once more: every script may run twice with
    /// the same arguments. What a second run answers is said with each method of the queue.
    pub(crate) async fn run(
        &self,
        script: &Script,
        cell: Cell,
        arguments: &[&str],
    ) -> Result<Reply, StoreError> {
        let nonce = nonce();
        let value: redis::Value = self
            .ask(cell, |node, again| {
                let invocation = invocation(script, cell, &nonce, again, arguments);
                async move { invocation.invoke_async(&mut node.line.clone()).await }
            })
            .await?;
        Reply::from_value(value)
    }

    /// Runs a script as [`Store::run`] does, and waits until `redis.replicas` replicas have
    /// everything that the master had written by then.
    ///
    /// WAIT counts from the connection that wrote, so the call has one of its own. Shapes: an error
    /// beside the reply means that it is on the master and on too few replicas.
    pub(super) async fn run_kept(
        &self,
        script: &Script,
        cell: Cell,
        arguments: &[&str],
    ) -> Result<(Reply, Result<(), TooFewReplicas>), StoreError> {
        let wanted = self.shared.redis.replicas;
        if wanted == 0 {
            return Ok((self.run(script, cell, arguments).await?, Ok(())));
        }
        let (nonce, patience) = (nonce(), self.shared.redis.call_timeout / REPLICAS_SHARE);
        let patience_ms = patience.min(REPLICAS_PATIENCE_MAX).as_millis();
        let (value, acknowledged): (redis::Value, u32) = self
            .ask(cell, |node, again| {
                let invocation = invocation(script, cell, &nonce, again, arguments);
                async move {
                    let mut connection = node.checkout().await?;
                    let value = invocation.invoke_async(connection.line()).await?;
                    let mut wait = redis::cmd("WAIT");
                    wait.arg(wanted).arg(patience_ms.to_string());
                    let acknowledged = wait.query_async(connection.line()).await?;
                    connection.give_back();
                    Ok((value, acknowledged))
                }
            })
            .await?;
        let kept = match acknowledged >= wanted {
            true => Ok(()),
            false => Err(TooFewReplicas { acknowledged, wanted }),
        };
        Ok((Reply::from_value(value)?, kept))
    }
}

fn invocation<'a>(
    script: &'a Script,
    cell: Cell,
    nonce: &str,
    again: bool,
    arguments: &[&str],
) -> redis::ScriptInvocation<'a> {
    let mut invocation = script.prepare_invoke();
    invocation.key(keys::config(cell));
    invocation.arg(if again { format!("{nonce}+") } else { nonce.to_owned() });
    for argument in arguments {
        invocation.arg(*argument);
    }
    invocation
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_gets_what_it_uses_directly_or_not_and_nothing_else() {
        let prelude = "local root, at = 1, 2\n\n-- Most.\nlocal MOST = 1\nlocal LEAST = 0\n\n\
                       -- One.\nlocal function one()\n  return root + MOST\nend\n\n\
                       local function two()\n  return one()\nend\n\n\
                       local function three()\n  return at\nend\n";
        let text = compose(prelude, "return two()\n");
        assert!(text.starts_with("local root, at = 1, 2\n\n-- Most."), "{text}");
        assert!(text.contains("local function two()") && !text.contains("three"), "{text}");
        assert_eq!(compose(prelude, "return at\n"), "local root, at = 1, 2\n\nreturn at\n");
        assert_eq!(compose(prelude, "return two_or_one_s\n"), "return two_or_one_s\n");
    }

    #[test]
    fn the_prelude_names_the_picture_that_is_served() {
        let line = format!("local SHIPPED_URL = '{}'\n", crate::domain::fallback::SHIPPED_PATH);
        assert!(PRELUDE.contains(&line), "{line}");
    }

    #[test]
    fn in_a_cluster_everything_that_is_published_is_sharded() {
        let sharded = sharded(PRELUDE);
        assert_eq!(sharded.matches("'SPUBLISH'").count(), PRELUDE.matches("'PUBLISH'").count());
        assert!(!sharded.contains("'PUBLISH'"), "a line that publishes is not marked --@publish");
    }

    #[test]
    fn every_function_of_the_prelude_is_one_paragraph() {
        for paragraph in PRELUDE.trim_end().split("\n\n") {
            let functions = paragraph.matches("local function ").count();
            let whole = functions == 0 || (functions == 1 && paragraph.ends_with("\nend"));
            assert!(whole, "an empty line cuts a function in two:\n{paragraph}");
        }
    }
}
