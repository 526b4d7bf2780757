//! The configuration directory: its lexically first file counts, and it is read again when anything in it changes.

use std::fs::{DirEntry, File};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::network::cni::list::NetworkList;

/// Files and directories that are looked at.
const ENTRIES_MAX: usize = 1_000;
/// Size of a file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Ends of the names of configuration files.
const ENDINGS: [&str; 3] = [".conf", ".conflist", ".json"];

/// What the directory says.
#[derive(Debug, Clone)]
pub(super) enum Configured {
    /// It has no configuration, or is absent.
    Nothing,
    /// Its configuration cannot be used, and why.
    Wrong(String),
    /// This network.
    Network(Arc<NetworkList>),
}

/// Name, inode, size, and times of the last changes: a file that was written again differs.
type Mark = (PathBuf, u64, u64, i64, i64, i64);

/// The directory with what was last read of it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    known: Mutex<Option<(Vec<Mark>, Configured)>>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, known: Mutex::new(None) }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What it says now. A look at the directory; its files are read only after a change.
    pub(super) fn read(&self) -> Configured {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let marks = match marks(&self.path) {
            Ok(marks) => marks,
            Err(error) => {
                *known = None;
                return Configured::Wrong(format!("CNI configuration in {}: {error}", self.path.display()));
            }
        };
        match known.as_ref() {
            Some((then, configured)) if *then == marks => configured.clone(),
            _ => {
                let configured = load(&self.path, &marks);
                match &configured {
                    Configured::Nothing => tracing::info!(directory = %self.path.display(), "no CNI configuration"),
                    Configured::Wrong(reason) => tracing::error!(reason, "the CNI configuration cannot be used"),
                    Configured::Network(list) => {
                        let plugins: Vec<_> = list.plugins.iter().map(|plugin| plugin.program.as_str()).collect();
                        tracing::info!(network = list.name, ?plugins, "CNI configuration read");
                    }
                }
                *known = Some((marks, configured.clone()));
                configured
            }
        }
    }
}

/// Marks of every configuration file, and of those one level below.
fn marks(path: &Path) -> std::io::Result<Vec<Mark>> {
    let entries = match std::fs::read_dir(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut marks = Vec::new();
    for entry in entries.take(ENTRIES_MAX) {
        let entry = entry?;
        if entry.path().is_dir() {
            for inner in std::fs::read_dir(entry.path()).into_iter().flatten().flatten().take(ENTRIES_MAX) {
                marks.extend(mark(&inner));
            }
        } else {
            marks.extend(mark(&entry));
        }
    }
    marks.sort();
    Ok(marks)
}

fn mark(entry: &DirEntry) -> Option<Mark> {
    let name = entry.file_name();
    let name = name.to_str()?;
    if name.starts_with('.') || !ENDINGS.iter().any(|end| name.ends_with(end)) {
        return None;
    }
    // Links are followed: a mounted ConfigMap is made of them.
    let meta = std::fs::metadata(entry.path()).ok()?;
    Some((entry.path(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime_nsec()))
}

fn load(folder: &Path, marks: &[Mark]) -> Configured {
    let Some((first, ..)) = marks.iter().find(|(path, ..)| path.parent() == Some(folder)) else {
        return Configured::Nothing;
    };
    match load_list(folder, first, marks) {
        Ok(list) => Configured::Network(Arc::new(list)),
        Err(reason) => Configured::Wrong(format!("CNI configuration {}: {reason}", first.display())),
    }
}

fn load_list(folder: &Path, file: &Path, marks: &[Mark]) -> Result<NetworkList, String> {
    let mut list = NetworkList::parse(&read(file)?)?;
    if !list.inlined_only {
        let further = folder.join(&list.name);
        let of_list = |path: &&PathBuf| {
            path.parent() == Some(further.as_path()) && path.extension().is_some_and(|end| end == "conf")
        };
        for path in marks.iter().map(|(path, ..)| path).filter(of_list) {
            let text = read(path).map_err(|e| format!("{}: {e}", path.display()))?;
            let plugin = serde_json::from_str(&text).map_err(|e| format!("{}: not JSON: {e}", path.display()))?;
            list.push(&plugin).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    if list.plugins.is_empty() { Err("plugins: there are none".to_owned()) } else { Ok(list) }
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|e| e.to_string())?;
    if !file.metadata().is_ok_and(|meta| meta.is_file()) {
        return Err("not a file".to_owned());
    }
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("larger than {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(configured: &Configured) -> String {
        match configured {
            Configured::Nothing => "nothing".into(),
            Configured::Wrong(reason) => reason.clone(),
            Configured::Network(list) => list.name.clone(),
        }
    }

    #[test]
    fn the_first_file_counts_and_changes_are_seen() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("net.d"));
        assert_eq!(name(&folder.read()), "nothing");
        std::fs::create_dir(dir.path().join("net.d")).unwrap();
        let write = |file: &str, text: &str| std::fs::write(dir.path().join("net.d").join(file), text).unwrap();
        write("README", "not one of them");
        assert_eq!(name(&folder.read()), "nothing");
        write("20-b.conf", r#"{"name": "b", "type": "ptp"}"#);
        assert_eq!(name(&folder.read()), "b");
        write("10-a.conflist", r#"{"name": "a", "plugins": [{"type": "bridge"}]}"#);
        assert_eq!(name(&folder.read()), "a");
        write("10-a.conflist", r#"{"name": "#);
        assert!(name(&folder.read()).contains("10-a.conflist: not JSON"), "{}", name(&folder.read()));
        std::fs::remove_file(dir.path().join("net.d/10-a.conflist")).unwrap();
        assert_eq!(name(&folder.read()), "b");
    }

    #[test]
    fn plugins_in_files_of_their_own_come_last() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("10.conflist"), r#"{"name": "a", "plugins": [{"type": "bridge"}]}"#).unwrap();
        std::fs::write(dir.path().join("a/20.conf"), r#"{"type": "tuning"}"#).unwrap();
        std::fs::write(dir.path().join("a/10.conf"), r#"{"type": "portmap"}"#).unwrap();
        let Configured::Network(list) = Folder::new(dir.path().to_owned()).read() else { panic!("no network") };
        let programs: Vec<_> = list.plugins.iter().map(|plugin| plugin.program.as_str()).collect();
        assert_eq!(programs, ["bridge", "portmap", "tuning"]);
    }
}
