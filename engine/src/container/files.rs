//! Files in and out of a container: `cp`. Fd-rooted, whether the container runs or not.

use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, Stat, StatVfsMountFlags};
use sys::rooted::{Dir, RootFd};
use tokio::io::AsyncRead;
use tokio_util::io::SyncIoBridge;

use crate::archive::extract::{ExtractOptions, extract};
use crate::archive::pack::{Marks, Packer};
use crate::archive::{ArchiveStream, stream, uncompressed};
use crate::container::root_tree::{self, Access, RootTree};
use crate::container::{ContainerHandle, rootfs};
use crate::error::{Error, ErrorKind, Result};
use crate::snapshot::tar_stream::{TarStream, stream_error};
use crate::spec::user::{self, WantedUser};

/// Uncompressed bytes of one archive (16 TiB, ext4's largest file).
const ARCHIVE_BYTES_MAX: u64 = 1 << 44;

/// What a path in a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathStat {
    /// Its last name; `/` for the root.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// `st_mode`: type and permissions.
    pub mode: u32,
    /// When it was last changed: seconds since 1970, and nanoseconds.
    pub modified: (i64, u32),
    /// Where a symlink leads, as a path in the container; else empty.
    pub link_target: String,
}

/// How an archive is written into a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteArchive {
    /// A directory is never replaced by something else, nor something else by a directory.
    pub no_overwrite_dir_non_dir: bool,
    /// What is written belongs to the container's user.
    pub owned_by_user: bool,
}

/// A path as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    /// Absolute, without `.` and `..`.
    path: PathBuf,
    /// It ends with `/` or `/.`: what it leads to is meant, which must be a directory.
    inside: bool,
    /// What its entry in an archive is called: `.` for one that ends so.
    name: String,
}

impl Asked {
    fn new(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("path cannot be empty"));
        }
        if text.contains('\0') {
            return Err(Error::invalid(format!("path {text:?}: it contains a NUL byte")));
        }
        let mut path = PathBuf::from("/");
        for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
            if name == ".." {
                path.pop();
            } else {
                path.push(name);
            }
        }
        let inside = text.ends_with('/') || text.ends_with("/.") || text == "." || path == Path::new("/");
        let name = match path.file_name() {
            _ if text.ends_with("/.") || text == "." => ".".to_owned(),
            Some(name) => name.to_string_lossy().into_owned(),
            None => "/".to_owned(),
        };
        Ok(Self { path, inside, name })
    }
}

/// What was found at a path.
enum Found {
    /// A directory, open.
    Directory(Dir),
    /// Something else, by its directory and name.
    Other(Dir, std::ffi::OsString),
}

/// See [`ContainerHandle::stat_path`].
pub(super) async fn stat(container: &ContainerHandle, path: &str) -> Result<PathStat> {
    let asked = Asked::new(path)?;
    let tree = root_tree::open(container, Access::Read).await?;
    let id = container.id().to_string();
    blocking(move || Ok(look(&tree, &asked, &id)?.0)).await
}

/// See [`ContainerHandle::read_archive`].
pub(super) async fn read(container: &ContainerHandle, path: &str) -> Result<(PathStat, ArchiveStream)> {
    let asked = Asked::new(path)?;
    let tree = root_tree::open(container, Access::Read).await?;
    let id = container.id().to_string();
    let (stat, found, tree) = blocking(move || {
        let (stat, found) = look(&tree, &asked, &id)?;
        Ok((stat, found, tree))
    })
    .await?;
    let name = stat.name.clone();
    let bytes = stream(move |sink| {
        let _tree = tree;
        let mut packer = Packer::new(sink, Marks::None);
        match found {
            Found::Directory(dir) => packer.tree(&dir, name.as_bytes())?,
            Found::Other(dir, file) => packer.entry(&dir, &file, name.as_bytes())?,
        }
        packer.finish().map(|_| ())
    });
    Ok((stat, bytes))
}

/// See [`ContainerHandle::write_archive`].
pub(super) async fn write(
    container: &ContainerHandle,
    path: &str,
    archive: impl AsyncRead + Send + Unpin + 'static,
    options: WriteArchive,
) -> Result<()> {
    let asked = Asked::new(path)?;
    let tree = root_tree::open(container, Access::Write).await?;
    let id = container.id().to_string();
    let user = if options.owned_by_user { container.view().resolved.user.clone() } else { String::new() };
    let archive = SyncIoBridge::new(archive);
    blocking(move || {
        let at = destination(&tree, &asked, &id)?;
        let owner = if user.is_empty() { None } else { Some(owner_of(&tree.root, &user)?) };
        let bytes = uncompressed(archive, ARCHIVE_BYTES_MAX).map_err(stream_error)?;
        let options = ExtractOptions { no_overwrite_dir_non_dir: options.no_overwrite_dir_non_dir, owner };
        extract(&mut TarStream::new(bytes), &tree.root, &at, options)
    })
    .await
}

