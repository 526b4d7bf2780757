//! `gantry logs`.

use http_body_util::BodyExt;

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::streams::{Channel, Demux, Output};
use crate::timestamps;

pub(crate) static COMMAND: Command = Command {
    about: "Fetch the logs of a container",
    usage: "CONTAINER",
    arguments: (1, 1),
    flags: &[&[
        Flag::switch("details", "Show extra details provided to logs"),
        Flag::switch("follow", "Follow log output").short('f'),
        Flag::text(
            "since",
            "Show logs since timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
        Flag::text("tail", "Number of lines to show from the end of the logs").short('n').default("all"),
        Flag::switch("timestamps", "Show timestamps").short('t'),
        Flag::text(
            "until",
            "Show logs before a timestamp (e.g. \"2013-01-02T13:23:37Z\") or relative (e.g. \"42m\" for 42 minutes)",
        ),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let moment = |flag: &str| {
        timestamps::to_query(matches.text(flag))
            .map_err(|reason| Error::message(format!("invalid value for {flag:?}: {reason}")))
    };
    let name = matches.arg(0);
    let path = Path::of("containers", name, "logs")?
        .query("stdout", "1")
        .query("stderr", "1")
        .query_if("follow", matches.on("follow"))
        .query_if("timestamps", matches.on("timestamps"))
        .query_if("details", matches.on("details"))
        .query_some("since", &moment("since")?)
        .query_some("until", &moment("until")?)
        .query("tail", matches.text("tail"));
    copy(context, name, &path).await
}

/// Writes the logs of container `name` that `path` asks for to our streams.
pub(super) async fn copy(context: &Context, name: &str, path: &Path) -> Result<()> {
    let response = context.client.get(path).await?;
    let multiplexed = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes() == b"application/vnd.docker.multiplexed-stream");
    // Daemons before API 1.42 do not tell the framing in the header.
    let raw = !multiplexed
        && (speaks(context, 1, 42)
            || context.client.get_value(&Path::of("containers", name, "json")?).await?.at("Config.Tty").truth());
    let mut body = response.into_body();
    let mut output = Output::new(true, true);
    let mut demux = Demux::default();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::message(format!("reading the logs: {error}")))?;
        let Ok(bytes) = frame.into_data() else { continue };
        if raw {
            output.write(Channel::Stdout, bytes).await?;
            continue;
        }
        for (channel, piece) in demux.feed(bytes)? {
            output.write(channel, piece).await?;
        }
    }
    output.finish().await
}

/// True if the daemon's API is at least this version.
fn speaks(context: &Context, major: u32, minor: u32) -> bool {
    let Some(version) = context.client.server_version() else { return false };
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) >= (major, minor)
}
