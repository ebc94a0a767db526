//! The network between one process and Redis, and what goes wrong on it.
//!
//! Every gateway and worker has a proxy of its own, so that a fault hits one and not the others, on
//! a socket or over TCP. A link can be cut (both ends see it; over TCP as a reset, which drops what
//! was on its way), torn (an answer breaks off in its middle), slowed, or made half-open: both ends
//! keep their socket, and bytes vanish, on the way to Redis, on the way back, or both. The last is
//! the worst that real networks do: Redis goes on popping jobs for somebody who will never hear of
//! them. What was swallowed stays swallowed until the connection is closed, and the server's end is
//! closed only a while after the client's, as with a peer that has lost power. What a proxy can't
//! imitate is a peer whose kernel is gone: here segments are acknowledged, so TCP's own timeouts
//! never fire.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::mutant::{Mutant, Tamper};

/// How long Redis keeps the end of a connection whose other end vanished.
const ORPHANED: Duration = Duration::from_secs(2);

/// Which way a fault works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Requests,
    Answers,
    Both,
}

impl Side {
    fn covers(self, way: Self) -> bool {
        self == Self::Both || self == way
    }
}

/// The state of a link. Counts say how often something happened; a connection compares them with
/// what they were when it looked last.
#[derive(Debug, Clone, Default)]
struct Weather {
    cuts: u64,
    tears: u64,
    /// Whether nothing is left of a torn answer.
    loses: bool,
    swallows: [u64; 2],
    delay: Duration,
    refuses: bool,
}

/// A link, from outside.
#[derive(Debug)]
pub(super) struct Link {
    weather: watch::Sender<Weather>,
    tasks: JoinSet<()>,
}

impl Link {
    /// Connects each caller of `front` to Redis at `back`. A mutant tampers with what is said.
    pub(super) fn open(front: Front, back: &Path, mutant: Option<Mutant>) -> Self {
        let (weather, seen) = watch::channel(Weather::default());
        let back: Arc<Path> = back.into();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut calls = JoinSet::new();
            loop {
                while calls.try_join_next().is_some() {}
                let Ok(caller) = front.accept().await else {
                    return;
                };
                if !seen.borrow().refuses {
                    calls.spawn(serve(caller, back.clone(), seen.clone(), mutant.clone()));
                }
            }
        });
        Self { weather, tasks }
    }

    /// Breaks every connection, and refuses new ones until [`Link::accept`].
    pub(super) fn cut(&self) {
        self.weather.send_modify(|weather| {
            weather.cuts += 1;
            weather.refuses = true;
        });
    }

    /// Accepts connections again.
    pub(super) fn accept(&self) {
        self.weather.send_modify(|weather| weather.refuses = false);
    }

    /// Breaks the next answer off in its middle.
    pub(super) fn tear(&self) {
        self.weather.send_modify(|weather| {
            weather.tears += 1;
            weather.loses = false;
        });
    }

    /// Loses the next answer, and its connection with it.
    pub(super) fn lose(&self) {
        self.weather.send_modify(|weather| {
            weather.tears += 1;
            weather.loses = true;
        });
    }

    /// Makes every connection carry nothing any more.
    pub(super) fn swallow(&self, side: Side) {
        self.weather.send_modify(|weather| {
            for (way, count) in [Side::Requests, Side::Answers].iter().zip(0..) {
                weather.swallows[count] += u64::from(side.covers(*way));
            }
        });
    }

    /// Delays everything by this much.
    pub(super) fn slow(&self, delay: Duration) {
        self.weather.send_modify(|weather| weather.delay = delay);
    }

    /// Stops it and everything on it.
    pub(super) async fn close(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Where a process finds its link.
#[derive(Debug)]
pub(super) enum Front {
    Unix(UnixListener),
    Tcp(TcpListener),
}

type Reader = Box<dyn AsyncRead + Send + Unpin>;
type Writer = Box<dyn AsyncWrite + Send + Unpin>;

impl Front {
    /// Listens on a socket.
    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        UnixListener::bind(path).map(Self::Unix)
    }

    /// Listens on a free port of this machine; gives which.
    pub(super) fn tcp() -> io::Result<(Self, SocketAddr)> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let at = listener.local_addr()?;
        Ok((Self::Tcp(TcpListener::from_std(listener)?), at))
    }

    async fn accept(&self) -> io::Result<(Reader, Writer)> {
        match self {
            Self::Unix(listener) => {
                let (from, to) = listener.accept().await?.0.into_split();
                Ok((Box::new(from), Box::new(to)))
            }
            Self::Tcp(listener) => {
                let caller = listener.accept().await?.0;
                caller.set_nodelay(true)?;
                // Every end is a reset, as from a machine that does not know the connection.
                caller.set_zero_linger()?;
                let (from, to) = caller.into_split();
                Ok((Box::new(from), Box::new(to)))
            }
        }
    }
}

