//! `gantry run`: create, attach, wait, start, copy, and exit as the container did.

use std::rc::Rc;

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::{eprintln, println};
use crate::run_options::{self, CreateBody};
use crate::streams::Plan;
use crate::{signals, terminal};

use super::attach::{Session, attach_path};
use super::create;
use super::wait::Waiting;

const FLAGS: &[Flag] = &[
    Flag::switch("detach", "Run container in background and print container ID").short('d'),
    Flag::text("detach-keys", "Override the key sequence for detaching a container"),
    Flag::switch_on("sig-proxy", "Proxy received signals to the process"),
];

pub(crate) static COMMAND: Command = Command {
    about: "Create and run a new container from an image",
    usage: "IMAGE [COMMAND] [ARG...]",
    arguments: (1, ANY),
    flags: &[run_options::FLAGS, create::PULL_FLAGS, FLAGS],
    interspersed: false,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let proxy = context.config.proxy_env(&context.client.host().shown);
    let mut body = run_options::build(matches, &proxy).map_err(|error| told(context, &error, 125))?;
    let detached = matches.on("detach");
    if detached {
        if !matches.list("attach").is_empty() {
            return Err(Error::message("conflicting options: cannot specify both --attach and --detach"));
        }
        let config = &mut body.config;
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
        config.stdin_once = false;
    } else {
        terminal::require_for(body.config.attach_stdin, body.config.tty)?;
        if let Some((rows, columns)) = terminal::size() {
            body.extras.host_config.console_size = [u32::from(rows), u32::from(columns)];
        }
    }
    let id = create::create(context, matches, &body).await.map_err(|error| told(context, &error, 125))?;
    let session = open(context, matches, &body, &id).await.map_err(|error| told(context, &error, 125))?;
    start(context, matches, &body, &id, session).await
}

/// What is set up before the start, so that no output and no exit is missed.
struct Opened {
    session: Option<Session>,
    waiting: Option<Waiting>,
}

async fn open(context: &Context, matches: &Matches, body: &CreateBody, id: &str) -> Result<Opened> {
    let config = &body.config;
    let attached = config.attach_stdin || config.attach_stdout || config.attach_stderr;
    if matches.on("detach") {
        return Ok(Opened { session: None, waiting: None });
    }
    if matches.on("sig-proxy") && !config.tty {
        signals::forward(Rc::clone(&context.client), id.to_owned());
    }
    let condition = if matches.on("rm") { "removed" } else { "next-exit" };
    if !attached {
        return Ok(Opened { session: None, waiting: Some(Waiting::open(&context.client, id, condition).await?) });
    }
    let keys = matches.text("detach-keys");
    let plan = Plan {
        tty: config.tty,
        stdin: config.attach_stdin,
        stdout: config.attach_stdout,
        stderr: config.attach_stderr,
        detach_keys: context.detach_keys(keys),
    };
    let path = attach_path(id, &plan, if keys.is_empty() { &context.config.detach_keys } else { keys })?;
    let connection = context.client.hijack(&path, None::<&()>).await?;
    let waiting = Waiting::open(&context.client, id, condition).await?;
    Ok(Opened { session: Some(Session { connection, plan, id: id.to_owned() }), waiting: Some(waiting) })
}

async fn start(context: &Context, matches: &Matches, body: &CreateBody, id: &str, opened: Opened) -> Result<()> {
    let client = &context.client;
    let Opened { session, waiting } = opened;
    let path = Path::of("containers", id, "start")?;
    if let Err(error) = client.post_done(&path).await {
        let failure = told(context, &error, start_failure_code(&error));
        // With --rm the daemon removes what could not start; leave no trace behind before saying so.
        if let (Some(waiting), true) = (waiting, body.extras.host_config.auto_remove) {
            drop(session);
            let _ = waiting.code().await;
        }
        return Err(failure);
    }
    let Some(waiting) = waiting else { return println(id) };
    if let Some(session) = session {
        if body.config.tty && terminal::stdout_is_terminal() {
            signals::follow_size(Rc::clone(client), Path::of("containers", id, "resize")?);
        }
        let fatal_signals = body.config.tty || !matches.on("sig-proxy");
        if session.run(fatal_signals).await?.is_detached() {
            return Ok(());
        }
    }
    let code = waiting.code().await.map_err(|error| {
        eprintln(&format!("error waiting for container: {error}"));
        Error::Exit(125)
    })?;
    if code == 0 { Ok(()) } else { Err(Error::Exit(code)) }
}

/// 127: there is no such program; 126: it cannot be run; 125: any other failure of the daemon.
fn start_failure_code(error: &Error) -> u8 {
    let text = error.to_string();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["executable file not found", "no such file or directory", "system cannot find the file specified"]) {
        127
    } else if has(&["permission denied", "is a directory"]) {
        126
    } else {
        125
    }
}

/// The error as `run` tells it: with the program's name, a hint, and its own exit code.
fn told(context: &Context, error: &Error, code: u8) -> Error {
    if let Error::Exit(code) = error {
        return Error::Exit(*code);
    }
    Error::Code { code, message: format!("gantry: {error}\n\nRun '{} --help' for more information", context.path) }
}
