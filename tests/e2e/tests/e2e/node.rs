//! A node under a kubelet, seen by the person who debugs it; and what a kubelet is promised about calls that only read.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_cri::v1;
use pod::{Kubelet, Pod};
use testkit::World;

use crate::client::world_with_busybox;

const IMAGE: &str = "docker.io/library/busybox:latest";
/// What a call that reads from memory may take on a slow machine; one that waits for a container takes for ever.
const READ_MAX: Duration = Duration::from_secs(3);

fn on<T>(world: &World, scenario: impl AsyncFnOnce(&mut Kubelet) -> Result<T, pod::Error>) -> T {
    let runtime = tokio::runtime::Runtime::new().expect("tokio");
    let socket = world.cri_socket();
    let outcome = runtime.block_on(async { scenario(&mut Kubelet::connect(&socket).await?).await });
    outcome.expect("the scenario")
}

fn logs(world: &World) -> PathBuf {
    world.dir().join("pods")
}

async fn pod_of_two(kubelet: &mut Kubelet, world: &World) -> Result<(Pod, String, String), pod::Error> {
    let pod = kubelet.run_pod("web", &logs(world), "").await?;
    let talk = ["sh", "-c", "echo hello from the pod; exec sleep 100000"];
    let server = kubelet.start(&pod, "server", IMAGE, &talk).await?;
    let client = kubelet.start(&pod, "client", IMAGE, &["sleep", "100000"]).await?;
    Ok((pod, server, client))
}

#[test]
fn pods_are_seen_and_left_alone_through_the_docker_door() {
    let world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    let (pod, server, client) = on(&world, async |kubelet| pod_of_two(kubelet, &world).await);
    world.gantry(["run", "-d", "--name", "plain", "busybox", "sleep", "100000"]).ok();

    let listed = world.gantry(["pods", "--format", "{{.Namespace}}/{{.Name}} {{.State}} {{.Containers}} {{.ID}}"]).ok();
    assert_eq!(listed, format!("default/web ready 2 {}", &pod.id[..12]));
    assert_eq!(world.gantry(["pods", "-q", "--no-trunc"]).ok(), pod.id);
    let tree = world.gantry(["ps", "--pods", "--format", "{{.Tree}} {{.ID}}"]).ok();
    let lines: Vec<&str> = tree.lines().collect();
    assert_eq!(lines[0], format!("default/web {}", &pod.id[..12]), "{tree}");
    for (id, name) in [(&server, "server"), (&client, "client")] {
        let twig = format!("─ {name} {}", &id[..12]);
        assert!(lines[1..3].iter().any(|line| line.ends_with(&twig)), "{twig} in {tree}");
    }
    assert_eq!((lines[3].trim(), lines.len()), ("docker", 5), "{tree}");
    assert!(lines[4].starts_with("└─ plain "), "{tree}");

    // By id, by prefix, and with docker's own client.
    assert_eq!(world.gantry(["logs", &server]).ok(), "hello from the pod");
    assert_eq!(world.docker(["logs", &server[..12]]).ok(), "hello from the pod");
    assert_eq!(world.docker(["exec", &server[..12], "hostname"]).ok(), "web");
    assert_eq!(world.gantry(["inspect", "-f", "{{.State.Status}}", &client]).ok(), "running");
    assert_eq!(
        world.gantry(["inspect", "--type", "pod", "-f", "{{.Namespace}} {{.State}}", "web"]).ok(),
        "default ready"
    );
    assert!(world.gantry(["inspect", "default/web"]).ok().contains(&server));

    for words in [&["stop"][..], &["kill"], &["restart"], &["pause"], &["rm"], &["update", "--memory", "64m"]] {
        let refused = world.docker([words, &[server.as_str()]].concat()).failure().to_owned();
        assert!(refused.contains("belongs to"), "{words:?}: {refused}");
    }
    let refused = world.gantry(["stop", &server]).failure().to_owned();
    assert!(refused.contains("its kubelet decides") && refused.contains("--force"), "{refused}");
    on(&world, async |kubelet| {
        assert_eq!(kubelet.status(&server).await?.state(), v1::ContainerState::ContainerRunning);
        Ok(())
    });
    world.gantry(["stop", "--force", "-t", "0", &server]).ok();
    let why = world.gantry(["why", &server]).ok();
    for part in
        ["is exited: it ended with code 137", "SIGKILL ended it", "sent through the engine", "hello from the pod"]
    {
        assert!(why.contains(part), "{part:?} in {why}");
    }
    world.gantry(["rm", "--force", &client]).ok();
    on(&world, async |kubelet| {
        assert_eq!(kubelet.status(&server).await?.state(), v1::ContainerState::ContainerExited);
        assert!(kubelet.status(&client).await.is_err(), "removed");
        kubelet.remove_pod(&pod).await
    });
    assert_eq!(world.gantry(["pods", "-aq"]).ok(), "");
    world.gantry(["rm", "-f", "plain"]).ok();
    std::fs::remove_dir_all(logs(&world)).expect("logs");
    world.assert_nothing_left(&before);
}

