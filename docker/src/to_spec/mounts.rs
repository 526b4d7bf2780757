//! PURE. Binds, Mounts, Tmpfs, VolumesFrom and Config.Volumes -> [`MountSpec`]s, in the order they are made.

use std::collections::BTreeMap;

use docker_api::container::{BindOptions, Config, HostConfig, Mount};
use engine::container::{ContainerView, MountView};
use engine::spec::{MountSource, MountSpec, Propagation};
use engine::volume::binds::{self, Bind, BindSource};
use engine::{Error, Result};

use super::Find;
use crate::size;

/// Mounts of the request. Anonymous volumes of Config.Volumes come last and give way to anything at their path.
///
/// # Errors
/// `InvalidArgument` naming the mount; `NotFound` for a container of VolumesFrom.
pub(super) fn mounts(config: &Config, host: &HostConfig, find: Find<'_>) -> Result<Vec<MountSpec>> {
    let mut list = Vec::new();
    for text in host.volumes_from.iter().flatten() {
        volumes_from(text, find, &mut list)?;
    }
    let inherited = list.len();
    for text in host.binds.iter().flatten() {
        list.push(bind(binds::parse(text)?, &host.volume_driver));
    }
    for mount in &host.mounts {
        list.push(mount_spec(mount)?);
    }
    for (target, options) in &host.tmpfs {
        list.push(tmpfs(target, options)?);
    }
    // What the request mounts itself goes before what it takes from other containers.
    let own: Vec<String> = list.iter().skip(inherited).map(|mount| mount.target.clone()).collect();
    let mut index = 0;
    list.retain(|mount| {
        index += 1;
        index > inherited || !own.contains(&mount.target)
    });
    for target in config.volumes.iter().flat_map(|volumes| volumes.keys()) {
        if !list.iter().any(|mount| same_path(&mount.target, target)) {
            list.push(volume(String::new(), target.clone(), &host.volume_driver));
        }
    }
    Ok(list)
}

fn same_path(a: &str, b: &str) -> bool {
    a.trim_end_matches('/') == b.trim_end_matches('/')
}

/// A mount of `source` at `target` with nothing else asked.
fn plain(source: MountSource, target: String) -> MountSpec {
    MountSpec {
        source,
        target,
        readonly: false,
        recursive_readonly: false,
        non_recursive: false,
        propagation: Propagation::default(),
        id_maps: None,
        selinux_relabel: false,
    }
}

fn volume(name: String, target: String, driver: &str) -> MountSpec {
    let source = MountSource::Volume {
        name,
        driver: driver.to_owned(),
        options: BTreeMap::new(),
        labels: BTreeMap::new(),
        no_copy: false,
        subpath: String::new(),
    };
    plain(source, target)
}

fn bind(bind: Bind, volume_driver: &str) -> MountSpec {
    let mut mount = match bind.source {
        BindSource::Path(path) => plain(MountSource::Bind { path, create: true }, bind.destination),
        BindSource::Volume(name) => volume(name, bind.destination, volume_driver),
        BindSource::Anonymous => volume(String::new(), bind.destination, volume_driver),
    };
    if let MountSource::Volume { no_copy, .. } = &mut mount.source {
        *no_copy = bind.no_copy;
    }
    mount.readonly = bind.read_only;
    mount.recursive_readonly = bind.read_only;
    mount.propagation = bind.propagation.map(binds_propagation).unwrap_or_default();
    mount.selinux_relabel = bind.relabel.is_some();
    mount
}

fn binds_propagation(asked: binds::Propagation) -> Propagation {
    match asked {
        binds::Propagation::Private => Propagation::Private,
        binds::Propagation::RPrivate => Propagation::Rprivate,
        binds::Propagation::Slave => Propagation::Slave,
        binds::Propagation::RSlave => Propagation::Rslave,
        binds::Propagation::Shared => Propagation::Shared,
        binds::Propagation::RShared => Propagation::Rshared,
    }
}

