//! What a pod's configuration promises, over the socket: identities, user namespaces, image volumes, ownership of images.

use k8s_cri::v1;
use pod::{Kubelet, Pod, container_config, pod_config};
use testkit::World;
use testkit::image::{Image, Layer, sample};
use tonic::Code;
use tonic::codegen::http::uri::PathAndQuery;

use crate::client::{load, world_with_busybox};
use crate::cri::{IMAGE, PATIENCE, logs, refused, with_kubelet};

fn security(config: &mut v1::ContainerConfig) -> &mut v1::LinuxContainerSecurityContext {
    config.linux.get_or_insert_default().security_context.get_or_insert_default()
}

#[test]
fn a_status_tells_who_runs() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("identity", &logs(&world, "identity"), "").await?;
        let mut config = container_config("merge", IMAGE, &["sleep", "1000"]);
        security(&mut config).run_as_user = Some(v1::Int64Value { value: 1000 });
        security(&mut config).supplemental_groups = vec![1234];
        let merge = kubelet.start_as(&pod, config.clone()).await?;
        config.metadata = Some(v1::ContainerMetadata { name: "strict".into(), attempt: 0 });
        security(&mut config).supplemental_groups_policy = v1::SupplementalGroupsPolicy::Strict.into();
        let strict = kubelet.start_as(&pod, config).await?;
        for (id, groups) in [(&merge, vec![50, 1000, 1234]), (&strict, vec![1000, 1234])] {
            let linux = kubelet.status(id).await?.user.and_then(|user| user.linux).expect("a user");
            let mut told = linux.supplemental_groups;
            told.sort_unstable();
            assert_eq!((linux.uid, linux.gid, &told), (1000, 1000, &groups));
            let (_, seen, _) = kubelet.exec(id, &["sh", "-c", "grep ^Groups: /proc/1/status"]).await?;
            let seen: Vec<i64> = seen.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            assert_eq!(seen, groups, "what is told is so");
        }
        kubelet.remove_pod(&pod).await
    });
}

/// The container's root is nobody's root on the host, and its files are its own.
#[test]
fn a_user_namespace_of_the_pod() {
    let world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    with_kubelet(&world, async |mut kubelet| {
        let range = |host_id| vec![v1::IdMapping { host_id, container_id: 0, length: 65_536 }];
        let mapped = |host_id| v1::NamespaceOption {
            pid: v1::NamespaceMode::Container.into(),
            userns_options: Some(v1::UserNamespace {
                mode: v1::NamespaceMode::Pod.into(),
                uids: range(host_id),
                gids: range(host_id),
            }),
            ..Default::default()
        };
        let with = |options: v1::NamespaceOption| {
            let mut config = pod_config("mapped", &logs(&world, "mapped"), "");
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            context.namespace_options = Some(options);
            config
        };
        let mut unmapped = mapped(100_000);
        unmapped.userns_options.as_mut().expect("options").uids[0].container_id = 1;
        let request = v1::RunPodSandboxRequest { config: Some(with(unmapped)), ..Default::default() };
        refused(kubelet.runtime.run_pod_sandbox(request).await, Code::InvalidArgument, "id 0");

        let pod = kubelet.run_pod_as(with(mapped(100_000))).await?;
        let mut config = container_config("c", IMAGE, &["sh", "-c", "echo x > /made; exec sleep 1000"]);
        security(&mut config).namespace_options = Some(mapped(100_000));
        let id = kubelet.start_as(&pod, config).await?;
        let (_, out, err) =
            kubelet.exec(&id, &["sh", "-c", "cat /proc/self/uid_map; stat -c %u /bin/busybox /made"]).await?;
        let words: Vec<&str> = out.split_whitespace().collect();
        assert_eq!(words, ["0", "100000", "65536", "0", "0"], "{err}");
        let status = v1::ContainerStatusRequest { container_id: id.clone(), verbose: true };
        let info = kubelet.runtime.container_status(status).await?.into_inner().info;
        let info: serde_json::Value = serde_json::from_str(&info["info"])?;
        let host = world.sh(&format!("grep ^Uid: /proc/{}/status", info["pid"]));
        assert!(host.contains("100000"), "{host}");
        kubelet.remove_pod(&pod).await
    });
    std::fs::remove_dir_all(world.dir().join("pods")).expect("logs");
    world.assert_nothing_left(&before);
}

