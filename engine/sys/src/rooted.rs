//! Paths that somebody else controls, opened under a root that they cannot leave.
//!
//! Rule of this code base: a path out of an image, an archive or a container is never joined to a string. It is opened
//! with [`RootFd`] (`openat2`, `RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS`: symlinks and `..` are followed, inside), and
//! then worked on by file descriptor: a [`Dir`] and one name in it, which is never followed.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RawMode, RenameFlags, ResolveFlags, Stat, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

/// Symlinks followed in one path before it counts as a loop (the kernel's own limit).
const SYMLINKS_MAX: usize = 40;
/// Tries of one `openat2` that the kernel asks to repeat because something was renamed meanwhile.
const AGAIN_MAX: usize = 128;
/// Levels that [`Dir::remove_all`] goes down; each holds one descriptor.
const REMOVE_DEPTH_MAX: usize = 256;

/// A directory that paths cannot leave.
#[derive(Debug)]
pub struct RootFd {
    fd: OwnedFd,
}

impl RootFd {
    /// Opens a directory that the engine itself named.
    ///
    /// # Errors
    /// Those of `open`; `ENOTDIR` when it is none.
    pub fn open(trusted: &Path) -> io::Result<Self> {
        let fd = rustix::fs::open(trusted, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { fd })
    }

    /// The root is this directory.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Opens `path` under the root, following symlinks inside it.
    ///
    /// # Errors
    /// Those of `openat2`.
    pub fn open_file(&self, path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = relative(path);
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..AGAIN_MAX {
            match rustix::fs::openat2(&self.fd, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(Errno::AGAIN) => {}
                other => return Ok(other?),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// Opens the directory `path` under the root.
    ///
    /// # Errors
    /// Those of `openat2`; `ENOTDIR` when it is none.
    pub fn open_dir(&self, path: &Path) -> io::Result<Dir> {
        Ok(Dir { fd: self.open_file(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())? })
    }

    /// Opens the directory that holds `path` (which must exist) and gives the last name beside it.
    ///
    /// # Errors
    /// `EINVAL` when `path` has no last name (the root itself, or `..` at its end), else those of `openat2`.
    pub fn open_parent<'p>(&self, path: &'p Path) -> io::Result<(Dir, &'p OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok((self.open_dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// Where `path` leads under the root, as a path without symlinks; what is missing at its end stays as it is written.
    /// It says where something was: to work there, open it again.
    ///
    /// # Errors
    /// `ELOOP`, and those of `readlinkat`.
    pub fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let mut todo: Vec<OsString> = components_reversed(path);
        let mut stack: Vec<(Option<Dir>, OsString)> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                stack.pop();
                continue;
            }
            let here = match stack.last() {
                None => Some(self.fd.as_fd()),
                Some((dir, _)) => dir.as_ref().map(|dir| dir.fd.as_fd()),
            };
            let Some(here) = here else {
                stack.push((None, name));
                continue;
            };
            match rustix::fs::readlinkat(here, &name, Vec::new()) {
                Ok(target) => follow(target, &mut links, &mut todo, &mut stack)?,
                Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => {
                    let dir = open_component(here, &name).ok();
                    stack.push((dir, name));
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(Path::new("/").join(stack.into_iter().map(|(_, name)| name).collect::<PathBuf>()))
    }

    /// Opens the directory `path`, making what is missing of it with `mode`, and tells each directory it made.
    ///
    /// Symlinks on the way are followed inside the root, also where their target is still missing.
    ///
    /// # Errors
    /// `ENOTDIR` when something on the way is no directory, `ELOOP`, and those of `mkdirat`.
    pub fn mkdir_all(&self, path: &Path, mode: Mode, made: &mut dyn FnMut(&Path)) -> io::Result<Dir> {
        match self.open_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.walk_and_make(path, mode, made),
            other => other,
        }
    }

    /// Component by component on held descriptors: `..` pops, a symlink's target is put in front, nothing is followed
    /// by the kernel.
    fn walk_and_make(&self, path: &Path, mode: Mode, made: &mut dyn FnMut(&Path)) -> io::Result<Dir> {
        let mut todo: Vec<OsString> = components_reversed(path);
        let mut stack: Vec<(Dir, OsString)> = Vec::new();
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if name == ".." {
                stack.pop();
                continue;
            }
            let here = stack.last().map_or_else(|| self.fd.as_fd(), |(dir, _)| dir.fd.as_fd());
            match open_component(here, &name) {
                Ok(dir) => stack.push((dir, name)),
                Err(Errno::NOENT) => {
                    make_component(here, &name, mode)?;
                    let dir = open_component(here, &name)?;
                    stack.push((dir, name));
                    made(&stack.iter().map(|(_, name)| name).collect::<PathBuf>());
                }
                Err(Errno::LOOP | Errno::NOTDIR) => {
                    let target = rustix::fs::readlinkat(here, &name, Vec::new())
                        .map_err(|e| if e == Errno::INVAL { Errno::NOTDIR } else { e })?;
                    follow(target, &mut links, &mut todo, &mut stack)?;
                }
                Err(other) => return Err(other.into()),
            }
        }
        match stack.pop() {
            Some((dir, _)) => Ok(dir),
            None => self.open_dir(Path::new("")),
        }
    }
}

impl AsFd for RootFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An open directory, and what can be done with one name in it. Names are never followed.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Dir {
    /// A directory that is already open.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// What `name` is.
    ///
    /// # Errors
    /// Those of `fstatat`.
    pub fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        Ok(rustix::fs::statat(&self.fd, one_name(name)?, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Opens `name` with `flags`, not following it.
    ///
    /// # Errors
    /// Those of `openat`; `ELOOP` for a symlink.
    pub fn open(&self, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, one_name(name)?, flags, Mode::empty())?)
    }

