//! Outputs that a provider gives as addresses.
//!
//! Comes in: an address that somebody else wrote. Goes out: the bytes behind it, up to the size of
//! a picture. Invariant: an address leads nowhere inside our network unless the settings allow it:
//! https alone, and every address a name stands for is checked in the moment it is connected to, so
//! a name can't change in between; every redirect is checked like the first address. No credentials
//! are ever sent. The one exception is the origin of the provider's own base address: there we are
//! already, and a local server gives its outputs at itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use framewire_shared::domain::{ErrorCode, Failure, FailureKind, Resend};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::LOCATION;
use reqwest::{Client, Response};
use serde::Deserialize;
use tokio::time::sleep;
use url::{Host, Origin, Url};

use super::convert;
use super::http::{ASK_TIME_MAX, Http, Misconfigured, Unread, client, read_body};
use crate::picture_check::PICTURE_BYTES_MAX;

/// Redirects followed; a file store has one or two.
const REDIRECTS_MAX: usize = 3;
/// Times that a download is begun: the picture is drawn and paid for.
const TRIES: u32 = 3;
/// Pause before the second try; twice that before the third.
const PAUSE: Duration = Duration::from_millis(300);

/// What outputs may be fetched.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FetchOptions {
    /// Whether an output may be fetched without TLS.
    pub allow_http: bool,
    /// Whether an output may be fetched from private, loopback and link-local addresses.
    pub allow_private: bool,
}

/// Fetches outputs, and pictures that users name.
#[derive(Debug)]
pub(crate) struct Fetcher {
    options: FetchOptions,
    guarded: Client,
    /// The provider's own client and origin, where there is a provider.
    own: Option<(Client, Origin)>,
    bytes_max: usize,
}

/// Why a picture was not fetched.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfetched {
    /// It may not be; asking again changes nothing.
    #[error("a picture's address was refused: {0}")]
    Refused(&'static str),
    /// The server answered with this status.
    #[error("a picture could not be fetched: HTTP {0}")]
    Answered(u16),
    /// It could not be; it may work in a moment.
    #[error("a picture could not be fetched: {0}")]
    Failed(String),
}

impl Fetcher {
    /// Makes a fetcher beside a provider's client.
    pub(super) fn new(options: FetchOptions, http: &Http) -> Result<Self, Misconfigured> {
        let own = Some((http.bare_client().clone(), http.base().origin()));
        Ok(Self { own, ..Self::of_users(options, PICTURE_BYTES_MAX)? })
    }

    /// Makes a fetcher of what users name; no origin is our own.
    pub(crate) fn of_users(options: FetchOptions, bytes_max: usize) -> Result<Self, Misconfigured> {
        let guarded = client()
            // A proxy would look names up itself, behind our guard.
            .no_proxy()
            .dns_resolver(Arc::new(Guard { allow_private: options.allow_private }))
            .build()
            .map_err(Misconfigured::Client)?;
        Ok(Self { options, guarded, own: None, bytes_max })
    }

    /// Gives the bytes behind an address, which may also be a `data:` one.
    pub(super) async fn bytes(&self, address: &str) -> Result<Bytes, Failure> {
        if address.starts_with("data:") {
            return convert::from_base64(address);
        }
        let mut tried = 1;
        loop {
            let error = match self.download(address).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            let failure = match error {
                Unfetched::Refused(_) => {
                    let message = "the provider's output is not where it may be fetched";
                    let mut failure = Failure::new(ErrorCode::Permanent, message);
                    failure.kind = FailureKind::Unknown;
                    failure
                }
                Unfetched::Answered(_) | Unfetched::Failed(_) if tried < TRIES => {
                    sleep(PAUSE * tried).await;
                    tried += 1;
                    continue;
                }
                // It has been drawn and paid for.
                Unfetched::Answered(_) | Unfetched::Failed(_) => {
                    let message = "the provider's output could not be fetched";
                    Failure::new(ErrorCode::Temporary, message).resend(Resend::Once)
                }
            };
            return Err(failure.detail(error.to_string()));
        }
    }

