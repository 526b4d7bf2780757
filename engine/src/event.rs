//! What has happened, in order: events with sequence numbers, a bounded ring for replay, and followers.
//!
//! An event is stored (table `event`) before followers see it, so that numbers go on after a restart and a follower
//! that comes back misses nothing that is still kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::{broadcast, mpsc};

use crate::error::{Error, ErrorKind, Result};
use crate::id::Owner;
use crate::metadata::tables::event as table;
use crate::metadata::{Durability, Store};

/// Events that a follower may be behind before it is told that it missed some.
const FOLLOWER_LAG_MAX: usize = 1024;
/// Rows are swept when so many more than the kept ones have gathered.
const SWEEP_EVERY: u64 = 256;

/// Kinds of objects that have events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// A container.
    Container,
    /// A sandbox (pod).
    Sandbox,
    /// An image.
    Image,
    /// A network.
    Network,
    /// A volume.
    Volume,
    /// The daemon itself.
    Daemon,
}

/// Something that has happened, after it was stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Grows by one with each event, also across restarts of the daemon.
    pub seq: u64,
    /// Nanoseconds since 1970.
    pub time_ns: i64,
    /// Kind of the object.
    pub kind: ObjectKind,
    /// docker's action word: `create`, `start`, `die`, `exec_create: sh -c …`, `health_status: healthy`, `connect`, …
    pub action: String,
    /// Id (or name for volumes, reference for images).
    pub id: String,
    /// The object's owner, if it has one.
    pub owner: Option<Owner>,
    /// docker's actor attributes: labels, image, name, exitCode, signal, execDuration, container, type, …
    pub attributes: BTreeMap<String, String>,
}

/// An event before it has its number and time.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// docker's action word.
    pub action: String,
    /// Id, name or reference.
    pub id: String,
    /// Owner, if any.
    pub owner: Option<Owner>,
    /// docker's actor attributes.
    pub attributes: BTreeMap<String, String>,
}

impl NewEvent {
    /// Something that happened to an image: `id` is its id, or the reference for `pull` and `push`.
    pub fn image(action: &str, id: String, name: String, labels: &BTreeMap<String, String>) -> Self {
        let mut attributes = labels.clone();
        attributes.insert("name".to_owned(), name);
        Self::of(ObjectKind::Image, action, id, attributes)
    }

    /// Something that happened to a volume.
    pub fn volume(action: &str, name: &str, driver: &str, more: &[(&str, String)]) -> Self {
        let mut attributes = BTreeMap::from([("driver".to_owned(), driver.to_owned())]);
        attributes.extend(more.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        Self::of(ObjectKind::Volume, action, name.to_owned(), attributes)
    }

    /// Something that happened to a network, without a container.
    pub fn network(action: &str, id: String, name: &str, driver: &str) -> Self {
        let attributes = [("name", name), ("type", driver)].map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self::of(ObjectKind::Network, action, id, attributes.into())
    }

    /// A prune of all objects of a kind, with the bytes it gave back.
    pub fn pruned(kind: ObjectKind, reclaimed: u64) -> Self {
        let attributes = BTreeMap::from([("reclaimed".to_owned(), reclaimed.to_string())]);
        Self::of(kind, "prune", String::new(), attributes)
    }

    fn of(kind: ObjectKind, action: &str, id: String, attributes: BTreeMap<String, String>) -> Self {
        Self { kind, action: action.to_owned(), id, owner: None, attributes }
    }
}

/// The one place where events are numbered, kept and handed out. Cheap to clone.
#[derive(Debug, Clone)]
pub struct EventBus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    kept_max: usize,
    ring: Mutex<Ring>,
    followers: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug)]
struct Ring {
    next_seq: u64,
    kept: VecDeque<Arc<Event>>,
}

