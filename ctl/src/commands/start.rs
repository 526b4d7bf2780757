//! `gantry start`.

use std::rc::Rc;

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORCE, Flag, Matches};
use crate::output::println;
use crate::streams::Plan;
use crate::{signals, terminal};

use super::attach::{Session, attach_path};
use super::each::each;
use super::wait::Waiting;

pub(crate) static COMMAND: Command = Command {
    about: "Start one or more stopped containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[
        Flag::switch("attach", "Attach STDOUT/STDERR and forward signals").short('a'),
        Flag::text("detach-keys", "Override the key sequence for detaching a container"),
        FORCE,
        Flag::switch("interactive", "Attach container's STDIN").short('i'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    if matches.on("attach") || matches.on("interactive") {
        if matches.args.len() > 1 {
            return Err(Error::message("you cannot start and attach multiple containers at once"));
        }
        return attached(context, matches).await;
    }
    let started = each(&matches.args, async |name| {
        context
            .client
            .post_done(&Path::of("containers", name, "start")?.query_if("force", matches.on("force")))
            .await?;
        Ok(name.to_owned())
    });
    started
        .await
        .map_err(|error| Error::message(format!("{error}\nfailed to start containers: {}", matches.args.join(", "))))
}

async fn attached(context: &Context, matches: &Matches) -> Result<()> {
    let client = &context.client;
    let container = client.get_value(&Path::of("containers", matches.arg(0), "json")?).await?;
    let id = container.field("Id").as_str().to_owned();
    let tty = container.at("Config.Tty").truth();
    let stdin = matches.on("interactive") && container.at("Config.OpenStdin").truth();
    terminal::require_for(stdin, tty)?;
    if !tty {
        signals::forward(Rc::clone(client), id.clone());
    }
    let keys = matches.text("detach-keys");
    let plan = Plan { tty, stdin, stdout: true, stderr: true, detach_keys: context.detach_keys(keys) };
    let path = attach_path(&id, &plan, if keys.is_empty() { &context.config.detach_keys } else { keys })?;
    let connection = client.hijack(&path, None::<&()>).await?;
    let removed = container.at("HostConfig.AutoRemove").truth();
    let waiting = Waiting::open(client, &id, if removed { "removed" } else { "next-exit" }).await?;
    client.post_done(&Path::of("containers", &id, "start")?).await?;
    if tty && terminal::stdout_is_terminal() {
        signals::follow_size(Rc::clone(client), Path::of("containers", &id, "resize")?);
    }
    let session = Session { connection, plan, id };
    let name = session.id.clone();
    if session.run(tty).await?.is_detached() {
        return println(&name);
    }
    match waiting.code().await? {
        0 => Ok(()),
        code => Err(Error::Exit(code)),
    }
}
