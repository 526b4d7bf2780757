//! `run`: output, exit codes, and everything that the command line sets.

use testkit::image::sample;

use crate::client::{Client, with_both_clients, world_with_busybox};

with_both_clients!(run_rm_gives_output_and_exit_codes, run_detached_is_seen_and_removed, run_sets_what_was_asked);

fn run_rm_gives_output_and_exit_codes(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let run = |args: &[&str]| client.args(&world, &[&["run", "--rm"], args].concat());

    assert_eq!(run(&["busybox", "echo", "hello world"]).ok(), "hello world");
    let both = run(&["busybox", "sh", "-c", "echo out; echo err >&2; exit 3"]);
    assert_eq!((both.code(), both.out().as_str(), both.stderr.trim()), (3, "out", "err"), "{both}");
    assert_eq!(run(&["busybox", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"]).code(), 137);

    let missing = run(&["busybox", "no-such-command"]);
    assert!(missing.fails(127).contains("no-such-command"), "{missing}");
    let directory = run(&["busybox", "/etc"]);
    // runc before 1.2 calls a directory a lack of permission.
    let said = directory.fails(126).to_lowercase();
    assert!(said.contains("permission denied") || said.contains("is a directory"), "{directory}");
    let echoed = client.fed(&world, &["run", "--rm", "-i", "busybox", "cat"], b"through stdin\n");
    assert_eq!(echoed.ok(), "through stdin");

    let inside = run(&["busybox", "sha256sum", "/bin/busybox"]).ok();
    assert!(inside.starts_with(&sample::sha256_of_file(sample::BUSYBOX)), "{inside}");
    world.assert_nothing_left(&before);
}

fn run_detached_is_seen_and_removed(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let id = client.line(&world, "run -d --name web busybox sleep 1000").ok();
    assert_eq!(id.len(), 64, "an id: {id}");

    let listed = client.args(&world, &["ps", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}"]).ok();
    assert_eq!(listed, format!("{} web busybox running", &id[..12]));
    assert!(client.line(&world, "ps").ok().contains("Up "), "the table shows the status");
    assert_eq!(client.line(&world, "ps -q --no-trunc").ok(), id);

    assert_eq!(client.line(&world, "stop -t 0 web").ok(), "web");
    assert_eq!(client.line(&world, "ps -q").ok(), "");
    let status = client.args(&world, &["ps", "-a", "--format", "{{.Status}}"]).ok();
    assert!(status.starts_with("Exited (137)"), "{status}");
    assert_eq!(client.args(&world, &["rm", &id[..12]]).ok(), id[..12]);
    assert_eq!(client.line(&world, "ps -aq").ok(), "");
    world.assert_nothing_left(&before);
}

fn run_sets_what_was_asked(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let script = "echo $COLOUR; pwd; id -u; id -g; hostname; cat /proc/self/oom_score_adj; ulimit -n; echo end";
    let shown = client
        .args(
            &world,
            &[
                "run",
                "--rm",
                "-e",
                "COLOUR=blue",
                "-w",
                "/www",
                "-u",
                "1000:50",
                "--hostname",
                "box",
                "--oom-score-adj",
                "500",
                "--ulimit",
                "nofile=64:64",
                "--label",
                "a=b",
                "busybox",
                "sh",
                "-c",
                script,
            ],
        )
        .ok();
    assert_eq!(shown.lines().collect::<Vec<_>>(), ["blue", "/www", "1000", "50", "box", "500", "64", "end"]);

    let limits = ["run", "-d", "--name", "limited", "-m", "32m", "--cpus", "0.5", "--pids-limit", "20"];
    client.args(&world, &[&limits[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let format = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}";
    assert_eq!(client.args(&world, &["inspect", "-f", format, "limited"]).ok(), "33554432 500000000 20");
    assert_eq!(cgroup_value(&world, "memory", &["memory.limit_in_bytes", "memory.max"]), "33554432");
    assert_eq!(cgroup_value(&world, "pids", &["pids.max"]), "20");
    client.line(&world, "rm -f limited").ok();
    world.assert_nothing_left(&before);
}

/// Debian's own docker CLI speaks an API that is years older.
#[test]
fn with_docker_of_debian() {
    let world = world_with_busybox();
    let before = world.census();
    let old = |args: &[&str]| {
        let mut command = world.client("/usr/bin/docker");
        command.args(args);
        testkit::command::run_with(command, b"")
    };
    assert!(old(&["version", "--format", "{{.Client.Version}}"]).ok().starts_with("20.10"));
    assert_eq!(old(&["run", "--rm", "busybox", "sh", "-c", "echo old; exit 0"]).ok(), "old");
    assert_eq!(old(&["run", "--rm", "busybox", "sh", "-c", "exit 9"]).code(), 9);
    old(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    assert_eq!(old(&["exec", "box", "echo", "in"]).ok(), "in");
    assert_eq!(old(&["ps", "--format", "{{.Names}} {{.Image}}"]).ok(), "box busybox");
    old(&["rm", "-f", "box"]).ok();
    world.assert_nothing_left(&before);
}

/// The value of the only file with one of these names under the world's cgroup that has been set.
#[track_caller]
fn cgroup_value(world: &testkit::World, controller: &str, names: &[&str]) -> String {
    let mut pending = vec![
        std::path::PathBuf::from(format!("/sys/fs/cgroup/{controller}{}", world.cgroup())),
        std::path::PathBuf::from(format!("/sys/fs/cgroup{}", world.cgroup())),
    ];
    let mut values = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                pending.push(entry.path());
            } else if names.iter().any(|name| entry.file_name().to_string_lossy() == **name) {
                let value = std::fs::read_to_string(entry.path()).unwrap_or_default().trim().to_owned();
                // An unlimited memory cgroup says 9223372036854771712 on v1 and max on v2.
                if value != "max" && !value.starts_with("92233720368547") {
                    values.push(value);
                }
            }
        }
    }
    assert_eq!(values.len(), 1, "one cgroup under {} has {names:?} set: {values:?}", world.cgroup());
    values.remove(0)
}
