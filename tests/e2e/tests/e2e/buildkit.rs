//! Building over BuildKit's endpoints, as docker buildx, bake, compose and the docker CLI of before buildx do.
//!
//! `hack/test` fetches the plugins; where they are, say `GANTRY_BUILDX` and `GANTRY_COMPOSE_V2`, else `target/tools`.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::command::run_with;
use testkit::{Run, World, wait};

use crate::build::context;
use crate::client::world_with_busybox;

/// Deadline of what ends by itself.
const SOON: Duration = Duration::from_secs(30);

#[track_caller]
fn tool(variable: &str, name: &str) -> PathBuf {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools").join(name);
    let program = std::env::var_os(variable).map_or(local, PathBuf::from);
    assert!(program.exists(), "{name} is not at {}: hack/test fetches it", program.display());
    program.canonicalize().expect("the tool's path")
}

/// The docker CLI with its plugins.
fn docker(world: &World) -> Command {
    let config = world.dir().join("docker-config");
    let plugins = config.join("cli-plugins");
    if !plugins.exists() {
        std::fs::create_dir_all(&plugins).expect("a directory");
        symlink(tool("GANTRY_BUILDX", "docker-buildx"), plugins.join("docker-buildx")).expect("a link");
        symlink(tool("GANTRY_COMPOSE_V2", "docker-compose"), plugins.join("docker-compose")).expect("a link");
    }
    let mut command = world.client("docker");
    command.env("DOCKER_CONFIG", &config).env("BUILDX_CONFIG", world.dir().join("buildx-config"));
    command
}

fn run_in(world: &World, dir: &Path, args: &[&str]) -> Run {
    let mut command = docker(world);
    command.current_dir(dir).args(args);
    run_with(command, b"")
}

/// `docker buildx build --progress=plain ARGS .`
fn build(world: &World, dir: &Path, args: &[&str]) -> Run {
    let all = [&["buildx", "build", "--progress=plain"], args, &["."]].concat();
    run_in(world, dir, &all)
}

fn said(run: &Run) -> String {
    format!("{}{}", run.out(), run.stderr)
}

/// Everything that builds have made goes; the base stays.
fn remove_all(world: &World, dir: &Path) {
    let base = world.docker(["images", "-q", "--no-trunc", "busybox"]).ok();
    for image in world.docker(["images", "-aq", "--no-trunc"]).ok().lines().filter(|id| *id != base) {
        drop(world.docker(["rmi", "-f", image]));
    }
    run_in(world, dir, &["builder", "prune", "-af"]).ok();
}

const STAGES: &str = "# syntax=docker/dockerfile:1\nARG TAG=latest\nFROM busybox:$TAG AS base\nARG V=1\n\
    RUN --mount=type=secret,id=token sha256sum /run/secrets/token > /sum; echo $V > /v\n\
    FROM base AS unused\nRUN exit 1\nFROM base\nCOPY --link a.txt /srv/\nRUN <<X\nset -e\necho one > /one\nX\n\
    CMD [\"cat\", \"/v\", \"/one\", \"/srv/a.txt\"]\n";

#[test]
fn buildx_builds_caches_and_keeps_secrets() {
    let world = world_with_busybox();
    let before = world.census();
    let dir = context(&world, "stages", &[("Dockerfile", STAGES), ("a.txt", "from the context\n")]);
    std::fs::write(world.dir().join("token"), "open-sesame-4711").expect("a secret");
    let secret = format!("id=token,src={}", world.dir().join("token").display());
    let args = ["--secret", &secret, "--build-arg", "V=7", "--iidfile", "id"];
    let first = build(&world, &dir, &[&args[..], &["-t", "staged:1"]].concat());
    first.ok();
    assert!(said(&first).contains("RUN <<X") && !said(&first).contains("exit 1"), "{first}");
    assert_eq!(world.docker(["run", "--rm", "staged:1"]).ok(), "7\none\nfrom the context");
    let id = world.docker(["images", "-q", "--no-trunc", "staged:1"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("id")).expect("the image's id"), id);

    let again = build(&world, &dir, &[&args[..], &["-t", "staged:2"]].concat());
    again.ok();
    assert!(said(&again).contains("CACHED"), "{again}");
    assert_eq!(world.docker(["images", "-q", "--no-trunc", "staged:2"]).ok(), id, "the same build is the same image");

    world.docker(["save", "-o", &world.dir().join("saved.tar").display().to_string(), "staged:1"]).ok();
    let saved = std::fs::read(world.dir().join("saved.tar")).expect("the archive");
    let holds = |bytes: &[u8]| bytes.windows(16).any(|window| window == b"open-sesame-4711");
    assert!(!holds(&saved), "the secret is in the image");
    assert!(!holds(world.daemon().log().as_bytes()) && !said(&first).contains("open-sesame"), "the secret was printed");
    std::fs::remove_file(world.dir().join("saved.tar")).expect("the archive goes");
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

/// Files below a directory, with what changes when one is written again.
fn stamps(dir: &Path) -> std::collections::BTreeMap<PathBuf, (u64, i64, i64)> {
    let mut found = std::collections::BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in std::fs::read_dir(&at).expect("a directory").flatten() {
            let about = entry.metadata().expect("a file");
            if about.is_dir() {
                left.push(entry.path());
            } else if entry.file_name() != "index" {
                found.insert(entry.path(), (about.ino(), about.ctime(), about.ctime_nsec()));
            }
        }
    }
    found
}

