//! Fills a new tmpfs with what its target holds (`tmpcopyup`), descriptor by descriptor.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid};

/// Levels that are copied; deeper trees are refused.
const DEPTH_MAX: usize = 64;
/// Entries that are copied.
const ENTRIES_MAX: usize = 100_000;

/// Copies everything below `from` to below `to`: folders, files, symlinks, with owner and mode.
pub(super) fn copy_tree(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut left = ENTRIES_MAX;
    let from = open_folder(from.as_fd(), OsStr::new("."))?;
    copy_folder(&from, to.as_fd(), 0, &mut left)
}

fn open_folder(at: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(at, name, flags, Mode::empty())?)
}

fn copy_folder(from: &OwnedFd, to: std::os::fd::BorrowedFd<'_>, depth: usize, left: &mut usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other(format!("tmpcopyup: more than {DEPTH_MAX} levels")));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("tmpcopyup: too many entries"))?;
        copy_entry(from, to, name, depth, left)?;
    }
    Ok(())
}

fn copy_entry(
    from: &OwnedFd,
    to: std::os::fd::BorrowedFd<'_>,
    name: &OsStr,
    depth: usize,
    left: &mut usize,
) -> io::Result<()> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
    let owner = (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)));
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, mode)?;
            let target = open_folder(to, name)?;
            copy_folder(&open_folder(from, name)?, target.as_fd(), depth + 1, left)?;
            rustix::fs::fchown(&target, owner.0, owner.1)?;
            rustix::fs::fchmod(&target, mode)?;
        }
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut source = std::fs::File::from(rustix::fs::openat(from, name, flags, Mode::empty())?);
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut target = std::fs::File::from(rustix::fs::openat(to, name, flags, Mode::RUSR)?);
            io::copy(&mut source, &mut target)?;
            rustix::fs::fchown(&target, owner.0, owner.1)?;
            rustix::fs::fchmod(&target, mode)?;
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(link.as_c_str(), to, name)?;
            rustix::fs::chownat(to, name, owner.0, owner.1, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        // Sockets, FIFOs and devices are of no use in a copy.
        _ => {}
    }
    Ok(())
}
