//! What is shown: the launcher's own lines and its children's, each with the name of who speaks.
//!
//! The summary goes to standard output, all else to standard error. Colours only on a terminal, and
//! not with `NO_COLOR` (no-color.org). A console that can't be written to is no reason to stop
//! serving, so write errors are dropped.

use std::io::{IsTerminal, Write};

/// The launcher's name in front of its own lines, and the width of every name.
const SELF: &str = "framewire";
/// One colour per speaker, in the order they are met; none that reads as an error.
const COLOURS: [&str; 5] = ["36", "35", "34", "32", "33"];

/// Where lines go.
#[derive(Debug, Clone)]
pub(crate) struct Console {
    colour: bool,
}

impl Console {
    /// Looks at the terminal and at `NO_COLOR`.
    pub(crate) fn new(mut environment: impl Iterator<Item = (String, String)>) -> Self {
        let refused = environment.any(|(name, value)| name == "NO_COLOR" && !value.is_empty());
        Self { colour: !refused && std::io::stderr().is_terminal() }
    }

    /// Gives the variable that keeps children from colouring what ends in a file.
    ///
    /// They can't see it themselves: what they write to is a pipe either way.
    pub(crate) fn environment(&self) -> Option<(String, String)> {
        (!self.colour).then(|| ("NO_COLOR".into(), "1".into()))
    }

    /// Shows a line of the launcher's own.
    pub(crate) fn say(&self, text: &str) {
        self.forward(SELF, text);
    }

    /// Shows a child's line.
    pub(crate) fn forward(&self, name: &str, line: &str) {
        drop(writeln!(std::io::stderr().lock(), "{}", self.labelled(name, line)));
    }

    fn labelled(&self, name: &str, line: &str) -> String {
        let width = SELF.len();
        if self.colour {
            let colour = colour_of(name);
            format!("\x1b[{colour}m{name:<width$} |\x1b[0m {line}")
        } else {
            format!("{name:<width$} | {line}")
        }
    }
}

/// Shows the summary, as it is.
pub(crate) fn show(text: &str) {
    drop(std::io::stdout().lock().write_all(text.as_bytes()));
    drop(std::io::stdout().lock().flush());
}

/// Shows why the launcher ends, and what to do about it.
pub(crate) fn complain(error: &dyn std::error::Error, hint: Option<&str>) {
    let mut text = format!("{SELF}: failed to {}\n", chain(error));
    for line in hint.unwrap_or_default().lines() {
        text.push_str(&format!("  {line}\n"));
    }
    drop(std::io::stderr().lock().write_all(text.as_bytes()));
}

/// Gives an error and its causes in one line, without those that only say it again.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

fn colour_of(name: &str) -> &'static str {
    match name {
        SELF => "1",
        "redis" => "31",
        "gateway" => COLOURS[0],
        _ => {
            let sum = name.bytes().map(usize::from).sum::<usize>();
            COLOURS[1 + sum % (COLOURS.len() - 1)]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Console;

    #[test]
    fn names_line_up_and_colours_end_before_the_text() {
        let plain = Console { colour: false };
        assert_eq!(plain.labelled("gateway", "hello"), "gateway   | hello");
        assert_eq!(plain.labelled("framewire", "hello"), "framewire | hello");
        let coloured = Console { colour: true };
        assert_eq!(coloured.labelled("gateway", "hello"), "\x1b[36mgateway   |\x1b[0m hello");
    }
}
