//! How fast CPU time is used: the difference of two readings that lie far enough apart.

use std::sync::{Mutex, PoisonError};

/// Readings nearer than this make no rate: a second of the clock of those who ask.
const APART_NS: i64 = 1_000_000_000;

#[derive(Debug, Clone, Copy)]
struct Reading {
    time_ns: i64,
    usage_ns: u64,
    rate: Option<u64>,
}

/// The last reading of one object.
#[derive(Debug, Default)]
pub(crate) struct CpuRate(Mutex<Option<Reading>>);

impl CpuRate {
    /// Takes a reading; answers nanoseconds of CPU time used each second, `None` before there are two.
    pub(crate) fn note(&self, time_ns: i64, usage_ns: u64) -> Option<u64> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *last {
            // Counters begin anew with each start.
            Some(old) if usage_ns >= old.usage_ns && time_ns >= old.time_ns => {
                let apart = time_ns - old.time_ns;
                if apart < APART_NS {
                    return old.rate;
                }
                let used = u128::from(usage_ns - old.usage_ns) * 1_000_000_000;
                let rate = u64::try_from(used / u128::from(apart.unsigned_abs())).ok();
                *last = Some(Reading { time_ns, usage_ns, rate });
                rate
            }
            _ => {
                *last = Some(Reading { time_ns, usage_ns, rate: None });
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_readings_make_a_rate_and_a_restart_begins_anew() {
        let rate = CpuRate::default();
        assert_eq!(rate.note(0, 100), None);
        assert_eq!(rate.note(500_000_000, 200), None, "too near");
        assert_eq!(rate.note(2_000_000_000, 1_000_000_100), Some(500_000_000));
        assert_eq!(rate.note(2_100_000_000, 1_100_000_000), Some(500_000_000), "the last one holds");
        assert_eq!(rate.note(4_000_000_000, 5), None, "counted from zero again");
    }
}
