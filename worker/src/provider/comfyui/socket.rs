//! The socket on which a server tells of one prompt while it runs.
//!
//! Comes in: ComfyUI's text and binary frames. Goes out: what concerns our prompt, as [`Heard`].
//! Other jobs' frames come along: a job that was submitted without a client id sends its progress
//! and its previews to every socket, so everything is filtered by prompt id, and a preview without
//! one only counts after a progress frame of ours.
//! Nothing depends on this socket: the server replays nothing, and of two sockets with one client id
//! it may forget the newer. What it does not tell, [`super::watch`] asks for.

use futures::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};

use super::client::{CONNECT_TIMEOUT, Client};
use super::history::ExecutionError;
use super::picture;
use crate::provider::Picture;

/// Largest frame; previews fit 512 pixels, and a failed node's frame quotes its inputs.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// First frame of ours: previews shall name their prompt. As a later frame it would be ignored.
const FEATURES: &str = r#"{"type":"feature_flags","data":{"supports_preview_metadata":true}}"#;

/// Binary frames begin with their type, a big-endian u32.
const PREVIEW: u32 = 1;
const PREVIEW_WITH_METADATA: u32 = 4;

/// What a frame says to whom waits for one prompt.
#[derive(Debug)]
pub(super) enum Heard {
    /// A node has done so many of its steps.
    Progress { node: String, value: u32, max: u32 },
    /// What the frame looks like by now.
    Preview(Picture),
    /// It is over, well or not; history knows more.
    Ended,
    /// A node failed.
    Failed(ExecutionError),
    /// Something else of our prompt.
    Ours,
    /// Something else: the server lives.
    Other,
}

/// An open socket of one prompt.
pub(super) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    ear: Ear,
}

impl Socket {
    /// Opens a socket under the prompt's id, which is thereby no other job's.
    ///
    /// Errors: the server, or a proxy before it, has no socket for us; go on without.
    pub(super) async fn open(client: &Client, prompt_id: &str) -> Result<Self, SocketError> {
        let (url, headers) = client.socket(prompt_id);
        let mut request = url.as_str().into_client_request()?;
        request.headers_mut().extend(headers.clone());
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(MESSAGE_BYTES_MAX);
        config.max_frame_size = Some(MESSAGE_BYTES_MAX);
        let opened = async {
            let no_delay = true;
            let (mut stream, _) =
                connect_async_with_config(request, Some(config), no_delay).await?;
            stream.send(Message::text(FEATURES)).await?;
            Ok::<_, SocketError>(stream)
        };
        // On the heap: a handshake with TLS is larger than all that waits for it.
        let opened = Box::pin(opened);
        let slow = |_| SocketError::Io(std::io::ErrorKind::TimedOut.into());
        let stream = timeout(CONNECT_TIMEOUT, opened).await.map_err(slow)??;
        Ok(Self { stream, ear: Ear::new(prompt_id) })
    }

    /// Waits for the next frame; `None` when the socket is gone. Safe to drop midway.
    pub(super) async fn hear(&mut self) -> Option<Heard> {
        match self.stream.next().await? {
            Ok(Message::Close(_)) => None,
            Ok(message) => Some(self.ear.hear(&message)),
            Err(error) => {
                tracing::debug!("a socket to ComfyUI broke: {error}");
                None
            }
        }
    }
}

/// Tells our prompt's frames from all others.
struct Ear {
    prompt_id: String,
    /// The last progress frame was ours, so a preview without an id is.
    turn_is_ours: bool,
}

impl Ear {
    fn new(prompt_id: &str) -> Self {
        Self { prompt_id: prompt_id.to_owned(), turn_is_ours: false }
    }

    fn hear(&mut self, message: &Message) -> Heard {
        match message {
            Message::Text(text) => self.text(text),
            Message::Binary(bytes) => self.preview(bytes).map_or(Heard::Other, Heard::Preview),
            _ => Heard::Other,
        }
    }

    fn text(&mut self, text: &str) -> Heard {
        #[derive(Deserialize)]
        struct Event {
            #[serde(rename = "type")]
            kind: String,
            #[serde(default)]
            data: Value,
        }
        let Ok(Event { kind, data }) = serde_json::from_str(text) else {
            return Heard::Other;
        };
        let is_ours = data["prompt_id"] == *self.prompt_id;
        if kind == "progress" {
            self.turn_is_ours = is_ours;
        }
        if !is_ours {
            return Heard::Other;
        }
        match &*kind {
            "progress" => progress(&data).unwrap_or(Heard::Ours),
            // Not at `execution_success`: history is written after it.
            "executing" if data["node"].is_null() => Heard::Ended,
            "execution_interrupted" => Heard::Ended,
            "execution_error" => {
                ExecutionError::deserialize(data).map_or(Heard::Ended, Heard::Failed)
            }
            _ => Heard::Ours,
        }
    }

    /// Reads a preview of ours; anything else is none.
    fn preview(&self, bytes: &bytes::Bytes) -> Option<Picture> {
        let image_at = match word(bytes, 0)? {
            // Then a u32 of the format, which the image itself tells better.
            PREVIEW if self.turn_is_ours => 8,
            PREVIEW_WITH_METADATA => {
                let length = word(bytes, 4)? as usize;
                let image_at = length.checked_add(8)?;
                let metadata: Value = serde_json::from_slice(bytes.get(8..image_at)?).ok()?;
                (metadata["prompt_id"] == *self.prompt_id).then_some(image_at)?
            }
            _ => return None,
        };
        bytes.get(image_at..)?;
        picture::of(bytes.slice(image_at..))
    }
}

