//! `--network` and the flags that go with it.

use std::collections::BTreeMap;

use docker_api::network::{EndpointIpam, EndpointSettings};

use crate::flags::Matches;

/// One `--network`.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Attachment {
    pub(crate) target: String,
    pub(crate) aliases: Vec<String>,
    pub(crate) links: Vec<String>,
    pub(crate) ipv4: String,
    pub(crate) ipv6: String,
    pub(crate) link_local: Vec<String>,
    pub(crate) mac: String,
    pub(crate) driver_opts: BTreeMap<String, String>,
    pub(crate) gateway_priority: i64,
}

/// The check of `--network`.
pub(crate) fn check(text: &str) -> Result<(), String> {
    parse(text).map(|_| ())
}

/// A name, or `name=net,alias=a,ip=1.2.3.4`.
pub(crate) fn parse(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !text.contains('=') {
        text.clone_into(&mut attachment.target);
        return Ok(attachment);
    }
    for field in super::mounts::split_fields(text)? {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("invalid field {field}"))?;
        let value = value.trim();
        match key.trim().to_lowercase().as_str() {
            "name" => value.clone_into(&mut attachment.target),
            "alias" => attachment.aliases.push(value.to_owned()),
            "ip" => value.clone_into(&mut attachment.ipv4),
            "ip6" => value.clone_into(&mut attachment.ipv6),
            "mac-address" => value.clone_into(&mut attachment.mac),
            "link-local-ip" => attachment.link_local.push(value.to_owned()),
            "driver-opt" => {
                let (name, option) = value.split_once('=').ok_or("invalid key value pair format in driver options")?;
                attachment.driver_opts.insert(name.trim().to_lowercase(), option.trim().to_lowercase());
            }
            "gw-priority" => {
                attachment.gateway_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): invalid syntax"))?;
            }
            key => return Err(format!("invalid field key {key}")),
        }
    }
    if attachment.target.is_empty() {
        return Err("network name/id is not specified".to_owned());
    }
    Ok(attachment)
}

/// Neither one of docker's own modes nor another container's network.
pub(crate) fn is_user_defined(target: &str) -> bool {
    !matches!(target, "" | "default" | "bridge" | "host" | "none") && !target.starts_with("container:")
}

/// `NetworkMode` and `EndpointsConfig` of a create request.
pub(crate) fn endpoints(matches: &Matches) -> Result<(String, BTreeMap<String, Option<EndpointSettings>>), String> {
    let mut wanted = Vec::new();
    for text in matches.list("network") {
        wanted.push(parse(text)?);
    }
    let implicit = wanted.is_empty();
    if implicit {
        wanted.push(Attachment { target: "default".to_owned(), ..Attachment::default() });
    }
    let mode = wanted[0].target.clone();
    apply_flags(&mut wanted[0], matches)?;
    let single = wanted.len() == 1 && !implicit;
    let user_defined = wanted.iter().filter(|a| is_user_defined(&a.target)).count();
    let total = wanted.len();
    let mut endpoints = BTreeMap::new();
    for attachment in wanted {
        let target = attachment.target.clone();
        if endpoints.contains_key(&target) {
            return Err(format!("network {target:?} is specified multiple times"));
        }
        let settings = settings(attachment)?;
        // A single network with nothing wanted is said by the mode alone.
        if !single || settings != EndpointSettings::default() {
            endpoints.insert(target, Some(settings));
        }
    }
    if user_defined != 0 && user_defined != total {
        return Err(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes".to_owned()
        );
    }
    Ok((mode, endpoints))
}

/// The container's own flags belong to the first network.
fn apply_flags(first: &mut Attachment, matches: &Matches) -> Result<(), String> {
    let conflict =
        |flag: &str, what: &str| Err(format!("conflicting options: cannot specify both {flag} and per-network {what}"));
    let aliases = matches.list("network-alias");
    if !first.aliases.is_empty() && !aliases.is_empty() {
        return conflict("--network-alias", "alias");
    }
    if !first.ipv4.is_empty() && matches.given("ip") {
        return conflict("--ip", "IPv4 address");
    }
    if !first.ipv6.is_empty() && matches.given("ip6") {
        return conflict("--ip6", "IPv6 address");
    }
    if !first.mac.is_empty() && matches.given("mac-address") {
        return conflict("--mac-address", "MAC address");
    }
    if !first.link_local.is_empty() && matches.given("link-local-ip") {
        return conflict("--link-local-ip", "link-local IP addresses");
    }
    first.aliases.extend(aliases.iter().cloned());
    if is_user_defined(&first.target) {
        first.links.extend(matches.list("link").iter().cloned());
    }
    let take = |slot: &mut String, flag: &str| {
        if let Some(value) = matches.optional(flag) {
            value.clone_into(slot);
        }
    };
    take(&mut first.ipv4, "ip");
    take(&mut first.ipv6, "ip6");
    take(&mut first.mac, "mac-address");
    first.link_local.extend(matches.list("link-local-ip").iter().cloned());
    Ok(())
}

/// One endpoint of a request.
pub(crate) fn settings(attachment: Attachment) -> Result<EndpointSettings, String> {
    if attachment.target.trim().is_empty() {
        return Err("no name set for network".to_owned());
    }
    if !is_user_defined(&attachment.target) && !attachment.aliases.is_empty() {
        return Err("network-scoped aliases are only supported for user-defined networks".to_owned());
    }
    let some = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
    let addressed = !(attachment.ipv4.is_empty() && attachment.ipv6.is_empty() && attachment.link_local.is_empty());
    Ok(EndpointSettings {
        ipam_config: addressed.then_some(EndpointIpam {
            ipv4_address: attachment.ipv4,
            ipv6_address: attachment.ipv6,
            link_local_ips: attachment.link_local,
        }),
        links: some(attachment.links),
        aliases: some(attachment.aliases),
        mac_address: attachment.mac,
        driver_opts: Some(attachment.driver_opts).filter(|options| !options.is_empty()),
        gw_priority: attachment.gateway_priority,
        ..EndpointSettings::default()
    })
}
