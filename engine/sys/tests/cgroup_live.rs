//! Cgroups on the running kernel: each test makes a cgroup of its own, and leaves nothing. Needs root and cgroup v1.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails is the failure of the test")]

mod temporary;

use std::path::{Path, PathBuf};
use std::time::Duration;

use sys::cgroup::{Cgroup, CgroupDriver, Controller, Cpu, DeviceKind, Error, Layout, Limits, Memory, Mode, Pids};
use temporary::{MIB, Temporary, eventually, memory, rule};

fn temporary(name: &str) -> Temporary {
    on(Layout::detect().unwrap(), name)
}

fn on(layout: Layout, name: &str) -> Temporary {
    let path = format!("/gantry-test-{}/{name}", std::process::id());
    Temporary::of(Cgroup::on(layout, CgroupDriver::Cgroupfs, &path).unwrap())
}

/// The v2 hierarchy of this hybrid host, used as if it were the only one: it has no controllers, but all the rest.
fn unified() -> Layout {
    let layout = Layout::detect().unwrap();
    let root = layout.v2().expect("a cgroup v2 hierarchy, at least a hybrid one").to_owned();
    Layout::from_parts([].into(), Some(root))
}

fn file(cgroup: &Cgroup, controller: Controller, name: &str) -> String {
    let layout = Layout::detect().unwrap();
    let root = layout.v1(controller).unwrap();
    std::fs::read_to_string(root.join(cgroup.path().trim_start_matches('/')).join(name)).unwrap().trim().to_owned()
}

fn parents_left(name: &str) -> Vec<PathBuf> {
    let layout = Layout::detect().unwrap();
    let roots = layout.v1_all().map(|(_, root)| root).chain(layout.v2());
    roots.map(|root| root.join(format!("gantry-test-{}/{name}", std::process::id()))).filter(|p| p.exists()).collect()
}

#[test]
fn limits_are_in_the_kernels_files_after_create() {
    let test = temporary("limits");
    let limits = Limits {
        memory: Some(Memory {
            limit: Some(64 * MIB),
            swap: Some(96 * MIB),
            reservation: Some(32 * MIB),
            swappiness: Some(10),
            ..Memory::default()
        }),
        cpu: Some(Cpu {
            shares: Some(512),
            quota: Some(50_000),
            period: Some(100_000),
            burst: Some(10_000),
            cpus: "0".to_owned(),
            mems: "0".to_owned(),
            ..Cpu::default()
        }),
        pids: Some(Pids { limit: Some(77) }),
        ..Limits::default()
    };
    test.cgroup.create(&limits).unwrap();
    let read = |controller, name| file(&test.cgroup, controller, name);
    assert_eq!(read(Controller::Memory, "memory.limit_in_bytes"), (64 * MIB).to_string());
    assert_eq!(read(Controller::Memory, "memory.memsw.limit_in_bytes"), (96 * MIB).to_string());
    assert_eq!(read(Controller::Memory, "memory.soft_limit_in_bytes"), (32 * MIB).to_string());
    assert_eq!(read(Controller::Memory, "memory.swappiness"), "10");
    assert_eq!(read(Controller::Cpu, "cpu.shares"), "512");
    assert_eq!(read(Controller::Cpu, "cpu.cfs_quota_us"), "50000");
    assert_eq!(read(Controller::Cpu, "cpu.cfs_burst_us"), "10000");
    assert_eq!(read(Controller::Cpuset, "cpuset.cpus"), "0");
    assert_eq!(read(Controller::Pids, "pids.max"), "77");
    let stats = test.cgroup.stats().unwrap();
    assert_eq!((stats.version, stats.memory.limit, stats.pids.limit), (1, Some(64 << 20), Some(77)));
    assert_eq!(stats.memory.swap.unwrap().limit, Some(32 << 20));
}

#[test]
fn memory_and_swap_go_up_and_down_and_to_unlimited() {
    let test = temporary("memory-order");
    test.cgroup.create(&memory(64 * MIB, 64 * MIB)).unwrap();
    for (limit, swap) in [(128, 256), (32, 32), (512, 512), (16, 1024), (8, 8)] {
        test.cgroup.set(&memory(limit * MIB, swap * MIB)).unwrap();
        let read = |name| file(&test.cgroup, Controller::Memory, name);
        assert_eq!(read("memory.limit_in_bytes"), (limit * MIB).to_string());
        assert_eq!(read("memory.memsw.limit_in_bytes"), (swap * MIB).to_string());
    }
    test.cgroup
        .set(&Limits { memory: Some(Memory { limit: Some(-1), ..Memory::default() }), ..Limits::default() })
        .unwrap();
    assert_eq!(test.cgroup.stats().unwrap().memory.limit, None);
    test.cgroup.set(&memory(64 * MIB, -1)).unwrap();
    assert_eq!(test.cgroup.stats().unwrap().memory.limit, Some(64 << 20));
}

