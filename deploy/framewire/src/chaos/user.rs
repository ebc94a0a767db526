//! A user with a session: asks for jobs, asks again when an answer got lost, cancels, retries.
//!
//! What a careful client does, over plain HTTP and to any gateway. Only a request that is known to
//! have done nothing, or that carries an Idempotency-Key, is sent again. An answer that no user
//! should ever get is a complaint, which the verdict counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::dice::Dice;
use super::orders::{Order, Trouble};

/// Longest wait for an answer; a paused gateway is longer than that.
const PATIENCE: Duration = Duration::from_millis(2_500);

/// What came of an order.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    pub(super) order: Order,
    /// The job's id as each answer gave it; all the same, if all is well.
    pub(super) ids: Vec<String>,
    /// From the first request to the first 202.
    pub(super) accepted_after: Option<Duration>,
    pub(super) cancelled: bool,
    /// Whether it may or may not have been accepted, and can't be asked for again.
    pub(super) unknown: bool,
}

/// The gateways there are, and how to reach them.
#[derive(Debug, Clone)]
pub(super) struct Town {
    http: Client,
    gateways: Arc<[String]>,
    complaints: Arc<Mutex<Vec<String>>>,
}

/// What a request came to.
enum Reply {
    Answer(StatusCode, Value),
    /// It never reached a gateway.
    Undone,
    /// Nobody knows whether it was done.
    Unknown,
}

impl Town {
    /// Makes one of these addresses.
    pub(super) fn new(gateways: Vec<String>) -> reqwest::Result<Self> {
        let http = Client::builder().no_proxy().connect_timeout(Duration::from_secs(1)).build()?;
        Ok(Self { http, gateways: gateways.into(), complaints: Arc::default() })
    }

