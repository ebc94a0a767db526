//! A user with a session: asks for jobs, asks again when an answer got lost, cancels, retries.
//!
//! What a careful client does, over plain HTTP and to any gateway. It waits as long as
//! `Retry-After` says. A request that carries an Idempotency-Key is sent again until it is
//! answered; one without only if it is certain that it did nothing. Where that is not, the old one
//! counts as unknown and a fresh one is ordered, as a person would who sees an error. So in the end
//! every order is a job that was answered with 202. An answer that no user should ever get is a
//! complaint, which the verdict counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::dice::Dice;
use super::orders::{Order, Trouble};

/// Longest wait for an answer; a paused gateway is longer than that.
const PATIENCE: Duration = Duration::from_millis(2_500);
/// Orders that one session is placing at a time: a full queue is asked by so many, not by hundreds.
const HANDS: usize = 8;

/// What came of an order.
#[derive(Debug, Clone)]
pub(super) struct Promise {
    pub(super) order: Order,
    /// The job's id as each answer gave it; all the same, if all is well.
    pub(super) ids: Vec<String>,
    /// From the first request to the first 202.
    pub(super) accepted_after: Option<Duration>,
    /// From the request that was accepted to its 202.
    pub(super) answered_after: Option<Duration>,
    /// What that 202 said of the wait.
    pub(super) estimated_ms: Option<u64>,
    pub(super) cancelled: bool,
    /// Requests without a key that may or may not have made a job that nobody knows of.
    pub(super) unknown: u32,
}

/// What a 202 said.
struct Accepted {
    id: String,
    estimated_ms: Option<u64>,
    answered_after: Duration,
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
    /// An answer, and the wait that it asks for before the next request.
    Answer(StatusCode, Value, Option<Duration>),
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
            hands: Arc::new(Semaphore::new(HANDS)),
            session: session["id"].as_str().unwrap_or_default().to_owned(),
            token: session["token"].as_str().unwrap_or_default().to_owned(),
        })
    }
}

/// A user with a session.
#[derive(Debug, Clone)]
pub(super) struct User {
    pub(super) town: Town,
    hands: Arc<Semaphore>,
    pub(super) session: String,
    pub(super) token: String,
}

impl User {
    /// Sees an order through: submit, and what else its user does with it. Gives up when it is
    /// `enough`.
    pub(super) async fn see_through(
        self,
        order: Order,
        mut dice: Dice,
        enough: CancellationToken,
    ) -> Promise {
        let enough = &enough;
        let mut promise = Promise {
            ids: Vec::new(),
            accepted_after: None,
            answered_after: None,
            estimated_ms: None,
            cancelled: false,
            unknown: 0,
            order,
        };
        let order = promise.order.clone();
        let hand = self.hands.acquire().await;
        let began_at = Instant::now();
        let accepted = if order.twice {
            let (mut one, mut two, mut lost) = (dice.fork(), dice.fork(), 0);
            let (first, second) = tokio::join!(
                self.submit(&order, &mut one, enough, &mut promise.unknown),
                self.submit(&order, &mut two, enough, &mut lost)
            );
            promise.ids.extend(first.iter().zip(&second).map(|(_, second)| second.id.clone()));
            first.or(second)
        } else {
            self.submit(&order, &mut dice, enough, &mut promise.unknown).await
        };
        drop(hand);
        let Some(accepted) = accepted else {
            return promise;
        };
        let id = accepted.id;
        promise.ids.push(id.clone());
        promise.accepted_after = Some(began_at.elapsed());
        promise.answered_after = Some(accepted.answered_after);
        promise.estimated_ms = accepted.estimated_ms;
        if let Some(after) = order.cancel_ms {
            tokio::time::sleep(Duration::from_millis(after)).await;
            promise.cancelled = true;
            self.insist(&format!("/v1/jobs/{id}/cancel"), &[200], &mut dice, enough).await;
        }
        if order.again {
            let again = self.submit(&order, &mut dice, enough, &mut promise.unknown).await;
            promise.ids.extend(again.map(|accepted| accepted.id));
        }
        let may_fail = order.trouble == Trouble::Refused
            || order.cancel_ms.is_some()
            || order.start_within_s.is_some();
        if order.returns && may_fail {
            self.retry(&id, &mut dice, enough).await;
        }
        promise
    }

