//! Log drivers: `local`, `syslog`, `journald` and `none`, their options, and what a receiver that dies costs.

use std::io::Read as _;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::PathBuf;
use std::time::Duration;

use testkit::daemon::gantry_config;
use testkit::{World, wait};

use crate::client::{Client, load, with_both_clients, world_with_busybox};

with_both_clients!(
    local_logs_rotate_and_are_read_back,
    syslog_gets_what_docker_logs_shows,
    details_tell_labels_and_variables,
    drivers_without_a_copy_are_not_read,
    what_is_wrong_is_refused,
);

/// Time for a line to arrive somewhere.
const SOON: Duration = Duration::from_secs(20);

fn local_logs_rotate_and_are_read_back(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let options = ["--log-driver", "local", "--log-opt", "max-size=20k", "--log-opt", "max-file=4"];
    let script = "for i in $(seq 1 6000); do echo line $i; test $((i % 500)) != 0 || usleep 60000; done";
    client.args(&world, &[&["run", "--name", "loud"], &options[..], &["busybox", "sh", "-c", script]].concat()).ok();

    let all = client.line(&world, "logs loud");
    let numbers: Vec<u32> = all.out().lines().map(|l| l["line ".len()..].parse().expect("a number")).collect();
    assert_eq!(numbers.last(), Some(&6000));
    assert!(numbers.len() > 1000 && numbers.len() < 6000, "some 80 kB of records are kept: {}", numbers.len());
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "no gap within what is kept");

    assert_eq!(
        client.line(&world, "logs --tail 3 loud").out().lines().collect::<Vec<_>>(),
        ["line 5998", "line 5999", "line 6000"]
    );
    // More than the current file has.
    let tail = numbers.len() - 1;
    assert_eq!(client.line(&world, &format!("logs --tail {tail} loud")).out().lines().count(), tail);
    let stamped = client.line(&world, "logs -t --tail 1500 loud").out();
    let times: Vec<&str> = stamped.lines().map(|line| line.split(' ').next().expect("a time")).collect();
    assert!(times.is_sorted());
    let (first, middle) = (times[0], times[times.len() / 2]);
    let since = client.line(&world, &format!("logs --since {middle} loud")).out().lines().count();
    assert_eq!(since, times.iter().filter(|time| **time >= middle).count());
    let until = client.line(&world, &format!("logs --since {first} --until {middle} loud")).out().lines().count();
    assert_eq!(until, times.iter().filter(|time| **time <= middle).count());

    let facts = client.args(&world, &["inspect", "--format", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}.", "loud"]);
    assert_eq!(facts.ok().trim(), "local .");
    client.line(&world, "rm loud").ok();
    world.assert_nothing_left(&before);
}

