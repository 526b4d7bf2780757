//! `gantry network connect` and `gantry network disconnect`.

use docker_api::network::{NetworkConnect, NetworkDisconnect};

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::run_options::network::{Attachment, settings};
use crate::run_options::{check_dns, check_link, environment};

pub(crate) static CONNECT: Command = Command {
    about: "Connect a container to a network",
    usage: "NETWORK CONTAINER",
    arguments: (2, 2),
    flags: &[&[
        Flag::strings("alias", "Add network-scoped alias for the container"),
        Flag::strings("driver-opt", "driver options for the network"),
        Flag::int(
            "gw-priority",
            "Highest gw-priority provides the default gateway. Accepts positive and negative values.",
        ),
        Flag::text("ip", "IPv4 address (e.g., \"172.30.100.104\")").check(check_dns),
        Flag::text("ip6", "IPv6 address (e.g., \"2001:db8::33\")").check(check_dns),
        Flag::list("link", "Add link to another container").check(check_link),
        Flag::strings("link-local-ip", "Add a link-local address for the container").check(check_dns),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(connect(context, matches)),
};

pub(crate) static DISCONNECT: Command = Command {
    about: "Disconnect a container from a network",
    usage: "NETWORK CONTAINER",
    arguments: (2, 2),
    flags: &[&[Flag::switch("force", "Force the container to disconnect from a network").short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(disconnect(context, matches)),
};

async fn connect(context: &Context, matches: &Matches) -> Result<()> {
    let attachment = Attachment {
        target: matches.arg(0).to_owned(),
        aliases: matches.list("alias").to_vec(),
        links: matches.list("link").to_vec(),
        ipv4: matches.text("ip").to_owned(),
        ipv6: matches.text("ip6").to_owned(),
        link_local: matches.list("link-local-ip").to_vec(),
        driver_opts: environment::pairs(matches.list("driver-opt")),
        gateway_priority: matches.int("gw-priority"),
        ..Attachment::default()
    };
    let endpoint = settings(attachment).map_err(Error::Message)?;
    let body = NetworkConnect { container: matches.arg(1).to_owned(), endpoint_config: Some(endpoint) };
    context.client.post_json(&Path::of("networks", matches.arg(0), "connect")?, &body).await.map(|_| ())
}

async fn disconnect(context: &Context, matches: &Matches) -> Result<()> {
    let body = NetworkDisconnect { container: matches.arg(1).to_owned(), force: matches.on("force") };
    context.client.post_json(&Path::of("networks", matches.arg(0), "disconnect")?, &body).await.map(|_| ())
}
