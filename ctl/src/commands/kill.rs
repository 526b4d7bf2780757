//! `gantry kill`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{FORCE, Flag, Matches};

use super::each::each;

pub(crate) static COMMAND: Command = Command {
    about: "Kill one or more running containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[FORCE, Flag::text("signal", "Signal to send to the container").short('s')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    each(&matches.args, async |name| {
        let path = Path::of("containers", name, "kill")?
            .query_some("signal", matches.text("signal"))
            .query_if("force", matches.on("force"));
        context.client.post_done(&path).await?;
        Ok(name.to_owned())
    })
    .await
}
