//! `gantry export`.

use super::save::download;
use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Flag, Matches};

pub(crate) static COMMAND: Command = Command {
    about: "Export a container's filesystem as a tar archive",
    usage: "CONTAINER",
    arguments: (1, 1),
    flags: &[&[Flag::text("output", "Write to a file, instead of STDOUT").short('o')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    download(context, &Path::of("containers", matches.arg(0), "export")?, matches).await
}
