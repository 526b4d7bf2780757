//! `gantry create`, and the creation that `run` begins with.

use std::io::Write;

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result, reason};
use crate::flags::{Flag, Matches};
use crate::output::progress::Target;
use crate::output::{eprintln, println};
use crate::reference::Reference;
use crate::run_options::{self, CreateBody};

use super::pull;

/// How the image is found and how much is said about it.
pub(crate) const PULL_FLAGS: &[Flag] =
    &[Flag::text("pull", "Pull image before running (\"always\", \"missing\", \"never\")").default("missing")];

pub(crate) static COMMAND: Command = Command {
    about: "Create a new container",
    usage: "IMAGE [COMMAND] [ARG...]",
    arguments: (1, ANY),
    flags: &[run_options::FLAGS, PULL_FLAGS],
    interspersed: false,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let proxy = context.config.proxy_env(&context.client.host().shown);
    let body = run_options::build(matches, &proxy)?;
    println(&create(context, matches, &body).await?)
}

/// Creates the container, pulling its image where that is asked for; gives its id.
pub(crate) async fn create(context: &Context, matches: &Matches, body: &CreateBody) -> Result<String> {
    let policy = matches.text("pull");
    if !matches!(policy, "always" | "missing" | "never") {
        return Err(Error::message(format!(
            "invalid pull option: '{policy}': must be one of \"always\", \"missing\" or \"never\""
        )));
    }
    let cidfile = matches.optional("cidfile");
    let mut cidfile = cidfile.map(CidFile::open).transpose()?;
    let image = image_reference(&body.config.image)?;
    if let (Some(reference), "always") = (&image, policy) {
        pull_image(context, matches, reference).await?;
    }
    let path = Path::new("/containers/create")
        .query_some("name", matches.text("name"))
        .query_some("platform", matches.text("platform"));
    let answer = match context.client.post_json(&path, body).await {
        Err(error) if error.is_not_found() && policy == "missing" && image.is_some() && is_about_image(&error) => {
            let reference = image.ok_or_else(|| Error::message("no image"))?;
            if !matches.on("quiet") {
                eprintln(&format!("Unable to find image '{}' locally", reference.familiar()));
            }
            pull_image(context, matches, &reference).await?;
            context.client.post_json(&path, body).await?
        }
        answer => answer?,
    };
    for warning in answer.field("Warnings").items() {
        eprintln(&format!("WARNING: {}", warning.as_str()));
    }
    let id = answer.field("Id").as_str().to_owned();
    if let Some(file) = &mut cidfile {
        file.write(&id)?;
    }
    Ok(id)
}

fn is_about_image(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("No such image") || text.contains("no such image")
}

/// The reference to pull; `None` if the user named an image id.
fn image_reference(image: &str) -> Result<Option<Reference>> {
    let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if hex(image) || image.strip_prefix("sha256:").is_some_and(hex) {
        return Ok(None);
    }
    Reference::parse(image).map(|reference| Some(reference.with_default_tag())).map_err(Error::Message)
}

async fn pull_image(context: &Context, matches: &Matches, reference: &Reference) -> Result<()> {
    let target = (!matches.on("quiet")).then_some(Target::Stderr);
    pull::pull(context, reference, matches.text("platform"), target).await
}

/// The file that receives the id; it must not exist yet, and it goes away if nothing was created.
struct CidFile {
    file: std::fs::File,
    path: String,
    written: bool,
}

impl CidFile {
    fn open(path: &str) -> Result<Self> {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => Error::message(format!(
                "container ID file found, make sure the other container isn't running or delete {path}"
            )),
            _ => Error::message(format!("failed to create the container ID file: open {path}: {}", reason(&error))),
        })?;
        Ok(CidFile { file, path: path.to_owned(), written: false })
    }

    fn write(&mut self, id: &str) -> Result<()> {
        self.file.write_all(id.as_bytes())?;
        self.written = true;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
