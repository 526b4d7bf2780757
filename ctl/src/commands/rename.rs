//! `gantry rename`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORCE, Matches};

pub(crate) static COMMAND: Command = Command {
    about: "Rename a container",
    usage: "CONTAINER NEW_NAME",
    arguments: (2, 2),
    flags: &[&[FORCE]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let (old, new) = (matches.arg(0).trim(), matches.arg(1).trim());
    if old.is_empty() || new.is_empty() {
        return Err(Error::message("Error: Neither old nor new names may be empty"));
    }
    let path = Path::of("containers", old, "rename")?.query("name", new).query_if("force", matches.on("force"));
    context
        .client
        .post_done(&path)
        .await
        .map_err(|error| Error::message(format!("{error}\nError: failed to rename container named {old}")))
}
