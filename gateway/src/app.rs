//! Puts the parts together and runs them until told to stop.
//!
//! Comes in: the settings, a listener that is bound already (so that a test or a launcher knows the
//! port), and the two stages of stopping. Redis need not be up: until it is, requests get 503 and
//! `/readyz` says why. But a Redis that answers and may lose jobs is refused at once, because an
//! operator is watching now and will not be later.

use std::any::Any;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use actix_web::{HttpServer, middleware, web};
use framewire_shared::service::settings::Settings;
use framewire_shared::service::shutdown::Shutdown;
use framewire_shared::store::blobs::Blobs;
use framewire_shared::store::operate::Unfit;
use framewire_shared::store::{Store, StoreError};
use socket2::{SockRef, TcpKeepalive};

use crate::http::health::Readiness;
use crate::http::openapi::Api;
use crate::http::{self, Context, access, auth, intake};
use crate::live::{Live, LiveOptions};

/// Longest wait for a request's head.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// How long a stop waits for requests under way; streams have ended before.
const FINISH_S: u64 = 5;
/// How much longer than its drain a stream may take to end.
const BYE_GRACE: Duration = Duration::from_secs(1);
/// Bytes the kernel may hold for a reader: a stalled one is noticed by us and not hidden by it.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Silence on sent bytes after which a peer counts as gone.
#[cfg(target_os = "linux")]
const PEER_GONE: Duration = Duration::from_secs(20);
/// When and how an idle connection is asked whether anybody is there.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// Why the gateway can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The address is not ours to listen on.
    #[error(
        "listen on {address} ({hint}); choose another with gateway.listen or \
         FRAMEWIRE_GATEWAY_LISTEN"
    )]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What that error mostly means.
        hint: &'static str,
        /// What the system says.
        source: std::io::Error,
    },
    /// The URL of Redis is malformed.
    #[error("understand redis.url")]
    Store(#[source] StoreError),
    /// Redis answers and must not be used.
    #[error("use this Redis")]
    Redis(#[source] Unfit),
    /// The frames can't be kept.
    #[error("use the artifact folder {path}; choose another with artifacts.path")]
    Artifacts {
        /// What was asked for.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// HTTP broke down.
    #[error("serve HTTP")]
    Http(#[source] std::io::Error),
}

/// Binds the address of the settings.
pub fn listen(settings: &Settings) -> Result<TcpListener, AppError> {
    let address = settings.gateway.listen;
    TcpListener::bind(address).map_err(|source| {
        let hint = match source.kind() {
            std::io::ErrorKind::AddrInUse => "port taken",
            std::io::ErrorKind::PermissionDenied => "not permitted",
            std::io::ErrorKind::AddrNotAvailable => "no such address on this machine",
            _ => "not possible",
        };
        AppError::Listen { address, hint, source }
    })
}

/// The gateway, put together and not yet running.
#[derive(Debug)]
pub struct App {
    settings: Arc<Settings>,
    listener: TcpListener,
    store: Store,
    blobs: Blobs,
    readiness: Arc<Readiness>,
}

impl App {
    /// Puts the parts together.
    ///
    /// Errors: what would still be wrong in an hour. A Redis that does not answer is not.
    pub async fn build(settings: Settings, listener: TcpListener) -> Result<Self, AppError> {
        let store = Store::open(settings.redis_options(), settings.queue_options())
            .map_err(AppError::Store)?;
        let path = &settings.artifacts.path;
        let blobs = Blobs::on_disk(path)
            .map_err(|source| AppError::Artifacts { path: path.display().to_string(), source })?;
        let readiness = Readiness::new(store.clone(), &settings);
        match readiness.tick().await {
            Ok(()) => {}
            Err(Unfit::Store(StoreError::Unavailable(error))) => {
                tracing::warn!(error, "Redis does not answer yet; requests get 503 until it does");
            }
            Err(unfit) => return Err(AppError::Redis(unfit)),
        }
        Ok(Self {
            settings: Arc::new(settings),
            listener,
            store,
            blobs,
            readiness: Arc::new(readiness),
        })
    }

    /// Serves until told to drain, then stops in order.
    pub async fn run_until(self, shutdown: Shutdown) -> Result<(), AppError> {
        let address = self.listener.local_addr().map_err(AppError::Http)?;
        let options = LiveOptions::from(&self.settings.gateway);
        let drain = options.drain + BYE_GRACE;
        let (live, mut tasks) = Live::start(self.store.clone(), options, &shutdown);
        tasks.spawn({
            let (readiness, shutdown) = (self.readiness.clone(), shutdown.clone());
            async move { readiness.run(shutdown).await }
        });
        let threads = self.settings.gateway.threads.get() as usize;
        let context = Context {
            store: self.store,
            blobs: self.blobs,
            live: live.clone(),
            settings: self.settings,
            shutdown: shutdown.clone(),
            readiness: self.readiness,
            openapi: Api::document(),
            tokens: auth::Tokens::default(),
            intake: intake::Intake::default(),
        };
        let server = HttpServer::new(move || {
            actix_web::App::new()
                .app_data(web::Data::new(context.for_a_thread()))
                .wrap(middleware::from_fn(access::access))
                .configure(http::configure)
        })
        .workers(threads)
        .on_connect(tune)
        .h1_allow_half_closed(false)
        .client_request_timeout(HEAD_WAIT)
        .shutdown_timeout(FINISH_S)
        .disable_signals()
        .listen(self.listener)
        .map_err(AppError::Http)?
        .run();
        let handle = server.handle();
        let mut server = tokio::spawn(server);
        announce(address);

        tokio::select! {
            () = shutdown.drain.cancelled() => {}
            () = shutdown.stop.cancelled() => {}
            ended = &mut server => return flatten(ended),
        }
        // The order of stopping. Readiness has failed with the drain token itself, so that load
        // balancers look elsewhere while the rest is still served.
        tracing::info!(streams = live.readers(), "draining");
        // Streams end next, each with a `bye` and spread over a while, so that their readers don't
        // all arrive elsewhere at once. The same token has told them.
        tokio::select! {
            () = streams_end(&live, drain) => {}
            () = shutdown.stop.cancelled() => {}
        }
        // HTTP stops: no new connections; requests under way are finished, or cut at the second
        // signal.
        tokio::select! {
            () = handle.stop(true) => {}
            () = shutdown.stop.cancelled() => handle.stop(false).await,
        }
        let ended = flatten(server.await);
        // Tasks end last: until here somebody might have asked them something.
        shutdown.stop.cancel();
        while tasks.join_next().await.is_some() {}
        tracing::info!("stopped");
        ended
    }
}

/// Says where we listen, whatever the log's filter: with port 0 nobody could know otherwise.
fn announce(address: SocketAddr) {
    if tracing::enabled!(tracing::Level::INFO) {
        tracing::info!("listening on http://{address}");
    } else {
        eprintln!("listening on http://{address}");
    }
}

/// Waits until the last stream has ended, but not for ever.
async fn streams_end(live: &Live, within: Duration) {
    let all = async {
        while live.readers() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(within, all).await.is_err() {
        tracing::warn!(streams = live.readers(), "some streams did not end in time; cutting them");
    }
}

fn flatten(ended: Result<std::io::Result<()>, tokio::task::JoinError>) -> Result<(), AppError> {
    ended.map_err(std::io::Error::other).flatten().map_err(AppError::Http)
}

/// Sets what a connection needs, so that a reader who vanished or stalls is noticed.
fn tune(connection: &dyn Any, _: &mut Extensions) {
    let Some(tcp) = connection.downcast_ref::<TcpStream>() else {
        return;
    };
    let socket = SockRef::from(tcp);
    let (after, every, times) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(after).with_interval(every).with_retries(times);
    let tuned = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_send_buffer_size(SEND_BUFFER_BYTES))
        .and_then(|()| socket.set_tcp_keepalive(&keepalive));
    #[cfg(target_os = "linux")]
    let tuned = tuned.and_then(|()| socket.set_tcp_user_timeout(Some(PEER_GONE)));
    if let Err(error) = tuned {
        // The peer may be gone already; the connection will tell.
        tracing::debug!(%error, "could not tune a connection");
    }
}
