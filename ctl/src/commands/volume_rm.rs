//! `gantry volume rm`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Flag, Matches};

use super::each::each;

pub(crate) static COMMAND: Command = Command {
    about: "Remove one or more volumes. You cannot remove a volume that is in use by a container.",
    usage: "VOLUME [VOLUME...]",
    arguments: (1, ANY),
    flags: &[&[Flag::switch("force", "Force the removal of one or more volumes").short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    each(&matches.args, async |name| {
        let path = Path::of("volumes", name, "")?.query_if("force", matches.on("force"));
        context.client.delete(&path).await?;
        Ok(name.to_owned())
    })
    .await
}
