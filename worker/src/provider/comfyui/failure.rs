//! What a server's answers mean, for the user who waits and for the operator who repairs. Pure.
//!
//! `message` names no host, node or model: those are the operator's. `detail` is the server's own
//! text, cut and without what would steer a terminal, but never a traceback or a node's inputs. The
//! order of looking is: what the body says, then the HTTP status.

use std::time::Duration;

use framewire_shared::domain::failure::{MESSAGE_CHARS_MAX, Resend};
use framewire_shared::domain::{ErrorCode, Failure, Origin};
use serde_json::Value;

use super::history::ExecutionError;

/// The server could not be spoken to.
pub(super) fn unreached(error: reqwest::Error) -> Failure {
    let is_slow = error.is_timeout() && !error.is_connect();
    // The URL names the host; the causes say what happened to the connection.
    let detail = chain(&error.without_url());
    if is_slow {
        let failure = Failure::new(ErrorCode::Timeout, "the image server did not answer in time");
        // Every request of ours may be repeated: prompts are looked up by their id first.
        failure.resend(Resend::Freely).detail(detail)
    } else {
        Failure::new(ErrorCode::Temporary, "the image server can't be reached").detail(detail)
    }
}

/// The server has not answered for longer than it may.
pub(super) fn stalled(silence: Duration, last: &Failure) -> Failure {
    let silence_ms = silence.as_millis();
    Failure::new(ErrorCode::Temporary, "the image server stopped answering")
        .detail(format!("nothing for {silence_ms} ms: {}", last.detail))
}

/// The server answered, but not what its route promises.
pub(super) fn unreadable(error: &serde_json::Error, body: &[u8]) -> Failure {
    let detail = format!("{error}; it began: {}", text(body));
    Failure::new(ErrorCode::Unknown, "the image server sent something unreadable").detail(detail)
}

/// An answer was larger than it may be.
pub(super) fn flooded(bytes_max: usize) -> Failure {
    Failure::new(ErrorCode::Unknown, "the image server sent too much")
        .detail(format!("more than {bytes_max} bytes"))
}

/// The prompt ended without a picture.
pub(super) fn no_picture(detail: impl Into<String>) -> Failure {
    Failure::new(ErrorCode::Unknown, "the image server sent no picture").detail(detail)
}

/// A saved picture could not be fetched; one that is gone can be drawn again.
pub(super) fn gone(failure: Failure) -> Failure {
    if failure.origin.status != Some(404) {
        return failure;
    }
    Failure::new(ErrorCode::Temporary, "the image server lost the picture")
        .detail(failure.detail)
        .from_provider(failure.origin)
}

/// The server forgot the prompt; nothing of it will come.
pub(super) fn lost() -> Failure {
    Failure::new(ErrorCode::Temporary, "the image server lost the request").detail(
        "the prompt is neither in its queue nor in its history: it was restarted or cleared",
    )
}

/// Somebody else stopped the prompt.
pub(super) fn interrupted() -> Failure {
    Failure::new(ErrorCode::Temporary, "the image server was told to stop")
        .detail("the prompt was interrupted, and not by us")
}

/// The server answered with an error status.
pub(super) fn refused(status: u16, body: &[u8], retry_after: Option<Duration>) -> Failure {
    let (code, words) = match serde_json::from_slice(body) {
        Ok(json) => refusal(&json),
        Err(_) => (None, text(body)),
    };
    let failure = match status {
        401 | 403 | 407 => {
            Failure::new(ErrorCode::AuthError, "the image server refuses our credentials")
        }
        402 => Failure::new(ErrorCode::RateLimit, "the image server asks for payment")
            .resend(Resend::Never),
        408 | 504 | 522 | 524 => {
            Failure::new(ErrorCode::Timeout, "the image server did not answer in time")
        }
        409 | 425 | 500.. => Failure::new(ErrorCode::Temporary, "the image server is in trouble"),
        413 => Failure::new(ErrorCode::Permanent, "the request is too large for the image server"),
        429 => Failure::new(ErrorCode::RateLimit, "the image server asks us to slow down"),
        400..=499 => {
            Failure::new(ErrorCode::Permanent, "the image server does not accept this request")
        }
        _ => Failure::new(ErrorCode::Unknown, "the image server answered something unexpected"),
    };
    let failure = failure.detail(format!("HTTP {status}: {words}")).from_provider(Origin {
        status: Some(status),
        code,
        request_id: None,
    });
    Failure { retry_after, ..failure }
}

/// The server took the prompt without the branch that makes the frame.
pub(super) fn left_out(node_errors: &Value) -> Failure {
    let (code, words) = nodes(node_errors);
    Failure::new(ErrorCode::Permanent, "the image server does not accept this request")
        .detail(format!("the output was left out: {words}"))
        .from_provider(Origin { status: Some(200), code, request_id: None })
}