    /// Opens the directory `name`.
    ///
    /// # Errors
    /// Those of `openat`; `ENOTDIR` for anything else, a symlink included.
    pub fn open_dir(&self, name: &OsStr) -> io::Result<Self> {
        Ok(Self { fd: self.open(name, OFlags::PATH | OFlags::DIRECTORY)? })
    }

    /// Opens the regular file `name` for reading. Nothing else is opened, not even for a moment: a FIFO would block and a
    /// device could act.
    ///
    /// # Errors
    /// `EINVAL` when it is no regular file, else those of `open`.
    pub fn open_regular(&self, name: &OsStr) -> io::Result<std::fs::File> {
        let here = self.open(name, OFlags::PATH)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&here)?.st_mode) != FileType::RegularFile {
            return Err(Errno::INVAL.into());
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY;
        Ok(rustix::fs::open(proc_path(&here, None), flags, Mode::empty())?.into())
    }

    /// Makes a new file for writing.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken.
    pub fn create_file(&self, name: &OsStr, mode: Mode) -> io::Result<std::fs::File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.fd, one_name(name)?, flags, mode)?.into())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// Those of `mkdirat`.
    pub fn mkdir(&self, name: &OsStr, mode: Mode) -> io::Result<()> {
        Ok(rustix::fs::mkdirat(&self.fd, one_name(name)?, mode)?)
    }

    /// Makes a symlink with any text as target.
    ///
    /// # Errors
    /// Those of `symlinkat`.
    pub fn symlink(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.fd, one_name(name)?)?)
    }

    /// Makes `name` a further link of `old_name` in `old`; a symlink is linked itself, not what it points to.
    ///
    /// # Errors
    /// Those of `linkat`.
    pub fn link(&self, name: &OsStr, old: &Self, old_name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::linkat(&old.fd, one_name(old_name)?, &self.fd, one_name(name)?, AtFlags::empty())?)
    }

    /// Makes a device, a FIFO or a socket. The mode is subject to the umask: see [`Dir::chmod`].
    ///
    /// # Errors
    /// Those of `mknodat`.
    pub fn mknod(&self, name: &OsStr, kind: FileType, mode: Mode, device: u64) -> io::Result<()> {
        Ok(rustix::fs::mknodat(&self.fd, one_name(name)?, kind, mode, device)?)
    }

    /// Sets the owner.
    ///
    /// # Errors
    /// Those of `fchownat`.
    pub fn chown(&self, name: &OsStr, uid: u32, gid: u32) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        Ok(rustix::fs::chownat(&self.fd, one_name(name)?, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets the permission bits of what is not a symlink, by a descriptor of the very inode.
    ///
    /// # Errors
    /// Those of `fchmodat`; `EOPNOTSUPP` for a symlink.
    pub fn chmod(&self, name: &OsStr, mode: RawMode) -> io::Result<()> {
        let fd = self.open(name, OFlags::PATH)?;
        if FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode) == FileType::Symlink {
            return Err(Errno::OPNOTSUPP.into());
        }
        // An O_PATH descriptor has no fchmod; its link in /proc leads to the inode and to nothing else.
        Ok(rustix::fs::chmod(proc_path(&fd, None), Mode::from_raw_mode(mode & 0o7777))?)
    }

    /// Sets access and modification time.
    ///
    /// # Errors
    /// Those of `utimensat`.
    pub fn set_times(&self, name: &OsStr, times: &Timestamps) -> io::Result<()> {
        Ok(rustix::fs::utimensat(&self.fd, one_name(name)?, times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// Those of `lsetxattr`.
    pub fn set_xattr(&self, name: &OsStr, attribute: &OsStr, value: &[u8]) -> io::Result<()> {
        let path = proc_path(&self.fd, Some(one_name(name)?));
        Ok(rustix::fs::lsetxattr(path, attribute, value, XattrFlags::empty())?)
    }

    /// The value of an extended attribute, `None` if it has none.
    ///
    /// # Errors
    /// Those of `lgetxattr`; `ERANGE` when it is longer than `bytes_max`.
    pub fn get_xattr(&self, name: &OsStr, attribute: &OsStr, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let path = proc_path(&self.fd, Some(one_name(name)?));
        let mut value = vec![0; bytes_max];
        match rustix::fs::lgetxattr(path, attribute, &mut value) {
            Ok(length) => {
                value.truncate(length);
                Ok(Some(value))
            }
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// The names of its extended attributes; none where the file system has no such thing.
    ///
    /// # Errors
    /// Those of `llistxattr`; `ERANGE` when the list is longer than `bytes_max`.
    pub fn xattr_names(&self, name: &OsStr, bytes_max: usize) -> io::Result<Vec<OsString>> {
        let path = proc_path(&self.fd, Some(one_name(name)?));
        let mut list = vec![0; bytes_max];
        let length = match rustix::fs::llistxattr(path, &mut list) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(other) => return Err(other.into()),
        };
        let names = list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| OsStr::from_bytes(name).to_owned()).collect())
    }

    /// Where the symlink `name` points.
    ///
    /// # Errors
    /// Those of `readlinkat`.
    pub fn read_link(&self, name: &OsStr) -> io::Result<OsString> {
        Ok(OsString::from_vec(rustix::fs::readlinkat(&self.fd, one_name(name)?, Vec::new())?.into_bytes()))
    }

    /// Removes `name` and, if it is a directory, all that is in it; not crossing into other file systems is up to the
    /// caller's tree. A name that is not there is no error.
    ///
    /// # Errors
    /// Those of `unlinkat`; `ELOOP` when it is nested too deep.
    pub fn remove_all(&self, name: &OsStr) -> io::Result<()> {
        self.remove_below(name, REMOVE_DEPTH_MAX)
    }

    fn remove_below(&self, name: &OsStr, depth: usize) -> io::Result<()> {
        let raw = one_name(name)?;
        match rustix::fs::unlinkat(&self.fd, raw, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(other) => return Err(other.into()),
        }
        if depth == 0 {
            return self.remove_flat(name);
        }
        let dir = Self { fd: self.open(name, OFlags::RDONLY | OFlags::DIRECTORY)? };
        for entry in dir.names()? {
            dir.remove_below(&entry, depth - 1)?;
        }
        drop(dir);
        Ok(rustix::fs::unlinkat(&self.fd, raw, AtFlags::REMOVEDIR)?)
    }

    /// Removes the directory `name` however deep it is, with two descriptors: its sub-directories are moved up beside
    /// it and taken in turn.
    fn remove_flat(&self, name: &OsStr) -> io::Result<()> {
        let mut queue = vec![name.to_owned()];
        let mut number = 0_u64;
        while let Some(next) = queue.pop() {
            let dir = Self { fd: self.open(&next, OFlags::RDONLY | OFlags::DIRECTORY)? };
            for entry in dir.names()? {
                match rustix::fs::unlinkat(&dir.fd, one_name(&entry)?, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::ISDIR) => queue.push(dir.lift(&entry, self, &mut number)?),
                    Err(other) => return Err(other.into()),
                }
            }
            rustix::fs::unlinkat(&self.fd, one_name(&next)?, AtFlags::REMOVEDIR)?;
        }
        Ok(())
    }

    /// Moves `name` into `above` under a name that is free there.
    fn lift(&self, name: &OsStr, above: &Self, number: &mut u64) -> io::Result<OsString> {
        loop {
            *number += 1;
            let lifted = OsString::from(format!(".removing-{number}"));
            match rustix::fs::renameat_with(&self.fd, name, &above.fd, &lifted, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(lifted),
                Err(Errno::EXIST) => {}
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// The names in this directory, without `.` and `..`, in no order.
    ///
    /// # Errors
    /// Those of `getdents64`.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        // Opened anew: this descriptor may be one that only names the directory.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let readable = rustix::fs::openat(&self.fd, c".", flags, Mode::empty())?;
        for entry in rustix::fs::Dir::new(readable)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(name).to_owned());
            }
        }
        Ok(names)
    }
}

