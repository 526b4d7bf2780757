//! The help text, in docker's layout and wrapped to the terminal.

use std::fmt::Write as _;

use super::Flag;
use crate::cli::Command;

/// The whole `--help` of a command. `path` is how it was called; `aliases` are all its names.
pub(crate) fn render_command(command: &Command, path: &str, aliases: &[String], width: usize) -> String {
    let mut text = format!("Usage:  {}\n\n{}\n", usage_line(command, path), command.about);
    if aliases.len() > 1 {
        let _ = write!(text, "\nAliases:\n  {}\n", aliases.join(", "));
    }
    let options = render_flags(command.flags, width);
    if !options.is_empty() {
        let _ = write!(text, "\nOptions:\n{options}");
    }
    text
}

/// `gantry run [OPTIONS] IMAGE [COMMAND] [ARG...]`
pub(crate) fn usage_line(command: &Command, path: &str) -> String {
    let mut line = path.to_owned();
    if command.flags.iter().any(|group| group.iter().any(|flag| !flag.hidden)) {
        line.push_str(" [OPTIONS]");
    }
    if !command.usage.is_empty() {
        line.push(' ');
        line.push_str(command.usage);
    }
    line
}

/// The flags, sorted, in two columns; the right one is wrapped at `width` columns.
pub(crate) fn render_flags(groups: &[&[Flag]], width: usize) -> String {
    let mut flags: Vec<&Flag> = groups.iter().flat_map(|group| group.iter()).filter(|f| !f.hidden).collect();
    flags.sort_by_key(|flag| flag.long);
    let heads: Vec<String> = flags.iter().map(|flag| head(flag)).collect();
    let left = heads.iter().map(String::len).max().unwrap_or(0) + 3;
    let room = width.saturating_sub(left).max(24);
    let mut text = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let description = format!("{}{}", flag.help, default_note(flag));
        for (index, line) in description.split('\n').flat_map(|line| wrap(line, room)).enumerate() {
            let head = if index == 0 { head.as_str() } else { "" };
            let _ = writeln!(text, "{head:<left$}{line}");
        }
    }
    text
}

fn head(flag: &Flag) -> String {
    let short = flag.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let value = if flag.value.is_empty() { String::new() } else { format!(" {}", flag.value) };
    format!("  {short}--{}{value}", flag.long)
}

fn default_note(flag: &Flag) -> String {
    match (flag.default, flag.value) {
        ("" | "false", _) => String::new(),
        (text, "string") => format!(" (default {text:?})"),
        (other, _) => format!(" (default {other})"),
    }
}

/// Breaks a line at spaces so that no piece is longer than `room` where words allow.
fn wrap(line: &str, room: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = line;
    while rest.chars().count() > room {
        let limit = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        let Some(at) = rest[..limit].rfind(' ').filter(|at| *at > 0) else { break };
        lines.push(rest[..at].trim_end().to_owned());
        rest = rest[at..].trim_start();
    }
    lines.push(rest.to_owned());
    lines
}