/// Tells whether a server's `node_errors` take the output node away.
pub(super) fn leaves_out(node_errors: &Value, output: &str) -> bool {
    let nodes = node_errors.as_object();
    nodes.into_iter().flatten().any(|(id, node)| {
        let dependent = node["dependent_outputs"].as_array();
        id == output || dependent.is_some_and(|outputs| outputs.iter().any(|id| id == output))
    })
}

/// Reads the body of a refused prompt: `error` names the whole, `node_errors` the causes.
fn refusal(json: &Value) -> (Option<String>, String) {
    let (code, words) = nodes(&json["node_errors"]);
    if !words.is_empty() {
        return (code, words);
    }
    let error = &json["error"];
    let part = |name: &str| error[name].as_str().filter(|part| !part.is_empty());
    let words: Vec<&str> =
        [part("message"), part("details"), error.as_str()].into_iter().flatten().collect();
    (part("type").map(str::to_owned), plain(&words.join(": ")))
}

/// Gives the first cause's type and all causes in words; `node_errors` may also be `[]`.
fn nodes(node_errors: &Value) -> (Option<String>, String) {
    let mut code = None;
    let mut words = Vec::new();
    for (id, node) in node_errors.as_object().into_iter().flatten() {
        for error in node["errors"].as_array().into_iter().flatten() {
            let part = |name: &str| error[name].as_str().unwrap_or_default();
            code = code.or_else(|| error["type"].as_str().map(str::to_owned));
            let class = node["class_type"].as_str().unwrap_or("?");
            words.push(format!("node {id} ({class}): {}: {}", part("message"), part("details")));
        }
    }
    (code, plain(&words.join("; ")))
}

/// A node failed while it ran.
///
/// Memory may be free the next time, so the first attempt that ran out of it is repeated; whatever
/// else a node says is as likely the workflow's fault as the moment's, and is repeated once.
pub(super) fn execution(error: &ExecutionError, id: &str, attempt: u32) -> Failure {
    let ExecutionError { node_id, node_type, exception_type, exception_message } = error;
    let failure = if is_out_of_memory(error) {
        let code = if attempt <= 1 { ErrorCode::Temporary } else { ErrorCode::Permanent };
        Failure::new(code, "the image server ran out of memory for a picture of this kind")
    } else if says(error, &["unauthorized", "please login", "please log in"]) {
        Failure::new(ErrorCode::AuthError, "the image server is not signed in to a service it uses")
    } else if says(error, &["payment required", "insufficient credits"]) {
        Failure::new(ErrorCode::RateLimit, "a service that the image server uses asks for payment")
            .resend(Resend::Never)
    } else if is_workflows_fault(exception_type) {
        Failure::new(ErrorCode::Permanent, "the image server can't make this picture")
    } else {
        Failure::new(ErrorCode::Unknown, "the image server failed while drawing")
    };
    let words = plain(exception_message);
    let code = (!exception_type.is_empty()).then(|| exception_type.clone());
    failure
        .detail(format!("node {node_id} ({node_type}): {exception_type}: {words}"))
        .from_provider(Origin { status: None, code, request_id: Some(id.to_owned()) })
}

/// Tells whether a node failed for want of memory: CUDA's, Apple's or the machine's.
pub(super) fn is_out_of_memory(error: &ExecutionError) -> bool {
    error.exception_type.ends_with("OutOfMemoryError")
        || error.exception_type == "MemoryError"
        || says(error, &["out of memory", "can't allocate memory", "allocation on device"])
}

/// Exceptions that the same workflow with the same files gives again.
fn is_workflows_fault(exception_type: &str) -> bool {
    let last = exception_type.rsplit('.').next().unwrap_or_default();
    matches!(
        last,
        "ValueError" | "FileNotFoundError" | "SafetensorError" | "UnidentifiedImageError"
    )
}

fn says(error: &ExecutionError, words: &[&str]) -> bool {
    let said = error.exception_message.to_lowercase();
    words.iter().any(|word| said.contains(word))
}

/// Gives an error and its causes in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn text(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(4 * MESSAGE_CHARS_MAX)];
    plain(&String::from_utf8_lossy(head))
}

