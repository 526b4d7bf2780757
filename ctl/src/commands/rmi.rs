//! `gantry rmi`.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::println;

pub(crate) static COMMAND: Command = Command {
    about: "Remove one or more images",
    usage: "IMAGE [IMAGE...]",
    arguments: (1, ANY),
    flags: &[&[
        Flag::switch("force", "Force removal of the image").short('f'),
        Flag::switch("no-prune", "Do not delete untagged parents"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut failures = Vec::new();
    let mut fatal = false;
    // One after the other: two names may share an image.
    for name in &matches.args {
        let path = Path::of("images", name, "")?
            .query_if("force", matches.on("force"))
            .query_if("noprune", matches.on("no-prune"));
        match context.client.delete(&path).await {
            Ok(removed) => {
                for item in removed.items() {
                    let (deleted, untagged) = (item.field("Deleted").as_str(), item.field("Untagged").as_str());
                    if deleted.is_empty() {
                        println(&format!("Untagged: {untagged}"))?;
                    } else {
                        println(&format!("Deleted: {deleted}"))?;
                    }
                }
            }
            Err(error) => {
                fatal |= !(error.is_not_found() && matches.on("force"));
                failures.push(error.to_string());
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    if fatal {
        return Err(Error::message(failures.join("\n")));
    }
    crate::output::eprintln(&failures.join("\n"));
    Ok(())
}
