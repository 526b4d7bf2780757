//! Stacks of the unmodified docker compose, version 2 (Debian 13's program) and version 1 (Debian 12's).
//!
//! `hack/test` fetches version 2; where it is, says `GANTRY_COMPOSE_V2`, else `target/tools/docker-compose`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::command::run_with;
use testkit::image::sample;
use testkit::{Run, World, wait};

use crate::client::{load, world_with_busybox};

/// Deadline of what a stack comes to by itself.
const SOON: Duration = Duration::from_secs(30);

/// A project in a world.
struct Stack<'w> {
    world: &'w World,
    directory: PathBuf,
    program: PathBuf,
}

impl<'w> Stack<'w> {
    #[track_caller]
    fn new(world: &'w World, text: &str) -> Self {
        Self::with(world, version_2(), text)
    }

    #[track_caller]
    fn with(world: &'w World, program: PathBuf, text: &str) -> Self {
        let directory = world.dir().join("stack");
        std::fs::create_dir_all(&directory).expect("the project's directory");
        let stack = Self { world, directory, program };
        stack.file("docker-compose.yml", text);
        stack
    }

    #[track_caller]
    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.directory.join(name), text).expect("a file of the project");
    }

    fn command(&self, line: &str) -> Command {
        let mut command = self.world.client(&self.program);
        command.current_dir(&self.directory).args(line.split_whitespace());
        command
    }

    #[track_caller]
    fn run(&self, line: &str) -> Run {
        run_with(self.command(line), b"")
    }

    /// Runs a shell script in a service.
    #[track_caller]
    fn sh(&self, service: &str, script: &str) -> String {
        let mut command = self.command("exec -T");
        command.args([service, "sh", "-c", script]);
        run_with(command, b"").ok()
    }

    /// Waits until a service's log says something.
    #[track_caller]
    fn says(&self, service: &str, text: &str) {
        wait::until(&format!("{service} to say {text:?}"), SOON, || {
            self.run(&format!("logs --no-color {service}")).ok().contains(text).then_some(())
        });
    }

    /// The stack goes, with its networks and volumes.
    #[track_caller]
    fn down(&self) {
        self.run("down -v -t 0").ok();
    }
}

#[track_caller]
fn version_2() -> PathBuf {
    let local = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/docker-compose");
    let program = std::env::var_os("GANTRY_COMPOSE_V2").map_or(local, PathBuf::from);
    assert!(program.exists(), "docker compose v2 is not at {}: hack/test fetches it", program.display());
    program
}

fn version_1() -> PathBuf {
    PathBuf::from("/usr/bin/docker-compose")
}

const WEB_DATABASE_CACHE: &str = r#"
version: "3.8"
services:
  web:
    image: busybox
    command: httpd -f -h /www
    ports: ["8080:80"]
    depends_on: [db, cache]
  db:
    image: busybox
    command: sh -c 'mkdir -p /data; [ -e /data/rows ] || echo first > /data/rows; httpd -f -h /data'
    volumes: ["data:/data"]
  cache:
    image: busybox
    command: httpd -f -h /tmp
    tmpfs: /tmp
volumes:
  data:
"#;

/// The life of a stack, by either version.
fn web_database_cache(program: PathBuf) {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::with(&world, program, WEB_DATABASE_CACHE);
    stack.run("up -d").ok();
    wait::until("the published page", SOON, || {
        let got = world.sh("busybox wget -q -O - http://127.0.0.1:8080/index.html || true");
        (got.trim() == "hello from a container").then_some(())
    });
    assert_eq!(stack.sh("web", "until wget -q -O - http://db/rows; do usleep 100000; done"), "first");
    stack.sh("cache", "echo warm > /tmp/key");
    assert_eq!(stack.sh("db", "wget -q -O - http://cache/key"), "warm");
    stack.sh("db", "echo second > /data/rows");
    // Nothing has changed: nothing is made again.
    let ids = |of: &Stack<'_>| of.run("ps -q").ok();
    let first = ids(&stack);
    stack.run("up -d").ok();
    assert_eq!(ids(&stack), first);
    // Down and up again: the named volume is kept.
    stack.run("down -t 0").ok();
    stack.run("up -d").ok();
    assert_eq!(stack.sh("web", "until wget -q -O - http://db/rows; do usleep 100000; done"), "second");
    stack.run("restart -t 0 web").ok();
    stack.run("stop -t 0").ok();
    stack.run("start").ok();
    assert_ne!(ids(&stack), first);
    stack.down();
    world.assert_nothing_left(&before);
}

