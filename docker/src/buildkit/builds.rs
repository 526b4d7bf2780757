//! Builds under way, by the reference that their client chose.
//!
//! One call (`Control.Solve`) stays open as long as the build; others speak of it by its reference: they may come first,
//! and wait a moment for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use engine::build::Built;
use engine::image::Reference;
use tokio::sync::{Notify, mpsc, oneshot};
use tonic::Status;

/// Builds at once; the engine itself has fewer at work.
const BUILDS_MAX: usize = 128;
/// Results of one build; each target of a client has one.
const RESULTS_MAX: usize = 64;
/// How long calls wait for the build that they speak of.
const APPEARS_MAX: Duration = Duration::from_secs(10);
/// Messages of progress that wait for a slow client.
const MESSAGES_MAX: usize = 256;

/// What is made of a build's result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// An image under these names.
    Image(Vec<Reference>),
    /// The files, as a tar sent to the client.
    Tar,
    /// The files, one by one, sent to the client.
    Files,
    /// Nothing.
    Nothing,
}

/// What came of a front-end.
#[derive(Debug)]
pub(super) struct Solved {
    /// How the client refers to it.
    pub(super) id: String,
    /// The build's result; none for answers to questions.
    pub(super) built: Option<Mutex<Built>>,
    /// What goes with it.
    pub(super) metadata: HashMap<String, Vec<u8>>,
}

/// What a client says at the end: the result that is meant, or why there is none.
pub(super) type Returned = Result<Option<String>, Status>;

/// One build.
#[derive(Debug)]
pub(super) struct Build {
    /// Whose it is.
    pub(super) session: String,
    /// What is made of it.
    pub(super) output: Output,
    /// What the client allows.
    pub(super) entitlements: Vec<String>,
    progress: mpsc::Sender<StatusResponse>,
    listener: Mutex<Option<mpsc::Receiver<StatusResponse>>>,
    results: Mutex<HashMap<String, Arc<Solved>>>,
    end: Mutex<Option<oneshot::Sender<Returned>>>,
}

impl Build {
    /// Tells progress; waits for a slow client, and nobody for one that is gone.
    pub(super) async fn tell(&self, message: StatusResponse) {
        // Nobody may ever listen; then a build must not wait.
        drop(tokio::time::timeout(APPEARS_MAX, self.progress.send(message)).await);
    }

    /// The progress, for the one client that asks first.
    pub(super) fn listen(&self) -> Option<mpsc::Receiver<StatusResponse>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Keeps a result for the calls that refer to it.
    ///
    /// # Errors
    /// When there are too many.
    pub(super) fn keep(&self, solved: Solved) -> Result<Arc<Solved>, Status> {
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        if results.len() >= RESULTS_MAX {
            return Err(Status::resource_exhausted(format!("a build has at most {RESULTS_MAX} results")));
        }
        let solved = Arc::new(solved);
        results.insert(solved.id.clone(), Arc::clone(&solved));
        Ok(solved)
    }

    /// The result that a client refers to.
    ///
    /// # Errors
    /// When there is none of this id.
    pub(super) fn result(&self, id: &str) -> Result<Arc<Solved>, Status> {
        let results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        results.get(id).cloned().ok_or_else(|| Status::not_found(format!("no such ref: {id}")))
    }

    /// Ends the build with what the client says.
    ///
    /// # Errors
    /// When it has ended before.
    pub(super) fn end(&self, returned: Returned) -> Result<(), Status> {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner).take();
        let end = end.ok_or_else(|| Status::failed_precondition("the build has returned already"))?;
        // Nobody waits for a build that was cancelled.
        drop(end.send(returned));
        Ok(())
    }
}

type Table = Arc<Mutex<HashMap<String, Arc<Build>>>>;

/// All builds.
#[derive(Debug, Default)]
pub(super) struct Builds {
    open: Table,
    changed: Notify,
}

/// A build that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    id: String,
    pub(super) build: Arc<Build>,
    /// What the client says at the end.
    pub(super) returned: oneshot::Receiver<Returned>,
    open: Table,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl Builds {
    /// Opens a build.
    ///
    /// # Errors
    /// When its reference is taken, or there are too many.
    pub(super) fn begin(
        &self,
        id: &str,
        session: &str,
        output: Output,
        entitlements: Vec<String>,
    ) -> Result<Running, Status> {
        let (progress, listener) = mpsc::channel(MESSAGES_MAX);
        let (end, returned) = oneshot::channel();
        let build = Arc::new(Build {
            session: session.to_owned(),
            output,
            entitlements,
            progress,
            listener: Mutex::new(Some(listener)),
            results: Mutex::default(),
            end: Mutex::new(Some(end)),
        });
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= BUILDS_MAX {
            return Err(Status::resource_exhausted(format!("{BUILDS_MAX} builds are under way")));
        }
        if open.contains_key(id) {
            return Err(Status::already_exists(format!("a build with the reference {id} is under way")));
        }
        open.insert(id.to_owned(), Arc::clone(&build));
        drop(open);
        self.changed.notify_waiters();
        Ok(Running { id: id.to_owned(), build, returned, open: Arc::clone(&self.open) })
    }

    /// The build of this reference, once it is open.
    ///
    /// # Errors
    /// When it does not appear.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<Build>, Status> {
        let appears = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let found = self.open.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
                match found {
                    Some(build) => return build,
                    None => changed.await,
                }
            }
        };
        let missing = |_| Status::not_found(format!("no such job {id}"));
        tokio::time::timeout(APPEARS_MAX, appears).await.map_err(missing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_build_is_known_from_its_beginning_to_its_end() {
        let builds = Builds::default();
        let (early, running) = tokio::join!(builds.get("r"), async { builds.begin("r", "s", Output::Tar, Vec::new()) });
        let (early, running) = (early.unwrap(), running.unwrap());
        assert!(Arc::ptr_eq(&early, &running.build));
        assert_eq!(builds.begin("r", "s", Output::Tar, Vec::new()).unwrap_err().code(), tonic::Code::AlreadyExists);
        assert!(early.listen().is_some() && early.listen().is_none());
        early.end(Ok(Some("x".into()))).unwrap();
        assert!(early.end(Ok(None)).is_err());
        assert_eq!(early.result("x").unwrap_err().code(), tonic::Code::NotFound);
        drop(running);
        assert_eq!(builds.get("r").await.unwrap_err().message(), "no such job r");
    }
}
