//! A ComfyUI that a test plays by hand: its routes and its socket, in the shapes and with the traps
//! of a real one (0.3.75).
//!
//! A prompt that is submitted waits until the test starts, steps, finishes or fails it. Traps are
//! switched on one by one. One connection carries one request, so that what is open can be counted.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use framewire_shared::testing::until;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::server::{Request as Upgrade, Response};

/// What is sent instead of the documented answer.
#[derive(Clone)]
pub(crate) enum Answer {
    /// This status and body.
    Is(u16, Vec<u8>),
    /// This status and header, without a body.
    Headed(u16, &'static str, String),
    /// Nothing, and the connection stays.
    Hang,
    /// Nothing, and the connection ends; what was asked for is done.
    DoneButCut,
    /// A body that never ends.
    Flood,
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path without the base, with the query.
    pub(crate) path: String,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

struct Socket {
    sender: mpsc::UnboundedSender<Message>,
    wants_metadata: bool,
}

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    /// Prompts with the client id that their events go to.
    pending: VecDeque<(String, String)>,
    running: Option<(String, String)>,
    history: BTreeMap<String, Value>,
    files: HashMap<String, Vec<u8>>,
    sockets: HashMap<String, Socket>,
    /// Path prefix, answer, how often.
    traps: Vec<(String, Answer, u32)>,
    /// Of every prompt from now on.
    node_errors: Option<Value>,
    interrupts_lost: u32,
    /// Looks at history that find nothing yet.
    history_late: u32,
    /// The next look at the queue comes too late: the prompt has just ended, with this picture.
    ends_at_look: Option<Vec<u8>>,
    own_ids: bool,
    runs_at_once: Option<Vec<u8>>,
    prompts: u32,
}

pub(crate) struct Comfy {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
    /// Connections that are open now.
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Comfy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Comfy {
    /// Listens below a path, which is empty or like `/comfy`.
    pub(crate) async fn start(base: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}{base}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State::default()));
        let open = Arc::new(AtomicUsize::new(0));
        let (shared, count, base) = (state.clone(), open.clone(), base.to_owned());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                let (state, open, base) = (shared.clone(), Open::new(&count), base.clone());
                connections.spawn(async move {
                    connection(stream, &state, &base).await;
                    drop(open);
                });
            }
        });
        Self { url, state, open, task }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Answers requests whose path begins so with something else, so many times.
    pub(crate) fn trap(&self, path: &str, answer: Answer, times: u32) {
        self.state().traps.push((path.into(), answer, times));
    }

    /// Takes prompts without some of their branches, as it says in these `node_errors`.
    pub(crate) fn leaves_out(&self, node_errors: Value) {
        self.state().node_errors = Some(node_errors);
    }

    pub(crate) fn loses_interrupts(&self, times: u32) {
        self.state().interrupts_lost = times;
    }

    pub(crate) fn writes_history_late(&self, looks: u32) {
        self.state().history_late = looks;
    }

    /// Behaves like a server from before clients could choose a prompt's id.
    pub(crate) fn chooses_ids(&self) {
        self.state().own_ids = true;
    }

    /// Ends the waiting prompt just before the next look at the queue.
    pub(crate) fn ends_at_look(&self, picture: Vec<u8>) {
        self.state().ends_at_look = Some(picture);
    }

    /// Runs every prompt to its end as it comes, with this picture.
    pub(crate) fn runs_at_once(&self, picture: Vec<u8>) {
        self.state().runs_at_once = Some(picture);
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    /// Lists the requests whose method and path begin so.
    pub(crate) fn asked(&self, begin: &str) -> Vec<Asked> {
        let state = self.state();
        let is_meant = |it: &&Asked| format!("{} {}", it.method, it.path).starts_with(begin);
        state.asked.iter().filter(is_meant).cloned().collect()
    }

    /// Waits for the next prompt in the queue.
    pub(crate) async fn queued(&self) -> String {
        until("a prompt in the queue", async || Some(self.state().pending.front()?.0.clone())).await
    }

    /// Waits until a prompt is in no queue any more.
    pub(crate) async fn gone(&self, id: &str) {
        until("the prompt to be gone", async || self.place(id).is_none().then_some(())).await;
    }

    /// Says whether a prompt is `running` or `pending`.
    pub(crate) fn place(&self, id: &str) -> Option<&'static str> {
        let state = self.state();
        let is_running = state.running.as_ref().is_some_and(|(it, _)| it == id);
        let is_pending = state.pending.iter().any(|(it, _)| it == id);
        is_running.then_some("running").or_else(|| is_pending.then_some("pending"))
    }

    /// Tells whether no prompt runs or waits.
    pub(crate) fn is_idle(&self) -> bool {
        let state = self.state();
        state.running.is_none() && state.pending.is_empty()
    }

    /// Puts a prompt of somebody else, or of an earlier worker, in the queue.
    pub(crate) fn queue(&self, id: &str, client_id: &str) {
        self.state().pending.push_back((id.into(), client_id.into()));
    }

    /// Waits for the socket of a client id.
    pub(crate) async fn socket(&self, client_id: &str) {
        let is_open = async || self.state().sockets.contains_key(client_id).then_some(());
        until("the socket", is_open).await;
    }

    pub(crate) fn start_prompt(&self, id: &str) {
        self.state().start(id);
    }

    pub(crate) fn step(&self, id: &str, value: u32, max: u32) {
        self.state().step(id, value, max);
    }

    /// Sends a preview in the layout that the socket asked for.
    pub(crate) fn preview(&self, id: &str, picture: &[u8]) {
        self.state().preview(id, picture);
    }

    /// Ends a prompt well; its picture is in a PNG named after it.
    pub(crate) fn finish(&self, id: &str, picture: &[u8]) {
        self.state().finish(id, picture);
    }

    pub(crate) fn fail(&self, id: &str, kind: &str, message: &str) {
        let mut state = self.state();
        let error = json!({"prompt_id": id, "node_id": "3", "node_type": "KSampler",
            "executed": ["4"], "exception_type": kind, "exception_message": message,
            "traceback": ["  File \"/srv/secret/nodes.py\", line 1\n"],
            "current_inputs": {"text": ["the user's words"]}, "timestamp": 1});
        state.end(id, "error", "execution_error", error, json!({}));
    }

    /// Sends a frame to every socket, as happens with jobs that have no client id.
    pub(crate) fn broadcast(&self, message: Message) {
        for socket in self.state().sockets.values() {
            socket.sender.send(message.clone()).ok();
        }
    }

    /// Forgets a socket in the middle: it stays open and silent for good.
    pub(crate) fn deafen(&self, client_id: &str) {
        let socket = self.state().sockets.remove(client_id);
        // Its sender lives on, so the connection does too.
        std::mem::forget(socket);
    }

    /// Ends a socket without a close frame.
    pub(crate) fn cut(&self, client_id: &str) {
        self.state().sockets.remove(client_id);
    }

    /// Restarts: queue, history and sockets are gone.
    pub(crate) fn restart(&self) {
        let mut state = self.state();
        state.pending.clear();
        state.running = None;
        state.history.clear();
        state.sockets.clear();
    }

    /// Dies: nobody listens, and every connection is cut.
    pub(crate) fn die(&self) {
        self.task.abort();
    }
}

