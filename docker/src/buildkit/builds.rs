//! Builds under way, by the reference that their client chose.
//!
//! One call (`Control.Solve`) stays open as long as the build; others speak of it by its reference: they may come first,
//! and wait a moment for it. Whoever asks for the progress of a short build may come when it is over: what was told is kept
//! for a moment, as BuildKit keeps its jobs.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard_buildkit_proto::moby::buildkit::v1::StatusResponse;
use engine::build::Built;
use engine::image::Reference;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

/// Builds at once; the engine itself has fewer at work.
const BUILDS_MAX: usize = 128;
/// Results of one build; each target of a client has one.
const RESULTS_MAX: usize = 64;
/// How long calls wait for the build that they speak of.
const APPEARS_MAX: Duration = Duration::from_secs(10);
/// Messages of progress that wait for a slow client.
const MESSAGES_MAX: usize = 256;
/// How long the progress of a build that is over waits for its client.
const UNHEARD_TIME_MAX: Duration = Duration::from_secs(10);
/// Builds that are over and whose progress waits; the oldest go.
const UNHEARD_MAX: usize = 32;

/// What a build tells of itself.
pub(super) type Telling = mpsc::Receiver<StatusResponse>;

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
    /// None once the build is over, so that its listener sees the end whoever still holds the build.
    progress: Mutex<Option<mpsc::Sender<StatusResponse>>>,
    listener: Mutex<Option<Telling>>,
    results: Mutex<HashMap<String, Arc<Solved>>>,
    end: Mutex<Option<oneshot::Sender<Returned>>>,
}

impl Build {
    /// Tells progress; waits for a slow client, and not for one that is gone.
    pub(super) async fn tell(&self, message: StatusResponse) {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(progress) = progress else { return };
        let told = tokio::time::timeout(APPEARS_MAX, progress.send(message)).await;
        let nobody_listens = || self.listener.lock().unwrap_or_else(PoisonError::into_inner).is_some();
        if told.is_err() && nobody_listens() {
            // Nobody may ever listen; then a build must not wait again.
            self.close();
        }
    }

