//! Flags to bodies, against what docker's client sends.

use super::*;
use crate::flags::parse;

fn body(words: &[&str]) -> Result<CreateBody> {
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    let matches = parse(&[FLAGS], &words, false).map_err(Error::Message)?;
    build(&matches, &[])
}

#[test]
fn a_bare_container_is_the_same_as_dockers() {
    let sent = serde_json::to_value(body(&["busybox", "echo", "hi"]).unwrap()).unwrap();
    assert_eq!(sent["Image"], "busybox");
    assert_eq!(sent["Cmd"], serde_json::json!(["echo", "hi"]));
    assert_eq!(sent["AttachStdout"], true);
    assert_eq!(sent["AttachStdin"], false);
    assert_eq!(sent["HostConfig"]["NetworkMode"], "default");
    assert_eq!(sent["HostConfig"]["MemorySwappiness"], -1);
    assert_eq!(sent["HostConfig"]["RestartPolicy"], serde_json::json!({"Name":"no","MaximumRetryCount":0}));
    assert!(sent["NetworkingConfig"]["EndpointsConfig"]["default"].is_object());
}

#[test]
fn flags_reach_their_fields() {
    let body = body(&[
        "-it",
        "--name=x",
        "-m",
        "512m",
        "--cpus",
        "1.5",
        "-p",
        "8080:80",
        "-v",
        "/a:/b:ro",
        "-v",
        "/anon",
        "--tmpfs",
        "/t:size=1m",
        "-e",
        "A=1",
        "--label",
        "l",
        "--entrypoint",
        "",
        "--network",
        "net1",
        "--network-alias",
        "al",
        "--ip",
        "10.0.0.5",
        "--cap-add",
        "net_admin",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "systempaths=unconfined",
        "--restart",
        "on-failure:3",
        "--ulimit",
        "nofile=5:10",
        "--add-host",
        "h:1.2.3.4",
        "--init",
        "--stop-timeout",
        "7",
        "--health-cmd",
        "true",
        "--health-interval",
        "5s",
        "image",
        "cmd",
        "-x",
    ])
    .unwrap();
    let (config, host) = (&body.config, &body.extras.host_config);
    assert!(config.tty && config.open_stdin && config.stdin_once && config.attach_stdin);
    assert_eq!(config.cmd, Some(StrSlice(vec!["cmd".to_owned(), "-x".to_owned()])));
    assert_eq!(config.entrypoint, Some(StrSlice(vec![String::new()])));
    assert_eq!((config.stop_timeout, config.labels["l"].as_str()), (Some(7), ""));
    assert_eq!(config.healthcheck.as_ref().unwrap().interval, 5_000_000_000);
    assert_eq!((host.memory, host.nano_cpus), (512 << 20, 1_500_000_000));
    assert_eq!(host.binds, Some(vec!["/a:/b:ro".to_owned()]));
    assert!(config.volumes.as_ref().unwrap().contains_key("/anon") && host.tmpfs["/t"] == "size=1m");
    assert_eq!(host.port_bindings.as_ref().unwrap()["80/tcp"].as_ref().unwrap()[0].host_port, "8080");
    assert_eq!(host.cap_add, Some(StrSlice(vec!["CAP_NET_ADMIN".to_owned()])));
    assert_eq!((host.masked_paths.clone(), host.security_opt.clone()), (Some(vec![]), None));
    assert_eq!((host.restart_policy.name.as_str(), host.restart_policy.maximum_retry_count), ("on-failure", 3));
    assert_eq!((host.init, host.network_mode.as_str()), (Some(true), "net1"));
    let endpoint = body.extras.networking_config.endpoints_config["net1"].as_ref().unwrap();
    let address = &endpoint.ipam_config.as_ref().unwrap().ipv4_address;
    assert_eq!((endpoint.aliases.as_deref(), address.as_str()), (Some(&["al".to_owned()][..]), "10.0.0.5"));
}