    /// Downloads once what is behind an address.
    pub(crate) async fn download(&self, address: &str) -> Result<Bytes, Unfetched> {
        let mut url = Url::parse(address).map_err(|_| Unfetched::Refused("it is no URL"))?;
        for _ in 0..=REDIRECTS_MAX {
            let response = self.open(&url).await?;
            let status = response.status();
            if status.is_redirection() {
                let target = response.headers().get(LOCATION).and_then(|to| to.to_str().ok());
                let target = target.and_then(|to| url.join(to).ok());
                url = target.ok_or(Unfetched::Failed("a redirect to nowhere".into()))?;
                continue;
            }
            if !status.is_success() {
                return Err(Unfetched::Answered(status.as_u16()));
            }
            return read_body(response, self.bytes_max).await.map_err(|error| match error {
                Unread::TooLarge(_) => Unfetched::Refused("it leads to more than a picture"),
                error => Unfetched::Failed(error.to_string()),
            });
        }
        Err(Unfetched::Refused("it is redirected too often"))
    }

    async fn open(&self, url: &Url) -> Result<Response, Unfetched> {
        let client = match &self.own {
            Some((own, origin)) if url.origin() == *origin => own,
            _ => {
                self.check(url)?;
                &self.guarded
            }
        };
        let request = client.get(url.clone()).timeout(ASK_TIME_MAX);
        request.send().await.map_err(|error| match is_private(&error) {
            true => Unfetched::Refused(PRIVATE),
            false => Unfetched::Failed(error.without_url().to_string()),
        })
    }

    /// Checks what an address says by itself; names are checked when they are looked up.
    fn check(&self, url: &Url) -> Result<(), Unfetched> {
        match url.scheme() {
            "https" => {}
            "http" if self.options.allow_http => {}
            _ => return Err(Unfetched::Refused("its scheme is not https")),
        }
        let address = match url.host() {
            Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
            Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
            _ => None,
        };
        match address {
            Some(ip) if !self.options.allow_private && !is_public(ip) => {
                Err(Unfetched::Refused(PRIVATE))
            }
            _ => Ok(()),
        }
    }
}

const PRIVATE: &str = "it is private";

/// Gives no address that may not be connected to.
#[derive(Debug)]
struct Guard {
    allow_private: bool,
}

/// A name that stands for no address of the public internet.
#[derive(Debug, thiserror::Error)]
#[error("the name stands for private addresses alone")]
struct Private;

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let allow_private = self.allow_private;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let allowed: Vec<_> =
                found.filter(|found| allow_private || is_public(found.ip())).collect();
            if allowed.is_empty() {
                return Err(Private.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

fn is_private(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(error) = next {
        if error.is::<Private>() {
            return true;
        }
        next = error.source();
    }
    false
}

/// Tells whether an address belongs to the public internet.
///
/// Source: IANA's registries of special-purpose addresses (RFC 6890).
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let shared_or_reserved = match ip.octets() {
        [0, ..] => true,
        [100, second, ..] => (64..128).contains(&second),
        [192, 0, 0, _] | [192, 88, 99, _] => true,
        [198, 18 | 19, ..] => true,
        [first, ..] => first >= 240,
    };
    !(shared_or_reserved
        || ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || ip.is_multicast())
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    match ip.segments() {
        // An IPv4 address in disguise: mapped (::ffff:0:0/96) and translated (64:ff9b::/96).
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            is_public_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        // Teredo and other protocol addresses, documentation, 6to4.
        [0x2001, second, ..] if second < 0x200 || second == 0xdb8 => false,
        [0x2002 | 0x3fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for public in ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::7f00:1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }

    #[test]
    fn an_address_is_refused_by_its_scheme_and_its_numbers() {
        let http = Http::new("http://127.0.0.1:9", []).unwrap();
        let allows = |allow_http, allow_private, address: &str| {
            let options = FetchOptions { allow_http, allow_private };
            let fetcher = Fetcher::new(options, &http).unwrap();
            fetcher.check(&Url::parse(address).unwrap()).is_ok()
        };
        assert!(allows(false, false, "https://cdn.example/x.png"));
        assert!(!allows(false, false, "http://cdn.example/x.png"));
        assert!(allows(true, false, "http://cdn.example/x.png"));
        assert!(!allows(true, true, "file:///etc/passwd"));
        for hidden in ["https://2130706433/", "https://0x7f.1/", "https://[::1]/", "https://10.1/"]
        {
            assert!(!allows(false, false, hidden), "{hidden}");
            assert!(allows(false, true, hidden), "{hidden}");
        }
    }
}
