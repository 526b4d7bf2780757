//! The race that most of this field's flaws are: while a path is walked, a folder of it is exchanged for a symlink that
//! leads out (CVE-2021-30465, CVE-2024-45310, CVE-2025-52565, CVE-2025-52881). Needs no root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use sys::rooted::RootFd;

/// Exchanges that each attempt is tried against at least.
const EXCHANGES_MIN: u64 = 10_000;

/// A root with `flip`, a folder that is exchanged for a symlink to a folder outside as fast as the kernel does it.
struct Rig {
    _folder: tempfile::TempDir,
    root: PathBuf,
    canary: PathBuf,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (root, canary) = (folder.path().join("root"), folder.path().join("canary"));
        for made in [&root.join("flip"), &canary] {
            fs::create_dir_all(made).unwrap();
        }
        fs::write(canary.join("file"), "untouched").unwrap();
        fs::set_permissions(canary.join("file"), fs::Permissions::from_mode(0o644)).unwrap();
        // Absolute, so that it leads out however deep it is.
        std::os::unix::fs::symlink(&canary, root.join("link")).unwrap();
        Self { _folder: folder, root, canary }
    }

    /// Runs `attempt` until the names have been exchanged often enough, then looks at the canary.
    fn race(&self, what: &str, attempt: impl Fn(&RootFd)) {
        let (stop, exchanges) = (AtomicBool::new(false), AtomicU64::new(0));
        let root = RootFd::open(&self.root).unwrap();
        let mut tries = 0_u64;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (a, b) = (self.root.join("flip"), self.root.join("link"));
                while !stop.load(Ordering::Relaxed) {
                    rustix::fs::renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE).unwrap();
                    exchanges.fetch_add(1, Ordering::Relaxed);
                }
            });
            while exchanges.load(Ordering::Relaxed) < EXCHANGES_MIN || tries < 1000 {
                attempt(&root);
                tries += 1;
            }
            stop.store(true, Ordering::Relaxed);
        });
        let names: Vec<_> = fs::read_dir(&self.canary).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "{what}: something was made outside in {tries} tries");
        assert_eq!(fs::read_to_string(self.canary.join("file")).unwrap(), "untouched", "{what}");
        let meta = fs::metadata(self.canary.join("file")).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid()), (0o644, rustix::process::geteuid().as_raw()), "{what}");
    }
}

#[test]
fn folders_are_made_inside() {
    Rig::new().race("mkdir_all", |root| {
        let _ = root.mkdir_all(Path::new("flip/made/deep"), Mode::from_raw_mode(0o755), &mut |_| ());
    });
}

#[test]
fn files_are_made_and_written_inside() {
    Rig::new().race("open_file", |root| {
        for name in ["flip/file", "flip/new"] {
            let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::TRUNC;
            if let Ok(fd) = root.open_file(Path::new(name), flags, Mode::from_raw_mode(0o600)) {
                let _ = rustix::io::write(&fd, b"written");
            }
        }
    });
}

#[test]
fn what_is_changed_by_name_is_inside() {
    Rig::new().race("chmod, chown, remove", |root| {
        if let Ok((folder, name)) = root.open_parent(Path::new("flip/file")) {
            let _ = folder.create_file(name, Mode::from_raw_mode(0o600));
            let _ = folder.chmod(name, 0o777);
            let _ = folder.symlink(OsStr::new("more"), OsStr::new("/"));
            let _ = folder.remove_all(OsStr::new("more"));
            let _ = folder.remove_all(name);
        }
    });
}

#[test]
fn what_is_read_is_inside() {
    let rig = Rig::new();
    fs::write(rig.root.join("flip/file"), "inside").unwrap();
    let read = std::cell::RefCell::new(std::collections::BTreeSet::new());
    rig.race("read", |root| {
        if let Ok(folder) = root.open_dir(Path::new("flip"))
            && let Ok(mut file) = folder.open_regular(OsStr::new("file"))
        {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut file, &mut text).unwrap();
            read.borrow_mut().insert(text);
        }
    });
    assert_eq!(read.into_inner().into_iter().collect::<Vec<_>>(), ["inside"]);
}
