//! Request bodies and query parameters into types, or a problem that names every fault.
//!
//! The good case is one typed parse of the bytes. Only when that fails is the body read again as
//! loose JSON and taken apart: each field that can't be read is noted with its pointer and removed,
//! until the rest can be. So a form hears of all its faults at once, and a good request pays nothing.
//! Bounds of values are not checked here; see `Body::check`.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::web::{BytesMut, Payload, Query};
use framewire_shared::domain::InputFault;
use framewire_shared::service::settings::Settings;
use futures::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

use super::problem::{Code, Problem};

/// Longest wait for a body after its head; a caller that trickles bytes holds a connection.
const BODY_WAIT: Duration = Duration::from_secs(15);
/// Faults told at once; more would only be noise.
const FAULTS_MAX: usize = 32;
/// Longest text of the caller's that is repeated to the caller.
const ECHO_CHARS_MAX: usize = 40;

/// A request body.
pub trait Body: DeserializeOwned {
    /// Pointers of members without which there is no request.
    const REQUIRED: &'static [&'static str];

    /// Says what would be right at this pointer, like "a whole number".
    fn expected(pointer: &str) -> Option<&'static str>;

    /// Gives a value that could stand there, so that the other members can still be judged.
    fn placeholder(pointer: &str) -> Value;

    /// Fills in what depends on the settings; `body` is what it was read from.
    fn complete(&mut self, _body: &[u8], _settings: &Settings) {}

    /// Lists the members whose values are out of bounds, or are not to be had here.
    fn check(&self, settings: &Settings) -> Vec<InputFault>;
}

/// Reads a body of at most `gateway.body_bytes_max` that is declared as JSON; see [`parse`].
///
/// Errors: 408 too slow, 413 too large, 415 not JSON.
pub async fn json_bytes(
    request: &HttpRequest,
    payload: Payload,
    settings: &Settings,
) -> Result<BytesMut, Problem> {
    let bytes = bytes(request, payload, settings.gateway.body_bytes_max, |_| Ok(())).await?;
    refuse_other_types(request)?;
    Ok(bytes)
}

/// Reads a body of at most `bytes_max`, whatever it is. `grow` hears how long it will be before each
/// piece is kept, and may refuse.
pub async fn bytes(
    request: &HttpRequest,
    payload: Payload,
    bytes_max: usize,
    grow: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<BytesMut, Problem> {
    let declared = request.headers().get(CONTENT_LENGTH);
    let declared = declared.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > bytes_max as u64) {
        return Err(too_large(bytes_max));
    }
    match tokio::time::timeout(BODY_WAIT, collect(payload, bytes_max, grow)).await {
        Ok(collected) => collected,
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            "The body did not arrive in time. Send the request again.",
        )),
    }
}

