//! Cgroup v2 on the running kernel, made by files and by systemd. A host with cgroup v1 cannot run these: `hack/vm` does,
//! in its guest, with `--include-ignored`.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails is the failure of the test")]

use std::io::Write;
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sys::cgroup::{Cgroup, CgroupDriver, Cpu, DeviceKind, DeviceRule, Error, Layout, Limits, Memory, Mode, Pids};

const MIB: i64 = 1 << 20;

/// A cgroup with the processes in it; both go when the test ends, however it ends.
struct Temporary {
    cgroup: Cgroup,
    children: Vec<Child>,
}

impl Temporary {
    fn new(driver: CgroupDriver, name: &str) -> Self {
        assert_eq!(Layout::detect().unwrap().mode(), Mode::Unified, "this test needs a host with cgroup v2 alone");
        let pid = std::process::id();
        let path = match driver {
            CgroupDriver::Cgroupfs => format!("/gantry-test-{pid}/{name}"),
            CgroupDriver::Systemd => format!("system.slice:gantrytest:{name}-{pid}"),
        };
        Self { cgroup: Cgroup::new(driver, &path).unwrap(), children: Vec::new() }
    }

    /// A shell that runs `script` inside: it waits for a line before it begins.
    fn run(&mut self, script: &str) {
        let mut child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.cgroup.add(i32::try_from(child.id()).unwrap()).unwrap();
        child.stdin.take().unwrap().write_all(b"go\n").unwrap();
        self.children.push(child);
    }

    fn wait(&mut self) -> std::process::ExitStatus {
        self.children.pop().unwrap().wait().unwrap()
    }