#[test]
fn cpu_bandwidth_is_taken_in_any_direction() {
    let test = temporary("bandwidth");
    test.cgroup.create(&Limits::default()).unwrap();
    let cpu = |quota, period, burst| Limits {
        cpu: Some(Cpu { quota: Some(quota), period: Some(period), burst: Some(burst), ..Cpu::default() }),
        ..Limits::default()
    };
    for (quota, period, burst) in [(50_000, 100_000, 50_000), (5_000, 10_000, 1_000), (900_000, 1_000_000, 800_000)] {
        test.cgroup.set(&cpu(quota, period, burst)).unwrap();
        assert_eq!(file(&test.cgroup, Controller::Cpu, "cpu.cfs_period_us"), period.to_string());
        assert_eq!(file(&test.cgroup, Controller::Cpu, "cpu.cfs_burst_us"), burst.to_string());
    }
    let error = test.cgroup.set(&cpu(10, 100_000, 0)).unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "cpu.quota"), "{error}");
}

#[test]
fn a_frozen_shell_stands_and_a_thawed_one_goes_on() {
    for (name, layout) in [("freeze-v1", Layout::detect().unwrap()), ("freeze-v2", unified())] {
        let mut test = on(layout, name);
        test.cgroup.create(&Limits::default()).unwrap();
        let pid = test.run("while :; do :; done");
        test.cgroup.freeze().unwrap();
        assert!(test.cgroup.is_frozen().unwrap());
        let ticks = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
            stat.rsplit(") ").next().unwrap().split(' ').nth(11).unwrap().parse::<u64>().unwrap()
        };
        let before = ticks();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(ticks(), before, "{name}");
        test.cgroup.thaw().unwrap();
        assert!(!test.cgroup.is_frozen().unwrap());
        eventually("running on", || ticks() > before);
    }
}

#[test]
fn kill_all_ends_a_tree_of_processes_that_fork_all_the_time() {
    let without_v2 = {
        let layout = Layout::detect().unwrap();
        Layout::from_parts(layout.v1_all().map(|(c, root)| (c, root.to_owned())).collect(), None)
    };
    for (name, layout) in [("kill-hybrid", Layout::detect().unwrap()), ("kill-v1", without_v2), ("kill-v2", unified())]
    {
        let mut test = on(layout, name);
        test.cgroup.create(&Limits::default()).unwrap();
        test.run("f() { sleep 0.01; f & }; f & f & sleep 100 & (sleep 100 & sleep 100) & wait");
        eventually("a few processes", || test.cgroup.pids().unwrap().len() > 4);
        test.cgroup.kill_all().unwrap();
        eventually("the end of all", || test.cgroup.pids().unwrap().is_empty());
    }
}

#[test]
fn kill_all_ends_frozen_processes() {
    let mut test = temporary("kill-frozen");
    test.cgroup.create(&Limits::default()).unwrap();
    test.run("sleep 100");
    test.cgroup.freeze().unwrap();
    test.cgroup.kill_all().unwrap();
    eventually("the end of all", || test.cgroup.pids().unwrap().is_empty());
}

#[test]
fn nested_cgroups_are_counted_and_removed_and_so_are_parents_that_were_made() {
    let mut test = temporary("nest/a/b");
    test.cgroup.create(&Limits::default()).unwrap();
    let inner = Cgroup::new(CgroupDriver::Cgroupfs, &format!("{}/inner/most", test.cgroup.path())).unwrap();
    inner.create(&Limits::default()).unwrap();
    let pid = i32::try_from(test.run("sleep 100")).unwrap();
    inner.add(pid).unwrap();
    assert!(test.cgroup.pids().unwrap().contains(&pid));
    test.cgroup.kill_all().unwrap();
    test.wait();
    // Made by this value, but removed by another one that knows only the mark on the directories.
    Cgroup::new(CgroupDriver::Cgroupfs, test.cgroup.path()).unwrap().remove().unwrap();
    assert_eq!(parents_left("nest"), Vec::<PathBuf>::new());
    assert!(matches!(inner.stats(), Err(Error::NotFound { .. })));
}

