//! Waiting for a container's end: waiters are noted at once and answered by the driver, after it has published.

use std::sync::{Arc, PoisonError};

use tokio::sync::oneshot;

use crate::container::handle::ContainerCell;
use crate::container::{Phase, WaitCondition, WaitOutcome};
use crate::error::{Error, Result};

/// Those who wait, and what they would have been told had they come too late.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Vec<(WaitCondition, oneshot::Sender<WaitOutcome>)>,
    removed: Option<WaitOutcome>,
}

/// Notes a waiter before it returns.
pub(crate) fn begin(
    cell: &Arc<ContainerCell>,
    condition: WaitCondition,
) -> impl Future<Output = Result<WaitOutcome>> + Send + 'static {
    let (sender, answer) = oneshot::channel();
    let id = cell.id.clone();
    {
        // The driver publishes first and takes this lock after: what is not seen here is answered there.
        let mut waiters = cell.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let view = cell.view();
        let at_rest = !matches!(view.phase, Phase::Starting | Phase::Running | Phase::Paused | Phase::Restarting);
        let now = WaitOutcome { exit_code: view.exit_code, error: String::new() };
        match (&waiters.removed, condition) {
            (Some(outcome), _) => drop(sender.send(outcome.clone())),
            (None, WaitCondition::NotRunning) if at_rest => drop(sender.send(now)),
            (None, _) => {
                waiters.waiting.retain(|(_, waiter)| !waiter.is_closed());
                waiters.waiting.push((condition, sender));
            }
        }
    }
    async move { answer.await.map_err(|_| Error::internal(format!("the wait for container {id} was cut off"))) }
}

impl ContainerCell {
    /// A run has ended; `at_rest` when no restart follows.
    pub(crate) fn wake_exited(&self, outcome: &WaitOutcome, at_rest: bool) {
        self.wake(outcome, |condition| match condition {
            WaitCondition::NextExit => true,
            WaitCondition::NotRunning => at_rest,
            WaitCondition::Removed => false,
        });
    }
    /// It is at rest without a run having ended (a start failed, a back-off was cut short).
    pub(crate) fn wake_at_rest(&self, outcome: &WaitOutcome) {
        self.wake(outcome, |condition| condition == WaitCondition::NotRunning);
    }
    /// It is gone: everyone is answered, also those who come later with an old handle.
    pub(crate) fn wake_removed(&self, outcome: &WaitOutcome) {
        self.wake(outcome, |_| true);
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner).removed = Some(outcome.clone());
    }
    /// It could not be removed: those who wait for that learn why.
    pub(crate) fn wake_remove_failed(&self, outcome: &WaitOutcome) {
        self.wake(outcome, |condition| condition == WaitCondition::Removed);
    }

    fn wake(&self, outcome: &WaitOutcome, over: impl Fn(WaitCondition) -> bool) {
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, still): (Vec<_>, Vec<_>) = std::mem::take(&mut waiters.waiting).into_iter().partition(|w| over(w.0));
        waiters.waiting = still;
        for (_, waiter) in done {
            // One that has gone away is no loss.
            drop(waiter.send(outcome.clone()));
        }
    }
}
