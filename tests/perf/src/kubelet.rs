//! The load of a kubelet with many pods: lists each second, statuses, statistics each ten seconds, exec probes. What
//! matters is the slow end: a list that is late makes a kubelet call its node unhealthy.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use k8s_cri::v1;
use pod::{Kubelet, Pod};
use testkit::{EngineKind, World};
use tokio::task::JoinSet;

use crate::measure::{CpuMeter, Series, ms, percentile};
use crate::memory::Memory;
use crate::pods;
use crate::report::Report;

/// Pods of two containers each; `PERF_PODS` says another number.
const PODS: usize = 200;
/// Pods that are made or removed at once.
const WORKERS: usize = 8;
/// Time of the load.
const LOAD: Duration = Duration::from_secs(30);
/// Time over which the idle engine's CPU is taken.
const IDLE: Duration = Duration::from_secs(10);
/// Statuses asked each second: every container each ten seconds, as a resync does.
const STATUSES_EACH: usize = 10;
/// One container in so many has an exec probe, each ten seconds.
const PROBED_EACH: usize = 5;
/// Milliseconds that a list may take at its 99th percentile.
const LIST_P99_MS: f64 = 5.0;
const IMAGE: &str = "docker.io/library/busybox:latest";

/// Times by call.
type Calls = BTreeMap<&'static str, Series>;

/// Measures and judges.
pub(crate) fn load(report: &mut Report) {
    let count = std::env::var("PERF_PODS").ok().and_then(|text| text.parse().ok()).unwrap_or(PODS);
    let mut world = World::bare_with(EngineKind::Gantry);
    world.start_daemon();
    pods::load(&world);
    let meter = CpuMeter::on(world.cgroup());
    meter.take_in(&world.processes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let socket = world.cri_socket();
    let logs = world.dir().join("pods");
    let before = daemon(&world);
    let (made, took) = runtime.block_on(make(&socket, &logs, count)).expect("pods");
    println!("\nThe load of a kubelet with {count} pods of two containers");
    report.line(&format!("made in {:.1} s, {WORKERS} at once", took.as_secs_f64()));

    let (cpu, start) = (meter.read_ms(), Instant::now());
    let calls = runtime.block_on(drive(&socket, &made)).expect("the load");
    let used = (meter.read_ms() - cpu) / ms(start.elapsed()) * 100.0;
    let mut calls = calls;
    docker_lists(&world, &mut calls);
    for (name, series) in &calls {
        let at = |percent| percentile(&series.wall_ms, percent);
        let (p50, p99, most) = (at(50), at(99), at(100));
        let count = series.wall_ms.len();
        report.line(&format!("{name:<24} p50 {p50:>8.2} ms   p99 {p99:>8.2} ms   most {most:>8.2} ms   {count} calls"));
    }
    for name in ["ListContainers", "ListPodSandbox"] {
        let p99 = calls.get(name).map_or(f64::NAN, |series| percentile(&series.wall_ms, 99));
        let what = format!("p99 of {name} with {count} pods at most {LIST_P99_MS} ms");
        report.budget(&what, &format!("{p99:.2} ms"), p99 <= LIST_P99_MS);
    }
    report.line(&format!("CPU of engine and containers under this load: {used:.1} % of a core"));
    let after = daemon(&world);
    report.line(&format!("the daemon: {} before, {} with the pods", before.shown(), after.shown()));
    let (cpu, start) = (meter.read_ms(), Instant::now());
    std::thread::sleep(IDLE);
    let idle = (meter.read_ms() - cpu) / ms(start.elapsed()) * 100.0;
    report.budget("CPU with idle pods below 0.5 % of a core", &format!("{idle:.2} %"), idle < 0.5);
    runtime.block_on(remove(&socket, made)).expect("removal");
    std::thread::sleep(Duration::from_secs(1));
    report.line(&format!("the daemon after their removal: {}", daemon(&world).shown()));
}

/// The same containers through the Docker door.
fn docker_lists(world: &World, calls: &mut Calls) {
    let path = "/containers/json?filters=%7B%22owner%22%3A%5B%22cri%22%5D%7D";
    for _ in 0..100 {
        let begin = Instant::now();
        assert_eq!(testkit::http::request(&world.docker_socket(), "GET", path, b"").status, 200);
        note(calls, "GET /containers/json", begin);
    }
}

fn daemon(world: &World) -> Memory {
    Memory::of(&world.processes(), &["gantryd"])
}

/// A pod with the ids of its containers.
struct Made {
    pod: Pod,
    containers: Vec<String>,
}

async fn make(socket: &Path, logs: &Path, count: usize) -> Result<(Vec<Made>, Duration), pod::Error> {
    let kubelet = Kubelet::connect(socket).await?;
    let start = Instant::now();
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        let (mut kubelet, logs) = (kubelet.clone(), logs.to_path_buf());
        workers.spawn(async move {
            let mut made = Vec::new();
            for n in (worker..count).step_by(WORKERS) {
                let name = format!("load-{n}");
                let pod = kubelet.run_pod(&name, &logs.join(&name), "").await?;
                let mut containers = Vec::new();
                for container in ["first", "second"] {
                    containers.push(kubelet.start(&pod, container, IMAGE, &["sleep", "100000"]).await?);
                }
                made.push(Made { pod, containers });
            }
            Ok::<_, pod::Error>(made)
        });
    }
    let mut made = Vec::new();
    while let Some(part) = workers.join_next().await {
        made.extend(part??);
    }
    Ok((made, start.elapsed()))
}

