//! `gantry rm`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Flag, Matches};

use super::each::each;

pub(crate) static COMMAND: Command = Command {
    about: "Remove one or more containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[
        Flag::switch("force", "Force the removal of a running container (uses SIGKILL)").short('f'),
        Flag::switch("link", "Remove the specified link").short('l'),
        Flag::switch("volumes", "Remove anonymous volumes associated with the container").short('v'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    each(&matches.args, async |name| {
        let path = Path::of("containers", name.trim_matches('/'), "")?
            .query_if("force", matches.on("force"))
            .query_if("link", matches.on("link"))
            .query_if("v", matches.on("volumes"));
        match context.client.delete(&path).await {
            // With --force an absent container is not worth a failure.
            Err(error) if error.is_not_found() && matches.on("force") => {
                crate::output::eprintln(&error.to_string());
                Ok(name.to_owned())
            }
            result => result.map(|_| name.to_owned()),
        }
    })
    .await
}