#[test]
fn web_database_cache_with_version_2() {
    web_database_cache(version_2());
}

#[test]
fn web_database_cache_with_version_1() {
    web_database_cache(version_1());
}

const HEALTH_GATED: &str = r#"
services:
  app:
    image: busybox
    command: sh -c 'wget -q -O - http://db/ready && echo it was ready; sleep 1000'
    depends_on:
      db: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
  migrate:
    image: busybox
    command: sh -c 'wget -q -O - http://db/ready > /shared/migrated'
    volumes: ["shared:/shared"]
    depends_on:
      db: { condition: service_healthy }
  db:
    image: busybox
    init: true
    command: sh -c 'mkdir -p /tmp/www; httpd -h /tmp/www; sleep 1; echo yes > /tmp/www/ready; sleep 1000'
    volumes: ["shared:/shared"]
    healthcheck: { test: ["CMD", "test", "-e", "/tmp/www/ready"], interval: 200ms, retries: 100 }
volumes:
  shared:
"#;

#[test]
fn a_start_waits_for_health_and_for_jobs() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, HEALTH_GATED);
    stack.run("up -d").ok();
    stack.says("app", "it was ready");
    assert_eq!(stack.sh("db", "cat /shared/migrated"), "yes");
    let jobs = stack.run("ps -a --format {{.Service}}:{{.State}}:{{.ExitCode}}").ok();
    assert!(jobs.lines().any(|line| line == "migrate:exited:0"), "{jobs}");
    assert!(stack.sh("db", "cat /proc/1/comm") != "sh", "an init is process 1");
    stack.down();
    world.assert_nothing_left(&before);
}

const SCALED: &str = r#"
services:
  worker:
    image: busybox
    command: httpd -f -h /www
    deploy: { replicas: 2 }
  client:
    image: busybox
    command: sleep 1000
"#;

#[test]
fn workers_are_scaled_and_share_a_name() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, SCALED);
    let known = |stack: &Stack<'_>| stack.sh("client", "nslookup -type=a worker | sed 1,3d | grep -c ^Address; true");
    stack.run("up -d").ok();
    assert_eq!(known(&stack), "2");
    stack.run("up -d --scale worker=4").ok();
    assert_eq!(known(&stack), "4");
    let names = stack.run("ps --format {{.Name}} worker").ok();
    assert_eq!(names.lines().count(), 4, "{names}");
    assert_eq!(stack.sh("client", "wget -q -O - http://stack-worker-4/index.html"), "hello from a container");
    stack.run("scale worker=1").ok();
    assert_eq!(known(&stack), "1");
    stack.down();
    world.assert_nothing_left(&before);
}

const NETWORKS: &str = r#"
services:
  proxy:
    image: busybox
    command: sleep 1000
    networks:
      front: { ipv4_address: 10.61.0.10 }
      back: { ipv4_address: 10.62.0.10, priority: 10 }
  web:
    image: busybox
    command: httpd -f -h /www
    networks:
      back: { aliases: [site, www.internal.test], ipv4_address: 10.62.0.20 }
  visitor:
    image: busybox
    command: sleep 1000
    networks: [front]
networks:
  front: { ipam: { config: [{ subnet: 10.61.0.0/24, gateway: 10.61.0.254 }] } }
  back: { internal: true, ipam: { config: [{ subnet: 10.62.0.0/24 }] }, labels: { tier: back } }
"#;

#[test]
fn networks_have_aliases_and_static_addresses() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, NETWORKS);
    stack.run("up -d").ok();
    let addresses = stack.sh("proxy", "ip -o -4 addr");
    assert!(addresses.contains("10.61.0.10/24") && addresses.contains("10.62.0.10/24"), "{addresses}");
    assert!(stack.sh("proxy", "ip route").contains("default via 10.61.0.254"), "the internal network leads nowhere");
    for name in ["site", "www.internal.test", "web", "10.62.0.20"] {
        let got = stack.sh("proxy", &format!("wget -q -O - http://{name}/index.html"));
        assert_eq!(got, "hello from a container", "{name}");
    }
    assert_eq!(stack.sh("visitor", "nslookup web >/dev/null 2>&1 || echo unknown"), "unknown");
    assert_eq!(stack.sh("visitor", "timeout 1 wget -q -O - http://10.62.0.20/ 2>/dev/null || echo cut off"), "cut off");
    stack.down();
    world.assert_nothing_left(&before);
}

