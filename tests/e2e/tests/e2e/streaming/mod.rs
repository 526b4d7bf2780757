//! Exec, attach and port-forward through the streaming server, over SPDY/3.1 and over WebSocket, with clients of our
//! own that were written from the protocols' texts.

mod attach;
mod exec;
mod hostile;
mod port_forward;
mod spdy;
mod talk;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_cri::v1;
use pod::{Kubelet, Pod, container_config};
use testkit::World;

use crate::client::world_with_busybox;

const IMAGE: &str = "docker.io/library/busybox:latest";
const PATIENCE: Duration = Duration::from_secs(30);

/// A world with one pod, its container, and a kubelet to call.
struct Node {
    world: World,
    runtime: tokio::runtime::Runtime,
    kubelet: Kubelet,
    pod: Pod,
    container: String,
}

impl Node {
    /// With a container that runs `command`.
    fn new(name: &str, command: &[&str]) -> Self {
        Self::with(name, command, |_| {})
    }

    /// With a container whose configuration is changed first.
    fn with(name: &str, command: &[&str], change: impl FnOnce(&mut v1::ContainerConfig)) -> Self {
        let world = world_with_busybox();
        let runtime = tokio::runtime::Runtime::new().expect("tokio");
        let logs = Self::logs(&world);
        let (kubelet, pod, container) = runtime.block_on(async {
            let mut kubelet = Kubelet::connect(&world.cri_socket()).await.expect("connect");
            let pod = kubelet.run_pod(name, &logs, "").await.expect("run the pod");
            let mut config = container_config("c", IMAGE, command);
            change(&mut config);
            let container = kubelet.start_as(&pod, config).await.expect("start the container");
            (kubelet, pod, container)
        });
        Self { world, runtime, kubelet, pod, container }
    }

    fn logs(world: &World) -> PathBuf {
        world.dir().join("pods")
    }

    /// The Exec RPC.
    fn exec(&mut self, command: &[&str], stdin: bool, tty: bool) -> Result<String, tonic::Status> {
        let request = v1::ExecRequest {
            container_id: self.container.clone(),
            cmd: command.iter().map(|word| (*word).to_owned()).collect(),
            stdin,
            stdout: true,
            stderr: !tty,
            tty,
        };
        self.runtime.block_on(self.kubelet.runtime.exec(request)).map(|answer| answer.into_inner().url)
    }

    /// ExecSync: what a command printed.
    fn sync(&mut self, command: &[&str]) -> String {
        let container = self.container.clone();
        let (code, out, err) = self.runtime.block_on(self.kubelet.exec(&container, command)).expect("ExecSync");
        assert_eq!((code, err.as_str()), (0, ""), "{command:?}");
        out
    }

    /// Waits for a command to succeed.
    #[track_caller]
    fn eventually(&mut self, command: &[&str]) {
        let start = Instant::now();
        loop {
            let container = self.container.clone();
            let (code, out, err) = self.runtime.block_on(self.kubelet.exec(&container, command)).expect("ExecSync");
            if code == 0 {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{command:?} still fails: {out} {err}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The PortForward RPC.
    fn forward(&mut self, ports: &[i32]) -> String {
        let request = v1::PortForwardRequest { pod_sandbox_id: self.pod.id.clone(), port: ports.to_vec() };
        self.runtime.block_on(self.kubelet.runtime.port_forward(request)).expect("PortForward").into_inner().url
    }

    /// Resident memory of the daemon in KiB.
    fn daemon_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.world.daemon().pid())).expect("status");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Removes the pod: nothing may keep it.
    fn remove(mut self) -> World {
        self.runtime.block_on(self.kubelet.remove_pod(&self.pod)).expect("remove the pod");
        self.world
    }
}
