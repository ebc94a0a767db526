//! What is shown when everything runs: who, under which process id, and where to look.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    lines: Vec<(String, String)>,
}

impl Summary {
    /// Adds a line about one of those that run.
    pub(crate) fn add(&mut self, name: &str, what: &str) {
        self.lines.push((name.to_owned(), what.to_owned()));
    }

    /// Gives the whole text, for a gateway that listens there and speaks this.
    pub(crate) fn text(&self, scheme: &str, listen: &str) -> String {
        let mut text = String::from("\nFramewire is up.\n\n");
        for (name, what) in &self.lines {
            text.push_str(&format!("  {name:<9} {what}\n"));
        }
        let studio = reachable(listen);
        text.push_str(&format!("\n  studio    {scheme}://{studio}/studio\n\n"));
        text.push_str("Ctrl-C stops everything in order; a second one hurries.\n\n");
        text
    }
}

/// Gives an address that a browser on this machine can open: "all addresses" is none.
fn reachable(listen: &str) -> String {
    let Ok(mut at) = listen.parse::<SocketAddr>() else {
        return listen.to_owned();
    };
    match at.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => at.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => at.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    at.to_string()
}

/// Gives a path that can be pasted into a shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+,:@=".contains(c);
    if text.chars().all(is_plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_opened_and_pasted() {
        assert_eq!(reachable("0.0.0.0:8080"), "127.0.0.1:8080");
        assert_eq!(reachable("[::]:8080"), "[::1]:8080");
        assert_eq!(reachable("192.0.2.7:80"), "192.0.2.7:80");
        assert_eq!(quoted(Path::new("/a/b-c.sock")), "/a/b-c.sock");
        assert_eq!(quoted(Path::new("/it's here")), r"'/it'\''s here'");
    }
}
