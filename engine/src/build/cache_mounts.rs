//! Directories of `RUN --mount=type=cache`: kept from build to build, shared as asked.
//!
//! ```text
//! <root>/build/cache/<digest>/fs      what commands see
//! <root>/build/cache/<digest>/about   id and times, as JSON
//! ```

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::OwnedMutexGuard;

use crate::content::make_private_dir;
use crate::error::{Error, Result};
use crate::id::Digest;

use super::dockerfile::Sharing;
use super::spec::CacheRecordView;

/// Directories of one private cache that are in use at once.
const PRIVATE_MAX: usize = 64;

/// All of them.
#[derive(Debug)]
pub(crate) struct CacheMounts {
    root: PathBuf,
    slots: Mutex<HashMap<Digest, Arc<Slot>>>,
}

#[derive(Debug, Default)]
struct Slot {
    lock: Arc<tokio::sync::Mutex<()>>,
    users: AtomicUsize,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct About {
    id: String,
    created: jiff::Timestamp,
    last_used: jiff::Timestamp,
    uses: u64,
}

/// A directory in use. Dropping it lets the next one have it.
#[derive(Debug)]
pub(super) struct CacheMount {
    /// What is mounted.
    pub(super) dir: PathBuf,
    /// It was made just now.
    pub(super) new: bool,
    slot: Arc<Slot>,
    _lock: Option<OwnedMutexGuard<()>>,
}

impl Drop for CacheMount {
    fn drop(&mut self) {
        self.slot.users.fetch_sub(1, Ordering::SeqCst);
    }
}

impl CacheMounts {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.join("build").join("cache"), slots: Mutex::default() }
    }

    fn slot(&self, key: Digest) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(key).or_default())
    }

    /// Takes the directory of an id; waits for who has it when it is locked.
    pub(super) async fn take(&self, id: &str, sharing: Sharing) -> Result<CacheMount> {
        let key = |number: usize| Digest::of(format!("{number} {id}").as_bytes());
        match sharing {
            Sharing::Shared => self.open(key(0), id, None),
            Sharing::Locked => {
                let lock = Arc::clone(&self.slot(key(0)).lock).lock_owned().await;
                self.open(key(0), id, Some(lock))
            }
            Sharing::Private => {
                for number in 0..PRIVATE_MAX {
                    let slot = self.slot(key(number));
                    if let Ok(lock) = Arc::clone(&slot.lock).try_lock_owned() {
                        return self.open(key(number), id, Some(lock));
                    }
                }
                Err(Error::conflict(format!("cache mount {id:?}: {PRIVATE_MAX} commands use it at once")))
            }
        }
    }

    fn open(&self, key: Digest, id: &str, lock: Option<OwnedMutexGuard<()>>) -> Result<CacheMount> {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = Arc::clone(slots.entry(key).or_default());
            // Under the lock of the map: a removal sees either the user or no slot.
            slot.users.fetch_add(1, Ordering::SeqCst);
            slot
        };
        let place = self.root.join(key.hex());
        let dir = place.join("fs");
        let mut mount = CacheMount { dir: dir.clone(), new: !dir.exists(), slot, _lock: lock };
        if mount.new {
            make_private_dir(&dir)?;
        }
        let now = jiff::Timestamp::now();
        let mut about = read(&place).unwrap_or(About { id: id.to_owned(), created: now, last_used: now, uses: 0 });
        (about.last_used, about.uses) = (now, about.uses + 1);
        mount.new &= about.uses == 1;
        let text = serde_json::to_vec(&about).map_err(|e| Error::internal("write a record").with_source(e))?;
        std::fs::write(place.join("about"), text)?;
        Ok(mount)
    }

    /// All directories, with their bytes counted now. Blocking.
    pub(super) fn list(&self) -> Vec<CacheRecordView> {
        let entries = std::fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|entry| self.view(&entry.path())).collect()
    }

    fn view(&self, place: &Path) -> Option<CacheRecordView> {
        let key: Digest = format!("sha256:{}", place.file_name()?.to_str()?).parse().ok()?;
        let about = read(place)?;
        let in_use = {
            let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            slots.get(&key).is_some_and(|slot| slot.users.load(Ordering::SeqCst) > 0)
        };
        Some(CacheRecordView {
            id: key.hex()[..25].to_owned(),
            kind: "exec.cachemount".to_owned(),
            description: format!("cached mount {}", about.id),
            parents: Vec::new(),
            in_use,
            shared: false,
            bytes: crate::snapshot::bytes_below(&place.join("fs")),
            created: about.created,
            last_used: Some(about.last_used),
            uses: about.uses,
        })
    }

    /// Removes the directories of these ids that nobody uses. Blocking. Answers the ids of those removed.
    pub(super) fn remove(&self, ids: &[String]) -> Result<Vec<String>> {
        let mut removed = Vec::new();
        for entry in std::fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Some(id) = ids.iter().find(|id| name.starts_with(id.as_str())) else { continue };
            let Ok(key) = format!("sha256:{name}").parse::<Digest>() else { continue };
            let gone = self.root.join(format!("gone-{name}"));
            {
                let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
                if slots.get(&key).is_some_and(|slot| slot.users.load(Ordering::SeqCst) > 0) {
                    continue;
                }
                slots.remove(&key);
                std::fs::rename(entry.path(), &gone)?;
            }
            crate::snapshot::remove_tree(&gone)?;
            removed.push(id.clone());
        }
        Ok(removed)
    }
}

fn read(place: &Path) -> Option<About> {
    serde_json::from_slice(&std::fs::read(place.join("about")).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn directories_are_shared_as_asked() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = Arc::new(CacheMounts::new(dir.path()));
        let first = mounts.take("a", Sharing::Shared).await.unwrap();
        let second = mounts.take("a", Sharing::Shared).await.unwrap();
        assert!(first.new && !second.new && first.dir == second.dir);
        let one = mounts.take("p", Sharing::Private).await.unwrap();
        let two = mounts.take("p", Sharing::Private).await.unwrap();
        assert_ne!(one.dir, two.dir);
        let dir_of_one = one.dir.clone();
        drop(one);
        assert_eq!(mounts.take("p", Sharing::Private).await.unwrap().dir, dir_of_one, "free again");
        let locked = mounts.take("l", Sharing::Locked).await.unwrap();
        let waiting = tokio::spawn({
            let mounts = Arc::clone(&mounts);
            async move { mounts.take("l", Sharing::Locked).await.map(|mount| mount.dir.clone()) }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        let dir_of_locked = locked.dir.clone();
        drop(locked);
        assert_eq!(waiting.await.unwrap().unwrap(), dir_of_locked);
    }

    #[tokio::test]
    async fn what_is_in_use_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mounts = CacheMounts::new(dir.path());
        let used = mounts.take("used", Sharing::Shared).await.unwrap();
        drop(mounts.take("free", Sharing::Shared).await.unwrap());
        let ids: Vec<String> = mounts.list().into_iter().map(|view| view.id).collect();
        assert_eq!(ids.len(), 2);
        assert_eq!(mounts.remove(&ids).unwrap().len(), 1);
        assert!(used.dir.exists());
        let left = mounts.list();
        assert!(left.len() == 1 && left[0].in_use && left[0].description == "cached mount used");
    }
}
