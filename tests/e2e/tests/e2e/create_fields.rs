//! THE table of what a create request can say: each field of Config and HostConfig is honoured, by the proof that stands
//! here or by the test that is named, or refused with the words that stand here. Nothing is passed over in silence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use testkit::World;
use testkit::http::request;

use crate::client::world_with_busybox;

/// What becomes of a field.
enum Verdict {
    /// A shell in the container says this in one of its lines.
    Shell(&'static str, String),
    /// A file of the container's cgroup says this: the controller, the file on v1 and on v2, the values there.
    Cgroup(&'static str, [&'static str; 2], [&'static str; 2]),
    /// Inspect gives it back: it changes nothing else here, or only for clients.
    Shown,
    /// A test elsewhere proves it: the file (from the root of the repository) and the function.
    Elsewhere(&'static str, &'static str),
    /// It is refused at create or at start, with these words.
    Refused(&'static str),
}
use Verdict::{Cgroup, Elsewhere, Refused, Shell, Shown};

/// A field, and the members of the request that give it (HostConfig's below `HostConfig`).
struct Row(&'static str, Value, Verdict);

fn shell(script: &'static str, says: impl Into<String>) -> Verdict {
    Shell(script, says.into())
}

fn elsewhere(file: &'static str, test: &'static str) -> Verdict {
    Elsewhere(file, test)
}

/// What bit 0 (CHOWN) and bit 12 (NET_ADMIN) of the bounding set are.
const CHOWN: &str = "echo $((0x$(grep CapBnd /proc/self/status | cut -f2) >> 0 & 1))";
const NET_ADMIN: &str = "echo $((0x$(grep CapBnd /proc/self/status | cut -f2) >> 12 & 1))";

fn host_rows(world: &World) -> Vec<Row> {
    let groups =
        [world_rows(world), network_rows(), security_rows(), storage_rows(), life_rows(), foreign_rows(), limit_rows()];
    groups.into_iter().flatten().collect()
}

/// Fields whose proof needs to know the world.
#[rustfmt::skip]
fn world_rows(world: &World) -> Vec<Row> {
    let bound = world.dir().join("bound");
    std::fs::create_dir_all(&bound).expect("a directory");
    let bind = format!("{}:/bound:ro", bound.display());
    let namespace = |kind: &str| world.sh(&format!("readlink /proc/self/ns/{kind}")).trim().to_owned();
    vec![
        Row("Binds", json!({ "Binds": [bind] }), shell("touch /bound/x 2>&1", "touch: /bound/x: Read-only file system")),
        Row("IpcMode", json!({ "IpcMode": "host" }), shell("readlink /proc/self/ns/ipc", namespace("ipc"))),
        Row("PidMode", json!({ "PidMode": "host" }), shell("readlink /proc/self/ns/pid", namespace("pid"))),
        Row("UTSMode", json!({ "UTSMode": "host" }), shell("hostname", "gantry-test")),
        Row("UsernsMode", json!({ "UsernsMode": "host" }), shell("readlink /proc/self/ns/user", namespace("user"))),
        Row("UsernsMode", json!({ "UsernsMode": "private" }), Refused("HostConfig.UsernsMode")),
        Row("CgroupParent", json!({ "CgroupParent": format!("{}/inner", world.cgroup()) }), shell("grep -c /inner/ /proc/self/cgroup | sed 's/^[1-9].*/inside/'", "inside")),
    ]
}

/// Networks and names.
#[rustfmt::skip]
fn network_rows() -> Vec<Row> {
    vec![
        Row("NetworkMode", json!({ "NetworkMode": "none" }), shell("echo only $(ls /sys/class/net)", "only lo")),
        Row("PortBindings", json!({ "PortBindings": { "80/tcp": [{ "HostPort": "8080" }] } }), elsewhere("tests/e2e/tests/e2e/network.rs", "ports_are_published")),
        Row("Dns", json!({ "Dns": ["192.0.2.53"] }), shell("cat /etc/resolv.conf", "nameserver 192.0.2.53")),
        Row("DnsOptions", json!({ "DnsOptions": ["ndots:7"] }), shell("cat /etc/resolv.conf", "options ndots:7")),
        Row("DnsSearch", json!({ "DnsSearch": ["example.org"] }), shell("cat /etc/resolv.conf", "search example.org")),
        Row("ExtraHosts", json!({ "ExtraHosts": ["db:192.0.2.1"] }), shell("cat /etc/hosts", "192.0.2.1\tdb")),
        Row("Links", json!({ "Links": ["donor:giver"] }), shell("grep -c giver /etc/hosts", "1")),
        Row("PublishAllPorts", json!({ "PublishAllPorts": true }), elsewhere("docker/src/to_spec/tests.rs", "all_exposed_ports_are_published_once")),
    ]
}

/// What a container may do and see.
#[rustfmt::skip]
fn security_rows() -> Vec<Row> {
    vec![
        Row("CapAdd", json!({ "CapAdd": ["NET_ADMIN"] }), shell(NET_ADMIN, "1")),
        Row("CapDrop", json!({ "CapDrop": ["CHOWN"] }), shell(CHOWN, "0")),
        Row("CgroupnsMode", json!({ "CgroupnsMode": "private" }), shell("cut -d: -f3 /proc/self/cgroup | sort | uniq", "/")),
        Row("GroupAdd", json!({ "GroupAdd": ["12345"] }), shell("id -G", "0 12345")),
        Row("Privileged", json!({ "Privileged": true }), shell("grep Seccomp: /proc/self/status", "Seccomp:\t0")),
        Row("ReadonlyRootfs", json!({ "ReadonlyRootfs": true }), shell("touch /x 2>&1", "touch: /x: Read-only file system")),
        Row("SecurityOpt", json!({ "SecurityOpt": ["no-new-privileges"] }), shell("grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1")),
        Row("SecurityOpt", json!({ "SecurityOpt": ["bogus=1"] }), Refused("invalid --security-opt")),
        Row("Sysctls", json!({ "Sysctls": { "net.ipv4.ip_unprivileged_port_start": "77" } }), shell("cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "77")),
        Row("Devices", json!({ "Devices": [{ "PathOnHost": "/dev/null", "PathInContainer": "/dev/other", "CgroupPermissions": "rwm" }] }), shell("test -c /dev/other && echo a device", "a device")),
        Row("DeviceCgroupRules", json!({ "DeviceCgroupRules": ["c 42:* rmw"] }), elsewhere("engine/src/spec/devices.rs", "rules_are_parsed_strictly")),
        Row("DeviceRequests", json!({ "DeviceRequests": [{ "Driver": "nvidia", "Count": -1, "Capabilities": [["gpu"]] }] }), Refused("could not select device driver")),
        Row("MaskedPaths", json!({ "MaskedPaths": ["/etc/passwd"] }), shell("wc -c < /etc/passwd", "0")),
        Row("ReadonlyPaths", json!({ "ReadonlyPaths": ["/www"] }), shell("touch /www/x 2>&1", "touch: /www/x: Read-only file system")),
    ]
}

/// Volumes and file systems.
#[rustfmt::skip]
fn storage_rows() -> Vec<Row> {
    vec![
        Row("VolumeDriver", json!({ "VolumeDriver": "nosuch", "Binds": ["some-volume:/v"] }), Refused("plugin \"nosuch\" not found")),
        Row("VolumesFrom", json!({ "VolumesFrom": ["donor"] }), shell("ls -d /donated", "/donated")),
        Row("StorageOpt", json!({ "StorageOpt": { "size": "1g" } }), Refused("HostConfig.StorageOpt")),
        Row("Tmpfs", json!({ "Tmpfs": { "/t": "size=1m" } }), shell("df -k /t | tail -1 | tr -s ' ' | cut -d' ' -f2", "1024")),
        Row("ShmSize", json!({ "ShmSize": 8 << 20 }), shell("df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2", "8192")),
        Row("Mounts", json!({ "Mounts": [{ "Type": "tmpfs", "Target": "/m", "TmpfsOptions": { "SizeBytes": 2097152 } }] }), shell("df -k /m | tail -1 | tr -s ' ' | cut -d' ' -f2", "2048")),
    ]
}

/// How it lives, and what is known of it.
#[rustfmt::skip]
fn life_rows() -> Vec<Row> {
    vec![
        Row("ContainerIDFile", json!({ "ContainerIDFile": "/x" }), Shown),
        Row("LogConfig", json!({ "LogConfig": { "Type": "json-file", "Config": { "max-size": "1m" } } }), Shown),
        Row("LogConfig", json!({ "LogConfig": { "Type": "gelf" } }), Refused("gelf")),
        Row("RestartPolicy", json!({ "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 2 } }), elsewhere("tests/e2e/tests/e2e/lifecycle.rs", "restart_policy_is_kept")),
        Row("AutoRemove", json!({ "AutoRemove": true }), elsewhere("tests/e2e/tests/e2e/run.rs", "run_rm_gives_output_and_exit_codes")),
        Row("ConsoleSize", json!({ "ConsoleSize": [33, 44] }), shell("stty size", "33 44")),
        Row("Annotations", json!({ "Annotations": { "a": "b" } }), Shown),
        Row("OomScoreAdj", json!({ "OomScoreAdj": 321 }), shell("cat /proc/self/oom_score_adj", "321")),
        Row("Runtime", json!({ "Runtime": "nosuch" }), Refused("nosuch")),
        Row("Init", json!({ "Init": true }), elsewhere("tests/e2e/tests/e2e/limits.rs", "an_init_is_process_1_under_the_default_profile")),
        Row("Ulimits", json!({ "Ulimits": [{ "Name": "nofile", "Soft": 123, "Hard": 456 }] }), shell("echo $(ulimit -n) $(ulimit -Hn)", "123 456")),
    ]
}

/// What is for other systems.
#[rustfmt::skip]
fn foreign_rows() -> Vec<Row> {
    vec![
        Row("Cgroup", json!({ "Cgroup": "container:x" }), Refused("HostConfig.Cgroup")),
        Row("Isolation", json!({ "Isolation": "hyperv" }), Refused("HostConfig.Isolation")),
        Row("CpuCount", json!({ "CpuCount": 1 }), Refused("CpuCount: is for Windows only")),
        Row("CpuPercent", json!({ "CpuPercent": 1 }), Refused("CpuPercent: is for Windows only")),
        Row("IOMaximumIOps", json!({ "IOMaximumIOps": 1 }), Refused("IOMaximumIOps: is for Windows only")),
        Row("IOMaximumBandwidth", json!({ "IOMaximumBandwidth": 1 }), Refused("IOMaximumBandwidth: is for Windows only")),
    ]
}

/// Limits.
#[rustfmt::skip]
fn limit_rows() -> Vec<Row> {
    let translated = |test| Elsewhere("docker/src/to_spec/tests.rs", test);
    vec![
        Row("CpuShares", json!({ "CpuShares": 300 }), Cgroup("cpu", ["cpu.shares", "cpu.weight"], ["300", "12"])),
        Row(
            "CpuPeriod",
            json!({ "CpuPeriod": 50000, "CpuQuota": 25000 }),
            Cgroup("cpu", ["cpu.cfs_period_us", "cpu.max"], ["50000", "25000 50000"]),
        ),
        Row(
            "CpuQuota",
            json!({ "CpuPeriod": 50000, "CpuQuota": 25000 }),
            Cgroup("cpu", ["cpu.cfs_quota_us", "cpu.max"], ["25000", "25000 50000"]),
        ),
        Row(
            "NanoCpus",
            json!({ "NanoCpus": 500_000_000 }),
            Cgroup("cpu", ["cpu.cfs_quota_us", "cpu.max"], ["50000", "50000 100000"]),
        ),
        Row("CpuRealtimePeriod", json!({ "CpuRealtimePeriod": -1 }), Refused("HostConfig.CpuRealtimePeriod")),
        Row(
            "CpuRealtimeRuntime",
            json!({ "CpuRealtimeRuntime": 1000 }),
            translated("real_time_and_block_limits_reach_the_spec"),
        ),
        Row("CpusetCpus", json!({ "CpusetCpus": "0" }), Cgroup("cpuset", ["cpuset.cpus", "cpuset.cpus"], ["0", "0"])),
        Row("CpusetMems", json!({ "CpusetMems": "0" }), Cgroup("cpuset", ["cpuset.mems", "cpuset.mems"], ["0", "0"])),
        Row(
            "Memory",
            json!({ "Memory": 64 << 20 }),
            Cgroup("memory", ["memory.limit_in_bytes", "memory.max"], ["67108864", "67108864"]),
        ),
        Row(
            "MemoryReservation",
            json!({ "MemoryReservation": 32 << 20 }),
            Cgroup("memory", ["memory.soft_limit_in_bytes", "memory.low"], ["33554432", "33554432"]),
        ),
        Row(
            "MemorySwap",
            json!({ "Memory": 64 << 20, "MemorySwap": 128 << 20 }),
            Cgroup("memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"], ["134217728", "67108864"]),
        ),
        Row(
            "MemorySwappiness",
            json!({ "MemorySwappiness": 42 }),
            Cgroup("memory", ["memory.swappiness", "memory.swappiness"], ["42", "42"]),
        ),
        Row("KernelMemory", json!({ "KernelMemory": 64 << 20 }), Refused("HostConfig.KernelMemory")),
        Row(
            "KernelMemoryTCP",
            json!({ "KernelMemoryTCP": 64 << 20 }),
            Cgroup("memory", ["memory.kmem.tcp.limit_in_bytes", ""], ["67108864", ""]),
        ),
        Row(
            "OomKillDisable",
            json!({ "Memory": 64 << 20, "OomKillDisable": true }),
            Cgroup("memory", ["memory.oom_control", ""], ["oom_kill_disable 1", ""]),
        ),
        Row("PidsLimit", json!({ "PidsLimit": 77 }), Cgroup("pids", ["pids.max", "pids.max"], ["77", "77"])),
        Row("BlkioWeight", json!({ "BlkioWeight": 300 }), translated("real_time_and_block_limits_reach_the_spec")),
        Row("BlkioWeightDevice", json!({}), translated("real_time_and_block_limits_reach_the_spec")),
        Row("BlkioDeviceReadBps", json!({}), translated("real_time_and_block_limits_reach_the_spec")),
        Row("BlkioDeviceWriteBps", json!({}), translated("real_time_and_block_limits_reach_the_spec")),
        Row("BlkioDeviceReadIOps", json!({}), translated("real_time_and_block_limits_reach_the_spec")),
        Row("BlkioDeviceWriteIOps", json!({}), translated("real_time_and_block_limits_reach_the_spec")),
    ]
}

/// Fields of Config.
#[rustfmt::skip]
fn config_rows() -> Vec<Row> {
    vec![
        Row("Hostname", json!({ "Hostname": "box" }), shell("hostname", "box")),
        Row(
            "Domainname",
            json!({ "Domainname": "example.org" }),
            shell("cat /proc/sys/kernel/domainname", "example.org"),
        ),
        Row("User", json!({ "User": "1000:50" }), shell("echo $(id -u) $(id -g)", "1000 50")),
        Row("AttachStdin", json!({ "AttachStdin": true }), Shown),
        Row("AttachStdout", json!({ "AttachStdout": true }), Shown),
        Row("AttachStderr", json!({ "AttachStderr": true }), Shown),
        Row("ExposedPorts", json!({ "ExposedPorts": { "80/tcp": {} } }), Shown),
        Row("Tty", json!({ "Tty": true }), shell("tty | cut -d/ -f3", "pts")),
        Row(
            "OpenStdin",
            json!({ "OpenStdin": true }),
            elsewhere("tests/e2e/clients/docker_py.py", "attach_carries_both_directions"),
        ),
        Row(
            "StdinOnce",
            json!({ "StdinOnce": true }),
            elsewhere("tests/e2e/clients/dockerode.js", "attach_hijacked_carries_input"),
        ),
        Row("Env", json!({ "Env": ["A=b c"] }), shell("echo $A", "b c")),
        Row("Cmd", json!({}), shell("echo this is one", "this is one")),
        Row(
            "Healthcheck",
            json!({ "Healthcheck": { "Test": ["CMD", "true"] } }),
            elsewhere("tests/e2e/clients/docker_py.py", "options_of_run_arrive"),
        ),
        Row("ArgsEscaped", json!({ "ArgsEscaped": true }), Refused("ArgsEscaped: is for Windows only")),
        Row("Image", json!({ "Image": "nosuch" }), Refused("No such image: nosuch")),
        Row("Volumes", json!({ "Volumes": { "/anonymous": {} } }), shell("mount | grep -c /anonymous", "1")),
        Row("WorkingDir", json!({ "WorkingDir": "/made/here" }), shell("pwd", "/made/here")),
        Row(
            "Entrypoint",
            json!({ "Entrypoint": ["sh", "-c"] }),
            elsewhere("docker/src/to_spec/tests.rs", "an_empty_entrypoint_clears_the_images"),
        ),
        Row("NetworkDisabled", json!({ "NetworkDisabled": true }), shell("echo only $(ls /sys/class/net)", "only lo")),
        Row(
            "MacAddress",
            json!({ "MacAddress": "02:42:ac:11:00:63" }),
            shell("cat /sys/class/net/eth0/address", "02:42:ac:11:00:63"),
        ),
        Row("OnBuild", json!({ "OnBuild": ["RUN x"] }), Shown),
        Row("Labels", json!({ "Labels": { "a": "b" } }), Shown),
        Row("StopSignal", json!({ "StopSignal": "SIGUSR1" }), Shown),
        Row("StopTimeout", json!({ "StopTimeout": 3 }), Shown),
        Row("Shell", json!({ "Shell": ["ash"] }), Shown),
    ]
}

/// Makes the container of a row; the answer of create.
fn create(world: &World, row: &Row, host: bool, name: &str) -> testkit::http::Answer {
    let script = if let Shell(script, _) = &row.2 { script } else { "sleep 1000" };
    let mut body = json!({ "Image": "busybox", "Cmd": ["sh", "-c", script] });
    if host {
        body["HostConfig"] = row.1.clone();
        body["Tty"] = json!(row.0 == "ConsoleSize");
    } else {
        body.as_object_mut().expect("an object").extend(row.1.as_object().expect("an object").clone());
    }
    request(&world.docker_socket(), "POST", &format!("/containers/create?name={name}"), body.to_string().as_bytes())
}

/// The file of the container's own cgroup, of whichever version.
fn cgroup_file(world: &World, id: &str, controller: &str, names: [&str; 2]) -> Option<(usize, String)> {
    let places =
        [format!("/sys/fs/cgroup/{controller}{}", world.cgroup()), format!("/sys/fs/cgroup{}", world.cgroup())];
    for (version, (place, name)) in places.iter().zip(names).enumerate() {
        let mut pending = vec![PathBuf::from(place)];
        while let Some(dir) = pending.pop() {
            let file = dir.join(name);
            if dir.to_string_lossy().contains(id) && !name.is_empty() && file.exists() {
                return Some((version, std::fs::read_to_string(file).ok()?));
            }
            let below = std::fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
            pending.extend(below.filter(|path| path.is_dir()));
        }
    }
    None
}

/// Why a row does not hold, if it does not.
fn fault(world: &World, row: &Row, host: bool) -> Option<String> {
    if let Elsewhere(file, test) = &row.2 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        return (!text.contains(test)).then(|| format!("{file} has no test {test}"));
    }
    let call = |method: &str, path: &str| request(&world.docker_socket(), method, path, b"");
    let answer = create(world, row, host, "row");
    let started = (answer.status == 201).then(|| call("POST", "/containers/row/start"));
    let failed = started.as_ref().filter(|started| started.status >= 400).or((answer.status >= 400).then_some(&answer));
    let found = match (&row.2, failed) {
        (Refused(words), Some(failed)) => {
            (!failed.message().contains(words)).then(|| format!("{words:?} is not in {:?}", failed.message()))
        }
        (Refused(words), None) => Some(format!("it was taken instead of refused: {words}")),
        (_, Some(failed)) => Some(format!("it was refused: {}", failed.message())),
        (verdict, None) => not_honoured(world, row, host, verdict),
    };
    let _ = call("DELETE", "/containers/row?force=1&v=1");
    found
}

fn not_honoured(world: &World, row: &Row, host: bool, verdict: &Verdict) -> Option<String> {
    let call = |method: &str, path: &str| request(&world.docker_socket(), method, path, b"");
    match verdict {
        Shell(_, says) => {
            call("POST", "/containers/row/wait");
            let said = world.docker(["logs", "row"]).out();
            (!said.lines().any(|line| line.trim() == says)).then(|| format!("no line {says:?} in {said:?}"))
        }
        Cgroup(controller, names, values) => {
            let id = call("GET", "/containers/row/json").json()["Id"].as_str().unwrap_or_default().to_owned();
            match cgroup_file(world, &id, controller, *names) {
                None => Some(format!("no {names:?}")),
                Some((version, text)) => {
                    let wanted = values[version];
                    (!text.lines().any(|line| line.trim() == wanted))
                        .then(|| format!("{:?} is {text:?}", names[version]))
                }
            }
        }
        Shown => {
            let view = call("GET", "/containers/row/json").json();
            let of = if host { &view["HostConfig"] } else { &view["Config"] };
            let given = &row.1[row.0];
            (&of[row.0] != given).then(|| format!("inspect says {} instead of {given}", of[row.0]))
        }
        Elsewhere(..) | Refused(_) => None,
    }
}

/// Every field that inspect shows has a row.
fn uncovered(shown: &Value, rows: &[Row]) -> Vec<String> {
    let have: BTreeSet<&str> = rows.iter().map(|row| row.0).collect();
    let fields = shown.as_object().expect("an object").keys();
    fields.filter(|field| !have.contains(field.as_str())).map(|field| format!("{field}: it has no row here")).collect()
}

#[test]
fn every_field_is_honoured_or_refused() {
    let world = world_with_busybox();
    let before = world.census();
    world.docker(["run", "-d", "--name", "donor", "-v", "/donated", "busybox", "sleep", "1000"]).ok();
    let (host, config) = (host_rows(&world), config_rows());
    let donor = request(&world.docker_socket(), "GET", "/containers/donor/json", b"").json();
    let mut faults = uncovered(&donor["HostConfig"], &host);
    faults.extend(uncovered(&donor["Config"], &config));
    for (rows, is_host) in [(&host, true), (&config, false)] {
        for row in rows {
            faults.extend(fault(&world, row, is_host).map(|fault| format!("{}: {fault}", row.0)));
        }
    }
    assert!(faults.is_empty(), "{} of {} rows:\n{}", faults.len(), host.len() + config.len(), faults.join("\n"));
    world.docker(["rm", "-f", "-v", "donor"]).ok();
    world.assert_nothing_left(&before);
}
