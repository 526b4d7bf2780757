//! PURE. What a stage has come to: configuration, variables, layers and history, and how instructions that change no
//! files change it. The rules and the texts of the history are BuildKit's.

use crate::error::{Error, Result};
use crate::image::{Healthcheck, HistoryEntry, ImageConfig, ImageDocument, LayerRef, Platform};
use crate::spec::env::PATH_DEFAULT;

use super::dockerfile::expand::{self, Variables};
use super::dockerfile::{CommandLine, Instruction, Kind, Pair};

/// What BuildKit writes beside each step of its own.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) config: ImageConfig,
    pub(super) layers: Vec<LayerRef>,
    pub(super) history: Vec<HistoryEntry>,
    pub(super) author: String,
    pub(super) platform: Platform,
    /// `ARG`s of the stage so far, each name once; those without a value count as declared.
    pub(super) args: Vec<(String, Option<String>)>,
    /// `CMD` was given in this stage: `ENTRYPOINT` leaves it alone.
    cmd_given: bool,
    escape: char,
}

impl State {
    /// `FROM scratch`.
    pub(super) fn empty(platform: Platform, escape: char) -> Self {
        let config =
            ImageConfig { env: vec![PATH_DEFAULT.to_owned()], working_dir: "/".to_owned(), ..ImageConfig::default() };
        let (layers, history, args) = (Vec::new(), Vec::new(), Vec::new());
        Self { config, layers, history, author: String::new(), platform, args, cmd_given: false, escape }
    }

    /// `FROM` an image.
    pub(super) fn of_image(document: ImageDocument, layers: Vec<LayerRef>, escape: char) -> Self {
        let platform = Platform::new(&document.os, &document.architecture, document.variant.as_deref());
        let mut state = Self::empty(platform, escape);
        let mut config = document.config;
        if !config.env.iter().any(|entry| entry.starts_with("PATH=")) {
            config.env.push(PATH_DEFAULT.to_owned());
        }
        (state.config, state.layers, state.history, state.author) = (config, layers, document.history, document.author);
        state
    }

    /// `FROM` another stage, whose arguments are seen here too.
    pub(super) fn of_stage(other: &Self) -> Self {
        Self { cmd_given: false, ..other.clone() }
    }

