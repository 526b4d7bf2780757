//! A tree that nothing in a test may touch: hashed before and after, with owner, mode, times and inode.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// A planted tree and what it looked like.
#[derive(Debug)]
pub struct Canary {
    root: PathBuf,
    before: BTreeMap<PathBuf, String>,
}

impl Canary {
    /// Plants the tree at `root` and remembers it.
    pub fn plant(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        fs::create_dir_all(root.join("dir/deeper")).expect("canary directory");
        fs::write(root.join("file"), b"canary\n").expect("canary file");
        fs::write(root.join("dir/deeper/secret"), b"do not read me\n").expect("canary file");
        std::os::unix::fs::symlink("file", root.join("link")).expect("canary link");
        let before = picture(&root);
        Self { root, before }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Fails when anything in the tree changed.
    #[track_caller]
    pub fn assert_untouched(&self) {
        assert_eq!(self.before, picture(&self.root), "the canary tree at {} was touched", self.root.display());
    }
}

fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut seen = BTreeMap::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(path) = pending.pop() {
        let meta = fs::symlink_metadata(&path).expect("canary metadata");
        let content = if meta.is_dir() {
            pending.extend(fs::read_dir(&path).expect("canary directory").map(|e| e.expect("entry").path()));
            String::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).expect("canary link").to_string_lossy().into_owned()
        } else {
            hex::encode(Sha256::digest(fs::read(&path).expect("canary file")))
        };
        let facts = format!(
            "ino {} mode {:o} owner {}:{} mtime {}.{} {content}",
            meta.ino(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        seen.insert(path, facts);
    }
    seen
}
