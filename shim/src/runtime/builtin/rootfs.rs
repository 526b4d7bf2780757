//! The root file system as a detached mount, made by the shim before the container's process exists, so that neither
//! the host's mount table nor the container's paths have a part in it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use shim_api::proto::types::Mount;
use sys::mount::{MountAttributes, Parameter};

use super::mount_options::MountOptions;
use super::overlay_page::Overlay;
use super::{id_map, overlay_page, raw};
use crate::oci::IdMapping;
use crate::runtime::{Failure, Result};

const STEP: &str = "rootfs";

/// A root file system and what has to stay open until it is mounted.
#[derive(Debug)]
pub(crate) struct RootFs {
    pub(crate) mount: OwnedFd,
}

/// Makes the root file system that `mounts` describe, or takes what is at `path` when there are none.
pub(crate) fn prepare(mounts: &[Mount], path: &Path) -> Result<RootFs> {
    let mount = match mounts {
        [] => {
            let mount = sys::mount::clone_tree(path, true).map_err(|e| Failure::io(STEP, path.display(), &e))?;
            // The copy must not send mounts of the container back to where it came from.
            sys::mount::set_propagation(&mount, true, sys::mount::Propagation::Slave)
                .map_err(|e| Failure::io(STEP, path.display(), &e))?;
            mount
        }
        [one] => make(one)?,
        more => {
            let message = format!("rootfs: {} mounts given, the built-in runtime takes one", more.len());
            return Err(Failure::new(STEP, message));
        }
    };
    Ok(RootFs { mount })
}

fn make(mount: &Mount) -> Result<OwnedFd> {
    let options = MountOptions::parse(&mount.options);
    match mount.r#type.as_str() {
        "overlay" => overlay(&options),
        "bind" | "rbind" | "" => bind(mount, &options),
        kind => {
            let owned: Vec<_> = options.data.clone();
            let mut parameters = vec![Parameter::Text("source", mount.source.as_bytes())];
            parameters.extend(owned.iter().map(|(key, value)| parameter(key, value.as_deref())));
            sys::mount::new_filesystem(kind, &parameters, options.attributes.set)
                .map_err(|e| Failure::io(STEP, format!("{kind} of {}", mount.source), &e))
        }
    }
}

fn parameter<'a>(key: &'a str, value: Option<&'a str>) -> Parameter<'a> {
    value.map_or(Parameter::Flag(key), |value| Parameter::Text(key, value.as_bytes()))
}

fn bind(mount: &Mount, options: &MountOptions) -> Result<OwnedFd> {
    let about = |e: std::io::Error| Failure::io(STEP, &mount.source, &e);
    let recursive = options.bind == Some(true) || mount.r#type == "rbind";
    let tree = sys::mount::clone_tree(Path::new(&mount.source), recursive).map_err(about)?;
    if let Some(map) = id_map_of(options)? {
        use std::os::fd::AsFd as _;
        sys::mount::set_id_map(&tree, recursive, map.userns.as_fd()).map_err(about)?;
    }
    sys::mount::set_propagation(&tree, true, sys::mount::Propagation::Slave).map_err(about)?;
    if !options.attributes.is_empty() {
        sys::mount::set_attributes(&tree, false, options.attributes).map_err(about)?;
    }
    Ok(tree)
}

/// The user namespace of containerd's `uidmap=C:H:S` and `gidmap=C:H:S` options (several joined by `;` or given
/// again).
fn id_map_of(options: &MountOptions) -> Result<Option<IdMap>> {
    let ranges = |key: &str| -> Result<Vec<IdMapping>> {
        let texts = options.data.iter().filter(|(name, _)| name == key).filter_map(|(_, value)| value.as_deref());
        texts.flat_map(|text| text.split(';')).map(|text| parse_range(key, text)).collect()
    };
    let (uids, gids) = (ranges("uidmap")?, ranges("gidmap")?);
    if uids.is_empty() && gids.is_empty() {
        return Ok(None);
    }
    let root_of = |map: &[IdMapping]| map.iter().find(|range| range.container_id == 0).map_or(0, |range| range.host_id);
    let root = (root_of(&uids), root_of(&gids));
    Ok(Some(IdMap { userns: id_map::user_namespace(&uids, &gids)?, root }))
}

/// A mapping of ids, and who its root is on the host.
struct IdMap {
    userns: OwnedFd,
    root: (u32, u32),
}

fn parse_range(key: &str, text: &str) -> Result<IdMapping> {
    let mut numbers = text.split(':').map(str::parse::<u32>);
    match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(container_id)), Some(Ok(host_id)), Some(Ok(size)), None) => {
            Ok(IdMapping { container_id, host_id, size })
        }
        _ => Err(Failure::new(STEP, format!("rootfs: {key}={text} is not container:host:size"))),
    }
}

