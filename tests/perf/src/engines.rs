//! gantryd beside dockerd, each in a world of its own: run, exec, fifty at once, memory, ps, pull; and the CRI calls.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::daemon::program;
use testkit::image::sample;
use testkit::{EngineKind, World};

use crate::measure::{CpuMeter, Series, ms, percentile, time};
use crate::memory::Memory;
use crate::report::Report;

const RUNS: usize = 20;
const CONTAINERS: usize = 50;
const PULLS: usize = 3;
const PULL_LAYERS: usize = 6;
const PULL_BYTES: usize = 300 << 20;

/// An engine with its meter.
pub(crate) struct Side {
    name: &'static str,
    pub(crate) world: World,
    pub(crate) meter: CpuMeter,
}

impl Side {
    fn start(name: &'static str, kind: EngineKind) -> Self {
        let mut world = World::bare_with(kind);
        world.start_daemon();
        let archive = sample::busybox().docker_archive("busybox:latest");
        let headers = [("Content-Type", "application/x-tar")];
        let socket = world.docker_socket();
        testkit::http::request_with(&socket, "POST", "/images/load?quiet=1", &headers, &archive);
        let meter = CpuMeter::on(world.cgroup());
        meter.take_in(&world.processes());
        Self { name, world, meter }
    }

    pub(crate) fn client(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = self.world.client(program);
        command.args(args);
        command
    }
}

/// Runs every row that was chosen.
pub(crate) fn compare(report: &mut Report, chosen: &dyn Fn(&str) -> bool) {
    let mut ours = Side::start("gantryd", EngineKind::Gantry);
    let mut dockerd = Side::start("dockerd 20.10", EngineKind::Dockerd);
    let idle = (daemon_memory(&ours), daemon_memory(&dockerd));
    if chosen("run") {
        run_true(report, &ours, &dockerd);
    }
    if chosen("exec") {
        exec_true(report, &ours, &dockerd);
    }
    if chosen("cri") {
        cri_calls(report, &ours);
    }
    if ["parallel", "memory", "ps"].into_iter().any(chosen) {
        fifty(report, &ours, &dockerd, idle);
    }
    if chosen("build") {
        crate::builds::compare(report, &ours, &dockerd);
    }
    if chosen("pull") {
        pull(report, &mut ours, &mut dockerd);
    }
}

/// The same command through our client, through docker on ours, and through docker on dockerd, in turns.
fn three_ways(ours: &Side, dockerd: &Side, args: &[&str]) -> [Series; 3] {
    let (docker, gantry) = (Path::new("docker").to_path_buf(), program("gantry"));
    let mut series: [Series; 3] = Default::default();
    for round in 0..RUNS + 2 {
        for (n, (side, client)) in [(ours, &gantry), (ours, &docker), (dockerd, &docker)].into_iter().enumerate() {
            let mut discarded = Series::default();
            let target = if round < 2 { &mut discarded } else { &mut series[n] };
            time(target, &side.meter, side.client(client, args));
        }
    }
    series
}

fn show_three(report: &Report, series: &[Series; 3]) {
    for (name, series_) in
        ["gantry on gantryd", "docker CLI on gantryd", "docker CLI on dockerd 20.10"].iter().zip(series)
    {
        report.row(name, series_, &series[2]);
    }
}

fn run_true(report: &mut Report, ours: &Side, dockerd: &Side) {
    let series = three_ways(ours, dockerd, &["run", "--rm", "busybox", "true"]);
    report.heading("run --rm busybox true, end to end; CPU is the engine's side");
    show_three(report, &series);
    let [gantry, docker, peer] = &series;
    let ratio = |a: &Series| peer.median() / a.median();
    report.budget(
        "run --rm with our client at most 1/20 of dockerd's",
        &format!("1/{:.1}", ratio(gantry)),
        ratio(gantry) >= 20.0,
    );
    report.budget("run --rm with the docker CLI at most 1/5", &format!("1/{:.1}", ratio(docker)), ratio(docker) >= 5.0);
}