async fn serve(
    (from_caller, to_caller): (Reader, Writer),
    back: Arc<Path>,
    seen: watch::Receiver<Weather>,
    mutant: Option<Mutant>,
) {
    let Ok(server) = UnixStream::connect(&back).await else {
        return;
    };
    let (from_server, to_server) = server.into_split();
    let tampers = |side| mutant.as_ref().and_then(|mutant| mutant.tamper(side));
    let requests = Way::new(Side::Requests, seen.clone(), tampers(Side::Requests));
    let answers = Way::new(Side::Answers, seen, tampers(Side::Answers));
    // The first direction to end ends both, as a closed socket does.
    tokio::select! {
        () = requests.carry(from_caller, Box::new(to_server)) => {}
        () = answers.carry(Box::new(from_server), to_caller) => {}
    }
}

/// One direction of one connection.
struct Way {
    side: Side,
    weather: watch::Receiver<Weather>,
    born: Weather,
    tamper: Option<Tamper>,
}

impl Way {
    fn new(side: Side, weather: watch::Receiver<Weather>, tamper: Option<Tamper>) -> Self {
        let born = weather.borrow().clone();
        Self { side, weather, born, tamper }
    }

    /// Carries bytes until an end closes or the weather cuts it.
    async fn carry(mut self, mut from: Reader, mut to: Writer) {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            let read = tokio::select! {
                read = from.read(&mut bytes) => read.unwrap_or(0),
                changed = self.weather.changed() => {
                    if changed.is_err() || self.is_cut() { return }
                    continue;
                }
            };
            if self.is_cut() {
                return;
            }
            if read == 0 {
                if self.is_half_open() {
                    tokio::time::sleep(ORPHANED).await;
                }
                return;
            }
            if !self.is_deaf() && !self.pass(&bytes[..read], &mut to).await {
                return;
            }
        }
    }

    /// Hands on what was read; false if it broke off.
    async fn pass(&mut self, read: &[u8], to: &mut Writer) -> bool {
        let delay = self.weather.borrow().delay;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if self.side == Side::Answers && self.weather.borrow().tears != self.born.tears {
            // It may be gone already; it ends either way.
            let kept = if self.weather.borrow().loses { 0 } else { read.len() / 2 };
            drop(to.write_all(&read[..kept]).await);
            return false;
        }
        match &mut self.tamper {
            Some(tamper) => to.write_all(&tamper(read)).await.is_ok(),
            None => to.write_all(read).await.is_ok(),
        }
    }

    fn is_cut(&self) -> bool {
        self.weather.borrow().cuts != self.born.cuts
    }

    fn is_half_open(&self) -> bool {
        self.weather.borrow().swallows != self.born.swallows
    }

    fn is_deaf(&self) -> bool {
        let way = usize::from(self.side == Side::Answers);
        self.weather.borrow().swallows[way] != self.born.swallows[way]
    }
}