fn data_image() -> Image {
    let lower = Layer::new().dir("data").file("data/a", b"lower a\n").file("data/b", b"lower b\n").dir("data/sub");
    let lower = lower.file("data/sub/kept", b"kept\n").symlink("link", "data/sub").file("top", b"top\n");
    let upper = Layer::new().dir("data").file("data/a", b"upper a\n").whiteout("data/b");
    Image::empty().with(lower).with(upper)
}

/// CreateContainer as of Kubernetes 1.33, as far as it is used here: the client's bindings have no `image_sub_path`.
mod newer {
    use k8s_cri::v1;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct CreateContainer {
        #[prost(string, tag = "1")]
        pub(super) pod_sandbox_id: String,
        #[prost(message, optional, tag = "2")]
        pub(super) config: Option<ContainerConfig>,
        #[prost(message, optional, tag = "3")]
        pub(super) sandbox_config: Option<v1::PodSandboxConfig>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ContainerConfig {
        #[prost(message, optional, tag = "1")]
        pub(super) metadata: Option<v1::ContainerMetadata>,
        #[prost(message, optional, tag = "2")]
        pub(super) image: Option<v1::ImageSpec>,
        #[prost(string, repeated, tag = "3")]
        pub(super) command: Vec<String>,
        #[prost(message, repeated, tag = "7")]
        pub(super) mounts: Vec<Mount>,
        #[prost(message, optional, tag = "15")]
        pub(super) linux: Option<v1::LinuxContainerConfig>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Mount {
        #[prost(string, tag = "1")]
        pub(super) container_path: String,
        #[prost(bool, tag = "3")]
        pub(super) readonly: bool,
        #[prost(message, optional, tag = "9")]
        pub(super) image: Option<v1::ImageSpec>,
        #[prost(string, tag = "10")]
        pub(super) image_sub_path: String,
    }
}

fn mount_of(image: &str, sub_path: &str) -> newer::Mount {
    newer::Mount {
        container_path: "/mounted".into(),
        readonly: true,
        image: Some(v1::ImageSpec { image: image.into(), ..Default::default() }),
        image_sub_path: sub_path.into(),
    }
}

async fn create_with(
    world: &World,
    pod: &Pod,
    name: &str,
    mount: newer::Mount,
) -> Result<tonic::Response<v1::CreateContainerResponse>, tonic::Status> {
    let config = container_config(name, IMAGE, &["sleep", "1000"]);
    let request = newer::CreateContainer {
        pod_sandbox_id: pod.id.clone(),
        config: Some(newer::ContainerConfig {
            metadata: config.metadata,
            image: config.image,
            command: config.command,
            mounts: vec![mount],
            linux: config.linux,
        }),
        sandbox_config: Some(pod.config.clone()),
    };
    let channel = pod::channel(&world.cri_socket()).await.expect("the socket");
    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.expect("the connection");
    let path = PathAndQuery::from_static("/runtime.v1.RuntimeService/CreateContainer");
    let codec = tonic_prost::ProstCodec::<newer::CreateContainer, v1::CreateContainerResponse>::default();
    raw.unary(tonic::Request::new(request), path, codec).await
}

async fn run_with(
    kubelet: &mut Kubelet,
    world: &World,
    pod: &Pod,
    name: &str,
    mount: newer::Mount,
) -> Result<String, pod::Error> {
    let id = create_with(world, pod, name, mount).await?.into_inner().container_id;
    kubelet.runtime.start_container(v1::StartContainerRequest { container_id: id.clone() }).await?;
    Ok(id)
}

#[test]
fn images_as_volumes() {
    let world = world_with_busybox();
    load(&world, &data_image().docker_archive("data:1"));
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    let data = "docker.io/library/data:1";
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("volumes", &logs(&world, "volumes"), "").await?;
        let whole = run_with(&mut kubelet, &world, &pod, "whole", mount_of(data, "")).await?;
        let look = "cat /mounted/data/a /mounted/top; ls /mounted/data; touch /mounted/x 2>&1 | grep -c Read-only";
        let (_, out, _) = kubelet.exec(&whole, &["sh", "-c", look]).await?;
        assert_eq!(out, "upper a\ntop\na\nsub\n1\n");
        let mounts = kubelet.status(&whole).await?.mounts;
        assert_eq!(mounts[0].image.as_ref().map(|image| image.image.as_str()), Some(data));

        // A directory of both layers, one of the lower one alone, by a link of the image, and a file.
        for (name, sub_path, look, expected) in [
            ("both", "data", "cat /mounted/a; ls /mounted", "upper a\na\nsub\n"),
            ("lower", "data/sub", "ls /mounted", "kept\n"),
            ("link", "link", "ls /mounted", "kept\n"),
            ("file", "data/a", "cat /mounted", "upper a\n"),
        ] {
            let id = run_with(&mut kubelet, &world, &pod, name, mount_of(data, sub_path)).await?;
            let (_, out, err) = kubelet.exec(&id, &["sh", "-c", look]).await?;
            assert_eq!(out, expected, "{name}: {err}");
        }
        for (sub_path, why) in
            [("data/b", "is not in the image"), ("no/such", "is not in the image"), ("../etc", "without ..")]
        {
            refused(create_with(&world, &pod, "wrong", mount_of(data, sub_path)).await, Code::InvalidArgument, why);
        }
        let writable = newer::Mount { readonly: false, ..mount_of(data, "") };
        refused(create_with(&world, &pod, "wrong", writable).await, Code::InvalidArgument, "readonly");

        // A mounted image is in use.
        world.docker(["rmi", "data:1"]).failure();
        kubelet.remove_pod(&pod).await
    });
    // Its containers keep no log.
    drop(std::fs::remove_dir_all(world.dir().join("pods")));
    world.assert_nothing_left(&before);
}