fn propagation(word: &str) -> Option<Propagation> {
    Some(match word {
        "" | "rprivate" => Propagation::Rprivate,
        "private" => Propagation::Private,
        "slave" => Propagation::Slave,
        "rslave" => Propagation::Rslave,
        "shared" => Propagation::Shared,
        "rshared" => Propagation::Rshared,
        _ => return None,
    })
}

/// One `--mount`.
fn mount_spec(mount: &Mount) -> Result<MountSpec> {
    let wrong = |why: &str| Error::invalid(format!("invalid mount config for type {:?}: {why}", mount.kind));
    if mount.target.is_empty() {
        return Err(wrong("field Target must not be empty"));
    }
    if !mount.target.starts_with('/') {
        return Err(wrong(&format!("invalid mount path: '{}' mount path must be absolute", mount.target)));
    }
    refuse_foreign_options(mount)?;
    let mut spec = match mount.kind.as_str() {
        "bind" => bind_mount(mount)?,
        "volume" => volume_mount(mount),
        "tmpfs" => tmpfs_mount(mount)?,
        "image" => image_mount(mount)?,
        "npipe" | "cluster" => return Err(wrong("this kind of mount is not supported on a Linux node without swarm")),
        other => return Err(Error::invalid(format!("mount type unknown: {other:?}"))),
    };
    spec.readonly = mount.read_only || mount.kind == "image";
    Ok(spec)
}

fn refuse_foreign_options(mount: &Mount) -> Result<()> {
    let given = [
        ("BindOptions", "bind", mount.bind_options.is_some()),
        ("VolumeOptions", "volume", mount.volume_options.is_some()),
        ("TmpfsOptions", "tmpfs", mount.tmpfs_options.is_some()),
        ("ImageOptions", "image", mount.image_options.is_some()),
    ];
    match given.iter().find(|(_, kind, given)| *given && *kind != mount.kind) {
        Some((field, ..)) => Err(Error::invalid(format!(
            "invalid mount config for type {:?}: field {field} must not be specified",
            mount.kind
        ))),
        None => Ok(()),
    }
}

fn bind_mount(mount: &Mount) -> Result<MountSpec> {
    let wrong = |why: String| Error::invalid(format!("invalid mount config for type \"bind\": {why}"));
    if !mount.source.starts_with('/') {
        let why = if mount.source.is_empty() {
            "field Source must not be empty".to_owned()
        } else {
            format!("invalid mount path: '{}' mount path must be absolute", mount.source)
        };
        return Err(wrong(why));
    }
    let options = mount.bind_options.clone().unwrap_or_default();
    let BindOptions { non_recursive, create_mountpoint, read_only_non_recursive, read_only_force_recursive, .. } =
        options;
    if read_only_force_recursive && (!mount.read_only || read_only_non_recursive || options.propagation != "rprivate") {
        return Err(wrong(
            "ReadOnlyForceRecursive needs ReadOnly, no ReadOnlyNonRecursive and Propagation rprivate".into(),
        ));
    }
    if read_only_non_recursive && !mount.read_only {
        return Err(wrong("mount source must be read-only for ReadOnlyNonRecursive".into()));
    }
    let mut spec =
        plain(MountSource::Bind { path: mount.source.clone(), create: create_mountpoint }, mount.target.clone());
    spec.non_recursive = non_recursive;
    // Read-only means read-only all the way down, as docker has it since API 1.44, unless it is asked not to.
    spec.recursive_readonly = mount.read_only && !read_only_non_recursive;
    spec.propagation = propagation(&options.propagation)
        .ok_or_else(|| wrong(format!("invalid propagation mode: {}", options.propagation)))?;
    Ok(spec)
}

fn volume_mount(mount: &Mount) -> MountSpec {
    let options = mount.volume_options.clone().unwrap_or_default();
    let driver = options.driver_config.unwrap_or_default();
    let source = MountSource::Volume {
        name: mount.source.clone(),
        driver: driver.name,
        options: driver.options,
        labels: options.labels,
        no_copy: options.no_copy,
        subpath: options.subpath,
    };
    plain(source, mount.target.clone())
}

