//! Devices by name: what the files of the Container Device Interface (CDI 1.1) say has to be added to a container. Pure.

use serde::Deserialize;

use crate::error::{Error, Result};

/// One file: the devices of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdiFile {
    /// Version of the format, `0.3.0` and later.
    pub cdi_version: String,
    /// `vendor.com/class`.
    pub kind: String,
    /// Devices.
    #[serde(default)]
    pub devices: Vec<CdiDevice>,
    /// What any of them needs.
    #[serde(default)]
    pub container_edits: Edits,
}

/// A device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CdiDevice {
    /// The part after `=`.
    pub name: String,
    /// What it needs.
    #[serde(default)]
    pub container_edits: Edits,
}

/// What is added to a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Edits {
    /// `KEY=value`.
    pub env: Vec<String>,
    /// Device nodes.
    pub device_nodes: Vec<CdiNode>,
    /// Mounts.
    pub mounts: Vec<CdiMount>,
    /// Programs of the host that are run around the start.
    pub hooks: Vec<CdiHook>,
    /// Further groups of the first process.
    pub additional_gids: Vec<u32>,
    /// Network interfaces that are moved in: refused.
    pub net_devices: Vec<serde_json::Value>,
    /// Cache classes: refused.
    pub intel_rdt: Option<serde_json::Value>,
}

/// A device node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CdiNode {
    /// Path in the container.
    pub path: String,
    /// Path on the host; empty = the same.
    pub host_path: String,
    /// Some of `rwm`; empty = all.
    pub permissions: String,
    /// Permission bits, if not the host node's.
    pub file_mode: Option<u32>,
    /// Owner, if not the host node's.
    pub uid: Option<u32>,
    /// Group, if not the host node's.
    pub gid: Option<u32>,
}

/// A mount.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CdiMount {
    /// Path on the host.
    pub host_path: String,
    /// Path in the container.
    pub container_path: String,
    /// Mount options.
    pub options: Vec<String>,
    /// File system; empty = a bind mount.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A hook of the OCI runtime spec.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CdiHook {
    /// `createContainer` and the like.
    pub hook_name: String,
    /// Program.
    pub path: String,
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment.
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<i64>,
}

/// Takes `vendor.com/class=name` apart.
///
/// # Errors
/// `InvalidArgument` with the name.
pub fn parse_name(name: &str) -> Result<(&str, &str)> {
    let wrong = || Error::invalid(format!("CDI device {name:?} is not vendor/class=name"));
    let (kind, device) = name.split_once('=').ok_or_else(wrong)?;
    let (vendor, class) = kind.split_once('/').ok_or_else(wrong)?;
    let word = |text: &str, more: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let valid = word(vendor, b"_-.") && word(class, b"_-") && word(device, b"_-.:");
    if valid { Ok((kind, device)) } else { Err(wrong()) }
}

/// What the named devices need together. Of two files that know a device the later one holds.
///
/// # Errors
/// `InvalidArgument` for a device that no file knows; `NotImplemented` for edits that are not built.
pub fn edits(files: &[CdiFile], names: &[String]) -> Result<Edits> {
    let mut whole = Edits::default();
    let mut kinds: Vec<&CdiFile> = Vec::new();
    for name in names {
        let (kind, device) = parse_name(name)?;
        let of_kind = files.iter().rev().filter(|file| file.kind == kind);
        let found =
            of_kind.flat_map(|file| file.devices.iter().map(move |d| (file, d))).find(|(_, d)| d.name == device);
        let (file, device) = found.ok_or_else(|| Error::invalid(format!("unresolvable CDI device {name}")))?;
        // Edits of the file count once, however many of its devices are taken.
        if !kinds.iter().any(|known| std::ptr::eq(*known, file)) {
            kinds.push(file);
            add(&mut whole, &file.container_edits, name)?;
        }
        add(&mut whole, &device.container_edits, name)?;
    }
    Ok(whole)
}

fn add(whole: &mut Edits, more: &Edits, name: &str) -> Result<()> {
    for (field, asked) in [("netDevices", !more.net_devices.is_empty()), ("intelRdt", more.intel_rdt.is_some())] {
        if asked {
            return Err(Error::not_implemented(format!("CDI device {name}: {field} is not built")));
        }
    }
    for entry in &more.env {
        if entry.split_once('=').is_none_or(|(key, _)| key.is_empty()) || entry.contains('\0') {
            return Err(Error::invalid(format!("CDI device {name}: env {entry:?} is not KEY=value")));
        }
    }
    let absolute = |path: &str| path.starts_with('/');
    let paths = more.device_nodes.iter().map(|node| &node.path).chain(more.hooks.iter().map(|hook| &hook.path));
    if let Some(path) = paths.chain(more.mounts.iter().map(|m| &m.container_path)).find(|path| !absolute(path)) {
        return Err(Error::invalid(format!("CDI device {name}: {path:?} is not absolute")));
    }
    whole.env.extend(more.env.iter().cloned());
    whole.device_nodes.extend(more.device_nodes.iter().cloned());
    whole.mounts.extend(more.mounts.iter().cloned());
    whole.hooks.extend(more.hooks.iter().cloned());
    whole.additional_gids.extend(more.additional_gids.iter().filter(|gid| **gid != 0));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(device: &str, value: &str) -> CdiFile {
        serde_json::from_value(serde_json::json!({
            "cdiVersion": "0.6.0", "kind": "vendor.com/net",
            "devices": [{"name": device, "containerEdits": {
                "env": [format!("DEVICE={value}")],
                "deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "permissions": "rw"}]}}],
            "containerEdits": {"mounts": [{"hostPath": "/lib/x", "containerPath": "/lib/x", "options": ["ro"]}]}
        }))
        .unwrap()
    }

    #[test]
    fn names() {
        assert_eq!(parse_name("vendor.com/net=port:0").unwrap(), ("vendor.com/net", "port:0"));
        for wrong in ["", "vendor.com", "vendor.com/net", "vendor.com/net=", "/net=a", "v/=a", "v/c=a b", "v/c=../x"] {
            assert!(parse_name(wrong).unwrap_err().message().contains("vendor/class=name"), "{wrong}");
        }
    }

    #[test]
    fn the_later_file_holds_and_its_own_edits_count_once() {
        let files = [file("a", "old"), file("a", "new"), file("b", "b")];
        let names = |names: &[&str]| names.iter().map(|n| format!("vendor.com/net={n}")).collect::<Vec<_>>();
        let one = edits(&files, &names(&["a"])).unwrap();
        assert_eq!((one.env, one.mounts.len()), (vec!["DEVICE=new".to_owned()], 1));
        let both = edits(&files, &names(&["a", "a"])).unwrap();
        assert_eq!((both.device_nodes.len(), both.mounts.len()), (2, 1));
        let missing = edits(&files, &names(&["c"])).unwrap_err();
        assert_eq!(missing.message(), "unresolvable CDI device vendor.com/net=c");
    }

    #[test]
    fn what_is_not_built_is_refused_by_name() {
        let mut moved = file("a", "a");
        moved.devices[0].container_edits.net_devices.push(serde_json::json!({"hostInterfaceName": "eth7"}));
        let error = edits(&[moved], &["vendor.com/net=a".to_owned()]).unwrap_err();
        assert!(error.message().contains("netDevices"), "{error}");
    }
}
