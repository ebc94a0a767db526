//! A gateway killed between its reading of a submit and its answer.

use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use framewire_shared::testing::RedisServer;
use reqwest::{Client, Response};
use serde_json::{Value, json};

const SIGKILL: i32 = 9;

struct Process {
    child: Child,
    url: String,
}

impl Process {
    fn start(redis: &RedisServer, folder: &std::path::Path, failpoint: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_framewire-gateway"))
            .envs(redis.environment())
            .env("FRAMEWIRE_ARTIFACTS_PATH", folder)
            .env("FRAMEWIRE_GATEWAY_LISTEN", "127.0.0.1:0")
            .env("FRAMEWIRE_FAILPOINT", failpoint)
            .stderr(Stdio::piped())
            .spawn()
            .expect("start a gateway");
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let url = log
            .find_map(|line| Some(line.ok()?.split_once("listening on ")?.1.trim().to_owned()))
            .expect("an address in the log");
        // Read on, so that the process never writes into a closed pipe.
        std::thread::spawn(move || log.for_each(drop));
        Self { child, url }
    }

    async fn submit(&self, http: &Client, token: &str) -> Result<Response, reqwest::Error> {
        let body = json!({"model": "builtin", "input": {"prompt": "a fox"}});
        let request = http.post(format!("{}/v1/jobs", self.url)).bearer_auth(token);
        request.header("Idempotency-Key", "fox-1").json(&body).send().await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn a_submit_whose_gateway_was_killed_is_sent_again_and_makes_one_job() {
    for (point, replayed) in [("submit_before", false), ("submit_after", true)] {
        let redis = RedisServer::start();
        let folder = tempfile::tempdir().unwrap();
        let token = redis.store().create_session().await.unwrap().token;
        let http = Client::new();

        let mut victim = Process::start(&redis, folder.path(), point);
        let lost = victim.submit(&http, &token).await;
        assert!(lost.is_err(), "{point}: answered {:?}", lost.map(|answer| answer.status()));
        assert_eq!(victim.child.wait().unwrap().signal(), Some(SIGKILL), "{point}");

        let heir = Process::start(&redis, folder.path(), "");
        let answer = heir.submit(&http, &token).await.unwrap();
        assert_eq!(answer.status(), 202, "{point}");
        assert_eq!(answer.headers().contains_key("Idempotent-Replayed"), replayed, "{point}");
        let job: Value = answer.json().await.unwrap();
        let list = http.get(format!("{}/v1/jobs", heir.url)).bearer_auth(&token).send();
        let list: Value = list.await.unwrap().json().await.unwrap();
        assert_eq!(list["data"].as_array().unwrap().len(), 1, "{point}: {list}");
        assert_eq!(list["data"][0]["id"], job["id"], "{point}");
    }
}
