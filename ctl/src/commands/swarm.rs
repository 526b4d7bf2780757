//! The commands of Swarm and of plugins: the daemon says why it has none.

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::Matches;

/// Each family and what it asks the daemon for.
pub(crate) const FAMILIES: [(&str, &str); 7] = [
    ("config", "/configs"),
    ("node", "/nodes"),
    ("plugin", "/plugins"),
    ("secret", "/secrets"),
    ("service", "/services"),
    ("stack", "/services"),
    ("swarm", "/swarm"),
];

pub(crate) static COMMAND: Command = Command {
    about: "Not for one machine: the daemon says why",
    usage: "COMMAND",
    arguments: (0, ANY),
    flags: &[],
    interspersed: false,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, _: &Matches) -> Result<()> {
    let family = context.path.split(' ').nth(1).unwrap_or_default();
    let path = FAMILIES.iter().find(|(name, _)| *name == family).map_or("/swarm", |(_, path)| path);
    context.client.get(&Path::new(path)).await?;
    // A docker daemon may be in a swarm; this client has no words for it.
    Err(Error::message(format!("gantry {family}: use docker's client for a daemon that is in a swarm or has plugins")))
}