/// Gives text in one line, without what would steer a terminal.
fn plain(text: &str) -> String {
    let printable = text.replace(|c: char| c.is_control(), " ");
    let words: Vec<&str> = printable.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use framewire_shared::domain::failure::FailureKind;
    use serde_json::json;

    fn refused_with(status: u16, body: &Value) -> Failure {
        refused(status, body.to_string().as_bytes(), None)
    }

    #[test]
    fn a_refused_prompt_tells_the_operator_the_node_and_the_user_nothing_of_it() {
        let body = json!({
            "error": {"type": "prompt_outputs_failed_validation", "details": "", "extra_info": {},
                      "message": "Prompt outputs failed validation"},
            "node_errors": {"1": {"errors": [{
                "type": "value_not_in_list", "message": "Value not in list",
                "details": "ckpt_name: 'nope.safetensors' not in []",
                "extra_info": {"received_value": "nope.safetensors"}}],
                "dependent_outputs": ["4"], "class_type": "CheckpointLoaderSimple"}},
        });
        let failure = refused_with(400, &body);
        assert_eq!((failure.code, failure.kind), (ErrorCode::Permanent, FailureKind::Client));
        assert_eq!(
            failure.detail,
            "HTTP 400: node 1 (CheckpointLoaderSimple): Value not in list: \
             ckpt_name: 'nope.safetensors' not in []"
        );
        assert_eq!(failure.origin.code.as_deref(), Some("value_not_in_list"));
        assert!(!failure.message.contains("nope"));
    }

    #[test]
    fn a_refusal_without_node_errors_is_told_by_its_error_whatever_its_shape() {
        for nodes in [json!({}), json!([]), Value::Null] {
            let body = json!({"error": {"type": "invalid_prompt", "details": "Node ID '#2'",
                "message": "Cannot execute because node X does not exist."}, "node_errors": nodes});
            let failure = refused_with(400, &body);
            let words = "HTTP 400: Cannot execute because node X does not exist.: Node ID '#2'";
            assert_eq!(failure.detail, words);
            assert_eq!(failure.origin.code.as_deref(), Some("invalid_prompt"));
        }
    }

    #[test]
    fn the_status_decides_where_the_body_says_nothing() {
        use ErrorCode::*;
        let expected = [
            (302, Unknown),
            (400, Permanent),
            (401, AuthError),
            (403, AuthError),
            (404, Permanent),
            (402, RateLimit),
            (408, Timeout),
            (413, Permanent),
            (425, Temporary),
            (429, RateLimit),
            (500, Temporary),
            (502, Temporary),
            (504, Timeout),
        ];
        let wait = Some(Duration::from_secs(7));
        for (status, code) in expected {
            let failure = refused(status, b"<html>\n\x1b[31m<h1>oh</h1>", wait);
            assert_eq!(failure.code, code, "{status}");
            assert_eq!(failure.detail, format!("HTTP {status}: <html> [31m<h1>oh</h1>"));
            assert_eq!(failure.retry_after, wait);
        }
    }

    fn said(exception_type: &str, message: &str, attempt: u32) -> Failure {
        let error = ExecutionError {
            node_id: "2".into(),
            node_type: "KSampler".into(),
            exception_type: exception_type.into(),
            exception_message: message.into(),
        };
        execution(&error, "id", attempt)
    }

    #[test]
    fn memory_that_ran_out_may_be_there_the_next_time_but_not_for_ever() {
        let dialects = [
            ("torch.OutOfMemoryError", "Allocation on device 0"),
            ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2 GiB"),
            ("RuntimeError", "MPS backend out of memory"),
            ("RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried"),
        ];
        for (kind, message) in dialects {
            assert_eq!(said(kind, message, 1).code, ErrorCode::Temporary, "{kind}");
            assert_eq!(said(kind, message, 2).code, ErrorCode::Permanent, "{kind}");
        }
    }

    #[test]
    fn a_nodes_exception_is_classified_by_what_it_would_do_again() {
        let failure = said("RuntimeError", "asked to fail\n", 1);
        assert_eq!((failure.code, failure.resend), (ErrorCode::Unknown, Resend::Once));
        assert_eq!(failure.detail, "node 2 (KSampler): RuntimeError: asked to fail");
        assert_eq!(failure.origin.request_id.as_deref(), Some("id"));
        assert_eq!(said("PIL.UnidentifiedImageError", "", 1).code, ErrorCode::Permanent);
        assert_eq!(
            said("Exception", "Unauthorized: Please login first", 1).code,
            ErrorCode::AuthError
        );
        assert_eq!(said("Exception", "Payment Required", 1).resend, Resend::Never);
    }

    #[test]
    fn only_a_branch_that_makes_the_frame_is_missed() {
        let errors =
            json!({"5": {"errors": [], "dependent_outputs": ["4"], "class_type": "EmptyImage"}});
        assert!(leaves_out(&errors, "4") && leaves_out(&errors, "5"));
        assert!(!leaves_out(&errors, "3") && !leaves_out(&json!([]), "3"));
    }
}