/// What arrives at a datagram socket until `enough`.
fn datagrams(socket: &UnixDatagram, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
    socket.set_nonblocking(true).expect("set up");
    let mut seen: Vec<String> = Vec::new();
    wait::until("messages", SOON, || {
        let mut message = vec![0; 64 << 10];
        while let Ok(length) = socket.recv(&mut message) {
            seen.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        enough(&seen).then_some(())
    });
    seen
}

fn syslog_gets_what_docker_logs_shows(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let path = world.dir().join("syslog");
    let socket = UnixDatagram::bind(&path).expect("bind");
    let address = format!("syslog-address=unixgram://{}", path.display());
    let options = [
        ["--log-driver", "syslog"],
        ["--log-opt", &address],
        ["--log-opt", "syslog-facility=local1"],
        ["--log-opt", "syslog-format=rfc5424micro"],
        ["--log-opt", "tag={{.ImageName}}/{{.Name}}"],
    ]
    .concat();
    let script = "echo one; echo two >&2";
    client.args(&world, &[&["run", "--name", "talker"], &options[..], &["busybox", "sh", "-c", script]].concat()).ok();
    let mut seen = datagrams(&socket, |seen| seen.len() == 2);
    seen.sort();
    // local1 is 17; errors are 3, information 6.
    assert!(seen[0].starts_with("<139>1 ") && seen[0].trim_end().ends_with(" busybox/talker - two"), "{seen:?}");
    assert!(seen[1].starts_with("<142>1 ") && seen[1].trim_end().ends_with(" busybox/talker - one"), "{seen:?}");
    let logs = client.line(&world, "logs talker");
    assert_eq!((logs.out().as_str(), logs.stderr.as_str()), ("one", "two\n"), "the copy is read back");
    client.line(&world, "rm talker").ok();
    world.assert_nothing_left(&before);
}

fn details_tell_labels_and_variables(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let args = [
        ["run", "--name"],
        ["told", "--label"],
        ["com.example.role=web server", "-e"],
        ["STAGE=test", "--log-opt"],
        ["labels-regex=^com\\.example", "--log-opt"],
        ["env=STAGE,ABSENT", "--log-opt"],
        ["tag={{.Name}}", "busybox"],
        ["echo", "hello"],
    ];
    client.args(&world, &args.concat()).ok();
    let details = client.line(&world, "logs --details told").ok();
    assert_eq!(details.trim(), "STAGE=test,com.example.role=web+server,tag=told hello");
    assert_eq!(client.line(&world, "logs told").ok().trim(), "hello");
    client.line(&world, "rm told").ok();
    world.assert_nothing_left(&before);
}

fn drivers_without_a_copy_are_not_read(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    let path = world.dir().join("syslog");
    let _socket = UnixDatagram::bind(&path).expect("bind");
    let address = format!("syslog-address=unixgram://{}", path.display());
    let options = ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "cache-disabled=true"];
    client.args(&world, &[&["run", "--name", "one"], &options[..], &["busybox", "echo", "x"]].concat()).ok();
    client.args(&world, &["run", "--name", "two", "--log-driver", "none", "busybox", "echo", "x"]).ok();
    for name in ["one", "two"] {
        let refused = client.line(&world, &format!("logs {name}"));
        assert!(refused.stderr.contains("configured logging driver does not support reading"), "{refused}");
    }
    client.line(&world, "rm one two").ok();
    world.assert_nothing_left(&before);
}

fn what_is_wrong_is_refused(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    for (driver, option, words) in [
        ("fluffy", "", "logger: no log driver named 'fluffy' is registered"),
        ("json-file", "bogus=1", "unknown log opt 'bogus' for json-file log driver"),
        ("local", "tag=x", "unknown log opt 'tag' for log-driver local"),
        ("syslog", "syslog-address=nowhere", "syslog-address should be in form proto://address, got nowhere"),
        ("syslog", "syslog-facility=99", "invalid syslog facility"),
        ("journald", "max-size=1m", "unknown log opt 'max-size' for journald log driver"),
        ("json-file", "mode=lazy", "logger: logging mode not supported: lazy"),
        ("json-file", "max-buffer-size=1m", "max-buffer-size option is only supported with 'mode=non-blocking'"),
    ] {
        let mut args = vec!["create", "--log-driver", driver];
        if !option.is_empty() {
            args.extend(["--log-opt", option]);
        }
        args.push("busybox");
        let refused = client.args(&world, &args);
        assert!(!refused.status.success() && refused.stderr.contains(words), "{driver} {option}: {refused}");
    }
    world.assert_nothing_left(&before);
}

