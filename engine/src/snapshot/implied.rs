//! Directories that a layer has files in but does not describe.
//!
//! Because layers are unpacked without their parents, such a directory is made with a plain mode and hides what a lower
//! layer says of it: `/tmp` would lose its 1777. The writable layer puts it right: there the directory gets mode, owner
//! and time of the nearest lower layer that describes it.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FileType, Mode, Stat, Timespec, Timestamps};
use sys::rooted::{Dir, RootFd};

use crate::error::Result;
use crate::metadata::tables::layer::LayerRecord;

const OPAQUE_XATTR: &str = "trusted.overlay.opaque";

/// A layer, open.
struct Layer {
    root: Dir,
    implied: HashSet<PathBuf>,
}

/// What one layer knows of a path.
enum Known {
    /// Nothing: a lower layer may.
    Nothing,
    /// The directory, and whether lower layers are hidden there.
    Directory(Stat, bool),
    /// Something else has the name, or a part of it: what is below does not show.
    Hidden,
}

/// Makes the directories in `upper` whose description is lost in the stack `layers` (lowest first).
pub(super) fn restore(layers: &[(PathBuf, Arc<LayerRecord>)], upper: &Path) -> Result<()> {
    let mut paths: Vec<PathBuf> =
        layers.iter().flat_map(|(_, record)| record.implied.iter().map(PathBuf::from)).collect();
    if paths.is_empty() {
        return Ok(());
    }
    paths.sort();
    paths.dedup();
    let open = |(dir, record): &(PathBuf, Arc<LayerRecord>)| -> Result<Layer> {
        let root = RootFd::open(dir)?.open_dir(Path::new(""))?;
        Ok(Layer { root, implied: record.implied.iter().map(PathBuf::from).collect() })
    };
    // Topmost first, as one looks through them.
    let stack: Vec<Layer> = layers.iter().rev().map(open).collect::<Result<_>>()?;
    let upper = RootFd::open(upper)?.open_dir(Path::new(""))?;
    for path in paths {
        if lost(&stack, &path)? {
            write_down(&stack, &upper, &path)?;
        }
    }
    Ok(())
}

/// Whether the topmost layer that has the directory only implies it, while a lower one describes it otherwise.
fn lost(stack: &[Layer], path: &Path) -> Result<bool> {
    for layer in stack {
        match look(layer, path)? {
            Known::Nothing => {}
            Known::Hidden => return Ok(false),
            Known::Directory(stat, _) if layer.implied.contains(path) => {
                let same = |other: Stat| {
                    (other.st_mode, other.st_uid, other.st_gid) == (stat.st_mode, stat.st_uid, stat.st_gid)
                };
                return Ok(described(stack, path)?.is_some_and(|other| !same(other)));
            }
            Known::Directory(..) => return Ok(false),
        }
    }
    Ok(false)
}

/// What the nearest layer that describes the directory says of it.
fn described(stack: &[Layer], path: &Path) -> Result<Option<Stat>> {
    let mut implied = None;
    for layer in stack {
        match look(layer, path)? {
            Known::Nothing => {}
            Known::Hidden => break,
            Known::Directory(stat, hides) => {
                if !layer.implied.contains(path) {
                    return Ok(Some(stat));
                }
                implied.get_or_insert(stat);
                if hides {
                    break;
                }
            }
        }
    }
    Ok(implied)
}

/// Looks a path up in one layer, following nothing.
fn look(layer: &Layer, path: &Path) -> Result<Known> {
    let mut at: Option<Dir> = None;
    let mut hides = false;
    let mut found = None;
    for name in path.iter() {
        let dir = at.as_ref().unwrap_or(&layer.root);
        let stat = match dir.stat(name) {
            Ok(stat) => stat,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(if hides { Known::Hidden } else { Known::Nothing });
            }
            Err(error) => return Err(error.into()),
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(Known::Hidden);
        }
        hides |= dir.get_xattr(name, OsStr::new(OPAQUE_XATTR), 8)?.as_deref() == Some(b"y");
        at = Some(dir.open_dir(name)?);
        found = Some(stat);
    }
    Ok(found.map_or(Known::Nothing, |stat| Known::Directory(stat, hides)))
}

/// Makes the directory and those above it in `upper`, each as the stack describes it.
fn write_down(stack: &[Layer], upper: &Dir, path: &Path) -> Result<()> {
    let mut at = Dir::from_fd(upper.as_fd().try_clone_to_owned()?);
    let mut prefix = PathBuf::new();
    for name in path.iter() {
        prefix.push(name);
        if at.stat(name).is_err() {
            let Some(stat) = described(stack, &prefix)? else { return Ok(()) };
            at.mkdir(name, Mode::from_raw_mode(0o700))?;
            at.chown(name, stat.st_uid, stat.st_gid)?;
            at.chmod(name, stat.st_mode & 0o7777)?;
            let nanos = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
            let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: nanos };
            at.set_times(name, &Timestamps { last_access: time, last_modification: time })?;
        }
        at = at.open_dir(name)?;
    }
    Ok(())
}