    async fn submit(
        &self,
        order: &Order,
        dice: &mut Dice,
        enough: &CancellationToken,
        unknown: &mut u32,
    ) -> Option<Accepted> {
        while !enough.is_cancelled() {
            let url = self.town.url(dice, "/v1/jobs");
            let mut request = self.town.http.post(url).json(&order.body());
            if let Some(key) = &order.key {
                request = request.header("Idempotency-Key", key);
            }
            let sent_at = Instant::now();
            let mut wait = None;
            match self.send(request).await {
                Reply::Answer(status, job, _) if status == 202 => {
                    let Some(id) = job["id"].as_str() else {
                        self.town.complain(format!("202 without an id: {job}"));
                        return None;
                    };
                    return Some(Accepted {
                        id: id.to_owned(),
                        estimated_ms: job["estimated_wait_ms"].as_u64(),
                        answered_after: sent_at.elapsed(),
                    });
                }
                Reply::Answer(status, problem, after) if status == 429 || status == 503 => {
                    wait = after;
                    let refused = status == 429 || problem["code"] == "queue_full";
                    *unknown += u32::from(order.key.is_none() && !refused);
                }
                Reply::Answer(status, problem, _) => {
                    self.town.complain(format!("POST /v1/jobs: {status} {problem}"));
                    return None;
                }
                Reply::Unknown => *unknown += u32::from(order.key.is_none()),
                Reply::Undone => {}
            }
            tokio::select! {
                () = enough.cancelled() => {}
                () = tokio::time::sleep(wait.unwrap_or_default()) => pause(dice).await,
            }
        }
        None
    }

    /// Sends what may be sent any number of times until it has one of these statuses; gives whether
    /// it had.
    async fn insist(
        &self,
        path: &str,
        wanted: &[u16],
        dice: &mut Dice,
        enough: &CancellationToken,
    ) -> bool {
        while !enough.is_cancelled() {
            let url = self.town.url(dice, path);
            match self.send(self.town.http.post(url)).await {
                Reply::Answer(status, ..) if wanted.contains(&status.as_u16()) => return true,
                Reply::Answer(status, ..) if status == 503 => {}
                Reply::Answer(status, problem, _) => {
                    self.town.complain(format!("POST {path}: {status} {problem}"));
                    return false;
                }
                Reply::Undone | Reply::Unknown => {}
            }
            pause(dice).await;
        }
        false
    }

    /// Waits until a job has ended, and wants it tried again unless it completed.
    async fn retry(&self, id: &str, dice: &mut Dice, enough: &CancellationToken) {
        let path = format!("/v1/jobs/{id}/retry");
        while !enough.is_cancelled() {
            let url = self.town.url(dice, &format!("/v1/jobs/{id}?wait=1"));
            match self.send(self.town.get(&url)).await {
                Reply::Answer(status, job, _) if status == 200 => match job["status"].as_str() {
                    Some("failed" | "cancelled") => {
                        // With an impatient double click: 409 is right for one of the two.
                        let (mut one, mut two) = (dice.fork(), dice.fork());
                        tokio::join!(
                            self.insist(&path, &[202, 409], &mut one, enough),
                            self.insist(&path, &[202, 409], &mut two, enough)
                        );
                        return;
                    }
                    Some("completed") => return,
                    _ => {}
                },
                Reply::Answer(status, problem, _) if status != 503 => {
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
            Reply::Answer(status, value, _) => Some((status, value)),
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
        let after = reply.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let after = after.and_then(|value| value.parse().ok()).map(Duration::from_secs);
        match reply.json().await {
            Ok(body) => Reply::Answer(status, body, after),
            Err(_) => Reply::Unknown,
        }
    }
}

async fn pause(dice: &mut Dice) {
    tokio::time::sleep(Duration::from_millis(dice.between(60, 400))).await;
}