#[test]
fn a_context_is_sent_once_and_then_only_what_changed() {
    let world = world_with_busybox();
    let before = world.census();
    let dir = context(
        &world,
        "many",
        &[("Dockerfile", "FROM busybox\nCOPY . /srv\n"), ("skip.me", "x"), (".dockerignore", "*.me")],
    );
    for number in 0..2000 {
        let path = dir.join(format!("d{}", number % 20));
        std::fs::create_dir_all(&path).expect("a directory");
        std::fs::write(path.join(number.to_string()), number.to_string()).expect("a file");
    }
    build(&world, &dir, &["-t", "many"]).ok();
    let kept = world.root().join("build/sources");
    let first = stamps(&kept);
    assert!(first.len() >= 2000 && !first.keys().any(|path| path.ends_with("skip.me")), "{} files", first.len());
    std::fs::write(dir.join("d7/7"), "changed").expect("a file");
    build(&world, &dir, &["-t", "many"]).ok();
    let second = stamps(&kept);
    let again: Vec<_> =
        second.iter().filter(|(path, stamp)| first.get(*path) != Some(stamp)).map(|(path, _)| path).collect();
    assert!(again.len() == 1 && again[0].ends_with("d7/7"), "written again: {again:?}");
    assert_eq!(world.docker(["run", "--rm", "many", "cat", "/srv/d7/7"]).ok(), "changed");
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn results_go_to_directories_and_tars() {
    let world = world_with_busybox();
    let before = world.census();
    let text = "FROM busybox AS made\nRUN mkdir -p /out/d && echo x > /out/d/f && : > /out/empty && ln -s d/f /out/l && ln /out/d/f /out/h && chmod 750 /out/d\nFROM scratch\nCOPY --from=made /out /\n";
    let dir = context(&world, "files", &[("Dockerfile", text)]);
    build(&world, &dir, &["-o", "type=local,dest=out"]).ok();
    assert_eq!(std::fs::read_to_string(dir.join("out/l")).expect("through the link"), "x\n");
    assert_eq!(std::fs::metadata(dir.join("out/empty")).expect("the empty file").len(), 0);
    assert_eq!(std::fs::metadata(dir.join("out/d")).expect("the directory").mode() & 0o777, 0o750);
    assert_eq!(std::fs::read_to_string(dir.join("out/h")).expect("the other name"), "x\n");
    build(&world, &dir, &["-o", "type=tar,dest=out.tar"]).ok();
    let listed = testkit::command::run("tar", ["tf", &dir.join("out.tar").display().to_string()]).ok();
    for path in ["d/f", "empty", "l"] {
        assert!(listed.lines().any(|line| line.trim_start_matches("./") == path), "{path} in {listed}");
    }
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn mistakes_are_told_with_line_and_hint_and_other_drivers_features_declined() {
    let world = world_with_busybox();
    let before = world.census();
    let dir = context(
        &world,
        "wrong",
        &[
            ("Dockerfile", "FROM busybox\nRUN echo so && exit 3\n"),
            ("Typo", "FRMO busybox\n"),
            ("Foreign", "# syntax=example.com/other:1\nFROM busybox\n"),
        ],
    );
    let typo = build(&world, &dir, &["-f", "Typo"]);
    assert!(typo.failure().contains("on line 1: unknown instruction: FRMO (did you mean FROM?)"), "{typo}");
    let foreign = build(&world, &dir, &["-f", "Foreign"]);
    assert!(
        foreign.failure().contains("example.com/other:1") && foreign.failure().contains("not built in"),
        "{foreign}"
    );
    let failed = build(&world, &dir, &[]);
    assert!(failed.failure().contains("exit code: 3") || failed.failure().contains("non-zero code: 3"), "{failed}");
    let missing = build(&world, &dir, &["-f", "Nowhere"]);
    assert!(missing.failure().contains("Nowhere"), "{missing}");
    let both = build(&world, &dir, &["--platform", "linux/amd64,linux/arm64"]);
    assert!(both.failure().contains("not supported for the docker driver"), "{both}");
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn agents_and_named_contexts_reach_the_build() {
    let world = world_with_busybox();
    let before = world.census();
    let text = "FROM busybox\nRUN --mount=type=ssh test -S \"$SSH_AUTH_SOCK\" && echo there > /agent\nCOPY --from=other f /f\nCOPY --from=image /bin/busybox /b\n";
    let dir = context(&world, "agents", &[("Dockerfile", text)]);
    context(&world, "other", &[("f", "of the other\n")]);
    let socket = world.dir().join("agent.sock");
    let _agent = UnixListener::bind(&socket).expect("an agent's socket");
    let ssh = format!("default={}", socket.display());
    let args =
        ["--build-context", "other=../other", "--build-context", "image=docker-image://busybox:latest", "-t", "named"];
    build(&world, &dir, &[&["--ssh", &ssh], &args[..]].concat()).ok();
    assert_eq!(world.docker(["run", "--rm", "named", "cat", "/agent", "/f"]).ok(), "there\nof the other");
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn bake_builds_targets_on_targets() {
    let world = world_with_busybox();
    let before = world.census();
    let bake = "group \"default\" { targets = [\"app\", \"tool\"] }\n\
        target \"base\" { dockerfile-inline = \"FROM busybox\\nRUN echo linked > /l\" }\n\
        target \"app\" {\n contexts = { b = \"target:base\" }\n dockerfile-inline = \"FROM b\\nCMD cat /l\"\n tags = [\"app:1\"]\n}\n\
        target \"tool\" {\n dockerfile-inline = \"FROM busybox\\nCMD echo tool\"\n tags = [\"tool:1\"]\n}\n";
    let dir = context(&world, "bake", &[("docker-bake.hcl", bake)]);
    run_in(&world, &dir, &["buildx", "bake", "--progress=plain"]).ok();
    assert_eq!(world.docker(["run", "--rm", "app:1"]).ok(), "linked");
    assert_eq!(world.docker(["run", "--rm", "tool:1"]).ok(), "tool");
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn compose_builds_what_it_starts() {
    let world = world_with_busybox();
    let before = world.census();
    let files = [
        (
            "compose.yml",
            "services:\n  one:\n    build: { context: ., args: { WORD: built } }\n    network_mode: none\n",
        ),
        ("Dockerfile", "FROM busybox\nARG WORD\nRUN echo $WORD > /word\nCMD [\"cat\", \"/word\"]\n"),
    ];
    let dir = context(&world, "composed", &files);
    run_in(&world, &dir, &["compose", "build"]).ok();
    let up = run_in(&world, &dir, &["compose", "up", "--build", "--abort-on-container-exit"]);
    up.ok();
    assert!(said(&up).contains("built"), "{up}");
    run_in(&world, &dir, &["compose", "down", "-v", "-t", "0"]).ok();
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn a_client_that_goes_ends_its_build() {
    let world = world_with_busybox();
    let before = world.census();
    let dir = context(&world, "long", &[("Dockerfile", "FROM busybox\nRUN echo begun && sleep 3600\n")]);
    let mut command = docker(&world);
    command.current_dir(&dir).args(["buildx", "build", "--progress=plain", "."]);
    let mut client = command.stderr(std::process::Stdio::null()).spawn().expect("docker runs");
    let sleeps = || {
        world.processes().iter().any(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.windows(4).any(|word| word == b"3600"))
        })
    };
    wait::until("the command to run", SOON, || sleeps().then_some(()));
    client.kill().expect("the client ends");
    client.wait().expect("its end");
    wait::until("the command to end", SOON, || (!sleeps()).then_some(()));
    // The plugin is a child of its own, which notices by itself.
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn the_cache_is_shown_and_pruned() {
    let world = world_with_busybox();
    let before = world.census();
    let dir = context(
        &world,
        "cached",
        &[("Dockerfile", "FROM busybox\nRUN --mount=type=cache,target=/c echo x > /c/f; cp /c/f /f\n")],
    );
    build(&world, &dir, &[]).ok();
    let shown = run_in(&world, &dir, &["buildx", "du", "--verbose"]).ok();
    assert!(shown.contains("exec.cachemount") && shown.contains("source.local"), "{shown}");
    run_in(&world, &dir, &["builder", "prune", "-af"]).ok();
    let shown = run_in(&world, &dir, &["buildx", "du", "--verbose"]).ok();
    assert!(!shown.contains("exec.cachemount") && !shown.contains("source.local"), "{shown}");
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}

#[test]
fn parameters_and_targets_are_outlined() {
    let world = world_with_busybox();
    let before = world.census();
    let text = "# base what it stands on\nFROM busybox AS base\nRUN --mount=type=secret,id=token,required true\nFROM base AS app\n# V the version\nARG V=3\n";
    let dir = context(&world, "outlined", &[("Dockerfile", text)]);
    let ask = |what: &str| {
        let mut command = docker(&world);
        command.current_dir(&dir).env("BUILDX_EXPERIMENTAL", "1").args(["buildx", "build", "--print", what, "."]);
        run_with(command, b"").ok()
    };
    let outline = ask("outline");
    assert!(outline.contains("V") && outline.contains("the version") && outline.contains("token"), "{outline}");
    let targets = ask("targets");
    assert!(
        targets.contains("base") && targets.contains("what it stands on") && targets.contains("app (default)"),
        "{targets}"
    );
    remove_all(&world, &dir);
    world.assert_nothing_left(&before);
}
