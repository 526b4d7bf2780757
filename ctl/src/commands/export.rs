//! `gantry export`.

use http_body_util::BodyExt;

use super::save::Sink;
use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::terminal;

pub(crate) static COMMAND: Command = Command {
    about: "Export a container's filesystem as a tar archive",
    usage: "CONTAINER",
    arguments: (1, 1),
    flags: &[&[Flag::text("output", "Write to a file, instead of STDOUT").short('o')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let target = matches.optional("output");
    if target.is_none() && terminal::stdout_is_terminal() {
        return Err(Error::message("cowardly refusing to save to a terminal. Use the -o flag or redirect"));
    }
    let mut body = context.client.get(&Path::of("containers", matches.arg(0), "export")?).await?.into_body();
    let mut sink = Sink::open(target)?;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::message(format!("reading the archive: {error}")))?;
        if let Ok(bytes) = frame.into_data() {
            sink.write(bytes).await?;
        }
    }
    sink.finish().await
}
