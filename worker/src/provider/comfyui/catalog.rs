//! What a server's nodes take, and whether a template fits them.
//!
//! Comes in: the answer of `GET /object_info`. Goes out: everything that `POST /prompt` would refuse,
//! in words with the node, without queueing anything. The checks are those of the server: class,
//! required inputs, types, ranges, choices, links. What is not in the catalog is not an error where
//! the server ignores it, like inputs that only the editor knows.

use std::collections::BTreeMap;

use framewire_shared::domain::workflow::{Slot, Template, link, words};
use serde::Deserialize;
use serde_json::Value;

/// Choices that are named when a value is none of them.
const CHOICES_SHOWN: usize = 8;

/// Every node class of a server.
#[derive(Debug, Deserialize)]
pub struct Catalog(BTreeMap<String, Class>);

#[derive(Debug, Deserialize)]
struct Class {
    #[serde(default)]
    input: Inputs,
    /// Types of what it gives, in order; a list is a choice's.
    #[serde(default)]
    output: Vec<Value>,
    #[serde(default)]
    output_node: bool,
}

#[derive(Debug, Default, Deserialize)]
struct Inputs {
    #[serde(default)]
    required: BTreeMap<String, Value>,
    #[serde(default)]
    optional: BTreeMap<String, Value>,
}

/// What one input takes: `["INT", {"min": 1}]`, or `[["euler", …]]`, or `["COMBO", {"options": …}]`.
struct Spec<'a> {
    kind: &'a str,
    choices: Option<&'a Vec<Value>>,
    options: &'a Value,
}

impl<'a> Spec<'a> {
    fn read(spec: &'a Value) -> Option<Self> {
        let options = spec.get(1).unwrap_or(&Value::Null);
        Some(match spec.get(0)? {
            Value::Array(choices) => Self { kind: "COMBO", choices: Some(choices), options },
            Value::String(kind) => {
                let choices = options.get("options").and_then(Value::as_array);
                Self { kind, choices: choices.filter(|_| kind == "COMBO"), options }
            }
            _ => return None,
        })
    }
}

impl Catalog {
    /// Gives the number of classes.
    pub fn class_count(&self) -> usize {
        self.0.len()
    }

    /// Lists everything in a template that this server would refuse.
    pub fn check(&self, template: &Template) -> Vec<String> {
        let mut faults = Vec::new();
        for (id, node) in template.nodes() {
            let mut fault =
                |words: String| faults.push(format!("{}: {words}", template.describe(id)));
            let name = node["class_type"].as_str().unwrap_or_default();
            let Some(class) = self.0.get(name) else {
                fault(format!("the server has no class {name}; are its custom nodes installed?"));
                continue;
            };
            let inputs = &node["inputs"];
            for input in class.input.required.keys() {
                if inputs.get(input).is_none() {
                    fault(format!("its input {input} is missing"));
                }
            }
            for (input, spec) in class.input.required.iter().chain(&class.input.optional) {
                let (Some(value), Some(spec)) = (inputs.get(input), Spec::read(spec)) else {
                    continue;
                };
                let wrong = match link(value) {
                    Some(link) => self.check_link(template, &spec, link),
                    None => check_value(&spec, value),
                };
                if let Some(words) = wrong {
                    fault(format!("its input {input} {words}"));
                }
            }
            if id == template.output() && !class.output_node {
                fault("it saves nothing, so it can't be the output".into());
            }
        }
        faults
    }

    fn check_link(
        &self,
        template: &Template,
        spec: &Spec<'_>,
        (node, output): (&str, u64),
    ) -> Option<String> {
        let class = self.0.get(template.nodes()[node]["class_type"].as_str()?)?;
        let Some(given) = class.output.get(output as usize) else {
            return Some(format!(
                "is linked to output {output} of {}, which has {}",
                template.describe(node),
                class.output.len()
            ));
        };
        let given = given.as_str().unwrap_or("COMBO");
        let fits = |given: &str| {
            spec.kind == "*" || given == "*" || spec.kind.split(',').any(|kind| kind == given)
        };
        (!given.split(',').any(fits))
            .then(|| format!("takes {}, and {} gives {given}", spec.kind, template.describe(node)))
    }
}

/// Says what is wrong with a value, if anything.
fn check_value(spec: &Spec<'_>, value: &Value) -> Option<String> {
    if let Some(slot) = whole_slot(value) {
        return check_slot(spec, slot);
    }
    if let Some(choices) = spec.choices {
        return (!choices.contains(value)).then(|| {
            let shown: Vec<String> =
                choices.iter().take(CHOICES_SHOWN).map(ToString::to_string).collect();
            let more = choices.len().saturating_sub(CHOICES_SHOWN);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("is {value}; the server has [{}]{more}", shown.join(", "))
        });
    }
    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
    match (spec.kind, number) {
        ("INT" | "FLOAT", None) => Some(format!("takes a number, not {value}")),
        ("INT" | "FLOAT", Some(number)) => check_range(spec, number),
        ("BOOLEAN", _) if !value.is_boolean() => Some(format!("takes true or false, not {value}")),
        ("STRING", _) if !value.is_string() => Some(format!("takes text, not {value}")),
        _ => None,
    }
}

fn check_range(spec: &Spec<'_>, number: f64) -> Option<String> {
    let bound = |name: &str| spec.options.get(name).and_then(Value::as_f64);
    match (bound("min"), bound("max")) {
        (Some(min), _) if number < min => {
            Some(format!("is {number}, smaller than its min of {min}"))
        }
        (_, Some(max)) if number > max => {
            Some(format!("is {number}, bigger than its max of {max}"))
        }
        _ => None,
    }
}

fn whole_slot(value: &Value) -> Option<Slot> {
    let text = value.as_str()?;
    let [word] = words(value)[..] else { return None };
    let is_whole = text.starts_with("{{") && text.ends_with("}}");
    Slot::from_word(word).filter(|_| is_whole)
}

fn check_slot(spec: &Spec<'_>, slot: Slot) -> Option<String> {
    let fits = match spec.kind {
        "INT" => slot.is_number() && slot != Slot::Strength,
        "FLOAT" => slot.is_number(),
        "STRING" => !slot.is_number(),
        // An upload is not in the list of files yet; the server looks for the file instead.
        "COMBO" => matches!(slot, Slot::Image | Slot::Mask),
        _ => true,
    };
    (!fits).then(|| format!("takes {}, which the slot {slot} is not", spec.kind))
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
