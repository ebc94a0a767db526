//! A ComfyUI workflow as a template: which of its inputs are a job's to fill.
//!
//! Comes in: what ComfyUI's "Export (API)" writes, and what an operator says about it. Goes out: the
//! workflow of one frame, as `POST /prompt` takes it. Invariant: a `Template` that was parsed can be
//! filled. It is here, and not with the adapter, because what a workflow has slots for is what its model
//! can do, and every process has to know that. How its slots are found is in `draft`; whether a server
//! has the classes and models that it names is asked of the worker's catalog.

// How a template's slots are found.
mod draft;

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

use self::draft::Draft;

/// What a job can fill in; named as in its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// What to draw.
    Prompt,
    /// What to leave out.
    NegativePrompt,
    /// Where the noise starts.
    Seed,
    /// In pixels.
    Width,
    /// In pixels.
    Height,
    /// Sampling steps.
    Steps,
    /// The uploaded picture to start from, as `LoadImage` names it.
    Image,
    /// The uploaded mask, white where the picture is drawn anew.
    Mask,
    /// How much of the picture may change, 0 to 1; ComfyUI calls it `denoise`.
    Strength,
    /// Always 1: each frame is a prompt of its own, so that frame `i` is drawn from `seed + i`.
    BatchSize,
}

impl Slot {
    /// All slots.
    pub const ALL: [Self; 10] = [
        Self::Prompt,
        Self::NegativePrompt,
        Self::Seed,
        Self::Width,
        Self::Height,
        Self::Steps,
        Self::Image,
        Self::Mask,
        Self::Strength,
        Self::BatchSize,
    ];

    /// Gives the word used in placeholders and in the side table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::NegativePrompt => "negative_prompt",
            Self::Seed => "seed",
            Self::Width => "width",
            Self::Height => "height",
            Self::Steps => "steps",
            Self::Image => "image",
            Self::Mask => "mask",
            Self::Strength => "strength",
            Self::BatchSize => "batch_size",
        }
    }

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|slot| slot.as_str() == word)
    }

    /// Tells whether it is filled with a number.
    pub fn is_number(self) -> bool {
        !matches!(self, Self::Prompt | Self::NegativePrompt | Self::Image | Self::Mask)
    }

    fn placeholder(self) -> String {
        format!("{OPEN}{}{CLOSE}", self.as_str())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Around a slot's name in a value.
const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// What an operator says beside the workflow.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    /// Slot name to input: `"3.steps"`; several inputs with commas between.
    pub slots: BTreeMap<String, String>,
    /// Node whose picture is the frame; needed where more than one node saves.
    pub output: Option<String>,
}

/// An input that a slot fills.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Id of the node.
    pub node: String,
    /// Name of its input.
    pub input: String,
    /// Nobody declared it: it is the only one that can be meant.
    pub guessed: bool,
}

/// Why a workflow is no template.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// Not an object of nodes.
    #[error("read the workflow as a JSON object of nodes")]
    Json(#[source] serde_json::Error),
    /// It was saved, not exported.
    #[error(
        "use the workflow: it is in the editor's own format; in ComfyUI, export it with \
         Workflow > Export (API)"
    )]
    EditorFormat,
    /// Everything that does not fit, each with its node.
    #[error("use the workflow: {}", .0.join("; "))]
    Unfit(Vec<String>),
}

/// A workflow that can be filled.
#[derive(Debug, Clone)]
pub struct Template {
    /// Every slot's place holds its placeholder, whichever way it was found.
    nodes: Map<String, Value>,
    slots: BTreeMap<Slot, Vec<Place>>,
    output: String,
}

impl Template {
    /// Reads a workflow and finds its slots. Asks no server.
    pub fn parse(text: &str, marks: &Marks) -> Result<Self, TemplateError> {
        let nodes: Map<String, Value> = serde_json::from_str(text).map_err(TemplateError::Json)?;
        if nodes.get("nodes").is_some_and(Value::is_array) {
            return Err(TemplateError::EditorFormat);
        }
        Draft::new(nodes).template(marks).map_err(TemplateError::Unfit)
    }