fn tmpfs_mount(mount: &Mount) -> Result<MountSpec> {
    let wrong = |why: String| Error::invalid(format!("invalid mount config for type \"tmpfs\": {why}"));
    if !mount.source.is_empty() {
        return Err(wrong("field Source must not be specified".into()));
    }
    let options = mount.tmpfs_options.clone().unwrap_or_default();
    let size_bytes = u64::try_from(options.size_bytes).map_err(|_| wrong("SizeBytes is negative".into()))?;
    let words = options.options.iter().map(|pair| match &pair[..] {
        [key] => Ok(key.clone()),
        [key, value] => Ok(format!("{key}={value}")),
        other => Err(wrong(format!("TmpfsOptions.Options: {other:?} is neither a flag nor a key with a value"))),
    });
    let source = MountSource::Tmpfs { size_bytes, mode: options.mode, options: words.collect::<Result<_>>()? };
    Ok(plain(source, mount.target.clone()))
}

fn image_mount(mount: &Mount) -> Result<MountSpec> {
    if mount.source.is_empty() {
        return Err(Error::invalid("invalid mount config for type \"image\": field Source must not be empty"));
    }
    let subpath = mount.image_options.clone().unwrap_or_default().subpath;
    Ok(plain(MountSource::Image { image: mount.source.clone(), subpath }, mount.target.clone()))
}

/// `--tmpfs target:options`.
fn tmpfs(target: &str, options: &str) -> Result<MountSpec> {
    let wrong = |word: &str| Error::invalid(format!("HostConfig.Tmpfs.{target}: invalid tmpfs option {word:?}"));
    let (mut size_bytes, mut mode, mut readonly, mut others) = (0, 0, false, Vec::new());
    for word in options.split(',').filter(|word| !word.is_empty()) {
        match word.split_once('=') {
            Some(("size", value)) => size_bytes = size::bytes(value).ok_or_else(|| wrong(word))?,
            Some(("mode", value)) => mode = u32::from_str_radix(value, 8).map_err(|_| wrong(word))?,
            None if word == "ro" => readonly = true,
            None if word == "rw" => readonly = false,
            _ => others.push(word.to_owned()),
        }
    }
    let mut spec = plain(MountSource::Tmpfs { size_bytes, mode, options: others }, target.to_owned());
    spec.readonly = readonly;
    Ok(spec)
}

/// `container[:ro|rw]`: the other container's binds and volumes.
fn volumes_from(text: &str, find: Find<'_>, list: &mut Vec<MountSpec>) -> Result<()> {
    let wrong = || Error::invalid(format!("invalid volumes-from specification: {text:?}"));
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    let readonly = match mode {
        "" | "rw" | "z" | "Z" => false,
        "ro" => true,
        _ => return Err(wrong()),
    };
    if name.is_empty() {
        return Err(wrong());
    }
    let other = find(name)?;
    for mount in &other.mounts {
        if let Some(mut spec) = inherited(mount, &other) {
            spec.readonly = readonly || !mount.rw;
            list.retain(|known| known.target != spec.target);
            list.push(spec);
        }
    }
    Ok(())
}

fn inherited(mount: &MountView, other: &ContainerView) -> Option<MountSpec> {
    let asked = other.spec.mounts.iter().find(|spec| spec.target == mount.destination);
    let mut spec = match mount.kind.as_str() {
        "volume" => volume(mount.name.clone(), mount.destination.clone(), &mount.driver),
        "bind" => plain(MountSource::Bind { path: mount.source.clone(), create: false }, mount.destination.clone()),
        // A tmpfs is the container's own; an image mount is copied as it was asked for.
        _ => return asked.filter(|spec| matches!(spec.source, MountSource::Image { .. })).cloned(),
    };
    spec.propagation = propagation(&mount.propagation).unwrap_or_default();
    Some(spec)
}
