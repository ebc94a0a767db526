//! What `GET /history/{id}` says of a finished prompt. Pure: bytes in, an outcome out.
//!
//! History knows only `success` and `error`; whether an error was an interruption is told by the
//! last of its messages. Everything beside what is asked for is skipped unread: the record quotes
//! the workflow and, of a failed node, its inputs.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// A finished prompt.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    outputs: BTreeMap<String, Value>,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Debug, Deserialize)]
struct Status {
    status_str: String,
    #[serde(default)]
    messages: Vec<(String, Value)>,
}

/// A file that a node has saved, as `GET /view` wants it named.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Image {
    pub(super) filename: String,
    #[serde(default)]
    pub(super) subfolder: String,
    /// `output` or `temp`: another folder, so it must be passed on.
    #[serde(rename = "type", default = "kind_default")]
    pub(super) kind: String,
}

fn kind_default() -> String {
    "output".into()
}

/// What a node said when it failed; without its traceback and inputs, which hold the server's paths
/// and the user's words.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ExecutionError {
    pub(super) node_id: String,
    pub(super) node_type: String,
    pub(super) exception_type: String,
    pub(super) exception_message: String,
}

/// How a prompt ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It ran to its end; the files of the output node, in order.
    Done(Vec<Image>),
    /// A node failed.
    Failed(ExecutionError),
    /// Somebody stopped it.
    Interrupted,
    /// The server knows nothing of it, as after a restart.
    Lost,
}

impl Entry {
    /// Says how it ended, and what the output node has made.
    pub(super) fn outcome(self, output: &str) -> Outcome {
        let Some(status) = self.status.filter(|status| status.status_str != "success") else {
            let images = self.outputs.get(output).and_then(|made| made.get("images"));
            let images = images.and_then(|images| Vec::deserialize(images).ok());
            return Outcome::Done(images.unwrap_or_default());
        };
        match status.messages.into_iter().next_back() {
            Some((kind, _)) if kind == "execution_interrupted" => Outcome::Interrupted,
            Some((_, data)) => {
                Outcome::Failed(ExecutionError::deserialize(data).unwrap_or_default())
            }
            None => Outcome::Failed(ExecutionError::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn outcome(entry: Value) -> Outcome {
        serde_json::from_value::<Entry>(entry).unwrap().outcome("3")
    }

    #[test]
    fn only_the_output_nodes_files_are_the_frame_and_their_folder_is_kept() {
        let entry = json!({
            "prompt": [21, "id", {}, {}, ["3"]],
            "outputs": {
                "3": {"images": [{"filename": "a.png", "subfolder": "s", "type": "temp"}]},
                "7": {"images": [{"filename": "b.png", "subfolder": "", "type": "output"}]},
                "8": {"text": ["words"]},
            },
            "status": {"status_str": "success", "completed": true, "messages": []},
        });
        let [filename, subfolder, kind] = ["a.png", "s", "temp"].map(str::to_owned);
        assert_eq!(outcome(entry), Outcome::Done(vec![Image { filename, subfolder, kind }]));
        assert_eq!(outcome(json!({"outputs": {"3": {"text": []}}})), Outcome::Done(vec![]));
    }

    #[test]
    fn an_interruption_is_told_from_a_failure_by_the_last_message() {
        let ended = |kind: &str| {
            json!({"outputs": {}, "status": {"status_str": "error", "completed": false, "messages": [
                ["execution_start", {"timestamp": 1}],
                [kind, {"node_id": "2", "node_type": "SlowSteps", "timestamp": 2,
                        "exception_type": "RuntimeError", "exception_message": "at step 3\n"}],
            ]}})
        };
        assert_eq!(outcome(ended("execution_interrupted")), Outcome::Interrupted);
        let Outcome::Failed(error) = outcome(ended("execution_error")) else { panic!() };
        assert_eq!((&*error.node_type, &*error.exception_type), ("SlowSteps", "RuntimeError"));
        let bare = json!({"status": {"status_str": "error"}});
        assert_eq!(outcome(bare), Outcome::Failed(ExecutionError::default()));
    }
}
