//! `gantry pull`.

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
    about: "Download an image from a registry",
    usage: "NAME[:TAG|@DIGEST]",
    arguments: (1, 1),
    flags: &[&[
        Flag::switch("all-tags", "Download all tagged images in the repository").short('a'),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
        Flag::switch("quiet", "Suppress verbose output").short('q'),
        Flag::switch_on("disable-content-trust", "").hidden(),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut reference = Reference::parse(matches.arg(0)).map_err(Error::Message)?;
    if matches.on("all-tags") {
        if reference.tag.is_some() || reference.digest.is_some() {
            return Err(Error::message("tag can't be used with --all-tags/-a"));
        }
    } else {
        let tagless = reference.tag.is_none() && reference.digest.is_none();
        reference = reference.with_default_tag();
        if tagless && !matches.on("quiet") {
            println("Using default tag: latest")?;
        }
    }
    let target = (!matches.on("quiet")).then_some(Target::Stdout);
    pull(context, &reference, matches.text("platform"), target).await?;
    println(&reference.full())
}

/// Pulls an image; progress goes to `target`, if anywhere.
pub(crate) async fn pull(
    context: &Context,
    reference: &Reference,
    platform: &str,
    target: Option<Target>,
) -> Result<()> {
    let version = reference.digest.as_deref().or(reference.tag.as_deref()).unwrap_or_default();
    let path = Path::new("/images/create")
        .query("fromImage", &reference.familiar_name())
        .query_some("tag", version)
        .query_some("platform", platform);
    let auth = auth::header(&context.config, &reference.domain)?;
    let headers = [("x-registry-auth", auth.as_str())];
    let response = context.client.send(http::Method::POST, &path, empty_body(), &headers).await?;
    let mut lines = Lines::new(response.into_body());
    match target {
        Some(target) => progress::show(&mut lines, target).await,
        None => progress::swallow(&mut lines).await,
    }
}
