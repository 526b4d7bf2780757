//! A small CRI client over k8s-cri's own bindings: runs pods the way a kubelet does, on any CRI socket.
//!
//! Must not know: anything of this project. It is an independent client.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint, Uri};

/// gRPC's limit that the kubelet uses.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// Any failure of a call or of what it should have brought about.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A connection to a CRI runtime.
#[derive(Debug, Clone)]
pub struct Kubelet {
    /// The RuntimeService.
    pub runtime: RuntimeServiceClient<Channel>,
    /// The ImageService.
    pub images: ImageServiceClient<Channel>,
}

/// A running pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The sandbox's id.
    pub id: String,
    /// What it was made of: goes into each CreateContainer.
    pub config: v1::PodSandboxConfig,
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled`, ...
    pub reason: String,
}

impl Kubelet {
    /// Connects to a unix socket.
    ///
    /// # Errors
    /// When nothing listens there.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let channel = channel(socket).await?;
        Ok(Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        })
    }

    /// RunPodSandbox with logs under `log_directory` and cgroups under `cgroup_parent` (empty: the runtime's own).
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn run_pod(&mut self, name: &str, log_directory: &Path, cgroup_parent: &str) -> Result<Pod, Error> {
        self.run_pod_as(pod_config(name, log_directory, cgroup_parent)).await
    }

    /// RunPodSandbox with a configuration of the caller's.
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn run_pod_as(&mut self, config: v1::PodSandboxConfig) -> Result<Pod, Error> {
        let request = v1::RunPodSandboxRequest { config: Some(config.clone()), ..Default::default() };
        let id = self.runtime.run_pod_sandbox(request).await?.into_inner().pod_sandbox_id;
        Ok(Pod { id, config })
    }

    /// CreateContainer and StartContainer of `command` in `pod`; returns the container's id.
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn start(&mut self, pod: &Pod, name: &str, image: &str, command: &[&str]) -> Result<String, Error> {
        self.start_as(pod, container_config(name, image, command)).await
    }

    /// CreateContainer and StartContainer with a configuration of the caller's.
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn start_as(&mut self, pod: &Pod, config: v1::ContainerConfig) -> Result<String, Error> {
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: pod.id.clone(),
            config: Some(config),
            sandbox_config: Some(pod.config.clone()),
        };
        let id = self.runtime.create_container(request).await?.into_inner().container_id;
        self.runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await?;
        Ok(id)
    }

    /// ContainerStatus.
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn status(&mut self, container: &str) -> Result<v1::ContainerStatus, Error> {
        let request = v1::ContainerStatusRequest { container_id: container.to_owned(), verbose: false };
        let status = self.runtime.container_status(request).await?.into_inner().status;
        status.ok_or_else(|| "ContainerStatus answered without a status".into())
    }

    /// Polls ContainerStatus, as a kubelet's relist does, until the container has exited.
    ///
    /// # Errors
    /// As the runtime says, or when it still runs after `patience`.
    pub async fn wait(&mut self, container: &str, patience: Duration) -> Result<Ended, Error> {
        let start = tokio::time::Instant::now();
        loop {
            let status = self.status(container).await?;
            if status.state() == v1::ContainerState::ContainerExited {
                return Ok(Ended { exit_code: status.exit_code, reason: status.reason });
            }
            if start.elapsed() > patience {
                return Err(format!("container {container} still runs after {patience:?}").into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// ExecSync: exit code, standard output, standard error.
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn exec(&mut self, container: &str, command: &[&str]) -> Result<(i32, String, String), Error> {
        let request = v1::ExecSyncRequest {
            container_id: container.to_owned(),
            cmd: command.iter().map(|c| (*c).to_owned()).collect(),
            timeout: 20,
        };
        let answer = self.runtime.exec_sync(request).await?.into_inner();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok((answer.exit_code, text(answer.stdout), text(answer.stderr)))
    }

    /// StopPodSandbox and RemovePodSandbox, which take the containers with them.
    ///
    /// # Errors
    /// As the runtime says.
    pub async fn remove_pod(&mut self, pod: &Pod) -> Result<(), Error> {
        self.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        self.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        Ok(())
    }
}

/// A gRPC channel over a unix socket.
///
/// # Errors
/// When nothing listens there.
pub async fn channel(socket: &Path) -> Result<Channel, Error> {
    let path: PathBuf = socket.to_path_buf();
    let connector = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(path).await?)) }
    });
    let channel = Endpoint::try_from("http://cri")?.connect_with_connector(connector).await;
    channel.map_err(|e| format!("connect {}: {e}", socket.display()).into())
}

/// A pod's configuration as a kubelet sends it.
pub fn pod_config(name: &str, log_directory: &Path, cgroup_parent: &str) -> v1::PodSandboxConfig {
    let labels = HashMap::from([
        ("io.kubernetes.pod.name".to_owned(), name.to_owned()),
        ("io.kubernetes.pod.namespace".to_owned(), "default".to_owned()),
        ("io.kubernetes.pod.uid".to_owned(), format!("uid-{name}")),
    ]);
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: name.to_owned(),
            uid: format!("uid-{name}"),
            namespace: "default".to_owned(),
            attempt: 0,
        }),
        hostname: name.to_owned(),
        log_directory: log_directory.display().to_string(),
        labels,
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent.to_owned(),
            security_context: Some(v1::LinuxSandboxSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    pid: v1::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A container's configuration; its log is `<name>.log` in the pod's log directory.
pub fn container_config(name: &str, image: &str, command: &[&str]) -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: name.to_owned(), attempt: 0 }),
        image: Some(v1::ImageSpec { image: image.to_owned(), ..Default::default() }),
        command: command.iter().map(|c| (*c).to_owned()).collect(),
        log_path: format!("{name}.log"),
        linux: Some(v1::LinuxContainerConfig {
            security_context: Some(v1::LinuxContainerSecurityContext {
                namespace_options: Some(v1::NamespaceOption {
                    pid: v1::NamespaceMode::Container.into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// One line of a CRI log: `<time> <stream> <tag> <content>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// RFC 3339 with nanoseconds.
    pub time: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// `F` for a full line, `P` for a part of one.
    pub tag: String,
    /// What was written.
    pub content: String,
}

/// Parses a CRI log.
///
/// # Errors
/// With the first line that is not in the format.
pub fn parse_log(text: &str) -> Result<Vec<LogLine>, Error> {
    text.lines()
        .map(|line| {
            let mut fields = line.splitn(4, ' ').map(str::to_owned);
            match (fields.next(), fields.next(), fields.next(), fields.next()) {
                (Some(time), Some(stream), Some(tag), Some(content)) => Ok(LogLine { time, stream, tag, content }),
                _ => Err(format!("not a CRI log line: {line:?}").into()),
            }
        })
        .collect()
}
