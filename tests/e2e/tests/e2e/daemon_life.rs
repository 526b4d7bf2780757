//! gantryd as a program: its configuration, its sockets, one daemon for each root, a graceful end.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use testkit::World;
use testkit::daemon::{gantry_config, program};

use crate::client::load;

#[test]
fn the_configuration_is_printed_and_read_back() {
    let world = World::bare();
    let printed = testkit::run(program("gantryd").to_str().expect("path"), ["--print-config"]).ok();
    assert!(printed.lines().any(|l| l.starts_with('#')), "the defaults are documented:\n{printed}");
    let file = world.dir().join("printed.toml");
    std::fs::write(&file, &printed).expect("file");
    let again = testkit::run(
        program("gantryd").to_str().expect("path"),
        ["--config", file.to_str().expect("path"), "--print-config"],
    );
    assert_eq!(again.ok(), printed.trim(), "what is printed is a whole configuration");

    std::fs::write(&file, "no_such_key = 1\n").expect("file");
    let mut command = world.enter(program("gantryd"));
    command.arg("--config").arg(&file);
    let refused = testkit::command::run_with(command, b"");
    assert!(refused.failure().contains("no_such_key"), "{refused}");
}

#[test]
fn a_second_daemon_on_the_same_root_is_refused() {
    let world = World::gantry_only();
    let config = world.dir().join("second.toml");
    let text = gantry_config(&world).replace("docker.sock", "docker2.sock").replace("cri.sock", "cri2.sock");
    std::fs::write(&config, text).expect("configuration");
    let mut command = world.enter(program("gantryd"));
    command.arg("--config").arg(&config);
    let second = testkit::command::run_with(command, b"");
    let root = world.root().to_string_lossy().into_owned();
    let said = format!("{}{}", second.failure(), second.out());
    assert!(said.contains(&root), "names the root: {second}");
    assert_eq!(world.docker(["ps", "-q"]).ok(), "", "the first goes on");
}

#[test]
fn sockets_and_directories_are_private() {
    let world = World::gantry_only();
    let mode = |path: std::path::PathBuf| {
        std::fs::metadata(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).permissions().mode() & 0o777
    };
    assert_eq!(mode(world.root()), 0o700);
    assert_eq!(mode(world.docker_socket()), 0o600, "no group is configured");
    assert_eq!(mode(world.cri_socket()), 0o600);
}

#[test]
fn sigterm_ends_the_daemon_and_no_container() {
    let mut world = World::gantry_only();
    load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    world.docker(["run", "-d", "--name", "stays", "busybox", "sleep", "1000"]).ok();
    let pid: i32 = world.docker(["inspect", "-f", "{{.State.Pid}}", "stays"]).ok().parse().expect("pid");
    world.stop_daemon();
    assert!(!world.docker_socket().exists(), "its socket is removed");
    world.sh(&format!("kill -0 {pid}"));
    world.start_daemon();
    assert_eq!(world.docker(["ps", "--format", "{{.Names}}"]).ok(), "stays");
    assert_eq!(world.docker(["exec", "stays", "echo", "here"]).ok(), "here");
    world.docker(["rm", "-f", "stays"]).ok();
}

/// systemd passes listening sockets as descriptors 3 and up, and hears `READY=1`.
#[test]
fn sockets_are_inherited_and_readiness_is_told() {
    let world = World::bare();
    let notify = world.dir().join("notify.sock");
    let listener = std::os::unix::net::UnixDatagram::bind(&notify).expect("notify socket");
    listener.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    let config = world.dir().join("activated.toml");
    let inherited = gantry_config(&world);
    let listen = format!("unix://{}", world.docker_socket().display());
    std::fs::write(&config, inherited.replace(&listen, "fd://")).expect("configuration");
    let activated = world.dir().join("activated.sock");
    let mut command = world.enter("systemd-socket-activate");
    command.arg("--listen").arg(&activated).arg("--fdname=docker");
    command.arg("-E").arg(format!("NOTIFY_SOCKET={}", notify.display()));
    command.arg(program("gantryd")).arg("--config").arg(&config);
    let mut child = command.spawn().expect("systemd-socket-activate (Debian's systemd)");
    testkit::wait::until("the inherited socket to answer", Duration::from_secs(20), || {
        (activated.exists() && testkit::http::ping(&activated)).then_some(())
    });
    let mut buffer = [0_u8; 512];
    let length = listener.recv(&mut buffer).expect("a notification");
    assert!(String::from_utf8_lossy(&buffer[..length]).contains("READY=1"));
    let _ = child.kill();
    let _ = child.wait();
}
