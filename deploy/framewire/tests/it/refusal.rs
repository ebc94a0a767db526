//! What it refuses to start on, and what it says then: what is wrong, and what to do.

use std::net::TcpListener;

use crate::launcher::{Launcher, refused, up};

fn assert_says(said: &str, words: &[&str]) {
    assert!(said.contains("framewire: failed to "), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
}

#[test]
fn a_second_launcher_on_the_same_data_names_the_first() {
    let data = tempfile::tempdir().unwrap();
    let launcher = Launcher::start(data.path());
    let lock = std::fs::read_to_string(data.path().join("lock")).unwrap();
    let said = refused(&mut up(data.path()));
    assert_says(&said, &["runs on it already", &format!("kill {}", lock.trim()), "--data"]);
    drop(launcher);
}

#[test]
fn a_taken_port_is_named_and_another_proposed() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let mut command = up(data.path());
    // The later of two environment settings would lose against the flag, so name it there.
    let said = refused(command.env_remove("FRAMEWIRE_GATEWAY_LISTEN").args(["--listen", &at]));
    assert_says(&said, &[&at, "in use", "--listen"]);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = refused(&mut up(&file.join("data")));
    assert_says(&said, &["data directory", "file/data", "Not a directory", "--data"]);
}

#[test]
fn a_machine_without_redis_is_told_how_to_get_it() {
    let data = tempfile::tempdir().unwrap();
    let said = refused(up(data.path()).env("PATH", data.path()));
    assert_says(&said, &["redis-server", "apt-get install redis-server", "brew", "--redis"]);
}

#[test]
fn a_redis_that_is_too_old_is_named_with_its_version() {
    use std::os::unix::fs::PermissionsExt;
    let data = tempfile::tempdir().unwrap();
    let fake = data.path().join("redis-server");
    std::fs::write(&fake, "#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n").unwrap();
    std::fs::set_permissions(&fake, PermissionsExt::from_mode(0o755)).unwrap();
    let said = refused(up(&data.path().join("data")).env("PATH", data.path()));
    assert_says(&said, &["6.0.16", "too old", "7.0"]);
}

#[test]
fn a_redis_that_is_not_there_is_named_without_its_password() {
    let data = tempfile::tempdir().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("redis://me:secret@{nobody}");
    let said = refused(up(data.path()).args(["--redis", &url]));
    assert_says(&said, &[&nobody.to_string(), "Connection refused", "redis-cli"]);
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn settings_that_contradict_each_other_are_refused_before_anything_starts() {
    let data = tempfile::tempdir().unwrap();
    let said = refused(up(data.path()).env("FRAMEWIRE_QUEUE_LEASE_MS", "700"));
    assert_says(&said, &["queue.lease_ms = 700", "queue.renew_ms = 400"]);
    assert!(!said.contains(" | "), "{said}");
    let said = refused(up(data.path()).env("FRAMEWIRE_WORKER_SLOT", "1"));
    assert_says(&said, &["slot"]);
}

#[test]
fn a_program_that_refuses_to_start_ends_everything_with_its_reason() {
    let data = tempfile::tempdir().unwrap();
    // The artifacts' folder can't be made under a file, which only the services find out.
    let file = data.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = refused(up(data.path()).env("FRAMEWIRE_ARTIFACTS_PATH", file.join("artifacts")));
    assert_says(&said, &["ended with exit code 1", "stopped"]);
}
