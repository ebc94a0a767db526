//! What is left in Redis can be read, and is what the table of keys says.

use std::path::Path;
use std::process::Command;

use framewire_shared::store::keys::{PREFIX, TYPES};

use crate::client::Client;
use crate::launcher::Launcher;

/// Runs `redis-cli`, as an operator would; gives its output without the last line's end.
pub(crate) fn redis_cli(socket: &Path, arguments: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .arg("-s")
        .arg(socket)
        .args(arguments)
        .output()
        .expect("start redis-cli");
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

#[tokio::test]
async fn every_key_is_of_the_table_and_every_value_is_readable_text() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let client = Client::new(&launcher.url).await;
    let mut events = client.listen().await;
    let done = client.submit("a kitchen", 2, 10).await;
    events.until("completed").await;
    // One that runs and one that waits, so that all the queue's keys are there.
    let running = client.submit("a garden", 50, 100).await;
    let waiting = client.submit("a café", 2, 10).await;
    events.until("progress").await;

    let socket = launcher.socket();
    let keys = redis_cli(&socket, &["--scan"]);
    let mut seen = Vec::new();
    for key in keys.lines() {
        let name = key.strip_prefix(PREFIX).expect("our prefix");
        let (cell, name) = name.split_once(':').expect("a cell");
        assert_eq!(cell, "{c0}");
        let word = name.split(':').next().expect("a first word");
        let listed = TYPES.iter().find(|(known, _)| *known == word);
        let (_, expected) = listed.unwrap_or_else(|| panic!("{key} is not in the table"));
        let found = redis_cli(&socket, &["TYPE", key]);
        // Short-lived ones, like the sweep's throttle, may be gone by now.
        if found == "none" {
            continue;
        }
        assert_eq!(found, *expected, "{key}");
        assert_readable(key, &content(&socket, key, &found));
        seen.push(word.to_owned());
    }
    for word in ["job", "pool", "queue", "lease", "live", "stream", "streamhead", "session"] {
        assert!(seen.iter().any(|it| it == word), "{word} is missing in {seen:?}");
    }
    for id in [done, running, waiting] {
        assert!(keys.contains(&format!("job:{id}")));
        client.job(&id).await;
    }
}

fn content(socket: &Path, key: &str, kind: &str) -> String {
    let arguments: &[&str] = match kind {
        "hash" => &["HGETALL", key],
        "set" => &["SMEMBERS", key],
        "zset" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
        "list" => &["LRANGE", key, "0", "-1"],
        _ => &["GET", key],
    };
    redis_cli(socket, arguments)
}

fn assert_readable(key: &str, content: &str) {
    let unreadable = |c: char| c.is_control() && c != '\n';
    assert!(!content.contains(unreadable), "{key} holds {content:?}");
}
