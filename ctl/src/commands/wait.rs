//! `gantry wait`, and waiting for the exit of a container that is about to start.

use http_body_util::BodyExt;
use hyper::body::Incoming;

use crate::cli::{ANY, Command};
use crate::client::{Client, Path, read_all};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::Matches;
use crate::output::template::Value;

use super::each::each;

pub(crate) static COMMAND: Command = Command {
    about: "Block until one or more containers stop, then print their exit codes",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    each(&matches.args, async |name| {
        let path = Path::of("containers", name, "wait")?;
        let response = context.client.post(&path).await?;
        Ok(exit_status(&read_all(response.into_body()).await?)?.to_string())
    })
    .await
}

/// A wait whose answer has begun: the daemon watches, the exit is still to come.
#[derive(Debug)]
pub(crate) struct Waiting {
    body: Incoming,
}

impl Waiting {
    /// `condition` is `next-exit`, `removed` or `not-running`.
    pub(crate) async fn open(client: &Client, id: &str, condition: &str) -> Result<Self> {
        let path = Path::of("containers", id, "wait")?.query("condition", condition);
        Ok(Waiting { body: client.post(&path).await?.into_body() })
    }

    /// The exit code, 0 to 255.
    pub(crate) async fn code(self) -> Result<u8> {
        let bytes = self.body.collect().await;
        let bytes = bytes.map_err(|error| Error::message(format!("the daemon hung up: {error}")))?.to_bytes();
        let code = exit_status(&bytes)?;
        Ok(u8::try_from(code & 0xff).unwrap_or(125))
    }
}

fn exit_status(bytes: &[u8]) -> Result<i64> {
    let answer: Value = serde_json::from_slice(bytes)
        .map_err(|error| Error::message(format!("the daemon's answer to wait is not readable: {error}")))?;
    let message = answer.at("Error.Message").as_str();
    if !message.is_empty() {
        return Err(Error::message(message));
    }
    Ok(answer.field("StatusCode").as_int())
}