/// Reads lines of one connection until one ends with `last`; the connection closes then.
fn read_until(listener: &UnixListener, last: impl Fn(&str) -> bool) -> Vec<String> {
    listener.set_nonblocking(true).expect("set up");
    let mut stream = wait::until("a connection", SOON, || listener.accept().ok()).0;
    stream.set_nonblocking(true).expect("set up");
    let mut text = String::new();
    wait::until("the last line", SOON, || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut bytes) {
            text.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
        text.lines().any(&last).then_some(())
    });
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_receiver_that_dies_costs_no_container_and_no_line_that_fits() {
    let client = Client::Docker;
    let mut world = World::gantry_only();
    load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let path = world.dir().join("syslog");
    let listener = UnixListener::bind(&path).expect("bind");
    let address = format!("syslog-address=unix://{}", path.display());
    let options = ["--log-driver", "syslog", "--log-opt", &address];
    let script = "i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo n$i; usleep 20000; done";
    client
        .args(&world, &[&["run", "-d", "--name", "talker"], &options[..], &["busybox", "sh", "-c", script]].concat())
        .ok();
    let number = |line: &str| line.rsplit(": n").next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
    let first = read_until(&listener, |line| number(line) >= 5);
    assert_eq!(number(&first[0]), 1);
    drop(listener);
    std::fs::remove_file(&path).expect("unlink");
    // The daemon dies too: the shim is who sends.
    world.kill_daemon();
    std::thread::sleep(Duration::from_millis(300));
    let listener = UnixListener::bind(&path).expect("bind");
    let upto = number(first.last().expect("lines"));
    let later = read_until(&listener, |line| number(line) > upto + 20);
    let numbers: Vec<u32> = later.iter().map(|line| number(line)).collect();
    // What was under way when the connection died may be lost; what was written since then waited.
    assert!(numbers[0] <= upto + 5, "{upto}, then {numbers:?}");
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    world.start_daemon();
    let logs = client.line(&world, "logs talker").ok();
    assert!(logs.lines().count() > 20 && logs.starts_with("n1\nn2\n"), "{logs}");
    client.line(&world, "rm -f talker").ok();
    world.assert_nothing_left(&before);
}

#[test]
fn a_receiver_that_was_never_there_holds_nothing_up() {
    let client = Client::Docker;
    let world = World::gantry_only();
    load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let address = "syslog-address=tcp://127.0.0.1:9";
    for mode in ["mode=blocking", "mode=non-blocking"] {
        let options = ["--log-driver", "syslog", "--log-opt", address, "--log-opt", mode];
        // Several times what the queue takes.
        let script = "yes 0123456789012345678901234567890123456789 | head -n 100000; exit 7";
        let args = [&["run", "--name", "talker"], &options[..], &["busybox", "sh", "-c", script]].concat();
        assert_eq!(client.args(&world, &args).status.code(), Some(7));
        assert_eq!(client.line(&world, "logs talker").ok().lines().count(), 100_000, "the copy has every line");
        client.line(&world, "rm talker").ok();
    }
    world.assert_nothing_left(&before);
}

#[test]
fn syslog_goes_over_tcp_and_udp_too() {
    let client = Client::Docker;
    let world = World::gantry_only();
    load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let run = |protocol: &str| {
        let address = format!("syslog-address={protocol}://localhost:5514");
        let options = ["--log-driver", "syslog", "--log-opt", &address, "--log-opt", "syslog-format=rfc3164"];
        client.args(&world, &[&["run", "--rm"], &options[..], &["busybox", "echo", "hello"]].concat()).ok();
    };
    let expected =
        |text: &str| text.starts_with("<30>") && text.contains(" gantry-test ") && text.ends_with("]: hello\n");

    let listener = world.in_network(|| TcpListener::bind("127.0.0.1:5514")).expect("bind");
    run("tcp");
    let mut text = String::new();
    listener.accept().expect("a connection").0.read_to_string(&mut text).expect("a message");
    assert!(expected(&text), "{text}");

    let socket = world.in_network(|| UdpSocket::bind("127.0.0.1:5514")).expect("bind");
    socket.set_read_timeout(Some(SOON)).expect("set up");
    run("udp");
    let mut message = [0; 2000];
    let length = socket.recv(&mut message).expect("a message");
    let text = String::from_utf8_lossy(&message[..length]);
    assert!(expected(&text), "{text}");
    world.assert_nothing_left(&before);
}