async fn remove(socket: &Path, made: Vec<Made>) -> Result<(), pod::Error> {
    let kubelet = Kubelet::connect(socket).await?;
    let mut made = made.into_iter();
    let mut workers = JoinSet::new();
    loop {
        while workers.len() < WORKERS {
            let Some(Made { pod, .. }) = made.next() else { break };
            let mut kubelet = kubelet.clone();
            workers.spawn(async move { kubelet.remove_pod(&pod).await });
        }
        match workers.join_next().await {
            Some(removed) => removed??,
            None => return Ok(()),
        }
    }
}

/// The kubelet's rounds: one each second; nothing in a round waits for the probes.
async fn drive(socket: &Path, made: &[Made]) -> Result<Calls, pod::Error> {
    let mut kubelet = Kubelet::connect(socket).await?;
    assert!(pods::is_ready(&mut kubelet).await?, "the runtime is not ready");
    let containers: Vec<&String> = made.iter().flat_map(|pod| &pod.containers).collect();
    let mut calls = Calls::new();
    let mut probes: JoinSet<Result<f64, pod::Error>> = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let start = Instant::now();
    let mut second = 0;
    while start.elapsed() < LOAD {
        tick.tick().await;
        relist(&mut kubelet, &mut calls, made.len()).await?;
        for container in containers.iter().skip(second % STATUSES_EACH).step_by(STATUSES_EACH) {
            let begin = Instant::now();
            kubelet.status(container).await?;
            note(&mut calls, "ContainerStatus", begin);
        }
        if second % 10 == 0 {
            let begin = Instant::now();
            kubelet.runtime.list_container_stats(v1::ListContainerStatsRequest::default()).await?;
            note(&mut calls, "ListContainerStats", begin);
        }
        let due = containers.iter().step_by(PROBED_EACH).skip(second % 10).step_by(10);
        for container in due {
            let (mut kubelet, container) = (kubelet.clone(), (*container).clone());
            probes.spawn(async move {
                let begin = Instant::now();
                let (code, ..) = kubelet.exec(&container, &["true"]).await?;
                assert_eq!(code, 0, "the probe");
                Ok(ms(begin.elapsed()))
            });
        }
        second += 1;
    }
    while let Some(took) = probes.join_next().await {
        calls.entry("ExecSync (probe)").or_default().wall_ms.push(took??);
    }
    Ok(calls)
}

async fn relist(kubelet: &mut Kubelet, calls: &mut Calls, pods: usize) -> Result<(), pod::Error> {
    // Ten in a row: thirty rounds alone give no 99th percentile.
    for _ in 0..10 {
        // What a call costs that has nothing to do: the machine's own noise is in it, and in all others.
        let begin = Instant::now();
        kubelet.runtime.version(v1::VersionRequest::default()).await?;
        note(calls, "Version (noise floor)", begin);
        let begin = Instant::now();
        let listed = kubelet.runtime.list_pod_sandbox(v1::ListPodSandboxRequest::default()).await?.into_inner();
        note(calls, "ListPodSandbox", begin);
        assert_eq!(listed.items.len(), pods, "pods");
        let begin = Instant::now();
        let listed = kubelet.runtime.list_containers(v1::ListContainersRequest::default()).await?.into_inner();
        note(calls, "ListContainers", begin);
        assert_eq!(listed.containers.len(), 2 * pods, "containers");
    }
    Ok(())
}

fn note(calls: &mut Calls, name: &'static str, begin: Instant) {
    calls.entry(name).or_default().wall_ms.push(ms(begin.elapsed()));
}