impl EventBus {
    /// Reads the events that are kept.
    ///
    /// # Errors
    /// `Internal` when the database cannot be read.
    pub fn open(store: Store, kept_max: usize) -> Result<Self> {
        let kept: VecDeque<Arc<Event>> =
            store.read(|c| table::newest(c, kept_max))?.into_iter().map(Arc::new).collect();
        let next_seq = kept.back().map_or(1, |event| event.seq + 1);
        let (followers, _) = broadcast::channel(FOLLOWER_LAG_MAX);
        let shared = Shared { store, kept_max, ring: Mutex::new(Ring { next_seq, kept }), followers };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Numbers an event, hands it to the followers and queues its row. The object's own record must be stored before.
    ///
    /// The row is written behind: losing the last events with the process loses no state of any object.
    pub async fn publish(&self, new: NewEvent) {
        let event = {
            let mut ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let NewEvent { kind, action, id, owner, attributes } = new;
            let event = Arc::new(Event { seq: ring.next_seq, time_ns: now_ns(), kind, action, id, owner, attributes });
            ring.next_seq += 1;
            ring.kept.push_back(event.clone());
            if ring.kept.len() > self.shared.kept_max {
                ring.kept.pop_front();
            }
            // Sent under the lock, so that followers see the order of the numbers; nobody listening is no error.
            drop(self.shared.followers.send(event.clone()));
            event
        };
        let oldest = event.seq.saturating_sub(self.shared.kept_max as u64);
        let sweep = event.seq.is_multiple_of(SWEEP_EVERY);
        let stored = self.shared.store.write(Durability::Crash, move |tx| {
            table::insert(tx, &event)?;
            if sweep { table::remove_before(tx, oldest) } else { Ok(()) }
        });
        if let Err(error) = stored.await {
            tracing::warn!(%error, "an event could not be stored for replay");
        }
    }

    /// The number of the newest event; 0 before the first.
    pub fn seq(&self) -> u64 {
        self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner).next_seq - 1
    }

    /// Events from `since_ns` on (`None` = only new ones): those kept, then those that come.
    pub fn follow(&self, since_ns: Option<i64>) -> mpsc::Receiver<Result<Arc<Event>>> {
        let (replay, mut live) = {
            let ring = self.shared.ring.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = |event: &&Arc<Event>| since_ns.is_some_and(|since| event.time_ns >= since);
            let replay: Vec<Arc<Event>> = ring.kept.iter().filter(wanted).cloned().collect();
            (replay, self.shared.followers.subscribe())
        };
        let (sender, receiver) = mpsc::channel(64);
        tokio::spawn(async move {
            for event in replay {
                if sender.send(Ok(event)).await.is_err() {
                    return;
                }
            }
            loop {
                let next = tokio::select! {
                    next = live.recv() => next,
                    () = sender.closed() => return,
                };
                let item = match next {
                    Ok(event) => Ok(event),
                    Err(broadcast::error::RecvError::Lagged(missed)) => Err(Error::new(
                        ErrorKind::ResourceExhausted,
                        format!("this follower of events was too slow and missed {missed}"),
                    )),
                    Err(broadcast::error::RecvError::Closed) => return,
                };
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        receiver
    }
}

/// Nanoseconds since 1970.
pub fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(action: &str) -> NewEvent {
        let (kind, id) = (ObjectKind::Container, "c".to_owned());
        NewEvent { kind, action: action.to_owned(), id, owner: None, attributes: BTreeMap::new() }
    }

    #[tokio::test]
    async fn numbers_go_on_after_a_restart_and_replay_is_followed_by_what_comes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("meta.db");
        let bus = EventBus::open(Store::open(&path).unwrap(), 3).unwrap();
        for action in ["a", "b", "c", "d"] {
            bus.publish(new(action)).await;
        }
        drop(bus);
        let bus = EventBus::open(Store::open(&path).unwrap(), 3).unwrap();
        assert_eq!(bus.seq(), 4);
        let mut events = bus.follow(Some(0));
        bus.publish(new("e")).await;
        let mut seen = Vec::new();
        for _ in 0..4 {
            let event = events.recv().await.unwrap().unwrap();
            seen.push((event.seq, event.action.clone()));
        }
        let expected = [(2, "b"), (3, "c"), (4, "d"), (5, "e")].map(|(seq, action)| (seq, action.to_owned()));
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_slow_follower_is_told_what_it_missed() {
        let dir = tempfile::tempdir().unwrap();
        let bus = EventBus::open(Store::open(&dir.path().join("meta.db")).unwrap(), 4).unwrap();
        let mut events = bus.follow(None);
        for _ in 0..(FOLLOWER_LAG_MAX + 500) {
            bus.publish(new("x")).await;
        }
        let mut missed = false;
        while let Ok(Some(item)) = tokio::time::timeout(std::time::Duration::from_millis(200), events.recv()).await {
            missed |= item.is_err();
        }
        assert!(missed);
    }
}
