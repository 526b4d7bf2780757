//! Limits as properties of a unit (systemd.resource-control(5), org.freedesktop.systemd1(5)).

use super::super::{Cpu, DeviceKind, DeviceRule, Error, Limits, Memory, Result, convert};
use super::Unit;
use super::wire::{Property, Value};

/// systemd's word for "no limit" in properties of type `t`.
const INFINITY: u64 = u64::MAX;
/// What the kernel takes for a period that nobody names, in microseconds.
const PERIOD_US_DEFAULT: u64 = 100_000;
/// systemd rounds quotas to this, in microseconds per second.
const QUOTA_STEP_US: u64 = 10_000;
/// No machine that this runs on has more.
const CPUS_MAX: usize = 8192;

/// What a scope is started with: its place, its first process, and the limits.
pub(in crate::cgroup) fn properties(unit: &Unit, limits: &Limits, version: u8, pid: i32) -> Result<Vec<Property>> {
    let pid = u32::try_from(pid).map_err(|_| Error::invalid("pid", format!("{pid} is no process")))?;
    let mut properties = vec![
        ("Description", Value::Text(format!("Gantry container {}", unit.name))),
        ("Slice", Value::Text(unit.slice().to_owned())),
        ("Delegate", Value::Bool(true)),
        // Else it would be ordered against, and stopped with, units that it has nothing to do with.
        ("DefaultDependencies", Value::Bool(false)),
        ("PIDs", Value::Numbers(vec![pid])),
        ("MemoryAccounting", Value::Bool(true)),
        ("CPUAccounting", Value::Bool(true)),
        ("TasksAccounting", Value::Bool(true)),
        (if version == 2 { "IOAccounting" } else { "BlockIOAccounting" }, Value::Bool(true)),
    ];
    properties.extend(limit_properties(limits, version)?);
    Ok(properties)
}

/// The limits that systemd has properties for.
pub(in crate::cgroup) fn limit_properties(limits: &Limits, version: u8) -> Result<Vec<Property>> {
    let mut properties = Vec::new();
    if let Some(memory) = &limits.memory {
        memory_properties(memory, version, &mut properties)?;
    }
    if let Some(cpu) = &limits.cpu {
        cpu_properties(cpu, version, &mut properties)?;
    }
    if let Some(limit) = limits.pids.and_then(|pids| pids.limit).filter(|limit| *limit != 0) {
        properties.push(("TasksMax", limit_value(limit)));
    }
    if let Some(weight) = limits.block_io.as_ref().and_then(|io| io.weight).filter(|weight| *weight != 0) {
        properties.push(match version {
            2 => ("IOWeight", Value::U64(convert::io_weight_from_blkio(weight))),
            _ => ("BlockIOWeight", Value::U64(u64::from(weight))),
        });
    }
    for (file, value) in &limits.unified {
        properties.extend(unified_property(file, value));
    }
    properties.extend(device_properties(&limits.devices, &device_groups()));
    Ok(properties)
}

fn limit_value(limit: i64) -> Value {
    Value::U64(u64::try_from(limit).unwrap_or(INFINITY))
}

fn memory_properties(memory: &Memory, version: u8, properties: &mut Vec<Property>) -> Result<()> {
    if let Some(limit) = memory.limit.filter(|limit| *limit != 0) {
        properties.push((if version == 2 { "MemoryMax" } else { "MemoryLimit" }, limit_value(limit)));
    }
    if version == 2 {
        if let Some(reservation) = memory.reservation.filter(|reservation| *reservation != 0) {
            properties.push(("MemoryLow", limit_value(reservation)));
        }
        if let Some(swap) = convert::swap_only(memory.limit, memory.swap)? {
            properties.push(("MemorySwapMax", limit_value(swap)));
        }
    }
    Ok(())
}

fn cpu_properties(cpu: &Cpu, version: u8, properties: &mut Vec<Property>) -> Result<()> {
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0 && cpu.idle != Some(1)) {
        properties.push(match version {
            2 => ("CPUWeight", Value::U64(convert::cpu_shares_to_weight(shares))),
            _ => ("CPUShares", Value::U64(shares)),
        });
    }
    let period = cpu.period.unwrap_or(0);
    if period != 0 && period != PERIOD_US_DEFAULT {
        properties.push(("CPUQuotaPeriodUSec", Value::U64(period)));
    }
    if let Some(quota) = cpu.quota.filter(|quota| *quota != 0) {
        let period = if period == 0 { PERIOD_US_DEFAULT } else { period };
        properties.push(("CPUQuotaPerSecUSec", Value::U64(quota_per_second(quota, period))));
    }
    if version == 2 {
        for (property, field, list) in
            [("AllowedCPUs", "cpu.cpus", &cpu.cpus), ("AllowedMemoryNodes", "cpu.mems", &cpu.mems)]
        {
            if !list.is_empty() {
                properties.push((property, Value::Bytes(bit_mask(list, field)?)));
            }
        }
    }
    Ok(())
}

