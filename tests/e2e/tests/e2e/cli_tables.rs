//! THE tables of the docker CLI: every command of its help, and every flag of `docker run`, with what comes of it. The
//! help is read from the client that runs, so that a command or flag without a row fails here.

use std::collections::BTreeSet;

use testkit::command::run_with;
use testkit::{Run, World};

use crate::client::world_with_busybox;

/// What comes of a command.
enum Outcome {
    /// It succeeds, and says this.
    Says(&'static str),
    /// It fails, and says this.
    Fails(&'static str),
    /// It succeeds where this kernel can do it, and is refused with words otherwise.
    Either,
}
use Outcome::{Either, Fails, Says};

/// Commands that have tests of their own, or that speak to somebody else than the engine.
const ELSEWHERE: &[(&str, &str)] = &[
    ("build", "the tests of building"),
    ("builder build", "the tests of building"),
    ("builder prune", "the tests of building"),
    ("image build", "the tests of building"),
    ("checkpoint create", "the tests of checkpoints"),
    ("checkpoint ls", "the tests of checkpoints"),
    ("checkpoint rm", "the tests of checkpoints"),
    ("trust inspect", "speaks to a notary"),
    ("trust revoke", "speaks to a notary"),
    ("trust sign", "speaks to a notary"),
    ("trust key", "is the client's own"),
    ("trust signer", "speaks to a notary"),
    ("login", "registry_questions"),
];

/// Commands in an order in which each finds what it needs. `{dir}` is the test's directory, `{socket}` the engine's.
#[rustfmt::skip]
const COMMANDS: &[(&str, Outcome)] = &[
    ("version --format {{.Server.Os}}", Says("linux")),
    ("info --format {{.OSType}}", Says("linux")),
    ("system info --format {{.Swarm.LocalNodeState}}", Says("inactive")),
    ("search 127.0.0.1:5000/x", Fails("offers no search")),
    ("logout 127.0.0.1:5000", Says("")),
    ("tag busybox 127.0.0.1:5000/t/box:1", Says("")),
    ("push -q 127.0.0.1:5000/t/box:1", Says("127.0.0.1:5000/t/box:1")),
    ("rmi 127.0.0.1:5000/t/box:1", Says("Untagged")),
    ("pull -q 127.0.0.1:5000/t/box:1", Says("127.0.0.1:5000/t/box:1")),
    ("images -q 127.0.0.1:5000/t/box:1", Says("")),
    ("image tag busybox 127.0.0.1:5000/t/box:2", Says("")),
    ("image push -q 127.0.0.1:5000/t/box:2", Says("box:2")),
    ("image rm 127.0.0.1:5000/t/box:2", Says("Untagged")),
    ("image pull -q 127.0.0.1:5000/t/box:2", Says("box:2")),
    ("image ls", Says("127.0.0.1:5000/t/box")),
    ("image inspect busybox --format {{.Os}}", Says("linux")),
    ("history busybox", Says("IMAGE")),
    ("image history busybox", Says("IMAGE")),
    ("save -o {dir}/saved busybox", Says("")),
    ("load -i {dir}/saved", Says("Loaded image: busybox:latest")),
    ("image save -o {dir}/saved busybox", Says("")),
    ("image load -i {dir}/saved", Says("Loaded image: busybox:latest")),
    ("manifest create --insecure 127.0.0.1:5000/t/list:1 127.0.0.1:5000/t/box:1", Says("Created manifest list")),
    ("manifest annotate 127.0.0.1:5000/t/list:1 127.0.0.1:5000/t/box:1 --os linux", Says("")),
    ("manifest inspect --insecure 127.0.0.1:5000/t/list:1", Says("manifests")),
    ("manifest push --insecure 127.0.0.1:5000/t/list:1", Says("sha256:")),
    ("manifest create --insecure 127.0.0.1:5000/t/list:2 127.0.0.1:5000/t/box:1", Says("Created manifest list")),
    ("manifest rm 127.0.0.1:5000/t/list:2", Says("")),

    ("run --rm busybox echo hello", Says("hello")),
    ("create --name box busybox sleep 1000", Says("")),
    ("start box", Says("box")),
    ("ps --format {{.Names}}", Says("box")),
    ("inspect box --format {{.State.Running}}", Says("true")),
    ("exec box echo inside", Says("inside")),
    ("cp box:/etc/passwd {dir}/passwd", Says("")),
    ("diff box", Says("")),
    ("logs box", Says("")),
    ("port box", Says("")),
    ("top box", Says("sleep 1000")),
    ("stats --no-stream --format {{.Name}} box", Says("box")),
    ("pause box", Says("box")),
    ("unpause box", Says("box")),
    ("update --cpu-shares 300 box", Says("box")),
    ("commit box made:1", Says("sha256:")),
    ("export -o {dir}/exported box", Says("")),
    ("import {dir}/exported imported:1", Says("sha256:")),
    ("image import {dir}/exported imported:2", Says("sha256:")),
    ("rename box crate", Says("")),
    ("restart -t 0 crate", Says("crate")),
    ("kill crate", Says("crate")),
    ("wait crate", Says("137")),
    ("start crate", Says("crate")),
    ("stop -t 0 crate", Says("crate")),
    ("rm crate", Says("crate")),
    ("run -d --name short busybox sleep 1", Says("")),
    ("attach --no-stdin short", Says("")),

    ("container run --rm busybox echo hello", Says("hello")),
    ("container create --name box busybox sleep 1000", Says("")),
    ("container start box", Says("box")),
    ("container ls --format {{.Names}}", Says("box")),
    ("container inspect box --format {{.State.Running}}", Says("true")),
    ("container exec box echo inside", Says("inside")),
    ("container cp box:/etc/passwd {dir}/passwd", Says("")),
    ("container diff box", Says("")),
    ("container logs box", Says("")),
    ("container port box", Says("")),
    ("container top box", Says("sleep 1000")),
    ("container stats --no-stream --format {{.Name}} box", Says("box")),
    ("container pause box", Says("box")),
    ("container unpause box", Says("box")),
    ("container update --cpu-shares 300 box", Says("box")),
    ("container commit box made:2", Says("sha256:")),
    ("container export -o {dir}/exported box", Says("")),
    ("container rename box crate", Says("")),
    ("container restart -t 0 crate", Says("crate")),
    ("container kill crate", Says("crate")),
    ("container wait crate", Says("137")),
    ("container start crate", Says("crate")),
    ("container stop -t 0 crate", Says("crate")),
    ("container rm crate", Says("crate")),
    ("container run -d --name shorter busybox sleep 1", Says("")),
    ("container attach --no-stdin shorter", Says("")),

    ("run -d --name net busybox sleep 1000", Says("")),
    ("network create n", Says("")),
    ("network ls --format {{.Name}}", Says("n")),
    ("network connect n net", Says("")),
    ("network inspect n --format {{.Driver}}", Says("bridge")),
    ("network disconnect n net", Says("")),
    ("network rm n", Says("n")),
    ("network prune -f", Says("")),
    ("volume create vol", Says("vol")),
    ("volume ls -q", Says("vol")),
    ("volume inspect vol --format {{.Driver}}", Says("local")),
    ("volume update vol --availability drain", Fails("")),
    ("volume rm vol", Says("vol")),
    ("volume prune -f", Says("")),
    ("rm -f net", Says("net")),
    ("container prune -f", Says("Total reclaimed space")),
    ("image prune -f", Says("Total reclaimed space")),
    ("events --since 1h --until 0s --filter event=create", Says("create")),
    ("system events --since 1h --until 0s --filter event=create", Says("create")),
    ("system df", Says("Local Volumes")),

    ("context create other --docker host=unix://{socket}", Says("other")),
    ("context ls", Says("other")),
    ("context inspect other", Says("unix://")),
    ("context update other --description mine", Says("other")),
    ("context export other {dir}/context", Says("")),
    ("context import again {dir}/context", Says("again")),
    ("context show", Says("default")),
    ("context use default", Says("default")),
    ("context rm other again", Says("other")),

    ("plugin ls", Says("ID")),
    ("plugin create p {dir}", Fails("")),
    ("plugin inspect p", Fails("p")),
    ("plugin install --grant-all-permissions p", Fails("plugins")),
    ("plugin enable p", Fails("p")),
    ("plugin disable p", Fails("p")),
    ("plugin push p", Fails("p")),
    ("plugin set p a=b", Fails("p")),
    ("plugin upgrade p", Fails("p")),
    ("plugin rm p", Fails("p")),

    ("stack config -c {dir}/stack.yml", Says("busybox")),
    ("stack deploy -c {dir}/stack.yml s", Fails("swarm")),
    ("stack ls", Fails("swarm")),
    ("stack ps s", Fails("swarm")),
    ("stack services s", Fails("swarm")),
    ("stack rm s", Fails("swarm")),
    ("config create x {dir}/stack.yml", Fails("swarm")),
    ("config inspect x", Fails("swarm")),
    ("config ls", Fails("swarm")),
    ("config rm x", Fails("swarm")),
    ("secret create x {dir}/stack.yml", Fails("swarm")),
    ("secret inspect x", Fails("swarm")),
    ("secret ls", Fails("swarm")),
    ("secret rm x", Fails("swarm")),
    ("node demote x", Fails("swarm")),
    ("node inspect x", Fails("swarm")),
    ("node ls", Fails("swarm")),
    ("node promote x", Fails("swarm")),
    ("node ps x", Fails("swarm")),
    ("node rm x", Fails("swarm")),
    ("node update --availability drain x", Fails("swarm")),
    ("service create --no-resolve-image busybox", Fails("swarm")),
    ("service inspect x", Fails("swarm")),
    ("service logs x", Fails("swarm")),
    ("service ls", Fails("swarm")),
    ("service ps x", Fails("swarm")),
    ("service rm x", Fails("swarm")),
    ("service rollback x", Fails("swarm")),
    ("service scale x=1", Fails("swarm")),
    ("service update x", Fails("swarm")),
    ("swarm ca", Fails("swarm")),
    ("swarm init", Fails("swarm")),
    ("swarm join --token x 127.0.0.1:1", Fails("swarm")),
    ("swarm join-token worker", Fails("swarm")),
    ("swarm leave", Fails("swarm")),
    ("swarm unlock", Fails("")),
    ("swarm unlock-key", Fails("swarm")),
    ("swarm update --autolock", Fails("swarm")),
    ("system prune -af --volumes", Says("Total reclaimed space")),
];

/// Flags of `docker run`, with the arguments that give each and what becomes of `docker run --rm ARGUMENTS busybox true`.
#[rustfmt::skip]
const FLAGS: &[(&str, &[&str], Outcome)] = &[
    ("--add-host", &["--add-host", "a:192.0.2.1"], Says("")),
    ("--annotation", &["--annotation", "a=b"], Says("")),
    ("--attach", &["-a", "stdout"], Says("")),
    ("--blkio-weight", &["--blkio-weight", "300"], Either),
    ("--blkio-weight-device", &["--blkio-weight-device", "/dev/null:200"], Either),
    ("--cap-add", &["--cap-add", "NET_ADMIN"], Says("")),
    ("--cap-drop", &["--cap-drop", "ALL"], Says("")),
    ("--cgroup-parent", &["--cgroup-parent", "{cgroup}/flags"], Says("")),
    ("--cgroupns", &["--cgroupns", "private"], Says("")),
    ("--cidfile", &["--cidfile", "{dir}/cid"], Says("")),
    ("--cpu-count", &["--cpu-count", "1"], Fails("is for Windows only")),
    ("--cpu-percent", &["--cpu-percent", "1"], Fails("is for Windows only")),
    ("--cpu-period", &["--cpu-period", "50000"], Says("")),
    ("--cpu-quota", &["--cpu-quota", "25000"], Says("")),
    ("--cpu-rt-period", &["--cpu-rt-period", "1000000"], Either),
    ("--cpu-rt-runtime", &["--cpu-rt-runtime", "1000"], Either),
    ("--cpu-shares", &["--cpu-shares", "300"], Says("")),
    ("--cpus", &["--cpus", "0.5"], Says("")),
    ("--cpuset-cpus", &["--cpuset-cpus", "0"], Says("")),
    ("--cpuset-mems", &["--cpuset-mems", "0"], Says("")),
    ("--detach", &["--detach"], Says("")),
    ("--detach-keys", &["--detach-keys", "ctrl-a"], Says("")),
    ("--device", &["--device", "/dev/null:/dev/other"], Says("")),
    ("--device-cgroup-rule", &["--device-cgroup-rule", "c 42:* rwm"], Says("")),
    ("--device-read-bps", &["--device-read-bps", "/dev/null:1mb"], Either),
    ("--device-read-iops", &["--device-read-iops", "/dev/null:100"], Either),
    ("--device-write-bps", &["--device-write-bps", "/dev/null:1mb"], Either),
    ("--device-write-iops", &["--device-write-iops", "/dev/null:100"], Either),
    ("--disable-content-trust", &["--disable-content-trust"], Says("")),
    ("--dns", &["--dns", "192.0.2.53"], Says("")),
    ("--dns-option", &["--dns-option", "ndots:1"], Says("")),
    ("--dns-search", &["--dns-search", "example.org"], Says("")),
    ("--domainname", &["--domainname", "example.org"], Says("")),
    ("--entrypoint", &["--entrypoint", "echo"], Says("true")),
    ("--env", &["--env", "A=b"], Says("")),
    ("--env-file", &["--env-file", "{dir}/variables"], Says("")),
    ("--expose", &["--expose", "80"], Says("")),
    ("--gpus", &["--gpus", "all"], Fails("could not select device driver")),
    ("--group-add", &["--group-add", "5"], Says("")),
    ("--health-cmd", &["--health-cmd", "true"], Says("")),
    ("--health-interval", &["--health-cmd", "true", "--health-interval", "1s"], Says("")),
    ("--health-retries", &["--health-cmd", "true", "--health-retries", "2"], Says("")),
    ("--health-start-interval", &["--health-cmd", "true", "--health-start-interval", "1s"], Says("")),
    ("--health-start-period", &["--health-cmd", "true", "--health-start-period", "1s"], Says("")),
    ("--health-timeout", &["--health-cmd", "true", "--health-timeout", "1s"], Says("")),
    ("--help", &["--help"], Says("Usage:")),
    ("--hostname", &["--hostname", "box"], Says("")),
    ("--init", &["--init"], Says("")),
    ("--interactive", &["--interactive"], Says("")),
    ("--io-maxbandwidth", &["--io-maxbandwidth", "1m"], Fails("is for Windows only")),
    ("--io-maxiops", &["--io-maxiops", "1"], Fails("is for Windows only")),
    ("--ip", &["--network", "flags", "--ip", "10.77.0.9"], Says("")),
    ("--ip6", &["--network", "flags", "--ip6", "fd00:77::9"], Says("")),
    ("--ipc", &["--ipc", "host"], Says("")),
    ("--isolation", &["--isolation", "default"], Says("")),
    // Newer clients drop it by themselves.
    ("--kernel-memory", &["--kernel-memory", "64m"], Either),
    ("--label", &["--label", "a=b"], Says("")),
    ("--label-file", &["--label-file", "{dir}/variables"], Says("")),
    ("--link", &["--link", "donor:giver"], Says("")),
    ("--link-local-ip", &["--network", "flags", "--link-local-ip", "169.254.7.7"], Fails("link-local addresses are not supported")),
    ("--log-driver", &["--log-driver", "none"], Says("")),
    ("--log-opt", &["--log-opt", "max-size=1m"], Says("")),
    ("--mac-address", &["--mac-address", "02:42:ac:11:00:63"], Says("")),
    ("--memory", &["--memory", "64m"], Says("")),
    ("--memory-reservation", &["--memory-reservation", "32m"], Says("")),
    ("--memory-swap", &["--memory", "64m", "--memory-swap", "128m"], Says("")),
    ("--memory-swappiness", &["--memory-swappiness", "10"], Either),
    ("--mount", &["--mount", "type=tmpfs,target=/m"], Says("")),
    ("--name", &["--name", "named"], Says("")),
    ("--network", &["--network", "flags"], Says("")),
    ("--network-alias", &["--network", "flags", "--network-alias", "other"], Says("")),
    ("--no-healthcheck", &["--no-healthcheck"], Says("")),
    ("--oom-kill-disable", &["--memory", "64m", "--oom-kill-disable"], Either),
    ("--oom-score-adj", &["--oom-score-adj", "100"], Says("")),
    ("--pid", &["--pid", "host"], Says("")),
    ("--pids-limit", &["--pids-limit", "50"], Says("")),
    ("--platform", &["--platform", "linux/riscv64", "--pull", "never"], Fails("was found but does not")),
    ("--privileged", &["--privileged"], Says("")),
    ("--publish", &["--publish", "127.0.0.1:18081:80"], Says("")),
    ("--publish-all", &["--publish-all"], Says("")),
    ("--pull", &["--pull", "never"], Says("")),
    ("--quiet", &["--quiet"], Says("")),
    ("--read-only", &["--read-only"], Says("")),
    ("--restart", &["--restart", "always"], Fails("")),
    ("--rm", &[], Says("")),
    ("--runtime", &["--runtime", "nosuch"], Fails("nosuch")),
    ("--security-opt", &["--security-opt", "no-new-privileges"], Says("")),
    ("--shm-size", &["--shm-size", "8m"], Says("")),
    ("--sig-proxy", &["--sig-proxy=false"], Says("")),
    ("--stop-signal", &["--stop-signal", "SIGINT"], Says("")),
    ("--stop-timeout", &["--stop-timeout", "3"], Says("")),
    ("--storage-opt", &["--storage-opt", "size=1g"], Fails("StorageOpt")),
    ("--sysctl", &["--sysctl", "net.ipv4.ip_unprivileged_port_start=77"], Says("")),
    ("--tmpfs", &["--tmpfs", "/t"], Says("")),
    ("--tty", &["--tty"], Says("")),
    ("--ulimit", &["--ulimit", "nofile=100"], Says("")),
    ("--use-api-socket", &["--use-api-socket"], Either),
    ("--user", &["--user", "1000"], Says("")),
    ("--userns", &["--userns", "host"], Says("")),
    ("--uts", &["--uts", "host"], Says("")),
    ("--volume", &["--volume", "/v"], Says("")),
    ("--volume-driver", &["--volume-driver", "local", "--volume", "/v"], Says("")),
    ("--volumes-from", &["--volumes-from", "donor"], Says("")),
    ("--workdir", &["--workdir", "/w"], Says("")),
];

/// The docker CLI inside the world, where it reaches the registry itself.
fn docker(world: &World, args: &[String]) -> Run {
    let mut command = world.enter("docker");
    command.args(args).current_dir(world.dir());
    command.env("DOCKER_HOST", format!("unix://{}", world.docker_socket().display()));
    command.env("DOCKER_CONFIG", world.dir().join("docker-config")).env("HOME", world.dir());
    command.env("DOCKER_CLI_EXPERIMENTAL", "enabled").env_remove("DOCKER_CONTEXT").env_remove("DOCKER_API_VERSION");
    run_with(command, b"")
}

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

/// Puts the world's paths in.
fn filled(world: &World, text: &str) -> String {
    text.replace("{dir}", &world.dir().to_string_lossy())
        .replace("{socket}", &world.docker_socket().to_string_lossy())
        .replace("{cgroup}", world.cgroup())
}

fn fault(run: &Run, outcome: &Outcome) -> Option<String> {
    let fits = match outcome {
        Says(words) => run.status.success() && run.out().contains(words),
        Fails(words) => !run.status.success() && !run.stderr.trim().is_empty() && run.stderr.contains(words),
        Either => run.status.success() || !run.stderr.trim().is_empty(),
    };
    (!fits).then(|| run.to_string())
}

/// The commands that a help lists, without plugins (which have an asterisk).
fn listed(help: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut inside = false;
    for line in help.lines() {
        if line.ends_with("Commands:") {
            inside = true;
        } else if line.trim().is_empty() {
            inside = false;
        } else if inside && line.starts_with("  ") && !line.starts_with("   ") {
            found.extend(line.split_whitespace().next().filter(|word| !word.ends_with('*')).map(str::to_owned));
        }
    }
    found
}

/// Every command, with its sub-commands in place of itself where it has any.
fn all_commands(world: &World) -> Vec<String> {
    let mut all = Vec::new();
    for top in listed(&docker(world, &words("--help")).ok()) {
        let below = listed(&docker(world, &[top.clone(), "--help".into()]).ok());
        if below.is_empty() {
            all.push(top);
        } else {
            all.extend(below.iter().map(|sub| format!("{top} {sub}")));
        }
    }
    all
}

#[test]
fn every_command_does_what_it_is_for() {
    let mut world = world_with_busybox();
    world.registry();
    std::fs::write(world.dir().join("stack.yml"), "version: '3.8'\nservices:\n  web:\n    image: busybox\n")
        .expect("stack");
    let begins = |line: &str, command: &str| line == command || line.starts_with(&format!("{command} "));
    let has_row = |command: &String| {
        COMMANDS.iter().any(|(line, _)| begins(line, command)) || ELSEWHERE.iter().any(|(name, _)| name == command)
    };
    let known = all_commands(&world);
    assert!(known.len() > 60, "the help is not understood: {known:?}");
    let mut faults: Vec<String> =
        known.iter().filter(|c| !has_row(c)).map(|c| format!("{c}: it has no row here")).collect();
    for (line, outcome) in COMMANDS {
        // A client that is older has fewer.
        if known.iter().any(|command| begins(line, command)) {
            faults.extend(fault(&docker(&world, &words(&filled(&world, line))), outcome));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

/// Flags of a help, by their long names.
fn flags(help: &str) -> BTreeSet<String> {
    let lines = help.lines().filter(|line| line.trim_start().starts_with('-'));
    lines.filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")).map(str::to_owned)).collect()
}

#[test]
fn every_flag_of_run_is_honoured_or_refused() {
    let world = world_with_busybox();
    world.docker(["run", "-d", "--name", "donor", "-v", "/donated", "busybox", "sleep", "1000"]).ok();
    let subnets = ["--subnet", "10.77.0.0/24", "--ipv6", "--subnet", "fd00:77::/64"];
    world.docker(["network", "create"].iter().chain(&subnets).chain(&["flags"])).ok();
    std::fs::write(world.dir().join("variables"), "A=b\n").expect("a file of variables");
    let known = flags(&docker(&world, &words("run --help")).ok());
    assert!(known.len() > 80, "the help is not understood: {known:?}");
    let has_row = |flag: &&String| FLAGS.iter().any(|(name, ..)| name == *flag);
    let mut faults: Vec<String> =
        known.iter().filter(|f| !has_row(f)).map(|f| format!("{f}: it has no row here")).collect();
    for (flag, arguments, outcome) in FLAGS.iter().filter(|(flag, ..)| known.contains(*flag)) {
        let mut args = words("run --rm");
        args.extend(arguments.iter().map(|argument| filled(&world, argument)));
        args.extend(words("busybox true"));
        faults.extend(fault(&docker(&world, &args), outcome).map(|fault| format!("{flag}: {fault}")));
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}
