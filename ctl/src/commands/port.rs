//! `gantry port`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::Matches;
use crate::output::println;
use crate::output::template::Value;

use super::ps::join_host_port;

pub(crate) static COMMAND: Command = Command {
    about: "List port mappings or a specific mapping for the container",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    arguments: (1, 2),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let container = context.client.get_value(&Path::of("containers", matches.arg(0), "json")?).await?;
    let ports = container.at("NetworkSettings.Ports");
    let shown = |binding: &Value| join_host_port(binding.field("HostIp").as_str(), binding.field("HostPort").as_str());
    let wanted = matches.arg(1);
    if wanted.is_empty() {
        let mut lines = Vec::new();
        for (port, bindings) in ports.entries() {
            lines.extend(
                bindings.items().iter().map(|binding| (sort_key(port), format!("{port} -> {}", shown(binding)))),
            );
        }
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        return lines.iter().try_for_each(|(_, line)| println(line));
    }
    let (number, protocol) = wanted.split_once('/').unwrap_or((wanted, "tcp"));
    crate::flags::values::uint16(number).map_err(|_| Error::message(format!("invalid port ({number})")))?;
    let key = format!("{number}/{protocol}");
    match ports.field(&key).items() {
        [] => Err(Error::message(format!("Error: No public port '{wanted}' published for {}", matches.arg(0)))),
        bindings => bindings.iter().try_for_each(|binding| println(&shown(binding))),
    }
}

/// By number, then by protocol.
fn sort_key(port: &str) -> (u32, String) {
    let (number, protocol) = port.split_once('/').unwrap_or((port, ""));
    (number.parse().unwrap_or(0), protocol.to_owned())
}
