//! The driver `local`: a directory, or the file system that its options name.

use std::collections::BTreeMap;
use std::net::{IpAddr, ToSocketAddrs as _};

use crate::error::{Error, ErrorKind, Result};

/// Longest name of a volume: it is a directory's name.
const NAME_LEN_MAX: usize = 255;

/// What the options of a volume mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Backing {
    /// Its own directory.
    Directory,
    /// A directory of the host.
    Bind { device: String, options: Vec<String> },
    /// A file system that is mounted for each container.
    Filesystem { kind: String, device: String, options: Vec<String> },
}

/// Checks a volume's name.
///
/// # Errors
/// `InvalidArgument`, in the words that Docker uses.
pub(super) fn check_name(name: &str) -> Result<()> {
    if name.len() < 2 {
        let message = "volume name is too short, names should be at least two alphanumeric characters";
        return Err(Error::invalid(format!("{name:?}: {message}")));
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if !begins || !name.bytes().all(fits) {
        return Err(Error::invalid(format!(
            "create {name}: {name:?} includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        )));
    }
    if name.len() > NAME_LEN_MAX {
        return Err(Error::invalid(format!("volume name is longer than {NAME_LEN_MAX} characters")));
    }
    Ok(())
}

/// Reads the options `type`, `device` and `o`.
///
/// # Errors
/// `InvalidArgument` naming the option.
pub(super) fn backing(options: &BTreeMap<String, String>) -> Result<Backing> {
    for key in options.keys() {
        match key.as_str() {
            "type" | "device" | "o" => {}
            "size" => return Err(Error::not_implemented("option \"size\": this engine has no quotas for volumes")),
            _ => return Err(Error::invalid(format!("invalid option: {key:?}: there are type, device and o"))),
        }
    }
    let value = |key: &str| options.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let (kind, device, words) = (value("type"), value("device"), value("o"));
    if kind.is_none() && device.is_none() && words.is_none() {
        return Ok(Backing::Directory);
    }
    let Some(device) = device else { return Err(Error::invalid("missing device in volume options")) };
    if options.values().any(|text| text.contains('\0')) {
        return Err(Error::invalid("volume options contain a zero byte"));
    }
    let mut words: Vec<String> =
        words.unwrap_or_default().split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
    let is_bind = |word: &String| word == "bind" || word == "rbind";
    if words.iter().any(is_bind) {
        if !device.starts_with('/') {
            return Err(Error::invalid(format!("invalid option device {device:?}: a bind needs an absolute path")));
        }
        let recursive = words.iter().any(|word| word == "rbind");
        words.retain(|word| !is_bind(word));
        words.insert(0, if recursive { "rbind".into() } else { "bind".into() });
        return Ok(Backing::Bind { device: device.to_owned(), options: words });
    }
    match kind {
        None | Some("none") => Err(Error::invalid("missing type in volume options: a device needs one, or o=bind")),
        Some(kind) => Ok(Backing::Filesystem { kind: kind.into(), device: device.into(), options: words }),
    }
}

/// Replaces the name in `addr=` of a network file system by its address: the kernel takes nothing else. Blocks.
///
/// # Errors
/// `Unavailable` when the name cannot be resolved.
pub(super) fn resolve_address(options: Vec<String>) -> Result<Vec<String>> {
    let resolve = |word: String| {
        let Some(host) = word.strip_prefix("addr=") else { return Ok(word) };
        if host.parse::<IpAddr>().is_ok() {
            return Ok(word);
        }
        let found = (host, 0).to_socket_addrs().map(|mut all| all.next());
        match found {
            Ok(Some(address)) => Ok(format!("addr={}", address.ip())),
            Ok(None) => Err(Error::new(ErrorKind::Unavailable, format!("option addr={host}: the name has no address"))),
            Err(error) => {
                Err(Error::new(ErrorKind::Unavailable, format!("resolve option addr={host}")).with_source(error))
            }
        }
    };
    options.into_iter().map(resolve).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn options_become_mounts() {
        let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(backing(&options(&[])).unwrap(), Backing::Directory);
        assert_eq!(
            backing(&options(&[("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,uid=7")])).unwrap(),
            Backing::Filesystem { kind: "tmpfs".into(), device: "tmpfs".into(), options: words(&["size=1m", "uid=7"]) }
        );
        assert_eq!(
            backing(&options(&[("type", "none"), ("device", "/srv"), ("o", "ro,rbind")])).unwrap(),
            Backing::Bind { device: "/srv".into(), options: words(&["rbind", "ro"]) }
        );
        for (list, expected) in [
            (&[("type", "tmpfs")][..], "missing device"),
            (&[("device", "/dev/x")], "missing type"),
            (&[("device", "srv"), ("o", "bind")], "absolute path"),
            (&[("colour", "red")], "invalid option: \"colour\""),
            (&[("size", "1g")], "quotas"),
        ] {
            let error = backing(&options(list)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error} should contain {expected}");
        }
    }

    #[test]
    fn an_address_is_left_and_a_name_is_resolved() {
        let resolved = resolve_address(vec!["rw".into(), "addr=10.0.0.7".into(), "addr=localhost".into()]).unwrap();
        assert_eq!(&resolved[..2], ["rw", "addr=10.0.0.7"]);
        assert!(resolved[2] == "addr=127.0.0.1" || resolved[2] == "addr=::1", "{resolved:?}");
    }
}
