//! Everybody who runs, and the order in which they stop.

use std::time::Duration;

use framewire_shared::service::settings::Settings;
use tokio::sync::watch;

use crate::child::{Heard, Program, StartError};
use crate::console::Console;
use crate::member::{Bonds, Grace, Member};

/// What a child gets beyond its own drain before it is hurried: it measures the same time itself.
const BEYOND_DRAIN: Duration = Duration::from_secs(5);
/// What Redis gets to write and fsync what its file still lacks.
const REDIS_GRACE: Duration = Duration::from_secs(60);
/// Which stage of the stop a member belongs to, in that order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Gateway,
    Worker,
    Redis,
}

/// Everybody who runs.
pub(crate) struct Crew {
    bonds: Bonds,
    gateway_drain: Duration,
    worker_drain: Duration,
    members: Vec<(Role, Member)>,
}

impl Crew {
    /// Makes one that nobody belongs to yet.
    pub(crate) fn new(bonds: Bonds, settings: &Settings) -> Self {
        Self {
            bonds,
            gateway_drain: settings.gateway.drain,
            worker_drain: settings.worker.drain,
            members: Vec::new(),
        }
    }

    /// Starts a program and keeps it running; gives its process id and what it says.
    pub(crate) fn start(
        &mut self,
        role: Role,
        program: Program,
    ) -> Result<(u32, watch::Receiver<Heard>), StartError> {
        let process = self.bonds.nursery.start(&program)?;
        let seen = (process.pid(), process.heard());
        let member = Member::keep(process, program, self.grace(role), self.bonds.clone());
        self.members.push((role, member));
        Ok(seen)
    }

    /// Gives where its members' words are shown.
    pub(crate) fn console(&self) -> &Console {
        &self.bonds.nursery.console
    }

    /// Notes that everything was seen to run: from here on, who dies is started again.
    pub(crate) fn is_up(&self) {
        self.bonds.ready.cancel();
    }

    fn grace(&self, role: Role) -> Grace {
        let finish = match role {
            Role::Gateway => self.gateway_drain + BEYOND_DRAIN,
            Role::Worker => self.worker_drain + BEYOND_DRAIN,
            Role::Redis => REDIS_GRACE,
        };
        // Redis' file must be whole, however much of a hurry somebody is in.
        let hurries = role != Role::Redis;
        Grace { finish, hurries }
    }

    /// Stops everybody, in order.
    pub(crate) async fn stop(mut self) {
        if self.members.is_empty() {
            return;
        }
        let private = self.members.iter().any(|(role, _)| *role == Role::Redis);
        let last = if private { ", then Redis" } else { "" };
        let console = self.console().clone();
        console
            .say(&format!("stopping: the gateway, then the workers{last}; Ctrl-C again hurries"));
        for role in [
            // First who promises: no job is taken by a system that is going away, and every
            // stream is told `bye`, so that browsers come back with their cursor.
            Role::Gateway,
            // Then who draws: with nothing new coming they finish what they have, or hand it back
            // without burning an attempt. For that they need Redis.
            Role::Worker,
            // Last who remembers: nobody writes any more, so its file holds everything.
            Role::Redis,
        ] {
            let (stage, rest) = self.members.into_iter().partition(|(its, _)| *its == role);
            self.members = rest;
            stage.iter().for_each(|(_, member): &(_, Member)| member.stop());
            for (_, member) in stage {
                member.stopped().await;
            }
        }
        console.say("stopped; jobs that are left resume at the next `up` on the same data");
    }
}