/// One name: not empty, not `.` or `..`, no slash.
fn one_name(name: &OsStr) -> io::Result<&OsStr> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes == b"." || bytes == b".." || bytes.contains(&b'/') || bytes.contains(&0) {
        return Err(Errno::INVAL.into());
    }
    Ok(name)
}

/// `openat2` takes an absolute path as one under the root, but an empty one as an error.
fn relative(path: &Path) -> &Path {
    let path = path.strip_prefix("/").unwrap_or(path);
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// Goes where a symlink points: its target is what is to be walked next, from the root if it is absolute.
fn follow<T>(target: CString, links: &mut usize, todo: &mut Vec<OsString>, stack: &mut Vec<T>) -> io::Result<()> {
    *links += 1;
    if *links > SYMLINKS_MAX {
        return Err(Errno::LOOP.into());
    }
    let target = OsString::from_vec(target.into_bytes());
    if Path::new(&target).is_absolute() {
        stack.clear();
    }
    todo.extend(components_reversed(Path::new(&target)));
    Ok(())
}

fn components_reversed(path: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = path
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect();
    names.reverse();
    names
}

fn open_component(here: BorrowedFd<'_>, name: &OsStr) -> Result<Dir, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Dir { fd: rustix::fs::openat(here, name, flags, Mode::empty())? })
}

fn make_component(here: BorrowedFd<'_>, name: &OsStr, mode: Mode) -> Result<(), Errno> {
    match rustix::fs::mkdirat(here, name, mode) {
        Err(Errno::EXIST) => Ok(()),
        other => other,
    }
}

fn proc_path(fd: &OwnedFd, name: Option<&OsStr>) -> CString {
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if let Some(name) = name {
        path.push(b'/');
        path.extend_from_slice(name.as_bytes());
    }
    // `one_name` has refused NUL.
    CString::new(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn root() -> (tempfile::TempDir, RootFd) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "s").unwrap();
        let root = RootFd::open(&dir.path().join("root")).unwrap();
        (dir, root)
    }

    #[test]
    fn symlinks_and_dots_stay_inside() {
        let (dir, root) = root();
        let inside = dir.path().join("root");
        symlink("../outside", inside.join("up")).unwrap();
        symlink("/outside", inside.join("absolute")).unwrap();
        for path in ["up/secret", "absolute/secret", "../outside/secret", "/../outside/secret"] {
            let error = root.open_file(Path::new(path), OFlags::RDONLY, Mode::empty()).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}");
        }
        symlink("/proc/self/root/etc", inside.join("magic")).unwrap();
        assert!(root.open_dir(Path::new("magic")).is_err());
    }

    #[test]
    fn missing_directories_are_made_inside_even_through_dangling_links() {
        let (dir, root) = root();
        let inside = dir.path().join("root");
        symlink("/usr/lib", inside.join("lib")).unwrap();
        symlink("../../../../outside", inside.join("escape")).unwrap();
        let mut made = Vec::new();
        root.mkdir_all(Path::new("lib/x"), Mode::from_raw_mode(0o755), &mut |p| made.push(p.to_owned())).unwrap();
        assert_eq!(made, ["usr", "usr/lib", "usr/lib/x"].map(std::path::PathBuf::from));
        root.mkdir_all(Path::new("escape/y"), Mode::from_raw_mode(0o755), &mut |_| {}).unwrap();
        assert!(inside.join("outside/y").is_dir());
        assert!(!dir.path().join("outside/y").exists());
        symlink("loop", inside.join("loop")).unwrap();
        assert!(root.mkdir_all(Path::new("loop/z"), Mode::from_raw_mode(0o755), &mut |_| {}).is_err());
        fs::write(inside.join("file"), "").unwrap();
        assert!(root.mkdir_all(Path::new("file/z"), Mode::from_raw_mode(0o755), &mut |_| {}).is_err());
    }

    #[test]
    fn removal_does_not_follow_and_takes_any_depth() {
        let (dir, root) = root();
        let inside = dir.path().join("root");
        fs::create_dir(inside.join("d")).unwrap();
        symlink("../../outside", inside.join("d/link")).unwrap();
        let top = root.open_dir(Path::new("")).unwrap();
        let mut deep = root.mkdir_all(Path::new("d/deep"), Mode::from_raw_mode(0o755), &mut |_| {}).unwrap();
        for level in 0..1000 {
            deep.mkdir(OsStr::new("n"), Mode::from_raw_mode(0o755)).unwrap();
            deep.create_file(OsStr::new("f"), Mode::from_raw_mode(0o644)).unwrap();
            if level % 7 == 0 {
                deep.mkdir(OsStr::new("side"), Mode::from_raw_mode(0o755)).unwrap();
            }
            deep = deep.open_dir(OsStr::new("n")).unwrap();
        }
        top.remove_all(OsStr::new("d")).unwrap();
        assert_eq!(top_names(&root), Vec::<OsString>::new());
        assert!(dir.path().join("outside/secret").exists());
        top.remove_all(OsStr::new("never-there")).unwrap();
    }

    fn top_names(root: &RootFd) -> Vec<OsString> {
        Dir::from_fd(root.open_file(Path::new(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap())
            .names()
            .unwrap()
    }

    #[test]
    fn names_with_slashes_and_dots_are_refused() {
        let (_dir, root) = root();
        let top = root.open_dir(Path::new("")).unwrap();
        for name in ["", ".", "..", "a/b", "a\0b"] {
            assert!(top.mkdir(OsStr::new(name), Mode::from_raw_mode(0o755)).is_err(), "{name:?}");
            assert!(top.remove_all(OsStr::new(name)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn chmod_does_not_reach_through_a_symlink() {
        let (dir, root) = root();
        symlink("../outside/secret", dir.path().join("root/l")).unwrap();
        let top = root.open_dir(Path::new("")).unwrap();
        assert!(top.chmod(OsStr::new("l"), 0o777).is_err());
        top.create_file(OsStr::new("f"), Mode::from_raw_mode(0o600)).unwrap();
        top.chmod(OsStr::new("f"), 0o4755).unwrap();
        assert_eq!(top.stat(OsStr::new("f")).unwrap().st_mode & 0o7777, 0o4755);
    }
}