#[test]
fn a_process_that_takes_too_much_is_killed_and_the_watch_says_so() {
    let mut test = temporary("oom");
    test.cgroup.create(&memory(8 * MIB, 16 * MIB)).unwrap();
    let (mut watch, seen) = test.run_out_of_memory();
    let stats = test.cgroup.stats().unwrap();
    assert_eq!(stats.memory.oom_kills, seen);
    assert!(stats.memory.failcnt > 0 && stats.memory.max_usage > 0);
    test.cgroup.kill_all().unwrap();
    test.wait();
    test.cgroup.remove().unwrap();
    let last = watch.read().unwrap();
    assert_eq!((last.new_kills, last.removed), (0, true));
}

#[test]
fn the_number_of_tasks_and_the_time_used_are_counted() {
    let mut test = temporary("stats");
    test.cgroup.create(&Limits { pids: Some(Pids { limit: Some(20) }), ..Limits::default() }).unwrap();
    test.run("sleep 100 & while :; do :; done");
    eventually("some use", || {
        let stats = test.cgroup.stats().unwrap();
        stats.pids.current == 2 && stats.cpu.usage_ns > 0 && stats.memory.usage > 0 && stats.memory.rss() > 0
    });
    let stats = test.cgroup.stats().unwrap();
    assert!(stats.memory.working_set() <= stats.memory.usage);
    assert!(!stats.cpu.percpu_ns.is_empty());
    let has_pressure = Path::new("/proc/pressure/cpu").exists() && Layout::detect().unwrap().mode() == Mode::Hybrid;
    assert_eq!(stats.cpu.pressure.is_some(), has_pressure);
}

/// Null may be read and written, zero only read, full not at all.
fn device_rules() -> Limits {
    let devices = vec![
        rule(false, DeviceKind::All, None, "rwm"),
        rule(true, DeviceKind::Char, Some((1, 3)), "rwm"),
        rule(true, DeviceKind::Char, Some((1, 5)), "rw"),
        rule(false, DeviceKind::Char, Some((1, 5)), "w"),
        rule(true, DeviceKind::Char, Some((5, 0)), "rw"),
    ];
    Limits { devices, ..Limits::default() }
}

#[test]
fn device_rules_hold_on_both_versions() {
    let script = "set -e; : < /dev/null; : > /dev/null; : < /dev/zero
        if (: > /dev/zero); then exit 11; fi
        if (: < /dev/full); then exit 12; fi";
    for (name, layout) in [("devices-v1", Layout::detect().unwrap()), ("devices-v2", unified())] {
        let mut test = on(layout, name);
        test.cgroup.create(&device_rules()).unwrap();
        test.run(script);
        assert_eq!(test.wait().code(), Some(0), "{name}");
        let everything = Limits { devices: vec![rule(true, DeviceKind::All, None, "rwm")], ..Limits::default() };
        test.cgroup.set(&everything).unwrap();
        test.run("(: < /dev/full) || exit 13; : > /dev/zero");
        assert_eq!(test.wait().code(), Some(0), "{name}");
    }
}

#[test]
fn a_limit_that_the_host_cannot_hold_names_its_field_and_leaves_nothing() {
    let test = temporary("refused/here");
    let cases = [
        (r#"{"unified": {"memory.high": "1"}}"#, "unified"),
        (r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}"#, "hugepageLimits"),
        (r#"{"memory": {"limit": 1048576, "swap": 4096}}"#, "memory.swap"),
        (r#"{"memory": {"swappiness": 101}}"#, "memory.swappiness"),
        (r#"{"cpu": {"cpus": "900-901"}}"#, "cpu.cpus"),
        (r#"{"cpu": {"shares": 999999999}}"#, "cpu.shares"),
        (r#"{"devices": [{"allow": true, "type": "c", "access": "rx"}]}"#, "devices[0].access"),
        (
            r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 999, "minor": 0, "rate": 1}]}}"#,
            "blockIO.throttleReadBpsDevice",
        ),
    ];
    for (json, expected) in cases {
        let limits: Limits = serde_json::from_str(json).unwrap();
        let error = test.cgroup.create(&limits).unwrap_err();
        let (Error::Unsupported { field, .. } | Error::Invalid { field, .. }) = &error else { panic!("{error}") };
        assert_eq!(field, expected, "{error}");
        assert_eq!(parents_left("refused"), Vec::<PathBuf>::new(), "{expected}");
    }
}

#[test]
fn the_v2_directory_can_be_cloned_into() {
    let test = on(unified(), "dir-fd");
    assert!(matches!(test.cgroup.dir_fd(), Err(Error::NotFound { .. })));
    test.cgroup.create(&Limits::default()).unwrap();
    assert!(test.cgroup.dir_fd().unwrap().is_some());
    let v1 = temporary("dir-fd-v1");
    assert!(v1.cgroup.dir_fd().unwrap().is_none());
}
