//! The mounts of a container. What can be made on the host's side is made by the shim beforehand (bind sources as
//! detached copies); the child makes the rest in its namespaces and attaches all of them by descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use sys::cgroup::Cgroup;
use sys::mount::{MountAttributes, Parameter, Propagation};
use sys::rooted::RootFd;

use super::mount_options::MountOptions;
use super::{copy_up, id_map, rootfs};
use crate::oci::{Mount, NamespaceName, NamespaceSource, Spec};
use crate::runtime::{Failure, Result, SharedMemory};

const STEP: &str = "mount";

/// Inode of a procfs's root: `PROC_ROOT_INO` (linux/proc_fs.h).
const PROC_ROOT_INODE: u64 = 1;

/// One mount, ready for the child.
#[derive(Debug)]
pub(super) struct MountStep {
    destination: PathBuf,
    kind: String,
    /// What mount tables show as source.
    name: String,
    source: Source,
    options: MountOptions,
}

#[derive(Debug)]
enum Source {
    /// A detached mount, complete with its attributes. `bool`: a file, not a folder.
    Tree(OwnedFd, bool),
    /// The container's cgroup by hierarchy: folder name, other names of it, its detached copy.
    Cgroups(Vec<CgroupTree>),
    /// To be made in the container's namespaces.
    New,
}

#[derive(Debug)]
struct CgroupTree {
    name: String,
    aliases: Vec<String>,
    tree: OwnedFd,
}

impl MountStep {
    /// Descriptors that the child needs.
    pub(super) fn descriptors(&self) -> Vec<i32> {
        match &self.source {
            Source::Tree(tree, _) => vec![tree.as_raw_fd()],
            Source::Cgroups(trees) => trees.iter().map(|t| t.tree.as_raw_fd()).collect(),
            Source::New => Vec::new(),
        }
    }
}

/// Prepares all mounts of the spec.
pub(super) fn prepare(
    spec: &Spec,
    bundle: &Path,
    cgroup: &Cgroup,
    userns: Option<BorrowedFd<'_>>,
    shm: Option<&SharedMemory>,
) -> Result<Vec<MountStep>> {
    spec.mounts.iter().map(|mount| prepare_one(spec, mount, bundle, cgroup, userns, shm)).collect()
}

fn prepare_one(
    spec: &Spec,
    mount: &Mount,
    bundle: &Path,
    cgroup: &Cgroup,
    userns: Option<BorrowedFd<'_>>,
    shm: Option<&SharedMemory>,
) -> Result<MountStep> {
    let options = MountOptions::parse(&mount.options);
    let destination = Path::new("/").join(&mount.destination);
    let is_bind = options.bind.is_some() || mount.kind == "bind";
    check_target(&destination, if is_bind { "bind" } else { &mount.kind })?;
    let source = match mount.kind.as_str() {
        _ if is_bind => bind_source(mount, &options, bundle, userns, shm)?,
        "cgroup" | "cgroup2" => cgroup_source(cgroup)?,
        // Layers are the host's, so that the container could not stack them itself.
        "overlay" => Source::Tree(overlay_source(&options)?, false),
        "sysfs" if userns.is_some() && spec.namespace(NamespaceName::Network) != NamespaceSource::New => {
            Source::Tree(foreign_sysfs(spec, &options)?, false)
        }
        "" => return Err(Failure::new(STEP, format!("mount {}: no type", destination.display()))),
        _ => Source::New,
    };
    Ok(MountStep { destination, kind: mount.kind.clone(), name: mount.source.clone(), source, options })
}

/// Nothing may be mounted over procfs but a few files, so that what is written there later is written there
/// (CVE-2019-16884, CVE-2023-27561). Over `/proc` itself only a procfs, new or (as `bind_source` sees to) bound.
/// [`check_place`] looks again where symlinks of the image have led to.
fn check_target(destination: &Path, kind: &str) -> Result<()> {
    let clean = clean(destination);
    if !clean.starts_with("/proc") || sys::proc::is_mount_target(&clean) {
        return Ok(());
    }
    if clean != Path::new("/proc") {
        return Err(Failure::new(STEP, inside_proc(destination)));
    }
    if matches!(kind, "proc" | "bind") { Ok(()) } else { Err(Failure::new(STEP, not_proc(destination))) }
}

