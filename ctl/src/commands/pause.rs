//! `gantry pause` and `gantry unpause`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FORCE, Matches};

use super::each::each;

pub(crate) static PAUSE: Command = Command {
    about: "Pause all processes within one or more containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[FORCE]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, "pause")),
};

pub(crate) static UNPAUSE: Command = Command {
    about: "Unpause all processes within one or more containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[FORCE]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches, "unpause")),
};

async fn run(context: &Context, matches: &Matches, verb: &str) -> Result<()> {
    each(&matches.args, async |name| {
        context.client.post_done(&Path::of("containers", name, verb)?.query_if("force", matches.on("force"))).await?;
        Ok(name.to_owned())
    })
    .await
}
