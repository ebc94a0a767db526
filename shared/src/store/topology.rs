//! Which node holds a cell: the one question in which a single Redis, Sentinel and Cluster differ.
//!
//! Comes in: the URL, and what calls have learned (a redirect, a node that is read-only or gone).
//! Goes out: a route to the node that holds a cell now. Everything else of the store speaks to
//! one node over plain connections; it asks here before it connects, says so when a route was
//! wrong (`doubt`), and asks again. redis-rs' cluster client is not used: it has no
//! blocking pops, and its subscriptions are one command for all slots.
//! Standalone has one answer. Sentinel is asked for the master, and the master whether it is one. In
//! a cluster any node is asked for the slots. One caller asks, the others take what it has learned.
//! Invariant: a doubted route is never given out again; a node's connections outlive doubts, so one
//! that is still right is not connected to anew. A doubt holds up only the slots it is about.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::{Manager, Pool as ConnectionPool, Runtime};
use redis::aio::ConnectionManagerConfig;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo,
    RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::sync::watch;

use super::line::Line;
use crate::domain::Cell;

/// Slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;
/// Cells where a cluster's settings name no number. Twelve of these names lie evenly over two, four
/// and six masters and nearly so over three (5, 4, 3); more would only be more connections.
pub const CELLS_IN_A_CLUSTER: u16 = 12;
/// Most cells: each costs every process a pub/sub connection and a heartbeat.
pub const CELLS_MAX: u16 = 64;
/// Connections of one process to one node that belong to one call each: a blocking pop for each
/// cell, and calls that wait for replicas.
const DEDICATED_MAX: usize = 128;
/// Silence on such a connection after which it is given up; longer than any block or wait.
const WATCHDOG: Duration = Duration::from_millis(2_500);
/// Retries of a broken connection within one call; a script that ran twice answers as if once.
const RETRIES: usize = 1;

/// How Redis is run, as the URL says.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    Standalone,
    Sentinel { master: String },
    Cluster,
}

/// A node, and this process's connections to it.
#[derive(Clone)]
pub(super) struct Node {
    /// Its address.
    pub(super) name: String,
    /// How to connect to it.
    pub(super) info: ConnectionInfo,
    /// The shared connection.
    pub(super) line: Line,
    /// Connections for what blocks.
    dedicated: ConnectionPool,
}

/// The way to a cell's node, as it was learned.
#[derive(Clone)]
pub(super) struct Route {
    /// Where it leads.
    pub(super) node: Arc<Node>,
    /// Which answer it is from.
    answer: u64,
}

/// The slots that lie on one node.
struct Place {
    slots: RangeInclusive<u16>,
    node: Arc<Node>,
    doubted: bool,
}

/// What is known.
#[derive(Default)]
struct Known {
    answer: u64,
    places: Vec<Place>,
    /// The nodes of the places, by name.
    nodes: BTreeMap<String, Arc<Node>>,
}

/// Knows the nodes; see the module.
pub(super) struct Topology {
    layout: Layout,
    /// The nodes of the URL: Redis, or sentinels.
    seeds: Vec<Arc<Node>>,
    /// With whose address replaced a node is reached.
    template: ConnectionInfo,
    patience: Duration,
    known: watch::Sender<Known>,
    asking: tokio::sync::Mutex<()>,
}

/// Tells whether a call failed because it went to the wrong node, or to one that is gone.
pub(super) fn is_astray(error: &RedisError) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        ErrorKind::Server(
            ServerErrorKind::Moved | ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown
        )
    ) || error.is_unrecoverable_error()
        // An answer that was cut off: the connection is gone, and says so in the parser's words.
        || kind == ErrorKind::Parse
        // How Redis 6.2 tells it of a script.
        || error.detail().is_some_and(|detail| detail.contains("-READONLY"))
}

impl Known {
    fn place(&self, cell: Cell) -> Option<&Place> {
        let slot = slot(cell);
        self.places.iter().find(|place| place.slots.contains(&slot))
    }

