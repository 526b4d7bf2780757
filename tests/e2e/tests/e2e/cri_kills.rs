//! The daemon dies at each step of each RPC of a pod's life. After the restart the kubelet does what kubelets do (list,
//! then make it so), and at the end nothing is left.

use std::time::Duration;

use k8s_cri::v1;
use pod::{Kubelet, Pod, pod_config};
use testkit::wait;

use crate::client::world_with_busybox;
use crate::cri::{IMAGE, PATIENCE, logs, with_kubelet};

/// The steps of a debug build's failpoints, in the order of a pod's life.
const STEPS: [&str; 14] = [
    "sandbox.stored",
    "sandbox.netns",
    "sandbox.connected",
    "sandbox.up",
    "create.begin",
    "create.prepared",
    "create.mounts",
    "create.stored",
    "start.begin",
    "start.before_create",
    "start.created",
    "start.started",
    "remove.begin",
    "remove.snapshot",
];

/// The pod's whole life; the first call that fails ends it.
async fn live(kubelet: &mut Kubelet, config: &v1::PodSandboxConfig, attempt: u32) -> Result<(), pod::Error> {
    let mut config = config.clone();
    config.metadata.get_or_insert_default().attempt = attempt;
    let pod = kubelet.run_pod_as(config).await?;
    run_and_remove(kubelet, &pod).await
}

async fn run_and_remove(kubelet: &mut Kubelet, pod: &Pod) -> Result<(), pod::Error> {
    let id = kubelet.start(pod, "c", IMAGE, &["sleep", "1000"]).await?;
    kubelet.exec(&id, &["true"]).await?;
    kubelet.runtime.stop_container(v1::StopContainerRequest { container_id: id.clone(), timeout: 0 }).await?;
    kubelet.runtime.remove_container(v1::RemoveContainerRequest { container_id: id }).await?;
    kubelet.remove_pod(pod).await
}

/// A kubelet's housekeeping of pods that should not be there: stop and remove what is listed, again until it is gone.
async fn converge(kubelet: &mut Kubelet) -> Result<(), pod::Error> {
    let listed = kubelet.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner().items;
    for pod in listed {
        kubelet.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        kubelet.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: pod.id }).await?;
    }
    let left = kubelet.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner().containers;
    assert!(left.is_empty(), "{left:?}");
    Ok(())
}

#[test]
fn the_daemon_dies_at_every_step_of_a_pods_life() {
    let mut world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    let config = pod_config("killed", &logs(&world, "killed"), "");
    for (attempt, step) in (1..).zip(STEPS) {
        world.stop_daemon();
        world.start_daemon_with(&[("GANTRY_FAILPOINTS", &format!("{step}=abort"))]);
        let runtime = tokio::runtime::Runtime::new().expect("tokio");
        let socket = world.cri_socket();
        let cut = runtime.block_on(async {
            let mut kubelet = Kubelet::connect(&socket).await?;
            tokio::time::timeout(PATIENCE, live(&mut kubelet, &config, attempt)).await?
        });
        cut.expect_err(step);
        wait::until(step, Duration::from_secs(20), || world.daemon_has_ended().then_some(()));
        world.kill_daemon();
        world.start_daemon();
        with_kubelet(&world, async |mut kubelet| {
            converge(&mut kubelet).await.map_err(|e| format!("after {step}: {e}"))?;
            // The same pod again, under the same name and attempt.
            live(&mut kubelet, &config, attempt).await.map_err(|e| format!("again after {step}: {e}").into())
        });
    }
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}