fn inside_proc(destination: &Path) -> String {
    format!("{destination:?} cannot be mounted because it is inside /proc")
}

fn not_proc(destination: &Path) -> String {
    format!("{destination:?} cannot be mounted because it is not of type proc")
}

/// `path` below `/` without `.` and `..`, by its letters.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// In the child: refuses a target that is in the container's procfs after all.
fn check_place(root: &RootFd, target: &OwnedFd, destination: &Path) -> io::Result<()> {
    if sys::proc::is_mount_target(&clean(destination)) || !sys::proc::is_procfs(target)? {
        return Ok(());
    }
    let Some(proc) = open_existing(root, Path::new("/proc"))? else { return Ok(()) };
    if rustix::fs::fstat(target)?.st_dev == rustix::fs::fstat(&proc)?.st_dev {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, inside_proc(destination)));
    }
    Ok(())
}

fn is_procfs_root(fd: impl AsFd + Copy) -> io::Result<bool> {
    Ok(sys::proc::is_procfs(fd)? && rustix::fs::fstat(fd)?.st_ino == PROC_ROOT_INODE)
}

fn bind_source(
    mount: &Mount,
    options: &MountOptions,
    bundle: &Path,
    userns: Option<BorrowedFd<'_>>,
    shm: Option<&SharedMemory>,
) -> Result<Source> {
    let path = bundle.join(&mount.source);
    let about = |e: io::Error| Failure::io(STEP, format!("of {}", path.display()), &e);
    let recursive = options.bind == Some(true);
    let tree = match shm {
        Some(shm) if shm.source == path => shm.mount.try_clone(),
        _ => sys::mount::clone_tree(&path, recursive),
    }
    .map_err(about)?;
    let is_file = !is_folder(&tree).map_err(about)?;
    if clean(&mount.destination) == Path::new("/proc") && !is_procfs_root(&tree).map_err(about)? {
        return Err(Failure::new(STEP, not_proc(&mount.destination)));
    }
    if options.id_map.is_some() || !mount.uid_mappings.is_empty() {
        let own = match (mount.uid_mappings.is_empty(), userns) {
            (true, Some(userns)) => rustix::io::fcntl_dupfd_cloexec(userns, 3).map_err(|e| about(e.into()))?,
            (true, None) => {
                let message = format!("mount of {}: idmap needs mappings or a user namespace", path.display());
                return Err(Failure::new(STEP, message));
            }
            (false, _) => id_map::user_namespace(&mount.uid_mappings, &mount.gid_mappings)?,
        };
        sys::mount::set_id_map(&tree, options.id_map == Some(true), own.as_fd()).map_err(about)?;
    }
    // Without a word about propagation the copy follows the host but does not reach back.
    if options.propagation.is_empty() {
        sys::mount::set_propagation(&tree, true, Propagation::Slave).map_err(about)?;
    }
    set_options(&tree, options).map_err(about)?;
    Ok(Source::Tree(tree, is_file))
}

fn overlay_source(options: &MountOptions) -> Result<OwnedFd> {
    let tree = rootfs::overlay(options)?;
    let about = |e: io::Error| Failure::io(STEP, "overlay", &e);
    sys::mount::set_propagation(&tree, false, Propagation::Private).map_err(about)?;
    set_options(&tree, options).map_err(about)?;
    Ok(tree)
}

fn set_options(mount: &OwnedFd, options: &MountOptions) -> io::Result<()> {
    for (propagation, recursive) in &options.propagation {
        sys::mount::set_propagation(mount, *recursive, *propagation)?;
    }
    if !options.attributes.is_empty() {
        sys::mount::set_attributes(mount, false, options.attributes)?;
    }
    if !options.recursive.is_empty() {
        sys::mount::set_attributes(mount, true, options.recursive)?;
    }
    Ok(())
}