fn progress(data: &Value) -> Option<Heard> {
    let number = |name: &str| Some(data[name].as_f64()? as u32);
    let node = data["node"].as_str()?.to_owned();
    Some(Heard::Progress { node, value: number("value")?, max: number("max")? })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..at + 4)?;
    Some(u32::from_be_bytes(four.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use framewire_shared::domain::MediaType;

    const JPEG: &[u8] = b"\xff\xd8\xff\xe0 jpeg";

    fn said(ear: &mut Ear, text: &str) -> Heard {
        ear.hear(&Message::text(text))
    }

    fn binary(parts: &[&[u8]]) -> Message {
        Message::binary(parts.concat())
    }

    fn plain_preview() -> Message {
        binary(&[&[0, 0, 0, 1], &[0, 0, 0, 1], JPEG])
    }

    fn named_preview(prompt_id: &str) -> Message {
        let json = format!(
            r#"{{"node_id": "2", "prompt_id": "{prompt_id}", "image_type": "image/jpeg"}}"#
        );
        binary(&[&[0, 0, 0, 4], &(json.len() as u32).to_be_bytes(), json.as_bytes(), JPEG])
    }

    fn progress_of(prompt_id: &str) -> String {
        format!(
            r#"{{"type": "progress", "data": {{"value": 7, "max": 20, "prompt_id": "{prompt_id}", "node": "2"}}}}"#
        )
    }

    #[test]
    fn progress_is_ours_only_with_our_prompt_id() {
        let mut ear = Ear::new("mine");
        let heard = said(&mut ear, &progress_of("mine"));
        assert!(
            matches!(&heard, Heard::Progress { node, value: 7, max: 20 } if node == "2"),
            "{heard:?}"
        );
        for other in [&*progress_of("theirs"), "{}", "no json", r#"{"type": "status", "data": {}}"#]
        {
            assert!(matches!(said(&mut ear, other), Heard::Other), "{other}");
        }
        // What a socket that was opened in the middle of a job hears first has no prompt id.
        assert!(matches!(
            said(&mut ear, r#"{"type": "executing", "data": {"node": "2"}}"#),
            Heard::Other
        ));
    }

    #[test]
    fn both_layouts_of_a_preview_are_read_and_neither_is_taken_from_another_job() {
        let mut ear = Ear::new("mine");
        let is_ours = |ear: &mut Ear, message: Message| match ear.hear(&message) {
            Heard::Preview(picture) => {
                assert_eq!((picture.media_type, &picture.bytes[..]), (MediaType::Jpeg, JPEG));
                true
            }
            _ => false,
        };
        assert!(is_ours(&mut ear, named_preview("mine")));
        assert!(!is_ours(&mut ear, named_preview("theirs")));
        assert!(!is_ours(&mut ear, plain_preview()), "before any progress of ours");
        said(&mut ear, &progress_of("mine"));
        assert!(is_ours(&mut ear, plain_preview()));
        said(&mut ear, &progress_of("theirs"));
        assert!(!is_ours(&mut ear, plain_preview()), "after progress of another job");
    }

    #[test]
    fn frames_that_are_cut_off_or_no_picture_are_no_preview() {
        let mut ear = Ear::new("mine");
        said(&mut ear, &progress_of("mine"));
        let whole = named_preview("mine").into_data();
        for length in [0, 3, 4, 7, 8, 20, whole.len() - JPEG.len()] {
            let heard = ear.hear(&Message::binary(whole.slice(..length)));
            assert!(matches!(heard, Heard::Other), "{length}: {heard:?}");
        }
        let huge = binary(&[&[0, 0, 0, 4], &u32::MAX.to_be_bytes(), JPEG]);
        let text = binary(&[&[0, 0, 0, 3], &1u32.to_be_bytes(), b"2words"]);
        let html = binary(&[&[0, 0, 0, 1], &[0, 0, 0, 2], b"<html>"]);
        for message in [huge, text, html] {
            assert!(matches!(ear.hear(&message), Heard::Other));
        }
    }

    #[test]
    fn the_end_is_the_empty_node_and_not_the_success_before_history() {
        let mut ear = Ear::new("mine");
        let success =
            r#"{"type": "execution_success", "data": {"prompt_id": "mine", "timestamp": 1}}"#;
        assert!(matches!(said(&mut ear, success), Heard::Ours));
        let end = r#"{"type": "executing", "data": {"node": null, "prompt_id": "mine"}}"#;
        assert!(matches!(said(&mut ear, end), Heard::Ended));
        let error = r#"{"type": "execution_error", "data": {"prompt_id": "mine", "node_id": "2",
            "node_type": "SlowSteps", "executed": ["1"], "exception_type": "RuntimeError",
            "exception_message": "at step 3\n", "traceback": ["x"], "current_inputs": {}}}"#;
        let Heard::Failed(error) = said(&mut ear, error) else { panic!() };
        assert_eq!(error.exception_message, "at step 3\n");
    }
}
