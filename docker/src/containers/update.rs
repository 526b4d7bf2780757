//! `POST /containers/{id}/update`: limits and restart policy of a container that may run.

use docker_api::container::{HostConfig, UpdateResponse};

use crate::call::Call;
use crate::reply::{self, Outcome};
use crate::status_code::Failure;
use crate::to_spec;

pub(crate) async fn update(mut call: Call) -> Outcome {
    // The body holds the resource fields of HostConfig and RestartPolicy.
    let wanted: HostConfig = call.required_json().await?;
    refuse_fixed(&wanted)?;
    let container = call.own_container()?;
    let cpus = call.engine().info().cpus;
    let resources = to_spec::resources(&wanted, cpus)?;
    let restart = if wanted.restart_policy.name.is_empty() {
        None
    } else {
        Some(to_spec::restart_policy(&wanted.restart_policy, container.view().spec.auto_remove)?)
    };
    container.update(resources, restart).await?;
    reply::ok(&UpdateResponse { warnings: None })
}

/// What only a new container can have.
fn refuse_fixed(wanted: &HostConfig) -> Result<(), Failure> {
    let list = |given: bool, field: &'static str| given.then_some(field);
    let fixed = [
        list(wanted.devices.as_ref().is_some_and(|list| !list.is_empty()), "Devices"),
        list(wanted.device_requests.as_ref().is_some_and(|list| !list.is_empty()), "DeviceRequests"),
        list(wanted.device_cgroup_rules.as_ref().is_some_and(|list| !list.is_empty()), "DeviceCgroupRules"),
        list(wanted.ulimits.as_ref().is_some_and(|list| !list.is_empty()), "Ulimits"),
        list(!wanted.cgroup_parent.is_empty(), "CgroupParent"),
        list(wanted.oom_kill_disable == Some(true), "OomKillDisable"),
        list(wanted.kernel_memory != 0, "KernelMemory"),
    ];
    match fixed.into_iter().flatten().next() {
        Some(field) => Err(Failure::bad_request(format!("{field} cannot be changed after the container was created"))),
        None => Ok(()),
    }
}
