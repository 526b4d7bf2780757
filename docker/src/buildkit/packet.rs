//! PURE. fsutil's description of a file, and ours.

use bollard_buildkit_proto::fsutil::types::Stat;
use engine::build::{SourceEntry, SourceKind};

/// Bits of Go's `os.FileMode`.
const DIRECTORY: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SET_UID: u32 = 1 << 23;
const SET_GID: u32 = 1 << 22;
const CHARACTER: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// Pairs of Go's bits and the kernel's.
const SPECIAL: [(u32, u32); 3] = [(SET_UID, 0o4000), (SET_GID, 0o2000), (STICKY, 0o1000)];

/// What the client says of a file.
///
/// # Errors
/// A sentence for what cannot be part of a context: devices and sockets.
pub(super) fn entry(stat: Stat) -> Result<SourceEntry, String> {
    let kind = match stat.mode {
        mode if mode & DIRECTORY != 0 => SourceKind::Directory,
        mode if mode & SYMLINK != 0 => SourceKind::Symlink,
        mode if mode & FIFO != 0 => SourceKind::Fifo,
        mode if mode & (DEVICE | CHARACTER | SOCKET) != 0 => {
            return Err(format!("{:?} is a device or a socket: leave it out with .dockerignore", stat.path));
        }
        _ if !stat.linkname.is_empty() => SourceKind::HardLink,
        _ => SourceKind::File,
    };
    let special = SPECIAL.iter().filter(|(go, _)| stat.mode & go != 0).map(|(_, unix)| unix);
    Ok(SourceEntry {
        kind,
        mode: special.fold(stat.mode & 0o777, |mode, bit| mode | bit),
        size: u64::try_from(stat.size).map_err(|_| format!("{:?} has the size {}", stat.path, stat.size))?,
        mtime_ns: stat.mod_time,
        path: stat.path,
        link: stat.linkname,
        xattrs: stat.xattrs.into_iter().collect(),
    })
}

/// Go's mode of what a tar calls `kind` with these bits.
pub(super) fn go_mode(kind: SourceKind, mode: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, unix)| mode & unix != 0).map(|(go, _)| go);
    let kind = match kind {
        SourceKind::Directory => DIRECTORY,
        SourceKind::Symlink => SYMLINK,
        SourceKind::Fifo => FIFO,
        SourceKind::File | SourceKind::HardLink => 0,
    };
    special.fold(kind | (mode & 0o777), |all, bit| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mode: u32, link: &str) -> Stat {
        Stat { path: "p".into(), mode, linkname: link.into(), size: 3, mod_time: 5, uid: 1000, ..Stat::default() }
    }

    #[test]
    fn modes_of_go_become_the_kernels_and_back() {
        let table = [
            (DIRECTORY | STICKY | 0o777, "", SourceKind::Directory, 0o1777),
            (SYMLINK | 0o777, "to", SourceKind::Symlink, 0o777),
            (FIFO | 0o600, "", SourceKind::Fifo, 0o600),
            (SET_UID | SET_GID | 0o755, "", SourceKind::File, 0o6755),
        ];
        for (go, link, kind, mode) in table {
            let entry = entry(stat(go, link)).unwrap();
            assert_eq!((entry.kind, entry.mode), (kind, mode));
            assert_eq!(go_mode(entry.kind, entry.mode), go);
        }
        assert_eq!(entry(stat(0o644, "first")).unwrap().kind, SourceKind::HardLink);
    }

    #[test]
    fn devices_and_negative_sizes_are_refused() {
        assert!(entry(stat(DEVICE | CHARACTER | 0o600, "")).unwrap_err().contains("device"));
        assert!(entry(Stat { size: -1, ..stat(0o644, "") }).unwrap_err().contains("size -1"));
    }
}
