//! PURE. One entry of a client's directory, and the order that entries come in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The most directories inside of each other.
const DEPTH_MAX: usize = 200;
/// The longest path in bytes, as the kernel has it.
const PATH_BYTES_MAX: usize = 4095;

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceKind {
    /// A regular file.
    #[default]
    File,
    /// A further name of the file that `link` names.
    HardLink,
    /// A directory.
    Directory,
    /// A symlink to the text in `link`.
    Symlink,
    /// A named pipe.
    Fifo,
}

/// What a client says of one of its files. Owners are not told: everything in a context is root's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceEntry {
    /// Relative to the directory, clean.
    #[serde(rename = "p")]
    pub path: String,
    /// What it is.
    #[serde(rename = "k")]
    pub kind: SourceKind,
    /// Permission bits with set-id and sticky bits.
    #[serde(rename = "m")]
    pub mode: u32,
    /// Bytes of a file, as the client counted them.
    #[serde(rename = "s")]
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    #[serde(rename = "t")]
    pub mtime_ns: i64,
    /// Target of a symlink, or the path of which this is a further name.
    #[serde(rename = "l", default, skip_serializing_if = "String::is_empty")]
    pub link: String,
    /// Extended attributes.
    #[serde(rename = "x", default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Checks that entries come as a walk finds them: each in a directory that came before, in the order of their names.
///
/// A path that passes lies in the tree by its own parts: nothing but directories is on its way.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The directories on the way to the last entry, each with the last name seen in it.
    open: Vec<(String, String)>,
}

impl Order {
    /// Takes the next entry.
    ///
    /// # Errors
    /// `InvalidArgument` for paths that are absolute, unclean, lead out, or stand at the wrong place.
    pub(super) fn next(&mut self, path: &str, is_directory: bool) -> Result<()> {
        let wrong = |why: &str| Error::invalid(format!("the client's file list has the path {path:?}: {why}"));
        if path.is_empty() || path.len() > PATH_BYTES_MAX || path.contains('\0') {
            return Err(wrong("it is empty, too long or has a zero byte"));
        }
        if path.starts_with('/') {
            return Err(wrong("it is absolute"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..") || part.len() > 255) {
            return Err(wrong("it is not clean or leads out of the directory"));
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        if self.open.is_empty() {
            self.open.push((String::new(), String::new()));
        }
        let at = self.open.iter().rposition(|(dir, _)| dir == parent);
        let at = at.ok_or_else(|| wrong("the directory that it lies in did not come before it"))?;
        self.open.truncate(at + 1);
        let last = &mut self.open[at].1;
        if last.as_bytes() >= name.as_bytes() {
            return Err(wrong("it is out of order"));
        }
        name.clone_into(last);
        if is_directory {
            if self.open.len() > DEPTH_MAX {
                return Err(wrong("it is too deep"));
            }
            self.open.push((path.to_owned(), String::new()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_passes_and_nothing_else_does() {
        let mut order = Order::default();
        for (path, is_directory) in
            [("a", true), ("a/b", true), ("a/b/c", false), ("a/d", false), ("a.txt", false), ("b", false)]
        {
            order.next(path, is_directory).unwrap();
        }
        let refused = |before: &[(&str, bool)], path: &str| {
            let mut order = Order::default();
            before.iter().for_each(|(path, is_directory)| order.next(path, *is_directory).unwrap());
            order.next(path, false).unwrap_err().to_string()
        };
        for path in ["", "/etc/passwd", "../x", "a/../b", "..", ".", "a//b", "a/", "a\0b"] {
            refused(&[("a", true)], path);
        }
        assert!(refused(&[("a", false)], "a/b").contains("did not come before"), "below a file or a symlink");
        assert!(refused(&[("b", false)], "a").contains("out of order"));
        assert!(refused(&[("b", false)], "b").contains("out of order"));
        assert!(
            refused(&[("a", true), ("b", false)], "a/x").contains("did not come before")
                || refused(&[("b", false)], "a").contains("order")
        );
        assert!(refused(&[], &format!("{}x", "d/".repeat(3000))).contains("too long"));
    }

    #[test]
    fn depth_has_a_limit() {
        let mut order = Order::default();
        let mut path = String::new();
        let error = (0..300).find_map(|_| {
            path.push_str(if path.is_empty() { "d" } else { "/d" });
            order.next(&path, true).err()
        });
        assert!(error.unwrap().to_string().contains("too deep"));
    }
}
