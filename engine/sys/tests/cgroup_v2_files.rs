//! Limits as they reach cgroup v2's files, on a tree of plain files: no host of the tests has v2 controllers.
#![expect(clippy::unwrap_used, reason = "a step of a test that fails is the failure of the test")]

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sys::cgroup::{
    Cgroup, CgroupDriver, Error, Layout, Limits, Memory, Mode, cpu_shares_to_weight, io_weight_from_blkio, swap_only,
};

const CONTROLLERS: &str = "cpuset cpu io memory hugetlb pids rdma";
const FILES: [&str; 17] = [
    "cgroup.procs",
    "cpu.weight",
    "cpu.max",
    "cpu.max.burst",
    "cpu.idle",
    "cpuset.cpus",
    "cpuset.mems",
    "memory.max",
    "memory.low",
    "memory.high",
    "memory.swap.max",
    "memory.current",
    "pids.max",
    "io.weight",
    "io.max",
    "hugetlb.2MB.max",
    "rdma.max",
];

/// A v2 root with one cgroup, `/a/b`, that has every file.
struct Tree {
    root: tempfile::TempDir,
}

impl Tree {
    fn new(controllers: &str) -> Self {
        let tree = Self { root: tempfile::tempdir().unwrap() };
        fs::create_dir_all(tree.leaf()).unwrap();
        for directory in [tree.root.path(), &tree.root.path().join("a"), &tree.leaf()] {
            fs::write(directory.join("cgroup.controllers"), controllers).unwrap();
            fs::write(directory.join("cgroup.subtree_control"), "").unwrap();
        }
        for file in FILES {
            fs::write(tree.leaf().join(file), "").unwrap();
        }
        tree
    }

    fn leaf(&self) -> PathBuf {
        self.root.path().join("a/b")
    }

    fn cgroup(&self) -> Cgroup {
        let layout = Layout::from_parts([].into(), Some(self.root.path().to_owned()));
        Cgroup::on(layout, CgroupDriver::Cgroupfs, "/a/b").unwrap()
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.leaf().join(file)).unwrap()
    }
}

fn limits(json: &str) -> Limits {
    serde_json::from_str(json).unwrap()
}

