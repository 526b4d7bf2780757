//! From v1 terms to v2 terms, as runc and crun convert them, so that one request means one thing on every host.

use super::{Error, Memory, Rdma, Result};

/// `cpu.weight` (1 to 10000) of v1 `cpu.shares` (2 to 262144).
///
/// runc 1.3.2 and crun 1.23 replaced the straight line, under which the usual 1024 shares became a weight of 39, by
/// this curve through (2, 1), (1024, 100) and (262144, 10000).
#[must_use]
pub fn cpu_shares_to_weight(shares: u64) -> u64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    #[expect(clippy::cast_precision_loss, reason = "shares are below 2^18 here")]
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    let weight = 10f64.powf(exponent).ceil().clamp(1.0, 10_000.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=10000")]
    let weight = weight as u64;
    weight
}

/// `io.weight` (1 to 10000) of blkio `weight` (10 to 1000).
#[must_use]
pub fn io_weight_from_blkio(weight: u16) -> u64 {
    let weight = u64::from(weight.clamp(10, 1000));
    1 + (weight - 10) * 9999 / 990
}

/// The swap alone (v2 `memory.swap.max`) of OCI `memory.swap`, which is memory plus swap. `None` leaves it alone,
/// -1 is unlimited.
pub fn swap_only(memory: Option<i64>, memory_and_swap: Option<i64>) -> Result<Option<i64>> {
    let memory = memory.unwrap_or(0);
    match memory_and_swap.unwrap_or(0) {
        // Unlimited memory with a swap limit that nobody asked for would be odd: v1 lifts both.
        0 if memory == -1 => Ok(Some(-1)),
        0 => Ok(None),
        -1 => Ok(Some(-1)),
        total if total < -1 => Err(Error::invalid("memory.swap", format!("{total} is negative and not -1"))),
        _ if memory == 0 || memory == -1 => {
            Err(Error::invalid("memory.swap", "a swap limit needs a limit of memory too"))
        }
        total if total < memory => Err(Error::invalid(
            "memory.swap",
            format!("memory plus swap ({total}) has to be at least the limit of memory ({memory})"),
        )),
        total => Ok(Some(total - memory)),
    }
}

/// What of `memory` is wrong on any host.
pub(super) fn check_memory(memory: &Memory) -> Result<()> {
    let fields = [
        ("memory.limit", memory.limit),
        ("memory.reservation", memory.reservation),
        ("memory.swap", memory.swap),
        ("memory.kernel", memory.kernel),
        ("memory.kernelTCP", memory.kernel_tcp),
    ];
    for (field, value) in fields {
        if let Some(value) = value.filter(|value| *value < -1) {
            return Err(Error::invalid(field, format!("{value} is negative and not -1")));
        }
    }
    if let Some(swappiness) = memory.swappiness.filter(|swappiness| *swappiness > 100) {
        return Err(Error::invalid("memory.swappiness", format!("{swappiness} is not in 0..=100")));
    }
    let (limit, swap) = (memory.limit.unwrap_or(0), memory.swap.unwrap_or(0));
    if swap > 0 && limit > swap {
        let reason = format!("memory plus swap ({swap}) has to be at least the limit of memory ({limit})");
        return Err(Error::invalid("memory.swap", reason));
    }
    Ok(())
}

/// OCI `memory.checkBeforeUpdate`.
pub(super) fn check_usage(limit: Option<i64>, usage: u64) -> Result<()> {
    match limit {
        Some(limit) if limit > 0 && limit.unsigned_abs() < usage => {
            Err(Error::invalid("memory.limit", format!("{limit} bytes is less than what is in use ({usage} bytes)")))
        }
        _ => Ok(()),
    }
}

/// A line of `rdma.max`.
pub(super) fn rdma_line(device: &str, rdma: Rdma) -> String {
    let value = |limit: Option<u32>| limit.map_or_else(|| "max".to_owned(), |limit| limit.to_string());
    format!("{device} hca_handle={} hca_object={}", value(rdma.hca_handles), value(rdma.hca_objects))
}

/// A v2 limit: `max` for -1.
pub(super) fn or_max(value: i64) -> String {
    if value < 0 { "max".to_owned() } else { value.to_string() }
}