const VOLUMES: &str = r#"
services:
  writer:
    image: busybox
    command: sh -c 'echo from the writer > /www/news; sleep 1000'
    volumes: ["site:/www"]
  reader:
    image: busybox
    command: httpd -f -h /srv
    volumes:
      - type: volume
        source: site
        target: /srv
        read_only: true
      - ./conf:/conf:ro
    depends_on: [writer]
volumes:
  site: { labels: { kind: seeded } }
"#;

#[test]
fn volumes_are_shared_and_seeded() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, VOLUMES);
    std::fs::create_dir_all(stack.directory.join("conf")).expect("conf");
    stack.file("conf/setting", "on\n");
    stack.run("up -d").ok();
    // The image's own file came with the empty volume; what one writes the other reads.
    assert_eq!(stack.sh("reader", "cat /srv/index.html"), "hello from a container");
    assert_eq!(stack.sh("reader", "until cat /srv/news; do usleep 100000; done 2>/dev/null"), "from the writer");
    assert_eq!(stack.sh("reader", "cat /conf/setting; touch /srv/x 2>/dev/null || echo read-only"), "on\nread-only");
    stack.down();
    world.assert_nothing_left(&before);
}

const SECRETS: &str = r#"
services:
  app:
    image: busybox
    command: sleep 1000
    environment: { MODE: production, FROM_FILE: "${VALUE}" }
    env_file: [more.env]
    secrets: [password, { source: key, target: /etc/key }]
    configs: [{ source: settings, target: /etc/settings.ini }]
    labels: { owner: tests }
    extra_hosts: ["upstream:192.0.2.7", "host.docker.internal:host-gateway"]
    ulimits: { nofile: { soft: 1000, hard: 2000 } }
    sysctls: { net.core.somaxconn: 1024 }
secrets:
  password: { file: ./password.txt }
  key: { file: ./key.txt }
configs:
  settings: { file: ./settings.ini }
"#;

#[test]
fn secrets_and_configs_come_from_files() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, SECRETS);
    for (name, text) in [
        ("password.txt", "hunter2\n"),
        ("key.txt", "k\n"),
        ("settings.ini", "[a]\n"),
        (".env", "VALUE=v\n"),
        ("more.env", "MORE=m\n"),
    ] {
        stack.file(name, text);
    }
    stack.run("up -d").ok();
    let read = stack.sh("app", "cat /run/secrets/password /etc/key /etc/settings.ini; echo $MODE $FROM_FILE $MORE");
    assert_eq!(read, "hunter2\nk\n[a]\nproduction v m");
    let limits = stack.sh("app", "ulimit -n; ulimit -H -n; cat /proc/sys/net/core/somaxconn");
    assert_eq!(limits, "1000\n2000\n1024");
    let hosts = stack.sh("app", "cat /etc/hosts");
    assert!(hosts.contains("192.0.2.7\tupstream") && hosts.contains("\thost.docker.internal"), "{hosts}");
    stack.down();
    world.assert_nothing_left(&before);
}

const PROFILES: &str = r#"
services:
  app:
    image: busybox
    command: sleep 1000
  debug:
    image: busybox
    command: sleep 1000
    profiles: [debug]
  job:
    image: busybox
    entrypoint: [echo, "the job says"]
    profiles: [tools]
    depends_on: [app]
"#;

#[test]
fn profiles_and_one_shot_jobs() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, PROFILES);
    stack.run("up -d").ok();
    assert_eq!(stack.run("ps --services").ok(), "app");
    stack.run("--profile debug up -d").ok();
    let services = stack.run("ps --services").ok();
    assert!(services.contains("debug"), "{services}");
    let said = stack.run("run --rm -T job hello");
    assert_eq!(said.ok(), "the job says hello");
    let failed = stack.run("run --rm -T --entrypoint false job");
    failed.fails(1);
    stack.run("--profile debug --profile tools down -v -t 0").ok();
    world.assert_nothing_left(&before);
}

const RESTARTS: &str = r#"
services:
  flaky:
    image: busybox
    command: sh -c 'echo attempt; exit 3'
    restart: on-failure:2
  steady:
    image: busybox
    command: sh -c 'while :; do echo tick; usleep 100000; done'
    restart: unless-stopped
    stop_signal: SIGKILL
"#;

