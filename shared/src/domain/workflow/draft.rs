//! How the slots of a workflow are found, and what does not fit.
//!
//! In this order: a placeholder in a value (`"{{prompt}}"`, which can be typed into a text box of the
//! editor), a side table (`steps = "3.steps"`), and, for a slot that nobody declared, the one input
//! of the workflow that can be meant, by the names that ComfyUI's own nodes use. Two that could be
//! meant are never chosen between: the operator is asked. Whichever way a slot was found, its
//! placeholder ends up in the workflow, so that filling knows one way only.
//! Everything that does not fit is told at once, each with its node.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Marks, Place, Slot, Template, describe, link, words};

/// A template while its slots are looked for.
pub(super) struct Draft {
    nodes: Map<String, Value>,
    /// Everything that does not fit, each with its node.
    faults: Vec<String>,
    guessed: BTreeSet<Input>,
}

/// A node and one of its inputs.
type Input = (String, String);

impl Draft {
    pub(super) fn new(nodes: Map<String, Value>) -> Self {
        Self { nodes, faults: Vec::new(), guessed: BTreeSet::new() }
    }

    /// Finds slots and output, or tells everything that does not fit.
    pub(super) fn template(mut self, marks: &Marks) -> Result<Template, Vec<String>> {
        self.check_nodes();
        if !self.faults.is_empty() {
            // Without nodes that hold together, what follows would only repeat it.
            return Err(self.faults);
        }
        self.mark(&marks.slots);
        let slots = self.find();
        match self.output(marks.output.as_deref()) {
            Some(output) if self.faults.is_empty() => {
                Ok(Template { nodes: self.nodes, slots, output })
            }
            _ => Err(self.faults),
        }
    }

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