    fn route(&self, cell: Cell) -> Option<Route> {
        let place = self.place(cell).filter(|place| !place.doubted)?;
        Some(Route { node: place.node.clone(), answer: self.answer })
    }

    fn has_left(&self, cell: Cell, node: &Node) -> bool {
        self.route(cell).is_some_and(|route| route.node.name != node.name)
    }
}

impl Topology {
    /// Reads the URL. Connects to nothing.
    ///
    /// Errors: only if the URL is malformed.
    pub(super) fn open(url: &str, patience: Duration) -> RedisResult<Self> {
        let Parsed { layout, seeds, template } = parse(url)?;
        let seeds: Vec<Arc<Node>> = seeds
            .into_iter()
            .map(|info| Ok(Arc::new(Node::new(info, patience)?)))
            .collect::<RedisResult<_>>()?;
        let mut known = Known::default();
        if layout == Layout::Standalone {
            let node = seeds[0].clone();
            known.places.push(Place { slots: 0..=SLOTS - 1, node, doubted: false });
        }
        Ok(Self {
            layout,
            seeds,
            template,
            patience,
            known: watch::Sender::new(known),
            asking: tokio::sync::Mutex::default(),
        })
    }

    /// Tells whether this is a cluster: channels are then sharded like keys.
    pub(super) fn is_cluster(&self) -> bool {
        self.layout == Layout::Cluster
    }

    /// Tells whether another node may take over.
    fn may_change(&self) -> bool {
        self.layout != Layout::Standalone
    }

    /// Finds the node that holds a cell.
    pub(super) async fn route(&self, cell: Cell) -> RedisResult<Route> {
        if let Some(route) = self.known.borrow().route(cell) {
            return Ok(route);
        }
        // Boxed: it is rare, and no call should hold room for it.
        Box::pin(self.find(cell)).await
    }

    async fn find(&self, cell: Cell) -> RedisResult<Route> {
        let _turn = self.asking.lock().await;
        // Whoever was before us may have learned it.
        if let Some(route) = self.known.borrow().route(cell) {
            return Ok(route);
        }
        match &self.layout {
            Layout::Standalone => {}
            Layout::Sentinel { master } => self.ask_sentinels(master).await?,
            Layout::Cluster => self.ask_cluster().await?,
        }
        let route = self.known.borrow().route(cell);
        route.ok_or_else(|| failed(format!("no node serves slot {} of cell {cell}", slot(cell))))
    }

    /// Notes that a route was wrong, unless somebody has asked anew meanwhile.
    pub(super) fn doubt(&self, cell: Cell, route: &Route) {
        if !self.may_change() {
            return;
        }
        self.known.send_if_modified(|known| {
            if known.answer == route.answer {
                let slot = slot(cell);
                for place in &mut known.places {
                    place.doubted |= place.slots.contains(&slot);
                }
            }
            false
        });
    }

    /// Tells whether a cell is known to lie on another node than this one.
    pub(super) fn has_left(&self, cell: Cell, node: &Node) -> bool {
        self.known.borrow().has_left(cell, node)
    }

    /// Waits until [`Topology::has_left`].
    pub(super) async fn left(&self, cell: Cell, node: &Node) {
        let mut known = self.known.subscribe();
        if known.wait_for(|known| known.has_left(cell, node)).await.is_err() {
            unreachable!("the sender is borrowed");
        }
    }