struct Open(Arc<AtomicUsize>);

impl Open {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl State {
    fn client_of(&self, id: &str) -> Option<String> {
        let all = self.running.iter().chain(&self.pending);
        all.into_iter().find(|(it, _)| it == id).map(|(_, client)| client.clone())
    }

    fn tell(&self, client: &str, kind: &str, data: &Value) {
        if let Some(socket) = self.sockets.get(client) {
            let text = json!({"type": kind, "data": data}).to_string();
            socket.sender.send(Message::text(text)).ok();
        }
    }

    fn tell_of(&self, id: &str, kind: &str, data: &Value) {
        if let Some(client) = self.client_of(id) {
            self.tell(&client, kind, data);
        }
    }

    fn status(&self) {
        let remaining = self.pending.len() + usize::from(self.running.is_some());
        for client in self.sockets.keys() {
            let status = json!({"status": {"exec_info": {"queue_remaining": remaining}}});
            self.tell(client, "status", &status);
        }
    }

    fn start(&mut self, id: &str) {
        let at = self.pending.iter().position(|(it, _)| it == id).expect("a queued prompt");
        self.running = self.pending.remove(at);
        self.status();
        self.tell_of(id, "execution_start", &json!({"prompt_id": id, "timestamp": 1}));
        self.tell_of(id, "execution_cached", &json!({"nodes": [], "prompt_id": id}));
        let executing = json!({"node": "3", "display_node": "3", "prompt_id": id});
        self.tell_of(id, "executing", &executing);
    }

