//! A file system tree put together out of mounts, to be read or written from outside of a container: detached, in no
//! mount table, gone with its descriptor.
//!
//! Attaching into a detached tree is possible only since Linux 6.15. So the work is done by a thread in a mount
//! namespace of its own; what it hands over is a copy of the finished tree, and the namespace dies with the thread.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

use crate::clone::CloneFlags;
use crate::mount::{self, MountAttributes, Propagation};
use crate::namespace::{self, NamespaceKind};
use crate::rooted::RootFd;

/// `TMPFS_MAGIC` (linux/magic.h).
const TMPFS_MAGIC: u64 = 0x0102_1994;
/// Directories that mounts need and that are missing are made with this mode.
const MADE_MODE: u32 = 0o755;

/// What the tree stands on.
#[derive(Debug)]
pub enum Base {
    /// A detached mount.
    Mount(OwnedFd),
    /// The root of a mount namespace, without what is mounted below it.
    RootOf(OwnedFd),
}

/// Where a part comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A path that this process trusts.
    Host {
        /// The path.
        path: PathBuf,
        /// With the mounts below it.
        recursive: bool,
    },
    /// What the base's mount namespace has at the target, if it is a tmpfs.
    Tmpfs,
    /// Nothing is there to be mounted.
    Absent,
}

/// One mount of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it comes from.
    pub source: Source,
    /// Where it goes, inside the tree; symlinks are followed inside.
    pub target: PathBuf,
    /// Read-only.
    pub readonly: bool,
}

/// What is to be put together.
#[derive(Debug)]
pub struct Plan {
    /// What the tree stands on.
    pub base: Base,
    /// The base cannot be written to.
    pub base_readonly: bool,
    /// Parents before children.
    pub parts: Vec<Part>,
    /// Nothing can be written to.
    pub readonly: bool,
    /// Make targets that are missing.
    pub make_targets: bool,
}

/// A finished tree.
#[derive(Debug)]
pub struct Tree {
    /// Its root, detached.
    pub root: RootFd,
    /// Targets that are not in the base: nothing is mounted there.
    pub missing: Vec<PathBuf>,
    /// Parts whose source is not there.
    pub absent: Vec<PathBuf>,
}

/// Puts a tree together. `place` is a directory of this process's that something can be mounted on in the thread's own
/// namespace; nothing happens to it elsewhere.
///
/// # Errors
/// Those of the mount calls, with what was being done.
pub fn assemble(plan: Plan, place: &Path) -> io::Result<Tree> {
    let place = place.to_owned();
    let worker = std::thread::Builder::new().name("mount-tree".into()).spawn(move || assemble_here(plan, &place))?;
    worker.join().map_err(|_| io::Error::other("the thread that puts a mount tree together has panicked"))?
}

fn assemble_here(plan: Plan, place: &Path) -> io::Result<Tree> {
    namespace::unshare(CloneFlags::NEW_MOUNT).map_err(|e| named("make a mount namespace", &e))?;
    mount::change_propagation(Path::new("/"), Propagation::Private).map_err(|e| named("make mounts private", &e))?;
    let mut inside = Vec::new();
    let base = match plan.base {
        Base::Mount(fd) => fd,
        Base::RootOf(other) => {
            // /proc/self would be the main thread's.
            let own = namespace::open(Path::new("/proc/thread-self/ns/mnt"))?;
            namespace::enter(other.as_fd(), NamespaceKind::Mount).map_err(|e| named("enter the container", &e))?;
            let base = mount::clone_tree(Path::new("/"), false).map_err(|e| named("copy the container's root", &e))?;
            for part in plan.parts.iter().filter(|part| part.source == Source::Tmpfs) {
                inside.push(tmpfs_at(&part.target)?);
            }
            namespace::enter(own.as_fd(), NamespaceKind::Mount)?;
            base
        }
    };
    // All sources before the base covers the place: they may lie below it.
    let mut inside = inside.into_iter();
    let mut copies = Vec::with_capacity(plan.parts.len());
    for part in &plan.parts {
        copies.push(match &part.source {
            Source::Absent => None,
            Source::Tmpfs => inside.next().flatten(),
            Source::Host { path, recursive } => match mount::clone_tree(path, *recursive) {
                Ok(fd) => Some(fd),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(named(&format!("copy {}", path.display()), &error)),
            },
        });
    }
    mount::set_propagation(&base, true, Propagation::Private)?;
    mount::attach_at(&base, place).map_err(|e| named("place the root", &e))?;
    let root = RootFd::from_fd(base);
    let (mut missing, mut absent) = (Vec::new(), Vec::new());
    for (part, copied) in plan.parts.iter().zip(copies) {
        match copied {
            None => absent.push(part.target.clone()),
            Some(fd) => {
                if !attach(&root, &fd, part, plan.make_targets)? {
                    missing.push(part.target.clone());
                }
            }
        }
    }
    let mut attributes = MountAttributes::default();
    // Nothing is ever run from this tree, and its device nodes are names only.
    attributes.add(MountAttributes::NODEV);
    if plan.readonly {
        attributes.add(MountAttributes::RDONLY);
    }
    mount::set_attributes(&root, true, attributes)?;
    if plan.base_readonly {
        let readonly = MountAttributes { set: MountAttributes::RDONLY, clear: 0 };
        mount::set_attributes(&root, false, readonly)?;
    }
    let tree = mount::clone_tree_at(&root, true).map_err(|e| named("copy the finished tree", &e))?;
    Ok(Tree { root: RootFd::from_fd(tree), missing, absent })
}

/// The tmpfs that the current namespace has at `target`.
fn tmpfs_at(target: &Path) -> io::Result<Option<OwnedFd>> {
    let root = RootFd::open(Path::new("/"))?;
    let Ok(here) = root.open_file(target, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()) else { return Ok(None) };
    let kind = rustix::fs::fstatfs(&here)?.f_type;
    if u64::try_from(kind).ok() != Some(TMPFS_MAGIC) {
        return Ok(None);
    }
    mount::clone_tree_at(&here, false).map(Some)
}

/// Attaches a part; false when its target is missing.
fn attach(root: &RootFd, fd: &OwnedFd, part: &Part, make: bool) -> io::Result<bool> {
    let about = |e: io::Error| named(&format!("mount on {}", part.target.display()), &e);
    let target = match root.open_file(&part.target, OFlags::PATH, Mode::empty()) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !make {
                return Ok(false);
            }
            make_target(root, fd, &part.target).map_err(about)?;
            root.open_file(&part.target, OFlags::PATH, Mode::empty()).map_err(about)?
        }
        Err(error) => return Err(about(error)),
    };
    mount::set_propagation(fd, true, Propagation::Private).map_err(about)?;
    if part.readonly {
        mount::set_attributes(fd, true, MountAttributes { set: MountAttributes::RDONLY, clear: 0 }).map_err(about)?;
    }
    mount::attach(fd, &target).map_err(about)?;
    Ok(true)
}

fn make_target(root: &RootFd, source: &OwnedFd, target: &Path) -> io::Result<()> {
    let mode = Mode::from_raw_mode(MADE_MODE);
    let is_dir = FileType::from_raw_mode(rustix::fs::fstat(source)?.st_mode) == FileType::Directory;
    if is_dir {
        return root.mkdir_all(target, mode, &mut |_| ()).map(|_| ());
    }
    let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = root.mkdir_all(target.parent().unwrap_or(Path::new("")), mode, &mut |_| ())?;
    parent.create_file(name, Mode::from_raw_mode(0o644)).map(|_| ())
}

fn named(what: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what}: {error}"))
}
