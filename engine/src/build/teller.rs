//! How a build tells what it does: in order, waiting for a slow listener; a listener that is gone ends the build.

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::container::Stream;
use crate::error::Result;
use crate::id::{Digest, ImageId};

use super::event::{BuildEvent, StepAt};
use super::process::cancelled;

/// One step's voice.
#[derive(Debug, Clone)]
pub(super) struct Vertex {
    pub(super) digest: Digest,
    events: mpsc::Sender<BuildEvent>,
}

impl Vertex {
    /// Announces a step. `what` tells it from all others of the build.
    pub(super) async fn begin(
        events: &mpsc::Sender<BuildEvent>,
        what: &str,
        name: String,
        inputs: Vec<Digest>,
        step: Option<StepAt>,
    ) -> Result<Self> {
        let vertex = Self { digest: Digest::of(what.as_bytes()), events: events.clone() };
        vertex.tell(BuildEvent::Started { vertex: vertex.digest, name, inputs, step }).await?;
        Ok(vertex)
    }

    async fn tell(&self, event: BuildEvent) -> Result<()> {
        self.events.send(event).await.map_err(|_| cancelled())
    }

    pub(super) async fn running(&self, container: String, command: String) -> Result<()> {
        self.tell(BuildEvent::Running { vertex: self.digest, container, command }).await
    }

    pub(super) async fn log(&self, stream: Stream, data: Bytes) -> Result<()> {
        self.tell(BuildEvent::Log { vertex: self.digest, stream, data }).await
    }

    pub(super) async fn status(&self, id: String, current: u64, total: u64, done: bool) -> Result<()> {
        self.tell(BuildEvent::Status { vertex: self.digest, id, current, total, done }).await
    }

    pub(super) async fn done(&self, cached: bool, image: Option<ImageId>) -> Result<()> {
        self.tell(BuildEvent::Completed { vertex: self.digest, cached, error: None, image }).await
    }

    /// Says why a step has failed. Whether anybody hears it makes no difference.
    pub(super) async fn failed(&self, error: &crate::Error) {
        let error = Some(error.to_string());
        drop(self.tell(BuildEvent::Completed { vertex: self.digest, cached: false, error, image: None }).await);
    }
}