    /// The progress, for the one client that asks first.
    fn listen(&self) -> Option<Telling> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn close(&self) {
        drop(self.progress.lock().unwrap_or_else(PoisonError::into_inner).take());
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

#[derive(Debug, Default)]
struct Table {
    open: HashMap<String, Arc<Build>>,
    /// Progress of builds that are over, the oldest first.
    unheard: VecDeque<(Instant, String, Telling)>,
}

impl Table {
    fn end(&mut self, id: &str) {
        let Some(build) = self.open.remove(id) else { return };
        build.close();
        if let Some(telling) = build.listen() {
            while self.unheard.len() >= UNHEARD_MAX {
                self.unheard.pop_front();
            }
            self.unheard.push_back((Instant::now(), id.to_owned(), telling));
        }
    }

    fn forget_old(&mut self) {
        self.unheard.retain(|(ended, ..)| ended.elapsed() < UNHEARD_TIME_MAX);
    }

    /// None while there is no build of this reference.
    fn listen(&mut self, id: &str) -> Option<Result<Telling, Status>> {
        self.forget_old();
        if let Some(build) = self.open.get(id) {
            let taken = || Status::already_exists("somebody follows this build already");
            return Some(build.listen().ok_or_else(taken));
        }
        let at = self.unheard.iter().position(|(_, of, _)| of == id)?;
        self.unheard.remove(at).map(|(.., telling)| Ok(telling))
    }
}

/// All builds.
#[derive(Debug, Default)]
pub(super) struct Builds {
    table: Arc<Mutex<Table>>,
    changed: Notify,
}

/// A build that is open until this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    id: String,
    pub(super) build: Arc<Build>,
    /// What the client says at the end.
    pub(super) returned: oneshot::Receiver<Returned>,
    table: Arc<Mutex<Table>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).end(&self.id);
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
            progress: Mutex::new(Some(progress)),
            listener: Mutex::new(Some(listener)),
            results: Mutex::default(),
            end: Mutex::new(Some(end)),
        });
        let mut table = self.table();
        table.forget_old();
        if table.open.len() >= BUILDS_MAX {
            return Err(Status::resource_exhausted(format!("{BUILDS_MAX} builds are under way")));
        }
        if table.open.contains_key(id) {
            return Err(Status::already_exists(format!("a build with the reference {id} is under way")));
        }
        table.unheard.retain(|(_, of, _)| of != id);
        table.open.insert(id.to_owned(), Arc::clone(&build));
        drop(table);
        self.changed.notify_waiters();
        Ok(Running { id: id.to_owned(), build, returned, table: Arc::clone(&self.table) })
    }

    /// The build of this reference, once it is open.
    ///
    /// # Errors
    /// When it does not appear.
    pub(super) async fn get(&self, id: &str) -> Result<Arc<Build>, Status> {
        self.appears(id, |table| table.open.get(id).cloned()).await
    }

    /// The progress of the build of this reference, once it is open, or when it was over a moment ago.
    ///
    /// # Errors
    /// When it does not appear, or somebody else has its progress.
    pub(super) async fn listen(&self, id: &str) -> Result<Telling, Status> {
        self.appears(id, |table| table.listen(id)).await?
    }

    async fn appears<T>(&self, id: &str, mut find: impl FnMut(&mut Table) -> Option<T>) -> Result<T, Status> {
        let appears = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                let found = find(&mut self.table());
                match found {
                    Some(found) => return found,
                    None => changed.await,
                }
            }
        };
        let missing = |_| Status::not_found(format!("no such job {id}"));
        tokio::time::timeout(APPEARS_MAX, appears).await.map_err(missing)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn message() -> StatusResponse {
        StatusResponse::default()
    }

    #[tokio::test(start_paused = true)]
    async fn progress_waits_a_moment_for_a_client_that_comes_when_the_build_is_over() {
        let builds = Builds::default();
        let running = builds.begin("r", "s", Output::Nothing, Vec::new()).unwrap();
        let held = Arc::clone(&running.build);
        running.build.tell(message()).await;
        drop(running);
        held.tell(message()).await;
        let mut telling = builds.listen("r").await.unwrap();
        assert!(telling.recv().await.is_some() && telling.recv().await.is_none(), "one message, then the end");
        assert_eq!(builds.listen("r").await.unwrap_err().code(), tonic::Code::NotFound);
        for number in 0..=UNHEARD_MAX {
            drop(builds.begin(&number.to_string(), "s", Output::Nothing, Vec::new()).unwrap());
        }
        assert!(builds.listen("0").await.is_err(), "the oldest went");
        drop(builds.begin("late", "s", Output::Nothing, Vec::new()).unwrap());
        tokio::time::advance(UNHEARD_TIME_MAX).await;
        assert!(builds.listen("late").await.is_err() && builds.table().unheard.is_empty(), "its time is over");
    }

    #[tokio::test(start_paused = true)]
    async fn the_progress_ends_with_the_build_and_nobody_listening_stops_it_once() {
        let builds = Builds::default();
        let running = builds.begin("r", "s", Output::Nothing, Vec::new()).unwrap();
        let (held, mut telling) = (Arc::clone(&running.build), builds.listen("r").await.unwrap());
        assert_eq!(builds.listen("r").await.unwrap_err().code(), tonic::Code::AlreadyExists);
        drop(running);
        assert!(telling.recv().await.is_none(), "over, though the build is held");
        drop(held);
        let unheard = builds.begin("u", "s", Output::Nothing, Vec::new()).unwrap();
        let begun = Instant::now();
        for _ in 0..MESSAGES_MAX + 100 {
            unheard.build.tell(message()).await;
        }
        assert_eq!(begun.elapsed(), APPEARS_MAX, "one wait for all of them");
    }
}