/// Texts recorded from docker's client 28.
#[test]
fn refusals_have_dockers_words() {
    let cases: &[(&[&str], &str)] = &[
        (&["--restart=always", "--rm"], "conflicting options: cannot specify both --restart and --rm"),
        (&["--memory", "12x"], "invalid argument \"12x\" for \"-m, --memory\" flag: invalid suffix: 'x'"),
        (&["--cpus=abc"], "invalid argument \"abc\" for \"--cpus\" flag: failed to parse abc as a rational number"),
        (&["-e", "=x"], "invalid argument \"=x\" for \"-e, --env\" flag: invalid environment variable: =x"),
        (&["--label", "="], "invalid argument \"=\" for \"-l, --label\" flag: invalid label '=': empty name"),
        (&["--add-host", "foo"], "invalid argument \"foo\" for \"--add-host\" flag: bad format for add-host: \"foo\""),
        (
            &["--add-host", "foo:1.2.3"],
            "invalid argument \"foo:1.2.3\" for \"--add-host\" flag: invalid IP address in add-host: \"1.2.3\"",
        ),
        (&["--dns", "foo"], "invalid argument \"foo\" for \"--dns\" flag: IP address is not correctly formatted: foo"),
        (
            &["--blkio-weight", "70000"],
            "invalid argument \"70000\" for \"--blkio-weight\" flag: strconv.ParseUint: parsing \"70000\": value out of range",
        ),
        (&["--restart", "on-failure:x"], "invalid restart policy format: maximum retry count must be an integer"),
        (&["--memory-swappiness", "200"], "invalid value: 200. Valid memory swappiness range is 0-100"),
        (&["--health-interval", "-5s", "--health-cmd", "x"], "--health-interval cannot be negative"),
        (&["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (&["--health-retries", "-5", "--health-cmd", "x"], "--health-retries cannot be negative"),
        (&["--log-driver", "none", "--log-opt", "a=b"], "invalid logging opts for driver none"),
        (&["--security-opt", "zz"], "Invalid --security-opt: \"zz\""),
        (
            &["--security-opt", "seccomp=/nosuch"],
            "opening seccomp profile (/nosuch) failed: open /nosuch: no such file or directory",
        ),
        (&["--pid", "zz"], "--pid: invalid PID mode"),
        (&["--uts", "zz"], "--uts: invalid UTS mode"),
        (&["--userns", "zz"], "--userns: invalid USER mode"),
        (&["--cgroupns", "zz"], "--cgroupns: invalid CGROUP mode"),
        (&["--network-alias", "a"], "network-scoped aliases are only supported for user-defined networks"),
        (
            &["--network", "container:a", "--network", "b"],
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes",
        ),
        (
            &["--network", "name=a,foo=b"],
            "invalid argument \"name=a,foo=b\" for \"--network\" flag: invalid field key foo",
        ),
        (&["--sysctl", "a"], "invalid argument \"a\" for \"--sysctl\" flag: sysctl 'a' is not allowed"),
        (&["--storage-opt", "a"], "invalid storage option"),
        (&["--link", "a:b:c"], "invalid argument \"a:b:c\" for \"--link\" flag: bad format for links: a:b:c"),
        (
            &["-a", "foo"],
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
        (&["--mac-address", "zz"], "zz is not a valid mac address"),
        (&["--env-file", "/nosuch"], "open /nosuch: no such file or directory"),
    ];
    for (words, message) in cases {
        let mut words = words.to_vec();
        words.push("busybox");
        assert_eq!(body(&words).unwrap_err().to_string(), *message);
    }
}

#[test]
fn proxy_variables_yield_to_given_ones() {
    let words = ["-e".to_owned(), "HTTP_PROXY=mine".to_owned(), "image".to_owned()];
    let matches = parse(&[FLAGS], &words, false).unwrap();
    let proxy = [("HTTP_PROXY".to_owned(), "p".to_owned()), ("NO_PROXY".to_owned(), "n".to_owned())];
    let body = build(&matches, &proxy).unwrap();
    assert_eq!(body.config.env, Some(vec!["NO_PROXY=n".to_owned(), "HTTP_PROXY=mine".to_owned()]));
}
