//! Progress of pulls, pushes and loads: one line per layer that is rewritten on a terminal, plain lines otherwise.

use std::io::Write;

use crate::client::Lines;
use crate::error::{Error, Result};
use crate::output::template::Value;
use crate::terminal;
use crate::units;

/// Lines kept on the screen at once; beyond it progress is printed below.
const LAYERS_MAX: usize = 1000;
/// The bar is drawn on terminals wider than this.
const BAR_COLUMNS_MIN: usize = 110;

/// Where progress is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Stdout,
    Stderr,
}

/// Shows a stream of progress messages to its end. An error in it is the command's error.
pub(crate) async fn show(lines: &mut Lines, target: Target) -> Result<()> {
    let is_terminal = match target {
        Target::Stdout => terminal::stdout_is_terminal(),
        Target::Stderr => terminal::stderr_is_terminal(),
    };
    let mut screen = Screen { layers: Vec::new(), is_terminal, columns: terminal::width() };
    while let Some(message) = lines.next().await? {
        fail_on_error(&message)?;
        let text = screen.render(&message);
        match target {
            Target::Stdout => super::print(&text)?,
            Target::Stderr => {
                let mut err = std::io::stderr().lock();
                err.write_all(text.as_bytes())?;
                err.flush()?;
            }
        }
    }
    Ok(())
}

/// Reads a stream of progress messages without showing it.
pub(crate) async fn swallow(lines: &mut Lines) -> Result<()> {
    while let Some(message) = lines.next().await? {
        fail_on_error(&message)?;
    }
    Ok(())
}

pub(crate) fn fail_on_error(message: &Value) -> Result<()> {
    let detail = message.at("errorDetail.message").as_str();
    let text = if detail.is_empty() { message.field("error").as_str() } else { detail };
    if text.is_empty() { Ok(()) } else { Err(Error::message(text)) }
}

struct Screen {
    /// Ids in the order of their lines.
    layers: Vec<String>,
    is_terminal: bool,
    columns: usize,
}

impl Screen {
    fn render(&mut self, message: &Value) -> String {
        let stream = message.field("stream").as_str();
        if !stream.is_empty() {
            return stream.to_owned();
        }
        let status = message.field("status").as_str();
        if status.is_empty() {
            return String::new();
        }
        let id = message.field("id").as_str();
        let progress = progress_text(message, self.columns);
        if !self.is_terminal {
            if !progress.is_empty() {
                return String::new();
            }
            return if id.is_empty() { format!("{status}\n") } else { format!("{id}: {status}\n") };
        }
        if id.is_empty() || !has_bar(message) {
            // A line of its own ends the block of rewritten lines.
            if id.is_empty() {
                self.layers.clear();
            }
            let head = if id.is_empty() { String::new() } else { format!("{id}: ") };
            return self.place(id, &format!("{head}{status}"));
        }
        let space = if progress.is_empty() { "" } else { " " };
        self.place(id, &format!("{id}: {status}{space}{progress}"))
    }

    /// Writes `line` over the line of `id`, or below all others.
    fn place(&mut self, id: &str, line: &str) -> String {
        if id.is_empty() {
            return format!("{line}\n");
        }
        match self.layers.iter().position(|known| known == id) {
            Some(at) => {
                let up = self.layers.len() - at;
                format!("\x1b[{up}A\x1b[2K\r{line}\n\x1b[{}B\r", up.saturating_sub(1)).replace("\x1b[0B", "")
            }
            None => {
                if self.layers.len() < LAYERS_MAX {
                    self.layers.push(id.to_owned());
                }
                format!("{line}\n")
            }
        }
    }
}

/// Messages about layers carry `progressDetail`, be it empty.
fn has_bar(message: &Value) -> bool {
    !matches!(message.field("progressDetail"), Value::Nil)
}

fn progress_text(message: &Value, columns: usize) -> String {
    let (current, total) =
        (message.at("progressDetail.current").as_float(), message.at("progressDetail.total").as_float());
    if current <= 0.0 && total <= 0.0 {
        return String::new();
    }
    let size = |bytes: f64| units::human_size(bytes, 4);
    if total <= 0.0 {
        return format!("{:>8}", size(current));
    }
    let numbers =
        if current > total { format!("{:>8}", size(current)) } else { format!("{:>8}/{}", size(current), size(total)) };
    if columns <= BAR_COLUMNS_MIN {
        return numbers;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 50")]
    let done = ((current / total * 50.0) as usize).min(50);
    format!("[{}>{}] {numbers}", "=".repeat(done), " ".repeat(50 - done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(is_terminal: bool) -> Screen {
        Screen { layers: Vec::new(), is_terminal, columns: 200 }
    }

    fn feed(screen: &mut Screen, lines: &[&str]) -> String {
        lines.iter().map(|line| screen.render(&Value::from_json(line).unwrap())).collect()
    }

    const PULL: [&str; 5] = [
        r#"{"status":"Pulling from library/x","id":"latest"}"#,
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"aa"}"#,
        r#"{"status":"Downloading","progressDetail":{"current":500000,"total":1000000},"id":"aa"}"#,
        r#"{"status":"Pull complete","progressDetail":{},"id":"aa"}"#,
        r#"{"status":"Status: Downloaded newer image for x:latest"}"#,
    ];

    #[test]
    fn without_a_terminal_only_steps_are_told() {
        let shown = feed(&mut screen(false), &PULL);
        assert_eq!(
            shown,
            "latest: Pulling from library/x\naa: Pulling fs layer\naa: Pull complete\nStatus: Downloaded newer image for x:latest\n"
        );
    }

    #[test]
    fn on_a_terminal_each_layer_keeps_its_line() {
        let shown = feed(&mut screen(true), &PULL);
        let bar = format!("[{}>{}]    500kB/1MB", "=".repeat(25), " ".repeat(25));
        assert_eq!(
            shown,
            format!(
                "latest: Pulling from library/x\naa: Pulling fs layer\n\x1b[1A\x1b[2K\raa: Downloading {bar}\n\r\x1b[1A\x1b[2K\raa: Pull complete\n\rStatus: Downloaded newer image for x:latest\n"
            )
        );
    }
}
