//! `framewire check-workflow`: whether a ComfyUI workflow can be a template, and which server takes it.
//!
//! The reading is that of the settings and the comparing the worker's own, so what passes here passes
//! there: this is why the launcher knows the worker's crate. Here they become lines. A server is only asked what it has
//! (`GET /object_info`), never to draw. Exit codes, for scripts: 0 it fits, 1 it does not, 2 it could
//! not be looked at.

use std::path::PathBuf;
use std::process::ExitCode;

use framewire_shared::domain::workflow::{Marks, Place, Slot, Template, TemplateError};
use framewire_worker::provider::comfyui::{Client, ClientError};
use reqwest::Url;

use crate::console;

/// What `framewire check-workflow` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckWorkflowArgs {
    /// A workflow, exported from ComfyUI with Workflow > Export (API)
    file: PathBuf,
    /// A server to compare it with: its nodes, models and ranges
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// An input that a slot fills, where the workflow does not say so: steps=3.steps
    #[arg(long, value_name = "SLOT=NODE.INPUT", value_parser = mark)]
    slot: Vec<(String, String)>,
    /// The node whose picture is the frame, where more than one saves
    #[arg(long, value_name = "NODE")]
    output: Option<String>,
    /// A file of header lines to send, for a server behind a proxy: "X-Key: …"
    #[arg(long, value_name = "FILE", requires = "url")]
    headers: Option<PathBuf>,
}

/// Exit code of "it does not fit".
const UNFIT: u8 = 1;
/// Exit code of "could not look".
const BLIND: u8 = 2;

/// Why it could not be looked at.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("read {}", .file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("read a line of {} as \"Name: value\"", .file.display())]
    Headers { file: PathBuf },
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("ask {url}: {message}{}", bracketed(.detail))]
    Server { url: Url, message: String, detail: String },
}

fn bracketed(detail: &str) -> String {
    if detail.is_empty() { String::new() } else { format!(" [{detail}]") }
}

/// Looks, and tells.
pub(crate) async fn check_workflow(args: &CheckWorkflowArgs) -> ExitCode {
    match look(args).await {
        Ok(faults) if faults.is_empty() => ExitCode::SUCCESS,
        Ok(faults) => {
            let count = match faults.len() {
                1 => "1 thing does not fit".to_owned(),
                many => format!("{many} things do not fit"),
            };
            let lines: String = faults.iter().map(|fault| format!("WRONG {fault}\n")).collect();
            console::show(&format!("{lines}\n{count}\n"));
            UNFIT.into()
        }
        Err(error) => {
            console::complain(&error, None);
            BLIND.into()
        }
    }
}

/// Shows what is there, and gives what does not fit.
async fn look(args: &CheckWorkflowArgs) -> Result<Vec<String>, CheckError> {
    let text = read(&args.file)?;
    let marks = Marks { slots: args.slot.iter().cloned().collect(), output: args.output.clone() };
    let template = match Template::parse(&text, &marks) {
        Ok(template) => template,
        Err(TemplateError::Unfit(faults)) => return Ok(faults),
        Err(error) => return Ok(vec![format!("failed to {}", console::chain(&error))]),
    };
    console::show(&told(&template));
    let Some(url) = &args.url else {
        console::show("\nit can be a template; name a server with --url to compare it with\n");
        return Ok(Vec::new());
    };
    let client = Client::new(url, &headers(args)?)?;
    let unanswered = |failure: framewire_shared::domain::Failure| CheckError::Server {
        url: url.clone(),
        message: failure.message,
        detail: failure.detail,
    };
    let health = client.health().await.map_err(unanswered)?;
    let catalog = client.catalog().await.map_err(unanswered)?;
    let (version, classes) = (health.version, catalog.class_count());
    console::show(&format!(
        "\ncompared with ComfyUI {version}, which has {classes} node classes\n"
    ));
    let faults = catalog.check(&template);
    if faults.is_empty() {
        console::show("it fits\n");
    }
    Ok(faults)
}

/// Makes the lines: which input each slot fills, and what jobs can't say.
fn told(template: &Template) -> String {
    let mut text = format!("{} nodes\n", template.node_count());
    let line = |name: &str, what: String| format!("ok    {name:<16} {what}\n");
    for slot in Slot::ALL {
        for Place { node, input, guessed } in template.places(slot) {
            let how = if *guessed { ", the only one it can be" } else { "" };
            let what = format!("{input} of {}{how}", template.describe(node));
            text.push_str(&line(slot.as_str(), what));
        }
    }
    text.push_str(&line("output", template.describe(template.output())));
    let without = Slot::ALL.into_iter().filter(|slot| !template.has(*slot));
    for slot in without {
        if let Some(meaning) = meaning(slot, template.has(Slot::Image)) {
            text.push_str(&format!("note  {:<16} has no slot: {meaning}\n", slot.as_str()));
        }
    }
    text
}

/// Says what it means that a slot is missing, where it means something.
fn meaning(slot: Slot, starts_from_picture: bool) -> Option<&'static str> {
    Some(match slot {
        Slot::NegativePrompt => "jobs with a negative prompt are refused",
        Slot::Steps => "the workflow's own steps are used",
        Slot::Image => "jobs that start from a picture are refused",
        Slot::Mask if starts_from_picture => "jobs with a mask are refused",
        Slot::Strength if starts_from_picture => "the workflow's own denoise is used",
        _ => return None,
    })
}

fn read(file: &std::path::Path) -> Result<String, CheckError> {
    std::fs::read_to_string(file).map_err(|source| CheckError::File { file: file.into(), source })
}

/// Reads header lines; their values are shown nowhere.
fn headers(args: &CheckWorkflowArgs) -> Result<Vec<(String, secrecy::SecretString)>, CheckError> {
    let Some(file) = &args.headers else {
        return Ok(Vec::new());
    };
    let text = read(file)?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned().into()))
    };
    lines.map(|line| pair(line).ok_or_else(|| CheckError::Headers { file: file.clone() })).collect()
}

fn mark(text: &str) -> Result<(String, String), String> {
    let (slot, place) = text.split_once('=').ok_or("write it like steps=3.steps")?;
    Ok((slot.to_owned(), place.to_owned()))
}
