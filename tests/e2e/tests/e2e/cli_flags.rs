//! `docker X --help` beside `gantry X --help`: every command and flag of docker's client is ours, or is listed here with
//! the reason why not.

use std::collections::BTreeMap;
use std::process::Command;

use testkit::command::run_with;

/// Commands and families that `gantry` has not. A family stands for all of its commands.
const NO_SUCH_COMMAND: &[(&str, &str)] = &[
    ("build", "building images is work of its own"),
    ("builder", "building images is work of its own"),
    ("image build", "building images is work of its own"),
    ("checkpoint", "an experiment of docker's that needs CRIU"),
    ("manifest", "speaks to registries only, not to a daemon"),
    ("trust", "Notary v1, which docker has retired"),
    ("volume update", "cluster volumes of Swarm"),
    ("config", "Swarm: the daemon says so"),
    ("node", "Swarm: the daemon says so"),
    ("plugin", "the engine has no plugins: the daemon says so"),
    ("secret", "Swarm: the daemon says so"),
    ("service", "Swarm: the daemon says so"),
    ("stack", "Swarm: the daemon says so"),
    ("swarm", "Swarm: the daemon says so"),
];

/// Flags of commands (by the last word, so that `container run` is `run`) that `gantry` does not show.
const NO_SUCH_FLAG: &[(&str, &[&str], &str)] = &[
    ("run create", &["disable-content-trust", "kernel-memory"], "accepted, and shown in no help: they have no effect"),
    ("run create", &["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops", "isolation"], "Windows"),
    ("run create", &["use-api-socket"], "an experiment of docker's"),
    ("run create", &["help"], "listed by docker for its own reasons"),
    ("pull push", &["disable-content-trust"], "accepted, and shown in no help: it has no effect"),
    ("images ls", &["tree"], "an experiment of docker's"),
    ("inspect history rm rmi", &["platform"], "an image has one platform here"),
    ("start", &["checkpoint", "checkpoint-dir"], "an experiment of docker's that needs CRIU"),
    (
        "create",
        &[
            "availability",
            "group",
            "limit-bytes",
            "required-bytes",
            "scope",
            "secret",
            "sharing",
            "topology-preferred",
            "topology-required",
            "type",
        ],
        "cluster volumes of Swarm",
    ),
    ("ls", &["cluster"], "cluster volumes of Swarm"),
];

/// Flags that docker's client has not.
const OURS: &[(&str, &[&str])] =
    &[("ps ls", &["pods"]), ("kill pause rename restart start stop unpause", &["force"]), ("prune", &["dry-run"])];

/// A flag as the help shows it: its short name and its value's type.
type Shown = (Option<char>, String);

fn help(program: &str, words: &[&str]) -> String {
    let mut command = Command::new(program);
    // Plugins of the user's would be listed too.
    command.args(words).arg("--help").env("DOCKER_CONFIG", "/nonexistent").env_remove("DOCKER_HOST");
    String::from_utf8_lossy(&run_with(command, b"").stdout).into_owned()
}

/// Names under headings such as `Management Commands:`.
fn commands(help: &str) -> Vec<String> {
    let mut listed = false;
    let mut found = Vec::new();
    for line in help.lines() {
        if !line.starts_with(' ') {
            listed = line.ends_with("Commands:");
        } else if let (true, Some(name)) = (listed, line.split_whitespace().next()) {
            found.push(name.trim_end_matches('*').to_owned());
        }
    }
    found
}

/// `  -a, --all string   words`
fn flags(help: &str) -> BTreeMap<String, Shown> {
    let mut found = BTreeMap::new();
    for line in help.lines().filter(|line| line.starts_with("  ")) {
        let text = line.trim_start();
        let (short, rest) = match text.strip_prefix('-').and_then(|text| text.split_once(", --")) {
            Some((short, rest)) if short.len() == 1 => (short.chars().next(), rest),
            _ => match text.strip_prefix("--") {
                Some(rest) => (None, rest),
                None => continue,
            },
        };
        let head = rest.split("  ").next().unwrap_or(rest);
        let (name, value) = head.split_once(' ').unwrap_or((head, ""));
        found.insert(name.to_owned(), (short, value.to_owned()));
    }
    found
}

fn is_excused(command: &str, flag: &str) -> bool {
    let last = command.rsplit(' ').next().unwrap_or(command);
    NO_SUCH_FLAG.iter().any(|(of, flags, _)| of.split(' ').any(|name| name == last) && flags.contains(&flag))
}

fn is_ours(command: &str, flag: &str) -> bool {
    let last = command.rsplit(' ').next().unwrap_or(command);
    OURS.iter().any(|(of, flags)| of.split(' ').any(|name| name == last) && flags.contains(&flag))
}

#[test]
fn every_command_and_flag_of_dockers_client_is_ours_too() {
    let gantry = testkit::daemon::program("gantry").to_string_lossy().into_owned();
    let mut complaints = Vec::new();
    let mut compared = 0;
    let top = commands(&help("docker", &[]));
    for family in &top {
        let inner = commands(&help("docker", &[family]));
        let paths: Vec<Vec<&str>> = match inner.as_slice() {
            [] => vec![vec![family]],
            inner => inner.iter().map(|name| vec![family.as_str(), name.as_str()]).collect(),
        };
        for path in paths {
            let name = path.join(" ");
            if NO_SUCH_COMMAND.iter().any(|(known, _)| *known == name || known == family) {
                continue;
            }
            let (theirs, ours) = (help("docker", &path), help(&gantry, &path));
            if !ours.starts_with(&format!("Usage:  gantry {name}")) {
                complaints.push(format!("gantry {name}: no such command"));
                continue;
            }
            compared += 1;
            let (theirs, ours) = (flags(&theirs), flags(&ours));
            for (flag, shown) in &theirs {
                match ours.get(flag) {
                    None if is_excused(&name, flag) => {}
                    None => complaints.push(format!("gantry {name}: no --{flag}")),
                    Some(same) if same == shown => {}
                    Some(other) => complaints.push(format!("{name} --{flag}: {shown:?} is {other:?} here")),
                }
            }
            for flag in ours.keys().filter(|flag| !theirs.contains_key(*flag) && !is_ours(&name, flag)) {
                complaints.push(format!("gantry {name}: --{flag} is not docker's"));
            }
        }
    }
    assert!(compared > 80, "docker's help was not understood: {compared} commands of {top:?}");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