    fn step(&self, id: &str, value: u32, max: u32) {
        let nodes = json!({"3": {"value": value, "max": max, "state": "running", "prompt_id": id}});
        self.tell_of(id, "progress_state", &json!({"prompt_id": id, "nodes": nodes}));
        let progress = json!({"value": value, "max": max, "prompt_id": id, "node": "3"});
        self.tell_of(id, "progress", &progress);
    }

    fn preview(&self, id: &str, picture: &[u8]) {
        let Some(socket) = self.client_of(id).and_then(|client| self.sockets.get(&client)) else {
            return;
        };
        let frame = if socket.wants_metadata {
            let json = json!({"node_id": "3", "prompt_id": id, "image_type": "image/jpeg"});
            let json = json.to_string();
            [&4u32.to_be_bytes(), &(json.len() as u32).to_be_bytes(), json.as_bytes(), picture]
                .concat()
        } else {
            [&1u32.to_be_bytes(), &1u32.to_be_bytes()[..], picture].concat()
        };
        socket.sender.send(Message::binary(frame)).ok();
    }

    fn finish(&mut self, id: &str, picture: &[u8]) {
        let name = format!("{id}.png");
        self.files.insert(name.clone(), picture.to_vec());
        let images = json!({"images": [{"filename": name, "subfolder": "", "type": "output"}]});
        let executed = json!({"node": "9", "output": images, "prompt_id": id});
        self.tell_of(id, "executed", &executed);
        let success = json!({"prompt_id": id, "timestamp": 1});
        self.end(id, "success", "execution_success", success, json!({"9": images}));
    }

    /// The success is told before history is written, the empty node after it.
    fn end(&mut self, id: &str, status: &str, kind: &str, data: Value, outputs: Value) {
        self.tell_of(id, kind, &data);
        let client = self.client_of(id).unwrap_or_default();
        let entry = json!({"prompt": [1, id, {}, {}, ["9"]], "outputs": outputs, "meta": {},
            "status": {"status_str": status, "completed": status == "success", "messages": [
                ["execution_start", {"prompt_id": id}], [kind, data]]}});
        self.history.insert(id.into(), entry);
        self.running = self.running.take().filter(|(it, _)| it != id);
        self.status();
        self.tell(&client, "executing", &json!({"node": null, "prompt_id": id}));
    }

