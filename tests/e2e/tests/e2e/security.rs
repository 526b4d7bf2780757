//! Published flaws of the field, tried on us: what a container can see and reach, and what a hostile image can do.
//! Each test names the flaws it stands for; the canary is on the host and must stay as it was.

use serde_json::json;
use testkit::image::layer::Entry;
use testkit::image::{Image, Layer, sample};
use testkit::{Canary, World};

use crate::client::{load, world_with_busybox};

/// What a process in a container finds: no leaked descriptor, no inheritable capability, masks and a seccomp filter.
/// CVE-2024-21626, CVE-2022-24769, CVE-2019-16884, GHSA-7ww5-4wqc-m92c, CVE-2023-25809.
#[test]
fn what_a_container_finds() {
    let world = world_with_busybox();
    let sh = |script: &str| world.docker(["run", "--rm", "busybox", "sh", "-c", script]).ok();
    let status = sh("grep -E '^(CapInh|CapAmb|CapEff|NoNewPrivs|Seccomp):' /proc/self/status");
    assert!(status.contains("CapInh:\t0000000000000000") && status.contains("CapAmb:\t0000000000000000"), "{status}");
    assert!(status.contains("CapEff:\t00000000a80425fb"), "docker's default capabilities: {status}");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // Not by a shell: it holds descriptors of its own while `ls` runs. What `ls` opens is 3, the directory itself.
    assert_eq!(world.docker(["run", "--rm", "busybox", "ls", "/proc/1/fd"]).ok(), "0\n1\n2\n3");
    assert_eq!(sh("tr '\\0' '\\n' < /proc/1/environ | cut -d= -f1 | sort | tr '\\n' ' '"), "HOME HOSTNAME PATH");
    assert_eq!(sh("cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c"), "0");
    let hidden = "/proc/acpi /proc/scsi /sys/firmware /sys/devices/virtual/powercap";
    assert_eq!(sh(&format!("find {hidden} -mindepth 1 2>/dev/null | wc -l")), "0");
    for (path, value) in
        [("/proc/sysrq-trigger", "h"), ("/proc/sys/kernel/core_pattern", "x"), ("/proc/irq/0/smp_affinity", "1")]
    {
        let wrote = world.docker(["run", "--rm", "busybox", "sh", "-c", &format!("echo {value} > {path}")]);
        assert!(wrote.failure().contains("Read-only") || wrote.stderr.contains("nonexistent"), "{path}: {wrote}");
    }
    let cgroup = world.docker([
        "run",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "mkdir /sys/fs/cgroup/memory/x 2>/dev/null || mkdir /sys/fs/cgroup/x",
    ]);
    assert!(cgroup.failure().contains("Read-only"), "{cgroup}");
    for forbidden in
        ["mount -t tmpfs t /tmp", "hostname changed", "mknod /tmp/sda b 8 0 && dd if=/tmp/sda of=/dev/null count=1"]
    {
        let tried = world.docker(["run", "--rm", "busybox", "sh", "-c", forbidden]);
        tried.failure();
    }
}

/// A working directory that is one of our descriptors leads nowhere. CVE-2024-21626.
#[test]
fn a_working_directory_by_descriptor() {
    let world = world_with_busybox();
    let canary = Canary::plant(world.dir().join("canary"));
    world.docker(["run", "-d", "--name", "target", "busybox", "sleep", "1000"]).ok();
    let climb = format!("cat ../../../../../../../..{}/dir/deeper/secret", canary.path().display());
    for n in 3..24 {
        let dir = format!("/proc/self/fd/{n}");
        let run = world.docker(["run", "--rm", "-w", &dir, "busybox", "sh", "-c", &climb]);
        assert!(!run.out().contains("do not read me"), "{run}");
        let exec = world.docker(["exec", "-w", &dir, "target", "sh", "-c", &climb]);
        assert!(!exec.out().contains("do not read me"), "{exec}");
    }
    canary.assert_untouched();
    world.docker(["rm", "-f", "target"]).ok();
}

