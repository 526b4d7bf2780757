//! The corpus of Dockerfiles: each is built, and configuration and files of the image are compared with what is expected.
//!
//! A case is a directory of `tests/e2e/corpus/`: a `Dockerfile`, the rest of the context, `args` for the command line,
//! `modes` of files that git does not keep, `newer` when dockerd 20.10 cannot do it, and what is expected: `expected.config` and `expected.tree`, or
//! `expected.error` (one of its lines). `GANTRY_CORPUS_WRITE=1` writes what was found in place of what was expected, to be looked through.
//! The tree is told as the difference to the base image: `path kind+mode owner content`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use testkit::command::run_with;
use testkit::{EngineKind, World};

use crate::client::world_with_busybox;

mod with_docker {
    #[test]
    fn the_corpus_of_configurations() {
        super::corpus(&["config-", "arg-"]);
    }

    #[test]
    fn the_corpus_of_copies() {
        super::corpus(&["copy-", "add-"]);
    }

    #[test]
    fn the_corpus_of_commands_and_stages() {
        super::corpus(&["run-", "stage-"]);
    }

    #[test]
    fn the_corpus_of_errors() {
        super::corpus(&["error-"]);
    }
}

/// What of a configuration is compared.
const KEYS: [&str; 12] = [
    "Cmd",
    "Entrypoint",
    "Env",
    "ExposedPorts",
    "Healthcheck",
    "Labels",
    "OnBuild",
    "Shell",
    "StopSignal",
    "User",
    "Volumes",
    "WorkingDir",
];
/// What the runtime makes itself.
const OF_RUNTIME: [&str; 7] = [".dockerenv", "dev", "proc", "sys", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

fn corpus(prefixes: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(&root).expect("the corpus").map(|entry| entry.expect("an entry").path()).collect();
    cases.sort();
    let name = |case: &Path| case.file_name().expect("a name").to_string_lossy().into_owned();
    cases.retain(|case| prefixes.iter().any(|prefix| name(case).starts_with(prefix)));
    let world = world_with_busybox();
    if world.kind() == EngineKind::Dockerd {
        cases.retain(|case| !case.join("newer").exists());
    }
    assert!(!cases.is_empty(), "{prefixes:?}");
    let before = world.census();
    let base = tree(&world, "busybox");
    if prefixes.contains(&"stage-") {
        let context = prepare(&world, &root.join("config-onbuild"), "onbuild");
        build(&world, &context, &["-t", "corpus-onbuild"]).ok();
    }
    let mut wrong = String::new();
    for case in &cases {
        if let Err(why) = check(&world, case, &name(case), &base) {
            let _ = writeln!(wrong, "{}: {why}", name(case));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    let base = world.docker(["images", "-q", "--no-trunc", "busybox"]).ok();
    for image in world.docker(["images", "-aq", "--no-trunc"]).ok().lines().filter(|id| *id != base) {
        drop(world.docker(["rmi", "-f", image]));
    }
    world.docker(["builder", "prune", "-af"]).ok();
    // BuildKit of dockerd keeps its cgroup.
    if world.kind() == EngineKind::Gantry {
        world.assert_nothing_left(&before);
    }
}

/// A copy of a case's context, with the modes that it should have.
fn prepare(world: &World, case: &Path, name: &str) -> PathBuf {
    let context = world.dir().join(name);
    let copied = std::process::Command::new("cp").arg("-a").arg(case).arg(&context).status().expect("cp");
    assert!(copied.success(), "{}", case.display());
    let modes = std::fs::read_to_string(case.join("modes")).unwrap_or_default();
    for own in ["args", "modes", "newer", "expected.config", "expected.tree", "expected.error"] {
        drop(std::fs::remove_file(context.join(own)));
    }
    plain_modes(&context);
    for line in modes.lines() {
        let (mode, path) = line.split_once(' ').expect("a mode and a path");
        let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
        std::fs::set_permissions(context.join(path), std::fs::Permissions::from_mode(mode)).expect("chmod");
    }
    context
}

fn plain_modes(dir: &Path) {
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            plain_modes(&entry.path());
        } else if kind.is_file() {
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o644)).expect("chmod");
        }
    }
}

