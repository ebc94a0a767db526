//! The Lua files, compiled into the binary, each behind the one prelude, run by digest.
//!
//! Redis keeps a script after its first use; after a restart or `SCRIPT FLUSH` it answers NOSCRIPT,
//! and the script is loaded and run again. That is safe because a NOSCRIPT answer has run nothing.
//! Lua makes every function anew at each call of a script, and that was a fifth of a call's time: so
//! a script is given only what it uses of the prelude ([`compose`]).

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
    caps,
    set_cap,
    watch,
    abandon,
    show,
    snapshot,
    positions,
    replay,
    purge,
    delete,
    fallback,
    doctor_jobs,
    doctor_sessions,
    doctor_pool,
);

/// Puts the prelude before a script, without the paragraphs that neither it nor they need.
///
/// The prelude's paragraphs are separated by empty lines. A function is one of them, needed where it
/// is called; others are needed where a name that they declare is used. Names come before their use,
/// so one pass from the end finds all that are needed.
fn compose(prelude: &str, script: &str) -> String {
    let mut text = script.to_owned();
    for paragraph in prelude.trim_end().split("\n\n").collect::<Vec<_>>().into_iter().rev() {
        let names = declared(paragraph);
        if names.is_empty() || names.iter().any(|name| mentions(&text, name)) {
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
        let nonce = nonce();
        let value: redis::Value = self
            .ask(|mut line, again| {
                let mut invocation = script.key(keys::config(cell));
                invocation.arg(if again { format!("{nonce}+") } else { nonce.clone() });
                for argument in arguments {
                    invocation.arg(*argument);
                }
                async move { invocation.invoke_async(&mut line).await }
            })
            .await?;
        Reply::from_value(value)
    }
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
    fn every_function_of_the_prelude_is_one_paragraph() {
        for paragraph in PRELUDE.trim_end().split("\n\n") {
            let functions = paragraph.matches("local function ").count();
            let whole = functions == 0 || (functions == 1 && paragraph.ends_with("\nend"));
            assert!(whole, "an empty line cuts a function in two:\n{paragraph}");
        }
    }
}
