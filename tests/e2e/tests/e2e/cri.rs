//! The CRI door: pods as a kubelet runs them, over the socket, with an independent client.

use std::path::PathBuf;
use std::time::Duration;

use k8s_cri::v1;
use pod::{Kubelet, container_config, parse_log, pod_config};
use testkit::World;
use testkit::image::sample;
use tonic::Code;

use crate::client::{load, world_with_busybox};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const IMAGE: &str = "docker.io/library/busybox:latest";

/// Runs a scenario with a kubelet connected to the world's socket.
pub(crate) fn with_kubelet<F: Future<Output = Result<(), pod::Error>>>(
    world: &World,
    scenario: impl FnOnce(Kubelet) -> F,
) {
    let runtime = tokio::runtime::Runtime::new().expect("tokio");
    let socket = world.cri_socket();
    let outcome = runtime.block_on(async { scenario(Kubelet::connect(&socket).await?).await });
    outcome.expect("the scenario");
}

pub(crate) fn logs(world: &World, pod: &str) -> PathBuf {
    world.dir().join("pods").join(pod)
}

/// A code and a message that names what was wrong.
#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, tonic::Status>, code: Code, part: &str) {
    let status = answer.expect_err("this should have been refused");
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(part), "{part:?} in {status:?}");
}

#[test]
fn a_pod_of_two_containers() {
    let mut world = World::gantry_only();
    let reference = world.registry().push(&sample::busybox(), "team/busybox:1");
    let before = world.census();
    with_kubelet(&world, async |mut kubelet| {
        let image = Some(v1::ImageSpec { image: reference.clone(), ..Default::default() });
        let pull = v1::PullImageRequest { image: image.clone(), ..Default::default() };
        let id = kubelet.images.pull_image(pull).await?.into_inner().image_ref;
        let pod = kubelet.run_pod("two", &logs(&world, "two"), "").await?;
        let server = kubelet.start(&pod, "server", &id, &["httpd", "-f", "-p", "8080", "-h", "/www"]).await?;
        let script = "for i in 1 2 3; do echo out $i; done; echo problem >&2; sleep 0.3; hostname; \
                      wget -q -O - http://127.0.0.1:8080/index.html; sha256sum /bin/busybox; exit 5";
        let client = kubelet.start(&pod, "client", &reference, &["sh", "-c", script]).await?;

        let ended = kubelet.wait(&client, PATIENCE).await?;
        assert_eq!((ended.exit_code, ended.reason.as_str()), (5, "Error"));
        let lines = parse_log(&std::fs::read_to_string(logs(&world, "two").join("client.log"))?)?;
        let of = |stream: &str| {
            lines.iter().filter(|l| l.stream == stream).map(|l| l.content.clone()).collect::<Vec<String>>()
        };
        assert_eq!(of("stdout")[..5], ["out 1", "out 2", "out 3", "two", "hello from a container"]);
        assert!(of("stdout")[5].starts_with(&sample::sha256_of_file(sample::BUSYBOX)));
        assert_eq!(of("stderr"), ["problem"]);
        assert!(lines.iter().all(|l| l.tag == "F"), "{lines:?}");

        let (code, out, err) = kubelet.exec(&server, &["sh", "-c", "cat /www/index.html; echo e >&2; exit 4"]).await?;
        assert_eq!((code, out.as_str(), err.as_str()), (4, "hello from a container\n", "e\n"));
        let running = kubelet.status(&server).await?;
        assert_eq!(running.state(), v1::ContainerState::ContainerRunning);
        assert_eq!(running.image_id, id);
        assert!(running.image_ref.starts_with("127.0.0.1:5000/team/busybox@sha256:"), "{}", running.image_ref);

        let stop = v1::StopContainerRequest { container_id: server.clone(), timeout: 0 };
        kubelet.runtime.stop_container(stop.clone()).await?;
        kubelet.runtime.stop_container(stop).await?;
        assert_eq!(kubelet.wait(&server, PATIENCE).await?.exit_code, 137);
        kubelet.remove_pod(&pod).await?;
        kubelet.images.remove_image(v1::RemoveImageRequest { image }).await?;
        Ok(())
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

/// No push, no pull, no load: what the Docker door has, a pod runs; and each door sees the other's containers its way.
#[test]
fn one_image_store_for_both_doors() {
    let world = world_with_busybox();
    world.docker(["tag", "busybox", "built/here:1"]).ok();
    let before = world.census();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("shared", &logs(&world, "shared"), "").await?;
        let container = kubelet.start(&pod, "c", "docker.io/built/here:1", &["sh", "-c", "echo pod"]).await?;
        assert_eq!(kubelet.wait(&container, PATIENCE).await?.exit_code, 0);
        let plain = world.docker(["run", "--rm", "built/here:1", "echo", "docker"]).ok();
        assert_eq!(plain, "docker");
        // A docker client neither lists a pod's container nor removes it.
        assert_eq!(world.docker(["ps", "-aq"]).ok(), "");
        world.docker(["rm", &container]).failure();
        kubelet.remove_pod(&pod).await?;
        Ok(())
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

#[test]
fn version_status_and_lists() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let version = kubelet.runtime.version(v1::VersionRequest { version: "0.1.0".into() }).await?.into_inner();
        assert_eq!((version.version.as_str(), version.runtime_api_version.as_str()), ("0.1.0", "v1"));
        assert!(!version.runtime_name.is_empty() && !version.runtime_version.is_empty());
        let status = kubelet.runtime.status(v1::StatusRequest { verbose: false }).await?.into_inner();
        let conditions = status.status.expect("status").conditions;
        assert!(conditions.iter().all(|c| c.status), "{conditions:?}");
        for wanted in ["RuntimeReady", "NetworkReady"] {
            assert!(conditions.iter().any(|c| c.r#type == wanted), "{wanted} in {conditions:?}");
        }
        // What handlers can do is what they say: Debian's runc knows no id-mapped mounts, its crun has no such command.
        let handlers =
            kubelet.runtime.status(v1::StatusRequest { verbose: false }).await?.into_inner().runtime_handlers;
        let features = |name: &str| {
            let found = handlers.iter().find(|handler| handler.name == name).and_then(|handler| handler.features);
            found.map(|features| (features.recursive_read_only_mounts, features.user_namespaces))
        };
        assert_eq!((features(""), features("gantry")), (Some((true, true)), Some((true, true))));
        assert_eq!((features("runc"), features("crun")), (Some((true, false)), Some((false, false))));

        let pod = kubelet.run_pod("listed", &logs(&world, "listed"), "").await?;
        let container = kubelet.start(&pod, "c", IMAGE, &["sleep", "1000"]).await?;
        let ready = v1::PodSandboxFilter {
            state: Some(v1::PodSandboxStateValue { state: v1::PodSandboxState::SandboxReady.into() }),
            ..Default::default()
        };
        let pods = kubelet.runtime.list_pod_sandbox(v1::ListPodSandboxRequest { filter: Some(ready) }).await?;
        assert_eq!(pods.into_inner().items.iter().map(|p| &p.id).collect::<Vec<_>>(), [&pod.id]);
        let listed = kubelet.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
        assert_eq!(listed.containers.iter().map(|c| &c.id).collect::<Vec<_>>(), [&container]);
        let images = kubelet.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        assert!(images.iter().any(|i| i.repo_tags.iter().any(|t| t == IMAGE)), "{images:?}");
        let usage = kubelet.images.image_fs_info(v1::ImageFsInfoRequest {}).await?.into_inner();
        assert!(!usage.image_filesystems.is_empty());
        kubelet.remove_pod(&pod).await?;
        Ok(())
    });
}

#[test]
fn what_is_wrong_gets_the_right_code() {
    let world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    with_kubelet(&world, async |mut kubelet| {
        let nobody = || "nobody".to_owned();
        let status = v1::ContainerStatusRequest { container_id: nobody(), verbose: false };
        refused(kubelet.runtime.container_status(status).await, Code::NotFound, "nobody");
        let sandbox = v1::PodSandboxStatusRequest { pod_sandbox_id: nobody(), verbose: false };
        refused(kubelet.runtime.pod_sandbox_status(sandbox).await, Code::NotFound, "nobody");
        let start = v1::StartContainerRequest { container_id: nobody() };
        refused(kubelet.runtime.start_container(start).await, Code::NotFound, "nobody");
        let exec = v1::ExecSyncRequest { container_id: nobody(), cmd: vec!["true".into()], timeout: 1 };
        refused(kubelet.runtime.exec_sync(exec).await, Code::NotFound, "nobody");
        // Removing and stopping what is not there is no error: a kubelet repeats both.
        kubelet.runtime.remove_container(v1::RemoveContainerRequest { container_id: nobody() }).await?;
        kubelet.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: nobody() }).await?;
        kubelet.runtime.remove_pod_sandbox(v1::RemovePodSandboxRequest { pod_sandbox_id: nobody() }).await?;

        let nameless = v1::PodSandboxConfig { metadata: None, ..pod_config("x", &logs(&world, "x"), "") };
        let request = v1::RunPodSandboxRequest { config: Some(nameless), ..Default::default() };
        refused(kubelet.runtime.run_pod_sandbox(request).await, Code::InvalidArgument, "metadata");
        let handler = v1::RunPodSandboxRequest {
            config: Some(pod_config("x", &logs(&world, "x"), "")),
            runtime_handler: "no-such-handler".into(),
        };
        let answer = kubelet.runtime.run_pod_sandbox(handler).await;
        let status = answer.expect_err("an unknown handler");
        assert!(status.message().contains("no-such-handler"), "{status:?}");
        refused_in_a_pod(&mut kubelet, &world).await?;
        malformed_and_oversize(&mut kubelet, &world).await
    });
    let _ = std::fs::remove_dir_all(world.dir().join("pods"));
    world.assert_nothing_left(&before);
}

async fn refused_in_a_pod(kubelet: &mut Kubelet, world: &World) -> Result<(), pod::Error> {
    let pod = kubelet.run_pod("wrong", &logs(world, "wrong"), "").await?;
    let create = |config: v1::ContainerConfig| v1::CreateContainerRequest {
        pod_sandbox_id: pod.id.clone(),
        config: Some(config),
        sandbox_config: Some(pod.config.clone()),
    };
    let unknown = create(container_config("c", "no.such/image:1", &["true"]));
    refused(kubelet.runtime.create_container(unknown).await, Code::NotFound, "no.such/image");
    let pull = v1::PullImageRequest {
        image: Some(v1::ImageSpec { image: "127.0.0.1:5999/x:1".into(), ..Default::default() }),
        ..Default::default()
    };
    let down = kubelet.images.pull_image(pull).await.expect_err("nothing listens there");
    assert!(down.message().contains("127.0.0.1:5999"), "{down:?}");
    let bad = v1::PullImageRequest {
        image: Some(v1::ImageSpec { image: "Not A Reference".into(), ..Default::default() }),
        ..Default::default()
    };
    refused(kubelet.images.pull_image(bad).await, Code::InvalidArgument, "Not A Reference");
    let escaping =
        v1::ContainerConfig { log_path: "../../escaped.log".into(), ..container_config("c", IMAGE, &["true"]) };
    refused(kubelet.runtime.create_container(create(escaping)).await, Code::InvalidArgument, "log_path");
    // A missing directory is made (a hostPath volume without a type counts on it); below a file none can be.
    let below_a_file = "/etc/passwd/below";
    let mut mounted = container_config("c", IMAGE, &["true"]);
    mounted.mounts =
        vec![v1::Mount { host_path: below_a_file.into(), container_path: "/x".into(), ..Default::default() }];
    let started = kubelet.start_as(&pod, mounted).await.expect_err("a mount of nothing");
    assert!(started.to_string().contains(below_a_file), "{started}");

    let done = kubelet.start(&pod, "done", IMAGE, &["true"]).await?;
    kubelet.wait(&done, PATIENCE).await?;
    let exec = v1::ExecSyncRequest { container_id: done.clone(), cmd: vec!["true".into()], timeout: 1 };
    let stopped = kubelet.runtime.exec_sync(exec).await.expect_err("exec in a stopped container");
    assert!(stopped.message().contains("running"), "{stopped:?}");
    let missing = kubelet.start(&pod, "missing", IMAGE, &["/no/such/program"]).await.expect_err("no such program");
    assert!(missing.to_string().contains("/no/such/program"), "{missing}");
    kubelet.remove_pod(&pod).await
}

/// A message of another shape, and one longer than the kubelet's limit.
async fn malformed_and_oversize(kubelet: &mut Kubelet, world: &World) -> Result<(), pod::Error> {
    let socket = world.cri_socket();
    let mut raw = tonic::client::Grpc::new(pod::channel(&socket).await?);
    raw.ready().await?;
    // Field 2 is a string in RunPodSandboxRequest and a bool here.
    let other = v1::ContainerStatusRequest { container_id: String::new(), verbose: true };
    let path = tonic::codegen::http::uri::PathAndQuery::from_static("/runtime.v1.RuntimeService/RunPodSandbox");
    let codec = tonic_prost::ProstCodec::<v1::ContainerStatusRequest, v1::RunPodSandboxResponse>::default();
    let status = raw.unary(tonic::Request::new(other), path, codec).await.expect_err("not a RunPodSandboxRequest");
    assert!([Code::Internal, Code::InvalidArgument].contains(&status.code()), "{status:?}");
    assert!(!status.message().is_empty());

    let huge = v1::ContainerStatusRequest { container_id: "x".repeat(17 << 20), verbose: false };
    let status = kubelet.runtime.container_status(huge).await.expect_err("17 MiB");
    assert!([Code::OutOfRange, Code::ResourceExhausted].contains(&status.code()), "{:?}", status.code());
    kubelet.runtime.version(v1::VersionRequest::default()).await?;
    Ok(())
}

/// `kill -9` of the daemon under running pods.
#[test]
fn pods_survive_the_daemon() {
    let mut world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    let (mut pod, mut counter, mut brief) = (None, String::new(), String::new());
    with_kubelet(&world, async |mut kubelet| {
        let made = kubelet.run_pod("survivor", &logs(&world, "survivor"), "").await?;
        let script = "i=0; while :; do i=$((i+1)); echo $i; usleep 10000; done";
        counter = kubelet.start(&made, "counter", IMAGE, &["sh", "-c", script]).await?;
        brief = kubelet.start(&made, "brief", IMAGE, &["sh", "-c", "sleep 1; exit 42"]).await?;
        pod = Some(made);
        Ok(())
    });
    world.kill_daemon();
    std::thread::sleep(Duration::from_millis(1500));
    world.start_daemon();
    let pod = pod.expect("made above");
    with_kubelet(&world, async |mut kubelet| {
        assert_eq!(kubelet.status(&counter).await?.state(), v1::ContainerState::ContainerRunning);
        assert_eq!(kubelet.wait(&brief, PATIENCE).await?.exit_code, 42);
        assert_eq!(kubelet.exec(&counter, &["echo", "here"]).await?.1, "here\n");
        let stop = v1::StopContainerRequest { container_id: counter.clone(), timeout: 0 };
        kubelet.runtime.stop_container(stop).await?;
        let lines = parse_log(&std::fs::read_to_string(logs(&world, "survivor").join("counter.log"))?)?;
        assert!(lines.len() > 100, "{}", lines.len());
        for (n, line) in lines.iter().enumerate() {
            assert_eq!(line.content, (n + 1).to_string(), "every line once, in order");
        }
        kubelet.remove_pod(&pod).await
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

/// Containers of a pod that shares its PID namespace see each other; the shim is their init.
#[test]
fn a_shared_pid_namespace() {
    let world = World::gantry_only();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    with_kubelet(&world, async |mut kubelet| {
        let mut config = pod_config("shared-pid", &logs(&world, "shared-pid"), "");
        let pid = v1::NamespaceOption { pid: v1::NamespaceMode::Pod.into(), ..Default::default() };
        if let Some(context) = config.linux.as_mut().and_then(|l| l.security_context.as_mut()) {
            context.namespace_options = Some(pid.clone());
        }
        let pod = kubelet.run_pod_as(config).await?;
        let share = |mut config: v1::ContainerConfig| {
            if let Some(context) = config.linux.as_mut().and_then(|l| l.security_context.as_mut()) {
                context.namespace_options = Some(pid.clone());
            }
            config
        };
        let sleeper = container_config("sleeper", IMAGE, &["sleep", "1000"]);
        let sleeper = kubelet.start_as(&pod, share(sleeper)).await?;
        let looker = kubelet.start_as(&pod, share(container_config("looker", IMAGE, &["sleep", "2000"]))).await?;
        let (_, seen, _) = kubelet.exec(&looker, &["ps"]).await?;
        assert!(seen.contains("sleep 1000") && seen.contains("sleep 2000"), "{seen}");
        // An orphan is reaped by the pod's init.
        kubelet.exec(&sleeper, &["sh", "-c", "(sleep 0.1 &) ; exit 0"]).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let (_, after, _) = kubelet.exec(&looker, &["ps"]).await?;
        assert!(!after.contains("sleep 0.1") && !after.contains(" Z "), "{after}");
        kubelet.remove_pod(&pod).await
    });
}
