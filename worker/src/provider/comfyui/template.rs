//! A workflow as a template: which of its inputs are a job's to fill.
//!
//! Comes in: what ComfyUI's "Export (API)" writes, and what an operator says about it. Goes out: the
//! workflow of one frame, as `POST /prompt` takes it. Slots are found in this order: a placeholder
//! in a value (`"{{prompt}}"`, which can be typed into a text box of the editor), a side table
//! (`steps = "3.steps"`), and, for a slot that nobody declared, the one input of the workflow that
//! can be meant, by the names that ComfyUI itself gives. Two that could be meant are never chosen
//! between: the operator is asked.
//! Invariant: a `Template` that was parsed can be filled; everything wrong with it is told at once,
//! each by its node. Whether a server has the classes and models it names is asked of the catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value};

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
        let mut draft = Draft { nodes, faults: Vec::new(), guessed: BTreeSet::new() };
        draft.check_nodes();
        if !draft.faults.is_empty() {
            // Without nodes that hold together, what follows would only repeat it.
            return Err(TemplateError::Unfit(draft.faults));
        }
        draft.mark(&marks.slots);
        let slots = draft.find();
        let output = draft.output(marks.output.as_deref());
        match output {
            Some(output) if draft.faults.is_empty() => {
                Ok(Self { nodes: draft.nodes, slots, output })
            }
            _ => Err(TemplateError::Unfit(draft.faults)),
        }
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

    pub(super) fn nodes(&self) -> &Map<String, Value> {
        &self.nodes
    }

    /// Gives the workflow of one frame.
    ///
    /// `id` becomes part of the saved file's name, so that no file is shared with, or replaced by,
    /// another job that is cached alike. A slot without a value stays empty.
    pub(super) fn fill(&self, values: &BTreeMap<Slot, Value>, id: &str) -> Value {
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

/// A template while its slots are looked for.
struct Draft {
    nodes: Map<String, Value>,
    faults: Vec<String>,
    guessed: BTreeSet<(String, String)>,
}

/// A node and one of its inputs.
type Input = (String, String);

impl Draft {
    /// Checks that every node is one, and that every link leads to one.
    fn check_nodes(&mut self) {
        let mut faults = Vec::new();
        for (id, node) in &self.nodes {
            let mut fault = |words: String| faults.push(format!("{}: {words}", self.name(id)));
            if !node.get("class_type").is_some_and(Value::is_string) {
                fault("has no class_type".into());
            }
            let Some(inputs) = node.get("inputs").and_then(Value::as_object) else {
                fault("has no object of inputs".into());
                continue;
            };
            for (input, value) in inputs {
                match link(value) {
                    Some((source, _)) if !self.nodes.contains_key(source) => {
                        fault(format!(
                            "its input {input} is linked to node {source}, which is missing"
                        ));
                    }
                    _ => {}
                }
            }
        }
        if self.nodes.is_empty() {
            faults.push("it has no nodes".into());
        }
        self.faults.extend(faults);
    }

    /// Writes a placeholder into every input that the side table names.
    fn mark(&mut self, marks: &BTreeMap<String, String>) {
        for (word, inputs) in marks {
            let Some(slot) = Slot::from_word(word) else {
                self.faults.push(format!("slots.{word}: {}", no_slot(word)));
                continue;
            };
            for place in inputs.split(',').map(str::trim) {
                let (node, input) = place.split_once('.').unwrap_or((place, ""));
                let input = input.strip_prefix("inputs.").unwrap_or(input);
                match self.nodes.get_mut(node).map(|node| &mut node["inputs"][input]) {
                    Some(value) if value.is_string() || value.is_number() => {
                        *value = slot.placeholder().into();
                    }
                    Some(Value::Array(_)) => self.faults.push(format!(
                        "slots.{slot}: input {input} of {} is linked to another node",
                        self.name(node)
                    )),
                    Some(_) => self.faults.push(format!(
                        "slots.{slot}: {} has no input {input:?} with a value",
                        self.name(node)
                    )),
                    None => self.faults.push(format!(
                        "slots.{slot}: there is no node {node:?}; write it like \"3.{slot}\""
                    )),
                }
            }
        }
    }

    /// Finds all slots: those with a placeholder, then those that can only be one input.
    fn find(&mut self) -> BTreeMap<Slot, Vec<Place>> {
        let declared = self.scan();
        let mut candidates = BTreeMap::new();
        let wanted = Slot::ALL.into_iter().filter(|slot| !declared.contains_key(slot));
        for slot in
            wanted.filter(|slot| *slot != Slot::Strength || declared.contains_key(&Slot::Image))
        {
            let found = self.candidates(slot);
            if let [(node, input)] = &found[..] {
                self.nodes[node]["inputs"][input] = slot.placeholder().into();
                self.guessed.insert((node.clone(), input.clone()));
            } else {
                candidates.insert(slot, found);
            }
        }
        let slots = self.scan();
        self.require(&slots, &candidates);
        self.check_batch();
        self.check_mask(&slots);
        slots
    }

    /// Lists the placeholders of all inputs; an unknown one is a fault (once: the first scan names
    /// it and takes it out).
    fn scan(&mut self) -> BTreeMap<Slot, Vec<Place>> {
        let mut slots: BTreeMap<Slot, Vec<Place>> = BTreeMap::new();
        let mut faults = Vec::new();
        for (id, node) in &self.nodes {
            for (input, value) in node["inputs"].as_object().into_iter().flatten() {
                for word in words(value) {
                    let Some(slot) = Slot::from_word(word) else {
                        let fault = format!("{}: input {input}: {}", self.name(id), no_slot(word));
                        faults.push(fault);
                        continue;
                    };
                    let guessed = self.guessed.contains(&(id.clone(), input.clone()));
                    let place = Place { node: id.clone(), input: input.clone(), guessed };
                    let places = slots.entry(slot).or_default();
                    if !places.contains(&place) {
                        places.push(place);
                    }
                }
            }
        }
        faults.retain(|fault| !self.faults.contains(fault));
        self.faults.extend(faults);
        slots
    }

    /// Lists the inputs that can be meant by a slot, by the names that ComfyUI's own nodes use.
    fn candidates(&self, slot: Slot) -> Vec<Input> {
        match slot {
            Slot::Prompt => self.prompts("positive"),
            Slot::NegativePrompt => self.prompts("negative"),
            Slot::Seed => self.named(&["seed", "noise_seed"], Value::is_number),
            Slot::Width => self.named(&["width"], Value::is_number),
            Slot::Height => self.named(&["height"], Value::is_number),
            Slot::Steps => self.named(&["steps"], Value::is_number),
            Slot::Strength => self.named(&["denoise"], Value::is_number),
            Slot::BatchSize => self.named(&["batch_size"], Value::is_number),
            // A workflow may load pictures that are its own.
            Slot::Image | Slot::Mask => Vec::new(),
        }
    }

    fn named(&self, names: &[&str], fits: fn(&Value) -> bool) -> Vec<Input> {
        let all = self.inputs();
        let named = all.filter(|(_, input, value)| names.contains(input) && fits(value));
        named.map(|(node, input, _)| (node.to_owned(), input.to_owned())).collect()
    }

    /// Lists the texts that inputs of this name lead to; of a workflow without such inputs, all.
    fn prompts(&self, name: &str) -> Vec<Input> {
        let texts: BTreeSet<Input> = self
            .named(&["text"], |text| words(text).is_empty() && text.is_string())
            .into_iter()
            .collect();
        let named = self.inputs().filter(|(_, input, _)| *input == name);
        let led: Vec<&str> = named.filter_map(|(_, _, value)| Some(link(value)?.0)).collect();
        let is_negative = name == "negative";
        if led.is_empty() && !is_negative {
            return texts.into_iter().collect();
        }
        texts.into_iter().filter(|(node, _)| led.contains(&node.as_str())).collect()
    }

    fn inputs(&self) -> impl Iterator<Item = (&str, &str, &Value)> {
        self.nodes.iter().flat_map(|(id, node)| {
            let inputs = node["inputs"].as_object().into_iter().flatten();
            inputs.map(move |(input, value)| (id.as_str(), input.as_str(), value))
        })
    }

    /// Without a prompt and a seed every job would be the same picture, and without a size it would
    /// not be the picture that was asked for.
    fn require(
        &mut self,
        slots: &BTreeMap<Slot, Vec<Place>>,
        candidates: &BTreeMap<Slot, Vec<Input>>,
    ) {
        let mut needed = vec![Slot::Prompt, Slot::Seed];
        if !slots.contains_key(&Slot::Image) {
            needed.extend([Slot::Width, Slot::Height]);
        }
        if slots.contains_key(&Slot::Mask) && !slots.contains_key(&Slot::Image) {
            needed.push(Slot::Image);
        }
        for slot in needed.into_iter().filter(|slot| !slots.contains_key(slot)) {
            let found = candidates.get(&slot).map_or(&[][..], Vec::as_slice);
            let which: Vec<String> = found
                .iter()
                .map(|(node, input)| format!("input {input} of {}", self.name(node)))
                .collect();
            self.faults.push(if which.is_empty() {
                format!(
                    "it has no slot for {slot}: write {} as the value of an input, or name one in slots",
                    slot.placeholder()
                )
            } else {
                format!("{slot} could be {}: say which in slots", which.join(" or "))
            });
        }
    }

    fn check_batch(&mut self) {
        let many = |value: &Value| value.as_f64().is_some_and(|size| size > 1.0);
        for (node, input) in self.named(&["batch_size"], many) {
            let fault = format!(
                "{}: its {input} is fixed above 1; make it 1, each frame is a prompt of its own",
                self.name(&node)
            );
            self.faults.push(fault);
        }
    }

    /// A mask that is read from a channel it does not have masks nothing, and no server says so.
    fn check_mask(&mut self, slots: &BTreeMap<Slot, Vec<Place>>) {
        for place in slots.get(&Slot::Mask).into_iter().flatten() {
            if self.nodes[&place.node]["inputs"].get("channel").and_then(Value::as_str)
                == Some("alpha")
            {
                let fault = format!(
                    "{}: the mask is white and black without alpha; make its channel red",
                    self.name(&place.node)
                );
                self.faults.push(fault);
            }
        }
    }

    /// Chooses the node whose picture is the frame.
    fn output(&mut self, marked: Option<&str>) -> Option<String> {
        if let Some(id) = marked
            && !self.nodes.contains_key(id)
        {
            self.faults.push(format!("output: there is no node {id:?}"));
            return None;
        }
        let of_class = |class: &str| -> Vec<&String> {
            let nodes = self.nodes.iter();
            nodes.filter(|(_, node)| node["class_type"] == class).map(|(id, _)| id).collect()
        };
        let mut found = marked.map(str::to_owned).as_slice().to_vec();
        for class in ["SaveImage", "PreviewImage", "SaveImageWebsocket"] {
            if found.is_empty() {
                found = of_class(class).into_iter().cloned().collect();
            }
        }
        let fault = match &found[..] {
            [id] if self.nodes[id]["class_type"] == "SaveImageWebsocket" => format!(
                "{}: its picture can't be fetched again after a lost connection; use SaveImage",
                self.name(id)
            ),
            [id] => return Some(id.clone()),
            [] => "it has no SaveImage node; if another one saves, name it as output".into(),
            many => {
                let names: Vec<String> = many.iter().map(|id| self.name(id)).collect();
                format!("{} save pictures: say which is the frame with output", names.join(" and "))
            }
        };
        self.faults.push(fault);
        None
    }

    fn name(&self, id: &str) -> String {
        describe(&self.nodes, id)
    }
}

fn no_slot(word: &str) -> String {
    let known: Vec<&str> = Slot::ALL.into_iter().map(Slot::as_str).collect();
    format!("{word:?} is no slot; there are {}", known.join(", "))
}

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
pub(super) fn link(value: &Value) -> Option<(&str, u64)> {
    match value.as_array()?.as_slice() {
        [Value::String(node), output] => Some((node, output.as_u64()?)),
        _ => None,
    }
}

/// Lists the words between `{{` and `}}` in a value and in what it holds.
pub(super) fn words(value: &Value) -> Vec<&str> {
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
#[path = "template_tests.rs"]
mod tests;
