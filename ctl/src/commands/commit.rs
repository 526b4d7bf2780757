//! `gantry commit`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::println;
use crate::reference::Reference;

pub(crate) static COMMAND: Command = Command {
    about: "Create a new image from a container's changes",
    usage: "CONTAINER [REPOSITORY[:TAG]]",
    arguments: (1, 2),
    flags: &[&[
        Flag::text("author", "Author (e.g., \"John Hannibal Smith <hannibal@a-team.com>\")").short('a'),
        Flag::list("change", "Apply Dockerfile instruction to the created image").short('c'),
        Flag::text("message", "Commit message").short('m'),
        Flag::switch_on("pause", "Pause container during commit").short('p'),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut path = Path::new("/commit").query("container", matches.arg(0));
    if !matches.arg(1).is_empty() {
        let reference = Reference::parse(matches.arg(1)).map_err(Error::Message)?;
        if reference.digest.is_some() {
            return Err(Error::message("refusing to create a tag with a digest reference"));
        }
        path = path.query("repo", &reference.familiar_name());
        path = path.query_some("tag", reference.tag.as_deref().unwrap_or_default());
    }
    path = path.query_some("author", matches.text("author")).query_some("comment", matches.text("message"));
    for change in matches.list("change") {
        path = path.query("changes", change);
    }
    let pause = if matches.on("pause") { "1" } else { "0" };
    let answer = context.client.post_json(&path.query("pause", pause), &serde_json::Value::Null).await?;
    println(answer.field("Id").as_str())
}
