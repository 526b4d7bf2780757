//! Health checks: the timing and judging are pure; the runner asks by exec and tells the driver.

use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::container::driver::ContainerDriver;
use crate::container::handle::Command;
use crate::container::{ContainerHandle, HealthView};
use crate::error::ErrorKind;
use crate::event::now_ns;
use crate::spec::{ExecSpec, HealthSpec};

const INTERVAL_DEFAULT: Duration = Duration::from_secs(30);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
const START_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
const RETRIES_DEFAULT: u32 = 3;
/// Results that are shown.
const LOG_LEN_MAX: usize = 5;
/// Bytes of a probe's output that are shown.
const OUTPUT_BYTES_MAX: usize = 4096;
/// The exit code of a probe that could not be run or took too long.
const CODE_NO_ANSWER: i32 = -1;

/// A health check with its defaults applied. PURE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe {
    command: Vec<String>,
    interval: Duration,
    timeout: Duration,
    start_period: Duration,
    start_interval: Duration,
    retries: u32,
}

/// What one probe answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    begun_ns: i64,
    ended_ns: i64,
    code: i32,
    output: String,
}

impl Probe {
    /// `None` when there is nothing to run.
    pub(crate) fn from_spec(spec: &HealthSpec, shell: &[&str]) -> Option<Self> {
        let rest: Vec<String> = spec.test.iter().skip(1).cloned().collect();
        let command = match spec.test.first().map(String::as_str) {
            Some("CMD") if !rest.is_empty() => rest,
            Some("CMD-SHELL") if !rest.is_empty() => {
                shell.iter().map(|word| (*word).to_owned()).chain([rest.join(" ")]).collect()
            }
            _ => return None,
        };
        let or = |ns: i64, default: Duration| match u64::try_from(ns) {
            Ok(ns) if ns > 0 => Duration::from_nanos(ns),
            _ => default,
        };
        Some(Self {
            command,
            interval: or(spec.interval_ns, INTERVAL_DEFAULT),
            timeout: or(spec.timeout_ns, TIMEOUT_DEFAULT),
            start_period: or(spec.start_period_ns, Duration::ZERO),
            start_interval: or(spec.start_interval_ns, START_INTERVAL_DEFAULT),
            retries: if spec.retries == 0 { RETRIES_DEFAULT } else { spec.retries },
        })
    }

    /// The wait before the next probe, `since_start` after the start.
    fn next_wait(&self, health: &HealthView, since_start: Duration) -> Duration {
        if health.status == "starting" && since_start < self.start_period {
            self.start_interval.min(self.interval)
        } else {
            self.interval
        }
    }

    /// The health after `answer`: a success is healthy at once; failures count from the end of the start period on.
    fn judge(&self, health: &HealthView, answer: Answer, since_start: Duration) -> HealthView {
        let mut next = health.clone();
        if answer.code == 0 {
            next.status = "healthy".to_owned();
            next.failing_streak = 0;
        } else if health.status != "starting" || since_start >= self.start_period {
            next.failing_streak += 1;
            if next.failing_streak >= self.retries {
                next.status = "unhealthy".to_owned();
            }
        }
        next.log.push((answer.begun_ns, answer.ended_ns, answer.code, answer.output));
        let surplus = next.log.len().saturating_sub(LOG_LEN_MAX);
        next.log.drain(..surplus);
        next
    }
}

/// Runs probes until it is dropped.
#[derive(Debug)]
pub(crate) struct HealthRunner(AbortHandle);

impl Drop for HealthRunner {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ContainerDriver {
    /// Begins to probe a run that has just begun.
    pub(crate) fn begin_health(&mut self) {
        self.health = None;
        let spec = self.record.health.as_ref();
        let Some(probe) = spec.and_then(|spec| Probe::from_spec(spec, &["/bin/sh", "-c"])) else {
            self.live.health = None;
            return;
        };
        let health = HealthView { status: "starting".to_owned(), ..Default::default() };
        self.live.health = Some(health.clone());
        let handle = ContainerHandle { core: self.core.clone(), cell: self.cell.clone() };
        let task = tokio::spawn(run(handle, probe, health, self.run).in_current_span());
        self.health = Some(HealthRunner(task.abort_handle()));
    }

