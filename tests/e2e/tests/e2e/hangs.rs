//! What hangs holds up nobody else: a frozen cgroup, a file system that never answers, a client that does not read.
//! While one container is stuck, the kubelet's calls about the others answer as they always do.

use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use k8s_cri::v1;
use pod::{Kubelet, Pod, container_config};
use testkit::World;
use tonic::Code;

use crate::client::world_with_busybox;
use crate::cri::{IMAGE, PATIENCE, logs, with_kubelet};

/// For any call about a container that does not hang: far above what it takes, far below what a hang would.
const LIMIT: Duration = Duration::from_secs(5);
const SLEEP: &[&str] = &["sleep", "1000"];

async fn in_time<T>(what: &str, call: impl Future<Output = Result<T, tonic::Status>>) -> Result<T, pod::Error> {
    let answer = tokio::time::timeout(LIMIT, call).await;
    Ok(answer.map_err(|_| format!("{what}: no answer within {LIMIT:?}"))??)
}

/// All that a kubelet asks for each second, and what it does to a container that does not hang.
async fn the_others_answer(kubelet: &mut Kubelet, well: &str) -> Result<(), pod::Error> {
    let runtime = &mut kubelet.runtime;
    let pods = in_time("pods", runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default())).await?;
    for pod in pods.into_inner().items {
        let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id, verbose: false };
        in_time("pod status", runtime.pod_sandbox_status(status)).await?;
    }
    let listed = in_time("containers", runtime.list_containers(v1::ListContainersRequest::default())).await?;
    for container in listed.into_inner().containers {
        let status = v1::ContainerStatusRequest { container_id: container.id, verbose: false };
        in_time("container status", runtime.container_status(status)).await?;
    }
    let of_well = v1::ContainerStatsRequest { container_id: well.to_owned() };
    in_time("stats of one", runtime.container_stats(of_well)).await?;
    let stats = in_time("stats", runtime.list_container_stats(v1::ListContainerStatsRequest::default())).await?;
    let with_figures = stats.into_inner().stats.into_iter().filter(|stats| stats.memory.is_some());
    assert!(with_figures.count() >= 1, "the figures of those that do not hang");
    let exec = v1::ExecSyncRequest { container_id: well.to_owned(), cmd: vec!["true".into()], timeout: 5 };
    assert_eq!(in_time("exec", runtime.exec_sync(exec)).await?.into_inner().exit_code, 0);
    Ok(())
}

/// A pod that is to hang, and a container of another pod.
async fn two_pods(
    world: &World,
    kubelet: &mut Kubelet,
    stuck: v1::ContainerConfig,
) -> Result<(Pod, String, Pod, String), pod::Error> {
    let stuck_pod = kubelet.run_pod("stuck", &logs(world, "stuck"), "").await?;
    let stuck = kubelet.start_as(&stuck_pod, stuck).await?;
    let pod = kubelet.run_pod("well", &logs(world, "well"), "").await?;
    let well = kubelet.start(&pod, "well", IMAGE, SLEEP).await?;
    Ok((stuck_pod, stuck, pod, well))
}

async fn remove_both(kubelet: &mut Kubelet, stuck: &Pod, well: &Pod) -> Result<(), pod::Error> {
    tokio::time::timeout(PATIENCE, kubelet.remove_pod(stuck))
        .await
        .map_err(|_| "the stuck pod cannot be removed")??;
    kubelet.remove_pod(well).await
}

/// Thaws a cgroup at the end, if it is still there.
struct Thaw(String);

impl Drop for Thaw {
    fn drop(&mut self) {
        let _ = std::fs::write(&self.0, "THAWED");
    }
}

/// A cgroup that somebody else froze: the kubelet's calls about others go on, and stopping the pod ends it.
#[test]
fn a_frozen_cgroup() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let config = container_config("stuck", IMAGE, SLEEP);
        let (stuck_pod, stuck, pod, well) = two_pods(&world, &mut kubelet, config).await?;
        let state = format!("/sys/fs/cgroup/freezer{}/{stuck}/freezer.state", world.cgroup());
        world.sh(&format!("echo FROZEN > {state}"));
        // Whatever fails: what is frozen could not even be ended with its world.
        let _thawed = Thaw(state);
        let mut other = kubelet.clone();
        let exec = v1::ExecSyncRequest { container_id: stuck.clone(), cmd: vec!["true".into()], timeout: 2 };
        let hanging = tokio::spawn(async move { other.runtime.exec_sync(exec).await });
        the_others_answer(&mut kubelet, &well).await?;
        let ended = tokio::time::timeout(PATIENCE, hanging).await.map_err(|_| "the exec has no end")??;
        assert_eq!(ended.expect_err("it cannot have run").code(), Code::DeadlineExceeded);
        remove_both(&mut kubelet, &stuck_pod, &pod).await
    });
}