/// Microseconds of a second, rounded up as systemd would round when it writes the file.
fn quota_per_second(quota: i64, period: u64) -> u64 {
    let Ok(quota) = u64::try_from(quota) else { return INFINITY };
    let exact = quota.saturating_mul(1_000_000) / period;
    exact.next_multiple_of(QUOTA_STEP_US)
}

/// A list such as `0-3,7` as bits, the lowest first.
fn bit_mask(list: &str, field: &str) -> Result<Vec<u8>> {
    let invalid = || Error::invalid(field, format!("{list:?} is not a list of numbers and ranges"));
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number < CPUS_MAX);
    let mut mask = Vec::new();
    for part in list.split(',').filter(|part| !part.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first).ok_or_else(invalid)?, number(last).ok_or_else(invalid)?);
        if last < first {
            return Err(invalid());
        }
        mask.resize(mask.len().max(last / 8 + 1), 0);
        (first..=last).for_each(|bit| mask[bit / 8] |= 1 << (bit % 8));
    }
    Ok(mask)
}

/// The property of a v2 file of one number. Others are in the files only.
fn unified_property(file: &str, value: &str) -> Option<Property> {
    let property = match file {
        "memory.min" => "MemoryMin",
        "memory.low" => "MemoryLow",
        "memory.high" => "MemoryHigh",
        "memory.max" => "MemoryMax",
        "memory.swap.max" => "MemorySwapMax",
        "pids.max" => "TasksMax",
        "cpu.weight" => "CPUWeight",
        _ => return None,
    };
    match value.trim() {
        "max" => Some((property, Value::U64(INFINITY))),
        digits => Some((property, Value::U64(digits.parse().ok()?))),
    }
}

/// Names of drivers by kind and major number, of `/proc/devices`.
struct Groups(Vec<(DeviceKind, u32, String)>);

fn device_groups() -> Groups {
    parse_groups(&std::fs::read_to_string("/proc/devices").unwrap_or_default())
}

fn parse_groups(text: &str) -> Groups {
    let mut kind = DeviceKind::Char;
    let mut groups = Vec::new();
    for line in text.lines() {
        match line.trim() {
            "Character devices:" => kind = DeviceKind::Char,
            "Block devices:" => kind = DeviceKind::Block,
            entry => {
                if let Some((major, name)) = entry.split_once(' ')
                    && let Ok(major) = major.parse()
                {
                    groups.push((kind, major, name.trim().to_owned()));
                }
            }
        }
    }
    Groups(groups)
}

/// `DevicePolicy` and `DeviceAllow`. systemd's own filter stands beside ours and both have to agree, so it allows
/// whatever any rule allows; if a rule cannot be said in its words it filters nothing, and ours does.
fn device_properties(rules: &[DeviceRule], groups: &Groups) -> Vec<Property> {
    if rules.is_empty() {
        return Vec::new();
    }
    // What is before a rule about everything has no effect.
    let start = rules.iter().rposition(DeviceRule::is_everything).unwrap_or(0);
    let allowed: Option<Vec<_>> =
        rules[start..].iter().filter(|rule| rule.allow).map(|rule| allow_entries(rule, groups)).collect();
    let Some(allowed) = allowed else {
        return vec![("DevicePolicy", Value::Text("auto".to_owned())), ("DeviceAllow", Value::Pairs(Vec::new()))];
    };
    vec![
        ("DevicePolicy", Value::Text("strict".to_owned())),
        ("DeviceAllow", Value::Pairs(allowed.into_iter().flatten().collect())),
    ]
}