fn build(world: &World, context: &Path, args: &[&str]) -> testkit::Run {
    // dockerd's own classic builder lacks most of this: there Debian's CLI asks its BuildKit.
    let (client, buildkit) = match world.kind() {
        EngineKind::Dockerd => ("/usr/bin/docker", "1"),
        EngineKind::Gantry => ("docker", "0"),
    };
    let mut command = world.client(client);
    command.env("DOCKER_BUILDKIT", buildkit).arg("build").args(args).arg(context);
    run_with(command, b"")
}

fn check(world: &World, case: &Path, name: &str, base: &BTreeMap<String, String>) -> Result<(), String> {
    let context = prepare(world, case, name);
    let extra = std::fs::read_to_string(case.join("args")).unwrap_or_default();
    let tag = format!("corpus-{name}");
    let args: Vec<&str> = ["-t", tag.as_str()].into_iter().chain(extra.split_whitespace()).collect();
    let built = build(world, &context, &args);
    if let Ok(expected) = std::fs::read_to_string(case.join("expected.error")) {
        return match built.status.success() {
            true => Err("was built, and should not be".to_owned()),
            false if expected.lines().any(|words| built.stderr.contains(words)) => Ok(()),
            false => Err(format!("failed with other words: {}", built.stderr)),
        };
    }
    if !built.status.success() {
        return Err(format!("was not built: {}", built.stderr));
    }
    compare(case, "expected.config", &config(world, &tag))?;
    let mut told = String::new();
    let now = tree(world, &tag);
    for (path, about) in &now {
        if base.get(path) != Some(about) {
            let _ = writeln!(told, "{path} {about}");
        }
    }
    for path in
        base.keys().filter(|path| !now.contains_key(*path) && !name.contains("scratch") && !name.contains("from-image"))
    {
        let _ = writeln!(told, "{path} is gone");
    }
    compare(case, "expected.tree", &told)
}

fn compare(case: &Path, file: &str, found: &str) -> Result<(), String> {
    let path = case.join(file);
    if std::env::var_os("GANTRY_CORPUS_WRITE").is_some() {
        std::fs::write(&path, found).map_err(|e| e.to_string())?;
    }
    let expected = std::fs::read_to_string(&path).map_err(|e| format!("{file}: {e}"))?;
    if expected == found { Ok(()) } else { Err(format!("{file}: expected\n{expected}found\n{found}")) }
}

fn config(world: &World, image: &str) -> String {
    let text = world.docker(["image", "inspect", "-f", "{{json .Config}}", image]).ok();
    let whole: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("a configuration");
    let mut told = String::new();
    for key in KEYS {
        if let Some(value) =
            whole.get(key).filter(|value| !value.is_null() && **value != "" && **value != serde_json::json!([]))
        {
            let _ = writeln!(told, "{key} {value}");
        }
    }
    told
}

/// The files of an image by their paths.
fn tree(world: &World, image: &str) -> BTreeMap<String, String> {
    let container = world.docker(["create", image, "x"]).ok();
    let mut command = world.client("docker");
    command.args(["export", &container]);
    let exported = command.output().expect("docker export");
    world.docker(["rm", "-v", &container]).ok();
    let mut all = BTreeMap::new();
    let mut archive = tar::Archive::new(exported.stdout.as_slice());
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let path = entry.path().expect("a path").to_string_lossy().trim_end_matches('/').to_owned();
        if path.is_empty() || OF_RUNTIME.iter().any(|own| path == *own || path.starts_with(&format!("{own}/"))) {
            continue;
        }
        let about = about(&mut entry);
        all.insert(path, about);
    }
    all
}

fn about(entry: &mut tar::Entry<'_, &[u8]>) -> String {
    let header = entry.header().clone();
    let link = entry.link_name().ok().flatten().map(|link| link.to_string_lossy().into_owned()).unwrap_or_default();
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("a file");
    let (letter, detail) = match header.entry_type() {
        tar::EntryType::Directory => ('d', String::new()),
        tar::EntryType::Symlink => ('l', format!(" -> {link}")),
        tar::EntryType::Link => ('h', format!(" => {link}")),
        tar::EntryType::Fifo => ('p', String::new()),
        _ if bytes.len() <= 80 => ('f', format!(" {:?}", String::from_utf8_lossy(&bytes))),
        _ => ('f', format!(" {} bytes", bytes.len())),
    };
    let number = |value: std::io::Result<u64>| value.unwrap_or(u64::MAX);
    let (uid, gid) = (number(header.uid()), number(header.gid()));
    format!("{letter}{:o} {uid}:{gid}{detail}", header.mode().unwrap_or(0) & 0o7777)
}
