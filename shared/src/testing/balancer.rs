//! What stands before several gateways: new connections go in turn to those that are in.
//!
//! It carries bytes and knows no HTTP, like the balancers that know least. A gateway that is taken out
//! keeps the connections it has, so a rolling restart is: take out, drain, start the next, put in.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A running balancer; it ends when it is dropped, and with it what it carries.
#[derive(Debug)]
pub struct Balancer {
    /// Where it listens.
    pub address: SocketAddr,
    gateways: Arc<Mutex<Vec<SocketAddr>>>,
    task: AbortHandle,
}

impl Balancer {
    /// Starts one on a free port of the loopback, before nobody.
    pub async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let gateways = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn(serve(listener, gateways.clone())).abort_handle();
        Ok(Self { address, gateways, task })
    }

    /// Says who is in from now on.
    pub fn set(&self, gateways: &[SocketAddr]) {
        *self.gateways.lock().unwrap_or_else(PoisonError::into_inner) = gateways.to_vec();
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, gateways: Arc<Mutex<Vec<SocketAddr>>>) {
    let mut carried = JoinSet::new();
    for turn in 0_usize.. {
        let Ok((mut caller, _)) = listener.accept().await else {
            continue;
        };
        let gateway = {
            let gateways = gateways.lock().unwrap_or_else(PoisonError::into_inner);
            gateways.get(turn % gateways.len().max(1)).copied()
        };
        carried.spawn(async move {
            // With nobody in, the caller is hung up on.
            if let Some(gateway) = gateway
                && let Ok(mut gateway) = TcpStream::connect(gateway).await
            {
                drop(copy_bidirectional(&mut caller, &mut gateway).await);
            }
        });
        while carried.try_join_next().is_some() {}
    }
}