fn allow_entries(rule: &DeviceRule, groups: &Groups) -> Option<Vec<(String, String)>> {
    if rule.is_everything() {
        return None;
    }
    let access = if rule.access.is_empty() { "rwm".to_owned() } else { rule.access.clone() };
    let kinds: &[(DeviceKind, &str)] = match rule.kind {
        DeviceKind::Char => &[(DeviceKind::Char, "char")],
        DeviceKind::Block => &[(DeviceKind::Block, "block")],
        DeviceKind::All => &[(DeviceKind::Char, "char"), (DeviceKind::Block, "block")],
    };
    let entry = |(kind, word): &(DeviceKind, &str)| match (rule.major_number(), rule.minor_number()) {
        (Some(major), Some(minor)) => Some(format!("/dev/{word}/{major}:{minor}")),
        (None, None) => Some(format!("{word}-*")),
        (Some(major), None) => {
            let (.., name) = groups.0.iter().find(|(k, m, _)| k == kind && *m == major)?;
            Some(format!("{word}-{name}"))
        }
        (None, Some(_)) => None,
    };
    kinds.iter().map(|kind| Some((entry(kind)?, access.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(json: &str) -> Limits {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn limits_become_the_properties_of_each_version() {
        let asked = limits(
            r#"{"memory": {"limit": 100, "swap": 300, "reservation": 50}, "pids": {"limit": -1},
                "cpu": {"shares": 1024, "quota": 15000, "period": 100000, "cpus": "0-1,9"},
                "blockIO": {"weight": 10}}"#,
        );
        let v2 = limit_properties(&asked, 2).unwrap();
        assert_eq!(
            v2,
            [
                ("MemoryMax", Value::U64(100)),
                ("MemoryLow", Value::U64(50)),
                ("MemorySwapMax", Value::U64(200)),
                ("CPUWeight", Value::U64(100)),
                ("CPUQuotaPerSecUSec", Value::U64(150_000)),
                ("AllowedCPUs", Value::Bytes(vec![0b11, 0b10])),
                ("TasksMax", Value::U64(u64::MAX)),
                ("IOWeight", Value::U64(1)),
            ]
        );
        let v1 = limit_properties(&asked, 1).unwrap();
        assert_eq!(
            v1,
            [
                ("MemoryLimit", Value::U64(100)),
                ("CPUShares", Value::U64(1024)),
                ("CPUQuotaPerSecUSec", Value::U64(150_000)),
                ("TasksMax", Value::U64(u64::MAX)),
                ("BlockIOWeight", Value::U64(10)),
            ]
        );
    }

    #[test]
    fn quotas_are_rounded_up_to_ten_milliseconds() {
        assert_eq!(quota_per_second(15_001, 100_000), 160_000);
        assert_eq!(quota_per_second(-1, 100_000), u64::MAX);
    }

    #[test]
    fn odd_lists_of_cpus_are_refused() {
        for list in ["a", "3-1", "0-99999", "-", "1-2-3"] {
            assert!(bit_mask(list, "cpu.cpus").is_err(), "{list}");
        }
        assert_eq!(bit_mask("7,8", "cpu.cpus").unwrap(), [0x80, 0x01]);
    }

    #[test]
    fn devices_are_said_in_systemds_words_or_left_to_us() {
        let groups = parse_groups("Character devices:\n  1 mem\n136 pts\n\nBlock devices:\n  8 sd\n");
        let rules = |json: &str| serde_json::from_str::<Vec<DeviceRule>>(json).unwrap();
        let named = rules(
            r#"[{"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"},
                {"allow": true, "type": "c", "major": 136, "access": "rwm"}, {"allow": true, "type": "b", "access": "m"}]"#,
        );
        let pairs = |list: &[(&str, &str)]| {
            Value::Pairs(list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
        };
        let expected = pairs(&[("/dev/char/1:3", "rw"), ("char-pts", "rwm"), ("block-*", "m")]);
        assert_eq!(device_properties(&named, &groups)[1], ("DeviceAllow", expected));
        for unsayable in [r#"[{"allow": true}]"#, r#"[{"allow": true, "type": "c", "major": 77}]"#] {
            let properties = device_properties(&rules(unsayable), &groups);
            assert_eq!(properties[0], ("DevicePolicy", Value::Text("auto".to_owned())));
        }
        assert_eq!(device_properties(&[], &groups), []);
    }

    #[test]
    fn the_scope_names_its_slice_and_its_first_process() {
        let unit = Unit::parse("a.slice:gantry:x").unwrap();
        let properties = properties(&unit, &Limits::default(), 2, 42).unwrap();
        assert!(properties.contains(&("Slice", Value::Text("a.slice".to_owned()))));
        assert!(properties.contains(&("PIDs", Value::Numbers(vec![42]))));
        assert!(properties.contains(&("Delegate", Value::Bool(true))));
    }
}
