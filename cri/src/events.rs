//! GetContainerEvents: what happens to containers and sandboxes, each with the state after it.
//!
//! A stream begins with what happened since the one before it ended (at first: since the engine was opened, which is
//! what a kubelet misses while this daemon is restarted), as far as the engine still keeps it. A stream that is opened
//! beside another one begins with what is new.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::event::{Event, ObjectKind};
use engine::id::Owner;
use engine::sandbox::SandboxView;
use engine::{Engine, EventReceiver};
use futures_util::{StreamExt as _, stream};
use tonic::Status;

use crate::proto as cri;
use crate::streamed::Streamed;
use crate::{container, from_engine, status_code};

/// How far streams have come; shared by all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerEvents {
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Number of the last event that a stream has sent.
    seq: u64,
    open: usize,
}

impl ContainerEvents {
    /// A new stream.
    pub(crate) fn follow(&self, engine: &Engine) -> Streamed<cri::ContainerEventResponse> {
        let (after, since) = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.open += 1;
            (seen.seq, (seen.open == 1).then(|| engine.opened_ns()))
        };
        let follower = Follower {
            events: engine.events(since),
            after,
            engine: engine.clone(),
            known: Known::of(engine),
            seen: Arc::clone(&self.seen),
        };
        let events = stream::unfold(Some(follower), |follower| async move {
            let mut follower = follower?;
            match follower.next().await {
                Some(Ok(responses)) => Some((responses.into_iter().map(Ok).collect::<Vec<_>>(), Some(follower))),
                // The client comes back, and what it missed is sent again.
                Some(Err(status)) => Some((vec![Err(status)], None)),
                None => None,
            }
        });
        Box::pin(events.flat_map(stream::iter))
    }
}

/// What is remembered of objects that events may still be about when they are gone.
#[derive(Debug, Default)]
struct Known {
    sandboxes: HashMap<String, Arc<SandboxView>>,
    /// Container to sandbox.
    containers: HashMap<String, String>,
}

impl Known {
    fn of(engine: &Engine) -> Self {
        let sandboxes = engine.sandboxes().into_iter().filter(|view| from_engine::is_pod(view));
        let containers = engine.containers().into_iter().filter(|view| from_engine::is_pods_container(view));
        Self {
            sandboxes: sandboxes.map(|view| (view.id.to_string(), view)).collect(),
            containers: containers.map(|view| (view.id.to_string(), view.sandbox_id.to_string())).collect(),
        }
    }
}

#[derive(Debug)]
struct Follower {
    engine: Engine,
    events: EventReceiver,
    /// Events up to this number were sent by an earlier stream.
    after: u64,
    known: Known,
    seen: Arc<Mutex<Seen>>,
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).open -= 1;
    }
}

impl Follower {
    async fn next(&mut self) -> Option<Result<Vec<cri::ContainerEventResponse>, Status>> {
        loop {
            let event = match self.events.recv().await? {
                Ok(event) => event,
                Err(error) => return Some(Err(status_code::status(&error))),
            };
            if event.seq <= self.after {
                continue;
            }
            let responses = self.responses(&event);
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.seq = seen.seq.max(event.seq);
            if !responses.is_empty() {
                return Some(Ok(responses));
            }
        }
    }

    fn responses(&mut self, event: &Event) -> Vec<cri::ContainerEventResponse> {
        let kinds = kinds(event);
        if kinds.is_empty() {
            return Vec::new();
        }
        let sandbox = self.sandbox_of(event);
        let gone = event.action == "destroy";
        if gone {
            self.known.sandboxes.remove(&event.id);
            self.known.containers.remove(&event.id);
        }
        // A sandbox that is gone is shown as it was, but not as ready.
        let removed = gone && event.kind == ObjectKind::Sandbox;
        let pod_sandbox_status = sandbox.as_ref().map(|view| {
            let mut status = from_engine::sandbox_status(view);
            if removed {
                status.state = cri::PodSandboxState::SandboxNotready as i32;
            }
            status
        });
        let containers_statuses = match &sandbox {
            Some(view) if !removed => container::statuses_of(&self.engine, view),
            _ => Vec::new(),
        };
        let response = |kind: &cri::ContainerEventType| cri::ContainerEventResponse {
            container_id: event.id.clone(),
            container_event_type: *kind as i32,
            created_at: event.time_ns,
            pod_sandbox_status: pod_sandbox_status.clone(),
            containers_statuses: containers_statuses.clone(),
        };
        kinds.iter().map(response).collect()
    }

    /// The sandbox that an event is about, as it is now, else as it was last seen.
    fn sandbox_of(&mut self, event: &Event) -> Option<Arc<SandboxView>> {
        let id = match event.kind {
            ObjectKind::Sandbox => event.id.clone(),
            _ => match self.engine.container(&event.id) {
                Ok(container) => {
                    let sandbox = container.view().sandbox_id.to_string();
                    self.known.containers.insert(event.id.clone(), sandbox.clone());
                    sandbox
                }
                Err(_) => self.known.containers.get(&event.id)?.clone(),
            },
        };
        match self.engine.sandbox(&id) {
            Ok(sandbox) => {
                let view = sandbox.view();
                self.known.sandboxes.insert(id, Arc::clone(&view));
                Some(view)
            }
            Err(_) => self.known.sandboxes.get(&id).cloned(),
        }
    }
}

/// PURE. What an event is in CRI's words; a sandbox counts as a container too and is made and started at once.
fn kinds(event: &Event) -> &'static [cri::ContainerEventType] {
    use cri::ContainerEventType::{
        ContainerCreatedEvent, ContainerDeletedEvent, ContainerStartedEvent, ContainerStoppedEvent,
    };
    if event.owner != Some(Owner::Cri) {
        return &[];
    }
    match (event.kind, event.action.as_str()) {
        (ObjectKind::Container, "create") => &[ContainerCreatedEvent],
        (ObjectKind::Container, "start") => &[ContainerStartedEvent],
        (ObjectKind::Sandbox, "start") => &[ContainerCreatedEvent, ContainerStartedEvent],
        (ObjectKind::Container, "die") | (ObjectKind::Sandbox, "stop") => &[ContainerStoppedEvent],
        (ObjectKind::Container | ObjectKind::Sandbox, "destroy") => &[ContainerDeletedEvent],
        _ => &[],
    }
}