/// What runs is owned; what is left lying about is told, and by what name.
#[test]
fn leaks_are_told_and_nothing_else() {
    let world = world_with_busybox();
    world.gantry(["run", "-d", "--name", "plain", "busybox", "sleep", "100000"]).ok();
    let pod = on(&world, async |kubelet| Ok(pod_of_two(kubelet, &world).await?.0));
    assert_eq!(world.gantry(["leaks", "--format", "{{.Kind}} {{.Name}}"]).ok(), "");
    let stray = "0123456789abcdef".repeat(4);
    let directory = world.root().join("containers").join(&stray);
    std::fs::create_dir(&directory).expect("a stray directory");
    let port = "p=$(ip -o link show type bridge | head -1 | cut -d' ' -f2 | tr -d :); ip link add stray0 type veth peer name stray1; \
                ip link set stray0 master $p";
    world.sh(port);
    let told = world.gantry(["leaks", "--format", "{{.Kind}} {{.Name}}"]);
    assert_eq!(told.out(), format!("directory {}\ninterface stray0", directory.display()), "{told}");
    told.fails(1);
    world.sh("ip link delete stray0");
    std::fs::remove_dir(&directory).expect("the stray directory");
    assert_eq!(world.gantry(["leaks", "--format", "{{.Kind}}"]).ok(), "");
    on(&world, async |kubelet| kubelet.remove_pod(&pod).await);
    world.gantry(["rm", "-f", "plain"]).ok();
}

/// The files `cgroup.freeze` or `freezer.state` of a container's cgroup, with the word that freezes it.
fn freezer(world: &World, id: &str) -> (PathBuf, &'static str, &'static str) {
    let find = |name: &str| {
        let script = format!("find /sys/fs/cgroup -path '*{id}*' -name {name} 2>/dev/null | head -1");
        Some(PathBuf::from(world.sh(&script))).filter(|path| !path.as_os_str().is_empty())
    };
    match find("freezer.state") {
        Some(file) => (file, "FROZEN", "THAWED"),
        None => (find("cgroup.freeze").expect("a freezer"), "1", "0"),
    }
}

/// A container that hangs (frozen behind the engine's back), and one whose log nobody can write: no call that reads
/// waits for them, and neither do other containers.
#[test]
fn reading_calls_wait_for_no_container() {
    let world = world_with_busybox();
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    on(&world, async |kubelet| {
        // Its log is a FIFO that nobody reads.
        std::fs::create_dir_all(logs(&world))?;
        world.sh(&format!("mkfifo {}/wedged.log", logs(&world).display()));
        let (pod, server, client) = pod_of_two(kubelet, &world).await?;
        let wedged = tokio::time::timeout(
            Duration::from_secs(20),
            kubelet.start(&pod, "wedged", IMAGE, &["sh", "-c", "while :; do echo x; done"]),
        );
        // Whether such a container starts or is refused is not the question; that it is decided is.
        let _decided = wedged.await?;
        let (file, freeze, thaw) = freezer(&world, &server);
        std::fs::write(&file, freeze)?;
        // An exec that hangs with it.
        let (mut other, frozen) = (kubelet.clone(), server.clone());
        let exec = tokio::spawn(async move { other.exec(&frozen, &["true"]).await.map_err(|e| e.to_string()) });

        for round in 0..3 {
            reads(kubelet, &pod, [&server, &client]).await.map_err(|e| format!("round {round}: {e}"))?;
        }
        let start = Instant::now();
        let (code, ..) = kubelet.exec(&client, &["true"]).await?;
        assert!(code == 0 && start.elapsed() < READ_MAX * 2, "{:?}", start.elapsed());
        let start = Instant::now();
        assert!(world.docker(["ps", "-q", "--filter", "owner=cri"]).ok().lines().count() >= 2);
        world.docker(["inspect", &server]).ok();
        assert!(start.elapsed() < READ_MAX * 2, "{:?}", start.elapsed());

        std::fs::write(&file, thaw)?;
        let _either = exec.await?;
        kubelet.remove_pod(&pod).await
    });
    std::fs::remove_dir_all(logs(&world)).expect("logs");
    world.assert_nothing_left(&before);
}

/// What the kubelet calls each second, each within its time.
async fn reads(kubelet: &mut Kubelet, pod: &Pod, containers: [&String; 2]) -> Result<(), pod::Error> {
    let pod_sandbox_id = pod.id.clone();
    let within = |what: &str, start: Instant| {
        let took = start.elapsed();
        if took < READ_MAX { Ok(()) } else { Err(format!("{what} took {took:?}")) }
    };
    let start = Instant::now();
    let listed = kubelet.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
    within("ListContainers", start)?;
    assert!(listed.containers.len() >= 2);
    let start = Instant::now();
    kubelet.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?;
    within("ListPodSandbox", start)?;
    let start = Instant::now();
    let status = v1::PodSandboxStatusRequest { pod_sandbox_id, verbose: true };
    kubelet.runtime.pod_sandbox_status(status).await?;
    within("PodSandboxStatus", start)?;
    for container in containers {
        let start = Instant::now();
        kubelet.status(container).await?;
        within("ContainerStatus", start)?;
    }
    let start = Instant::now();
    kubelet.runtime.list_container_stats(v1::ListContainerStatsRequest::default()).await?;
    within("ListContainerStats", start)?;
    let start = Instant::now();
    kubelet.runtime.status(v1::StatusRequest { verbose: true }).await?;
    within("Status", start)?;
    Ok(())
}
