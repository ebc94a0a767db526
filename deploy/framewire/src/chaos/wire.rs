//! Redis' protocol, as much of it as a witness needs (RESP2).
//!
//! The verdict must not rest on the code that is on trial, so the witness and the saboteur do not
//! speak through `shared::store`: they read what an operator with `redis-cli` would read, over a
//! connection of their own that no proxy touches. Blocking, for threads of their own: what they see
//! should not wait for this process's other work.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Nothing,
    Number(i64),
    Text(String),
    List(Vec<Answer>),
}

impl Answer {
    /// Gives the text; empty for anything else.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// Gives the number, also of a text of digits; 0 for anything else.
    pub(super) fn number(&self) -> i64 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(0),
            _ => 0,
        }
    }

    /// Gives the members of a list; none of anything else.
    pub(super) fn list(&self) -> &[Self] {
        match self {
            Self::List(list) => list,
            _ => &[],
        }
    }
}

/// A connection that is made when it is needed.
#[derive(Debug)]
pub(super) struct Wire {
    socket: PathBuf,
    patience: Duration,
    stream: Option<BufReader<UnixStream>>,
}

impl Wire {
    /// Makes one to a socket; each answer may take this long.
    pub(super) fn new(socket: &Path, patience: Duration) -> Self {
        Self { socket: socket.to_owned(), patience, stream: None }
    }

    /// Sends a command and reads its answer; after an error the next call connects anew.
    pub(super) fn call(&mut self, words: &[&str]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = UnixStream::connect(&self.socket)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(&request(words))?;
        let answer = read(&mut stream)?;
        self.stream = Some(stream);
        answer
    }

    /// Runs a script that names no keys.
    pub(super) fn eval(&mut self, script: &str, arguments: &[&str]) -> io::Result<Answer> {
        let mut words = vec!["EVAL", script, "0"];
        words.extend(arguments);
        self.call(&words)
    }
}

/// Bytes of a conversation as they come, given out as whole requests or answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Whole(Vec<u8>);

impl Whole {
    /// Takes what was read; gives what is whole by now.
    pub(super) fn take(&mut self, read: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(read);
        let (mut whole, mut done) = (Vec::new(), 0);
        while let Some(size) = size_of(&self.0[done..]) {
            whole.push(self.0[done..done + size].to_vec());
            done += size;
        }
        self.0.drain(..done);
        whole
    }
}

/// Measures the first whole request or answer in these bytes.
fn size_of(bytes: &[u8]) -> Option<usize> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")? + 2;
    let count = || -> Option<i64> { std::str::from_utf8(&bytes[1..end - 2]).ok()?.parse().ok() };
    match bytes[0] {
        b'$' => {
            let size = usize::try_from(count()?).map_or(end, |size| end + size + 2);
            (bytes.len() >= size).then_some(size)
        }
        b'*' | b'>' => {
            let mut size = end;
            for _ in 0..count()? {
                size += size_of(&bytes[size..])?;
            }
            Some(size)
        }
        _ => Some(end),
    }
}

/// Writes a request.
pub(super) fn request(words: &[&str]) -> Vec<u8> {
    let mut request = format!("*{}\r\n", words.len());
    for word in words {
        request.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    request.into_bytes()
}

/// Reads a whole request; nothing of one whose words are not text.
pub(super) fn words(request: &[u8]) -> Option<Vec<&str>> {
    let mut rest = std::str::from_utf8(request).ok()?.strip_prefix('*')?;
    let mut words = Vec::new();
    rest = rest.split_once("\r\n")?.1;
    while let Some((size, more)) = rest.strip_prefix('$').and_then(|it| it.split_once("\r\n")) {
        let size: usize = size.parse().ok()?;
        words.push(more.get(..size)?);
        rest = more.get(size + 2..)?;
    }
    Some(words)
}

/// Reads one answer: the outer error is the connection's, the inner one is Redis' own.
fn read(stream: &mut BufReader<UnixStream>) -> io::Result<io::Result<Answer>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end();
    let (kind, rest) = line.split_at(line.len().min(1));
    let size = || rest.parse::<i64>().map_err(io::Error::other);
    Ok(Ok(match kind {
        "+" => Answer::Text(rest.to_owned()),
        "-" => return Ok(Err(io::Error::other(rest.to_owned()))),
        ":" => Answer::Number(size()?),
        "$" | "*" if size()? < 0 => Answer::Nothing,
        "$" => {
            let mut bytes = vec![0; size()? as usize + 2];
            stream.read_exact(&mut bytes)?;
            bytes.truncate(bytes.len() - 2);
            Answer::Text(String::from_utf8_lossy(&bytes).into_owned())
        }
        "*" => {
            let mut list = Vec::new();
            for _ in 0..size()? {
                list.push(read(stream)?.unwrap_or(Answer::Nothing));
            }
            Answer::List(list)
        }
        _ => return Err(io::Error::other(format!("{line:?} is no answer"))),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_in_pieces_is_given_out_whole() {
        let (mut whole, bytes) = (Whole::default(), request(&["EVALSHA", "ab", "a\r\nb", ""]));
        for byte in &bytes[..bytes.len() - 1] {
            assert!(whole.take(&[*byte]).is_empty());
        }
        let given = whole.take(b"\n*1\r\n");
        assert_eq!(given, [bytes]);
        assert_eq!(words(&given[0]).unwrap(), ["EVALSHA", "ab", "a\r\nb", ""]);
    }
}
