//! Building through the classic endpoint, as the docker CLI without buildx and compose v1 do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::command::run_with;
use testkit::{Run, World, wait};

use crate::client::world_with_busybox;

/// A context in a directory.
pub(crate) fn context(world: &World, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let dir = world.dir().join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    for (path, text) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }
    dir
}

/// `docker build`, classic.
pub(crate) fn build(world: &World, dir: &Path, args: &[&str]) -> Run {
    run_with(build_command(world, dir, args), b"")
}

fn build_command(world: &World, dir: &Path, args: &[&str]) -> Command {
    let mut command = world.client("docker");
    command.env("DOCKER_BUILDKIT", "0").arg("build").args(args).arg(dir);
    command
}

pub(crate) fn docker(world: &World, line: &str) -> String {
    world.docker(line.split_whitespace()).ok()
}

fn inspect(world: &World, image: &str, format: &str) -> String {
    world.docker(["image", "inspect", "-f", format, image]).ok()
}

/// Everything that builds have made goes; the base stays.
pub(crate) fn remove_all(world: &World) {
    let base = docker(world, "images -q --no-trunc busybox");
    for image in docker(world, "images -aq --no-trunc").lines().filter(|id| *id != base) {
        drop(world.docker(["rmi", "-f", image]));
    }
    docker(world, "builder prune -af");
}

const FIVE: &str = "FROM busybox\nENV GREETING=hello\nCOPY a.txt /srv/\nRUN echo $GREETING > /srv/b.txt && chmod 600 /srv/b.txt\n\
    WORKDIR /srv\nCMD [\"cat\", \"a.txt\", \"b.txt\"]\n";

mod with_docker {
    use super::*;

    #[test]
    fn a_build_makes_an_image_that_runs() {
        let world = world_with_busybox();
        let before = world.census();
        let dir = context(&world, "five", &[("Dockerfile", FIVE), ("a.txt", "from the context\n")]);
        let said = build(&world, &dir, &["-t", "five:1", "-t", "five:2", "--label", "l=v"]).ok();
        assert!(said.contains("Step 1/") && said.contains("Successfully tagged five:1"), "{said}");
        assert_eq!(docker(&world, "run --rm five:2"), "from the context\nhello");
        let config =
            "{{.Config.WorkingDir}}|{{json .Config.Cmd}}|{{index .Config.Labels \"l\"}}|{{index .Config.Env 1}}";
        assert_eq!(inspect(&world, "five:1", config), "/srv|[\"cat\",\"a.txt\",\"b.txt\"]|v|GREETING=hello");
        let again = build(&world, &dir, &["-t", "five:3", "--cache-from", "five:1"]).ok();
        assert!(again.contains("[Warning] cache-from five:1: results are looked up in this engine's own"), "{again}");
        assert!(again.contains("Using cache") && !again.contains("Running in"), "{again}");
        remove_all(&world);
        world.assert_nothing_left(&before);
    }

    #[test]
    fn a_failed_command_is_told_with_its_code() {
        let world = world_with_busybox();
        let before = world.census();
        let dir = context(&world, "failing", &[("Dockerfile", "FROM busybox\nRUN echo so; echo far >&2; exit 7\n")]);
        let failed = build(&world, &dir, &["-t", "never"]);
        assert!(
            failed
                .failure()
                .contains("The command '/bin/sh -c echo so; echo far >&2; exit 7' returned a non-zero code: 7")
        );
        assert!(failed.out().contains("so"), "{failed}");
        assert!(!docker(&world, "images").contains("never"));
        remove_all(&world);
        world.assert_nothing_left(&before);
    }

    /// What was done again and what came from the cache, by the words of the classic builder.
    fn cached(said: &str) -> Vec<bool> {
        let steps: Vec<&str> = said.split("Step ").skip(2).collect();
        steps.iter().map(|step| step.contains("Using cache")).collect()
    }

