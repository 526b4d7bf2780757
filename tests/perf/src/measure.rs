//! Taking a figure: wall time of a command, CPU time of everything under a cgroup, and what a series says.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Milliseconds of a series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    /// Wall time of each round.
    pub(crate) wall_ms: Vec<f64>,
    /// CPU time of each round, where it was taken.
    pub(crate) cpu_ms: Vec<f64>,
}

impl Series {
    /// The median of the wall times.
    pub(crate) fn median(&self) -> f64 {
        percentile(&self.wall_ms, 50)
    }

    /// The shortest wall time.
    pub(crate) fn min(&self) -> f64 {
        self.wall_ms.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The median of the CPU times; NaN when none were taken.
    pub(crate) fn cpu(&self) -> f64 {
        percentile(&self.cpu_ms, 50)
    }
}

/// A percentile of some figures; NaN of none.
pub(crate) fn percentile(figures: &[f64], percent: usize) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    sorted.get(last * percent / 100).copied().unwrap_or(f64::NAN)
}

/// A cgroup that counts the CPU time of whatever runs in it or below.
#[derive(Debug)]
pub(crate) struct CpuMeter {
    dir: PathBuf,
    usage: PathBuf,
    is_v2: bool,
    owned: bool,
}

impl CpuMeter {
    /// A meter on the cgroup `name` (a path from the hierarchy's top), which is made when it is not there.
    pub(crate) fn on(name: &str) -> Self {
        let name = name.trim_start_matches('/');
        let v1 = PathBuf::from("/sys/fs/cgroup/cpuacct");
        let is_v2 = !v1.exists();
        let dir = if is_v2 { PathBuf::from("/sys/fs/cgroup").join(name) } else { v1.join(name) };
        let owned = !dir.exists();
        fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("make cgroup {}: {e}", dir.display()));
        let usage = dir.join(if is_v2 { "cpu.stat" } else { "cpuacct.usage" });
        Self { dir, usage, is_v2, owned }
    }

    /// Milliseconds of CPU used so far.
    pub(crate) fn read_ms(&self) -> f64 {
        let text = fs::read_to_string(&self.usage).unwrap_or_default();
        if self.is_v2 {
            let line = text.lines().find_map(|l| l.strip_prefix("usage_usec "));
            return line.and_then(|n| n.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1e3;
        }
        text.trim().parse::<f64>().unwrap_or(f64::NAN) / 1e6
    }

    /// Moves processes into it (into a leaf below, as v2 demands where there are children).
    pub(crate) fn take_in(&self, pids: &[i32]) {
        let leaf = self.dir.join("engine");
        let _ = fs::create_dir(&leaf);
        for pid in pids {
            // One that has just ended need not be moved.
            let _ = fs::write(leaf.join("cgroup.procs"), pid.to_string());
        }
    }

    /// A command that puts itself into the cgroup and becomes `program`.
    pub(crate) fn command(&self, program: &std::ffi::OsStr, args: &[&str]) -> Command {
        let mut command = Command::new("/bin/busybox");
        command.args(["sh", "-c", "echo 0 > \"$0\" && exec \"$@\""]).arg(self.dir.join("cgroup.procs"));
        command.arg(program).args(args);
        command
    }
}

impl Drop for CpuMeter {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.dir.join("engine"));
        if self.owned {
            let _ = fs::remove_dir(&self.dir);
        }
    }
}

/// Runs a command to its end and adds its times to `series`.
pub(crate) fn time(series: &mut Series, meter: &CpuMeter, mut command: Command) {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (cpu, start) = (meter.read_ms(), Instant::now());
    let output = command.output().unwrap_or_else(|e| panic!("start {command:?}: {e}"));
    series.wall_ms.push(ms(start.elapsed()));
    series.cpu_ms.push(meter.read_ms() - cpu);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}: {said}", output.status);
}

/// A duration in milliseconds.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
