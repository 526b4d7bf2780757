//! Building through the classic endpoint, as the docker CLI without buildx and compose v1 do.

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::command::run_with;
use testkit::{Run, World};

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
fn build(world: &World, dir: &Path, args: &[&str]) -> Run {
    run_with(build_command(world, dir, args), b"")
}

fn build_command(world: &World, dir: &Path, args: &[&str]) -> Command {
    let mut command = world.client("docker");
    command.env("DOCKER_BUILDKIT", "0").arg("build").args(args).arg(dir);
    command
}

fn docker(world: &World, line: &str) -> String {
    world.docker(line.split_whitespace()).ok()
}

fn inspect(world: &World, image: &str, format: &str) -> String {
    world.docker(["image", "inspect", "-f", format, image]).ok()
}

/// Everything that builds have made goes; the base stays.
fn remove_all(world: &World) {
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
        let again = build(&world, &dir, &["-t", "five:3"]).ok();
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
}
