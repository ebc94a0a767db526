//! From which address a request comes, as far as that tells one subscriber from another.
//!
//! The connection's own address is the caller's, unless a proxy stands between. What a proxy says of
//! the caller (`X-Forwarded-For`) is believed only of those that `gateway.trusted_proxies` names,
//! because anybody can write that header: each appends whom it heard from, so the list is read from its
//! end, over trusted proxies, to the first that is not one. A private address that nobody named is
//! most likely a proxy nobody thought of: it stands for no one, so that a forgotten setting does not
//! make all users share one limit. No attacker comes from the internet with a private address.

use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::header::X_FORWARDED_FOR;
use framewire_shared::service::settings::GatewaySettings;

/// Finds the address of who sent a request; `None` if it stands for nobody in particular.
pub fn of(request: &HttpRequest, gateway: &GatewaySettings) -> Option<IpAddr> {
    let is_trusted =
        |address: IpAddr| gateway.trusted_proxies.iter().any(|network| network.contains(&address));
    let lines = request.headers().get_all(X_FORWARDED_FOR);
    // What is not text is no address either.
    let lines: Vec<&str> = lines.map(|line| line.to_str().unwrap_or("?")).collect();
    caller(request.peer_addr()?.ip(), &lines, is_trusted)
}

fn caller(peer: IpAddr, lines: &[&str], is_trusted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    if !is_trusted(peer) {
        return (!is_private(peer)).then_some(peer);
    }
    for hop in lines.iter().flat_map(|line| line.split(',')).rev() {
        let address = read(hop.trim())?;
        if !is_trusted(address) {
            return Some(address);
        }
    }
    None
}

/// Reads an address, with or without a port.
fn read(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let with_port = || Some(text.parse::<SocketAddr>().ok()?.ip());
    Some(plain.or_else(with_port)?.to_canonical())
}

/// Tells whether an address is only known inside somebody's network.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            // Carriers' own addresses (RFC 6598) are of this kind too.
            let is_shared = v4.octets()[0] == 100 && v4.octets()[1] & 0xc0 == 64;
            v4.is_loopback() || v4.is_private() || v4.is_link_local() || is_shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(peer: &str, lines: &[&str]) -> Option<String> {
        let trusted = ["10.0.0.1", "10.0.0.2", "203.0.113.80"];
        let is_trusted = |address: IpAddr| trusted.contains(&&*address.to_string());
        caller(peer.parse().unwrap(), lines, is_trusted).map(|address| address.to_string())
    }

    #[test]
    fn what_a_stranger_says_of_itself_is_not_believed() {
        assert_eq!(found("203.0.113.7", &["198.51.100.1"]).as_deref(), Some("203.0.113.7"));
        assert_eq!(found("::ffff:203.0.113.7", &[]).as_deref(), Some("203.0.113.7"));
        // The proxy appends what it has seen; all before it may be invented.
        let forged = ["1.1.1.1, 10.0.0.2", "198.51.100.1"];
        assert_eq!(found("10.0.0.1", &forged).as_deref(), Some("198.51.100.1"));
    }

    #[test]
    fn the_nearest_hop_that_is_no_trusted_proxy_is_the_caller() {
        for lines in [
            &["198.51.100.1, 10.0.0.2"][..],
            &["198.51.100.1", "10.0.0.2"],
            &["9.9.9.9,198.51.100.1:4711, 203.0.113.80"],
        ] {
            assert_eq!(found("10.0.0.1", lines).as_deref(), Some("198.51.100.1"), "{lines:?}");
        }
        assert_eq!(found("10.0.0.1", &["[2001:db8::1]:80"]).as_deref(), Some("2001:db8::1"));
        assert_eq!(found("10.0.0.1", &["10.9.9.9"]).as_deref(), Some("10.9.9.9"));
    }

    #[test]
    fn who_can_not_be_told_apart_is_nobody_in_particular() {
        for peer in ["127.0.0.1", "192.168.1.2", "100.64.0.1", "::1", "fd00::1", "169.254.0.9"] {
            assert_eq!(found(peer, &["198.51.100.1"]), None, "{peer}");
        }
        assert_eq!(found("10.0.0.1", &[]), None, "a proxy's own request");
        assert_eq!(found("10.0.0.1", &["198.51.100.1, unknown"]), None);
        assert_eq!(found("10.0.0.1", &["10.0.0.2"]), None);
    }
}
