//! `--device`, `--gpus`, the block device limits, `--ulimit`.

use docker_api::container::{DeviceMapping, DeviceRequest, ThrottleDevice, Ulimit, WeightDevice};

use crate::units;

type Checked = Result<(), String>;

/// Devices of the host and devices by name of a CDI specification.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    pub(crate) mapped: Vec<DeviceMapping>,
    pub(crate) requested: Vec<DeviceRequest>,
}

/// Reads every `--device`.
pub(crate) fn parse_devices(list: &[String]) -> Result<Devices, String> {
    let mut devices = Devices::default();
    let mut named = Vec::new();
    for text in list {
        if is_cdi_name(text) {
            named.push(text.clone());
        } else {
            devices.mapped.push(parse_device(text)?);
        }
    }
    if !named.is_empty() {
        devices.requested.push(DeviceRequest {
            driver: "cdi".to_owned(),
            device_ids: Some(named),
            ..DeviceRequest::default()
        });
    }
    Ok(devices)
}

/// `vendor.com/class=name`.
fn is_cdi_name(text: &str) -> bool {
    let Some((kind, name)) = text.split_once('=') else { return false };
    let parts = kind.split_once('/').is_some_and(|(vendor, class)| !vendor.is_empty() && !class.is_empty());
    parts && !name.is_empty() && text.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn is_mode(text: &str) -> bool {
    let mut left = vec!['r', 'w', 'm'];
    !text.is_empty()
        && text.chars().all(|c| match left.iter().position(|known| *known == c) {
            Some(at) => {
                left.remove(at);
                true
            }
            None => false,
        })
}

fn parse_device(text: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.len() > 3 || parts[0].is_empty() {
        return Err(format!("bad format for path: {text}"));
    }
    let (inside, mode) = match parts.as_slice() {
        [_, second] if is_mode(second) => (parts[0], *second),
        [_, second] => (*second, "rwm"),
        [_, second, third] if is_mode(third) => (*second, *third),
        [_, _, third] => return Err(format!("bad mode specified: {third}")),
        _ => (parts[0], "rwm"),
    };
    let inside = if inside.is_empty() { parts[0] } else { inside };
    if !inside.starts_with('/') {
        return Err(format!("{inside} is not an absolute path"));
    }
    Ok(DeviceMapping {
        path_on_host: parts[0].to_owned(),
        path_in_container: inside.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// `/dev/sda:500`.
pub(crate) fn parse_weight(text: &str) -> Result<WeightDevice, String> {
    let (path, weight) = device_and_value(text)?;
    let weight = weight.parse::<u16>().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
    let weight = weight.ok_or_else(|| format!("invalid weight for device: {text}"))?;
    Ok(WeightDevice { path: path.to_owned(), weight })
}

/// `/dev/sda:1mb`.
pub(crate) fn parse_bps(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_and_value(text)?;
    let rate = units::parse_bytes(rate).ok().and_then(|rate| u64::try_from(rate).ok()).ok_or_else(|| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

/// `/dev/sda:1000`.
pub(crate) fn parse_iops(text: &str) -> Result<ThrottleDevice, String> {
    let (path, rate) = device_and_value(text)?;
    let rate = rate.parse().map_err(|_| {
        format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )
    })?;
    Ok(ThrottleDevice { path: path.to_owned(), rate })
}

fn device_and_value(text: &str) -> Result<(&str, &str), String> {
    let (path, value) = text.split_once(':').ok_or_else(|| format!("bad format: {text}"))?;
    if path.is_empty() || value.contains(':') {
        return Err(format!("bad format: {text}"));
    }
    if !path.starts_with("/dev/") {
        return Err(format!("bad format for device path: {text}"));
    }
    Ok((path, value))
}

pub(crate) fn check_weight(text: &str) -> Checked {
    parse_weight(text).map(|_| ())
}

pub(crate) fn check_bps(text: &str) -> Checked {
    parse_bps(text).map(|_| ())
}

pub(crate) fn check_iops(text: &str) -> Checked {
    parse_iops(text).map(|_| ())
}

pub(crate) fn check_ulimit(text: &str) -> Checked {
    parse_ulimit(text).map(|_| ())
}

pub(crate) fn check_gpus(text: &str) -> Checked {
    parse_gpus(text).map(|_| ())
}

/// `c 1:3 rwm`.
pub(crate) fn check_cgroup_rule(text: &str) -> Checked {
    let invalid = || format!("invalid device cgroup format '{text}'");
    let mut words = text.split(' ');
    let (kind, numbers, mode) = (words.next(), words.next(), words.next());
    let number = |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let fine = matches!(kind, Some("a" | "b" | "c"))
        && numbers
            .and_then(|numbers| numbers.split_once(':'))
            .is_some_and(|(major, minor)| number(major) && number(minor))
        && mode.is_some_and(|mode| mode.len() <= 3 && is_mode(mode))
        && words.next().is_none();
    if fine { Ok(()) } else { Err(invalid()) }
}

const ULIMITS: [&str; 15] = [
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// `nofile=1024[:2048]`.
pub(crate) fn parse_ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !ULIMITS.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let parts: Vec<&str> = limits.split(':').collect();
    if parts.len() > 2 {
        return Err(format!("too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"));
    }
    let soft = crate::flags::values::parse_int(parts[0])?;
    let hard = match parts.get(1) {
        Some(hard) => crate::flags::values::parse_int(hard)?,
        None => soft,
    };
    if hard != -1 && (soft > hard || soft == -1) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(Ulimit { name: name.to_owned(), hard, soft })
}

/// `all`, a number, or `device=0,capabilities=compute`.
pub(crate) fn parse_gpus(text: &str) -> Result<DeviceRequest, String> {
    let mut request = DeviceRequest::default();
    let mut capabilities = Vec::new();
    for field in super::mounts::split_fields(text)? {
        let (key, value) = field.split_once('=').unwrap_or(("count", &field));
        match key {
            "count" if value == "all" => request.count = -1,
            "count" => {
                request.count = value.parse().map_err(|_| {
                    format!("invalid count ({value}): value must be either \"all\" or an integer: invalid syntax")
                })?;
            }
            "driver" => value.clone_into(&mut request.driver),
            "device" => request.device_ids = Some(value.split(',').map(str::to_owned).collect()),
            "capabilities" => capabilities.extend(value.split(',').map(str::to_owned)),
            "options" => {
                let (name, option) = value.split_once('=').unwrap_or((value, ""));
                request.options.get_or_insert_default().insert(name.to_owned(), option.to_owned());
            }
            key => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if request.device_ids.is_none() && request.count == 0 {
        request.count = 1;
    }
    capabilities.push("gpu".to_owned());
    request.capabilities = Some(vec![capabilities]);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_read() {
        let shown = |text: &str| {
            parse_devices(&[text.to_owned()]).map(|devices| {
                let device = devices.mapped[0].clone();
                format!("{} {} {}", device.path_on_host, device.path_in_container, device.cgroup_permissions)
            })
        };
        assert_eq!(shown("/dev/a").unwrap(), "/dev/a /dev/a rwm");
        assert_eq!(shown("/dev/a:r").unwrap(), "/dev/a /dev/a r");
        assert_eq!(shown("/dev/a:/dev/b").unwrap(), "/dev/a /dev/b rwm");
        assert_eq!(shown("/dev/a:/dev/b:mw").unwrap(), "/dev/a /dev/b mw");
        assert_eq!(shown("/dev/a:b:c:d").unwrap_err(), "bad format for path: /dev/a:b:c:d");
        assert_eq!(shown("/dev/null:/dev/x:zz").unwrap_err(), "bad mode specified: zz");
        assert_eq!(shown("/dev/null:x").unwrap_err(), "x is not an absolute path");
        let cdi = parse_devices(&["vendor.com/gpu=0".to_owned()]).unwrap();
        assert_eq!(cdi.requested[0].device_ids, Some(vec!["vendor.com/gpu=0".to_owned()]));
    }

    #[test]
    fn limits_of_devices_and_processes_are_checked() {
        let cases: &[(super::super::super::flags::Check, &str, &str)] = &[
            (check_bps, "foo", "bad format: foo"),
            (check_bps, "foo:1", "bad format for device path: foo:1"),
            (check_weight, "/dev/sda:5", "invalid weight for device: /dev/sda:5"),
            (check_cgroup_rule, "zz", "invalid device cgroup format 'zz'"),
            (check_ulimit, "foo", "invalid ulimit argument: foo"),
            (check_ulimit, "foo=1", "invalid ulimit type: foo"),
            (check_ulimit, "nofile=a", "strconv.ParseInt: parsing \"a\": invalid syntax"),
            (check_ulimit, "nofile=10:5", "ulimit soft limit must be less than or equal to hard limit: 10 > 5"),
            (check_gpus, "x", "invalid count (x): value must be either \"all\" or an integer: invalid syntax"),
        ];
        for (check, text, message) in cases {
            assert_eq!(check(text).unwrap_err(), *message);
        }
        assert!(check_cgroup_rule("c 1:* rwm").is_ok() && check_bps("/dev/sda:1mb").is_ok());
        assert_eq!(parse_ulimit("nofile=5:10").unwrap(), Ulimit { name: "nofile".to_owned(), hard: 10, soft: 5 });
    }
}