/// Layers whose entries try to leave: each is refused, or stays inside.
/// CVE-2019-14271, CVE-2024-21626, CVE-2026-17106, CVE-2025-47290 and the tar rows.
#[test]
fn hostile_layers_stay_inside() {
    let world = World::gantry_only();
    let canary = Canary::plant(world.dir().join("canary"));
    let outside = canary.path().to_str().expect("path").to_owned();
    let deep = format!("{}{}", "../".repeat(24), outside.trim_start_matches('/'));
    let hostile: Vec<(&str, Layer)> = vec![
        ("dotdot", Layer::new().file(&format!("{deep}/file"), b"bad\n")),
        ("absolute", Layer::new().file(&format!("{outside}/file"), b"bad\n")),
        ("through-link", Layer::new().symlink("out", &outside).file("out/file", b"bad\n")),
        ("through-relative-link", Layer::new().symlink("out", &deep).file("out/file", b"bad\n")),
        ("hardlink", Layer::new().hardlink("hard", &format!("{outside}/file")).file("hard", b"bad\n")),
        ("hardlink-dotdot", Layer::new().hardlink("hard", &format!("{deep}/file")).file("hard", b"bad\n")),
        (
            "hardlink-to-link",
            Layer::new().symlink("s", &format!("{outside}/file")).hardlink("h", "s").file("h", b"bad\n"),
        ),
        ("whiteout-through-link", Layer::new().symlink("out", &outside).file("out/.wh.file", b"")),
        ("whiteout-dotdot", Layer::new().file(".wh...", b"").file("dir/.wh..", b"")),
        ("opaque-through-link", Layer::new().symlink("out", &outside).file("out/.wh..wh..opq", b"")),
        (
            "mode-through-link",
            Layer::new().symlink("out", &format!("{outside}/file")).file_mode("out", 0o777, b"bad\n"),
        ),
        ("link-becomes-directory", Layer::new().symlink("d", &outside).dir("d").file("d/file", b"bad\n")),
        (
            "overlay-xattr",
            Layer::new().entry(&Entry { xattrs: &[("trusted.overlay.redirect", b"/etc")], ..Entry::new(b"r", b'5') }),
        ),
    ];
    for (name, layer) in hostile {
        let image = sample::busybox().with(layer);
        let archive = image.docker_archive(&format!("hostile/{name}:1"));
        let headers = [("Content-Type", "application/x-tar")];
        let answer = testkit::http::request_with(&world.docker_socket(), "POST", "/images/load", &headers, &archive);
        canary.assert_untouched();
        // Whatever was accepted also runs without reaching the canary.
        if answer.status == 200 && !String::from_utf8_lossy(&answer.body).contains("errorDetail") {
            let run = world.docker([
                "run",
                "--rm",
                &format!("hostile/{name}:1"),
                "sh",
                "-c",
                "echo x > /out/file; cat /h; true",
            ]);
            assert!(run.code() == 0 || run.code() == 125, "{name}: {run}");
            canary.assert_untouched();
        }
    }
    assert_eq!(world.docker(["run", "--rm", "hostile/absolute:1", "cat", &format!("{outside}/file")]).ok(), "bad");
}

/// A root file system whose own directories are links. CVE-2019-19921, CVE-2023-27561, CVE-2025-31133, CVE-2026-41579.
#[test]
fn system_directories_that_are_links() {
    let world = World::gantry_only();
    let canary = Canary::plant(world.dir().join("canary"));
    let outside = format!("{}{}", "../".repeat(16), canary.path().display());
    for name in
        ["proc", "sys", "dev", "dev/pts", "dev/shm", "dev/mqueue", "etc/hosts", "etc/resolv.conf", "etc/hostname"]
    {
        // The later entry takes the place of the directory.
        let tree = sample::userland().symlink(name, &outside);
        let tag = format!("linked/{}:1", name.replace(['/', '.'], "-"));
        load(&world, &Image::empty().with(tree).docker_archive(&tag));
        let script = "cat /proc/kcore 2>/dev/null | wc -c; echo x > /proc/sys/kernel/core_pattern";
        let run = world.docker(["run", "--rm", &tag, "sh", "-c", script]);
        assert!(run.code() != 0, "core_pattern is not writable: {name}: {run}");
        canary.assert_untouched();
    }
}

