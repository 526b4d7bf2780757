//! The undo of a sequence of steps: each step pushes how to take it back, and a failure runs them in reverse.

use std::future::Future;
use std::pin::Pin;

use crate::error::Result;

type Undo = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = Result<()>> + Send>> + Send>;

/// A stack of undo steps. Dropped without [`Rollback::run`] or [`Rollback::keep`], it undoes nothing: a step that
/// was cut off by the end of the engine is taken back by recovery.
#[derive(Default)]
pub(crate) struct Rollback {
    steps: Vec<(&'static str, Undo)>,
}

impl std::fmt::Debug for Rollback {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|(name, _)| name)).finish()
    }
}

impl Rollback {
    /// Remembers how to take back what was just done; `what` names it in messages.
    pub(crate) fn push<F, Fut>(&mut self, what: &'static str, undo: F)
    where
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<()>> + Send + 'static,
    {
        self.steps.push((what, Box::new(move || Box::pin(undo()))));
    }
    /// All went well: nothing is taken back.
    pub(crate) fn keep(mut self) {
        self.steps.clear();
    }
    /// Takes everything back, last step first, going on after failures. Answers what could not be taken back.
    pub(crate) async fn run(mut self) -> Vec<String> {
        let mut failed = Vec::new();
        while let Some((what, undo)) = self.steps.pop() {
            if let Err(error) = undo().await {
                tracing::error!(what, %error, "a step could not be taken back");
                failed.push(format!("{what}: {error}"));
            }
        }
        failed
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::error::Error;

    #[tokio::test]
    async fn steps_are_taken_back_in_reverse_and_failures_do_not_stop_it() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut rollback = Rollback::default();
        for step in ["first", "second", "third"] {
            let seen = Arc::clone(&seen);
            rollback.push(step, move || async move {
                seen.lock().unwrap().push(step);
                if step == "second" { Err(Error::internal("stuck")) } else { Ok(()) }
            });
        }
        assert_eq!(rollback.run().await, ["second: stuck"]);
        assert_eq!(*seen.lock().unwrap(), ["third", "second", "first"]);
    }

    #[tokio::test]
    async fn what_is_kept_is_not_taken_back() {
        let mut rollback = Rollback::default();
        rollback.push("step", || async { panic!("taken back") });
        rollback.keep();
    }
}
