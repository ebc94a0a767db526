//! Sharing: who leads for a fingerprint, who follows, and who is handed over when; the pure side, and
//! its comparison with the real one.

use framewire_shared::domain::{Cell, JobId, State, Verb};
use framewire_shared::store::codec::Completed;
use framewire_shared::store::queue::Lease;

use super::pure::{Place, Pure};
use super::{World, frame, invariants};

/// Fingerprints in play; fewer than jobs, so that they meet.
pub(crate) const PRINTS: usize = 2;
/// How long followers that were handed to somebody are left to him.
const LANDING_MS: u64 = 3_000;

/// Gives the text of a fingerprint.
pub(crate) fn print(number: usize) -> String {
    format!("print{number}")
}

/// What the pure side knows of a fingerprint.
#[derive(Debug, Clone, Default)]
pub(crate) struct Share {
    /// The job that draws, or has drawn.
    pub(crate) leader: Option<JobId>,
    /// When its followers are to be handed out.
    pub(crate) landed: Option<u64>,
}

impl Pure {
    /// Lists a fingerprint's followers, oldest first, as Redis orders them.
    pub(crate) fn followers(&self, print: usize) -> Vec<usize> {
        let follows = |job: &usize| {
            let job = &self.jobs[*job];
            job.print == Some(print) && !job.gone && job.place == Place::Following
        };
        let mut all: Vec<usize> = (0..self.jobs.len()).filter(follows).collect();
        all.retain(|job| self.jobs[*job].state == State::Queued);
        all.sort_by_key(|job| (self.jobs[*job].queued_at, self.jobs[*job].id.to_string()));
        all
    }

    /// Finds a fingerprint's leader, if it is one that others may follow.
    pub(crate) fn leader(&self, print: usize) -> Option<usize> {
        let leader = self.find(self.shares[print].leader.as_ref()?);
        let state = self.jobs[leader].found()?;
        (!matches!(state, State::Failed | State::Cancelled)).then_some(leader)
    }

    /// Places a queued job by its fingerprint; `took_over` says whether the real one leads in place
    /// of a leader that waited. Tells whether its frames are there.
    pub(crate) fn join(&mut self, job: usize, took_over: bool, land_ms: u64) -> bool {
        let Some(print) = self.jobs[job].print else {
            return false;
        };
        let (leader, id) = (self.leader(print), self.jobs[job].id.clone());
        let drawn = leader.is_some_and(|leader| self.jobs[leader].state == State::Completed);
        match leader {
            Some(leader) if took_over => self.jobs[leader].place = Place::Following,
            Some(_) => {
                self.jobs[job].place = Place::Following;
                if drawn {
                    let due = self.now + land_ms;
                    self.shares[print].landed.get_or_insert(due);
                }
                return drawn;
            }
            None => {}
        }
        self.shares[print].leader = Some(id);
        false
    }

    /// Hands what a completed leader has drawn to those that follow it; where it lacks frames, one
    /// of them leads.
    pub(crate) fn completed(&mut self, job: usize) {
        let Some(print) = self.jobs[job].print else {
            return;
        };
        if self.shares[print].leader.as_ref() != Some(&self.jobs[job].id) {
            return;
        }
        if self.jobs[job].is_short {
            self.promote(print);
        } else if !self.followers(print).is_empty() {
            self.shares[print].landed = Some(self.now + LANDING_MS);
        }
    }

    /// Has somebody else lead where the leader has ended without frames, or is gone.
    pub(crate) fn settle(&mut self) {
        for print in 0..PRINTS {
            if self.shares[print].leader.is_some() && self.leader(print).is_none() {
                self.promote(print);
            }
        }
    }

    fn promote(&mut self, print: usize) {
        let first = self.followers(print).first().copied();
        self.shares[print] = Share::default();
        if let Some(first) = first {
            self.jobs[first].place = Place::Line;
            self.shares[print].leader = Some(self.jobs[first].id.clone());
        }
    }

    /// Finds the fingerprint whose followers are due longest.
    pub(crate) fn due(&self) -> Option<usize> {
        let due = |print: &usize| self.shares[*print].landed.is_some_and(|at| at <= self.now);
        (0..PRINTS).filter(due).min_by_key(|print| (self.shares[*print].landed, *print))
    }