fn exec_true(report: &mut Report, ours: &Side, dockerd: &Side) {
    for side in [ours, dockerd] {
        side.world.docker(["run", "-d", "--name", "execed", "busybox", "sleep", "100000"]).ok();
    }
    let series = three_ways(ours, dockerd, &["exec", "execed", "true"]);
    report.heading("exec of `true` in a running container");
    show_three(report, &series);
    for side in [ours, dockerd] {
        side.world.docker(["rm", "-f", "execed"]).ok();
    }
}

/// The CRI calls of a pod's life, against the figures of containerd 2.3 that DESIGN.md quotes.
fn cri_calls(report: &mut Report, ours: &Side) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let logs = ours.world.dir().join("pods");
    let calls = runtime.block_on(pod_lives(&ours.world.cri_socket(), &logs)).expect("the CRI calls");
    report.heading("CRI calls (no peer in this run; budgets are fractions of containerd 2.3's recorded medians)");
    let rows = [("RunPodSandbox", 17.9), ("StartContainer", 5.8), ("ExecSync", 3.0), ("StopPodSandbox", 17.7)];
    for ((name, budget), series) in rows.iter().zip(&calls) {
        report.row(name, series, series);
        report.budget(
            &format!("{name} at most {budget} ms"),
            &format!("{:.2} ms", series.median()),
            series.median() <= *budget,
        );
    }
}

async fn pod_lives(socket: &Path, logs: &Path) -> Result<[Series; 4], pod::Error> {
    use k8s_cri::v1;
    let image = "docker.io/library/busybox:latest";
    let mut kubelet = pod::Kubelet::connect(socket).await?;
    let mut calls: [Series; 4] = Default::default();
    for n in 0..RUNS {
        let start = Instant::now();
        let made = kubelet.run_pod(&format!("bench-{n}"), logs, "").await?;
        calls[0].wall_ms.push(ms(start.elapsed()));
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: made.id.clone(),
            config: Some(pod::container_config("c", image, &["sleep", "100000"])),
            sandbox_config: Some(made.config.clone()),
        };
        let container_id = kubelet.runtime.create_container(request).await?.into_inner().container_id;
        let start = Instant::now();
        kubelet.runtime.start_container(v1::StartContainerRequest { container_id: container_id.clone() }).await?;
        calls[1].wall_ms.push(ms(start.elapsed()));
        let start = Instant::now();
        kubelet.exec(&container_id, &["true"]).await?;
        calls[2].wall_ms.push(ms(start.elapsed()));
        kubelet.runtime.stop_container(v1::StopContainerRequest { container_id, timeout: 0 }).await?;
        let start = Instant::now();
        kubelet.runtime.stop_pod_sandbox(v1::StopPodSandboxRequest { pod_sandbox_id: made.id.clone() }).await?;
        calls[3].wall_ms.push(ms(start.elapsed()));
        kubelet.remove_pod(&made).await?;
    }
    Ok(calls)
}

fn daemon_memory(side: &Side) -> Memory {
    // Settle: what a start leaves behind is not idle memory.
    std::thread::sleep(Duration::from_secs(1));
    Memory::of(&side.world.processes(), &["gantryd", "dockerd", "containerd"])
}

/// Fifty containers at once: how long, how much memory, and how fast they are listed.
fn fifty(report: &mut Report, ours: &Side, dockerd: &Side, idle: (Memory, Memory)) {
    report.heading(&format!("{CONTAINERS} containers in parallel (8 clients): create + start, for each container"));
    let started = [ours, dockerd].map(|side| {
        let mut series = Series::default();
        let (cpu, start) = (side.meter.read_ms(), Instant::now());
        let names = testkit::crowd::start(&side.world, CONTAINERS);
        series.wall_ms.push(ms(start.elapsed()) / 50.0);
        series.cpu_ms.push((side.meter.read_ms() - cpu) / 50.0);
        (series, names)
    });
    report.row(ours.name, &started[0].0, &started[1].0);
    report.row(dockerd.name, &started[1].0, &started[1].0);
    memory(report, ours, dockerd, idle);
    list(report, ours, dockerd);
    for (side, (_, names)) in [ours, dockerd].into_iter().zip(started) {
        side.world.docker([&["rm".to_owned(), "-f".to_owned()], &names[..]].concat()).ok();
    }
}

