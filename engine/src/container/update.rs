//! Update: limits and restart policy of a container that may run.

use std::sync::Arc;

use crate::container::driver::ContainerDriver;
use crate::container::process;
use crate::container::state::ContainerState;
use crate::error::{Error, Result};
use crate::metadata::Durability;
use crate::spec::{Resources, RestartPolicy, resources, validate};

impl ContainerDriver {
    /// Changes what is set in `wanted`, live if it runs; nothing is changed on an error.
    pub(crate) async fn update(&mut self, wanted: Resources, restart: Option<RestartPolicy>) -> Result<()> {
        if matches!(self.record.state, ContainerState::Removing | ContainerState::Dead) {
            return Err(Error::conflict(format!(
                "container {} is marked for removal and cannot be \"update\"",
                self.record.id
            )));
        }
        if self.record.spec.auto_remove && restart.is_some_and(|policy| policy != RestartPolicy::No) {
            return Err(Error::invalid(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        let merged = merge(&self.record.spec.resources, &wanted);
        validate::resources(&merged, self.record.spec.owner)?;
        let devices = process::block_devices(&merged)?;
        if self.record.state.has_process() {
            let limits = resources::oci(&wanted, &devices)?;
            let text = serde_json::to_vec(&limits).map_err(|e| Error::internal("encode limits").with_source(e))?;
            self.cell.shim()?.update(&self.record.id, text).await?;
        }
        let spec = Arc::make_mut(&mut self.record.spec);
        spec.resources = merged;
        if let Some(policy) = restart {
            spec.restart = policy;
        }
        self.store(Durability::Power).await?;
        self.publish();
        self.event("update", &[]).await;
        Ok(())
    }
}

/// `wanted` over `old`: what is not set in it stays.
fn merge(old: &Resources, wanted: &Resources) -> Resources {
    let text = |new: &String, old: &String| if new.is_empty() { old.clone() } else { new.clone() };
    fn list<T: Clone>(new: &[T], old: &[T]) -> Vec<T> {
        if new.is_empty() { old.to_vec() } else { new.to_vec() }
    }
    let mut unified = old.unified.clone();
    unified.extend(wanted.unified.clone());
    Resources {
        cpu_shares: wanted.cpu_shares.or(old.cpu_shares),
        cpu_quota_us: wanted.cpu_quota_us.or(old.cpu_quota_us),
        cpu_period_us: wanted.cpu_period_us.or(old.cpu_period_us),
        cpu_burst_us: wanted.cpu_burst_us.or(old.cpu_burst_us),
        cpu_rt_runtime_us: wanted.cpu_rt_runtime_us.or(old.cpu_rt_runtime_us),
        cpu_rt_period_us: wanted.cpu_rt_period_us.or(old.cpu_rt_period_us),
        cpuset_cpus: text(&wanted.cpuset_cpus, &old.cpuset_cpus),
        cpuset_mems: text(&wanted.cpuset_mems, &old.cpuset_mems),
        memory_bytes: wanted.memory_bytes.or(old.memory_bytes),
        memory_reservation_bytes: wanted.memory_reservation_bytes.or(old.memory_reservation_bytes),
        memory_swap_bytes: wanted.memory_swap_bytes.or(old.memory_swap_bytes),
        memory_swappiness: wanted.memory_swappiness.or(old.memory_swappiness),
        kernel_memory_tcp_bytes: wanted.kernel_memory_tcp_bytes.or(old.kernel_memory_tcp_bytes),
        oom_kill_disable: wanted.oom_kill_disable || old.oom_kill_disable,
        oom_score_adj: wanted.oom_score_adj.or(old.oom_score_adj),
        pids_max: wanted.pids_max.or(old.pids_max),
        blkio_weight: wanted.blkio_weight.or(old.blkio_weight),
        blkio_weight_device: list(&wanted.blkio_weight_device, &old.blkio_weight_device),
        blkio_read_bps: list(&wanted.blkio_read_bps, &old.blkio_read_bps),
        blkio_write_bps: list(&wanted.blkio_write_bps, &old.blkio_write_bps),
        blkio_read_iops: list(&wanted.blkio_read_iops, &old.blkio_read_iops),
        blkio_write_iops: list(&wanted.blkio_write_iops, &old.blkio_write_iops),
        hugetlb: list(&wanted.hugetlb, &old.hugetlb),
        unified,
        ulimits: list(&wanted.ulimits, &old.ulimits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_stays() {
        let old = Resources { memory_bytes: Some(1), cpuset_cpus: "0".into(), ..Default::default() };
        let wanted = Resources { memory_bytes: Some(2), pids_max: Some(7), ..Default::default() };
        let merged = merge(&old, &wanted);
        assert_eq!((merged.memory_bytes, merged.pids_max, &*merged.cpuset_cpus), (Some(2), Some(7), "0"));
    }
}
