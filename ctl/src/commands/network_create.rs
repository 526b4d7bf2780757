//! `gantry network create`.

use std::collections::BTreeMap;

use docker_api::network::{ConfigReference, Ipam, IpamConfig, NetworkCreate};

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::{eprintln, println};
use crate::run_options::environment;

pub(crate) static COMMAND: Command = Command {
    about: "Create a network",
    usage: "NETWORK",
    arguments: (1, 1),
    flags: &[&[
        Flag::switch("attachable", "Enable manual container attachment"),
        Flag::map("aux-address", "Auxiliary IPv4 or IPv6 addresses used by Network driver"),
        Flag::text("config-from", "The network from which to copy the configuration"),
        Flag::switch("config-only", "Create a configuration only network"),
        Flag::text("driver", "Driver to manage the Network").short('d').default("bridge"),
        Flag::strings("gateway", "IPv4 or IPv6 Gateway for the master subnet"),
        Flag::switch("ingress", "Create swarm routing-mesh network"),
        Flag::switch("internal", "Restrict external access to the network"),
        Flag::strings("ip-range", "Allocate container ip from a sub-range"),
        Flag::text("ipam-driver", "IP Address Management Driver").default("default"),
        Flag::map("ipam-opt", "Set IPAM driver specific options"),
        Flag::switch_on("ipv4", "Enable or disable IPv4 address assignment"),
        Flag::switch("ipv6", "Enable or disable IPv6 address assignment"),
        Flag::list("label", "Set metadata on a network").check(environment::check_label),
        Flag::map("opt", "Set driver specific options").short('o'),
        Flag::text("scope", "Control the network's scope"),
        Flag::strings("subnet", "Subnet in CIDR format that represents a network segment"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let options = environment::pairs(matches.list("ipam-opt"));
    let body = NetworkCreate {
        check_duplicate: true,
        name: matches.arg(0).to_owned(),
        driver: matches.text("driver").to_owned(),
        scope: matches.text("scope").to_owned(),
        enable_ipv4: matches.given("ipv4").then(|| matches.on("ipv4")),
        enable_ipv6: matches.given("ipv6").then(|| matches.on("ipv6")),
        ipam: Some(Ipam {
            driver: matches.text("ipam-driver").to_owned(),
            options: Some(options).filter(|options| !options.is_empty()),
            config: Some(ranges(matches).map_err(Error::Message)?),
        }),
        internal: matches.on("internal"),
        attachable: matches.on("attachable"),
        ingress: matches.on("ingress"),
        config_only: matches.on("config-only"),
        config_from: matches.optional("config-from").map(|name| ConfigReference { network: name.to_owned() }),
        options: environment::pairs(matches.list("opt")),
        labels: environment::labels(&[], matches.list("label"))?,
    };
    let answer = context.client.post_json(&Path::new("/networks/create"), &body).await?;
    let warning = answer.field("Warning").as_str();
    if !warning.is_empty() {
        eprintln(&format!("WARNING: {warning}"));
    }
    println(answer.field("Id").as_str())
}

/// Ranges, gateways and reserved addresses, each put to the subnet it lies in.
fn ranges(matches: &Matches) -> std::result::Result<Vec<IpamConfig>, String> {
    let (gateways, parts) = (matches.list("gateway"), matches.list("ip-range"));
    let subnets = matches.list("subnet");
    if subnets.len() < gateways.len() || subnets.len() < parts.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let mut configs: Vec<IpamConfig> =
        subnets.iter().map(|subnet| IpamConfig { subnet: subnet.clone(), ..IpamConfig::default() }).collect();
    for range in parts {
        let address = range.split('/').next().unwrap_or(range);
        let config = subnet_of(&mut configs, address).ok_or_else(|| format!("no matching subnet for range {range}"))?;
        if !config.ip_range.is_empty() {
            return Err(format!(
                "cannot configure multiple ranges ({range}, {}) on the same subnet ({})",
                config.ip_range, config.subnet
            ));
        }
        range.clone_into(&mut config.ip_range);
    }
    for gateway in gateways {
        let config =
            subnet_of(&mut configs, gateway).ok_or_else(|| format!("no matching subnet for gateway {gateway}"))?;
        if !config.gateway.is_empty() {
            return Err(format!(
                "cannot configure multiple gateways ({gateway}, {}) for the same subnet ({})",
                config.gateway, config.subnet
            ));
        }
        gateway.clone_into(&mut config.gateway);
    }
    let reserved: BTreeMap<String, String> = environment::pairs(matches.list("aux-address"));
    for (name, address) in reserved {
        let config =
            subnet_of(&mut configs, &address).ok_or_else(|| format!("no matching subnet for aux-address {address}"))?;
        config.aux_addresses.insert(name, address);
    }
    Ok(configs)
}

fn subnet_of<'c>(configs: &'c mut [IpamConfig], address: &str) -> Option<&'c mut IpamConfig> {
    let address: std::net::IpAddr = address.parse().ok()?;
    configs.iter_mut().find(|config| contains(&config.subnet, address))
}

/// True if the address lies in the subnet.
fn contains(subnet: &str, address: std::net::IpAddr) -> bool {
    let Some((network, length)) = subnet.split_once('/') else { return false };
    let (Ok(network), Ok(length)) = (network.parse::<std::net::IpAddr>(), length.parse::<u32>()) else { return false };
    match (network, address) {
        (std::net::IpAddr::V4(network), std::net::IpAddr::V4(address)) if length <= 32 => {
            let shift = 32 - length;
            let cut = |bits: u32| bits.checked_shr(shift).unwrap_or(0);
            cut(network.to_bits()) == cut(address.to_bits())
        }
        (std::net::IpAddr::V6(network), std::net::IpAddr::V6(address)) if length <= 128 => {
            let shift = 128 - length;
            let cut = |bits: u128| bits.checked_shr(shift).unwrap_or(0);
            cut(network.to_bits()) == cut(address.to_bits())
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_and_ranges_find_their_subnet() {
        let words: Vec<String> = [
            "--subnet=10.1.0.0/16,fd00::/64",
            "--gateway=fd00::1",
            "--gateway=10.1.0.1",
            "--ip-range=10.1.5.0/24",
            "--aux-address=r=10.1.9.9",
            "n",
        ]
        .map(str::to_owned)
        .to_vec();
        let matches = crate::flags::parse(COMMAND.flags, &words, true).unwrap();
        let configs = ranges(&matches).unwrap();
        assert_eq!((configs[0].gateway.as_str(), configs[0].ip_range.as_str()), ("10.1.0.1", "10.1.5.0/24"));
        assert_eq!(configs[0].aux_addresses["r"], "10.1.9.9");
        assert_eq!(configs[1].gateway, "fd00::1");
        let matches = crate::flags::parse(COMMAND.flags, &["--gateway=1.2.3.4".to_owned()], true).unwrap();
        assert_eq!(ranges(&matches).unwrap_err(), "every ip-range or gateway must have a corresponding subnet");
    }
}
