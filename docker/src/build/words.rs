//! PURE. What the classic builder prints, one JSON object a line.

use std::collections::HashMap;

use docker_api::build::BuildResult;
use docker_api::image::{ErrorDetail, JsonMessage};
use engine::Error;
use engine::build::{BuildEvent, Built};
use engine::container::Stream;
use engine::id::Digest;

/// Turns events into lines.
#[derive(Debug, Default)]
pub(super) struct Words {
    /// Steps of the Dockerfile that go on.
    steps: HashMap<Digest, Step>,
    /// The last command that ran.
    command: Option<String>,
    /// Says that containers are removed.
    removes: bool,
}

#[derive(Debug, Default)]
struct Step {
    is_from: bool,
    container: Option<String>,
}

impl Words {
    /// Nothing said yet. `removes`: containers are said to be removed.
    pub(super) fn new(removes: bool) -> Self {
        Self { removes, ..Self::default() }
    }

    /// The lines of one event, in order.
    pub(super) fn of(&mut self, event: &BuildEvent) -> Vec<JsonMessage> {
        match event {
            BuildEvent::Started { vertex, step: Some(step), .. } => {
                let is_from = step.source.get(..4).is_some_and(|word| word.eq_ignore_ascii_case("from"));
                self.steps.insert(*vertex, Step { is_from, container: None });
                vec![stream(format!("Step {}/{} : {}", step.number, step.total, step.source)), stream("\n".to_owned())]
            }
            BuildEvent::Running { vertex, container, command } => {
                self.command = Some(command.clone());
                if let Some(step) = self.steps.get_mut(vertex) {
                    step.container = Some(short(container).to_owned());
                }
                vec![stream(format!(" ---> Running in {}\n", short(container)))]
            }
            BuildEvent::Log { stream: kind, data, .. } => vec![log(*kind, data)],
            BuildEvent::Completed { vertex, cached, error: None, image } => {
                self.completed(vertex, *cached, image.as_ref())
            }
            BuildEvent::Warning { text, .. } => vec![stream(format!("[Warning] {text}\n"))],
            _ => Vec::new(),
        }
    }

    fn completed(&mut self, vertex: &Digest, cached: bool, image: Option<&Digest>) -> Vec<JsonMessage> {
        let Some(step) = self.steps.remove(vertex) else { return Vec::new() };
        let mut lines = Vec::new();
        if cached && !step.is_from {
            lines.push(stream(" ---> Using cache\n".to_owned()));
        }
        if let (Some(container), true) = (step.container, self.removes) {
            lines.push(stream(format!("Removing intermediate container {container}\n")));
        }
        lines.extend(image.map(|image| stream(format!(" ---> {}\n", image.short()))));
        lines
    }

    /// The last lines of a build that went well.
    pub(super) fn built(built: &Built) -> Vec<JsonMessage> {
        let aux = serde_json::to_value(BuildResult { id: built.image.to_string() }).ok();
        let mut lines = vec![JsonMessage { aux, ..JsonMessage::default() }];
        lines.push(stream(format!("Successfully built {}\n", built.image.short())));
        lines.extend(built.tags.iter().map(|tag| stream(format!("Successfully tagged {}\n", tag.familiar()))));
        lines
    }

    /// Why a build has failed: a command by its words and its code, anything else by its own sentence.
    pub(super) fn failure(&self, error: &Error) -> JsonMessage {
        let (code, message) = match (error.exit_code(), &self.command) {
            (Some(code), Some(command)) => (code, format!("The command '{command}' returned a non-zero code: {code}")),
            (Some(code), None) => (code, error.to_string()),
            (None, _) => (0, error.to_string()),
        };
        let error_detail = Some(ErrorDetail { code, message: message.clone() });
        JsonMessage { error_detail, error: message, ..JsonMessage::default() }
    }
}

/// A line of text.
pub(super) fn stream(text: String) -> JsonMessage {
    JsonMessage { stream: text, ..JsonMessage::default() }
}

/// Errors of commands are red, as the classic builder has it.
fn log(kind: Stream, data: &[u8]) -> JsonMessage {
    let text = String::from_utf8_lossy(data);
    match kind {
        Stream::Stderr => stream(format!("\u{1b}[91m{text}\u{1b}[0m")),
        _ => stream(text.into_owned()),
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

#[cfg(test)]
mod tests {
    use engine::build::StepAt;

    use super::*;

    fn texts(lines: Vec<JsonMessage>) -> Vec<String> {
        lines.into_iter().map(|line| line.stream).collect()
    }

    #[test]
    fn a_step_reads_as_docker_prints_it() {
        let vertex = Digest::of(b"v");
        let image = Some(Digest::of(b""));
        let mut words = Words { removes: true, ..Words::default() };
        let step = StepAt { number: 2, total: 3, source: "RUN make".into() };
        let started = BuildEvent::Started { vertex, name: String::new(), inputs: Vec::new(), step: Some(step) };
        assert_eq!(texts(words.of(&started)), ["Step 2/3 : RUN make", "\n"]);
        let running = BuildEvent::Running { vertex, container: "a".repeat(64), command: "/bin/sh -c make".into() };
        assert_eq!(texts(words.of(&running)), [" ---> Running in aaaaaaaaaaaa\n"]);
        let log = BuildEvent::Log { vertex, stream: Stream::Stderr, data: "no\n".into() };
        assert_eq!(texts(words.of(&log)), ["\u{1b}[91mno\n\u{1b}[0m"]);
        let done = BuildEvent::Completed { vertex, cached: false, error: None, image };
        assert_eq!(texts(words.of(&done)), ["Removing intermediate container aaaaaaaaaaaa\n", " ---> e3b0c44298fc\n"]);
        let failed = words.failure(&Error::invalid("x").with_exit_code(3));
        assert_eq!(
            serde_json::to_string(&failed).unwrap(),
            r#"{"errorDetail":{"code":3,"message":"The command '/bin/sh -c make' returned a non-zero code: 3"},"error":"The command '/bin/sh -c make' returned a non-zero code: 3"}"#
        );
    }
}
