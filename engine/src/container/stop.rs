//! Stop, kill and what follows the end of a process.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::container::STOP_GRACE_DEFAULT;
use crate::container::driver::ContainerDriver;
use crate::container::handle::Reply;
use crate::container::record::Live;
use crate::container::restart_policy::{self, Ended};
use crate::container::signal;
use crate::container::state::{ContainerState, Input};
use crate::error::{ErrorKind, Result};
use crate::failpoint::failpoint;
use crate::sandbox::handle::Command as SandboxCommand;
use crate::task::{ProcessExit, ProcessRef};

/// After SIGKILL a process that cannot die (D state) is not waited for longer than this; its end is still seen.
const KILL_WAIT: Duration = Duration::from_secs(10);

impl ContainerDriver {
    /// Asks it to end. The reply comes with its end.
    pub(crate) async fn stop(&mut self, grace: Option<Duration>, signal: Option<u32>, reply: Reply) {
        match self.begin_stop(grace, signal).await {
            Ok(true) => self.stopping.stops.push(reply),
            Ok(false) => drop(reply.send(Ok(()))),
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// True when a process is to end; false when it is at rest already (a back-off was cut short).
    async fn begin_stop(&mut self, grace: Option<Duration>, signal: Option<u32>) -> Result<bool> {
        let next = self.ask_rules(Input::Stop)?;
        let before = self.record.state;
        self.record.stopped_by_user = true;
        self.record.state = next;
        if before == ContainerState::Restarting {
            self.rest_from_backoff().await;
            return Ok(false);
        }
        self.store_observed().await;
        self.publish();
        let signal = signal.unwrap_or_else(|| self.stop_signal());
        let grace = grace.unwrap_or_else(|| self.stop_grace()).min(self.core.config.limits.stop_grace());
        let deadline = Instant::now() + grace;
        self.stopping.kill_at = Some(self.stopping.kill_at.map_or(deadline, |at| at.min(deadline)));
        if grace.is_zero() {
            // Due at once: the stop signal would not be obeyed in time anyway.
            return Ok(true);
        }
        self.send_signal(signal).await?;
        if before == ContainerState::Paused {
            self.thaw().await;
        }
        Ok(true)
    }

    /// Sends a signal to the first process.
    pub(crate) async fn kill(&mut self, number: u32) -> Result<()> {
        let next = self.ask_rules(Input::Kill)?;
        let before = self.record.state;
        if before == ContainerState::Restarting {
            self.record.state = next;
            self.record.stopped_by_user = true;
            self.rest_from_backoff().await;
            return Ok(());
        }
        if number == signal::KILL || number == self.stop_signal() {
            // As docker has it: who kills by hand does not want it to come back.
            self.record.stopped_by_user = true;
        }
        self.send_signal(number).await?;
        if before == ContainerState::Paused && number == signal::KILL {
            self.thaw().await;
        }
        Ok(())
    }

    /// Stops and starts; the reply comes with the start.
    pub(crate) async fn restart(&mut self, grace: Option<Duration>, signal: Option<u32>, reply: Reply) {
        match self.begin_stop(grace, signal).await {
            Ok(true) => self.stopping.restarts.push(reply),
            Err(error) if error.kind() != ErrorKind::NotModified => drop(reply.send(Err(error))),
            Ok(false) | Err(_) => {
                let result = self.start_by_user().await;
                if result.is_ok() {
                    self.event("restart", &[]).await;
                }
                drop(reply.send(result));
            }
        }
    }

    /// The time for a gentle end is over.
    pub(crate) async fn kill_due(&mut self) {
        self.stopping.kill_at = None;
        if let Err(error) = self.send_signal(signal::KILL).await {
            tracing::warn!(%error, "a container that did not stop in time could not be killed");
        }
        // A frozen process does not even take SIGKILL on cgroup v1.
        self.thaw().await;
        self.stopping.give_up_at = Some(Instant::now() + KILL_WAIT);
    }

    /// It was killed and does not end (a process in an uninterruptible call): who waits is told. It stays asked to
    /// end, and its exit is taken whenever it comes.
    pub(crate) fn give_up_due(&mut self) {
        self.stopping.give_up_at = None;
        let id = &self.record.id;
        let why = format!("tried to kill container {id}, but did not receive an exit event");
        let error = crate::Error::new(ErrorKind::DeadlineExceeded, why);
        let waiting = std::mem::take(&mut self.stopping);
        let removes = waiting.removes.into_iter().map(|(_, reply)| reply);
        for reply in waiting.stops.into_iter().chain(waiting.restarts).chain(removes) {
            drop(reply.send(Err(error.clone())));
        }
    }

    async fn send_signal(&self, number: u32) -> Result<()> {
        let process = ProcessRef::first(&self.record.id);
        let sent = self.cell.shim()?.kill(&process, number, false).await;
        match sent {
            // It has ended and its exit is on the way.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Unavailable) => {}
            other => other?,
        }
        self.event("kill", &[("signal", number.to_string())]).await;
        Ok(())
    }

    async fn thaw(&self) {
        if let Ok(shim) = self.cell.shim()
            && let Err(error) = shim.resume(&self.record.id).await
        {
            tracing::debug!(%error, "a container that is to end could not be thawed");
        }
    }

    async fn rest_from_backoff(&mut self) {
        self.restart_at = None;
        self.store_observed().await;
        self.publish();
        self.cell.wake_at_rest(&self.outcome());
    }

    /// The signal that asks it to end.
    pub(crate) fn stop_signal(&self) -> u32 {
        signal::parse(&self.record.resolved.stop_signal).unwrap_or(signal::TERM)
    }

    fn stop_grace(&self) -> Duration {
        match self.record.spec.stop_timeout_s {
            // Negative: wait for ever, as far as the configuration lets.
            Some(seconds) => u64::try_from(seconds).map_or(Duration::MAX, Duration::from_secs),
            None => STOP_GRACE_DEFAULT,
        }
    }

    /// Its process has ended. True when the container is gone with it.
    #[tracing::instrument(level = "debug", skip_all, fields(code = exit.code))]
    pub(crate) async fn exited(&mut self, exit: ProcessExit) -> bool {
        let backoff = self.next_backoff(&exit);
        let Ok(next) = self.ask_rules(Input::Exited { restart: backoff.is_some() }) else {
            tracing::warn!(state = ?self.record.state, "an exit came in a state that has no process");
            return false;
        };
        let ran_ns = (exit.at_ns - self.record.started_ns).max(0);
        let asked_to_end = self.record.state == ContainerState::Stopping;
        self.record.state = next;
        self.record.pid = 0;
        self.record.exit_code = exit.code;
        self.record.oom_killed = exit.oom_killed;
        self.record.error = exit.error.clone();
        self.record.finished_ns = exit.at_ns;
        self.health = None;
        // The exit code is stored before anything that could lose it is taken down; with a full disk it is in memory.
        self.store_observed().await;
        if let Err(error) = failpoint("exit.stored") {
            tracing::warn!(%error, "failpoint");
        }
        self.take_process_down().await;
        self.volume_events("unmount").await;
        self.live = Live { unstored: self.live.unstored.take(), ..Live::default() };
        self.publish();
        self.exit_events(&exit, ran_ns, asked_to_end).await;
        self.cell.wake_exited(&self.outcome(), self.record.state.is_at_rest());
        self.after_exit(backoff).await
    }

    fn next_backoff(&self, exit: &ProcessExit) -> Option<Duration> {
        let stopping = !self.stopping.restarts.is_empty() || !self.stopping.removes.is_empty();
        if stopping {
            return None;
        }
        let ran_ns = u64::try_from(exit.at_ns - self.record.started_ns).unwrap_or(0);
        let ended = Ended {
            exit_code: exit.code,
            ran_for: Duration::from_nanos(ran_ns),
            stopped_by_user: self.record.stopped_by_user,
            restarts: self.record.restart_count,
            last_backoff: self.backoff,
        };
        restart_policy::next_start(self.record.spec.restart, ended)
    }

    /// A restart by policy that could not even start counts as a run without length.
    pub(crate) async fn plan_restart_after_failure(&mut self, code: i32) {
        let ended = Ended {
            exit_code: code,
            ran_for: Duration::ZERO,
            stopped_by_user: self.record.stopped_by_user,
            restarts: self.record.restart_count,
            last_backoff: self.backoff,
        };
        if let Some(backoff) = restart_policy::next_start(self.record.spec.restart, ended) {
            self.record.state = ContainerState::Restarting;
            self.schedule_restart(backoff);
            self.store_observed().await;
            self.publish();
        }
    }

    fn schedule_restart(&mut self, backoff: Duration) {
        self.backoff = Some(backoff);
        self.restart_at = Some(Instant::now() + backoff);
    }

    /// Gives back what the process had: execs, the task, and its own sandbox.
    async fn take_process_down(&mut self) {
        self.cell.execs.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let shim = self.cell.shim();
        self.set_shim(None);
        if let Ok(shim) = shim
            && let Err(error) = shim.delete(&ProcessRef::first(&self.record.id)).await
        {
            // What it leaves (its cgroup) goes with the sweep of its shim.
            tracing::warn!(%error, "a task that ended could not be deleted");
        }
        if self.record.owns_sandbox()
            && let Err(error) = self.sandbox.ask(SandboxCommand::Down).await
        {
            tracing::error!(%error, "the sandbox of a container that ended could not be taken down");
            self.record.error = error.to_string();
        }
    }

    async fn exit_events(&self, exit: &ProcessExit, ran_ns: i64, asked_to_end: bool) {
        if exit.oom_killed {
            self.event("oom", &[]).await;
        }
        if asked_to_end && !self.stopping.stops.is_empty() || !self.stopping.restarts.is_empty() {
            self.event("stop", &[]).await;
        }
        let seconds = (ran_ns / 1_000_000_000).to_string();
        self.event("die", &[("exitCode", exit.code.to_string()), ("execDuration", seconds)]).await;
    }

    /// What was waiting for the end, in order: stops, removals, restarts, the policy, auto-remove.
    async fn after_exit(&mut self, backoff: Option<Duration>) -> bool {
        let stopping = std::mem::take(&mut self.stopping);
        for reply in stopping.stops {
            drop(reply.send(Ok(())));
        }
        if !stopping.removes.is_empty() {
            for reply in stopping.restarts {
                let id = &self.record.id;
                drop(reply.send(Err(crate::Error::conflict(format!("container {id} is marked for removal")))));
            }
            return self.remove_for(stopping.removes).await;
        }
        if !stopping.restarts.is_empty() {
            let result = self.start_by_user().await;
            if result.is_ok() {
                self.event("restart", &[]).await;
            }
            for reply in stopping.restarts {
                drop(reply.send(result.clone()));
            }
            return false;
        }
        if let Some(backoff) = backoff {
            self.schedule_restart(backoff);
            return false;
        }
        if self.record.spec.auto_remove {
            return self.remove_automatically().await;
        }
        false
    }
}