/// Layers are given one by one (`lowerdir+`, Linux 6.5), which has no limit of a page for all of them together; older
/// kernels get them through mount(2) ([`overlay_page`]).
pub(super) fn overlay(options: &MountOptions) -> Result<OwnedFd> {
    let value = |key: &str| options.data.iter().find(|(name, _)| name == key).and_then(|(_, v)| v.as_deref());
    let lower = value("lowerdir").ok_or_else(|| Failure::new(STEP, "rootfs: overlay without lowerdir"))?;
    let layers: Vec<PathBuf> = split_layers(lower);
    let id_map = id_map_of(options)?;
    let mapped = match &id_map {
        None => None,
        Some(map) => Some(Mapped::new(&layers, value("upperdir"), value("workdir"), &map.userns)?),
    };
    let plain = (value("upperdir").map(PathBuf::from), value("workdir").map(PathBuf::from));
    let (named_layers, upper, work) = match &mapped {
        None => (layers.clone(), plain.0.clone(), plain.1.clone()),
        Some(mapped) => (mapped.layers.clone(), mapped.upper.clone(), mapped.work.clone()),
    };
    let attributes = options.attributes.set | if upper.is_none() { MountAttributes::RDONLY } else { 0 };
    let extra: Vec<_> = options
        .data
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "lowerdir" | "upperdir" | "workdir" | "uidmap" | "gidmap"))
        .collect();
    let bytes = |path: &Path| path.as_os_str().as_encoded_bytes().to_vec();
    let layer_bytes: Vec<Vec<u8>> = named_layers.iter().map(|layer| bytes(layer)).collect();
    let (upper, work) = (upper.as_deref().map(bytes), work.as_deref().map(bytes));
    let build = |lowers: &[Vec<u8>], key: &'static str| {
        let mut parameters = vec![Parameter::Text("source", b"overlay")];
        parameters.extend(lowers.iter().map(|layer| Parameter::Text(key, layer)));
        parameters.extend(upper.as_deref().map(|upper| Parameter::Text("upperdir", upper)));
        parameters.extend(work.as_deref().map(|work| Parameter::Text("workdir", work)));
        parameters.extend(extra.iter().map(|(key, value)| parameter(key, value.as_deref())));
        let make = || sys::mount::new_filesystem("overlay", &parameters, attributes);
        match &id_map {
            None => make(),
            // overlayfs works on its upper layer as whoever mounted it, which a mapped layer has to know.
            Some(map) => raw::with_fs_identity(map.root.0, map.root.1, make)?,
        }
    };
    let by_page = || {
        let options: Vec<String> = extra
            .iter()
            .map(|(key, value)| value.as_deref().map_or_else(|| key.clone(), |value| format!("{key}={value}")))
            .collect();
        let writable = plain.0.as_deref().zip(plain.1.as_deref());
        overlay_page::detached(Overlay {
            layers: &layers,
            writable,
            options: &options,
            attributes,
            mapped: mapped.as_ref().map_or(&[], |mapped| &mapped.open),
            identity: id_map.as_ref().map(|map| map.root),
        })
    };
    build(&layer_bytes, "lowerdir+")
        .or_else(|error| match error.raw_os_error().unwrap_or(libc::EINVAL) {
            // The kernel does not know the key, or something else is wrong and is so the other way too.
            libc::EINVAL => by_page().map_err(|_second| error),
            _ => Err(error),
        })
        .map_err(|e| Failure::io(STEP, format!("overlay of {} layers", layers.len()), &e))
}

/// Splits `a:b\:c` into `a` and `b:c`.
fn split_layers(text: &str) -> Vec<PathBuf> {
    let mut layers = Vec::new();
    let mut current = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => current.extend(characters.next()),
            ':' => layers.push(PathBuf::from(std::mem::take(&mut current))),
            other => current.push(other),
        }
    }
    layers.push(PathBuf::from(current));
    layers
}

/// Layers as id-mapped detached mounts, named by descriptor.
struct Mapped {
    layers: Vec<PathBuf>,
    upper: Option<PathBuf>,
    work: Option<PathBuf>,
    /// Open until the overlay holds them; with the paths that they stand for, a folder before what is in it.
    open: Vec<(OwnedFd, PathBuf)>,
}

impl Mapped {
    fn new(layers: &[PathBuf], upper: Option<&str>, work: Option<&str>, userns: &OwnedFd) -> Result<Self> {
        use std::os::fd::AsFd as _;
        let mut open = Vec::new();
        let mut named = Vec::new();
        for layer in layers {
            let tree = mapped_clone(layer, userns.as_fd())?;
            named.push(PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd())));
            open.push((tree, layer.clone()));
        }
        let (mut mapped_upper, mut mapped_work) = (None, None);
        if let (Some(upper), Some(work)) = (upper.map(Path::new), work.map(Path::new)) {
            // overlayfs wants both on one mount, so it is their common folder that is mapped.
            let parent = upper.parent().filter(|parent| work.parent() == Some(parent));
            let parent =
                parent.ok_or_else(|| Failure::new(STEP, "rootfs: upperdir and workdir are not in one folder"))?;
            let tree = mapped_clone(parent, userns.as_fd())?;
            let base = PathBuf::from(format!("/proc/self/fd/{}", tree.as_raw_fd()));
            mapped_upper = upper.file_name().map(|name| base.join(name));
            mapped_work = work.file_name().map(|name| base.join(name));
            open.insert(0, (tree, parent.to_owned()));
        }
        Ok(Self { layers: named, upper: mapped_upper, work: mapped_work, open })
    }
}

fn mapped_clone(path: &Path, userns: BorrowedFd<'_>) -> Result<OwnedFd> {
    let about = |e: std::io::Error| Failure::io(STEP, path.display(), &e);
    let tree = sys::mount::clone_tree(path, false).map_err(about)?;
    sys::mount::set_id_map(&tree, false, userns).map_err(about)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_split_at_colons_that_are_not_escaped() {
        assert_eq!(split_layers("/a:/b\\:c:/d"), [Path::new("/a"), Path::new("/b:c"), Path::new("/d")]);
        assert_eq!(split_layers("/a"), [Path::new("/a")]);
    }
}
