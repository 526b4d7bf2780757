//! create + start + wait + delete of `true` by the built-in runtime, crun and runc: the same bundle, in turns.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::daemon::program;
use testkit::image::sample;

use crate::measure::{CpuMeter, Series, percentile, time};
use crate::report::Report;

/// Rounds of each runtime.
const ROUNDS: usize = 60;
/// What a bare C loop needs for the same kernel objects (DESIGN.md section 5).
const FLOOR_MS: f64 = 3.2;

/// Measures and judges.
pub(crate) fn create_start_delete(report: &mut Report) {
    let dir = tempfile_dir();
    let meter = CpuMeter::on(&format!("gantry-bench-{}", std::process::id()));
    let parent = format!("/gantry-bench-{}-containers", std::process::id());
    write_bundle(&dir, &parent);
    let bundle = dir.to_str().expect("path");
    let shim = program("containerd-shim-gantry-v1");

    let nothing: (&OsStr, Vec<&str>) = (OsStr::new("/bin/busybox"), vec!["true"]);
    let contestants = [
        ("exec of a program that does nothing", nothing.0, nothing.1),
        (
            "built-in (a process for each)",
            shim.as_os_str(),
            vec!["runtime", "run", "--bundle", bundle, "--id", "bench-g"],
        ),
        ("crun run", OsStr::new("crun"), vec!["--cgroup-manager=cgroupfs", "run", "--bundle", bundle, "bench-c"]),
        ("runc run", OsStr::new("runc"), vec!["run", "--bundle", bundle, "bench-r"]),
    ];
    let mut series = vec![Series::default(); contestants.len()];
    for round in 0..ROUNDS + 3 {
        for (n, (_, program, args)) in contestants.iter().enumerate() {
            let mut discarded = Series::default();
            // The first rounds fill caches.
            let target = if round < 3 { &mut discarded } else { &mut series[n] };
            time(target, &meter, meter.command(program, args));
        }
    }
    report.heading("create + start + wait + delete of `true`: namespaces, cgroups, mounts, seccomp; in turns");
    for (n, (name, ..)) in contestants.iter().enumerate() {
        report.row(name, &series[n], &series[2]);
    }
    let (ours, crun) = (&series[1], &series[2]);
    let ratios =
        format!("{:.2} of crun's median, {:.2} of its CPU", ours.median() / crun.median(), ours.cpu() / crun.cpu());
    report.budget(
        "built-in beats crun at the median and in CPU",
        &ratios,
        ours.median() < crun.median() && ours.cpu() < crun.cpu(),
    );
    inside_a_shim(report, &shim, bundle, &meter);
    remove(&dir, &parent);
}

/// The same in a shim that is there already, as it is for each further container of a pod.
fn inside_a_shim(report: &mut Report, shim: &Path, bundle: &str, meter: &CpuMeter) {
    let rounds = (ROUNDS * 2).to_string();
    let args = ["runtime", "run", "--bundle", bundle, "--id", "bench-s", "--timing", "--repeat", &rounds];
    let cpu = meter.read_ms();
    let output = meter.command(shim.as_os_str(), &args).output().expect("the shim starts");
    let cpu = (meter.read_ms() - cpu) / f64::from(u32::try_from(ROUNDS * 2).unwrap_or(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let figures: Vec<f64> = said.lines().filter_map(|l| l.split(' ').nth(1)?.parse().ok()).skip(3).collect();
    assert!(output.status.success() && !figures.is_empty(), "{said}");
    let series = Series { wall_ms: figures, cpu_ms: vec![cpu] };
    report.row("built-in (in a shim that is there)", &series, &series);
    let found = format!(
        "{:.2} ms median, {:.2} min, {:.2} p90",
        series.median(),
        series.min(),
        percentile(&series.wall_ms, 90)
    );
    report.budget("start in the shim at most twice the floor of 3.2 ms", &found, series.median() <= 2.0 * FLOOR_MS);
}

fn tempfile_dir() -> std::path::PathBuf {
    let dir = std::path::PathBuf::from(format!("/var/tmp/gantry-bench-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("bundle directory");
    dir
}

fn remove(dir: &Path, parent: &str) {
    let _ = fs::remove_dir_all(dir);
    for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
        let _ = fs::remove_dir(hierarchy.path().join(parent.trim_start_matches('/')));
    }
}

/// The bundle: busybox, docker's capabilities, masks, limits; the spec that `runc spec` makes, with a cgroup of ours.
fn write_bundle(dir: &Path, parent: &str) {
    let rootfs = dir.join("rootfs");
    for name in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
        fs::create_dir_all(rootfs.join(name)).expect("rootfs");
    }
    fs::write(rootfs.join("bin/true"), sample::busybox_bytes()).expect("busybox");
    testkit::run("chmod", ["755", rootfs.join("bin/true").to_str().expect("path")]).ok();
    testkit::run("sh", ["-c", &format!("cd {} && rm -f config.json && runc spec", dir.display())]).ok();
    let file = dir.join("config.json");
    let mut spec: Value = serde_json::from_slice(&fs::read(&file).expect("runc spec")).expect("JSON");
    spec["process"]["terminal"] = json!(false);
    spec["process"]["args"] = json!(["/bin/true"]);
    spec["linux"]["cgroupsPath"] = json!(format!("{parent}/bench"));
    spec["linux"]["resources"]["memory"] = json!({ "limit": 64 << 20 });
    spec["linux"]["resources"]["pids"] = json!({ "limit": 100 });
    spec["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["kexec_load", "reboot", "swapon", "ptrace"], "action": "SCMP_ACT_ERRNO" }],
    });
    fs::write(&file, serde_json::to_vec(&spec).expect("JSON")).expect("config.json");
}
