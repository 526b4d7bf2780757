//! The CRI door's figures and streams: statistics, metrics, events with replay, lists as streams.

use std::collections::HashMap;
use std::time::Duration;

use k8s_cri::v1;
use pod::Kubelet;
use testkit::World;
use tokio::time::Instant;
use tonic::codec::Streaming;
use tonic::codegen::http::uri::PathAndQuery;

use crate::client::world_with_busybox;
use crate::cri::{IMAGE, PATIENCE, logs, with_kubelet};

/// Messages of Kubernetes 1.33 and later, which the client's bindings do not have; numbers are the interface's.
mod newer {
    use k8s_cri::v1;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Nothing {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Sandboxes {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<v1::PodSandbox>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Containers {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<v1::Container>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ContainerStats {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<v1::ContainerStats>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SandboxStats {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<v1::PodSandboxStats>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Metrics {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<v1::PodSandboxMetrics>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Images {
        #[prost(message, repeated, tag = "1")]
        pub(super) items: Vec<v1::Image>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct UpdatePodSandboxResources {
        #[prost(string, tag = "1")]
        pub(super) pod_sandbox_id: String,
        #[prost(message, optional, tag = "2")]
        pub(super) overhead: Option<v1::LinuxContainerResources>,
        #[prost(message, optional, tag = "3")]
        pub(super) resources: Option<v1::LinuxContainerResources>,
    }
}

/// A server-streaming call without arguments, by name; all messages.
async fn streamed<M: prost::Message + Default + 'static>(world: &World, method: &str) -> Result<Vec<M>, pod::Error> {
    let mut raw = tonic::client::Grpc::new(pod::channel(&world.cri_socket()).await?);
    raw.ready().await?;
    let codec = tonic_prost::ProstCodec::<newer::Nothing, M>::default();
    let path = PathAndQuery::try_from(format!("/runtime.v1.{method}"))?;
    let answer = raw.server_streaming(tonic::Request::new(newer::Nothing {}), path, codec).await?;
    let mut stream = answer.into_inner();
    let mut messages = Vec::new();
    while let Some(message) = stream.message().await? {
        messages.push(message);
    }
    Ok(messages)
}

async fn unary<Q: prost::Message + 'static, A: prost::Message + Default + 'static>(
    world: &World,
    method: &str,
    request: Q,
) -> Result<A, tonic::Status> {
    let channel = pod::channel(&world.cri_socket()).await.expect("the socket");
    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.expect("the connection");
    let path = PathAndQuery::try_from(format!("/runtime.v1.{method}")).expect("a path");
    let codec = tonic_prost::ProstCodec::<Q, A>::default();
    raw.unary(tonic::Request::new(request), path, codec).await.map(tonic::Response::into_inner)
}

fn figure(value: &Option<v1::UInt64Value>) -> u64 {
    value.as_ref().expect("a figure").value
}

/// Asks again until `done` accepts the answer: figures come from the kernel and from a count in the background.
async fn until<T, F: Future<Output = Result<T, pod::Error>>>(
    what: &str,
    mut ask: impl FnMut() -> F,
    done: impl Fn(&T) -> bool,
) -> Result<T, pod::Error> {
    let start = Instant::now();
    loop {
        let answer = ask().await?;
        if done(&answer) {
            return Ok(answer);
        }
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn figures_of_a_pod_and_its_containers() {
    let world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    with_kubelet(&world, async |mut kubelet| {
        let parent = format!("{}/pod-of-its-own", world.cgroup());
        let pod = kubelet.run_pod("figures", &logs(&world, "figures"), &parent).await?;
        let script = "dd if=/dev/zero of=/big bs=1M count=8 2>/dev/null; while :; do :; done";
        let busy = kubelet.start(&pod, "busy", IMAGE, &["sh", "-c", script]).await?;
        let calm = kubelet.start(&pod, "calm", IMAGE, &["sleep", "1000"]).await?;

        container_figures(&mut kubelet, &busy).await?;
        let filter = v1::ContainerStatsFilter { id: calm.clone(), ..Default::default() };
        let request = v1::ListContainerStatsRequest { filter: Some(filter) };
        let listed = kubelet.runtime.list_container_stats(request).await?.into_inner().stats;
        let ids: Vec<_> = listed.iter().filter_map(|s| s.attributes.as_ref()).map(|a| a.id.as_str()).collect();
        assert_eq!(ids, [calm.as_str()]);
        pod_figures(&mut kubelet, &pod, &busy).await?;

        let listed: Vec<newer::ContainerStats> = streamed(&world, "RuntimeService/StreamContainerStats").await?;
        assert_eq!(listed.iter().flat_map(|m| &m.items).count(), 2);
        let listed: Vec<newer::SandboxStats> = streamed(&world, "RuntimeService/StreamPodSandboxStats").await?;
        assert_eq!(listed.iter().flat_map(|m| &m.items).count(), 1);
        kubelet.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: pod.id.clone() }).await?;
        let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
        let down = kubelet.runtime.pod_sandbox_stats(request).await.expect_err("it is down");
        assert!(down.message().contains("not up"), "{down:?}");
        kubelet.remove_pod(&pod).await
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

async fn container_figures(kubelet: &mut Kubelet, busy: &str) -> Result<(), pod::Error> {
    let ask = || {
        let mut kubelet = kubelet.clone();
        let request = v1::ContainerStatsRequest { container_id: busy.to_owned() };
        async move { Ok(kubelet.runtime.container_stats(request).await?.into_inner().stats.expect("stats")) }
    };
    let whole = |stats: &v1::ContainerStats| {
        let cpu = stats.cpu.as_ref().expect("cpu");
        let written = stats.writable_layer.as_ref().map_or(0, |layer| figure(&layer.used_bytes));
        written >= 8 << 20 && cpu.usage_nano_cores.is_some()
    };
    let stats = until("the count of the writable layer and a CPU rate", ask, whole).await?;
    let attributes = stats.attributes.expect("attributes");
    assert_eq!((attributes.id.as_str(), attributes.metadata.expect("metadata").name.as_str()), (busy, "busy"));
    let (cpu, memory) = (stats.cpu.expect("cpu"), stats.memory.expect("memory"));
    assert!(figure(&cpu.usage_core_nano_seconds) > 0 && figure(&cpu.usage_nano_cores) > 1_000_000, "{cpu:?}");
    assert!(figure(&memory.usage_bytes) >= figure(&memory.working_set_bytes), "{memory:?}");
    assert!(figure(&memory.page_faults) > 0, "{memory:?}");
    let layer = stats.writable_layer.expect("writable layer");
    assert!(figure(&layer.used_bytes) < 16 << 20 && figure(&layer.inodes_used) >= 2, "{layer:?}");
    let info = kubelet.images.image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
    assert_eq!(info.container_filesystems[0].fs_id, layer.fs_id, "one file system, one name");
    Ok(())
}

async fn pod_figures(kubelet: &mut Kubelet, pod: &pod::Pod, busy: &str) -> Result<(), pod::Error> {
    let request = v1::PodSandboxStatsRequest { pod_sandbox_id: pod.id.clone() };
    let stats = kubelet.runtime.pod_sandbox_stats(request).await?.into_inner().stats.expect("stats");
    let attributes = stats.attributes.as_ref().expect("attributes");
    assert_eq!(attributes.metadata, pod.config.metadata);
    assert_eq!(attributes.labels, pod.config.labels);
    let linux = stats.linux.as_ref().expect("linux");
    assert_eq!(figure(&linux.process.as_ref().expect("process").process_count), 2);
    assert_eq!(linux.containers.len(), 2);
    let network = linux.network.as_ref().expect("network").default_interface.as_ref().expect("eth0");
    assert_eq!(network.name, "eth0");
    assert!(network.rx_bytes.is_some() && network.tx_errors.is_some());
    // The pod's own cgroup contains its containers.
    let of_busy = linux.containers.iter().find(|c| c.attributes.as_ref().is_some_and(|a| a.id == busy));
    let of_busy = figure(&of_busy.expect("busy").cpu.as_ref().expect("cpu").usage_core_nano_seconds);
    assert!(figure(&linux.cpu.as_ref().expect("cpu").usage_core_nano_seconds) >= of_busy);

    let filter = v1::PodSandboxStatsFilter { label_selector: pod.config.labels.clone(), ..Default::default() };
    let request = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
    assert_eq!(kubelet.runtime.list_pod_sandbox_stats(request).await?.into_inner().stats.len(), 1);
    let other = HashMap::from([("io.kubernetes.pod.name".to_owned(), "another".to_owned())]);
    let filter = v1::PodSandboxStatsFilter { label_selector: other, ..Default::default() };
    let request = v1::ListPodSandboxStatsRequest { filter: Some(filter) };
    assert!(kubelet.runtime.list_pod_sandbox_stats(request).await?.into_inner().stats.is_empty());
    Ok(())
}

#[test]
fn metrics_have_the_labels_of_their_descriptors() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("measured", &logs(&world, "measured"), "").await?;
        let id = kubelet.start(&pod, "calm", IMAGE, &["sleep", "1000"]).await?;
        let descriptors = kubelet.runtime.list_metric_descriptors(v1::ListMetricDescriptorsRequest {}).await?;
        let keys: HashMap<String, Vec<String>> =
            descriptors.into_inner().descriptors.into_iter().map(|d| (d.name, d.label_keys)).collect();
        let pods = kubelet.runtime.list_pod_sandbox_metrics(v1::ListPodSandboxMetricsRequest {}).await?;
        let pods = pods.into_inner().pod_metrics;
        assert_eq!(pods.iter().map(|p| &p.pod_sandbox_id).collect::<Vec<_>>(), [&pod.id]);
        let of_container = pods[0].container_metrics.iter().find(|c| c.container_id == id).expect("the container");
        for metric in pods[0].metrics.iter().chain(&of_container.metrics) {
            assert_eq!(metric.label_values.len(), keys[&metric.name].len(), "{metric:?}");
        }
        let label = |metric: &v1::Metric, key: &str| {
            let at = keys[&metric.name].iter().position(|k| k == key).expect("a label");
            metric.label_values[at].clone()
        };
        let find = |metrics: &[v1::Metric], name: &str| {
            metrics.iter().find(|m| m.name == name).cloned().unwrap_or_else(|| panic!("no {name}"))
        };
        let processes = find(&of_container.metrics, "container_processes");
        assert_eq!(figure(&processes.value), 1);
        assert_eq!(["container", "namespace", "pod"].map(|k| label(&processes, k)), ["calm", "default", "measured"]);
        assert_eq!(figure(&find(&of_container.metrics, "container_threads").value), 1);
        assert!(figure(&find(&of_container.metrics, "container_fs_limit_bytes").value) > 0);
        let received = find(&pods[0].metrics, "container_network_receive_bytes_total");
        assert_eq!(label(&received, "interface"), "eth0");
        let streamed: Vec<newer::Metrics> = streamed(&world, "RuntimeService/StreamPodSandboxMetrics").await?;
        assert_eq!(streamed.iter().flat_map(|m| &m.items).count(), 1);
        kubelet.remove_pod(&pod).await
    });
}

async fn next_event(events: &mut Streaming<v1::ContainerEventResponse>) -> Result<(String, i32), pod::Error> {
    let event = tokio::time::timeout(PATIENCE, events.message()).await??.expect("the stream goes on");
    assert!(event.created_at > 0);
    Ok((event.container_id, event.container_event_type))
}

#[test]
fn events_come_with_states_and_missed_ones_are_sent_again() {
    use v1::ContainerEventType as Kind;
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let mut events = kubelet.runtime.get_container_events(v1::GetEventsRequest {}).await?.into_inner();
        let pod = kubelet.run_pod("told", &logs(&world, "told"), "").await?;
        let id = kubelet.start(&pod, "brief", IMAGE, &["sh", "-c", "exit 3"]).await?;
        kubelet.wait(&id, PATIENCE).await?;
        let seen = [next_event(&mut events).await?, next_event(&mut events).await?];
        let of_pod = |kind: Kind| (pod.id.clone(), kind as i32);
        let of_container = |kind: Kind| (id.clone(), kind as i32);
        assert_eq!(seen, [of_pod(Kind::ContainerCreatedEvent), of_pod(Kind::ContainerStartedEvent)]);
        for kind in [Kind::ContainerCreatedEvent, Kind::ContainerStartedEvent] {
            assert_eq!(next_event(&mut events).await?, of_container(kind));
        }
        let stopped = tokio::time::timeout(PATIENCE, events.message()).await??.expect("the stream goes on");
        assert_eq!(stopped.container_event_type(), Kind::ContainerStoppedEvent);
        assert_eq!(stopped.pod_sandbox_status.expect("the pod").metadata, pod.config.metadata);
        assert_eq!(stopped.containers_statuses.iter().map(|s| s.exit_code).collect::<Vec<_>>(), [3]);
        drop(events);

        // While nobody listens.
        kubelet.remove_pod(&pod).await?;
        let mut events = kubelet.runtime.get_container_events(v1::GetEventsRequest {}).await?.into_inner();
        let mut missed = Vec::new();
        for _ in 0..3 {
            missed.push(next_event(&mut events).await?);
        }
        let expected = [
            of_pod(Kind::ContainerStoppedEvent),
            of_container(Kind::ContainerDeletedEvent),
            of_pod(Kind::ContainerDeletedEvent),
        ];
        assert_eq!(missed, expected);
        Ok(())
    });
}

/// What happened while the daemon was down is told to the first who listens afterwards.
#[test]
fn an_exit_during_a_restart_of_the_daemon_is_an_event() {
    let mut world = world_with_busybox();
    let (mut pod, mut id) = (None, String::new());
    with_kubelet(&world, async |mut kubelet| {
        let made = kubelet.run_pod("away", &logs(&world, "away"), "").await?;
        id = kubelet.start(&made, "c", IMAGE, &["sleep", "1000"]).await?;
        pod = Some(made);
        Ok(())
    });
    let pod = pod.expect("made above");
    world.kill_daemon();
    world.sh("kill -9 $(pidof sleep | tr ' ' '\\n' | while read p; do \
              grep -q 1000 /proc/$p/cmdline && echo $p; done)");
    world.start_daemon();
    with_kubelet(&world, async |mut kubelet| {
        let mut events = kubelet.runtime.get_container_events(v1::GetEventsRequest {}).await?.into_inner();
        let told = next_event(&mut events).await?;
        assert_eq!(told, (id.clone(), v1::ContainerEventType::ContainerStoppedEvent as i32));
        kubelet.remove_pod(&pod).await
    });
}

#[test]
fn lists_as_streams_have_what_lists_have() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        assert!(streamed::<newer::Containers>(&world, "RuntimeService/StreamContainers").await?.is_empty());
        let pod = kubelet.run_pod("listed", &logs(&world, "listed"), "").await?;
        let id = kubelet.start(&pod, "c", IMAGE, &["sleep", "1000"]).await?;
        let listed = kubelet.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
        let messages: Vec<newer::Containers> = streamed(&world, "RuntimeService/StreamContainers").await?;
        let items: Vec<v1::Container> = messages.into_iter().flat_map(|m| m.items).collect();
        assert_eq!((items[0].id.as_str(), &items), (id.as_str(), &listed.containers));
        let messages: Vec<newer::Sandboxes> = streamed(&world, "RuntimeService/StreamPodSandboxes").await?;
        assert_eq!(messages.iter().flat_map(|m| &m.items).map(|p| &p.id).collect::<Vec<_>>(), [&pod.id]);
        let images = kubelet.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        let messages: Vec<newer::Images> = streamed(&world, "ImageService/StreamImages").await?;
        assert_eq!(messages.into_iter().flat_map(|m| m.items).collect::<Vec<_>>(), images);
        kubelet.remove_pod(&pod).await
    });
}

#[test]
fn a_pods_limits_are_taken_over_or_refused_by_field() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("resized", &logs(&world, "resized"), "").await?;
        let method = "RuntimeService/UpdatePodSandboxResources";
        let limits = |memory: i64| v1::LinuxContainerResources { memory_limit_in_bytes: memory, ..Default::default() };
        let request = newer::UpdatePodSandboxResources {
            pod_sandbox_id: pod.id.clone(),
            overhead: Some(limits(1 << 20)),
            resources: Some(limits(64 << 20)),
        };
        unary::<_, newer::Nothing>(&world, method, request.clone()).await?;
        let status = v1::PodSandboxStatusRequest { pod_sandbox_id: pod.id.clone(), verbose: true };
        let info = kubelet.runtime.pod_sandbox_status(status).await?.into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"])?;
        assert_eq!(info["spec"]["resources"]["memory_bytes"], 65 << 20, "{info}");
        let wrong = v1::LinuxContainerResources { cpu_period: 5, ..Default::default() };
        let refused = newer::UpdatePodSandboxResources { resources: Some(wrong), ..request.clone() };
        let refused = unary::<_, newer::Nothing>(&world, method, refused).await.expect_err("5 microseconds");
        assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused:?}");
        let missing = newer::UpdatePodSandboxResources { pod_sandbox_id: "nobody".into(), ..request };
        let missing = unary::<_, newer::Nothing>(&world, method, missing).await.expect_err("no such pod");
        assert_eq!(missing.code(), tonic::Code::NotFound, "{missing:?}");
        kubelet.remove_pod(&pod).await
    });
}
