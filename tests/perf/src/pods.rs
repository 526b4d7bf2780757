//! A pod's life over CRI: gantryd beside Debian's containerd with runc, the same calls by the same client in one run,
//! one after the other and fifty at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use k8s_cri::v1;
use pod::{Kubelet, Pod};
use serde_json::json;
use testkit::image::sample;
use testkit::{EngineKind, World, wait};
use tokio::task::JoinSet;

use crate::measure::{CpuMeter, Series, ms};
use crate::report::Report;

/// Pods one after the other.
const SEQUENTIAL: usize = 12;
/// Pods at once.
const PARALLEL: usize = 50;
/// Execs in one container.
const EXECS: usize = 40;
const IMAGE: &str = "docker.io/library/busybox:latest";
/// How much faster than containerd a pod must be made and removed, and `true` be executed (issue 3 of the plan).
const POD_FACTOR: f64 = 5.0;
const EXEC_FACTOR: f64 = 10.0;

/// A runtime in a world of its own.
struct Side {
    name: &'static str,
    socket: PathBuf,
    logs: PathBuf,
    /// What pods' cgroups are made under; empty = the runtime's own.
    cgroup: String,
    meter: CpuMeter,
    /// Before the world, which it runs in.
    containerd: Option<Child>,
    _world: World,
}

impl Side {
    fn gantryd() -> Self {
        let mut world = World::bare_with(EngineKind::Gantry);
        world.start_daemon();
        load(&world);
        Self::of("gantryd", world, None)
    }

    /// Both with the same plugins: what is compared is the runtime.
    fn gantryd_with_cni() -> Self {
        let mut world = World::bare_with(EngineKind::Gantry);
        configure_cni(&world);
        world.start_daemon();
        load(&world);
        Self::of("gantryd, the same CNI plugins", world, None)
    }

    fn containerd() -> Self {
        let world = World::bare_with(EngineKind::Gantry);
        configure_cni(&world);
        let child = start_containerd(&world);
        Self::of("containerd 1.6 + runc", world, Some(child))
    }

