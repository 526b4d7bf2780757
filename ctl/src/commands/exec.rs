//! `gantry exec`.

use std::rc::Rc;
use std::time::Duration;

use docker_api::container::StrSlice;
use docker_api::exec::{ExecCreate, ExecStart};

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::run_options::environment;
use crate::streams::Plan;
use crate::{signals, terminal};

use super::attach::Session;

/// How often, 10 ms apart, the exit code of a finished exec is asked for while it still counts as running.
const EXIT_POLLS_MAX: u32 = 200;

pub(crate) static COMMAND: Command = Command {
    about: "Execute a command in a running container",
    usage: "CONTAINER COMMAND [ARG...]",
    arguments: (2, ANY),
    flags: &[&[
        Flag::switch("detach", "Detached mode: run command in the background").short('d'),
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        Flag::list("env", "Set environment variables").short('e').check(environment::check_env),
        Flag::list("env-file", "Read in a file of environment variables"),
        Flag::switch("interactive", "Keep STDIN open even if not attached").short('i'),
        Flag::switch("privileged", "Give extended privileges to the command"),
        Flag::switch("tty", "Allocate a pseudo-TTY").short('t'),
        Flag::text("user", "Username or UID (format: \"<name|uid>[:<group|gid>]\")").short('u'),
        Flag::text("workdir", "Working directory inside the container").short('w'),
    ]],
    interspersed: false,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let client = &context.client;
    let (detach, tty) = (matches.on("detach"), matches.on("tty"));
    let stdin = matches.on("interactive") && !detach;
    terminal::require_for(stdin, tty)?;
    let keys = matches.text("detach-keys");
    let keys = if keys.is_empty() { context.config.detach_keys.as_str() } else { keys };
    let size = terminal::size().filter(|_| tty).map(|(rows, columns)| [u32::from(rows), u32::from(columns)]);
    let env = environment::environment(matches.list("env-file"), matches.list("env"))?;
    let create = ExecCreate {
        user: matches.text("user").to_owned(),
        privileged: matches.on("privileged"),
        tty,
        console_size: size,
        attach_stdin: stdin,
        attach_stdout: !detach,
        attach_stderr: !detach,
        detach_keys: keys.to_owned(),
        env: Some(env).filter(|env| !env.is_empty()),
        working_dir: matches.text("workdir").to_owned(),
        cmd: StrSlice(matches.args[1..].to_vec()),
    };
    let answer = client.post_json(&Path::of("containers", matches.arg(0), "exec")?, &create).await?;
    let id = answer.field("Id").as_str();
    if id.is_empty() {
        return Err(Error::message("exec ID empty"));
    }
    let start = Path::of("exec", id, "start")?;
    let body = ExecStart { detach, tty, console_size: size };
    if detach {
        return client.post_json(&start, &body).await.map(|_| ());
    }
    let connection = client.hijack(&start, Some(&body)).await?;
    if tty && terminal::stdout_is_terminal() {
        signals::follow_size(Rc::clone(client), Path::of("exec", id, "resize")?);
    }
    let detach_keys = context.detach_keys(matches.text("detach-keys"));
    let plan = Plan { tty, stdin, stdout: true, stderr: true, detach_keys };
    let session = Session { connection, plan, id: id.to_owned() };
    if session.run(tty).await?.is_detached() {
        return Ok(());
    }
    match exit_code(context, id).await? {
        0 => Ok(()),
        code => Err(Error::Exit(code)),
    }
}

async fn exit_code(context: &Context, id: &str) -> Result<u8> {
    let path = Path::of("exec", id, "json")?;
    for _ in 0..EXIT_POLLS_MAX {
        let exec = context.client.get_value(&path).await?;
        if !exec.field("Running").truth() {
            return Ok(u8::try_from(exec.field("ExitCode").as_int() & 0xff).unwrap_or(125));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Err(Error::message(format!("exec {id}: its output has ended but the daemon says that it still runs")))
}
