//! Who answers for a session: a tenant, proven by its key.
//!
//! The settings hold the SHA-256 of each key and never a key, so neither the file nor a log nor Redis
//! lets anybody in. A key is thirty-two random bytes or so in any spelling; for such a one a bare
//! digest is as good as a slow one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::domain::Tenant;

/// `[tenants.<name>]`: whose keys make sessions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Tenants(pub BTreeMap<Tenant, TenantSettings>);

/// What is known of a tenant.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// SHA-256 of its key (up to 128 characters) in hex: `printf %s "$KEY" | sha256sum`.
    pub key_sha256: KeyDigest,
}

/// The SHA-256 of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest([u8; 32]);

impl KeyDigest {
    /// Digests a key.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Tells whether this is the digest of a key; the time it takes says nothing of either.
    pub fn is_of(&self, key: &str) -> bool {
        self.0.ct_eq(&Self::of(key).0).into()
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyDigest(…)")
    }
}

impl FromStr for KeyDigest {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WANTED: &str = "a key's SHA-256 has 64 hex digits; \
                              make it with: printf %s \"$KEY\" | sha256sum";
        let mut digest = [0; 32];
        if text.len() != 64 || !text.bytes().all(|c| c.is_ascii_hexdigit()) {
            return Err(WANTED);
        }
        for (byte, at) in digest.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| WANTED)?;
        }
        Ok(Self(digest))
    }
}

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Tenants {
    /// Tells whose key this is; `None` if nobody's.
    ///
    /// All digests are compared, each in constant time: the time says nothing of the key.
    pub fn whose(&self, key: &str) -> Option<&Tenant> {
        let digest = KeyDigest::of(key);
        let mut found = u64::MAX;
        for (place, its) in (0..).zip(self.0.values()) {
            let is_it: Choice = its.key_sha256.0.ct_eq(&digest.0);
            found.conditional_assign(&place, is_it);
        }
        self.0.keys().nth(usize::try_from(found).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_opens_its_own_tenant_and_no_part_or_digest_of_it_does() {
        let of = |key| TenantSettings { key_sha256: KeyDigest::of(key) };
        let names = [("acme", "key-a"), ("beta", "key-b")];
        let tenants =
            Tenants(names.iter().map(|(name, key)| (name.parse().unwrap(), of(key))).collect());
        for (name, key) in names {
            assert_eq!(tenants.whose(key).map(Tenant::as_str), Some(name));
        }
        let digest: String =
            Sha256::digest(b"key-a").iter().map(|byte| format!("{byte:02x}")).collect();
        for bad in ["", "key-", "key-c", "KEY-A", &digest] {
            assert_eq!(tenants.whose(bad), None, "{bad}");
        }
        assert_eq!(digest.parse(), Ok(KeyDigest::of("key-a")));
        assert!(!format!("{tenants:?}").contains(&digest), "a digest in a log");
    }

    #[test]
    fn what_is_no_digest_is_refused_with_the_way_to_make_one() {
        for bad in ["", "secret", &"g".repeat(64), &"0".repeat(63), &"é".repeat(32)] {
            let error = bad.parse::<KeyDigest>().unwrap_err();
            assert!(error.contains("sha256sum"), "{error}");
        }
    }
}