fn is_folder(fd: impl AsFd) -> io::Result<bool> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode) == FileType::Directory)
}

/// The container's own cgroups. They are bound, not mounted anew: with a cgroup namespace the bind shows its root.
fn cgroup_source(cgroup: &Cgroup) -> Result<Source> {
    let mut trees: Vec<CgroupTree> = Vec::new();
    let mut seen: Vec<(PathBuf, usize)> = Vec::new();
    for (controller, folder) in cgroup.directories() {
        let alias = controller.trim_start_matches("name=").to_owned();
        if let Some((_, at)) = seen.iter().find(|(path, _)| *path == folder) {
            trees[*at].aliases.push(alias);
            continue;
        }
        let tree = match sys::mount::clone_tree(&folder, false) {
            Ok(tree) => tree,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(Failure::io(STEP, format!("of {}", folder.display()), &e)),
        };
        sys::mount::set_propagation(&tree, false, Propagation::Private)
            .map_err(|e| Failure::io(STEP, folder.display(), &e))?;
        seen.push((folder.clone(), trees.len()));
        trees.push(CgroupTree { name: hierarchy_name(&folder, &alias), aliases: vec![alias], tree });
    }
    Ok(Source::Cgroups(trees))
}

/// The folder of a v1 hierarchy below `/sys/fs/cgroup` (`cpu,cpuacct`); empty on v2, which has no such folder.
fn hierarchy_name(folder: &Path, controller: &str) -> String {
    if controller.is_empty() {
        return String::new();
    }
    let below = folder.strip_prefix("/sys/fs/cgroup").ok().and_then(|rest| rest.components().next());
    below.map_or_else(|| controller.to_owned(), |name| name.as_os_str().to_string_lossy().into_owned())
}

/// sysfs for a network namespace that the user namespace does not own: made here, in that network namespace, since
/// the container itself would not be allowed to.
fn foreign_sysfs(spec: &Spec, options: &MountOptions) -> Result<OwnedFd> {
    use sys::namespace::{NamespaceKind, enter, open, own};
    let about = |e: io::Error| Failure::io(STEP, "sysfs", &e);
    let NamespaceSource::At(path) = spec.namespace(NamespaceName::Network) else {
        return sys::mount::new_filesystem("sysfs", &[], options.attributes.set).map_err(about);
    };
    let back = own(NamespaceKind::Network).map_err(about)?;
    let there = open(path).map_err(|e| Failure::io("namespace", path.display(), &e))?;
    enter(there.as_fd(), NamespaceKind::Network).map_err(about)?;
    let made = sys::mount::new_filesystem("sysfs", &[], options.attributes.set);
    enter(back.as_fd(), NamespaceKind::Network).map_err(about)?;
    made.map_err(about)
}

/// In the child: attaches one mount under `root`. Answers the mount when it is the container's procfs.
pub(super) fn attach(root: &RootFd, step: MountStep) -> Result<Option<OwnedFd>> {
    let MountStep { destination, kind, name, source, options } = step;
    let about = |e: io::Error| Failure::io(STEP, format!("{kind} at {}", destination.display()), &e);
    match source {
        Source::Tree(tree, is_file) => {
            let target = open_target(root, &destination, is_file).map_err(about)?;
            check_place(root, &target, &destination).map_err(about)?;
            sys::mount::attach(&tree, &target).map_err(about)?;
            Ok(None)
        }
        Source::Cgroups(trees) => attach_cgroups(root, &destination, &trees, &options).map(|()| None).map_err(about),
        Source::New => {
            let target = open_strict_target(root, &destination).map_err(about)?;
            let mount = make_new(&kind, &name, &options, &target).map_err(about)?;
            if options.copy_up {
                copy_up::copy_tree(&target, &mount).map_err(about)?;
                if options.attributes.set & MountAttributes::RDONLY != 0 {
                    set_options(&mount, &options).map_err(about)?;
                }
            }
            for (propagation, recursive) in &options.propagation {
                sys::mount::set_propagation(&mount, *recursive, *propagation).map_err(about)?;
            }
            sys::mount::attach(&mount, &target).map_err(about)?;
            Ok((kind == "proc" && destination == Path::new("/proc")).then_some(mount))
        }
    }
}