    /// Hands out followers; gives each with its new fence.
    pub(crate) fn land(&mut self, print: usize, without: bool) -> Vec<(JobId, u64)> {
        let leader = self.leader(print);
        if leader.is_some_and(|leader| self.jobs[leader].state != State::Completed) {
            self.shares[print].landed = None;
            return Vec::new();
        }
        if leader.is_none() || without {
            self.promote(print);
            return Vec::new();
        }
        let followers = self.followers(print);
        let hands_over = !followers.is_empty();
        self.shares[print].landed = hands_over.then_some(self.now + LANDING_MS);
        let handed = followers.into_iter().map(|job| {
            self.jobs[job].fence += 1;
            (self.jobs[job].id.clone(), self.jobs[job].fence)
        });
        handed.collect()
    }

    /// Ends a follower with copies, if this fence still counts; tells whether it does.
    pub(crate) fn fulfil(&mut self, job: usize, fence: u64) -> bool {
        let its = &mut self.jobs[job];
        if its.place != Place::Following || its.fence != fence || !its.go(Verb::Fulfil) {
            return false;
        }
        let print = its.print.expect("a follower has a fingerprint");
        if self.followers(print).is_empty() {
            self.shares[print].landed = None;
        }
        true
    }
}

impl World {
    /// Tells the leader of a fingerprint that stands in its line or waits for its retry, not in the
    /// window.
    pub(super) fn leader_that_waits(&mut self, same: Option<usize>) -> Option<usize> {
        let leader = self.pure.leader(same?)?;
        let job = &self.pure.jobs[leader];
        let waits = job.state == State::Queued && job.place != Place::Following;
        (waits && !invariants::is_out(&mut self.redis, &job.id)).then_some(leader)
    }

    /// Places a job by its fingerprint, as the real one was; tells whether its frames are there.
    ///
    /// Which of two that wait would be served first depends on lines and turns, which the pure side
    /// does not know: a leader may give way only while it waits.
    pub(super) fn join(&mut self, job: usize, waited: Option<usize>, land_ms: u64) -> bool {
        let Some(same) = self.pure.jobs[job].print else {
            return false;
        };
        let before = self.pure.leader(same);
        let leads = invariants::leader(&mut self.redis, same).as_deref()
            == Some(self.pure.jobs[job].id.as_str());
        let took_over = leads && before.is_some();
        assert!(!took_over || waited == before, "a leader that does not wait gave way");
        self.pure.join(job, took_over, land_ms)
    }

    pub(super) async fn land(&mut self, same: Option<usize>, without: bool) {
        let text = same.map(print);
        let Some(same) = same.or_else(|| self.pure.due()) else {
            assert_eq!(self.store.land(Cell::FIRST, None, None).await.unwrap(), None);
            return;
        };
        let gone = self.pure.shares[same].leader.clone().filter(|_| without);
        let real = self.store.land(Cell::FIRST, text.as_deref(), gone.as_ref()).await.unwrap();
        let expected = self.pure.land(same, without);
        let handed = real.map_or_else(Vec::new, |landing| {
            assert_eq!(landing.fingerprint, print(same));
            assert_eq!(Some(&landing.leader), self.pure.shares[same].leader.as_ref());
            landing.followers
        });
        let told: Vec<_> = handed.iter().map(|its| (its.job.clone(), its.fence.0)).collect();
        assert_eq!(told, expected);
        self.handed.extend(handed);
    }

    pub(super) async fn fulfil(&mut self, follower: &Lease) {
        let frames = [frame(follower, 0)];
        let real = self.store.fulfil(follower, &frames).await.unwrap();
        let (index, fence) = (self.pure.find(&follower.job), follower.fence.0);
        let before = self.pure.jobs[index].clone();
        let expected = match self.pure.fulfil(index, fence) {
            true => {
                self.keep(index, &frames[0].url);
                Completed::Completed
            }
            false if before.found() == Some(State::Completed) && before.fence == fence => {
                Completed::Completed
            }
            false => Completed::Lost(before.found()),
        };
        assert_eq!(real, expected);
    }
}
