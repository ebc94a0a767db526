//! A private redis-server and builders, for the tests of every crate.

// One redis-server process: started, killed, started again.
pub mod process;
// A Redis of one's own: one server, or a cluster if the environment says so.
pub mod redis_server;
// A cluster of redis-servers, with replicas where they are wanted.
pub mod redis_cluster;
// A master, its replica, and sentinels that watch them.
pub mod redis_sentinel;
// Short ways to sessions and submissions.
pub mod builders;
// Events without jobs.
pub mod emitter;
// Waiting for a condition, with an end.
pub mod wait;
// What stands before several gateways.
pub mod balancer;
// A reader of a stream that comes back as a page does.
pub mod follower;

pub use balancer::Balancer;
pub use builders::{prompt, submission};
pub use emitter::Emitter;
pub use follower::Follower;
pub use redis_cluster::RedisCluster;
pub use redis_sentinel::RedisSentinel;
pub use redis_server::RedisServer;
pub use wait::until;

/// Gives the text of the submit script as Redis gets it, for benchmarks without a gateway.
pub fn submit_script() -> String {
    crate::store::submit_text()
}
