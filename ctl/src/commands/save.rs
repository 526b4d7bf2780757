//! `gantry save`.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use http_body_util::BodyExt;

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result, reason};
use crate::flags::{Flag, Matches};
use crate::streams::{Channel, Output};
use crate::terminal;

use super::load::platform_json;

pub(crate) static COMMAND: Command = Command {
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    usage: "IMAGE [IMAGE...]",
    arguments: (1, ANY),
    flags: &[&[
        Flag::text("output", "Write to a file, instead of STDOUT").short('o'),
        Flag::text(
            "platform",
            "Save only the given platform variant. Formatted as \"os[/arch[/variant]]\" (e.g., \"linux/amd64\")",
        ),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let mut path = Path::new("/images/get");
    for name in &matches.args {
        path = path.query("names", name);
    }
    let path = path.query_some("platform", &platform_json(matches.text("platform")));
    download(context, &path, matches).await
}

/// Writes the archive at `path` to where `--output` says, but never to a terminal.
pub(super) async fn download(context: &Context, path: &Path, matches: &Matches) -> Result<()> {
    let target = matches.optional("output");
    if target.is_none() && terminal::stdout_is_terminal() {
        return Err(Error::message("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let mut body = context.client.get(path).await?.into_body();
    let mut sink = Sink::open(target)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::message(format!("reading the archive: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            sink.write(bytes).await?;
        }
    }
    sink.finish().await
}

/// Where an archive is written.
pub(super) enum Sink {
    File(Partial),
    Stdout(Output),
}

impl Sink {
    /// A file, else standard output.
    pub(super) fn open(target: Option<&str>) -> Result<Self> {
        Ok(match target {
            Some(path) => Sink::File(Partial::create(path)?),
            None => Sink::Stdout(Output::new(true, false)),
        })
    }

    pub(super) async fn write(&mut self, bytes: bytes::Bytes) -> Result<()> {
        match self {
            Sink::File(partial) => Ok(partial.file.write_all(&bytes)?),
            Sink::Stdout(output) => output.write(Channel::Stdout, bytes).await,
        }
    }

    pub(super) async fn finish(self) -> Result<()> {
        match self {
            Sink::File(partial) => partial.finish(),
            Sink::Stdout(mut output) => output.finish().await,
        }
    }
}

/// A file under another name until it is whole.
pub(super) struct Partial {
    file: File,
    partial: PathBuf,
    path: PathBuf,
    done: bool,
}

impl Partial {
    fn create(path: &str) -> Result<Self> {
        let partial = PathBuf::from(format!("{path}.partial-{}", std::process::id()));
        let file = File::options().write(true).create_new(true).open(&partial);
        let file =
            file.map_err(|error| Error::message(format!("failed to save image: open {path}: {}", reason(&error))))?;
        Ok(Partial { file, partial, path: path.into(), done: false })
    }

    fn finish(mut self) -> Result<()> {
        self.file.flush()?;
        std::fs::rename(&self.partial, &self.path).map_err(|error| {
            Error::message(format!("failed to save image: {}: {}", self.path.display(), reason(&error)))
        })?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}
