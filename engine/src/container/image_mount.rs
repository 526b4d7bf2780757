//! Images mounted into containers: a read-only view of their layers, which holds the layers as long as the container
//! exists, and of a path below their root if one is asked for.

use std::ffi::OsStr;
use std::os::fd::AsRawFd as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use sys::rooted::{Dir, RootFd};

use crate::container::record::ContainerRecord;
use crate::container::{MountView, rootfs};
use crate::engine::Core;
use crate::error::{Error, Result};
use crate::rollback::Rollback;
use crate::snapshot::{Mount, SnapshotKey};
use crate::spec::facts::ResolvedMount;
use crate::spec::mounts::propagation_word;
use crate::spec::{MountSource, MountSpec, UserNamespaceSpec};

/// What overlayfs calls a directory that hides those below it.
const OPAQUE: &str = "trusted.overlay.opaque";

/// The name of the view for mount `number` of a container.
fn view_key(record: &ContainerRecord, number: usize) -> Result<SnapshotKey> {
    format!("{}-image-{number}", record.id).parse()
}

/// The container that a view was made for; `None` for another snapshot.
pub(crate) fn container_of_view(key: &SnapshotKey) -> Option<&str> {
    key.as_str().split_once("-image-").map(|(container, _)| container)
}

/// The names of the views of a container's mounts.
pub(crate) fn views(record: &ContainerRecord) -> Result<Vec<SnapshotKey>> {
    let images = record.mounts.iter().enumerate().filter(|(_, mount)| mount.kind == "image");
    images.map(|(number, _)| view_key(record, number)).collect()
}

/// Finds the image and makes the view.
pub(crate) async fn resolve(
    core: &Core,
    record: &ContainerRecord,
    mount: &MountSpec,
    rollback: &mut Rollback,
) -> Result<(MountView, ResolvedMount)> {
    let MountSource::Image { image, subpath } = &mount.source else {
        return Err(Error::internal("not an image"));
    };
    let found = core.images.get(image).map_err(|e| e.context(format!("mount {}", mount.target)))?;
    if !found.usable_by(record.spec.owner) {
        return Err(Error::not_found(format!("mount {}: No such image: {image}", mount.target)));
    }
    let key = view_key(record, record.mounts.len())?;
    let stack = core.snapshots.view(&key, &found.layers).await?;
    let snapshots = core.snapshots.clone();
    rollback.push("remove the view of an image", move || async move { snapshots.remove(&key).await });
    let stack = if subpath.is_empty() { stack } else { below(&stack, subpath, &mount.target)? };
    let [only] = stack.as_slice() else {
        return Err(Error::internal(format!("image {image} is mounted as {} mounts", stack.len())));
    };
    let view = MountView {
        kind: "image".to_owned(),
        name: image.clone(),
        source: found.id.to_string(),
        destination: mount.target.clone(),
        driver: String::new(),
        mode: String::new(),
        rw: false,
        propagation: propagation_word(mount.propagation).to_owned(),
        anonymous: false,
    };
    Ok((view, runtime_mount(core, record, mount, only)))
}

fn runtime_mount(core: &Core, record: &ContainerRecord, mount: &MountSpec, stack: &Mount) -> ResolvedMount {
    let sandbox = core.sandboxes.get(&record.sandbox_id);
    let user = sandbox.map(|sandbox| sandbox.view.borrow().spec.user.clone()).unwrap_or_default();
    let (mut options, mut id_maps) = (Vec::new(), None);
    match (stack.kind.as_str(), user) {
        ("bind", UserNamespaceSpec::Host) => {}
        ("bind", UserNamespaceSpec::Mapped { uids, gids }) => id_maps = Some((uids, gids)),
        (_, user) => {
            options.clone_from(&stack.options);
            options.extend(super::process::map_options(&user));
        }
    }
    ResolvedMount {
        target: mount.target.clone(),
        kind: stack.kind.clone(),
        source: stack.source.clone(),
        options,
        readonly: true,
        recursive_readonly: false,
        non_recursive: true,
        propagation: mount.propagation,
        id_maps,
    }
}