#[test]
fn journald_gets_dockers_fields() {
    let client = Client::Docker;
    let world = World::gantry_only();
    load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let run = |tag: &str| {
        let options = ["--log-driver", "journald", "--log-opt", tag, "--log-opt", "labels=com.example.role"];
        let args =
            [&["run", "--name", "talker", "--label", "com.example.role=web"], &options[..], &["busybox"]].concat();
        client.args(&world, &[&args[..], &["sh", "-c", "echo one; echo two >&2"]].concat())
    };
    let refused = run("tag=x");
    assert!(refused.stderr.contains("journald is not enabled on this host"), "{refused}");
    client.line(&world, "rm talker").ok();

    // The world's own /run, seen from here.
    let folder = PathBuf::from(format!("/proc/{}/root/run/systemd/journal", world.init()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let journal = UnixDatagram::bind(folder.join("socket")).expect("bind");
    run("tag={{.Name}}-{{.ID}}").ok();
    let mut seen = datagrams(&journal, |seen| seen.len() == 2);
    seen.sort();
    let id = client.args(&world, &["inspect", "--format", "{{.Id}}", "talker"]).ok().trim().to_owned();
    for (entry, message, priority) in [(&seen[0], "one", "6"), (&seen[1], "two", "3")] {
        for field in [
            format!("MESSAGE={message}"),
            format!("PRIORITY={priority}"),
            format!("CONTAINER_ID={}", &id[..12]),
            format!("CONTAINER_ID_FULL={id}"),
            "CONTAINER_NAME=talker".to_owned(),
            format!("CONTAINER_TAG=talker-{}", &id[..12]),
            format!("SYSLOG_IDENTIFIER=talker-{}", &id[..12]),
            "IMAGE_NAME=busybox".to_owned(),
            "COM_EXAMPLE_ROLE=web".to_owned(),
        ] {
            assert!(entry.lines().any(|line| line == field), "{field} in {entry}");
        }
    }
    assert_eq!(client.line(&world, "logs talker").out(), "one");
    client.line(&world, "rm talker").ok();
    drop(journal);
    std::fs::remove_dir_all(folder.parent().expect("systemd")).expect("clean up");
    world.assert_nothing_left(&before);
}

#[test]
fn the_daemons_default_driver_holds() {
    let client = Client::Docker;
    let mut world = World::bare_with(testkit::daemon::EngineKind::Gantry);
    let docker = "[docker]\nlog_driver = \"local\"\nlog_opts = { max-size = \"1m\" }\n";
    let config = gantry_config(&world).replace("[docker]\n", docker);
    std::fs::write(world.dir().join("gantryd.toml"), &config).expect("configuration");
    world.start_daemon();
    load(&world, &testkit::image::sample::busybox().docker_archive("busybox:latest"));
    let before = world.census();
    let info = client.args(&world, &["info", "--format", "{{.LoggingDriver}} {{.Plugins.Log}}"]).ok();
    assert_eq!(info.trim(), "local [journald json-file local syslog]");
    client.args(&world, &["run", "--name", "plain", "busybox", "echo", "x"]).ok();
    client.args(&world, &["run", "--name", "own", "--log-driver", "json-file", "busybox", "echo", "x"]).ok();
    // What a container was made with holds, whatever the daemon's default is later.
    world.stop_daemon();
    std::fs::write(world.dir().join("gantryd.toml"), gantry_config(&world)).expect("configuration");
    world.start_daemon();
    let shown = |name| client.args(&world, &["inspect", "--format", "{{json .HostConfig.LogConfig}}", name]).ok();
    assert_eq!(shown("plain").trim(), r#"{"Type":"local","Config":{"max-size":"1m"}}"#);
    assert_eq!(shown("own").trim(), r#"{"Type":"json-file","Config":{}}"#);
    client.line(&world, "rm plain own").ok();
    world.assert_nothing_left(&before);
}
