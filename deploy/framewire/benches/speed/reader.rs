//! A reader of a stream, as small as it can be: what it costs is taken from the gateway it measures.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// What every reader has ready for the next bytes.
const BUFFER_BYTES: usize = 512;

/// An open stream.
pub(crate) struct Reader {
    socket: TcpStream,
    bytes: BytesMut,
}

/// A frame.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) id: String,
    pub(crate) event: String,
    pub(crate) data: String,
}

impl Reader {
    /// Opens a session's stream, after a cursor if there is one, and reads its `sync`.
    pub(crate) async fn open(
        gateway: SocketAddr,
        token: &str,
        after: Option<&str>,
    ) -> Result<(Self, Heard)> {
        let mut socket = TcpStream::connect(gateway).await?;
        socket.set_nodelay(true)?;
        let after = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /v1/events HTTP/1.1\r\nHost: {gateway}\r\nAccept: text/event-stream\r\n\
             Authorization: Bearer {token}\r\n{after}\r\n"
        );
        socket.write_all(head.as_bytes()).await?;
        let mut reader = Self { socket, bytes: BytesMut::with_capacity(BUFFER_BYTES) };
        let first = reader.next().await?;
        if first.event != "sync" {
            bail!("the stream began with {first:?}");
        }
        Ok((reader, first))
    }

    /// Reads the next frame.
    ///
    /// The answer's head and the lengths of its chunks are lines that look like no field, and end
    /// with CR LF, so that only a frame's end is an empty line after LF.
    pub(crate) async fn next(&mut self) -> Result<Heard> {
        let mut seen = 0;
        loop {
            let end = self.bytes[seen..].windows(2).position(|two| two == b"\n\n");
            if let Some(end) = end {
                let frame = self.bytes.split_to(seen + end);
                self.bytes.advance(2);
                return Ok(parse(std::str::from_utf8(&frame)?));
            }
            seen = self.bytes.len().saturating_sub(1);
            if self.socket.read_buf(&mut self.bytes).await? == 0 {
                let rest = String::from_utf8_lossy(&self.bytes).into_owned();
                return Err(anyhow::anyhow!(rest)).context("the stream ended");
            }
        }
    }
}

fn parse(frame: &str) -> Heard {
    let mut heard = Heard::default();
    for line in frame.lines() {
        match line.split_once(": ") {
            Some(("id", value)) => heard.id = value.to_owned(),
            Some(("event", value)) => heard.event = value.to_owned(),
            Some(("data", value)) => heard.data = value.to_owned(),
            _ => {}
        }
    }
    heard
}