#[test]
fn every_limit_has_its_file_and_its_words() {
    let cases = [
        (r#"{"cpu": {"shares": 1024}}"#, "cpu.weight", "100"),
        (r#"{"cpu": {"idle": 1, "shares": 1024}}"#, "cpu.idle", "1"),
        (r#"{"cpu": {"idle": 1, "shares": 1024}}"#, "cpu.weight", ""),
        (r#"{"cpu": {"quota": 50000, "period": 200000}}"#, "cpu.max", "50000 200000"),
        (r#"{"cpu": {"quota": -1, "period": 200000}}"#, "cpu.max", "max 200000"),
        (r#"{"cpu": {"quota": 50000}}"#, "cpu.max", "50000"),
        (r#"{"cpu": {"period": 5000}}"#, "cpu.max", "max 5000"),
        (r#"{"cpu": {"burst": 7}}"#, "cpu.max.burst", "7"),
        (r#"{"cpu": {"cpus": "0-1", "mems": "0"}}"#, "cpuset.cpus", "0-1"),
        (r#"{"memory": {"limit": 4096}}"#, "memory.max", "4096"),
        (r#"{"memory": {"limit": -1}}"#, "memory.max", "max"),
        (r#"{"memory": {"limit": -1}}"#, "memory.swap.max", "max"),
        (r#"{"memory": {"limit": 4096, "swap": 12288}}"#, "memory.swap.max", "8192"),
        (r#"{"memory": {"limit": 4096, "swap": 4096}}"#, "memory.swap.max", "0"),
        (r#"{"memory": {"limit": 4096, "swap": -1}}"#, "memory.swap.max", "max"),
        (r#"{"memory": {"reservation": 4096}}"#, "memory.low", "4096"),
        (r#"{"memory": {"swappiness": -1, "kernel": 5}}"#, "memory.max", ""),
        (r#"{"pids": {"limit": 7}}"#, "pids.max", "7"),
        (r#"{"pids": {"limit": -1}}"#, "pids.max", "max"),
        (r#"{"pids": {"limit": 0}}"#, "pids.max", ""),
        (r#"{"blockIO": {"weight": 500}}"#, "io.weight", "4950"),
        (r#"{"blockIO": {"weightDevice": [{"major": 8, "minor": 16, "weight": 10}]}}"#, "io.weight", "8:16 1"),
        (r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 9}]}}"#, "io.max", "8:0 rbps=9"),
        (
            r#"{"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 0}]}}"#,
            "io.max",
            "8:0 wiops=max",
        ),
        (r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#, "hugetlb.2MB.max", "4194304"),
        (r#"{"rdma": {"mlx5_1": {"hcaHandles": 3}}}"#, "rdma.max", "mlx5_1 hca_handle=3 hca_object=max"),
        (r#"{"unified": {"memory.high": "99"}}"#, "memory.high", "99"),
        // What is unified is written last.
        (r#"{"memory": {"limit": 4096}, "unified": {"memory.max": "8192"}}"#, "memory.max", "8192"),
    ];
    for (json, file, expected) in cases {
        let tree = Tree::new(CONTROLLERS);
        tree.cgroup().create(&limits(json)).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(tree.read(file), expected, "{json}");
    }
}

#[test]
fn what_v2_or_this_kernel_cannot_hold_names_its_field() {
    let cases = [
        ("cpu io", r#"{"memory": {"limit": 4096}}"#, "memory"),
        ("cpu io", r#"{"pids": {"limit": 1}}"#, "pids"),
        ("memory", r#"{"cpu": {"cpus": "0"}}"#, "cpu.cpus"),
        ("memory", r#"{"cpu": {"shares": 5}}"#, "cpu"),
        ("memory", r#"{"blockIO": {"weight": 50}}"#, "blockIO"),
        ("cpu", r#"{"unified": {"memory.high": "1"}}"#, r#"unified["memory.high"]"#),
        ("memory", r#"{"unified": {"memory.no_such": "1"}}"#, r#"unified["memory.no_such"]"#),
        ("memory", r#"{"unified": {"memory/../x.y": "1"}}"#, r#"unified["memory/../x.y"]"#),
        (CONTROLLERS, r#"{"cpu": {"realtimeRuntime": 5}}"#, "cpu.realtimeRuntime"),
        (CONTROLLERS, r#"{"memory": {"disableOOMKiller": true}}"#, "memory.disableOOMKiller"),
        (CONTROLLERS, r#"{"memory": {"swappiness": 60}}"#, "memory.swappiness"),
        (CONTROLLERS, r#"{"memory": {"swap": 60}}"#, "memory.swap"),
        (CONTROLLERS, r#"{"memory": {"limit": -2}}"#, "memory.limit"),
        (CONTROLLERS, r#"{"network": {"classID": 1}}"#, "network"),
        (CONTROLLERS, r#"{"hugepageLimits": [{"pageSize": "7GB", "limit": 1}]}"#, "hugepageLimits"),
        (CONTROLLERS, r#"{"devices": [{"allow": true, "access": "q"}]}"#, "devices[0].access"),
    ];
    for (controllers, json, expected) in cases {
        let error = Tree::new(controllers).cgroup().create(&limits(json)).unwrap_err();
        let (Error::Unsupported { field, .. } | Error::Invalid { field, .. }) = &error else { panic!("{error}") };
        assert_eq!(field, expected, "{error}");
    }
}

#[test]
fn controllers_are_handed_down_from_the_root_to_the_parent() {
    let tree = Tree::new(CONTROLLERS);
    tree.cgroup().create(&Limits::default()).unwrap();
    let control = |directory: &Path| fs::read_to_string(directory.join("cgroup.subtree_control")).unwrap();
    let all: Vec<String> = CONTROLLERS.split(' ').map(|controller| format!("+{controller}")).collect();
    assert_eq!(control(tree.root.path()), all.join(" "));
    assert_eq!(control(&tree.root.path().join("a")), all.join(" "));
    assert_eq!(control(&tree.leaf()), "");
}

#[test]
fn a_limit_below_what_is_in_use_is_refused_if_asked_to() {
    let tree = Tree::new(CONTROLLERS);
    fs::write(tree.leaf().join("memory.current"), "8192\n").unwrap();
    let error = tree.cgroup().set(&limits(r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#)).unwrap_err();
    assert!(matches!(&error, Error::Invalid { field, .. } if field == "memory.limit"), "{error}");
    tree.cgroup().set(&limits(r#"{"memory": {"limit": 16384, "checkBeforeUpdate": true}}"#)).unwrap();
}

#[test]
fn figures_are_read_from_the_files() {
    let tree = Tree::new(CONTROLLERS);
    let write = |file: &str, text: &str| fs::write(tree.leaf().join(file), text).unwrap();
    write("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\nnr_periods 9\nnr_throttled 8\nthrottled_usec 7\n");
    write(
        "cpu.pressure",
        "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\nfull avg10=0.00 avg60=0.00 avg300=0.25 total=66\n",
    );
    write("memory.current", "1000\n");
    write("memory.max", "max\n");
    write("memory.swap.current", "3\n");
    write("memory.swap.max", "30\n");
    write("memory.stat", "anon 400\nfile 500\ninactive_file 300\npgfault 11\npgmajfault 12\nkernel 50\n");
    write("memory.events", "low 0\nhigh 0\nmax 4\noom 2\noom_kill 1\n");
    write("pids.current", "3\n");
    write("pids.max", "12\n");
    write("hugetlb.2MB.max", "4096\n");
    write("hugetlb.2MB.current", "2048\n");
    write("hugetlb.2MB.events", "max 6\n");
    let stats = tree.cgroup().stats().unwrap();
    assert_eq!((stats.cpu.usage_ns, stats.cpu.user_ns, stats.cpu.throttled_ns), (5_000, 3_000, 7_000));
    let pressure = stats.cpu.pressure.unwrap();
    assert_eq!((pressure.some.avg10, pressure.some.total_us, pressure.full.avg300), (1.5, 77, 0.25));
    assert_eq!((stats.memory.usage, stats.memory.limit, stats.memory.working_set()), (1000, None, 700));
    assert_eq!((stats.memory.rss(), stats.memory.page_faults(), stats.memory.major_page_faults()), (400, 11, 12));
    assert_eq!((stats.memory.failcnt, stats.memory.oom_kills, stats.memory.kernel), (4, 1, Some(50)));
    assert_eq!(stats.memory.swap.map(|swap| (swap.usage, swap.limit)), Some((3, Some(30))));
    assert_eq!((stats.pids.current, stats.pids.limit), (3, Some(12)));
    let huge = stats.hugetlb["2MB"];
    assert_eq!((huge.usage, huge.limit, huge.failcnt), (2048, Some(4096), 6));
    let text = serde_json::to_string(&stats).unwrap();
    assert_eq!(serde_json::from_str::<sys::cgroup::CgroupStats>(&text).unwrap(), stats);
}

#[test]
fn an_oci_document_is_read_as_it_is() {
    let document = r#"{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3,"access":"rwm"}],
        "memory":{"limit":536870912,"disableOOMKiller":false},"cpu":{"shares":1024,"cpus":"2-3"},
        "pids":{"limit":32771},"blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":600}]},
        "hugepageLimits":[{"pageSize":"2MB","limit":9223372036854772000}]}"#;
    let read = limits(document);
    assert_eq!(read.memory.as_ref().unwrap().limit, Some(536_870_912));
    assert_eq!(read.block_io.as_ref().unwrap().throttle_read_iops_device[0].rate, 600);
    assert_eq!(read.devices[1].minor, Some(3));
    assert_eq!(limits(&serde_json::to_string(&read).unwrap()), read);
}

#[test]
fn layouts_are_told_from_mountinfo() {
    let hybrid = "30 25 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
        33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        34 30 0:30 /docker/x /mnt/with\\040space rw - cgroup cgroup rw,memory\n";
    let layout = Layout::from_mountinfo(hybrid);
    use sys::cgroup::Controller as C;
    assert_eq!(layout.mode(), Mode::Hybrid);
    assert_eq!(layout.v1(C::Cpu), layout.v1(C::Cpuacct));
    assert_eq!(layout.v1(C::Memory), Some(Path::new("/mnt/with space")));
    let mode = |text: &str| Layout::from_mountinfo(text).mode();
    assert_eq!(mode("31 30 0:27 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"), Mode::Unified);
    assert_eq!(mode("31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"), Mode::Legacy);
    let co_mounted =
        Layout::from_parts([(C::Cpu, "/x/cpu,cpuacct".into()), (C::Cpuacct, "/x/cpu,cpuacct".into())].into(), None);
    let cgroup = Cgroup::on(co_mounted, CgroupDriver::Cgroupfs, "/a").unwrap();
    assert_eq!(cgroup.directories(), [("cpu,cpuacct".to_owned(), PathBuf::from("/x/cpu,cpuacct/a"))]);
}

#[test]
fn paths_stay_below_the_root() {
    let on =
        |path: &str| Cgroup::on(Layout::from_parts([].into(), Some("/nowhere".into())), CgroupDriver::Cgroupfs, path);
    assert_eq!(on("a//b/./c/").unwrap().path(), "/a/b/c");
    for path in ["", "/", ".", "/a/../../b", "..", "a\0b", "a\nb"] {
        assert!(matches!(on(path), Err(Error::Invalid { .. })), "{path:?}");
    }
}

#[test]
fn weights_go_through_the_points_that_runc_and_crun_agree_on() {
    let shares = [(0, 1), (2, 1), (3, 2), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)];
    assert_eq!(shares.map(|(shares, _)| cpu_shares_to_weight(shares)), shares.map(|(_, weight)| weight));
    assert_eq!([10, 500, 1000].map(io_weight_from_blkio), [1, 4950, 10_000]);
}

proptest! {
    #[test]
    fn weights_grow_with_shares_and_stay_in_range(a in 0..300_000u64, b in 0..300_000u64) {
        let (low, high) = (cpu_shares_to_weight(a.min(b)), cpu_shares_to_weight(a.max(b)));
        prop_assert!(low <= high && low >= 1 && high <= 10_000);
    }

    #[test]
    fn swap_and_memory_make_the_sum_that_was_asked_for(memory in 1..i64::MAX / 2, swap in 1..i64::MAX / 2) {
        match swap_only(Some(memory), Some(swap)) {
            Ok(only) => prop_assert_eq!(only.unwrap() + memory, swap),
            Err(_) => prop_assert!(swap < memory),
        }
    }

    #[test]
    fn limits_survive_json(limit in any::<Option<i64>>(), swap in any::<Option<i64>>()) {
        let limits = Limits { memory: Some(Memory { limit, swap, ..Memory::default() }), ..Limits::default() };
        let text = serde_json::to_string(&limits).unwrap();
        prop_assert_eq!(serde_json::from_str::<Limits>(&text).unwrap(), limits);
    }
}