    /// Gives the inputs that a slot fills; empty where it has none.
    pub fn places(&self, slot: Slot) -> &[Place] {
        self.slots.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Tells whether a job can say this.
    pub fn has(&self, slot: Slot) -> bool {
        self.slots.contains_key(&slot)
    }

    /// Gives the id of the node whose picture is the frame.
    pub fn output(&self) -> &str {
        &self.output
    }

    /// Gives the number of nodes.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// Names a node as an operator finds it: by id, class and title.
    pub fn describe(&self, node: &str) -> String {
        describe(&self.nodes, node)
    }

    /// Gives the nodes by id; every place of a slot holds its placeholder.
    pub fn nodes(&self) -> &Map<String, Value> {
        &self.nodes
    }

    /// Gives the workflow of one frame.
    ///
    /// `id` becomes part of the saved file's name, so that no file is shared with, or replaced by,
    /// another job that is cached alike. A slot without a value stays empty.
    pub fn fill(&self, values: &BTreeMap<Slot, Value>, id: &str) -> Value {
        let mut nodes = self.nodes.clone();
        for node in nodes.values_mut() {
            expand(&mut node["inputs"], values);
        }
        if let Some(Value::String(prefix)) =
            nodes[&self.output]["inputs"].get_mut("filename_prefix")
        {
            prefix.push('-');
            prefix.push_str(id);
        }
        Value::Object(nodes)
    }
}

/// Names a node by id, class and title.
fn describe(nodes: &Map<String, Value>, id: &str) -> String {
    let node = nodes.get(id).unwrap_or(&Value::Null);
    let title = node.pointer("/_meta/title").and_then(Value::as_str);
    match (node["class_type"].as_str(), title) {
        (Some(class), Some(title)) => format!("node {id} ({class} {title:?})"),
        (Some(class), None) => format!("node {id} ({class})"),
        (None, _) => format!("node {id}"),
    }
}

/// Reads a link, `["4", 0]`: the node and which of its outputs.
pub fn link(value: &Value) -> Option<(&str, u64)> {
    match value.as_array()?.as_slice() {
        [Value::String(node), output] => Some((node, output.as_u64()?)),
        _ => None,
    }
}

/// Lists the words between `{{` and `}}` in a value and in what it holds.
pub fn words(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => {
            let after = text.split(OPEN).skip(1);
            after.filter_map(|rest| Some(rest.split_once(CLOSE)?.0.trim())).collect()
        }
        Value::Array(items) => items.iter().flat_map(words).collect(),
        Value::Object(fields) => fields.values().flat_map(words).collect(),
        _ => Vec::new(),
    }
}

/// Replaces placeholders; what is put in is not looked at again, so a user's `{{seed}}` stays text.
fn expand(value: &mut Value, values: &BTreeMap<Slot, Value>) {
    match value {
        Value::String(text) if text.contains(OPEN) => *value = expanded(text, values),
        Value::Array(items) => items.iter_mut().for_each(|item| expand(item, values)),
        Value::Object(fields) => fields.values_mut().for_each(|field| expand(field, values)),
        _ => {}
    }
}

fn expanded(text: &str, values: &BTreeMap<Slot, Value>) -> Value {
    let value =
        |word: &str| Some(values.get(&Slot::from_word(word.trim())?).unwrap_or(&Value::Null));
    // The whole value keeps its type: a seed is a number.
    let whole = text.strip_prefix(OPEN).and_then(|rest| rest.strip_suffix(CLOSE));
    if let Some(value) = whole.and_then(value) {
        return value.clone();
    }
    let (mut filled, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once(OPEN) {
        let (word, after) = after.split_once(CLOSE).unwrap_or((after, ""));
        filled.push_str(before);
        match value(word) {
            Some(Value::String(text)) => filled.push_str(text),
            Some(Value::Null) | None => {}
            Some(number) => filled.push_str(&number.to_string()),
        }
        rest = after;
    }
    filled.push_str(rest);
    filled.into()
}

#[cfg(test)]
mod tests;
