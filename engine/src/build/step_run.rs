//! `RUN`.

use std::path::Path;

use sys::rooted::RootFd;

use crate::container::rootfs;
use crate::error::{Error, ErrorKind, Result};
use crate::id::{ContainerId, Digest};
use crate::snapshot::SnapshotKey;

use super::dockerfile::{CommandLine, Run};
use super::executor::Execution;
use super::layers::{chain, ids};
use super::process::{self, BuildProcess};
use super::run_mounts::{self, KnownMount};
use super::source::blocking;
use super::spec::Entitlement;
use super::state::State;
use super::step::{Outcome, Step};
use super::stubs::Stubs;

/// Arguments that every `RUN` sees when they are given, that no history shows and no result depends on.
const PROXIES: [&str; 5] = ["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// What is executed.
struct Command {
    args: Vec<String>,
    /// A script that brings its own interpreter: its name and its text.
    script: Option<(String, String)>,
}

/// Runs a command, unless the cache has what it made. The words are added to the history.
pub(super) async fn run(execution: &Execution, state: &mut State, step: &Step<'_>, run: &Run) -> Result<Outcome> {
    let command = command(state, run);
    let network = network(execution, run)?;
    let privileged = privileged(execution, run)?;
    if !run.devices.is_empty() {
        return Err(Error::not_implemented("RUN --device: devices are not given to builds"));
    }
    let mut flags = Vec::new();
    for flag in &run.mounts {
        let mut expand = |text: &str| state.word(text).map_err(|e| e.to_string());
        flags.push(flag.mount(&mut expand).map_err(Error::invalid)?);
    }
    let known = run_mounts::known(execution, step.stage, flags).await?;
    let env = environment(state);
    let key = key(execution, state, &command, &env, &network, privileged, &known);
    let text = state.run_text(&shown(state, run, &command));
    if let Some(outcome) = step.cached(execution, state, key, &text).await? {
        return Ok(outcome);
    }
    let _turn = execution.turn().await?;
    let id = ContainerId::random();
    let snapshot: SnapshotKey = id.as_str().parse()?;
    execution.core.snapshots.prepare(&snapshot, &ids(&state.layers)).await?;
    let done = execute(execution, state, step, Prepared { id, command, env, network, privileged, known }).await;
    match done {
        Ok(()) => step.seal(execution, state, &snapshot, &[key], text).await,
        Err(error) => {
            execution.core.snapshots.remove(&snapshot).await?;
            Err(error)
        }
    }
}

/// Everything that a command is executed with.
struct Prepared {
    id: ContainerId,
    command: Command,
    env: Vec<String>,
    network: String,
    privileged: bool,
    known: Vec<KnownMount>,
}

async fn execute(execution: &Execution, state: &State, step: &Step<'_>, prepared: Prepared) -> Result<()> {
    let Prepared { id, command, mut env, network, privileged, known } = prepared;
    let cwd = if state.config.working_dir.is_empty() { "/".to_owned() } else { state.config.working_dir.clone() };
    let mut mounts = run_mounts::make(execution, &known, &cwd).await?;
    let mut args = command.args;
    if let Some((name, content)) = &command.script {
        args.push(mounts.script(execution, name, content)?);
    }
    for (name, value) in proxies(execution) {
        env.push(format!("{name}={value}"));
    }
    env.append(&mut mounts.env);
    let lower = execution.core.images.overlay().stack(&ids(&state.layers))?;
    let targets: Vec<String> = mounts.mounts.iter().map(|mount| mount.target.clone()).collect();
    let noted = blocking(move || {
        let lower = RootFd::from_fd(rootfs::open(&lower)?);
        Ok((Stubs::note(&lower, targets.iter().map(String::as_str))?, lower))
    });
    let sandbox = execution.sandboxes.take(&execution.spec, &network);
    let (noted, sandbox) = tokio::join!(noted, sandbox);
    let (sandbox, (stubs, lower)) = match (sandbox, noted) {
        (Ok(sandbox), Ok(noted)) => (sandbox, noted),
        (Ok(sandbox), Err(error)) => {
            execution.sandboxes.give_back(sandbox);
            return Err(error);
        }
        (Err(error), _) => return Err(error),
    };
    let wanted = BuildProcess {
        id: id.clone(),
        files: chain(&state.layers),
        args: args.clone(),
        env,
        cwd,
        user: state.config.user.clone(),
        mounts: mounts.mounts.clone(),
        resources: execution.spec.resources.clone(),
        privileged,
    };
    let ended = process::run(&execution.core, &sandbox, wanted, &step.vertex, &execution.cancel).await;
    execution.sandboxes.give_back(sandbox);
    drop(mounts);
    let code = match ended {
        Ok(code) => code,
        Err(error) => {
            let Some(code) = error.exit_code() else { return Err(error) };
            step.vertex.log(crate::container::Stream::Stderr, format!("{error}\n").into()).await?;
            code
        }
    };
    if code != 0 {
        return Err(failed(&args, code));
    }
    let key: SnapshotKey = id.as_str().parse()?;
    let upper = execution.core.snapshots.upper_dir(&key)?.ok_or_else(|| Error::internal("a step without files"))?;
    blocking(move || {
        let upper = RootFd::open(&upper)?.open_dir(Path::new(""))?;
        stubs.clear(&upper, &lower)
    })
    .await
}

/// What BuildKit says of a command that failed.
fn failed(args: &[String], code: i32) -> Error {
    let shown = args.join(" ");
    let text = format!("process {shown:?} did not complete successfully: exit code: {code}");
    Error::new(ErrorKind::InvalidArgument, text).with_exit_code(code)
}

fn command(state: &State, run: &Run) -> Command {
    let CommandLine::Shell(line) = &run.command else {
        return Command { args: state.command(&run.command), script: None };
    };
    let Some(first) = run.heredocs.first() else {
        return Command { args: state.command(&run.command), script: None };
    };
    let text = first.text();
    if run.heredocs.len() == 1 && is_only_heredoc(line, &first.name) {
        if text.starts_with("#!") {
            let mut args = state.command(&CommandLine::Shell(String::new()));
            args.pop();
            return Command { args, script: Some((first.name.clone(), text)) };
        }
        return Command { args: state.command(&CommandLine::Shell(text)), script: None };
    }
    // The shell reads them itself, as they stand in the file.
    let mut whole = line.clone();
    for document in &run.heredocs {
        whole.push('\n');
        whole.push_str(&document.content);
        whole.push_str(&document.name);
    }
    Command { args: state.command(&CommandLine::Shell(whole)), script: None }
}

/// `<<EOF`, `<<-EOF`, `<<"EOF"` and nothing else on the line.
fn is_only_heredoc(line: &str, name: &str) -> bool {
    let Some(rest) = line.trim().strip_prefix("<<") else { return false };
    let rest = rest.strip_prefix('-').unwrap_or(rest).trim();
    rest == name || rest == format!("\"{name}\"") || rest == format!("'{name}'")
}

/// The command as the history has it: a script stands there as the line that named it.
fn shown(state: &State, run: &Run, command: &Command) -> Vec<String> {
    match (&command.script, &run.command) {
        (Some((name, _)), CommandLine::Shell(_)) => {
            let mut args = command.args.clone();
            args.push(format!("/dev/pipes/{name}"));
            args
        }
        (_, line) if run.heredocs.is_empty() => state.command(line),
        _ => command.args.clone(),
    }
}

/// `ENV`, and `ARG` where `ENV` has not the same name.
fn environment(state: &State) -> Vec<String> {
    let mut env = state.config.env.clone();
    for (name, value) in &state.args {
        let taken = env.iter().any(|entry| entry.split('=').next() == Some(name.as_str()));
        if let (Some(value), false) = (value, taken) {
            env.push(format!("{name}={value}"));
        }
    }
    env
}

fn proxies(execution: &Execution) -> Vec<(String, String)> {
    let known = |name: &str| PROXIES.contains(&name.to_ascii_lowercase().as_str());
    let given = execution.spec.args.iter().filter(|(name, _)| known(name));
    given.filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect()
}

fn network(execution: &Execution, run: &Run) -> Result<String> {
    let of_build = execution.spec.network.as_str();
    let asked = match run.network.as_deref() {
        None | Some("default" | "") => return Ok(of_build.to_owned()),
        Some(asked) => asked,
    };
    let allowed = of_build == "host" || execution.spec.allow.contains(&Entitlement::NetworkHost);
    match asked {
        "none" => Ok("none".to_owned()),
        "host" if allowed => Ok("host".to_owned()),
        "host" => Err(Error::new(ErrorKind::Forbidden, "network.host is not allowed")),
        other => Err(Error::invalid(format!("invalid network mode {other:?}"))),
    }
}

fn privileged(execution: &Execution, run: &Run) -> Result<bool> {
    match run.security.as_deref() {
        None | Some("sandbox" | "") => Ok(false),
        Some("insecure") if execution.spec.allow.contains(&Entitlement::SecurityInsecure) => Ok(true),
        Some("insecure") => Err(Error::new(ErrorKind::Forbidden, "security.insecure is not allowed")),
        Some(other) => Err(Error::invalid(format!("security mode {other:?} is not known"))),
    }
}

fn key(
    execution: &Execution,
    state: &State,
    command: &Command,
    env: &[String],
    network: &str,
    privileged: bool,
    mounts: &[KnownMount],
) -> Digest {
    let config = &state.config;
    let mounts: Vec<&String> = mounts.iter().map(|known| &known.key).collect();
    let spec = &execution.spec;
    let inputs = serde_json::json!({
        "step": "run 1",
        "files": chain(&state.layers),
        "args": command.args,
        "script": command.script,
        "env": env,
        "cwd": config.working_dir,
        "user": config.user,
        "network": network,
        "privileged": privileged,
        "mounts": mounts,
        "hosts": spec.extra_hosts,
        "epoch": spec.source_date_epoch,
    });
    Digest::of(inputs.to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_only_a_heredoc_is_told_from_one_that_uses_it() {
        assert!(is_only_heredoc("<<EOF", "EOF") && is_only_heredoc("<<-\"EOF\"", "EOF"));
        assert!(!is_only_heredoc("cat <<EOF", "EOF") && !is_only_heredoc("<<EOF cat", "EOF"));
    }
}