    fn answer(&mut self, asked: &Asked) -> Answer {
        let ok = |json: Value| Answer::Is(200, json.to_string().into_bytes());
        let empty = Answer::Is(200, Vec::new());
        let path = asked.path.split('?').next().unwrap_or_default();
        match (&*asked.method, path) {
            ("GET", "/system_stats") => {
                ok(json!({"system": {"os": "posix", "comfyui_version": "0.3.75"}, "devices": []}))
            }
            ("GET", "/queue") => {
                if let Some(picture) = self.ends_at_look.take() {
                    let (id, _) = self.pending.front().expect("a queued prompt").clone();
                    self.start(&id);
                    self.finish(&id, &picture);
                }
                let ticket = |(id, client): &(String, String)| json!([1, id, {"1": {"inputs": {}}}, {"client_id": client}, ["9"]]);
                let running: Vec<Value> = self.running.iter().map(ticket).collect();
                let pending: Vec<Value> = self.pending.iter().map(ticket).collect();
                ok(json!({"queue_running": running, "queue_pending": pending}))
            }
            ("POST", "/queue") => {
                let json = asked.json();
                let ids = json["delete"].as_array().unwrap();
                self.pending.retain(|(id, _)| !ids.iter().any(|it| it == id));
                self.status();
                empty
            }
            ("POST", "/interrupt") => {
                let named = asked.json()["prompt_id"].as_str().unwrap_or_default().to_owned();
                let is_running = self.running.as_ref().is_some_and(|(id, _)| *id == named);
                if self.interrupts_lost > 0 {
                    self.interrupts_lost -= 1;
                } else if is_running {
                    let data = json!({"prompt_id": named, "node_id": "3", "timestamp": 1});
                    self.end(&named, "error", "execution_interrupted", data, json!({}));
                }
                empty
            }
            ("POST", "/free") => empty,
            ("POST", "/prompt") => self.prompt(asked),
            ("POST", "/upload/image") => {
                let text = String::from_utf8_lossy(&asked.body);
                let (_, rest) = text.split_once("filename=\"").expect("a file name");
                let name = rest.split('"').next().unwrap();
                // As if there were another file of that name.
                let name = format!("renamed {name}");
                ok(json!({"name": name, "subfolder": "framewire", "type": "input"}))
            }
            ("GET", "/view") => match self.files.get(query(&asked.path, "filename").as_str()) {
                Some(bytes) => Answer::Is(200, bytes.clone()),
                None => Answer::Is(404, Vec::new()),
            },
            ("GET", path) => match path.strip_prefix("/history/") {
                Some(id) if self.history.contains_key(id) => {
                    if self.history_late > 0 {
                        self.history_late -= 1;
                        return ok(json!({}));
                    }
                    ok(json!({ id: self.history[id] }))
                }
                Some(_) => ok(json!({})),
                None => Answer::Is(404, Vec::new()),
            },
            _ => Answer::Is(405, b"405: Method Not Allowed".to_vec()),
        }
    }

    fn prompt(&mut self, asked: &Asked) -> Answer {
        let json = asked.json();
        self.prompts += 1;
        let chosen = json["prompt_id"].as_str().unwrap_or_default().to_owned();
        let id = if self.own_ids { format!("{:036}", self.prompts) } else { chosen };
        let client = json["client_id"].as_str().unwrap_or_default().to_owned();
        self.pending.push_back((id.clone(), client));
        self.status();
        if let Some(picture) = self.runs_at_once.clone() {
            self.start(&id);
            self.finish(&id, &picture);
        }
        let errors = self.node_errors.clone().unwrap_or_else(|| json!({}));
        let body = json!({"prompt_id": id, "number": self.prompts, "node_errors": errors});
        Answer::Is(200, body.to_string().into_bytes())
    }
}

/// Gives a parameter of a path's query, decoded.
fn query(path: &str, name: &str) -> String {
    let url = url::Url::parse(&format!("http://x{path}")).unwrap();
    let found = url.query_pairs().find(|(key, _)| key == name);
    found.map(|(_, value)| value.into_owned()).unwrap_or_default()
}

async fn connection(mut stream: TcpStream, state: &Mutex<State>, base: &str) {
    // The first bytes come together: both clients write a head at once.
    let upgrade = format!("GET {base}/ws?").into_bytes();
    let mut peeked = vec![0; upgrade.len()];
    let Ok(length) = stream.peek(&mut peeked).await else { return };
    let is_socket = length == upgrade.len() && peeked == upgrade;
    if is_socket && !is_trapped(&state.lock().unwrap(), "/ws") {
        return socket(stream, state, base).await;
    }
    let Some(asked) = request(&mut stream, base).await else { return };
    let answer = {
        let mut state = state.lock().unwrap();
        state.asked.push(asked.clone());
        match sprung(&mut state, &asked.path) {
            Some(Answer::DoneButCut) => {
                state.answer(&asked);
                Answer::DoneButCut
            }
            Some(other) => other,
            None => state.answer(&asked),
        }
    };
    reply(&mut stream, answer).await;
}

fn is_trapped(state: &State, path: &str) -> bool {
    state.traps.iter().any(|(prefix, _, left)| path.starts_with(prefix) && *left > 0)
}

fn sprung(state: &mut State, path: &str) -> Option<Answer> {
    let meant =
        state.traps.iter_mut().find(|(prefix, _, left)| path.starts_with(&**prefix) && *left > 0);
    meant.map(|(_, answer, left)| {
        *left -= 1;
        answer.clone()
    })
}

async fn request(stream: &mut TcpStream, base: &str) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        // What is no method is the beginning of TLS.
        let read = stream.read_buf(&mut bytes).await.ok()?;
        if read == 0 || !bytes[0].is_ascii_alphabetic() {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut body = bytes.split_off(head_end + 4);
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?);
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    let path = path.strip_prefix(base).unwrap_or("outside the base").to_owned();
    Some(Asked { method, path, headers, body })
}

