//! Whether the providers may be called, and why not.

use super::super::{Store, StoreError};
use super::keyspace::Keyspace;
use super::{Finding, Report, key, span};
use crate::domain::guard::Phase;
use crate::domain::{Cell, GuardState};

impl Store {
    pub(super) async fn examine_guards(
        &self,
        keyspace: &Keyspace,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        for provider in &keyspace.guards {
            let finding = match self.guard(provider).await {
                Ok((state, now)) => judge(provider, &state, now),
                Err(StoreError::Garbled(text)) => {
                    let name = key(Cell::FIRST, format_args!("guard:{provider}"));
                    let what = format!("the guard of {provider} can't be read: {text}");
                    Finding::wrong("guard", what)
                        .means("no worker calls this provider; its jobs wait")
                        .mend(format!("DEL {name}"))
                }
                Err(error) => return Err(error),
            };
            report.add(finding);
        }
        Ok(())
    }
}

fn judge(provider: &str, state: &GuardState, now: u64) -> Finding {
    let GuardState { breaker, throttle, running, .. } = state;
    let phase = breaker.phase.as_str();
    if breaker.phase != Phase::Closed {
        let since = span(now.saturating_sub(breaker.since));
        let what =
            format!("provider {provider} is closed off ({phase} for {since}): {}", breaker.reason);
        return Finding::note("guard", what)
            .means("its jobs wait, or go to the next provider of their pool, until probes succeed")
            .advise("mend what the reason names; workers probe it by themselves");
    }
    if throttle.until > now {
        let left = span(throttle.until - now);
        let what = format!("provider {provider} asked for a slower pace: nothing for {left}");
        return Finding::note("guard", what).advise("lower its budget if that happens often");
    }
    Finding::ok("guard", format!("provider {provider}: {phase}, {} calls run", running.len()))
}