fn memory(report: &mut Report, ours: &Side, dockerd: &Side, idle: (Memory, Memory)) {
    println!("\nMemory");
    report.line(&format!("gantryd, idle: {}", idle.0.shown()));
    report.line(&format!("dockerd and containerd, idle: {}", idle.1.shown()));
    let full = daemon_memory(ours);
    report.line(&format!("gantryd, {CONTAINERS} containers: {}", full.shown()));
    let shims = Memory::of(&ours.world.processes(), &["containerd-shim"]);
    report.line(&format!("our shims, {CONTAINERS} containers: {}", shims.shown()));
    let peer = Memory::of(&dockerd.world.processes(), &["dockerd", "containerd", "containerd-shim", "docker-proxy"]);
    report.line(&format!("dockerd, containerd and shims, {CONTAINERS} containers: {}", peer.shown()));
    let each = shims.pss_mb() / 50.0;
    report.budget("a shim at most 1 MB PSS", &format!("{each:.2} MB"), shims.processes >= 50 && each <= 1.0);
    report.budget("the idle daemon at most 20 MB PSS", &format!("{:.1} MB", idle.0.pss_mb()), idle.0.pss_mb() <= 20.0);
    let (before, start) = (ours.meter.read_ms(), Instant::now());
    std::thread::sleep(Duration::from_secs(5));
    let used = (ours.meter.read_ms() - before) / ms(start.elapsed()) * 100.0;
    let what = "the engine with 50 idle containers uses no CPU (below 0.1 % of a core)";
    report.budget(what, &format!("{used:.3} %"), used < 0.1);
}

fn list(report: &mut Report, ours: &Side, dockerd: &Side) {
    let series = three_ways(ours, dockerd, &["ps"]);
    report.heading(&format!("ps with {CONTAINERS} containers"));
    show_three(report, &series);
    let raw = [ours, dockerd].map(|side| {
        let socket = side.world.docker_socket();
        let mut series = Series::default();
        for _ in 0..200 {
            let start = Instant::now();
            assert_eq!(testkit::http::request(&socket, "GET", "/containers/json", b"").status, 200);
            series.wall_ms.push(ms(start.elapsed()));
        }
        series
    });
    report.row("GET /containers/json on gantryd", &raw[0], &raw[1]);
    report.row("GET /containers/json on dockerd 20.10", &raw[1], &raw[1]);
    let p99 = percentile(&raw[0].wall_ms, 99);
    report.budget("p99 of a list at most 5 ms", &format!("{p99:.2} ms with {CONTAINERS}"), p99 <= 5.0);
}

fn pull(report: &mut Report, ours: &mut Side, dockerd: &mut Side) {
    let image = sample::bulky(PULL_LAYERS - 1, PULL_BYTES);
    let reference = ours.world.registry().push(&image, "bulky:1");
    dockerd.world.registry().push(&image, "bulky:1");
    let mut series: [Series; 2] = Default::default();
    for _ in 0..PULLS {
        for (side, series) in [&*ours, &*dockerd].into_iter().zip(&mut series) {
            time(series, &side.meter, side.client(Path::new("docker"), &["pull", "-q", &reference]));
            side.world.docker(["rmi", &reference]).ok();
        }
    }
    report.heading("pull + unpack of 300 MB in 6 layers from a registry on loopback");
    report.row(ours.name, &series[0], &series[1]);
    report.row(dockerd.name, &series[1], &series[1]);
    let found = format!("{:.2} of dockerd's time", series[0].median() / series[1].median());
    report.budget("a pull is faster than dockerd's", &found, series[0].median() < series[1].median());
    let floor = inflate_floor_ms(ours.world.dir());
    let found = format!("{:.0} ms; inflating alone on {} cores: {floor:.0} ms", series[0].median(), cores());
    report.budget("a pull at most 1.2 of the floor", &found, series[0].median() <= 1.2 * floor);
}

/// What one core needs to inflate every layer of the registry, divided among the cores.
fn inflate_floor_ms(dir: &Path) -> f64 {
    let script = format!(
        "find {}/registry/docker/registry/v2/blobs -name data -size +100k | while read f; do gzip -dc < $f > /dev/null 2>&1; done",
        dir.display()
    );
    let start = Instant::now();
    testkit::run("sh", ["-c", &script]).ok();
    ms(start.elapsed()) / f64::from(u32::try_from(cores()).unwrap_or(1))
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
