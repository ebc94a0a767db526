//! What lies before the gateway, as its settings name it: other origins, proxies, certificates.
//!
//! Comes in: texts of the settings. Goes out: values that compare exactly. An origin is what a browser
//! sends in `Origin`, to the letter; a network is what a connection's address is looked up in.
//! Deliberately without wildcards: who may read a user's pictures is a list that can be read aloud.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::settings::GatewaySettings;

/// The origin of a page: scheme, host and, where it is not the scheme's own, port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin(String);

impl Origin {
    /// Gives it as a browser sends it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let no = |why: &str| {
            Err(format!("{text:?} is no origin: {why}; write it like \"https://app.example\""))
        };
        let (host, own_port) = match text.split_once("://") {
            Some(("https", host)) => (host, ":443"),
            Some(("http", host)) => (host, ":80"),
            _ => return no("it begins with neither https:// nor http://"),
        };
        let plain = |c: char| {
            c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | ':' | '[' | ']')
        };
        if host.is_empty() || !host.chars().all(plain) {
            return no("after the scheme there is a host in small letters, and nothing but a port");
        }
        if host.ends_with(own_port) {
            return no("browsers leave the scheme's own port out");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Reads a network, or an address as the network of itself.
fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(|_| address())
        .map_err(|_| format!("{text:?} is no address and no network; write it like \"10.0.0.0/8\""))
}

/// Reads a list, or one text with commas, as the environment gives it.
fn list<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        List(Vec<String>),
        Text(String),
    }
    let texts = match Either::deserialize(deserializer)? {
        Either::List(list) => list,
        Either::Text(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
    };
    let given = texts.iter().filter(|text| !text.is_empty());
    given.map(|text| read(text).map_err(serde::de::Error::custom)).collect()
}

/// Reads `gateway.trusted_proxies`.
pub(super) fn networks<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<IpNet>, D::Error> {
    list(from, network)
}

/// Reads `gateway.cors_origins`.
pub(super) fn origins<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Origin>, D::Error> {
    list(from, str::parse)
}

/// Refuses what each value allows and all together do not.
pub(super) fn check(gateway: &GatewaySettings) -> Result<(), String> {
    match (&gateway.tls_certificate, &gateway.tls_key) {
        (Some(_), None) => return Err(half("tls_certificate", "tls_key")),
        (None, Some(_)) => return Err(half("tls_key", "tls_certificate")),
        (Some(_), Some(_)) if gateway.h2c => {
            return Err("gateway.h2c = true is about plain connections, and with \
                 gateway.tls_certificate there are none; HTTP/2 is spoken over TLS anyway"
                .into());
        }
        _ => {}
    }
    if gateway.streams_per_address_max < gateway.streams_per_session_max {
        return Err(format!(
            "gateway.streams_per_address_max = {} is less than gateway.streams_per_session_max = {}; \
             no session could have that many",
            gateway.streams_per_address_max, gateway.streams_per_session_max,
        ));
    }
    Ok(())
}

fn half(given: &str, missing: &str) -> String {
    format!("gateway.{given} is set and gateway.{missing} is not; TLS needs both")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_what_a_browser_sends_and_nothing_else() {
        for good in ["https://app.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert_eq!(good.parse::<Origin>().unwrap().as_str(), good);
        }
        for bad in [
            "*",
            "null",
            "app.example",
            "https://",
            "https://*.example",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://me@app.example",
            "ftp://app.example",
        ] {
            let error = bad.parse::<Origin>().unwrap_err();
            assert!(error.contains(bad) && error.contains("https://app.example"), "{error}");
        }
    }

    #[test]
    fn an_address_is_the_network_of_itself() {
        let one = network("10.1.2.3").unwrap();
        assert!(one.contains(&"10.1.2.3".parse::<IpAddr>().unwrap()));
        assert!(!one.contains(&"10.1.2.4".parse::<IpAddr>().unwrap()));
        let many = network("fd00::/8").unwrap();
        assert!(many.contains(&"fd12::1".parse::<IpAddr>().unwrap()));
        assert!(network("proxy.local").unwrap_err().contains("proxy.local"));
    }
}