async fn reply(stream: &mut TcpStream, answer: Answer) {
    let (status, header, body) = match answer {
        Answer::Is(status, body) => (status, String::new(), body),
        Answer::Headed(status, name, value) => (status, format!("{name}: {value}\r\n"), Vec::new()),
        Answer::DoneButCut => return,
        Answer::Hang => {
            // Until the client goes away.
            let mut one = [0];
            drop(stream.read(&mut one).await);
            return;
        }
        Answer::Flood => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let chunk = [b"10000\r\n".to_vec(), vec![b' '; 65_536], b"\r\n".to_vec()].concat();
            let mut is_open = stream.write_all(head.as_bytes()).await.is_ok();
            while is_open {
                is_open = stream.write_all(&chunk).await.is_ok();
            }
            return;
        }
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} Said\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n"
    );
    drop(stream.write_all(&[head.as_bytes(), &body].concat()).await);
}

async fn socket(stream: TcpStream, state: &Mutex<State>, base: &str) {
    let mut asked = None;
    let note = |request: &Upgrade, response: Response| {
        let headers = request.headers().iter();
        let headers = headers
            .map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        let path = request.uri().to_string();
        asked = Some(Asked {
            method: "GET".into(),
            path: path.strip_prefix(base).unwrap_or(&path).to_owned(),
            headers: headers.collect(),
            body: Vec::new(),
        });
        Ok(response)
    };
    let Ok(mut stream) = accept_hdr_async(stream, note).await else { return };
    let asked = asked.expect("the callback ran");
    let client = query(&asked.path, "clientId");
    let (sender, mut frames) = mpsc::unbounded_channel();
    {
        let mut state = state.lock().unwrap();
        state.asked.push(asked);
        // The newer of two with one id takes over.
        state.sockets.insert(client.clone(), Socket { sender, wants_metadata: false });
        let status = json!({"status": {"exec_info": {"queue_remaining": 0}}, "sid": client});
        state.tell(&client, "status", &status);
    }
    let mut is_first = true;
    loop {
        tokio::select! {
            frame = frames.recv() => {
                let Some(frame) = frame else { break };
                if stream.send(frame).await.is_err() {
                    break;
                }
            }
            heard = stream.next() => match heard {
                Some(Ok(Message::Text(text))) => {
                    // Flags count only in the first frame of a client.
                    let wants = text.contains("\"supports_preview_metadata\":true");
                    if let Some(socket) = state.lock().unwrap().sockets.get_mut(&client) {
                        socket.wants_metadata = is_first && wants;
                    }
                    is_first = false;
                }
                Some(Ok(_)) => {}
                _ => break,
            },
        }
    }
    // By its id, so the older of two takes the newer with it.
    state.lock().unwrap().sockets.remove(&client);
}