/// An image of docker's side is usable by pods, pinned for the kubelet's collector, and not its to remove.
#[test]
fn each_door_keeps_its_images() {
    let mut world = world_with_busybox();
    let reference = world.registry().push(&sample::busybox(), "team/both:1");
    with_kubelet(&world, async |mut kubelet| {
        let spec = |image: &str| Some(v1::ImageSpec { image: image.into(), ..Default::default() });
        let images = kubelet.images.list_images(v1::ListImagesRequest::default()).await?.into_inner().images;
        assert!(images.iter().find(|i| i.repo_tags.iter().any(|t| t == IMAGE)).expect("listed").pinned);
        let remove = v1::RemoveImageRequest { image: spec(IMAGE) };
        refused(kubelet.images.remove_image(remove).await, Code::PermissionDenied, "docker");

        let pull = v1::PullImageRequest { image: spec(&reference), ..Default::default() };
        kubelet.images.pull_image(pull).await?;
        let status = v1::ImageStatusRequest { image: spec(&reference), verbose: false };
        let pinned = kubelet.images.image_status(status.clone()).await?.into_inner().image.expect("pulled").pinned;
        assert!(!pinned, "what the kubelet pulled is its to collect");
        kubelet.images.remove_image(v1::RemoveImageRequest { image: spec(&reference) }).await?;
        // The same content as docker's busybox: it stays for that door.
        world.docker(["run", "--rm", "busybox", "true"]).ok();
        Ok(())
    });
}

/// A pod on the host's network has the host's name, and its containers start.
#[test]
fn the_hosts_network_and_ipc() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let mut config = pod_config("host", &logs(&world, "host"), "");
        config.hostname.clear();
        let node = v1::NamespaceOption {
            network: v1::NamespaceMode::Node.into(),
            ipc: v1::NamespaceMode::Node.into(),
            pid: v1::NamespaceMode::Container.into(),
            ..Default::default()
        };
        let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
        context.namespace_options = Some(node.clone());
        let pod = kubelet.run_pod_as(config).await?;
        let mut config = container_config("c", IMAGE, &["sh", "-c", "hostname; readlink /proc/self/ns/ipc"]);
        security(&mut config).namespace_options = Some(node);
        let id = kubelet.start_as(&pod, config).await?;
        assert_eq!(kubelet.wait(&id, PATIENCE).await?.exit_code, 0);
        let text = std::fs::read_to_string(logs(&world, "host").join("c.log"))?;
        assert!(text.contains("gantry-test"), "{text}");
        assert!(text.contains(world.sh("readlink /proc/self/ns/ipc").trim()), "{text}");
        kubelet.remove_pod(&pod).await
    });
}