/// What is below `subpath` in a stack of layers. Its links are followed inside of the image.
pub(crate) fn below(stack: &[Mount], subpath: &str, target: &str) -> Result<Vec<Mount>> {
    let wrong = |why: &str| Error::invalid(format!("mount {target}: image_sub_path {subpath:?} {why}"));
    if Path::new(subpath).components().any(|c| !matches!(c, Component::Normal(_) | Component::CurDir)) {
        return Err(wrong("must be relative, without .."));
    }
    let layers = rootfs::layers(stack)?;
    let path = real_path(stack, &layers, subpath).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => wrong("is not in the image"),
        _ => wrong("cannot be opened").with_source(e),
    })?;
    let mut found = Vec::new();
    for layer in &layers {
        let (piece, hides) = piece(layer, &path).map_err(|e| wrong("cannot be opened").with_source(e))?;
        let is_file = matches!(piece, Some(Piece::File));
        found.extend(piece.map(|_| layer.join(&path)));
        if hides || is_file {
            break;
        }
    }
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    match found.as_slice() {
        [] => Err(wrong("is not in the image")),
        [only] => Ok(vec![Mount { kind: "bind".into(), source: text(only), options: Vec::new() }]),
        several => {
            let lower = several.iter().map(text).collect::<Vec<_>>().join(":");
            // The paths are options of overlayfs, which these characters would end.
            if lower.contains([',', '\\']) || several.iter().any(|path| text(path).contains(':')) {
                return Err(wrong("has characters that overlayfs does not take"));
            }
            Ok(vec![Mount {
                kind: "overlay".into(),
                source: "overlay".into(),
                options: vec![format!("lowerdir={lower}")],
            }])
        }
    }
}

/// Where `subpath` leads in the whole image, relative to its root.
fn real_path(stack: &[Mount], layers: &[PathBuf], subpath: &str) -> std::io::Result<PathBuf> {
    let root = rootfs::open(stack).map_err(std::io::Error::other)?;
    let found = RootFd::from_fd(root).open_file(Path::new(subpath), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let path = std::fs::read_link(format!("/proc/self/fd/{}", found.as_raw_fd()))?;
    // A single layer is opened where it is; several are a mount without a place, whose paths begin at its root.
    let path = match layers {
        [only] => path.strip_prefix(only).map(Path::to_owned).unwrap_or(path),
        _ => path,
    };
    Ok(path.strip_prefix("/").map(Path::to_owned).unwrap_or(path))
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Directory,
    File,
}

/// What one layer has at `path`, which has no links, and whether it hides the layers below it there.
fn piece(layer: &Path, path: &Path) -> std::io::Result<(Option<Piece>, bool)> {
    let mut dir: Dir = RootFd::open(layer)?.open_dir(Path::new(""))?;
    let mut names = path.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name),
        _ => None,
    });
    let mut hides = false;
    let mut next = names.next();
    while let Some(name) = next {
        next = names.next();
        let stat = match dir.stat(name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok((None, hides)),
            Err(error) => return Err(error),
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                hides |= dir.get_xattr(name, OsStr::new(OPAQUE), 1)?.is_some_and(|value| value == b"y");
                dir = dir.open_dir(name)?;
            }
            FileType::RegularFile if next.is_none() => return Ok((Some(Piece::File), true)),
            // A whiteout, or something else in place of what is below.
            _ => return Ok((None, true)),
        }
    }
    Ok((Some(Piece::Directory), hides))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_shows_hides_or_has_nothing() {
        let layer = tempfile::tempdir().unwrap();
        let at = |path: &str| piece(layer.path(), Path::new(path)).unwrap();
        std::fs::create_dir_all(layer.path().join("a/b")).unwrap();
        std::fs::write(layer.path().join("a/file"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", layer.path().join("link")).unwrap();
        assert_eq!(at("a/b"), (Some(Piece::Directory), false));
        assert_eq!(at(""), (Some(Piece::Directory), false));
        assert_eq!(at("a/file"), (Some(Piece::File), true));
        assert_eq!(at("nothing/here"), (None, false));
        assert_eq!(at("a/file/below"), (None, true));
        assert_eq!(at("link"), (None, true), "a link is not followed");
    }

    #[test]
    fn views_are_told_from_writable_layers() {
        let view: SnapshotKey = "abc-image-0".parse().unwrap();
        assert_eq!(container_of_view(&view), Some("abc"));
        assert_eq!(container_of_view(&"abc".parse().unwrap()), None);
    }
}
