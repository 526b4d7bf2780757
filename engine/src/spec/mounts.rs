//! The mounts of a runtime spec, in the order they are made: the kernel's file systems, then parents before children.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Mount, MountBuilder};

use crate::error::{Error, Result};
use crate::spec::build::{Known, built, id_mappings};
use crate::spec::facts::{NamespaceAt, ResolvedMount};
use crate::spec::{ContainerSpec, Propagation};

/// All mounts. One that was asked for replaces a default one with the same target.
pub(super) fn all(spec: &ContainerSpec, known: Known<'_>) -> Result<Vec<Mount>> {
    let mut asked: Vec<(PathBuf, &ResolvedMount)> = Vec::with_capacity(known.mounts.len());
    for mount in known.mounts {
        asked.push((clean_target(&mount.target)?, mount));
    }
    // Stable: of two with equal depth the earlier stays first, as asked.
    asked.sort_by_key(|(target, _)| target.components().count());
    let covered = |target: &Path| asked.iter().any(|(path, _)| path == target);
    let mut mounts: Vec<Mount> = Vec::new();
    for (target, kind, source, options) in defaults(spec, known) {
        if !covered(Path::new(target)) {
            mounts.push(mount(Path::new(target), kind, &source, options, None)?);
        }
    }
    for (target, resolved) in &asked {
        mounts.push(mount(target, &resolved.kind, &resolved.source, options(resolved), Some(resolved))?);
    }
    Ok(mounts)
}

/// The propagation of `/` that shared or slave mounts need; `None` = private.
pub(super) fn rootfs_propagation(mounts: &[ResolvedMount]) -> Option<&'static str> {
    let any = |wanted: [Propagation; 2]| mounts.iter().any(|mount| wanted.contains(&mount.propagation));
    if any([Propagation::Shared, Propagation::Rshared]) {
        Some("rshared")
    } else if any([Propagation::Slave, Propagation::Rslave]) {
        Some("rslave")
    } else {
        None
    }
}

type Default = (&'static str, &'static str, String, Vec<String>);

fn defaults(spec: &ContainerSpec, known: Known<'_>) -> Vec<Default> {
    let sandbox = known.sandbox;
    let words = |text: &str| text.split(',').map(String::from).collect::<Vec<_>>();
    let privileged = spec.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mut list: Vec<Default> = vec![
        ("/proc", "proc", "proc".into(), words("nosuid,noexec,nodev")),
        ("/dev", "tmpfs", "tmpfs".into(), words("nosuid,strictatime,mode=755,size=65536k")),
        ("/dev/pts", "devpts", "devpts".into(), words("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")),
    ];
    // A user namespace may only mount sysfs for a network namespace that it owns.
    if sandbox.user.is_some() && sandbox.network == NamespaceAt::Host {
        list.push(("/sys", "bind", "/sys".into(), words("rbind,ro,nosuid,noexec,nodev")));
    } else {
        list.push(("/sys", "sysfs", "sysfs".into(), words(&format!("nosuid,noexec,nodev,{access}"))));
    }
    let cgroup = words(&format!("nosuid,noexec,nodev,relatime,{access}"));
    list.push(("/sys/fs/cgroup", "cgroup", "cgroup".into(), cgroup));
    if sandbox.ipc == NamespaceAt::Host {
        // Mounted anew it shows the queues of the namespace that it is mounted in; a user namespace may not do that to
        // the host's, and a host need not have it mounted to be bound.
        if sandbox.user.is_none() {
            list.push(("/dev/mqueue", "mqueue", "mqueue".into(), words("nosuid,noexec,nodev")));
        }
        list.push(("/dev/shm", "bind", "/dev/shm".into(), words("rbind,nosuid,nodev")));
    } else {
        list.push(("/dev/mqueue", "mqueue", "mqueue".into(), words("nosuid,noexec,nodev")));
        match &sandbox.shm_path {
            Some(path) => list.push(("/dev/shm", "bind", path.clone(), words("rbind,nosuid,noexec,nodev"))),
            None => {
                let size = format!("nosuid,noexec,nodev,mode=1777,size={}", sandbox.shm_bytes);
                list.push(("/dev/shm", "tmpfs", "shm".into(), words(&size)));
            }
        }
    }
    let files = [
        ("/etc/resolv.conf", &sandbox.resolv_conf),
        ("/etc/hostname", &sandbox.hostname_file),
        ("/etc/hosts", &sandbox.hosts_file),
    ];
    for (target, source) in files.into_iter().filter(|(_, source)| !source.is_empty()) {
        let access = if spec.security.readonly_rootfs { "ro" } else { "rw" };
        list.push((target, "bind", source.clone(), words(&format!("rbind,rprivate,{access}"))));
    }
    list
}

fn options(mount: &ResolvedMount) -> Vec<String> {
    let mut options = mount.options.clone();
    if mount.kind == "bind" {
        options.push(if mount.non_recursive { "bind" } else { "rbind" }.to_owned());
        options.push(propagation_word(mount.propagation).to_owned());
    }
    options.push(
        match (mount.readonly, mount.recursive_readonly) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        }
        .to_owned(),
    );
    options
}

/// The mount option of a propagation.
pub fn propagation_word(propagation: Propagation) -> &'static str {
    match propagation {
        Propagation::Rprivate => "rprivate",
        Propagation::Private => "private",
        Propagation::Rslave => "rslave",
        Propagation::Slave => "slave",
        Propagation::Rshared => "rshared",
        Propagation::Shared => "shared",
    }
}

fn mount(
    target: &Path,
    kind: &str,
    source: &str,
    mut options: Vec<String>,
    asked: Option<&ResolvedMount>,
) -> Result<Mount> {
    let mut builder = MountBuilder::default().destination(target).typ(kind).source(source);
    if let Some((uids, gids)) = asked.and_then(|resolved| resolved.id_maps.as_ref()) {
        options.push("ridmap".to_owned());
        builder = builder.uid_mappings(id_mappings(uids)?).gid_mappings(id_mappings(gids)?);
    }
    built(builder.options(options).build())
}

/// An absolute path without `.`, `..` and double slashes.
///
/// # Errors
/// `InvalidArgument` when it is relative, the root itself, or contains a NUL.
pub fn clean_target(target: &str) -> Result<PathBuf> {
    let wrong = |why: &str| Error::invalid(format!("invalid mount target {target:?}: {why}"));
    if !target.starts_with('/') {
        return Err(wrong("mount path must be absolute"));
    }
    if target.contains('\0') {
        return Err(wrong("it contains a NUL byte"));
    }
    let mut clean = PathBuf::from("/");
    for component in Path::new(target).components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if clean == Path::new("/") {
        return Err(wrong("destination can't be '/'"));
    }
    Ok(clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_cleaned() {
        assert_eq!(clean_target("/a//b/./c/../d").unwrap(), Path::new("/a/b/d"));
        for wrong in ["", "a", "/", "/..", "/a/..", "/a\0"] {
            assert!(clean_target(wrong).is_err(), "{wrong:?}");
        }
    }
}
