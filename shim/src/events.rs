//! Events for containerd: queued within bounds, sent in order, tried again. Our own engine polls and long-polls
//! instead, so without an address nothing is kept.

use std::path::PathBuf;
use std::time::Duration;

use prost::Message;
use shim_api::Any;
use shim_api::options::ExitRecord;
use shim_api::proto::events as wire;
use shim_api::proto::events_service::ForwardRequest;
use shim_api::proto::types::{Envelope, Mount};
use shim_api::time::{now_unix_ns, timestamp};
use shim_api::ttrpc::Client;
use tokio::sync::mpsc;

/// Events that wait; older ones are kept, newer ones dropped with a word in the journal.
const QUEUE_MAX: usize = 2048;
/// Tries of one event, with growing pauses in between: about a minute, then containerd is given up for it.
const TRIES_MAX: u32 = 6;
const CALL_MAX: Duration = Duration::from_secs(5);

const SERVICE: &str = "containerd.services.events.ttrpc.v1.Events";

/// What happened.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    Create { id: String, bundle: String, rootfs: Vec<Mount>, io: wire::TaskIo, pid: u32 },
    Start { id: String, pid: u32 },
    ExecAdded { id: String, exec_id: String },
    ExecStarted { id: String, exec_id: String, pid: u32 },
    Paused { id: String },
    Resumed { id: String },
    Oom { id: String },
    Exit { id: String, exec_id: String, record: ExitRecord },
    Delete { id: String, exec_id: String, record: ExitRecord },
}

/// The outgoing queue.
#[derive(Debug)]
pub(crate) struct Events {
    queue: Option<mpsc::Sender<(i64, Event)>>,
}

impl Events {
    /// Publishes to containerd's socket under a namespace, or nowhere.
    pub(crate) fn new(target: Option<(PathBuf, String)>) -> Self {
        let queue = target.map(|(address, namespace)| {
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            tokio::task::spawn_local(send_all(receiver, address, namespace));
            sender
        });
        Self { queue }
    }

    /// Puts an event on its way.
    pub(crate) fn publish(&self, event: Event) {
        let Some(queue) = &self.queue else { return };
        if queue.try_send((now_unix_ns(), event)).is_err() {
            crate::journal::say("an event is dropped: containerd takes none");
        }
    }

    /// Waits until all are sent, for a while.
    pub(crate) async fn flush(&self, limit: Duration) {
        let Some(queue) = &self.queue else { return };
        let empty = async {
            while queue.capacity() < queue.max_capacity() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let _ = tokio::time::timeout(limit, empty).await;
    }
}

async fn send_all(mut queue: mpsc::Receiver<(i64, Event)>, address: PathBuf, namespace: String) {
    let mut client: Option<Client> = None;
    while let Some((time, event)) = queue.recv().await {
        let (topic, any) = event.encode();
        let envelope = Envelope {
            timestamp: Some(timestamp(time)),
            namespace: namespace.clone(),
            topic: topic.to_owned(),
            event: Some(any),
        };
        let request = ForwardRequest { envelope: Some(envelope) };
        for attempt in 0..TRIES_MAX {
            if client.as_ref().is_none_or(Client::is_closed) {
                client = Client::connect(&address).await.ok();
            }
            let Some(connected) = &client else {
                tokio::time::sleep(Duration::from_secs(1 << attempt)).await;
                continue;
            };
            match connected.call::<_, ()>(SERVICE, "Forward", &request, Some(CALL_MAX)).await {
                Ok(()) => break,
                Err(_) => tokio::time::sleep(Duration::from_secs(1 << attempt)).await,
            }
        }
    }
}

fn any<M: Message>(name: &str, message: &M) -> Any {
    Any { type_url: format!("containerd.events.{name}"), value: message.encode_to_vec() }
}

impl Event {
    fn encode(self) -> (&'static str, Any) {
        match self {
            Self::Create { id, bundle, rootfs, io, pid } => {
                let checkpoint = String::new();
                let event = wire::TaskCreate { container_id: id, bundle, rootfs, io: Some(io), checkpoint, pid };
                ("/tasks/create", any("TaskCreate", &event))
            }
            Self::Start { id, pid } => ("/tasks/start", any("TaskStart", &wire::TaskStart { container_id: id, pid })),
            Self::ExecAdded { id, exec_id } => {
                ("/tasks/exec-added", any("TaskExecAdded", &wire::TaskExecAdded { container_id: id, exec_id }))
            }
            Self::ExecStarted { id, exec_id, pid } => {
                let event = wire::TaskExecStarted { container_id: id, exec_id, pid };
                ("/tasks/exec-started", any("TaskExecStarted", &event))
            }
            Self::Paused { id } => ("/tasks/paused", any("TaskPaused", &wire::TaskPaused { container_id: id })),
            Self::Resumed { id } => ("/tasks/resumed", any("TaskResumed", &wire::TaskResumed { container_id: id })),
            Self::Oom { id } => ("/tasks/oom", any("TaskOOM", &wire::TaskOom { container_id: id })),
            Self::Exit { id, exec_id, record } => {
                let event = wire::TaskExit {
                    id: if exec_id.is_empty() { id.clone() } else { exec_id },
                    container_id: id,
                    pid: record.pid,
                    exit_status: record.exit_status,
                    exited_at: Some(timestamp(record.exited_at_ns)),
                };
                ("/tasks/exit", any("TaskExit", &event))
            }
            Self::Delete { id, exec_id, record } => {
                let event = wire::TaskDelete {
                    container_id: id,
                    pid: record.pid,
                    exit_status: record.exit_status,
                    exited_at: Some(timestamp(record.exited_at_ns)),
                    id: exec_id,
                };
                ("/tasks/delete", any("TaskDelete", &event))
            }
        }
    }
}