    /// A probe has answered.
    pub(crate) async fn health_answered(&mut self, run: u64, health: HealthView, changed: bool) {
        if run != self.run || self.health.is_none() {
            return;
        }
        let action = format!("health_status: {}", health.status);
        self.live.health = Some(health);
        self.publish();
        if changed {
            self.event(&action, &[]).await;
        }
    }
}

async fn run(container: ContainerHandle, probe: Probe, mut health: HealthView, run: u64) {
    let begun = Instant::now();
    loop {
        tokio::time::sleep(probe.next_wait(&health, begun.elapsed())).await;
        let answer = ask(&container, &probe).await;
        let next = probe.judge(&health, answer, begun.elapsed());
        let changed = next.status != health.status;
        health = next.clone();
        if container.cell.mailbox.send(Command::Health { run, health: next, changed }).await.is_err() {
            return;
        }
    }
}

async fn ask(container: &ContainerHandle, probe: &Probe) -> Answer {
    let begun_ns = now_ns();
    let result = container.exec_output(
        ExecSpec { args: probe.command.clone(), stdout: true, stderr: true, ..Default::default() },
        Some(probe.timeout),
        OUTPUT_BYTES_MAX,
    );
    let (code, output) = match result.await {
        Ok(output) => {
            let mut text = output.stdout;
            text.extend_from_slice(&output.stderr);
            text.truncate(OUTPUT_BYTES_MAX);
            (output.exit_code, String::from_utf8_lossy(&text).into_owned())
        }
        Err(error) if error.kind() == ErrorKind::DeadlineExceeded => {
            (CODE_NO_ANSWER, format!("Health check exceeded timeout ({:?})", probe.timeout))
        }
        Err(error) => (error.exit_code().unwrap_or(CODE_NO_ANSWER), error.to_string()),
    };
    Answer { begun_ns, ended_ns: now_ns(), code, output }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe() -> Probe {
        let spec = HealthSpec {
            test: vec!["CMD-SHELL".into(), "test -e /up".into()],
            start_period_ns: 10_000_000_000,
            retries: 2,
            ..Default::default()
        };
        Probe::from_spec(&spec, &["/bin/sh", "-c"]).unwrap()
    }

    fn answer(code: i32) -> Answer {
        Answer { begun_ns: 0, ended_ns: 1, code, output: String::new() }
    }

    fn starting() -> HealthView {
        HealthView { status: "starting".into(), ..Default::default() }
    }

    #[test]
    fn failures_in_the_start_period_do_not_count() {
        let early = Duration::from_secs(9);
        let mut health = starting();
        for _ in 0..5 {
            health = probe().judge(&health, answer(1), early);
        }
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 0));
        let late = Duration::from_secs(10);
        health = probe().judge(&health, answer(1), late);
        assert_eq!((health.status.as_str(), health.failing_streak), ("starting", 1));
        health = probe().judge(&health, answer(1), late);
        assert_eq!(health.status, "unhealthy");
        assert_eq!(probe().judge(&health, answer(0), late).status, "healthy");
    }

    #[test]
    fn a_success_in_the_start_period_ends_it() {
        let early = Duration::from_secs(1);
        let healthy = probe().judge(&starting(), answer(0), early);
        assert_eq!(healthy.status, "healthy");
        assert_eq!(probe().judge(&healthy, answer(1), early).failing_streak, 1);
        assert_eq!(probe().next_wait(&starting(), early), START_INTERVAL_DEFAULT);
        assert_eq!(probe().next_wait(&healthy, early), INTERVAL_DEFAULT);
    }

    #[test]
    fn none_means_no_check() {
        for test in [vec!["NONE".to_owned()], vec![], vec!["CMD".to_owned()]] {
            assert_eq!(Probe::from_spec(&HealthSpec { test, ..Default::default() }, &["sh", "-c"]), None);
        }
    }

    #[test]
    fn only_the_last_five_results_are_kept() {
        let mut health = starting();
        for _ in 0..9 {
            health = probe().judge(&health, answer(0), Duration::ZERO);
        }
        assert_eq!(health.log.len(), 5);
    }
}
