//! Memory of a process as the kernel counts it: proportional and private.

use std::fs;

/// Kibibytes of some processes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Memory {
    /// Proportional set size: shared pages divided among those who share them.
    pub(crate) pss_kib: u64,
    /// Pages that are this process's alone and written.
    pub(crate) private_dirty_kib: u64,
    /// How many processes were counted.
    pub(crate) processes: u64,
}

impl Memory {
    /// Of every process of `pids` whose command (as the kernel keeps it: 15 characters) is one of `names`.
    pub(crate) fn of(pids: &[i32], names: &[&str]) -> Self {
        let mut sum = Self::default();
        for pid in pids {
            let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            if names.contains(&comm.trim()) {
                let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
                sum.pss_kib += field(&text, "Pss:");
                sum.private_dirty_kib += field(&text, "Private_Dirty:");
                sum.processes += 1;
            }
        }
        sum
    }

    /// Megabytes of PSS.
    pub(crate) fn pss_mb(&self) -> f64 {
        mb(self.pss_kib)
    }

    /// One line for people.
    pub(crate) fn shown(&self) -> String {
        format!(
            "{:.2} MB PSS, {:.2} MB private dirty, {} processes",
            mb(self.pss_kib),
            mb(self.private_dirty_kib),
            self.processes
        )
    }
}

fn mb(kib: u64) -> f64 {
    f64::from(u32::try_from(kib).unwrap_or(u32::MAX)) / 1024.0
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