    async fn ask_sentinels(&self, master: &str) -> RedisResult<()> {
        let mut asked = redis::cmd("SENTINEL");
        asked.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let mut why = failed(format!("no sentinel knows a master of the name {master:?}"));
        for sentinel in &self.seeds {
            let named: RedisResult<Option<(String, u16)>> = self.ask(sentinel, &asked).await;
            let (host, port) = match named {
                Ok(Some(address)) => address,
                Ok(None) => continue,
                Err(error) => {
                    why = error;
                    continue;
                }
            };
            let node = self.node(&host, port)?;
            // A sentinel that was cut off may name a master of the past.
            match self.ask::<Vec<Value>>(&node, &redis::cmd("ROLE")).await {
                Ok(role) if role.first() == Some(&Value::BulkString(b"master".into())) => {
                    self.learn(vec![(0..=SLOTS - 1, node)]);
                    return Ok(());
                }
                Ok(_) => why = failed(format!("{} is named as master and is none", node.name)),
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    async fn ask_cluster(&self) -> RedisResult<()> {
        let mut why = failed("no node of the cluster answers".into());
        for node in self.who_may_know() {
            let mut command = redis::cmd("CLUSTER");
            match self.ask::<Vec<Vec<Value>>>(&node, command.arg("SLOTS")).await {
                Ok(ranges) if ranges.is_empty() => {
                    why = failed(format!("{} knows no slots of its cluster", node.name));
                }
                Ok(ranges) => {
                    let mut places = Vec::with_capacity(ranges.len());
                    for range in &ranges {
                        let (slots, host, port) = read_range(range, &node).ok_or_else(|| {
                            failed(format!("{} answers CLUSTER SLOTS strangely", node.name))
                        })?;
                        places.push((slots, self.node(&host, port)?));
                    }
                    self.learn(places);
                    return Ok(());
                }
                Err(error) => why = error,
            }
        }
        Err(why)
    }

    /// Lists the nodes to ask, the URL's and those named since, those in doubt last; another one first at each answer, because one
    /// that was cut off goes on telling of the past.
    fn who_may_know(&self) -> Vec<Arc<Node>> {
        let known = self.known.borrow();
        let mut all: Vec<Arc<Node>> = known.nodes.values().cloned().collect();
        all.extend(self.seeds.iter().filter(|seed| !known.nodes.contains_key(&seed.name)).cloned());
        let first = known.answer as usize % all.len();
        all.rotate_left(first);
        let in_doubt = |node: &Node| {
            known.places.iter().any(|place| place.doubted && place.node.name == node.name)
        };
        all.sort_by_key(|node| in_doubt(node));
        all
    }

    /// Asks one of several nodes: with less patience than a call has, so that the next is reached.
    async fn ask<T: redis::FromRedisValue>(
        &self,
        node: &Node,
        command: &redis::Cmd,
    ) -> RedisResult<T> {
        let mut line = node.line.clone();
        let answer = tokio::time::timeout(self.patience / 4, command.query_async(&mut line)).await;
        answer.unwrap_or_else(|_| Err(failed(format!("{} does not answer", node.name))))
    }

    /// Finds or makes the node of an address.
    fn node(&self, host: &str, port: u16) -> RedisResult<Arc<Node>> {
        let address = ConnectionAddr::Tcp(host.to_owned(), port);
        if let Some(node) = self.known.borrow().nodes.get(&address.to_string()) {
            return Ok(node.clone());
        }
        let info = self.template.clone().set_addr(address);
        Ok(Arc::new(Node::new(info, self.patience)?))
    }

    fn learn(&self, places: Vec<(RangeInclusive<u16>, Arc<Node>)>) {
        self.known.send_modify(|known| {
            known.answer += 1;
            known.nodes =
                places.iter().map(|(_, node)| (node.name.clone(), node.clone())).collect();
            known.places = places
                .into_iter()
                .map(|(slots, node)| Place { slots, node, doubted: false })
                .collect();
        });
    }
}

impl Node {
    fn new(info: ConnectionInfo, patience: Duration) -> RedisResult<Self> {
        let config = ConnectionManagerConfig::new()
            .set_number_of_retries(RETRIES)
            .set_min_delay(Duration::from_millis(20))
            .set_max_delay(Duration::from_millis(200))
            .set_connection_timeout(Some(patience))
            // Before the outer timeout, so that a silent connection is seen as one (`line`).
            .set_response_timeout(Some(patience * 3 / 4))
            .set_pipeline_buffer_size(1024);
        let line = Line::new(redis::Client::open(info.clone())?, config)?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(patience))
            .set_response_timeout(Some(WATCHDOG));
        let manager = Manager::new_with_config(info.clone(), config)?;
        let dedicated = ConnectionPool::builder(manager)
            .max_size(DEDICATED_MAX)
            .create_timeout(Some(patience))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { name: info.addr().to_string(), info, line, dedicated })
    }

    /// Takes a connection of one's own.
    pub(super) async fn checkout(&self) -> RedisResult<Dedicated> {
        // Boxed: what it needs to make a connection is large, and it seldom does.
        let connection = Box::pin(self.dedicated.get()).await.map_err(|error| match error {
            deadpool_redis::PoolError::Backend(error) => error,
            error => failed(error.to_string()),
        })?;
        Ok(Dedicated(Some(connection)))
    }
}

/// A connection of one's own. Dropped, its socket closes, so that the server forgets a pop that it
/// may still be waiting in, and so that none that failed is used again: it may be half open.
pub(super) struct Dedicated(Option<deadpool_redis::Connection>);

impl Dedicated {
    /// Runs a call on it.
    pub(super) fn line(&mut self) -> &mut deadpool_redis::Connection {
        self.0.as_mut().unwrap_or_else(|| unreachable!("only giving it back takes it out"))
    }

