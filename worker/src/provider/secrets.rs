//! Keys, and how they are kept out of what others read.
//!
//! Comes in: what is sent to a provider and must not come back, and texts that a server wrote. Goes out:
//! the texts without it. A server may echo a key in an error, whole, without the word before it, or half
//! hidden by itself. Texts are cleaned before they are cut, so that no half of a key is left at an end.

use secrecy::{ExposeSecret, SecretString};

/// What stands for a key.
const STAND_IN: &str = "[key]";

/// The secrets of one provider.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<SecretString>);

impl Secrets {
    /// Adds a secret; of `Bearer sk-…` the part behind the word.
    pub(super) fn add(&mut self, secret: &SecretString) {
        let bare = secret.expose_secret().trim().rsplit(' ').next().unwrap_or_default();
        self.0.extend((!bare.is_empty()).then(|| SecretString::from(bare)));
    }

    /// Takes our secrets out of a text, and leaves the rest as it is.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.expose_secret(), STAND_IN);
        }
        text
    }

    /// Takes our secrets, and keys that a provider has half hidden itself, out of a sentence.
    pub(super) fn scrub(&self, text: &str) -> String {
        let text = self.hide(text);
        let words = text.split_whitespace().map(|word| match word.contains("***") {
            true => STAND_IN,
            false => word,
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_taken_out_of_what_a_server_echoes() {
        let mut secrets = Secrets::default();
        secrets.add(&"Bearer sk-hush".to_owned().into());
        secrets.add(&" ".to_owned().into());
        let said = secrets.scrub("bad key sk-hush, as in \"Bearer sk-hush\"\n or sk-h***sh.");
        assert_eq!(said, "bad key [key], as in \"Bearer [key]\" or [key]");
        assert_eq!(secrets.hide("{\"a\":  \"sk-hush\"}"), "{\"a\":  \"[key]\"}");
        assert!(!format!("{secrets:?}").contains("sk-hush"));
    }
}