#[test]
fn restart_policies_logs_and_a_daemon_that_is_killed_in_the_middle() {
    let mut world = World::gantry_only();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    Stack::new(&world, RESTARTS).run("up -d").ok();
    wait::until("the last attempt", SOON, || {
        let state =
            world.docker(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "stack-flaky-1"]);
        (state.ok() == "exited 3 2").then_some(())
    });
    let mut follower = Stack::new(&world, RESTARTS).command("logs -f --no-color steady");
    let mut follower = follower.stdout(std::process::Stdio::piped()).spawn().expect("docker compose");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(follower.stdout.take().expect("stdout")));
    assert!(lines.next().expect("a line").expect("text").contains("tick"));
    world.kill_daemon();
    let _ = follower.kill();
    let _ = follower.wait();
    world.start_daemon();
    let stack = Stack::new(&world, RESTARTS);
    let pid = |world: &World| world.docker(["inspect", "-f", "{{.State.Pid}}", "stack-steady-1"]).ok();
    let same = pid(&world);
    stack.run("up -d --no-recreate").ok();
    assert_eq!(pid(&world), same, "it runs on");
    assert_eq!(stack.sh("steady", "echo here"), "here");
    let events = stack.run("logs --no-color --tail 1 flaky").ok();
    assert!(events.contains("attempt"), "{events}");
    stack.down();
    world.assert_nothing_left(&before);
}

const SIX: &str = r#"
services:
  web:
    image: busybox
    command: httpd -f -p '[::]:80' -h /www
    networks: { dual: { ipv6_address: "fd61::10" } }
  client:
    image: busybox
    command: sleep 1000
    networks: [dual]
networks:
  dual:
    enable_ipv6: true
    ipam: { config: [{ subnet: 10.63.0.0/24 }, { subnet: "fd61::/64" }] }
"#;

#[test]
fn a_stack_with_both_address_families() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, SIX);
    stack.run("up -d").ok();
    assert!(stack.sh("client", "nslookup -type=aaaa web").contains("fd61::10"));
    let get = "until wget -q -O - http://[fd61::10]/index.html; do usleep 100000; done";
    assert_eq!(stack.sh("client", get), "hello from a container");
    assert!(stack.sh("client", "wget -q -O - http://web/index.html").contains("hello"));
    stack.down();
    world.assert_nothing_left(&before);
}

const HOST: &str = r#"
services:
  agent:
    image: busybox
    command: httpd -f -p 127.0.0.1:9100 -h /www
    network_mode: host
  web:
    image: busybox
    command: httpd -f -h /www
    ports: ["127.0.0.1:9200:80"]
  sidecar:
    image: busybox
    command: sleep 1000
    network_mode: service:web
  quiet:
    image: busybox
    command: sleep 1000
    network_mode: none
"#;

#[test]
fn the_hosts_network_and_anothers() {
    let world = world_with_busybox();
    let before = world.census();
    let stack = Stack::new(&world, HOST);
    stack.run("up -d").ok();
    for port in [9100, 9200] {
        wait::until(&format!("port {port}"), SOON, || {
            let got = world.sh(&format!("busybox wget -q -O - http://127.0.0.1:{port}/index.html || true"));
            (got.trim() == "hello from a container").then_some(())
        });
    }
    assert_eq!(stack.sh("sidecar", "wget -q -O - http://127.0.0.1/index.html"), "hello from a container");
    assert_eq!(stack.sh("quiet", "ip -o link | grep -vc ' lo'; true"), "0");
    stack.down();
    world.assert_nothing_left(&before);
}

#[test]
fn a_change_makes_only_what_it_concerns_anew() {
    let world = world_with_busybox();
    let before = world.census();
    let text = |mode: &str| {
        format!(
            "services:\n  one:\n    image: busybox\n    command: sleep 1000\n  two:\n    image: busybox\n    \
             command: sleep 1000\n    environment: {{ MODE: {mode} }}\n"
        )
    };
    let stack = Stack::new(&world, &text("a"));
    stack.run("up -d").ok();
    let id = |service: &str| stack.run(&format!("ps -q {service}")).ok();
    let (one, two) = (id("one"), id("two"));
    stack.file("docker-compose.yml", &text("b"));
    stack.run("up -d -t 0").ok();
    assert_eq!(id("one"), one);
    assert_ne!(id("two"), two);
    assert_eq!(stack.sh("two", "echo $MODE"), "b");
    // What is in the project no longer is an orphan.
    stack.file("docker-compose.yml", "services:\n  one:\n    image: busybox\n    command: sleep 1000\n");
    stack.run("up -d -t 0 --remove-orphans").ok();
    assert_eq!(stack.run("ps -q").ok(), one);
    let top = stack.run("top one").ok();
    assert!(top.contains("sleep 1000"), "{top}");
    stack.run("pause").ok();
    stack.run("unpause").ok();
    stack.run("kill").ok();
    stack.run("rm -f").ok();
    stack.down();
    world.assert_nothing_left(&before);
}
