//! Directories of clients, kept from one build to the next so that only what changed is sent again.
//!
//! On disk: `build/sources/<key>.<slot>/` with `fs` (the files) and `index` (what was received, see [`update`]). A slot is
//! one build's at a time; a second build of the same directory gets the next slot. The index is away while a slot is
//! written to, so that a transfer that broke off counts as nothing.

mod entry;
mod update;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::error::{Error, ErrorKind, Result};
use crate::id::Digest;

use super::spec::CacheRecordView;

pub use entry::{SourceEntry, SourceKind};
pub use update::SourceUpdate;

/// Builds that may use one directory of one client at once.
const SLOTS_MAX: usize = 16;
/// Directories kept besides those in use; the least recently used go.
const KEPT_MAX: usize = 64;

/// All directories that are kept.
#[derive(Debug)]
pub(crate) struct Sources {
    root: PathBuf,
    busy: Arc<Mutex<BTreeSet<String>>>,
}

/// A directory that is one build's until this is dropped.
#[derive(Debug)]
struct Slot {
    name: String,
    dir: PathBuf,
    busy: Arc<Mutex<BTreeSet<String>>>,
    is_kept: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            tracing::warn!(dir = %self.dir.display(), %error, "a build's directory is left behind");
        }
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Sources {
    /// Those under an engine's root.
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.join("build").join("sources"), busy: Arc::default() }
    }

    /// The directory `name` of a client, to be brought up to date. A client without a key is never seen again: nothing is
    /// kept for it. Blocking.
    ///
    /// # Errors
    /// `ResourceExhausted` when too many builds use it.
    pub(crate) fn open(&self, client: Option<&str>, name: &str) -> Result<SourceUpdate> {
        let random = || crate::id::ContainerId::random().to_string();
        let client_text = client.map_or_else(random, str::to_owned);
        let key = Digest::of(format!("{client_text}\0{name}").as_bytes()).hex();
        let slot = self.take(&key[..32], client.is_some())?;
        self.trim();
        SourceUpdate::begin(slot)
    }

    fn take(&self, key: &str, is_kept: bool) -> Result<Slot> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        for number in 0..SLOTS_MAX {
            let name = format!("{key}.{number}");
            if busy.insert(name.clone()) {
                let dir = self.root.join(&name);
                return Ok(Slot { name, dir, busy: Arc::clone(&self.busy), is_kept });
            }
        }
        let text = format!("{SLOTS_MAX} builds use this directory at once");
        Err(Error::new(ErrorKind::ResourceExhausted, text))
    }

    /// What is kept, the least recently used first.
    fn kept(&self) -> Vec<(SystemTime, String)> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        let mut kept: Vec<_> = entries
            .filter_map(|entry| {
                let changed = entry.metadata().and_then(|about| about.modified()).ok()?;
                Some((changed, entry.file_name().into_string().ok()?))
            })
            .collect();
        kept.sort();
        kept
    }

    fn trim(&self) {
        let kept = self.kept();
        let surplus = kept.len().saturating_sub(KEPT_MAX);
        for (_, name) in kept.into_iter().take(surplus) {
            self.remove(&name);
        }
    }

    /// Removes one that no build uses; whether it did.
    pub(crate) fn remove(&self, name: &str) -> bool {
        if !self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned()) {
            return false;
        }
        let dir = self.root.join(name);
        // Dropping a slot that is not kept removes it.
        drop(Slot { name: name.to_owned(), dir, busy: Arc::clone(&self.busy), is_kept: false });
        true
    }

    /// All of them, with their bytes counted now. Blocking.
    pub(crate) fn list(&self) -> Vec<CacheRecordView> {
        self.kept().into_iter().map(|(changed, name)| self.view(changed, name)).collect()
    }

    fn view(&self, changed: SystemTime, name: String) -> CacheRecordView {
        let in_use = self.busy.lock().unwrap_or_else(PoisonError::into_inner).contains(&name);
        let last_used = jiff::Timestamp::try_from(changed).unwrap_or_default();
        CacheRecordView {
            bytes: crate::snapshot::bytes_below(&self.root.join(&name)),
            id: name,
            kind: "source.local".to_owned(),
            description: "local source".to_owned(),
            parents: Vec::new(),
            in_use,
            shared: false,
            created: last_used,
            last_used: Some(last_used),
            uses: 1,
        }
    }
}

impl crate::Engine {
    /// A client's directory, to be brought up to date: see [`SourceUpdate`]. `client` tells one client's directory from
    /// another's of the same name; without it nothing is kept. Blocking.
    ///
    /// # Errors
    /// `ResourceExhausted` when too many builds use it.
    pub fn open_build_source(&self, client: Option<&str>, name: &str) -> Result<SourceUpdate> {
        self.core().sources.open(client, name)
    }
}

#[cfg(test)]
mod tests;
