//! `gantry import`.

use http::Method;

use crate::cli::Command;
use crate::client::{Lines, Path, body_of, empty_body};
use crate::context::Context;
use crate::error::{Error, Result, open_file};
use crate::flags::{Flag, Matches};
use crate::output::progress::{self, Target};
use crate::reference::Reference;

pub(crate) static COMMAND: Command = Command {
    about: "Import the contents from a tarball to create a filesystem image",
    usage: "file|URL|- [REPOSITORY[:TAG]]",
    arguments: (1, 2),
    flags: &[&[
        Flag::list("change", "Apply Dockerfile instruction to the created image").short('c'),
        Flag::text("message", "Set commit message for imported image").short('m'),
        Flag::text("platform", "Set platform if server is multi-platform capable"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let source = matches.arg(0);
    let (from, body) = match source {
        "-" => ("-", body_of(std::io::stdin())),
        url if url.starts_with("http://") || url.starts_with("https://") => (url, empty_body()),
        path => ("-", body_of(open_file(path)?)),
    };
    let mut path = Path::new("/images/create").query("fromSrc", from);
    if !matches.arg(1).is_empty() {
        let reference = Reference::parse(matches.arg(1)).map_err(Error::Message)?;
        path = path.query("repo", &reference.familiar_name());
        path = path.query_some("tag", reference.tag.as_deref().unwrap_or_default());
    }
    path = path.query_some("message", matches.text("message"));
    path = path.query_some("platform", matches.text("platform"));
    for change in matches.list("change") {
        path = path.query("changes", change);
    }
    let headers = [("content-type", "application/x-tar")];
    let response = context.client.send(Method::POST, &path, body, &headers).await?;
    progress::show(&mut Lines::new(response.into_body()), Target::Stdout).await
}