    fn file(&self, name: &str) -> String {
        let (_, directory) = self.cgroup.directories().into_iter().next().unwrap();
        std::fs::read_to_string(directory.join(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = self.cgroup.kill_all();
        for mut child in self.children.drain(..) {
            let _ = child.wait();
        }
        let removed = self.cgroup.remove();
        if !std::thread::panicking() {
            removed.unwrap();
            eventually("the end of the cgroup", || !self.cgroup.exists());
        }
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn memory(limit: i64, swap: i64) -> Limits {
    Limits { memory: Some(Memory { limit: Some(limit), swap: Some(swap), ..Memory::default() }), ..Limits::default() }
}

fn some_limits() -> Limits {
    Limits {
        memory: Some(Memory {
            limit: Some(64 * MIB),
            swap: Some(96 * MIB),
            reservation: Some(32 * MIB),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: Some(512),
            quota: Some(50_000),
            period: Some(100_000),
            cpus: "0".to_owned(),
            ..Cpu::default()
        }),
        pids: Some(Pids { limit: Some(77) }),
        unified: [("memory.high".to_owned(), "50331648".to_owned())].into(),
        ..Limits::default()
    }
}

/// Limits are in the kernel's files, can be changed, and are counted; the same through both drivers.
fn limits_hold(driver: CgroupDriver) {
    let mut test = Temporary::new(driver, "limits");
    test.cgroup.create(&some_limits()).unwrap();
    test.run("sleep 100 & while :; do :; done");
    assert_eq!(test.file("memory.max"), (64 * MIB).to_string());
    assert_eq!(test.file("memory.swap.max"), (32 * MIB).to_string(), "v2 counts swap apart");
    assert_eq!(test.file("memory.low"), (32 * MIB).to_string());
    assert_eq!(test.file("memory.high"), "50331648");
    assert_eq!(test.file("cpu.max"), "50000 100000");
    assert_eq!(test.file("cpuset.cpus"), "0");
    assert_eq!(test.file("pids.max"), "77");
    assert_ne!(test.file("cpu.weight"), "100", "shares were turned into a weight");
    eventually("some use", || {
        let stats = test.cgroup.stats().unwrap();
        stats.pids.current == 2 && stats.cpu.usage_ns > 0 && stats.memory.usage > 0
    });
    let stats = test.cgroup.stats().unwrap();
    assert_eq!((stats.version, stats.memory.limit, stats.pids.limit), (2, Some(64 << 20), Some(77)));
    assert_eq!(stats.cpu.pressure.is_some(), std::path::Path::new("/proc/pressure/cpu").exists());
    test.cgroup.set(&memory(128 * MIB, 128 * MIB)).unwrap();
    assert_eq!((test.file("memory.max"), test.file("memory.swap.max")), ((128 * MIB).to_string(), "0".to_owned()));
    test.cgroup.set(&memory(-1, -1)).unwrap();
    assert_eq!(test.file("memory.max"), "max");
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn limits_hold_under_cgroupfs() {
    limits_hold(CgroupDriver::Cgroupfs);
}

#[test]
#[ignore = "needs a host with cgroup v2 alone and systemd: hack/vm"]
fn limits_hold_under_systemd() {
    limits_hold(CgroupDriver::Systemd);
}

/// systemd knows the scope, and forgets it with its last process.
#[test]
#[ignore = "needs a host with cgroup v2 alone and systemd: hack/vm"]
fn a_scope_comes_and_goes_with_its_processes() {
    let mut test = Temporary::new(CgroupDriver::Systemd, "scope");
    test.cgroup.create(&some_limits()).unwrap();
    test.run("sleep 100");
    let unit = format!("gantrytest-scope-{}.scope", std::process::id());
    let active = || {
        let shown = Command::new("systemctl").args(["is-active", &unit]).output().unwrap();
        String::from_utf8_lossy(&shown.stdout).trim() == "active"
    };
    assert!(active(), "{unit}");
    test.cgroup.kill_all().unwrap();
    test.wait();
    eventually("the end of the scope", || !active());
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn a_frozen_process_stands_and_is_killed_all_the_same() {
    for driver in [CgroupDriver::Cgroupfs, CgroupDriver::Systemd] {
        let mut test = Temporary::new(driver, "frozen");
        test.cgroup.create(&Limits::default()).unwrap();
        test.run("sleep 100 & sleep 100 & wait");
        eventually("a few processes", || test.cgroup.pids().unwrap().len() == 3);
        test.cgroup.freeze().unwrap();
        assert!(test.cgroup.is_frozen().unwrap());
        test.cgroup.thaw().unwrap();
        assert!(!test.cgroup.is_frozen().unwrap());
        test.cgroup.freeze().unwrap();
        test.cgroup.kill_all().unwrap();
        test.wait();
        eventually("the end of all", || !test.cgroup.exists() || test.cgroup.pids().unwrap().is_empty());
    }
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn a_process_that_takes_too_much_is_killed_and_the_watch_says_so() {
    let mut test = Temporary::new(CgroupDriver::Cgroupfs, "oom");
    test.cgroup.create(&memory(8 * MIB, 8 * MIB)).unwrap();
    let mut watch = test.cgroup.oom_events().unwrap();
    assert_eq!(watch.read().unwrap().new_kills, 0);
    test.run("head -c 64m /dev/zero | tail | sleep 30");
    let timeout = Timespec { tv_sec: 1, tv_nsec: 0 };
    let mut seen = 0;
    eventually("a kill", || {
        let fd = watch.as_fd().try_clone_to_owned().unwrap();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&timeout)).unwrap();
        seen += watch.read().unwrap().new_kills;
        seen > 0
    });
    assert_eq!(test.cgroup.stats().unwrap().memory.oom_kills, seen);
}

fn rule(allow: bool, kind: DeviceKind, numbers: Option<(i64, i64)>, access: &str) -> DeviceRule {
    let (major, minor) = numbers.unzip();
    DeviceRule { allow, kind, major, minor, access: access.to_owned() }
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn device_rules_hold() {
    for driver in [CgroupDriver::Cgroupfs, CgroupDriver::Systemd] {
        let mut test = Temporary::new(driver, "devices");
        let devices = vec![
            rule(false, DeviceKind::All, None, "rwm"),
            rule(true, DeviceKind::Char, Some((1, 3)), "rwm"),
            rule(true, DeviceKind::Char, Some((1, 5)), "r"),
        ];
        test.cgroup.create(&Limits { devices, ..Limits::default() }).unwrap();
        test.run(
            "set -e; : < /dev/null; : > /dev/null; : < /dev/zero
             if (: > /dev/zero); then exit 11; fi
             if (: < /dev/full); then exit 12; fi",
        );
        assert_eq!(test.wait().code(), Some(0), "{driver:?}");
    }
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn what_v2_lacks_is_refused_by_name() {
    let test = Temporary::new(CgroupDriver::Cgroupfs, "refused");
    for (json, expected) in [
        (r#"{"memory": {"swappiness": 10}}"#, "memory.swappiness"),
        (r#"{"memory": {"limit": 1048576, "swap": 4096}}"#, "memory.swap"),
        (r#"{"cpu": {"cpus": "900-901"}}"#, "cpu.cpus"),
    ] {
        let limits: Limits = serde_json::from_str(json).unwrap();
        let error = test.cgroup.create(&limits).unwrap_err();
        let (Error::Unsupported { field, .. } | Error::Invalid { field, .. }) = &error else { panic!("{error}") };
        assert_eq!(field, expected, "{error}");
        assert!(!test.cgroup.exists(), "{expected}: nothing is left");
    }
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn the_directory_can_be_cloned_into() {
    let test = Temporary::new(CgroupDriver::Cgroupfs, "dir-fd");
    test.cgroup.create(&Limits::default()).unwrap();
    assert!(test.cgroup.dir_fd().unwrap().is_some());
}
