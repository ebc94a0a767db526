//! Two columns: what, and its figure.

use std::fmt::Display;

/// Begins a table.
pub(crate) fn table(title: &str) {
    println!("\n| {title:<62} | {:>20} |", "figure");
    println!("|{:-<64}|{:->22}|", "", "");
}

/// Prints a row of it.
pub(crate) fn row(name: &str, value: impl Display) {
    println!("| {name:<62} | {value:>20} |");
}