/// Programs may become another user, unless it is asked otherwise.
#[test]
fn no_new_privileges_is_off_unless_asked_for() {
    let world = world_with_busybox();
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("privileges", &logs(&world, "privileges"), "").await?;
        for asked in [false, true] {
            let mut config = container_config(&format!("asked-{asked}"), IMAGE, &["sleep", "1000"]);
            security(&mut config).no_new_privs = asked;
            let id = kubelet.start_as(&pod, config).await?;
            let (_, out, _) =
                kubelet.exec(&id, &["sh", "-c", "grep NoNewPrivs: /proc/1/status /proc/self/status"]).await?;
            let told: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().last()).collect();
            let expected = if asked { "1" } else { "0" };
            assert_eq!(told, [expected; 2], "{out}");
        }
        kubelet.remove_pod(&pod).await
    });
}

/// A device by its CDI name brings its node, environment, mount and group.
#[test]
fn devices_by_name() {
    let world = world_with_busybox();
    world.sh("mkdir -p /run/cdi; cat > /run/cdi/vendor.yaml <<END
cdiVersion: 0.6.0
kind: vendor.com/thing
devices:
- name: one
  containerEdits:
    env: [THING=one]
    deviceNodes:
    - {path: /dev/thing, hostPath: /dev/zero, permissions: r}
containerEdits:
  additionalGids: [4711]
  mounts:
  - {hostPath: /run/cdi, containerPath: /things, options: [ro, nosuid, bind]}
END
echo '{broken' > /run/cdi/another.json");
    with_kubelet(&world, async |mut kubelet| {
        let pod = kubelet.run_pod("devices", &logs(&world, "devices"), "").await?;
        let named = |device: &str| {
            let mut config = container_config("c", IMAGE, &["sleep", "1000"]);
            config.cdi_devices = vec![v1::CdiDevice { name: device.into() }];
            config
        };
        for (device, why) in [("vendor.com/thing=two", "unresolvable"), ("vendor.com", "vendor/class=name")] {
            let request = v1::CreateContainerRequest {
                pod_sandbox_id: pod.id.clone(),
                config: Some(named(device)),
                sandbox_config: Some(pod.config.clone()),
            };
            refused(kubelet.runtime.create_container(request).await, Code::InvalidArgument, why);
        }
        let id = kubelet.start_as(&pod, named("vendor.com/thing=one")).await?;
        let look = "head -c 3 /dev/thing | wc -c; \
                    tr '\\0' '\\n' < /proc/1/environ | grep THING; ls /things; grep -c 4711 /proc/1/status";
        let (_, out, err) = kubelet.exec(&id, &["sh", "-c", look]).await?;
        assert_eq!(out, "3\nTHING=one\nanother.json\nvendor.yaml\n1\n", "{err}");
        kubelet.remove_pod(&pod).await
    });
}

/// The init of a shared PID namespace is in a cgroup of the pod's, which goes with the pod, whoever dies first.
#[test]
fn the_init_of_a_pod_is_in_the_pods_cgroup() {
    let mut world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    let cgroup = world.cgroup().to_owned();
    let mut made = Vec::new();
    with_kubelet(&world, async |mut kubelet| {
        for name in ["stopped", "killed"] {
            let mut config = pod_config(name, &logs(&world, name), "");
            let context = config.linux.get_or_insert_default().security_context.get_or_insert_default();
            context.namespace_options.get_or_insert_default().pid = v1::NamespaceMode::Pod.into();
            let pod = kubelet.run_pod_as(config).await?;
            let own = format!("{cgroup}/{}", pod.id);
            let members = world.sh(&format!("cat /sys/fs/cgroup/memory{own}/cgroup.procs"));
            assert_eq!(members.lines().count(), 1, "{members}");
            let name = world.sh(&format!("cat /proc/{}/comm", members.trim()));
            assert_eq!(name.trim(), "gantry-init");
            made.push(pod);
        }
        kubelet.remove_pod(&made[0]).await
    });
    world.kill_daemon();
    world.sh("kill -9 $(pgrep -f '^[^ ]*shim-gantry')");
    world.start_daemon();
    with_kubelet(&world, async |mut kubelet| kubelet.remove_pod(&made[1]).await);
    world.assert_nothing_left(&before);
}
