//! Takes published events out of a gateway's ears so that it can't notice (`--weaken offset`).
//!
//! A gateway finds a lost message because the next one does not continue its cursor, by number and
//! nonce. The forger stands in the proxy, drops an event now and then and renumbers those that
//! follow, with the nonce of the last one let through as the one before. So the gateway goes on as
//! if it had no such check, and its readers lose an event in silence. The run must see that.

use std::collections::HashMap;

use super::wire::Whole;

/// Of so many durable events, one is dropped.
const EVERY: u32 = 25;

/// Tampers with one connection's answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Forger {
    whole: Whole,
    counted: u32,
    /// Per channel: how many were dropped, and the nonce of the last one let through.
    channels: HashMap<String, (u64, String)>,
}

impl Forger {
    /// Takes bytes as they come; gives what goes on instead, whole answers only.
    pub(super) fn tamper(&mut self, read: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for frame in self.whole.take(read) {
            out.extend(self.forge(&frame).unwrap_or(frame));
        }
        out
    }

    /// Gives other bytes for a published event; `None` for anything else.
    fn forge(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(frame).ok()?;
        let parts: Vec<&str> = text.splitn(7, "\r\n").collect();
        let [kind, _, "message", _, channel, _, payload] = parts[..] else {
            return None;
        };
        let payload = payload.strip_suffix("\r\n")?;
        let (place, rest) = payload.split_once(' ')?;
        let (_, rest) = rest.split_once(' ')?;
        let (number, nonce) = place.split_once('-')?;
        let number: u64 = number.parse().ok()?;
        self.counted += 1;
        let (dropped, last) = self.channels.entry(channel.to_owned()).or_default();
        if self.counted.is_multiple_of(EVERY) && !last.is_empty() {
            *dropped += 1;
            return Some(Vec::new());
        }
        let before = std::mem::replace(last, nonce.to_owned());
        if *dropped == 0 {
            return None;
        }
        let payload = format!("{}-{nonce} {before} {rest}", number - *dropped);
        Some(
            format!(
                "{kind}\r\n$7\r\nmessage\r\n${}\r\n{channel}\r\n${}\r\n{payload}\r\n",
                channel.len(),
                payload.len()
            )
            .into_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn published(place: &str, before: &str) -> Vec<u8> {
        let payload = format!("{place} {before} started job_1\n{{}}");
        let size = payload.len();
        format!(">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${size}\r\n{payload}\r\n").into_bytes()
    }

    #[test]
    fn what_follows_a_dropped_event_seems_to_continue_the_one_before_it() {
        let mut forger = Forger { counted: EVERY - 2, ..Forger::default() };
        let first = published("7-aaaaaaaa", "zzzzzzzz");
        let (head, tail) = first.split_at(11);
        assert!(forger.tamper(head).is_empty(), "not whole yet");
        assert_eq!(forger.tamper(tail), first);
        assert!(forger.tamper(&published("8-bbbbbbbb", "aaaaaaaa")).is_empty());
        let third = forger.tamper(&published("9-cccccccc", "bbbbbbbb"));
        assert_eq!(third, published("8-cccccccc", "aaaaaaaa"));
    }
}
