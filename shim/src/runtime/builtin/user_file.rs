//! The home folder of a user by the container's own `/etc/passwd`, which may be anything (CVE-2026-47262).

use std::io::Read as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags};
use sys::rooted::RootFd;

/// More of the file is not read.
const BYTES_MAX: u64 = 1 << 20;

/// `None` when the file is missing, strange, or does not know the user.
pub(super) fn home_of(root: &RootFd, uid: u32) -> Option<String> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = root.open_file(Path::new("/etc/passwd"), flags, Mode::empty()).ok()?;
    let stat = rustix::fs::fstat(&fd).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = Vec::new();
    std::fs::File::from(fd).take(BYTES_MAX).read_to_end(&mut text).ok()?;
    find(&String::from_utf8_lossy(&text), uid)
}

fn find(text: &str, uid: u32) -> Option<String> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let known = fields.len() >= 6 && fields[2].parse::<u32>() == Ok(uid);
        (known && fields[5].starts_with('/')).then(|| fields[5].to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_count() {
        let text = "root:x:0:0:root:/root:/bin/sh\nbad:x:4294967296:0::/evil:/x\nuser:x:1000:1000::/home/u:/x\n";
        assert_eq!(find(text, 0).as_deref(), Some("/root"));
        assert_eq!(find(text, 1000).as_deref(), Some("/home/u"));
        assert_eq!(find(text, 5), None);
    }
}