    /// Gives it back, for somebody else: everything that was asked on it is answered.
    pub(super) fn give_back(mut self) {
        self.0 = None;
    }
}

impl Drop for Dedicated {
    fn drop(&mut self) {
        drop(self.0.take().map(deadpool_redis::Connection::take));
    }
}

/// What a URL says.
#[derive(Debug)]
struct Parsed {
    layout: Layout,
    seeds: Vec<ConnectionInfo>,
    template: ConnectionInfo,
}

/// Reads the URL and asks for TCP_NODELAY, which redis-rs 1.x leaves off.
fn parse(url: &str) -> RedisResult<Parsed> {
    let connection = |url: String| {
        let info = url.into_connection_info()?;
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        Ok::<_, RedisError>(info.set_tcp_settings(tcp))
    };
    if let Some(rest) = url.strip_prefix("redis+cluster://") {
        let (secret, hosts, path) = split(rest)?;
        if !path.is_empty() {
            return Err(malformed("a cluster has no databases: leave out what follows the hosts"));
        }
        let one = |host: &str| connection(format!("redis://{secret}{host}"));
        let seeds = hosts.map(one).collect::<RedisResult<Vec<_>>>()?;
        return Ok(Parsed { layout: Layout::Cluster, template: seeds[0].clone(), seeds });
    }
    if let Some(rest) = url.strip_prefix("redis+sentinel://") {
        let (secret, hosts, path) = split(rest)?;
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (master, db) = path.split_once('/').unwrap_or((path, "0"));
        if master.is_empty() {
            return Err(malformed("name the master: redis+sentinel://host:26379/mymaster"));
        }
        let their_secret = match query.strip_prefix("sentinel_password=") {
            Some(password) => format!(":{password}@"),
            None if query.is_empty() => String::new(),
            None => return Err(malformed("only sentinel_password= may follow the question mark")),
        };
        let one = |host: &str| {
            let port = if has_port(host) { "" } else { ":26379" };
            connection(format!("redis://{their_secret}{host}{port}"))
        };
        let seeds = hosts.map(one).collect::<RedisResult<Vec<_>>>()?;
        let layout = Layout::Sentinel { master: master.to_owned() };
        // Its address comes from the sentinels.
        let template = connection(format!("redis://{secret}localhost/{db}"))?;
        return Ok(Parsed { layout, seeds, template });
    }
    let template = connection(url.to_owned())?;
    Ok(Parsed { layout: Layout::Standalone, seeds: vec![template.clone()], template })
}

/// Takes `user:password@h1:p1,h2:p2/path` apart.
fn split(rest: &str) -> RedisResult<(&str, impl Iterator<Item = &str>, &str)> {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (secret, hosts) = match authority.rfind('@') {
        Some(at) => authority.split_at(at + 1),
        None => ("", authority),
    };
    if hosts.split(',').any(str::is_empty) {
        return Err(malformed("name hosts, separated by commas: host1:port,host2:port"));
    }
    Ok((secret, hosts.split(','), path))
}

fn has_port(host: &str) -> bool {
    host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'))
}

/// Reads one range of CLUSTER SLOTS: first and last slot, then its nodes, the master first.
///
/// A host that is not told is the one that was asked.
fn read_range(range: &[Value], asked: &Node) -> Option<(RangeInclusive<u16>, String, u16)> {
    let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = range else {
        return None;
    };
    let [host, Value::Int(port), ..] = &master[..] else {
        return None;
    };
    let host = match host {
        Value::BulkString(host) if !host.is_empty() && host != b"?" => {
            String::from_utf8(host.clone()).ok()?
        }
        _ => match asked.info.addr() {
            ConnectionAddr::Tcp(host, _) => host.clone(),
            _ => return None,
        },
    };
    let slot = |number: i64| u16::try_from(number).ok();
    Some((slot(*first)?..=slot(*last)?, host, slot(*port)?))
}

/// Computes the slot of a cell's hash tag: CRC-16/XMODEM of its name (Redis Cluster specification,
/// appendix A).
pub(crate) fn slot(cell: Cell) -> u16 {
    let mut crc = 0_u16;
    for byte in cell.to_string().bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            let carry = crc & 0x8000 != 0;
            crc <<= 1;
            if carry {
                crc ^= 0x1021;
            }
        }
    }
    crc % SLOTS
}

