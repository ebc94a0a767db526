//! A cluster of redis-servers, with replicas where they are wanted.
//!
//! Slots are dealt evenly and in order, so which master holds a cell is known beforehand. A cluster
//! takes no writes in its first two seconds (a constant of Redis), and that is how long a start takes.

use super::process::Process;
use super::redis_server;
use super::wait::until_blocking;
use crate::domain::Cell;
use crate::store::topology::{SLOTS, slot};
use crate::store::{QueueOptions, RedisOptions, Store};

/// Nodes notice soon that another is gone; a part of the slots may be served while another is not.
const ARGUMENTS: [&str; 12] = [
    "--cluster-enabled",
    "yes",
    "--cluster-node-timeout",
    "2000",
    "--cluster-require-full-coverage",
    "no",
    "--repl-diskless-sync-delay",
    "0",
    "--repl-ping-replica-period",
    "1",
    "--cluster-replica-validity-factor",
    "0",
];

/// A running cluster.
pub struct RedisCluster {
    /// In the order of their slots.
    pub masters: Vec<Process>,
    /// The replica of each master, or none.
    pub replicas: Vec<Process>,
}

impl RedisCluster {
    /// Starts this many masters.
    pub fn start(masters: usize) -> Self {
        let masters: Vec<Process> =
            (0..masters).map(|_| Process::start_on_a_port(&ARGUMENTS)).collect();
        let cluster = Self { masters, replicas: Vec::new() };
        let count = cluster.masters.len();
        for (index, master) in cluster.masters.iter().enumerate() {
            let border = |index: usize| index * usize::from(SLOTS) / count;
            let (first, last) = (border(index), border(index + 1) - 1);
            let () = master.say(&format!("CLUSTER ADDSLOTSRANGE {first} {last}")).unwrap();
            let () = master.say(&format!("CLUSTER SET-CONFIG-EPOCH {}", index + 1)).unwrap();
            cluster.introduce(master);
        }
        cluster.until_it_serves();
        cluster
    }

    /// Starts this many masters, each with a replica that has caught up.
    pub fn start_with_replicas(masters: usize) -> Self {
        let mut cluster = Self::start(masters);
        for master in &cluster.masters {
            let replica = Process::start_on_a_port(&ARGUMENTS);
            cluster.introduce(&replica);
            let id: String = master.say("CLUSTER MYID").unwrap();
            until_blocking("a replica that knows its master", || {
                replica.say::<()>(&format!("CLUSTER REPLICATE {id}")).ok()
            });
            cluster.replicas.push(replica);
        }
        for master in &cluster.masters {
            master.until_its_replica_has_caught_up();
        }
        // Without being known to be one, a replica is not waited for and not promoted.
        until_blocking("a cluster that knows its replicas", || {
            let knows = |node: &Process| {
                let told: String = node.say("CLUSTER NODES").ok()?;
                (told.matches(" slave ").count() + told.matches(",slave ").count()
                    == cluster.replicas.len())
                .then_some(())
            };
            cluster.masters.iter().try_for_each(knows)
        });
        cluster
    }

    fn introduce(&self, newcomer: &Process) {
        let (port, bus) = (newcomer.port(), newcomer.bus());
        let meet = format!("CLUSTER MEET 127.0.0.1 {port} {bus}");
        let () = self.masters[0].say(&meet).unwrap();
    }

    /// Waits until every master says that the cluster serves its slots.
    pub(super) fn until_it_serves(&self) {
        let known = format!("cluster_known_nodes:{}\r\n", self.masters.len() + self.replicas.len());
        until_blocking("a cluster", || {
            let serves = |master: &Process| {
                let told: String = master.say("CLUSTER INFO").ok()?;
                let whole = told.contains("cluster_slots_ok:16384\r\n");
                (told.contains("cluster_state:ok") && whole && told.contains(&known)).then_some(())
            };
            self.masters.iter().try_for_each(serves)
        });
    }

    /// Gives its URL.
    pub fn url(&self) -> String {
        let addresses: Vec<String> = self.masters.iter().map(Process::address).collect();
        format!("redis+cluster://{}", addresses.join(","))
    }

    /// Tells which master was dealt a cell.
    pub fn master_of(&self, cell: Cell) -> usize {
        let border = |index: usize| index * usize::from(SLOTS) / self.masters.len();
        let is_below = |index: &usize| usize::from(slot(cell)) < border(index + 1);
        (0..self.masters.len()).find(is_below).expect("all slots are dealt")
    }

    /// Gives options for stores of this many cells.
    pub fn options(&self, cells: u16) -> RedisOptions {
        RedisOptions { cells: Some(cells), ..redis_server::options(self.url()) }
    }

    /// Opens a store of this many cells.
    pub fn store(&self, cells: u16) -> Store {
        Store::open(self.options(cells), QueueOptions::default()).expect("open a store")
    }
}