async fn collect(
    mut payload: Payload,
    bytes_max: usize,
    mut grow: impl FnMut(usize) -> Result<(), Problem>,
) -> Result<BytesMut, Problem> {
    let mut bytes = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|error| {
            Problem::new(Code::BadRequest, "The body broke off. Send the request again.")
                .cause(&error)
        })?;
        if bytes.len() + chunk.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        grow(bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// Refuses a body that is too large.
pub fn too_large(bytes_max: usize) -> Problem {
    let detail = format!("The body is larger than the {bytes_max} bytes that are accepted.");
    Problem::new(Code::PayloadTooLarge, detail)
}

/// Refuses what is not declared as JSON: a page of another site can send text/plain without asking.
pub fn refuse_other_types(request: &HttpRequest) -> Result<(), Problem> {
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    let declared = header(CONTENT_TYPE).unwrap_or_default();
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let is_json = essence.eq_ignore_ascii_case("application/json");
    let is_plain = header(CONTENT_ENCODING).is_none_or(|coding| coding.trim() == "identity");
    if is_json && is_plain {
        return Ok(());
    }
    Err(Problem::new(
        Code::UnsupportedMediaType,
        "Send JSON, uncompressed, with the header \"Content-Type: application/json\".",
    ))
}

/// Parses and checks a body.
///
/// Errors: 400 malformed, 422 with every faulty field.
pub fn parse<T: Body>(bytes: &[u8], settings: &Settings) -> Result<T, Problem> {
    match serde_json::from_slice::<T>(bytes) {
        Ok(mut body) => {
            body.complete(bytes, settings);
            match body.check(settings) {
                faults if faults.is_empty() => Ok(body),
                faults => Err(Problem::invalid(faults)),
            }
        }
        Err(error) if error.classify() == Category::Data => {
            Err(explain::<T>(bytes, settings, &error))
        }
        Err(error) => Err(malformed(&error)),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = if error.classify() == Category::Eof {
        "The body ends before the JSON does. Send it whole.".to_owned()
    } else {
        let (line, column) = (error.line(), error.column());
        format!("The body is no JSON: see line {line}, column {column}. {}", hint(error))
    };
    Problem::new(Code::MalformedJson, detail)
}

/// Repeats the parser's own words, without the place at their end.
fn hint(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let words = text.split(" at line ").next().unwrap_or_default();
    let mut letters = words.chars();
    match letters.next() {
        Some(first) => format!("{}{}.", first.to_uppercase(), letters.as_str()),
        None => String::new(),
    }
}

/// Finds every fault of a body that is JSON but not a `T`.
fn explain<T: Body>(bytes: &[u8], settings: &Settings, first: &serde_json::Error) -> Problem {
    let mut value: Value = match serde_json::from_slice(bytes) {
        Ok(value) => value,
        Err(error) => return malformed(&error),
    };
    let mut faults = Vec::new();
    if !value.is_object() {
        let detail = format!("must be an object, but is {}", describe(&value));
        return Problem::invalid(vec![InputFault::new("#", detail)]);
    }
    for pointer in T::REQUIRED {
        if value.pointer(pointer).is_none() && put(&mut value, pointer, T::placeholder(pointer)) {
            faults.push(InputFault::new(format!("#{pointer}"), "is missing"));
        }
    }
    while faults.len() < FAULTS_MAX {
        match serde_path_to_error::deserialize::<_, T>(&value) {
            Ok(mut body) => {
                body.complete(bytes, settings);
                let known = faults.len();
                for fault in body.check(settings) {
                    if !faults[..known].iter().any(|other| other.pointer == fault.pointer) {
                        faults.push(fault);
                    }
                }
                break;
            }
            Err(error) => match note::<T>(&mut value, error.path()) {
                Some(fault) => faults.push(fault),
                None => break,
            },
        }
    }
    if faults.is_empty() {
        // Only what loose JSON forgives gets here: the same member twice.
        faults.push(InputFault::new("#", hint(first)));
    }
    Problem::invalid(faults)
}

/// Names the fault at `path` and takes it out of `value`; `None` if there is nothing to take out.
fn note<T: Body>(value: &mut Value, path: &Path) -> Option<InputFault> {
    let keys: Vec<String> = path
        .iter()
        .filter_map(|segment| match segment {
            Segment::Map { key } => Some(key.clone()),
            Segment::Seq { index } => Some(index.to_string()),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect();
    let (last, parents) = keys.split_last()?;
    let parent = parents.iter().try_fold(&mut *value, |at, key| at.get_mut(key))?;
    let removed = parent.as_object_mut()?.remove(last)?;
    let pointer: String = keys.iter().map(|key| format!("/{}", escape(key))).collect();
    let shown: String = pointer.chars().take(120).collect();
    let detail = match T::expected(&pointer) {
        Some(expected) => format!("must be {expected}, but is {}", describe(&removed)),
        None => "is not known here; check its spelling or leave it out".to_owned(),
    };
    if T::REQUIRED.contains(&pointer.as_str()) {
        put(value, &pointer, T::placeholder(&pointer));
    }
    Some(InputFault::new(format!("#{shown}"), detail))
}

/// Escapes a member's name as RFC 6901 asks.
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// Puts a member in place; tells whether its parent was there.
fn put(value: &mut Value, pointer: &str, member: Value) -> bool {
    let Some((parent, key)) = pointer.rsplit_once('/') else {
        return false;
    };
    match value.pointer_mut(parent).and_then(Value::as_object_mut) {
        Some(object) => {
            object.insert(key.to_owned(), member);
            true
        }
        None => false,
    }
}

/// Says what a value is, to somebody who meant something else.
fn describe(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) if text.chars().count() > ECHO_CHARS_MAX => "a long text".to_owned(),
        Value::String(text) => format!("the text {}", Value::from(text.as_str())),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// The query parameters of a request; those that nobody asks for are ignored.
pub struct Params(Vec<(String, String)>);

impl Params {
    /// Reads them.
    pub fn of(request: &HttpRequest) -> Result<Self, Problem> {
        match Query::<Vec<(String, String)>>::from_query(request.query_string()) {
            Ok(pairs) => Ok(Self(pairs.into_inner())),
            Err(_) => {
                Err(Problem::new(Code::InvalidParameter, "The query after \"?\" can't be read."))
            }
        }
    }

    /// Gives the text of a parameter.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Gives a parameter as a number within `range`.
    pub fn number(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, Problem> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        match text.parse() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ => {
                let (min, max) = (range.start(), range.end());
                let detail = format!("\"{name}\" must be a whole number from {min} to {max}.");
                Err(Problem::new(Code::InvalidParameter, detail).param(name))
            }
        }
    }

    /// Tells whether a switch is on: `1` or `true`.
    pub fn switch(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("0" | "false") => Ok(false),
            Some("1" | "true") => Ok(true),
            Some(_) => {
                let detail = format!("\"{name}\" must be 1 or 0.");
                Err(Problem::new(Code::InvalidParameter, detail).param(name))
            }
        }
    }
}