fn make_new(kind: &str, name: &str, options: &MountOptions, target: &OwnedFd) -> io::Result<OwnedFd> {
    let mut parameters: Vec<Parameter<'_>> = options
        .data
        .iter()
        .map(|(key, value)| match value {
            Some(value) => Parameter::Text(key.as_str(), value.as_bytes()),
            None => Parameter::Flag(key.as_str()),
        })
        .collect();
    if !name.is_empty() {
        parameters.push(Parameter::Text("source", name.as_bytes()));
    }
    // A tmpfs over a folder takes the folder's mode, so that `/tmp` stays sticky.
    let mode;
    if kind == "tmpfs" && !options.has_data("mode") {
        mode = format!("{:o}", rustix::fs::fstat(target)?.st_mode & 0o7777);
        parameters.push(Parameter::Text("mode", mode.as_bytes()));
    }
    let mut attributes = options.attributes.set | options.recursive.set;
    if options.copy_up {
        attributes &= !MountAttributes::RDONLY;
    }
    sys::mount::new_filesystem(kind, &parameters, attributes)
}

fn attach_cgroups(root: &RootFd, destination: &Path, trees: &[CgroupTree], options: &MountOptions) -> io::Result<()> {
    let target = open_strict_target(root, destination)?;
    if let [CgroupTree { name, tree, .. }] = trees
        && name.is_empty()
    {
        sys::mount::set_attributes(tree, false, options.attributes)?;
        return sys::mount::attach(tree, &target);
    }
    let folder = sys::mount::new_filesystem(
        "tmpfs",
        &[Parameter::Text("mode", b"755")],
        options.attributes.set & !MountAttributes::RDONLY,
    )?;
    sys::mount::attach(&folder, &target)?;
    for CgroupTree { name, aliases, tree } in trees {
        rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let at = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
        sys::mount::attach(tree, &at)?;
        for alias in aliases.iter().filter(|alias| *alias != name) {
            rustix::fs::symlinkat(name, &folder, alias)?;
        }
    }
    sys::mount::set_attributes(&folder, true, options.attributes)
}

/// Opens where something is to be mounted, making what is missing. Symlinks are followed, inside the root.
fn open_target(root: &RootFd, path: &Path, is_file: bool) -> io::Result<OwnedFd> {
    match root.open_file(path, OFlags::PATH, Mode::empty()) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => make_target(root, path, is_file)?,
        other => return other,
    }
    root.open_file(path, OFlags::PATH, Mode::empty())
}

/// Opens where a file system of the kernel is to be mounted: no part of the path may be a symlink, since an image
/// that makes `/proc` or `/dev` one has nothing good in mind (CVE-2019-19921, CVE-2026-41579).
pub(super) fn open_strict_target(root: &RootFd, path: &Path) -> io::Result<OwnedFd> {
    let below = path.strip_prefix("/").unwrap_or(path);
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let open = || rustix::fs::openat2(root, below, flags, Mode::empty(), resolve);
    match open() {
        Ok(fd) => Ok(fd),
        Err(rustix::io::Errno::NOENT) => {
            make_target(root, path, false)?;
            Ok(open()?)
        }
        Err(rustix::io::Errno::LOOP) => {
            Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} passes a symlink", path.display())))
        }
        Err(e) => Err(e.into()),
    }
}

