//! The kit's own promise: a world reaches nothing of the host, ends whole, and the census sees every kind of leak.

use std::process::Command;

use testkit::{Census, World};

fn host_facts() -> String {
    let links = testkit::run("ip", ["-brief", "link"]).ok();
    let rules = testkit::run("nft", ["list", "ruleset"]).ok();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    format!("{links}\n{rules}\n{mounts}")
}

/// Makes one leak in a world and tells what the census says of it.
fn leak(make: &str, undo: &str) -> String {
    let world = World::bare();
    let before = world.census();
    world.sh(make);
    let said = before.difference(&world.census());
    world.sh(undo);
    world.assert_nothing_left(&before);
    said
}

#[test]
fn the_census_sees_every_kind_of_leak() {
    let background = "</dev/null >/dev/null 2>&1 & echo $! > /run/pid";
    let cases = [
        ("mkdir /run/m; mount -t tmpfs x /run/m", "umount /run/m; rmdir /run/m", "mount: tmpfs on /run/m"),
        ("ip link add type veth", "ip link del veth0", "link: veth*"),
        ("ip link add br7 type bridge", "ip link del br7", "link: br7"),
        ("nft add table inet leak", "nft delete table inet leak", "nft: table inet leak"),
        (
            "nft 'add table inet l; add set inet l s { type inet_service; elements = { 80 }; }'",
            "nft delete table inet l",
            "elements",
        ),
        ("touch /run/left", "rm /run/left", "run: left"),
    ];
    for (make, undo, expected) in cases {
        let said = leak(make, undo);
        assert!(said.contains(expected), "{make}: {said:?}");
    }
    let said = leak(&format!("sleep 77 {background}"), "kill $(cat /run/pid); rm /run/pid");
    assert!(said.contains("process: sleep"), "{said}");
    let said = leak(
        &format!(
            "unshare --net sleep 77 {background}; sleep 0.2; ip link add a0 type veth peer name b0 netns $(cat /run/pid)"
        ),
        "kill $(cat /run/pid); rm /run/pid; sleep 0.2; ip link del a0 2>/dev/null || true",
    );
    assert!(said.contains("link: a0"), "{said}");
}

#[test]
fn cgroups_and_files_below_the_root_are_counted() {
    let world = World::bare();
    std::fs::create_dir(world.root()).expect("root");
    let before = world.census();
    std::fs::write(world.root().join("0123456789abcdef"), b"").expect("file");
    let hierarchy =
        if std::path::Path::new("/sys/fs/cgroup/pids").exists() { "/sys/fs/cgroup/pids" } else { "/sys/fs/cgroup" };
    let cgroup = format!("{hierarchy}{}/left", world.cgroup());
    std::fs::create_dir_all(&cgroup).expect("cgroup");
    let said = before.difference(&world.census());
    assert!(said.contains("root: *") && said.contains("cgroup: "), "{said}");
    assert!(said.contains("/left"), "{said}");
}

#[test]
fn a_world_reaches_nothing_of_the_host_and_ends_whole() {
    let before = host_facts();
    let world = World::bare();
    let (init, dir, cgroup) = (world.init(), world.dir().to_path_buf(), world.cgroup().to_owned());
    world.sh("mount -t tmpfs x /mnt; ip link add br7 type bridge; nft add table inet leak; hostname other");
    world.sh("sleep 1000 </dev/null >/dev/null 2>&1 &");
    let mut survivor = world.enter("setsid");
    survivor.args(["--fork", "sh", "-c", "exec sleep 1000 >/dev/null 2>&1"]);
    testkit::command::run_with(survivor, b"").ok();
    // Its init waits in a sleep of its own.
    assert_eq!(world.processes().len(), 3);
    assert_eq!(host_facts(), before);
    drop(world);
    assert!(!std::path::Path::new(&format!("/proc/{init}")).exists(), "its first process is gone");
    assert!(!dir.exists(), "its directory is gone");
    let left = Command::new("find")
        .args(["/sys/fs/cgroup", "-maxdepth", "2", "-name", cgroup.trim_start_matches('/')])
        .output();
    assert_eq!(String::from_utf8_lossy(&left.expect("find").stdout), "");
    assert_eq!(host_facts(), before);
}

#[test]
fn equal_worlds_have_an_equal_census() {
    let world = World::bare();
    let first: Census = world.census();
    assert_eq!(first.difference(&world.census()), "");
    assert!(first.count("link", "lo") == 1 && first.count("mount", "tmpfs on /run") == 1);
}