    #[test]
    fn a_change_does_again_what_depends_on_it() {
        let world = world_with_busybox();
        let before = world.census();
        let text = "FROM busybox\nRUN echo one > /one\nCOPY a.txt /a\nRUN cat /a > /b\nCOPY c.txt /c\n";
        let dir = context(&world, "cache", &[("Dockerfile", text), ("a.txt", "a"), ("c.txt", "c"), ("other", "x")]);
        build(&world, &dir, &[]).ok();
        let again = |args: &[&str]| cached(&build(&world, &dir, args).ok());
        // A time is no change, nor is a file that nobody copies.
        std::process::Command::new("touch").arg(dir.join("a.txt")).status().unwrap();
        std::fs::write(dir.join("other"), "y").unwrap();
        assert_eq!(again(&[]), [true; 4]);
        std::fs::write(dir.join("c.txt"), "d").unwrap();
        assert_eq!(again(&[]), [true, true, true, false]);
        std::fs::write(dir.join("a.txt"), "b").unwrap();
        assert_eq!(again(&[]), [true, false, false, false]);
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(dir.join("a.txt"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(!again(&[])[1], "the mode counts");
        assert_eq!(again(&["--no-cache"]), [false; 4]);
        std::fs::write(dir.join("Dockerfile"), text.replace("one > /one", "two > /one")).unwrap();
        assert!(!again(&[])[0]);
        remove_all(&world);
        world.assert_nothing_left(&before);
    }

    #[test]
    fn a_client_that_goes_away_ends_its_build() {
        let world = world_with_busybox();
        let before = world.census();
        let dir = context(&world, "endless", &[("Dockerfile", "FROM busybox\nRUN echo begun; sleep 4321\n")]);
        let mut client = build_command(&world, &dir, &[]).spawn().unwrap();
        let sleeps = || world.sh("ps -eo args").contains("sleep 4321");
        wait::until("the command", Duration::from_secs(20), || sleeps().then_some(()));
        client.kill().unwrap();
        client.wait().unwrap();
        wait::until("the end of the command", Duration::from_secs(20), || (!sleeps()).then_some(()));
        remove_all(&world);
        world.assert_nothing_left(&before);
    }
}

mod with_gantry {
    use super::*;

    #[test]
    fn a_build_that_the_daemon_does_not_survive_leaves_nothing() {
        let mut world = world_with_busybox();
        let before = world.census();
        let text = "FROM busybox\nRUN echo done > /done\nRUN --mount=type=cache,target=/c sleep 4322\n";
        let dir = context(&world, "killed", &[("Dockerfile", text), ("a.txt", "x")]);
        let mut client = build_command(&world, &dir, &[]).spawn().unwrap();
        let sleeps = |world: &World| world.sh("ps -eo args").contains("sleep 4322");
        wait::until("the command", Duration::from_secs(20), || sleeps(&world).then_some(()));
        world.kill_daemon();
        client.wait().unwrap();
        world.start_daemon();
        wait::until("the end of the command", Duration::from_secs(20), || (!sleeps(&world)).then_some(()));
        remove_all(&world);
        world.assert_nothing_left(&before);
        let dir = context(&world, "after", &[("Dockerfile", FIVE), ("a.txt", "again")]);
        build(&world, &dir, &["-t", "after"]).ok();
        remove_all(&world);
        world.assert_nothing_left(&before);
    }

    #[test]
    fn the_same_inputs_and_epoch_make_the_same_image() {
        let world = world_with_busybox();
        let text = "FROM busybox\nARG SOURCE_DATE_EPOCH\nCOPY a.txt /srv/\nRUN date > /dev/null; echo made > /srv/b\nWORKDIR /w\n";
        let dir = context(&world, "epoch", &[("Dockerfile", text), ("a.txt", "x")]);
        let args = ["-q", "--no-cache", "--build-arg", "SOURCE_DATE_EPOCH=1700000000"];
        let first = build(&world, &dir, &args).ok();
        let second = build(&world, &dir, &args).ok();
        assert_eq!(first, second);
        assert!(inspect(&world, &first, "{{.Created}}").starts_with("2023-11-14T22:13:20"));
    }

    #[test]
    fn our_client_builds_from_a_directory_and_from_its_input() {
        let world = world_with_busybox();
        let before = world.census();
        let dir = context(&world, "five", &[("Dockerfile", FIVE), ("a.txt", "sent by gantry\n")]);
        let path = dir.to_string_lossy().into_owned();
        let file = world.dir().join("iid").to_string_lossy().into_owned();
        world.gantry(["build", "-t", "ours", "--iidfile", &file, &path]).ok();
        assert_eq!(world.gantry(["run", "--rm", "ours"]).ok(), "sent by gantry\nhello");
        let id = std::fs::read_to_string(&file).unwrap();
        assert_eq!(inspect(&world, "ours", "{{.Id}}"), id);
        let mut command = world.client(testkit::daemon::program("gantry"));
        command.args(["build", "-q", "-t", "piped", "-"]);
        let quiet = run_with(command, b"FROM busybox\nRUN echo piped > /f\n").ok();
        assert!(quiet.starts_with("sha256:"), "{quiet}");
        let refused = world.gantry(["build", "--secret", "id=x,src=/x", &path]);
        assert!(refused.failure().contains("--secret"), "{refused}");
        remove_all(&world);
        assert!(world.gantry(["builder", "prune", "-af"]).ok().contains("Total reclaimed space"));
        world.assert_nothing_left(&before);
    }
}
