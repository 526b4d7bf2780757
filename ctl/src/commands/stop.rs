//! `gantry stop` and `gantry restart`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FORCE, Flag, Matches};

use super::each::each;

const FLAGS: &[Flag] = &[
    FORCE,
    Flag::text("signal", "Signal to send to the container").short('s'),
    Flag::int("timeout", "Seconds to wait before killing the container").short('t'),
    Flag::int("time", "").hidden(),
];

pub(crate) static STOP: Command = Command {
    about: "Stop one or more running containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[FLAGS],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, "stop")),
};

pub(crate) static RESTART: Command = Command {
    about: "Restart one or more containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[FLAGS],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, "restart")),
};

async fn run(context: &Context, matches: &Matches, verb: &str) -> Result<()> {
    let seconds = if matches.given("timeout") { matches.text("timeout") } else { matches.text("time") };
    each(&matches.args, async |name| {
        let path = Path::of("containers", name, verb)?
            .query_some("t", seconds)
            .query_if("force", matches.on("force"))
            .query_some("signal", matches.text("signal"));
        context.client.post_done(&path).await?;
        Ok(name.to_owned())
    })
    .await
}
