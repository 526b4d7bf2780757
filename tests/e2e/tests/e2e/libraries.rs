//! Client libraries, unmodified: docker-py, testcontainers for Python and for node, dockerode.
//!
//! Their cases are in `tests/e2e/clients/`; `hack/test` installs the libraries into `target/tools`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::command::run_with;
use testkit::image::{Image, Layer};
use testkit::{Run, World, wait};

use crate::client::{load, world_with_busybox};

/// The image of what removes what testcontainers have left.
const REAPER: &str = "localhost/reaper:1";

/// Where the cases are.
fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients")
}

/// A tool that `hack/test` installs.
#[track_caller]
fn tool(path: &str) -> PathBuf {
    let found = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools").join(path);
    assert!(found.exists(), "{} is missing: hack/test installs it", found.display());
    found
}

/// Runs a file of cases inside the world, where published ports can be reached, and prints what it said.
#[track_caller]
fn run_cases(world: &World, interpreter: &Path, file: &str, environment: &[(&str, &str)]) -> Run {
    let mut command = world.enter(interpreter);
    command.arg(cases().join(file)).current_dir(world.dir());
    command.env("DOCKER_HOST", format!("unix://{}", world.docker_socket().display()));
    command.env("DOCKER_CONFIG", world.dir().join("docker-config")).env("HOME", world.dir());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env("NODE_PATH", tool("node/node_modules"));
    command.env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION");
    command.envs(environment.iter().copied());
    let run = run_with(command, b"");
    println!("{}", run.out());
    run
}

/// All cases of a file pass, and they are at least so many.
#[track_caller]
fn all_pass(run: &Run, at_least: usize) {
    let passed = run.out().lines().filter(|line| line.starts_with("ok ")).count();
    assert!(run.status.success() && passed >= at_least, "{passed} cases passed: {run}");
}

/// Loads the image that stands for testcontainers' reaper: our program and the libraries that it is linked with.
#[track_caller]
fn load_reaper(world: &World) {
    let program = testkit::daemon::program("reaper");
    let mut layer = Layer::new().dir("tmp").dir("var").dir("var/run").dir("run");
    let mut directories = BTreeSet::new();
    let linked = testkit::run("ldd", [&program]).ok();
    let libraries = linked.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries.chain(["/lib64/ld-linux-x86-64.so.2"].into_iter().filter(|path| Path::new(path).exists()))
    {
        let inside = library.trim_start_matches('/');
        for (at, _) in inside.match_indices('/') {
            if directories.insert(inside[..at].to_owned()) {
                layer = layer.dir(&inside[..at]);
            }
        }
        layer = layer.file_mode(inside, 0o755, &std::fs::read(library).expect("a library of the reaper"));
    }
    layer = layer.file_mode("reaper", 0o755, &std::fs::read(&program).expect("the reaper"));
    let image = Image::empty().with(layer).set("Cmd", serde_json::json!(["/reaper"]));
    load(world, &image.set("ExposedPorts", serde_json::json!({ "8080/tcp": {} })).docker_archive(REAPER));
}

/// Nothing but what was there before: the reaper has done its work and has gone.
#[track_caller]
fn all_are_reaped(world: &World) {
    wait::until("the reaper", Duration::from_secs(20), || world.docker(["ps", "-aq"]).ok().is_empty().then_some(()));
}

#[test]
fn docker_py() {
    let mut world = world_with_busybox();
    world.registry();
    let before = world.census();
    let run =
        run_cases(&world, &tool("python/bin/python"), "docker_py.py", &[("REGISTRY", testkit::registry::ADDRESS)]);
    all_pass(&run, 40);
    world.assert_nothing_left(&before);
}

#[test]
fn dockerode() {
    let mut world = world_with_busybox();
    world.registry();
    let before = world.census();
    let run = run_cases(&world, Path::new("node"), "dockerode.js", &[("REGISTRY", testkit::registry::ADDRESS)]);
    all_pass(&run, 18);
    world.assert_nothing_left(&before);
}

#[test]
fn testcontainers_for_python() {
    let world = world_with_busybox();
    load_reaper(&world);
    let before = world.census();
    let socket = world.docker_socket();
    let environment = [
        ("RYUK_CONTAINER_IMAGE", REAPER),
        ("RYUK_RECONNECTION_TIMEOUT", "1s"),
        ("TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", socket.to_str().expect("UTF-8")),
    ];
    let run = run_cases(&world, &tool("python/bin/python"), "testcontainers_py.py", &environment);
    all_pass(&run, 3);
    all_are_reaped(&world);
    world.assert_nothing_left(&before);
}

#[test]
fn testcontainers_for_node() {
    let world = world_with_busybox();
    load_reaper(&world);
    let before = world.census();
    let socket = world.docker_socket();
    let environment =
        [("RYUK_CONTAINER_IMAGE", REAPER), ("TESTCONTAINERS_DOCKER_SOCKET_OVERRIDE", socket.to_str().expect("UTF-8"))];
    let run = run_cases(&world, Path::new("node"), "testcontainers_node.js", &environment);
    all_pass(&run, 5);
    assert!(run.out().contains("left "), "a killed process has left a container: {run}");
    all_are_reaped(&world);
    world.assert_nothing_left(&before);
}
