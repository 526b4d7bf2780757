//! `gantry tag`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::Matches;
use crate::reference::Reference;

pub(crate) static COMMAND: Command = Command {
    about: "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
    usage: "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
    arguments: (2, 2),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let target = Reference::parse(matches.arg(1)).map_err(|reason| {
        Error::message(format!("error parsing reference: {:?} is not a valid repository/tag: {reason}", matches.arg(1)))
    })?;
    if target.digest.is_some() {
        return Err(Error::message("refusing to create a tag with a digest reference"));
    }
    let target = target.with_default_tag();
    let path = Path::of("images", matches.arg(0), "tag")?
        .query("repo", &target.familiar_name())
        .query("tag", target.tag.as_deref().unwrap_or_default());
    context.client.post_done(&path).await
}