fn failed(why: String) -> RedisError {
    (ErrorKind::Io, "find the node", why).into()
}

fn malformed(why: &'static str) -> RedisError {
    (ErrorKind::InvalidClientConfig, why).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(parsed: &Parsed) -> Vec<String> {
        parsed.seeds.iter().map(|seed| seed.addr().to_string()).collect()
    }

    #[test]
    fn slots_are_those_of_redis() {
        // As told by CLUSTER KEYSLOT.
        let told = [0, 1, 2, 11, 63].map(|n| slot(Cell(n)));
        assert_eq!(told, [10_282, 14_347, 2_152, 4_845, 11_064]);
    }

    #[test]
    fn the_default_number_of_cells_leaves_none_of_two_to_four_masters_idle_or_with_half_of_them() {
        for masters in 2..=4 {
            let mut counts = vec![0; masters];
            for n in 0..CELLS_IN_A_CLUSTER {
                counts[usize::from(slot(Cell(n))) * masters / usize::from(SLOTS)] += 1;
            }
            let fair = usize::from(CELLS_IN_A_CLUSTER) / masters;
            assert!(
                counts.iter().all(|&count| (fair - 1..=fair + 1).contains(&count)),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn one_url_says_how_redis_is_run() {
        let one = parse("redis://u:p@h:7000/3").unwrap();
        assert_eq!((&one.layout, addresses(&one)), (&Layout::Standalone, vec!["h:7000".into()]));

        let cluster = parse("redis+cluster://u:p%40@h1:7000,[::1]:7001,h3").unwrap();
        assert_eq!(cluster.layout, Layout::Cluster);
        assert_eq!(addresses(&cluster), ["h1:7000", "::1:7001", "h3:6379"]);
        assert_eq!(cluster.seeds[2].redis_settings().password(), Some("p@"));

        let sentinel = parse("redis+sentinel://:p@s1,s2:7000/my/2?sentinel_password=q").unwrap();
        assert_eq!(sentinel.layout, Layout::Sentinel { master: "my".into() });
        assert_eq!(addresses(&sentinel), ["s1:26379", "s2:7000"]);
        assert_eq!(sentinel.seeds[0].redis_settings().password(), Some("q"));
        assert_eq!(sentinel.template.redis_settings().password(), Some("p"));
        assert_eq!(sentinel.template.redis_settings().db(), 2);
    }

    #[test]
    fn a_url_that_names_no_master_or_too_much_is_refused() {
        for bad in [
            "redis+sentinel://s1:1",
            "redis+sentinel:///mymaster",
            "redis+sentinel://s1/m?x=1",
            "redis+cluster://",
            "redis+cluster://h1,,h2",
            "redis+cluster://h1/1",
            "http://h1",
        ] {
            assert!(parse(bad).is_err(), "{bad} was taken for a URL of a Redis");
        }
    }
}
