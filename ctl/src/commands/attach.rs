//! `gantry attach`, and attached sessions in general.

use std::rc::Rc;

use crate::cli::Command;
use crate::client::{Hijacked, Path};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::template::Value;
use crate::streams::{self, Ended, Plan};
use crate::terminal::{self, RawMode};
use crate::{output, signals};

use super::wait::Waiting;

pub(crate) static COMMAND: Command = Command {
    about: "Attach local standard input, output, and error streams to a running container",
    usage: "CONTAINER",
    arguments: (1, 1),
    flags: &[&[
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::switch("no-stdin", "Do not attach STDIN"),
        Flag::switch_on("sig-proxy", "Proxy all received signals to the process"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

/// A container's streams, connected to ours.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: Hijacked,
    pub(crate) plan: Plan,
    pub(crate) id: String,
}

impl Session {
    /// Copies until the output ends or the user detaches. In a raw terminal a fatal signal ends the client
    /// only after the terminal has been given back.
    pub(crate) async fn run(self, fatal_signals: bool) -> Result<Ended> {
        let raw = if self.plan.tty && self.plan.stdin { RawMode::enter()? } else { None };
        if raw.is_none() || !fatal_signals {
            return streams::copy(self.connection, &self.plan).await;
        }
        tokio::select! {
            ended = streams::copy(self.connection, &self.plan) => ended,
            signal = signals::fatal() => Err(Error::Exit(u8::try_from(128 + signal).unwrap_or(255))),
        }
    }
}

impl Ended {
    pub(crate) fn is_detached(&self) -> bool {
        *self == Ended::Detached
    }
}

/// The attach request for a plan; keys go to the daemon only if the user chose some.
pub(crate) fn attach_path(id: &str, plan: &Plan, keys: &str) -> Result<Path> {
    Ok(Path::of("containers", id, "attach")?
        .query("stream", "1")
        .query_some("detachKeys", keys)
        .query_if("stdin", plan.stdin)
        .query_if("stdout", plan.stdout)
        .query_if("stderr", plan.stderr))
}

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let client = &context.client;
    let container = client.get_value(&Path::of("containers", matches.arg(0), "json")?).await?;
    check_attachable(&container)?;
    let id = container.field("Id").as_str().to_owned();
    let tty = container.at("Config.Tty").truth();
    let stdin = !matches.on("no-stdin") && container.at("Config.OpenStdin").truth();
    terminal::require_for(stdin, tty)?;
    let keys = matches.text("detach-keys");
    let plan = Plan { tty, stdin, stdout: true, stderr: true, detach_keys: context.detach_keys(keys) };
    if matches.on("sig-proxy") && !tty {
        signals::forward(Rc::clone(client), id.clone());
    }
    let waiting = Waiting::open(client, &id, "not-running").await?;
    let path = attach_path(&id, &plan, if keys.is_empty() { &context.config.detach_keys } else { keys })?;
    let connection = client.hijack(&path, None::<&()>).await?;
    if tty && terminal::stdout_is_terminal() {
        signals::follow_size(Rc::clone(client), Path::of("containers", &id, "resize")?);
    }
    let session = Session { connection, plan, id };
    if session.run(tty || !matches.on("sig-proxy")).await?.is_detached() {
        output::eprintln("read escape sequence");
        return Err(Error::Exit(1));
    }
    match waiting.code().await? {
        0 => Ok(()),
        code => Err(Error::Exit(code)),
    }
}

fn check_attachable(container: &Value) -> Result<()> {
    let state = container.field("State");
    if !state.field("Running").truth() {
        return Err(Error::message("cannot attach to a stopped container, start it first"));
    }
    if state.field("Paused").truth() {
        return Err(Error::message("cannot attach to a paused container, unpause it first"));
    }
    if state.field("Restarting").truth() {
        return Err(Error::message("cannot attach to a restarting container, wait until it is running"));
    }
    Ok(())
}
