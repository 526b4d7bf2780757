//! `kill -9` of the daemon while containers run and log: nothing stops, no line is lost, and everything works after.

use std::process::{Child, Stdio};
use std::time::Duration;

use testkit::image::sample;
use testkit::pty::Terminal;
use testkit::{World, wait};

use crate::client::{Client, load};

fn world() -> World {
    let world = World::gantry_only();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    world
}

/// Writes a numbered line every ten milliseconds.
const COUNTER: &str = "i=0; while :; do i=$((i+1)); echo $i; usleep 10000; done";

#[test]
fn nothing_stops_and_no_line_is_lost() {
    let mut world = world();
    let before = world.census();
    world.docker(["run", "-d", "--name", "counter", "busybox", "sh", "-c", COUNTER]).ok();
    world.docker(["run", "-d", "--name", "brief", "busybox", "sh", "-c", "sleep 1; exit 42"]).ok();
    world.docker(["run", "-d", "--name", "web", "-p", "8080:80", "busybox", "httpd", "-f", "-h", "/www"]).ok();
    let pid = pid_of(&world, "counter");
    for round in 0..3 {
        std::thread::sleep(Duration::from_millis(400));
        world.kill_daemon();
        std::thread::sleep(Duration::from_millis(if round == 0 { 1500 } else { 300 }));
        // The published port works while no daemon runs.
        assert_eq!(world.sh("busybox wget -q -O - http://127.0.0.1:8080/index.html").trim(), "hello from a container");
        world.start_daemon();
    }
    assert_eq!(pid_of(&world, "counter"), pid, "the same process");
    assert_eq!(sorted(&world.docker(["ps", "--format", "{{.Names}}"]).ok()), ["counter", "web"]);

    let ended = world.docker(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", "brief"]).ok();
    assert_eq!(ended, "exited 42", "what ended while no daemon ran");
    assert_eq!(world.docker(["wait", "brief"]).ok(), "42");
    assert_eq!(world.docker(["exec", "counter", "echo", "exec works"]).ok(), "exec works");
    follow_goes_on(&world);

    assert_eq!(world.docker(["stop", "-t", "0", "counter"]).ok(), "counter");
    let lines = world.docker(["logs", "counter"]).ok();
    let numbers: Vec<u64> = lines.lines().map(|l| l.parse().expect("a number")).collect();
    let expected: Vec<u64> = (1..=numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "every line once, in order");
    assert!(numbers.len() > 100, "it went on logging: {}", numbers.len());
    world.docker(["rm", "-f", "counter", "brief", "web"]).ok();
    world.assert_nothing_left(&before);
}

fn pid_of(world: &World, name: &str) -> String {
    world.docker(["inspect", "-f", "{{.State.Pid}}", name]).ok()
}

fn sorted(lines: &str) -> Vec<&str> {
    let mut names: Vec<&str> = lines.lines().collect();
    names.sort_unstable();
    names
}

/// `logs -f` from a client that came after the restart shows new lines as they are written.
fn follow_goes_on(world: &World) {
    let shown = world.dir().join("followed");
    let mut command = Client::Docker.command(world);
    command.args(["logs", "-f", "--tail", "1", "counter"]);
    command.stdout(std::fs::File::create(&shown).expect("file")).stdin(Stdio::null());
    let mut follower: Child = command.spawn().expect("docker");
    wait::until("new lines to be followed", Duration::from_secs(10), || {
        (std::fs::read_to_string(&shown).unwrap_or_default().lines().count() > 20).then_some(())
    });
    let _ = follower.kill();
    let _ = follower.wait();
}

#[test]
fn attach_and_wait_work_after_a_restart() {
    let mut world = world();
    let before = world.census();
    world.docker(["run", "-dit", "--name", "shell", "busybox", "sh"]).ok();
    world.docker(["run", "-di", "--name", "reader", "busybox", "sh", "-c", "read line; echo got $line; exit 6"]).ok();
    world.kill_daemon();
    world.start_daemon();

    let mut command = Client::Docker.command(&world);
    command.args(["attach", "shell"]);
    let mut terminal = Terminal::spawn(&command, 25, 80);
    std::thread::sleep(Duration::from_millis(300));
    terminal.type_in("echo still $((40+2))\n");
    terminal.expect("still 42");
    terminal.type_in("exit 5\n");
    assert_eq!(terminal.wait().code(), Some(5), "{}", terminal.screen());

    let mut waiter = Client::Docker.command(&world);
    waiter.args(["wait", "reader"]);
    let waiter = std::thread::spawn(move || testkit::command::run_with(waiter, b""));
    let attached = Client::Docker.fed(&world, &["attach", "reader"], b"hello\n");
    assert!(attached.out().contains("got hello"), "{attached}");
    assert_eq!(attached.code(), 6, "{attached}");
    assert_eq!(waiter.join().expect("wait").ok(), "6");
    world.docker(["rm", "shell", "reader"]).ok();
    world.assert_nothing_left(&before);
}

/// The daemon dies while it works: whatever was under way is finished or gone, never half there.
#[test]
fn killed_in_the_middle_of_work() {
    let mut world = world();
    let reference = world.registry().push(&sample::bulky(4, 40 << 20), "killed:1");
    world.docker(["run", "--rm", "busybox", "true"]).ok();
    let before = world.census();
    for pause_ms in [3, 15, 40, 100, 250] {
        let mut clients: Vec<Child> = Vec::new();
        for args in [vec!["pull", "-q", &reference], vec!["run", "--rm", "busybox", "sleep", "0.1"]] {
            let mut command = Client::Docker.command(&world);
            command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
            clients.push(command.spawn().expect("docker"));
        }
        std::thread::sleep(Duration::from_millis(pause_ms));
        world.kill_daemon();
        for mut client in clients {
            let _ = client.wait();
        }
        world.start_daemon();
    }
    for id in world.docker(["ps", "-aq"]).ok().lines() {
        world.docker(["rm", "-f", id]).ok();
    }
    world.docker(["pull", "-q", &reference]).ok();
    let counted = world.docker(["run", "--rm", &reference, "sh", "-c", "cat /bulk/*/* | wc -c"]).ok();
    assert_eq!(counted, (40 << 20).to_string(), "every byte of every layer");
    world.docker(["rmi", &reference]).ok();
    world.assert_nothing_left(&before);
}

/// Restart policies hold over a restart of the daemon.
#[test]
fn always_means_after_a_restart_too() {
    let mut world = world();
    world.docker(["run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "1000"]).ok();
    world.docker(["run", "-d", "--name", "stopped", "--restart", "unless-stopped", "busybox", "sleep", "1000"]).ok();
    world.docker(["stop", "-t", "0", "stopped"]).ok();
    world.kill_daemon();
    // The container itself is killed too while no daemon is there to notice.
    for process in world.processes() {
        let command = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
        if command.starts_with("sleep\u{0}1000") {
            let process = rustix::process::Pid::from_raw(process).expect("pid");
            rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("kill");
        }
    }
    world.start_daemon();
    wait::until("the container to be started again", Duration::from_secs(10), || {
        (world.docker(["ps", "--format", "{{.Names}}"]).ok() == "always").then_some(())
    });
    world.docker(["rm", "-f", "always", "stopped"]).ok();
}