    /// Notes an answer that should not be.
    pub(super) fn complain(&self, text: String) {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Gives all complaints.
    pub(super) fn complaints(&self) -> Vec<String> {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives any gateway's address for a path.
    pub(super) fn url(&self, dice: &mut Dice, path: &str) -> String {
        format!("{}{path}", self.gateways[dice.below(self.gateways.len())])
    }

    /// Starts a request.
    pub(super) fn get(&self, url: &str) -> RequestBuilder {
        self.http.get(url)
    }

    /// Makes a session; only before the storm.
    pub(super) async fn session(&self, dice: &mut Dice) -> reqwest::Result<User> {
        let url = self.url(dice, "/v1/sessions");
        let reply = self.http.post(url).json(&json!({})).send().await?;
        let session: Value = reply.error_for_status()?.json().await?;
        Ok(User {
            town: self.clone(),
            session: session["id"].as_str().unwrap_or_default().to_owned(),
            token: session["token"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

/// A user with a session.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) town: Town,
    pub(super) session: String,
    pub(super) token: String,
}

impl User {
    /// Sees an order through: submit, and what else its user does with it. Gives up at `until`.
    pub(super) async fn see_through(self, order: Order, mut dice: Dice, until: Instant) -> Promise {
        let began_at = Instant::now();
        let mut promise = Promise {
            ids: Vec::new(),
            accepted_after: None,
            cancelled: false,
            unknown: false,
            order,
        };
        let order = promise.order.clone();
        if order.twice {
            let (mut one, mut two) = (dice.fork(), dice.fork());
            let (first, second) = tokio::join!(
                self.submit(&order, &mut one, until),
                self.submit(&order, &mut two, until)
            );
            promise.ids.extend(first.into_iter().chain(second));
        } else {
            promise.ids.extend(self.submit(&order, &mut dice, until).await);
        }
        let Some(id) = promise.ids.first().cloned() else {
            promise.unknown = order.key.is_none() && Instant::now() < until;
            return promise;
        };
        promise.accepted_after = Some(began_at.elapsed());
        if let Some(after) = order.cancel_ms {
            tokio::time::sleep(Duration::from_millis(after)).await;
            promise.cancelled = true;
            self.insist(&format!("/v1/jobs/{id}/cancel"), &[200], &mut dice, until).await;
        }
        if order.again {
            promise.ids.extend(self.submit(&order, &mut dice, until).await);
        }
        if order.trouble == Trouble::Refused {
            self.retry(&id, &mut dice, until).await;
        }
        promise
    }

    async fn submit(&self, order: &Order, dice: &mut Dice, until: Instant) -> Option<String> {
        while Instant::now() < until {
            let url = self.town.url(dice, "/v1/jobs");
            let mut request = self.town.http.post(url).json(&order.body());
            if let Some(key) = &order.key {
                request = request.header("Idempotency-Key", key);
            }
            match self.send(request).await {
                Reply::Answer(status, job) if status == 202 => {
                    let id = job["id"].as_str().map(ToOwned::to_owned);
                    if id.is_none() {
                        self.town.complain(format!("202 without an id: {job}"));
                    }
                    return id;
                }
                Reply::Answer(status, _) if status == 429 => {}
                Reply::Answer(status, problem) if status == 503 => {
                    if order.key.is_none() && problem["code"] != "queue_full" {
                        return None;
                    }
                }
                Reply::Answer(status, problem) => {
                    self.town.complain(format!("POST /v1/jobs: {status} {problem}"));
                    return None;
                }
                Reply::Unknown if order.key.is_none() => return None,
                Reply::Unknown | Reply::Undone => {}
            }
            pause(dice).await;
        }
        None
    }

    /// Sends what may be sent any number of times until it has one of these statuses; gives whether
    /// it had.
    async fn insist(&self, path: &str, wanted: &[u16], dice: &mut Dice, until: Instant) -> bool {
        while Instant::now() < until {
            let url = self.town.url(dice, path);
            match self.send(self.town.http.post(url)).await {
                Reply::Answer(status, _) if wanted.contains(&status.as_u16()) => return true,
                Reply::Answer(status, _) if status == 503 => {}
                Reply::Answer(status, problem) => {
                    self.town.complain(format!("POST {path}: {status} {problem}"));
                    return false;
                }
                Reply::Undone | Reply::Unknown => {}
            }
            pause(dice).await;
        }
        false
    }

    /// Waits until a job has ended, and wants it tried again if it failed.
    async fn retry(&self, id: &str, dice: &mut Dice, until: Instant) {
        while Instant::now() < until {
            let url = self.town.url(dice, &format!("/v1/jobs/{id}?wait=1"));
            match self.send(self.town.get(&url)).await {
                Reply::Answer(status, job) if status == 200 => match job["status"].as_str() {
                    Some("failed") => {
                        // A lost answer makes the second request one too many: 409 is right then.
                        let path = format!("/v1/jobs/{id}/retry");
                        self.insist(&path, &[202, 409], dice, until).await;
                        return;
                    }
                    Some("completed" | "cancelled") => return,
                    _ => {}
                },
                Reply::Answer(status, problem) if status != 503 => {
                    self.town.complain(format!("GET /v1/jobs/{id}: {status} {problem}"));
                    return;
                }
                _ => {}
            }
            pause(dice).await;
        }
    }

    /// Gets something as JSON, if it can be had now.
    pub(super) async fn get(&self, path: &str, dice: &mut Dice) -> Option<(StatusCode, Value)> {
        let url = self.town.url(dice, path);
        match self.send(self.town.get(&url)).await {
            Reply::Answer(status, value) => Some((status, value)),
            Reply::Undone | Reply::Unknown => None,
        }
    }

    /// Gets a frame's bytes.
    pub(super) async fn bytes(&self, path: &str, dice: &mut Dice) -> reqwest::Result<Vec<u8>> {
        let url = self.town.url(dice, path);
        let request = self.town.get(&url).bearer_auth(&self.token);
        let reply = request.timeout(PATIENCE * 4).send().await?;
        Ok(reply.error_for_status()?.bytes().await?.to_vec())
    }

    async fn send(&self, request: RequestBuilder) -> Reply {
        let sent = request.bearer_auth(&self.token).timeout(PATIENCE).send();
        let reply = match sent.await {
            Ok(reply) => reply,
            Err(error) if error.is_connect() => return Reply::Undone,
            Err(_) => return Reply::Unknown,
        };
        let status = reply.status();
        match reply.json().await {
            Ok(body) => Reply::Answer(status, body),
            Err(_) => Reply::Unknown,
        }
    }
}

async fn pause(dice: &mut Dice) {
    tokio::time::sleep(Duration::from_millis(dice.between(60, 400))).await;
}
