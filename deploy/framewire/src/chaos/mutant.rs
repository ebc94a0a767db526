//! Takes a protection away, so that the run can be seen to fail.
//!
//! The protections stand in the scripts, which are compiled in, and no build can switch them off.
//! So the proxy between a process and Redis respells them: where a script is loaded, one of its
//! lines becomes another, and calls of the script are sent to what became of it; the process hears
//! the digest that it expects. A run with any of these must end with a finding; one that does not
//! would prove that a clean run proves nothing. What a gateway checks by itself is taken away by
//! the `forger`, in the same place.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::findings::Kind;
use super::forger::Forger;
use super::proxy::Side;
use super::wire::{Whole, request, words};

/// Declares the mutants: name, what is missing then, which findings show it, script, its line, what
/// stands there instead.
macro_rules! mutants {
    ($($(#[doc = $doc:literal])+ $name:ident [$($kind:ident)+] = $file:literal, $line:literal => $instead:literal;)+) => {
        /// A protection that is taken away.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
        pub(crate) enum Weaken { $($(#[doc = $doc])+ $name,)+ }

        impl Weaken {
            /// Gives the script, the line in it, and what it becomes.
            const fn change(self) -> (&'static str, &'static str, &'static str) {
                match self { $(Self::$name => ($file, $line, $instead),)+ }
            }

            /// Gives the promises that are broken without it: another finding does not count.
            pub(super) const fn breaks(self) -> &'static [Kind] {
                match self { $(Self::$name => &[$(Kind::$kind,)+],)+ }
            }
        }
    };
}

mutants! {
    /// Popped and never claimed jobs are not offered again
    Out [Unfinished] = "sweep", "elseif admitted_at <= now - grace_ms then" => "elseif false then";
    /// A worker that lost its job may go on writing
    Fence [Zombie] = "prelude/job", "return j and j.fence == fence" => "return j";
    /// Jobs of dead workers stay theirs
    Lapse [Unfinished] = "sweep", "local lapsed = lapsing and due('lease', now) or {}" => "local lapsed = {}";
    /// Gateways do not notice that an event was lost
    Offset [Lost Altered] = "", "" => "";
    /// A request sent again makes a second job
    Idempotency [Duplicated] = "submit", "if key ~= '' then\n  local seen" => "if false then\n  local seen";
    /// A call sent again is taken for a new one
    Repeat [Illegal] = "prelude/clock", "#ARGV[1] > 8" => "false";
    /// A session may run any number of jobs
    Cap [OverCap] = "prelude/admit", "if redis.call('SCARD', live) >= cap then" => "if false then";
    /// Admitted jobs are not counted until they are claimed
    Capacity [OverCap] = "prelude/admit", "if room > 0 then room = room -" => "if false then room = room -";
    /// A session may have any number of unfinished jobs
    Depth [OverCap] = "submit", "if unfinished >= tonumber(ARGV[15]) then" => "if false then";
    /// A cancellation ends a job that runs or has ended already
    Cancel [Duplicated Illegal] = "prelude/ends", "if j.state == 'queued' then\n    withdraw" => "if true then\n    withdraw";
    /// A retry starts a job that has not ended
    Retry [Illegal] = "retry", "if j.state ~= 'failed' and j.state ~= 'cancelled'" => "if false";
    /// Nobody looks at start deadlines
    Deadline [Late] = "sweep", "local late = due('deadline', now)" => "local late = {}";
    /// A retry's delay never ends
    Delay [Unfinished] = "sweep", "local ready = due('delayed', now)" => "local ready = {}";
    /// A job may kill any number of workers
    Losses [Burned] = "sweep", ">= losses_max then" => "< 0 then";
    /// A lost worker counts as an attempt
    Attempts [Burned] = "prelude/ends", "math.max(j.attempt_count - 1, 0)" => "j.attempt_count";
    /// An ended job keeps its session's slot
    Slot [Unfinished] = "prelude/places", "redis.call('SREM', root .. 'live:' .. j.session, j.id)" => "local _ = nil";
    /// Failed jobs leave no dead letter
    Dead [DeadLetters] = "prelude/ends", "redis.call('ZADD', root .. 'dead', at, j.id)" => "local _ = nil";
}

impl Weaken {
    /// Gives its name, as on the command line.
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// Takes bytes as they come; gives what goes on instead.
pub(super) type Tamper = Box<dyn FnMut(&[u8]) -> Vec<u8> + Send>;

/// A missing protection, as every proxy has it.
#[derive(Debug, Clone)]
pub(super) struct Mutant {
    weaken: Weaken,
    /// Of each script that was respelled, the digest that processes know and the one Redis has.
    digests: Arc<Mutex<HashMap<String, String>>>,
}

impl Mutant {
    /// Makes one.
    pub(super) fn new(weaken: Weaken) -> Self {
        Self { weaken, digests: Arc::default() }
    }

    /// Gives its name.
    pub(super) fn name(&self) -> String {
        self.weaken.name()
    }

    /// Tells whether anything was changed by it; if not, the line is not in any script.
    pub(super) fn has_acted(&self) -> bool {
        let digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        self.weaken == Weaken::Offset || !digests.is_empty()
    }

    /// Gives who reads one direction of a new connection, if anybody.
    pub(super) fn tamper(&self, side: Side) -> Option<Tamper> {
        match (side, self.weaken) {
            (Side::Answers, Weaken::Offset) => {
                let mut forger = Forger::default();
                Some(Box::new(move |read| forger.tamper(read)))
            }
            (_, Weaken::Offset) => None,
            (side, _) => {
                let mut respeller = Respeller { mutant: self.clone(), whole: Whole::default() };
                Some(Box::new(move |read| respeller.tamper(read, side)))
            }
        }
    }
}

/// Changes what is said on one direction of a connection.
struct Respeller {
    mutant: Mutant,
    whole: Whole,
}

impl Respeller {
    /// Takes bytes as they come; gives what goes on instead, whole requests or answers only.
    fn tamper(&mut self, read: &[u8], side: Side) -> Vec<u8> {
        let mut out = Vec::new();
        for said in self.whole.take(read) {
            let other = match side {
                Side::Requests => self.ask(&said),
                _ => self.answer(&said),
            };
            out.extend(other.unwrap_or(said));
        }
        out
    }

    /// Gives another request; `None` for one that stays as it is.
    fn ask(&self, said: &[u8]) -> Option<Vec<u8>> {
        let mut words = words(said)?;
        let mut digests = self.mutant.digests.lock().unwrap_or_else(PoisonError::into_inner);
        match words[..] {
            ["SCRIPT", "LOAD", text] => {
                let (_, line, instead) = self.mutant.weaken.change();
                let other = text.replacen(line, instead, 1);
                if other == text {
                    return None;
                }
                digests.insert(digest(text), digest(&other));
                Some(request(&["SCRIPT", "LOAD", &other]))
            }
            ["EVALSHA", known, ..] => {
                words[1] = digests.get(known)?;
                Some(request(&words))
            }
            _ => None,
        }
    }

    /// Gives the answer to the loading of a script the digest that is expected.
    fn answer(&self, said: &[u8]) -> Option<Vec<u8>> {
        let other = std::str::from_utf8(said).ok()?.strip_prefix("$40\r\n")?.trim_end();
        let digests = self.mutant.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, _) = digests.iter().find(|(_, its)| *its == other)?;
        Some(format!("$40\r\n{known}\r\n").into_bytes())
    }
}

/// Names a script as Redis does.
fn digest(text: &str) -> String {
    sha1_smol::Sha1::from(text).digest().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_mutant_finds_its_line_once_in_its_script() {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/lua");
        for weaken in Weaken::value_variants() {
            let (file, line, instead) = weaken.change();
            if *weaken == Weaken::Offset {
                continue;
            }
            let text = std::fs::read_to_string(scripts.join(format!("{file}.lua"))).unwrap();
            assert_eq!(text.matches(line).count(), 1, "{weaken:?}: {line:?} in {file}.lua");
            assert_ne!(line, instead);
        }
    }

    #[test]
    fn calls_of_a_script_go_to_what_it_became() {
        let mutant = Mutant::new(Weaken::Slot);
        let mut respeller = mutant.tamper(Side::Requests).unwrap();
        let ping = request(&["PING"]);
        assert_eq!(respeller(&ping), ping);
        assert!(!mutant.has_acted());
        let (_, line, instead) = Weaken::Slot.change();
        let [text, other] = [line, instead].map(|line| format!("x {line} y"));
        let loaded = respeller(&request(&["SCRIPT", "LOAD", &text]));
        assert_eq!(loaded, request(&["SCRIPT", "LOAD", &other]));
        assert!(mutant.has_acted());
        // Another connection, of another process.
        let mut respeller = mutant.tamper(Side::Requests).unwrap();
        let called = respeller(&request(&["EVALSHA", &digest(&text), "1"]));
        assert_eq!(called, request(&["EVALSHA", &digest(&other), "1"]));
        let mut answers = mutant.tamper(Side::Answers).unwrap();
        let answer = |text: &str| format!("$40\r\n{}\r\n", digest(text)).into_bytes();
        assert_eq!(answers(&answer(&other)), answer(&text));
    }
}
