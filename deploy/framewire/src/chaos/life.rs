//! What one job's events may say, one after the other. Pure.
//!
//! The transition table, told from the side of the stream and written down a second time on
//! purpose: it is the witness' own idea of a job's life, not the code's on trial. A job that lost
//! [`LOSSES_MAX`] workers in one round has to end with the last of them. The k-th `started`
//! of a job is its k-th claim and has fence k, and every picture's name carries the fence of the
//! attempt that made it; so a picture of another fence was written by a zombie.

use framewire_shared::domain::ArtifactId;
use serde_json::Value;

use super::findings::{Findings, Kind};
use super::witness::Entry;

/// Lost workers that end a job; the default of `queue.losses_max`.
pub(super) const LOSSES_MAX: u32 = 3;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Unborn,
    Queued,
    Running,
    Ended,
}

/// A job's life so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Life {
    stage: Stage,
    /// Claims so far, which is the fence.
    claims: u64,
    /// Attempts that executed: claims that were not handed back.
    pub(super) attempts: i64,
    /// Rounds: the submission, and each retry that a user asked for.
    pub(super) rounds: i64,
    /// Terminal events.
    pub(super) ends: i64,
    /// Workers lost and survived in this round.
    losses: u32,
    /// Whether it was ever given up because its workers were lost.
    pub(super) given_up: bool,
    /// When it was submitted, and when it was found not to have started in time.
    pub(super) born_at: u64,
    pub(super) late_at: Option<u64>,
    last_v: u64,
}

impl Life {
    /// Goes on with an event; notes what should not be.
    pub(super) fn go_on(&mut self, entry: &Entry, findings: &mut Findings) {
        let say = |what: &str| format!("{} {}-{}: {what}", entry.job, entry.n, entry.nonce);
        let v = entry.data["v"].as_u64().unwrap_or_default();
        if v <= self.last_v {
            findings.add(Kind::OutOfOrder, say("its version does not rise"));
        }
        self.last_v = v;
        let reason = entry.data["reason"].as_str().unwrap_or_default();
        let by_user = !entry.data["retry_count"].is_null();
        match (self.stage, entry.kind.as_str(), reason) {
            (Stage::Unborn, "queued", "submitted") => {
                self.stage = Stage::Queued;
                self.rounds = 1;
                self.born_at = entry.at();
            }
            (Stage::Ended, "queued", "retry") if by_user => {
                self.stage = Stage::Queued;
                self.rounds += 1;
                self.losses = 0;
            }
            (Stage::Running, "queued", "retry") if !by_user => self.stage = Stage::Queued,
            (Stage::Running, "queued", "lease_lapsed" | "worker_drain") => {
                self.stage = Stage::Queued;
                self.attempts -= 1;
                self.losses += u32::from(reason == "lease_lapsed");
                if self.losses >= LOSSES_MAX {
                    findings.add(Kind::Burned, say("it goes on after too many lost workers"));
                }
            }
            (Stage::Queued, "started", _) => {
                self.stage = Stage::Running;
                self.claims += 1;
                self.attempts += 1;
            }
            (Stage::Running, "preview" | "frame-ready", _) => {}
            (Stage::Running, "failed", _) if text(&entry.data).contains("workers in a row") => {
                self.stage = Stage::Ended;
                self.ends += 1;
                self.given_up = true;
                if self.losses + 1 != LOSSES_MAX {
                    findings.add(Kind::WrongEnd, say("it was given up after too few lost workers"));
                }
            }
            (Stage::Queued, "failed", _) if entry.data["error"]["code"] == "TIMEOUT" => {
                self.stage = Stage::Ended;
                self.ends += 1;
                self.late_at = Some(entry.at());
            }
            (Stage::Running, "completed" | "failed", _)
            | (Stage::Running | Stage::Queued, "cancelled", _) => {
                self.stage = Stage::Ended;
                self.ends += 1;
            }
            (Stage::Ended, "completed" | "failed" | "cancelled", _) => {
                self.ends += 1;
                findings.add(Kind::Duplicated, say("a second terminal event"));
            }
            (stage, kind, _) => {
                let text = say(&format!("{kind} {reason} while {stage:?}"));
                findings.add(Kind::Illegal, text);
            }
        }
        for url in urls(&entry.data) {
            let fence = url.rsplit('/').next().and_then(|name| {
                let id: ArtifactId = name.parse().ok()?;
                Some(id.fence.0)
            });
            if fence != Some(self.claims) {
                let text = format!("a picture of another attempt than {}: {url}", self.claims);
                findings.add(Kind::Zombie, say(&text));
            }
        }
    }
}