/// The runtime's own program is out of reach. CVE-2019-5736.
#[test]
fn our_programs_cannot_be_overwritten() {
    let world = World::gantry_only();
    let programs = ["gantryd", "containerd-shim-gantry-v1"].map(testkit::daemon::program);
    let sums = || programs.each_ref().map(|p| sample::sha256_of_file(p.to_str().expect("path")));
    let before = sums();
    let trap = sample::userland().file_mode("self", 0o755, b"#!/proc/self/exe\n").file_mode(
        "grab",
        0o755,
        b"#!/bin/sh\nfor p in /proc/[0-9]*; do echo x > $p/exe; done 2>/dev/null\nexit 0\n",
    );
    load(&world, &Image::empty().with(trap).docker_archive("trap:1"));
    world.docker(["run", "--rm", "trap:1", "/self"]).failure();
    world.docker(["run", "-d", "--name", "grabber", "trap:1", "sh", "-c", "while :; do /grab; done"]).ok();
    for _ in 0..10 {
        let _ = world.docker(["exec", "grabber", "/self"]);
        world.docker(["exec", "grabber", "true"]).ok();
    }
    world.docker(["rm", "-f", "grabber"]).ok();
    assert_eq!(sums(), before);
}

/// Users that overflow, or are looked up in files that are traps. CVE-2024-40635, CVE-2026-47262.
#[test]
fn users_are_parsed_strictly() {
    let world = world_with_busybox();
    for user in ["4294967296", "4294967295", "-1", "0x0", "root:4294967296", "no-such-user", "1000:no-such-group"] {
        let run = world.docker(["run", "--rm", "-u", user, "busybox", "id", "-u"]);
        assert!(run.failure().len() > 10, "{user}: {run}");
    }
    assert_eq!(world.docker(["run", "--rm", "-u", "user", "busybox", "id", "-G"]).ok(), "1000 50");
    assert_eq!(world.docker(["run", "--rm", "-u", "12345", "busybox", "id", "-u"]).ok(), "12345");

    let fifo = sample::userland().entry(&Entry::new(b"etc/passwd", b'6')).entry(&Entry::new(b"etc/group", b'6'));
    load(&world, &Image::empty().with(fifo).docker_archive("fifo:1"));
    let start = std::time::Instant::now();
    let run = world.docker(["run", "--rm", "-u", "user", "fifo:1", "true"]);
    run.failure();
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "a FIFO does not hang it: {run}");
    let huge = sample::userland().sparse("etc/passwd", 4 << 30, 0, b"root:x:0:0::/:/bin/sh\n");
    load(&world, &Image::empty().with(huge).docker_archive("huge:1"));
    let run = world.docker(["run", "--rm", "-u", "user", "huge:1", "true"]);
    run.failure();
}

/// What an image says never becomes an instruction to the engine. CVE-2026-53488, CVE-2022-23648.
#[test]
fn an_image_gives_no_orders() {
    let world = World::gantry_only();
    let canary = Canary::plant(world.dir().join("canary"));
    let loguri = format!("binary:///bin/touch?x={}/made", canary.path().display());
    let volume = format!("{}{}", "/..".repeat(12), canary.path().display());
    let image = sample::busybox()
        .set("Labels", json!({ "containerd.io/restart.loguri": loguri, "io.kubernetes.cri.sandbox-id": "x", "gantry.privileged": "true" }))
        .set("Volumes", json!({ volume: {} }));
    load(&world, &image.docker_archive("orders:1"));
    let run = world.docker([
        "run",
        "--rm",
        "orders:1",
        "sh",
        "-c",
        "find / -name secret -path '*deeper*' 2>/dev/null | wc -l; grep CapEff /proc/self/status",
    ]);
    if run.code() == 0 {
        assert!(run.out().starts_with('0') && run.out().contains("00000000a80425fb"), "{run}");
    }
    canary.assert_untouched();
}