fn make_target(root: &RootFd, path: &Path, is_file: bool) -> io::Result<()> {
    let mode = Mode::from_raw_mode(0o755);
    if !is_file {
        root.mkdir_all(path, mode, &mut |_| ())?;
        return Ok(());
    }
    let name: &OsStr = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = root.mkdir_all(path.parent().unwrap_or(Path::new("/")), mode, &mut |_| ())?;
    match folder.create_file(name, mode) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// In the child: hides paths behind nothing, and makes others read-only.
pub(super) fn restrict(root: &RootFd, masked: &[PathBuf], readonly: &[PathBuf], null: OwnedFd) -> Result<()> {
    for path in readonly {
        let about = |e: io::Error| Failure::io("read-only path", path.display(), &e);
        let Some(target) = open_existing(root, path).map_err(about)? else { continue };
        let copy = sys::mount::clone_tree_at(&target, true).map_err(about)?;
        let attributes = MountAttributes { set: MountAttributes::RDONLY, clear: 0 };
        sys::mount::set_attributes(&copy, true, attributes).map_err(about)?;
        sys::mount::attach(&copy, &target).map_err(about)?;
    }
    // One empty folder and one null device, attached again and again.
    let mut nothing = Masks { folder: None, file: Some(null), file_attached: None };
    for path in masked {
        let about = |e: io::Error| Failure::io("masked path", path.display(), &e);
        let Some(target) = open_existing(root, path).map_err(about)? else { continue };
        nothing.cover(&target).map_err(about)?;
    }
    Ok(())
}

struct Masks {
    folder: Option<OwnedFd>,
    file: Option<OwnedFd>,
    file_attached: Option<OwnedFd>,
}

impl Masks {
    fn cover(&mut self, target: &OwnedFd) -> io::Result<()> {
        if !is_folder(target)? {
            if let Some(first) = self.file.take() {
                sys::mount::attach(&first, target)?;
                self.file_attached = Some(first);
                return Ok(());
            }
            let attached = self.file_attached.as_ref().ok_or(io::ErrorKind::NotFound)?;
            return sys::mount::attach(sys::mount::clone_tree_at(attached, false)?, target);
        }
        if let Some(folder) = &self.folder {
            return sys::mount::attach(sys::mount::clone_tree_at(folder, false)?, target);
        }
        let attributes =
            MountAttributes::RDONLY | MountAttributes::NOSUID | MountAttributes::NODEV | MountAttributes::NOEXEC;
        let empty =
            [Parameter::Text("size", b"0"), Parameter::Text("nr_inodes", b"1"), Parameter::Text("mode", b"755")];
        let folder = sys::mount::new_filesystem("tmpfs", &empty, attributes)?;
        sys::mount::attach(&folder, target)?;
        self.folder = Some(folder);
        Ok(())
    }
}

fn open_existing(root: &RootFd, path: &Path) -> io::Result<Option<OwnedFd>> {
    match root.open_file(path, OFlags::PATH, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The host's `/dev/null` as a detached mount, verified to be it (CVE-2025-31133).
pub(super) fn null_device() -> Result<OwnedFd> {
    let about = |e: io::Error| Failure::io("masked path", "/dev/null", &e);
    let tree = sys::mount::clone_tree(Path::new("/dev/null"), false).map_err(about)?;
    let stat = rustix::fs::fstat(&tree).map_err(|e| about(e.into()))?;
    let is_null =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == rustix::fs::makedev(1, 3);
    if !is_null {
        return Err(Failure::new("masked path", "masked path: the host's /dev/null is not character device 1:3"));
    }
    sys::mount::set_propagation(&tree, false, Propagation::Private).map_err(about)?;
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_covers_procfs_but_procfs() {
        for (good, kind) in [("/proc", "proc"), ("/proc", "bind"), ("/proc/stat", "bind"), ("/process", "tmpfs")] {
            assert!(check_target(Path::new(good), kind).is_ok(), "{good} {kind}");
        }
        for (bad, kind) in [("/proc", "tmpfs"), ("/proc/sys", "bind"), ("/a/../proc/self/attr", "bind")] {
            let failure = check_target(Path::new(bad), kind).unwrap_err();
            assert!(format!("{failure:?}").contains("cannot be mounted because it is"), "{bad} {kind}: {failure:?}");
        }
    }

    #[test]
    fn only_the_root_of_procfs_passes_for_procfs() {
        let is_root = |path: &str| is_procfs_root(&std::fs::File::open(path).unwrap()).unwrap();
        assert!(is_root("/proc"));
        assert!(!is_root("/proc/sys"));
        assert!(!is_root("/tmp"));
    }
}