/// Gives what a failure says to its user.
fn text(data: &Value) -> &str {
    data["error"]["message"].as_str().unwrap_or_default()
}

/// Finds the names of the job's own pictures in an event; a fallback is another job's.
pub(super) fn urls(data: &Value) -> Vec<&str> {
    match data {
        Value::String(text) if text.starts_with("/v1/artifacts/") => vec![text],
        Value::Array(members) => members.iter().flat_map(urls).collect(),
        Value::Object(members) => {
            let own = members.iter().filter(|(name, _)| *name != "fallback");
            own.flat_map(|(_, value)| urls(value)).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lived(events: &[(&str, Value)]) -> Findings {
        let (mut life, mut findings) = (Life::default(), Findings::default());
        for ((kind, data), n) in events.iter().zip(1..) {
            let mut data = data.clone();
            data["v"] = n.into();
            let entry = Entry {
                n,
                nonce: "aaaaaaaa".into(),
                kind: (*kind).into(),
                job: "job_c0_1".into(),
                data,
            };
            life.go_on(&entry, &mut findings);
        }
        findings
    }

    #[test]
    fn a_job_ends_with_the_last_worker_it_may_lose_and_with_none_before() {
        let loss = [("started", json!({})), ("queued", json!({"reason": "lease_lapsed"}))];
        let error = json!({"error": {"message": "3 workers in a row were lost"}});
        let end = [("started", json!({})), ("failed", error)];
        let begin = [("queued", json!({"reason": "submitted"}))];
        let findings = lived(&[&begin[..], &loss, &loss, &end].concat());
        assert_eq!(findings.total(), 0, "{findings:?}");
        let findings = lived(&[&begin[..], &loss, &end].concat());
        assert_eq!(findings.count(Kind::WrongEnd), 1, "{findings:?}");
        let findings = lived(&[&begin[..], &loss, &loss, &loss].concat());
        assert_eq!(findings.count(Kind::Burned), 1, "{findings:?}");
    }

    #[test]
    fn only_a_waiting_job_may_miss_its_start() {
        let late = ("failed", json!({"error": {"code": "TIMEOUT"}}));
        let findings = lived(&[("queued", json!({"reason": "submitted"})), late.clone()]);
        assert_eq!(findings.total(), 0, "{findings:?}");
        let ended = ("cancelled", json!({}));
        let findings = lived(&[("queued", json!({"reason": "submitted"})), ended, late]);
        assert_eq!(findings.count(Kind::Duplicated), 1, "{findings:?}");
    }

    fn picture(fence: u64) -> Value {
        let job = "job_c0_0193a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";
        json!({"frame": {"url": format!("/v1/artifacts/{job}-{fence}-0.png")}})
    }

    #[test]
    fn a_life_with_a_loss_and_a_retry_is_legal() {
        let findings = lived(&[
            ("queued", json!({"reason": "submitted"})),
            ("started", json!({})),
            ("queued", json!({"reason": "lease_lapsed"})),
            ("started", json!({})),
            ("failed", json!({})),
            ("queued", json!({"reason": "retry", "retry_count": 1})),
            ("started", json!({})),
            ("completed", json!({})),
        ]);
        assert_eq!(findings.total(), 0, "{findings:?}");
    }

    #[test]
    fn a_second_end_and_a_zombies_picture_are_found() {
        let begin = [("queued", json!({"reason": "submitted"})), ("started", json!({}))];
        let twice = [("completed", json!({})), ("failed", json!({}))];
        let findings = lived(&[&begin[..], &twice[..]].concat());
        assert_eq!(findings.count(Kind::Duplicated), 1, "{findings:?}");
        let findings = lived(&[&begin[..], &[("frame-ready", picture(2))]].concat());
        assert_eq!(findings.count(Kind::Zombie), 1, "{findings:?}");
    }
}