    fn of(name: &'static str, world: World, containerd: Option<Child>) -> Self {
        let meter = CpuMeter::on(world.cgroup());
        meter.take_in(&world.processes());
        let cgroup = if containerd.is_some() { format!("{}/pods", world.cgroup()) } else { String::new() };
        let logs = world.dir().join("pods");
        Self { name, socket: world.cri_socket(), logs, cgroup, meter, containerd, _world: world }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        if let Some(child) = &mut self.containerd {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Measures and judges.
pub(crate) fn compare(report: &mut Report) {
    let sides = [Side::gantryd(), Side::gantryd_with_cni(), Side::containerd()];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("tokio");
    let mut lives: [Life; 3] = Default::default();
    // In turns: what else the machine does is everybody's.
    for round in 0..SEQUENTIAL + 1 {
        for (side, life) in sides.iter().zip(&mut lives) {
            let mut discarded = Life::default();
            let life = if round == 0 { &mut discarded } else { life };
            runtime.block_on(one(side, &format!("bench-{round}"), life)).expect("a pod's life");
        }
    }
    for (side, life) in sides.iter().zip(&mut lives) {
        runtime.block_on(execs(side, &mut life.exec)).expect("execs");
    }
    let names = sides.each_ref().map(|side| side.name);
    show(
        report,
        "RunPodSandbox + CreateContainer + StartContainer, one by one",
        names,
        lives.each_ref().map(|l| &l.up),
    );
    judge(report, "a pod of one container is up", &lives[0].up, &lives[2].up, POD_FACTOR);
    show(report, "StopPodSandbox + RemovePodSandbox, one by one", names, lives.each_ref().map(|l| &l.down));
    judge(report, "a pod is gone", &lives[0].down, &lives[2].down, POD_FACTOR);
    show(report, "ExecSync of `true`", names, lives.each_ref().map(|l| &l.exec));
    judge(report, "ExecSync", &lives[0].exec, &lives[2].exec, EXEC_FACTOR);

    let mut crowds: [Life; 3] = Default::default();
    for (side, life) in sides.iter().zip(&mut crowds) {
        runtime.block_on(crowd(side, life)).expect("pods at once");
    }
    let heading = format!("{PARALLEL} pods at once: up, each pod's own time");
    show(report, &heading, names, crowds.each_ref().map(|l| &l.up));
    judge(report, "a pod is up among fifty", &crowds[0].up, &crowds[2].up, POD_FACTOR);
    show(report, &format!("{PARALLEL} pods at once: gone"), names, crowds.each_ref().map(|l| &l.down));
    judge(report, "a pod is gone among fifty", &crowds[0].down, &crowds[2].down, POD_FACTOR);
}

/// Times of a pod's parts.
#[derive(Debug, Default)]
struct Life {
    up: Series,
    down: Series,
    exec: Series,
}

fn show(report: &Report, heading: &str, names: [&str; 3], series: [&Series; 3]) {
    report.heading(heading);
    for (name, one) in names.into_iter().zip(series) {
        report.row(name, one, series[2]);
    }
}

fn judge(report: &mut Report, what: &str, ours: &Series, theirs: &Series, factor: f64) {
    let found = theirs.median() / ours.median();
    report.budget(
        &format!("{what} at least {factor} times as fast as with containerd 1.6 + runc"),
        &format!("{found:.1} times"),
        found >= factor,
    );
}

async fn one(side: &Side, name: &str, life: &mut Life) -> Result<(), pod::Error> {
    let mut kubelet = Kubelet::connect(&side.socket).await?;
    let (cpu, start) = (side.meter.read_ms(), Instant::now());
    let made = up(&mut kubelet, side, name).await?;
    life.up.wall_ms.push(ms(start.elapsed()));
    life.up.cpu_ms.push(side.meter.read_ms() - cpu);
    let (cpu, start) = (side.meter.read_ms(), Instant::now());
    kubelet.remove_pod(&made).await?;
    life.down.wall_ms.push(ms(start.elapsed()));
    life.down.cpu_ms.push(side.meter.read_ms() - cpu);
    Ok(())
}

async fn up(kubelet: &mut Kubelet, side: &Side, name: &str) -> Result<Pod, pod::Error> {
    let made = kubelet.run_pod(name, &side.logs.join(name), &side.cgroup).await?;
    kubelet.start(&made, "c", IMAGE, &["sleep", "100000"]).await?;
    Ok(made)
}

async fn execs(side: &Side, series: &mut Series) -> Result<(), pod::Error> {
    let mut kubelet = Kubelet::connect(&side.socket).await?;
    let made = kubelet.run_pod("execed", &side.logs.join("execed"), &side.cgroup).await?;
    let container = kubelet.start(&made, "c", IMAGE, &["sleep", "100000"]).await?;
    for round in 0..EXECS + 2 {
        let (cpu, start) = (side.meter.read_ms(), Instant::now());
        let (code, ..) = kubelet.exec(&container, &["true"]).await?;
        assert_eq!(code, 0, "true");
        if round >= 2 {
            series.wall_ms.push(ms(start.elapsed()));
            series.cpu_ms.push(side.meter.read_ms() - cpu);
        }
    }
    kubelet.remove_pod(&made).await
}

/// All at once; each one's time is its own, CPU is divided among them.
async fn crowd(side: &Side, life: &mut Life) -> Result<(), pod::Error> {
    let kubelet = Kubelet::connect(&side.socket).await?;
    let cpu = side.meter.read_ms();
    let mut rising = JoinSet::new();
    for n in 0..PARALLEL {
        let (mut kubelet, logs, cgroup) = (kubelet.clone(), side.logs.clone(), side.cgroup.clone());
        rising.spawn(async move {
            let name = format!("crowd-{n}");
            let start = Instant::now();
            let made = kubelet.run_pod(&name, &logs.join(&name), &cgroup).await?;
            kubelet.start(&made, "c", IMAGE, &["sleep", "100000"]).await?;
            Ok::<_, pod::Error>((made, ms(start.elapsed())))
        });
    }
    let mut pods = Vec::new();
    while let Some(made) = rising.join_next().await {
        let (made, took) = made??;
        life.up.wall_ms.push(took);
        pods.push(made);
    }
    let each = f64::from(u32::try_from(PARALLEL).unwrap_or(1));
    life.up.cpu_ms.push((side.meter.read_ms() - cpu) / each);
    let cpu = side.meter.read_ms();
    let mut falling = JoinSet::new();
    for made in pods {
        let mut kubelet = kubelet.clone();
        falling.spawn(async move {
            let start = Instant::now();
            kubelet.remove_pod(&made).await?;
            Ok::<_, pod::Error>(ms(start.elapsed()))
        });
    }
    while let Some(took) = falling.join_next().await {
        life.down.wall_ms.push(took??);
    }
    life.down.cpu_ms.push((side.meter.read_ms() - cpu) / each);
    Ok(())
}

pub(crate) fn load(world: &World) {
    let archive = sample::busybox().docker_archive("busybox:latest");
    let headers = [("Content-Type", "application/x-tar")];
    let answer =
        testkit::http::request_with(&world.docker_socket(), "POST", "/images/load?quiet=1", &headers, &archive);
    assert_eq!(answer.status, 200, "load the image");
}

fn configure_cni(world: &World) {
    let folder = world.dir().join("cni");
    fs::create_dir_all(&folder).expect("CNI directory");
    let list = json!({"cniVersion": "1.0.0", "name": "bench", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "dataDir": world.dir().join("leases")},
    }, {"type": "portmap", "capabilities": {"portMappings": true}}]});
    fs::write(folder.join("10-bench.conflist"), list.to_string()).expect("CNI configuration");
}

