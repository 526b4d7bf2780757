//! What people and scripts read: tables, templates, JSON, progress.

pub(crate) mod json;
pub(crate) mod progress;
pub(crate) mod table;
pub(crate) mod template;

use std::io::Write;

use crate::error::Result;

/// Writes to standard output; a closed pipe ends the program quietly.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Writes a line to standard output.
pub(crate) fn println(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Writes a line to standard error; nobody can be told if that fails.
pub(crate) fn eprintln(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
