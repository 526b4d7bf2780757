//! Device nodes and the rules of the device cgroup.

use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::error::{Error, Result};
use crate::spec::ContainerSpec;
use crate::spec::build::{Known, built};
use crate::spec::facts::DeviceNode;

/// What every container may use: mknod of anything, then null, zero, full, random, urandom, tty, console, ptmx, pts.
const ALWAYS: [(char, Option<i64>, Option<i64>, &str); 11] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(1), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
];

/// Nodes to make beside the default ones.
pub(super) fn nodes(spec: &ContainerSpec, known: Known<'_>) -> Result<Vec<LinuxDevice>> {
    let host: &[DeviceNode] = if spec.security.privileged { &known.host.devices } else { &[] };
    let asked = |node: &&DeviceNode| !known.devices.iter().any(|other| other.path == node.path);
    host.iter().filter(asked).chain(known.devices).map(node).collect()
}

/// Rules in force: all for a privileged container, else nothing but the default devices and what was asked for.
pub(super) fn rules(spec: &ContainerSpec, known: Known<'_>) -> Result<Vec<LinuxDeviceCgroup>> {
    if spec.security.privileged {
        return Ok(vec![rule(true, LinuxDeviceType::A, None, None, "rwm")?]);
    }
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None, "rwm")?];
    for (kind, major, minor, access) in ALWAYS {
        rules.push(rule(true, device_type(kind), major, minor, access)?);
    }
    for node in known.devices.iter().filter(|node| node.kind != 'p') {
        let (major, minor) = (Some(i64::from(node.major)), Some(i64::from(node.minor)));
        rules.push(rule(true, device_type(node.kind), major, minor, &node.permissions)?);
    }
    for text in &spec.device_cgroup_rules {
        rules.push(parse_rule(text)?);
    }
    Ok(rules)
}

fn node(node: &DeviceNode) -> Result<LinuxDevice> {
    built(
        LinuxDeviceBuilder::default()
            .path(PathBuf::from(&node.path))
            .typ(device_type(node.kind))
            .major(node.major)
            .minor(node.minor)
            .file_mode(node.mode)
            .uid(node.uid)
            .gid(node.gid)
            .build(),
    )
}

/// Parses docker's `--device-cgroup-rule`: `c 1:3 rwm`, `a *:* rw`.
///
/// # Errors
/// `InvalidArgument` with the rule.
pub fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let wrong = || Error::invalid(format!("invalid device cgroup rule format: '{text}'"));
    let fields: Vec<&str> = text.split_ascii_whitespace().collect();
    let [kind, numbers, access] = fields.as_slice() else { return Err(wrong()) };
    let kind = match *kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(wrong()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        digits => digits.parse::<u32>().map(|n| Some(i64::from(n))).map_err(|_| wrong()),
    };
    if access.is_empty() || access.len() > 3 || access.bytes().any(|b| !b"rwm".contains(&b)) {
        return Err(wrong());
    }
    rule(true, kind, number(major)?, number(minor)?, access)
}

fn device_type(kind: char) -> LinuxDeviceType {
    match kind {
        'b' => LinuxDeviceType::B,
        'p' => LinuxDeviceType::P,
        _ => LinuxDeviceType::C,
    }
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> Result<LinuxDeviceCgroup> {
    let mut builder = LinuxDeviceCgroupBuilder::default().allow(allow).typ(kind).access(access);
    if let Some(major) = major {
        builder = builder.major(major);
    }
    if let Some(minor) = minor {
        builder = builder.minor(minor);
    }
    built(builder.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_parsed_strictly() {
        let rule = parse_rule("c 10:* rw").unwrap();
        assert_eq!((rule.major(), rule.minor(), rule.access().as_deref()), (Some(10), None, Some("rw")));
        for wrong in ["", "c", "x 1:3 r", "c 1 r", "c 1:3 q", "c 1:3 rwmr", "c -1:3 r", "c 1:3 r w"] {
            assert!(parse_rule(wrong).is_err(), "{wrong}");
        }
    }
}