/// A FUSE file system whose server never answers: who looks at it waits in the kernel.
struct StuckFuse(Option<File>);

impl StuckFuse {
    fn mount(world: &World, at: &Path) -> Self {
        let device = File::options().read(true).write(true).open("/dev/fuse").expect("/dev/fuse");
        let mut mount = world.enter("mount");
        mount.args(["-i", "-t", "fuse", "-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other", "stuck"]).arg(at);
        let given = device.try_clone().expect("dup");
        let status = mount.stdin(Stdio::from(given)).status().expect("mount");
        assert!(status.success(), "{status}");
        Self(Some(device))
    }

    /// Ends the connection: everyone who waits gets an error.
    fn end(&mut self) {
        self.0 = None;
    }
}

#[test]
fn a_file_system_that_never_answers() {
    let world = world_with_busybox();
    let top = world.dir().join("top");
    std::fs::create_dir_all(top.join("stuck")).expect("directory");
    with_kubelet(&world, async |mut kubelet| {
        let mut config = container_config("stuck", IMAGE, SLEEP);
        config.mounts = vec![v1::Mount {
            container_path: "/top".into(),
            host_path: top.display().to_string(),
            propagation: v1::MountPropagation::PropagationHostToContainer.into(),
            ..Default::default()
        }];
        let (stuck_pod, stuck, pod, well) = two_pods(&world, &mut kubelet, config).await?;
        let mut fuse = StuckFuse::mount(&world, &top.join("stuck"));
        let mut other = kubelet.clone();
        let cmd = ["ls", "/top/stuck/file"].map(String::from).to_vec();
        let exec = v1::ExecSyncRequest { container_id: stuck.clone(), cmd, timeout: 3 };
        let hanging = tokio::spawn(async move { other.runtime.exec_sync(exec).await });
        // A container that is to be made with the file system is stuck too, and again alone.
        let mut third = kubelet.clone();
        let (pod_of_third, mut config) = (stuck_pod.clone(), container_config("third", IMAGE, SLEEP));
        let host_path = top.join("stuck").display().to_string();
        config.mounts = vec![v1::Mount { container_path: "/in".into(), host_path, ..Default::default() }];
        let making =
            tokio::spawn(async move { third.start_as(&pod_of_third, config).await.map_err(|e| e.to_string()) });
        for _ in 0..3 {
            the_others_answer(&mut kubelet, &well).await?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let ended = tokio::time::timeout(PATIENCE, hanging).await.map_err(|_| "the exec has no end")??;
        assert!(ended.is_err(), "{ended:?}");
        fuse.end();
        let made =
            tokio::time::timeout(Duration::from_secs(60), making).await.map_err(|_| "CreateContainer has no end")?;
        drop(made?);
        world.sh(&format!("umount -l {}", top.join("stuck").display()));
        remove_both(&mut kubelet, &stuck_pod, &pod).await
    });
}

/// A client that is attached and does not read holds up its own container, not its log's other readers nor anyone else.
#[test]
fn a_client_that_does_not_read() {
    let world = world_with_busybox();
    world.docker(["run", "-d", "--name", "loud", "busybox", "sh", "-c", "sleep 1; yes"]).ok();
    let mut attached = world.client("docker");
    attached.args(["attach", "loud"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut attached = attached.spawn().expect("docker attach");
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("well", &logs(&world, "well"), "").await?;
        let well = kubelet.start(&pod, "well", IMAGE, SLEEP).await?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(2) {
            the_others_answer(&mut kubelet, &well).await?;
        }
        kubelet.remove_pod(&pod).await
    });
    let start = Instant::now();
    world.docker(["rm", "-f", "loud"]).ok();
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    attached.kill().expect("end the client");
    attached.wait().expect("the client");
}