/// Debian's containerd with its CRI plugin, and the images it needs: a pause image is made here, of busybox.
fn start_containerd(world: &World) -> Child {
    let dir = world.dir();
    let socket = world.cri_socket();
    let config = format!(
        "version = 2\nroot = {root:?}\nstate = \"/run/containerd\"\noom_score = 0\n\
         disabled_plugins = [\"io.containerd.snapshotter.v1.btrfs\", \"io.containerd.snapshotter.v1.zfs\", \
         \"io.containerd.snapshotter.v1.aufs\", \"io.containerd.snapshotter.v1.devmapper\"]\n\
         [grpc]\naddress = {socket:?}\n\
         [plugins.\"io.containerd.internal.v1.opt\"]\npath = {opt:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"docker.io/library/pause:bench\"\n\
         disable_apparmor = true\nrestrict_oom_score_adj = true\nstream_server_address = \"127.0.0.1\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = \"/usr/lib/cni\"\nconf_dir = {cni:?}\n",
        root = dir.join("containerd"),
        opt = dir.join("opt"),
        cni = dir.join("cni"),
    );
    let file = dir.join("containerd.toml");
    fs::write(&file, config).expect("containerd's configuration");
    let log = File::create(dir.join("containerd.log")).expect("log");
    let mut command = world.enter("containerd");
    command.arg("--config").arg(&file).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("dup")).stderr(log);
    let mut child = command.spawn().expect("containerd");
    let failed = |what: &str| -> ! {
        panic!("{what}:\n{}", fs::read_to_string(dir.join("containerd.log")).unwrap_or_default());
    };
    wait::until("containerd", Duration::from_secs(30), || {
        if child.try_wait().expect("wait").is_some() {
            failed("containerd ended at its start");
        }
        socket.exists().then_some(())
    });
    let pause = sample::busybox().set("Cmd", json!(["sleep", "1000000"])).docker_archive("pause:bench");
    for (name, archive) in [("pause", pause), ("busybox", sample::busybox().docker_archive("busybox:latest"))] {
        let path = dir.join(format!("{name}.tar"));
        fs::write(&path, archive).expect("archive");
        import(world, &socket, &path);
    }
    child
}

fn import(world: &World, socket: &Path, archive: &Path) {
    let mut command = world.enter("ctr");
    command.arg("-a").arg(socket).args(["-n", "k8s.io", "images", "import"]).arg(archive);
    let output = command.output().expect("ctr");
    assert!(output.status.success(), "ctr: {}", String::from_utf8_lossy(&output.stderr));
}

/// A request for the status of the runtime; used to see that it is up.
pub(crate) async fn is_ready(kubelet: &mut Kubelet) -> Result<bool, pod::Error> {
    let status = kubelet.runtime.status(v1::StatusRequest { verbose: false }).await?.into_inner().status;
    Ok(status.is_some_and(|status| status.conditions.iter().all(|condition| condition.status)))
}