/// The directory that an archive is written into, as a path without symlinks.
fn destination(tree: &RootTree, asked: &Asked, id: &str) -> Result<PathBuf> {
    let at = tree.root.resolve(&asked.path)?;
    tree.check(&at)?;
    let dir = tree.root.open_dir(&at).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => not_found(asked, id),
        std::io::ErrorKind::NotADirectory => Error::invalid("extraction point is not a directory"),
        _ => Error::from(error),
    })?;
    let flags = rustix::fs::fstatvfs(&dir).map_err(std::io::Error::from)?.f_flag;
    if flags.contains(StatVfsMountFlags::RDONLY) {
        let root = rustix::fs::fstat(&tree.root).map_err(std::io::Error::from)?.st_dev;
        let here = rustix::fs::fstat(&dir).map_err(std::io::Error::from)?.st_dev;
        let what = if here == root { "container rootfs" } else { "mounted volume" };
        return Err(Error::new(ErrorKind::Forbidden, format!("{what} is marked read-only")));
    }
    Ok(at)
}

/// Uid and gid of a user text, looked up in the container's own files.
fn owner_of(root: &RootFd, text: &str) -> Result<(u32, u32)> {
    let files = rootfs::read_user_files(root)?;
    let wanted = WantedUser { user: text, additional_groups: &[], groups_from_image: false };
    let resolved = user::resolve(wanted, &files.passwd, &files.group)?;
    Ok((resolved.uid, resolved.gid))
}

fn look(tree: &RootTree, asked: &Asked, id: &str) -> Result<(PathStat, Found)> {
    tree.check(&asked.path)?;
    let missing = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => not_found(asked, id),
        std::io::ErrorKind::NotADirectory => Error::invalid(format!("{}: not a directory", asked.path.display())),
        _ => Error::from(error).context(asked.path.display()),
    };
    if asked.inside {
        let dir = tree.root.open_dir(&asked.path).map_err(missing)?;
        let stat = rustix::fs::fstat(&dir).map_err(std::io::Error::from)?;
        return Ok((path_stat(asked, &stat, String::new()), Found::Directory(dir)));
    }
    let (parent, name) = tree.root.open_parent(&asked.path).map_err(missing)?;
    let stat = parent.stat(name).map_err(missing)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            // By path, not by name: a mount may lie on it.
            let dir = tree.root.open_file(&asked.path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty());
            Ok((path_stat(asked, &stat, String::new()), Found::Directory(Dir::from_fd(dir.map_err(missing)?))))
        }
        FileType::Symlink => {
            let target = tree.root.resolve(&asked.path)?.to_string_lossy().into_owned();
            Ok((path_stat(asked, &stat, target), Found::Other(parent, name.to_owned())))
        }
        _ => Ok((path_stat(asked, &stat, String::new()), Found::Other(parent, name.to_owned()))),
    }
}

fn not_found(asked: &Asked, id: &str) -> Error {
    Error::not_found(format!("Could not find the file {} in container {id}", asked.path.display()))
}

fn path_stat(asked: &Asked, stat: &Stat, link_target: String) -> PathStat {
    PathStat {
        name: asked.name.clone(),
        size: stat.st_size,
        mode: stat.st_mode,
        modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        link_target,
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal("copy files").with_source(e))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_their_end_means_something() {
        let asked =
            |text: &str| Asked::new(text).map(|asked| (asked.path.display().to_string(), asked.inside)).unwrap();
        assert_eq!(asked("/a/b"), ("/a/b".to_owned(), false));
        assert_eq!(asked("a//./b/"), ("/a/b".to_owned(), true));
        assert_eq!(asked("/a/b/."), ("/a/b".to_owned(), true));
        assert_eq!(asked("/../.."), ("/".to_owned(), true));
        assert_eq!(asked("a/../c"), ("/c".to_owned(), false));
        assert!(Asked::new("").is_err() && Asked::new("a\0").is_err());
    }
}