    /// A variable: what `ENV` says holds before what `ARG` says.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let env = self.config.env.iter().find_map(|entry| entry.split_once('=').filter(|(key, _)| *key == name));
        let arg = || self.args.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.clone());
        env.map(|(_, value)| value.to_owned()).or_else(arg)
    }

    /// A word with its variables put in.
    pub(super) fn word(&self, text: &str) -> Result<String> {
        word(text, self.escape, &|name| self.variable(name))
    }

    /// Words: one text may become several, or none.
    pub(super) fn words(&self, texts: &[String]) -> Result<Vec<String>> {
        let lookup = |name: &str| self.variable(name);
        let mut all = Vec::new();
        for text in texts {
            all.extend(expand::words(text, self.escape, &lookup).map_err(|e| failed(text, &e))?);
        }
        Ok(all)
    }

    /// A document in the Dockerfile.
    pub(super) fn document(&self, text: &str) -> Result<String> {
        let lookup = |name: &str| self.variable(name);
        Ok(expand::document(text, &lookup).map_err(|e| failed(text, &e))?.text)
    }

    /// Declares an argument.
    pub(super) fn declare(&mut self, name: &str, value: Option<String>) {
        self.args.retain(|(known, _)| known != name);
        self.args.push((name.to_owned(), value));
    }

    /// A path as `WORKDIR` means it.
    pub(super) fn path(&self, path: &str) -> String {
        clean(&joined(&self.config.working_dir, path))
    }

    /// A command line after the shell.
    pub(super) fn command(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => {
                let mut shell = self.config.shell.clone().unwrap_or_else(|| vec!["/bin/sh".into(), "-c".into()]);
                shell.push(text.clone());
                shell
            }
        }
    }

    /// Notes a step. `created` is the time of the layer that it made; without one it made none, and it is as old as the
    /// step before it.
    pub(super) fn note(&mut self, created_by: String, created: Option<String>) {
        let empty_layer = created.is_none();
        let created = created.or_else(|| self.history.last().and_then(|last| last.created.clone()));
        self.history.push(HistoryEntry {
            created,
            created_by,
            author: String::new(),
            comment: HISTORY_COMMENT.to_owned(),
            empty_layer,
        });
    }

    /// Carries out an instruction that changes no files; `false` when it is another one.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong.
    pub(super) fn apply(&mut self, instruction: &Instruction) -> Result<bool> {
        let text = match &instruction.kind {
            Kind::Env(pairs) => self.env(pairs)?,
            Kind::Label(pairs) => self.label(pairs)?,
            Kind::Maintainer(name) => {
                self.author.clone_from(name);
                format!("MAINTAINER {name}")
            }
            Kind::Cmd(line) => {
                let command = self.command(line);
                let text = format!("CMD {}", quoted(&command));
                (self.config.cmd, self.cmd_given) = (Some(command), true);
                text
            }
            Kind::Entrypoint(line) => self.entrypoint(line),
            Kind::User(user) => {
                self.config.user = self.word(user)?;
                format!("USER {}", self.config.user)
            }
            Kind::Volume(paths) => self.volume(paths)?,
            Kind::Expose(words) => self.expose(words)?,
            Kind::Shell(words) => {
                self.config.shell = Some(words.clone());
                format!("SHELL [{}]", words.join(" "))
            }
            Kind::Healthcheck(check) => {
                self.config.healthcheck = Some(check.clone());
                format!("HEALTHCHECK {}", health(check))
            }
            Kind::Onbuild { trigger, .. } => {
                self.config.on_build.push(trigger.clone());
                format!("ONBUILD {trigger}")
            }
            Kind::Stopsignal(signal) => {
                let signal = self.word(signal)?;
                crate::container::signal::parse(&signal)
                    .map_err(|_| Error::invalid(format!("STOPSIGNAL: invalid signal: {signal}")))?;
                let text = format!("STOPSIGNAL {signal}");
                self.config.stop_signal = Some(signal);
                text
            }
            Kind::Arg(_) | Kind::Copy(_) | Kind::Add(_) | Kind::Run(_) | Kind::Workdir(_) => return Ok(false),
        };
        self.note(text, None);
        Ok(true)
    }

    /// All values of one instruction see the variables as they were before it.
    fn env(&mut self, pairs: &[Pair]) -> Result<String> {
        let pairs = self.pairs(pairs)?;
        for (name, value) in &pairs {
            let entry = format!("{name}={value}");
            match self.config.env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
                Some(known) => *known = entry,
                None => self.config.env.push(entry),
            }
        }
        Ok(format!("ENV {}", shown(&pairs)))
    }

    fn label(&mut self, pairs: &[Pair]) -> Result<String> {
        let pairs = self.pairs(pairs)?;
        let text = format!("LABEL {}", shown(&pairs));
        self.config.labels.extend(pairs);
        Ok(text)
    }

    fn pairs(&self, pairs: &[Pair]) -> Result<Vec<(String, String)>> {
        pairs.iter().map(|pair| Ok((self.word(&pair.key)?, self.word(&pair.value)?))).collect()
    }

    fn entrypoint(&mut self, line: &CommandLine) -> String {
        let command = self.command(line);
        let text = format!("ENTRYPOINT {}", quoted(&command));
        self.config.entrypoint = Some(command);
        if !self.cmd_given {
            self.config.cmd = None;
        }
        text
    }

    fn volume(&mut self, paths: &[String]) -> Result<String> {
        let paths = paths.iter().map(|path| self.word(path)).collect::<Result<Vec<_>>>()?;
        if paths.iter().any(String::is_empty) {
            return Err(Error::invalid("VOLUME specified can not be an empty string"));
        }
        let text = format!("VOLUME [{}]", paths.join(" "));
        self.config.volumes.extend(paths);
        self.config.volumes.sort();
        self.config.volumes.dedup();
        Ok(text)
    }

    fn expose(&mut self, words: &[String]) -> Result<String> {
        let mut exposed = Vec::new();
        for word in self.words(words)? {
            exposed.extend(ports(&word).map_err(|why| Error::invalid(format!("EXPOSE: {why}")))?);
        }
        exposed.sort();
        exposed.dedup();
        let shown: Vec<String> = exposed.iter().map(|port| format!("{port}:{{}}")).collect();
        self.config.exposed_ports.extend(exposed);
        self.config.exposed_ports.sort();
        self.config.exposed_ports.dedup();
        Ok(format!("EXPOSE map[{}]", shown.join(" ")))
    }

    /// The line of the history for a command: the arguments that it could see stand before it.
    pub(super) fn run_text(&self, command: &[String]) -> String {
        let seen: Vec<String> = self
            .args
            .iter()
            .map(|(name, value)| {
                format!("{name}={}", self.variable(name).or_else(|| value.clone()).unwrap_or_default())
            })
            .collect();
        let count = (!seen.is_empty()).then(|| format!("|{}", seen.len()));
        let words: Vec<String> = count.into_iter().chain(seen).chain(command.iter().cloned()).collect();
        format!("RUN {} # buildkit", words.join(" "))
    }

    /// The whole configuration document.
    pub(super) fn to_document(&self, created: Option<String>) -> serde_json::Value {
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        let created = self.history.last().and_then(|last| last.created.clone()).or(created);
        let mut document = serde_json::json!({
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "config": self.config,
            "created": created,
            "history": self.history,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        if let Some(variant) = &self.platform.variant {
            document["variant"] = variant.clone().into();
        }
        if !self.author.is_empty() {
            document["author"] = self.author.clone().into();
        }
        document
    }
}

/// A word with variables from anywhere.
pub(super) fn word(text: &str, escape: char, variables: Variables<'_>) -> Result<String> {
    Ok(expand::word(text, escape, variables).map_err(|e| failed(text, &e))?.text)
}

fn failed(text: &str, error: &expand::ExpandError) -> Error {
    Error::invalid(format!("failed to process {text:?}: {error}"))
}

/// A path beside the directory that was in force.
pub(super) fn joined(now: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let base = if now.is_empty() { "/" } else { now };
    format!("{}/{path}", base.trim_end_matches('/'))
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str) -> Result<Vec<String>, String> {
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("invalid containerPort: {text}"));
    let (first, last) = (number(first)?, number(last)?);
    if first > last {
        return Err(format!("invalid containerPort range: {range}"));
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// A path without `.`, `..`, doubled and trailing slashes, as Go's `path.Clean` of an absolute path.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

fn shown(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// Go's `%q` of a list.
fn quoted(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "))
}

/// Go's `%q` of BuildKit's own type.
fn health(check: &Healthcheck) -> String {
    let time = |ns: i64| format!("{:?}", go_duration(ns));
    let retries = char::from_u32(u32::try_from(check.retries).unwrap_or(0)).unwrap_or('\u{fffd}');
    let retries = if (' '..='~').contains(&retries) { format!("'{retries}'") } else { escape_rune(retries) };
    format!(
        "&{{{} {} {} {} {} {retries}}}",
        quoted(&check.test),
        time(check.interval),
        time(check.timeout),
        time(check.start_period),
        time(check.start_interval)
    )
}

fn escape_rune(rune: char) -> String {
    match rune {
        '\u{7}' => r"'\a'".to_owned(),
        '\u{8}' => r"'\b'".to_owned(),
        '\t' => r"'\t'".to_owned(),
        '\n' => r"'\n'".to_owned(),
        '\u{b}' => r"'\v'".to_owned(),
        '\u{c}' => r"'\f'".to_owned(),
        '\r' => r"'\r'".to_owned(),
        other => format!(r"'\x{:02x}'", u32::from(other)),
    }
}

/// `1m30s`, `500ms`, `0s`.
fn go_duration(ns: i64) -> String {
    let (whole, rest) = (ns / 1_000_000_000, ns % 1_000_000_000);
    if whole == 0 && rest != 0 {
        return if rest % 1_000_000 == 0 { format!("{}ms", rest / 1_000_000) } else { format!("{rest}ns") };
    }
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    let fraction = if rest == 0 { String::new() } else { format!(".{:09}", rest).trim_end_matches('0').to_owned() };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{fraction}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::dockerfile::parse;
    use super::*;

    fn after(text: &str) -> State {
        let parsed = parse(&format!("FROM scratch\n{text}")).unwrap();
        let mut state = State::empty(Platform::host(), '\\');
        for instruction in &parsed.stages[0].instructions {
            assert!(state.apply(instruction).unwrap(), "{}", instruction.source);
        }
        state
    }

    fn texts(state: &State) -> Vec<&str> {
        state.history.iter().map(|entry| entry.created_by.as_str()).collect()
    }

    #[test]
    fn an_entrypoint_takes_an_inherited_command_away_and_no_other() {
        let mut state = after("CMD one");
        assert_eq!(after("CMD one\nENTRYPOINT [\"/e\"]").config.cmd.unwrap(), ["/bin/sh", "-c", "one"]);
        state = State::of_stage(&state);
        let parsed = parse("FROM scratch\nENTRYPOINT [\"/e\"]").unwrap();
        state.apply(&parsed.stages[0].instructions[0]).unwrap();
        assert_eq!(state.config.cmd, None);
    }

    #[test]
    fn variables_of_one_env_see_those_before_it() {
        let state = after("ENV a=1\nENV a=2 b=$a c=${nosuch:-d}");
        assert_eq!(state.config.env[1..], ["a=2", "b=1", "c=d"]);
        assert_eq!(texts(&state), ["ENV a=1", "ENV a=2 b=1 c=d"]);
    }

    #[test]
    fn the_history_reads_as_buildkits() {
        let state = after(concat!(
            "CMD [\"a\", \"b c\"]\nEXPOSE 80 53/udp\nVOLUME /data /x\nUSER 1000:50\nSHELL [\"/bin/bash\", \"-c\"]\n",
            "HEALTHCHECK --interval=90s --retries=3 CMD curl x\nSTOPSIGNAL SIGUSR1\nLABEL a=b \"c d\"=e\nONBUILD RUN make",
        ));
        assert_eq!(
            texts(&state),
            [
                "CMD [\"a\" \"b c\"]",
                "EXPOSE map[53/udp:{} 80/tcp:{}]",
                "VOLUME [/data /x]",
                "USER 1000:50",
                "SHELL [/bin/bash -c]",
                "HEALTHCHECK &{[\"CMD-SHELL\" \"curl x\"] \"1m30s\" \"0s\" \"0s\" \"0s\" '\\x03'}",
                "STOPSIGNAL SIGUSR1",
                "LABEL a=b c d=e",
                "ONBUILD RUN make",
            ]
        );
        assert!(state.history.iter().all(|entry| entry.empty_layer && entry.comment == HISTORY_COMMENT));
    }

    #[test]
    fn arguments_that_a_command_sees_stand_in_its_history() {
        let mut state = after("ENV b=env");
        state.declare("a", Some("1".into()));
        state.declare("b", Some("arg".into()));
        state.declare("c", None);
        assert_eq!(
            state.run_text(&["/bin/sh".into(), "-c".into(), "x".into()]),
            "RUN |3 a=1 b=env c= /bin/sh -c x # buildkit"
        );
    }

    #[test]
    fn paths_and_durations_are_gos() {
        assert_eq!(["", "a", "../a", "/a//b/./c/.."].map(|p| after("USER x").path(p)), ["/", "/a", "/a", "/a/b"]);
        let shown = [0, 500_000_000, 1_500_000_000, 90_000_000_000, 3_600_000_000_000].map(go_duration);
        assert_eq!(shown, ["0s", "500ms", "1.5s", "1m30s", "1h0m0s"]);
    }
}
