//! Cgroup v2 on the running kernel, made by files and by systemd. A host with cgroup v1 cannot run these: `hack/vm` does,
//! in its guest, with `--include-ignored`.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails is the failure of the test")]

mod temporary;

use std::process::Command;

use sys::cgroup::{Cgroup, CgroupDriver, Cpu, DeviceKind, Error, Layout, Limits, Memory, Mode, Pids};
use temporary::{MIB, Temporary, eventually, memory, rule};

fn temporary(driver: CgroupDriver, name: &str) -> Temporary {
    assert_eq!(Layout::detect().unwrap().mode(), Mode::Unified, "this test needs a host with cgroup v2 alone");
    let pid = std::process::id();
    let path = match driver {
        CgroupDriver::Cgroupfs => format!("/gantry-test-{pid}/{name}"),
        CgroupDriver::Systemd => format!("system.slice:gantrytest:{name}-{pid}"),
    };
    Temporary::of(Cgroup::new(driver, &path).unwrap())
}

fn file(test: &Temporary, name: &str) -> String {
    let (_, directory) = test.cgroup.directories().into_iter().next().unwrap();
    std::fs::read_to_string(directory.join(name)).unwrap().trim().to_owned()
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
    let mut test = temporary(driver, "limits");
    test.cgroup.create(&some_limits()).unwrap();
    test.run("sleep 100 & while :; do :; done");
    assert_eq!(file(&test, "memory.max"), (64 * MIB).to_string());
    assert_eq!(file(&test, "memory.swap.max"), (32 * MIB).to_string(), "v2 counts swap apart");
    assert_eq!(file(&test, "memory.low"), (32 * MIB).to_string());
    assert_eq!(file(&test, "memory.high"), "50331648");
    assert_eq!(file(&test, "cpu.max"), "50000 100000");
    assert_eq!(file(&test, "cpuset.cpus"), "0");
    assert_eq!(file(&test, "pids.max"), "77");
    assert_ne!(file(&test, "cpu.weight"), "100", "shares were turned into a weight");
    eventually("some use", || {
        let stats = test.cgroup.stats().unwrap();
        stats.pids.current == 2 && stats.cpu.usage_ns > 0 && stats.memory.usage > 0
    });
    let stats = test.cgroup.stats().unwrap();
    assert_eq!((stats.version, stats.memory.limit, stats.pids.limit), (2, Some(64 << 20), Some(77)));
    assert_eq!(stats.cpu.pressure.is_some(), std::path::Path::new("/proc/pressure/cpu").exists());
    test.cgroup.set(&memory(128 * MIB, 128 * MIB)).unwrap();
    assert_eq!((file(&test, "memory.max"), file(&test, "memory.swap.max")), ((128 * MIB).to_string(), "0".to_owned()));
    test.cgroup.set(&memory(-1, -1)).unwrap();
    assert_eq!(file(&test, "memory.max"), "max");
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
    let mut test = temporary(CgroupDriver::Systemd, "scope");
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
        let mut test = temporary(driver, "frozen");
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
    let mut test = temporary(CgroupDriver::Cgroupfs, "oom");
    test.cgroup.create(&memory(8 * MIB, 8 * MIB)).unwrap();
    let (_, seen) = test.run_out_of_memory();
    assert_eq!(test.cgroup.stats().unwrap().memory.oom_kills, seen);
}

#[test]
#[ignore = "needs a host with cgroup v2 alone: hack/vm"]
fn device_rules_hold() {
    for driver in [CgroupDriver::Cgroupfs, CgroupDriver::Systemd] {
        let mut test = temporary(driver, "devices");
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
    let test = temporary(CgroupDriver::Cgroupfs, "refused");
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
    let test = temporary(CgroupDriver::Cgroupfs, "dir-fd");
    test.cgroup.create(&Limits::default()).unwrap();
    assert!(test.cgroup.dir_fd().unwrap().is_some());
}
