//! `gantry push`.

use crate::auth;
use crate::cli::Command;
use crate::client::{Lines, Path, empty_body};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::println;
use crate::output::progress::{self, Target};
use crate::reference::Reference;

pub(crate) static COMMAND: Command = Command {
    about: "Upload an image to a registry",
    usage: "NAME[:TAG]",
    arguments: (1, 1),
    flags: &[&[
        Flag::switch("all-tags", "Push all tags of an image to the repository").short('a'),
        Flag::text(
            "platform",
            "Push a platform-specific manifest as a single-platform image to the registry.\nImage index won't be pushed, meaning that other manifests, including attestations won't be preserved.\n'os[/arch[/variant]]': Explicit platform (eg. linux/amd64)",
        ),
        Flag::switch("quiet", "Suppress verbose output").short('q'),
        Flag::switch_on("disable-content-trust", "").hidden(),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut reference = Reference::parse(matches.arg(0)).map_err(Error::Message)?;
    let (all, quiet) = (matches.on("all-tags"), matches.on("quiet"));
    if all {
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(Error::message("tag can't be used with --all-tags/-a"));
        }
    } else {
        let tagless = reference.tag.is_none() && reference.digest.is_none();
        reference = reference.with_default_tag();
        if tagless && !quiet {
            println("Using default tag: latest")?;
        }
    }
    let path = Path::of("images", &reference.familiar_name(), "push")?
        .query_some("tag", reference.tag.as_deref().unwrap_or_default())
        .query_some("platform", &super::load::platform_json(matches.text("platform")));
    let auth = auth::header(&context.config, &reference.domain)?;
    let headers = [("x-registry-auth", auth.as_str())];
    let response = context.client.send(http::Method::POST, &path, empty_body(), &headers).await?;
    let mut lines = Lines::new(response.into_body());
    if quiet {
        progress::swallow(&mut lines).await?;
        return println(&reference.full());
    }
    progress::show(&mut lines, Target::Stdout).await
}
