//! What a client does by itself: contexts, connections over ssh and TLS, credentials; and `system prune`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use testkit::command::run_with;
use testkit::daemon::{EngineKind, gantry_config, program};
use testkit::image::sample;
use testkit::{Run, World};

use crate::client::{Client, load, with_both_clients, world_with_busybox};

with_both_clients!(
    contexts_lead_to_daemons,
    ssh_reaches_a_daemon_through_a_client_there,
    credentials_are_kept_as_docker_keeps_them,
    system_prune_takes_what_is_unused,
);

/// Runs a client as a user would: no DOCKER_HOST goes before the contexts.
fn plain(client: Client, world: &World, args: &[&str]) -> Run {
    let mut command = client.command(world);
    command.args(args).env_remove("DOCKER_HOST");
    run_with(command, b"")
}

fn search_path() -> String {
    std::env::var("PATH").expect("PATH")
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).expect("a script");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("executable");
}

/// What one client does the other sees: they share the store.
fn contexts_lead_to_daemons(client: Client) {
    let world = world_with_busybox();
    let other = if client == Client::Docker { Client::Gantry } else { Client::Docker };
    let host = format!("host=unix://{}", world.docker_socket().display());
    plain(client, &world, &["context", "create", "near", "--description", "this one", "--docker", &host]).ok();
    plain(client, &world, &["context", "create", "nowhere", "--docker", "host=tcp://127.0.0.1:9"]).ok();
    let listed = plain(other, &world, &["context", "ls", "--format", "{{.Name}} {{.Current}} {{.Description}}"]).ok();
    assert!(listed.contains("near false this one\n") && listed.contains("nowhere false"), "{listed}");

    assert_eq!(plain(client, &world, &["--context", "near", "ps", "-q"]).ok(), "");
    assert!(!plain(client, &world, &["--context", "nowhere", "ps", "-q"]).status.success());
    assert!(!plain(client, &world, &["--context", "lost", "ps", "-q"]).status.success());
    plain(client, &world, &["context", "use", "near"]).ok();
    assert_eq!(plain(other, &world, &["context", "show"]).ok().trim(), "near");
    assert_eq!(plain(other, &world, &["ps", "-q"]).ok(), "");

    let archive = world.dir().join("near.tar");
    plain(client, &world, &["context", "export", "near", archive.to_str().expect("text")]).ok();
    plain(other, &world, &["context", "import", "copy", archive.to_str().expect("text")]).ok();
    let shown = ["context", "inspect", "--format", "{{.Name}} {{.Endpoints.docker.Host}}", "copy"];
    let expected = format!("copy unix://{}", world.docker_socket().display());
    assert_eq!(plain(client, &world, &shown).ok().trim(), expected);
    plain(client, &world, &["context", "update", "copy", "--docker", "host=tcp://127.0.0.1:9"]).ok();
    assert_eq!(plain(other, &world, &shown).ok().trim(), "copy tcp://127.0.0.1:9");

    let refused = plain(client, &world, &["context", "rm", "near"]);
    assert!(refused.stderr.contains("\"near\" is in use"), "{refused}");
    plain(client, &world, &["context", "rm", "-f", "near", "nowhere", "copy"]).ok();
    assert_eq!(plain(other, &world, &["context", "ls", "-q"]).ok().trim(), "default");
}

/// The remote's shell is this machine's: its ssh daemon is played by a script.
fn ssh_reaches_a_daemon_through_a_client_there(client: Client) {
    let world = world_with_busybox();
    let bin = world.dir().join("bin");
    fs::create_dir(&bin).expect("a folder");
    let log = world.dir().join("ssh.log");
    // As ssh does, the words behind the host are joined and given to a shell.
    script(
        &bin.join("ssh"),
        &format!(
            "#!/bin/sh\necho \"$@\" >> {log}\nwhile [ \"$1\" != far.example ]; do shift; done\nshift\n\
             export DOCKER_HOST=unix://{socket}\nexec sh -c \"$*\"\n",
            log = log.display(),
            socket = world.docker_socket().display()
        ),
    );
    let path = format!("{}:{}:{}", bin.display(), program("gantry").parent().expect("folder").display(), search_path());
    let over_ssh = |args: &[&str], input: &[u8]| {
        let mut command = client.command(&world);
        command.args(["-H", "ssh://me@far.example:2222"]).args(args).env("PATH", &path).env_remove("DOCKER_HOST");
        run_with(command, input)
    };
    assert_eq!(over_ssh(&["run", "-i", "--name", "far", "busybox", "cat"], b"through ssh\n").ok(), "through ssh");
    assert_eq!(over_ssh(&["logs", "far"], b"").ok(), "through ssh");
    over_ssh(&["rm", "far"], b"").ok();
    let called = fs::read_to_string(&log).expect("ssh was called");
    let first = called.lines().next().expect("a call");
    assert!(first.contains("-l me") && first.contains("-p 2222") && first.contains("system dial-stdio"), "{first}");
}

/// A registry that wants `user:secret` and has nothing else.
fn strict_registry(world: &World) {
    let listener = world.in_network(|| TcpListener::bind("127.0.0.1:5055")).expect("bind");
    // It ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                head.push(byte[0]);
            }
            // user:secret
            let known = String::from_utf8_lossy(&head).contains("Basic dXNlcjpzZWNyZXQ=");
            let status = if known { "200 OK" } else { "401 Unauthorized" };
            let challenge = "Www-Authenticate: Basic realm=\"r\"\r\nDocker-Distribution-Api-Version: registry/2.0";
            let body = if known { "{}" } else { r#"{"errors":[{"code":"UNAUTHORIZED","message":"no"}]}"# };
            let answer = format!(
                "HTTP/1.1 {status}\r\n{challenge}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
                 Connection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

fn credentials_are_kept_as_docker_keeps_them(client: Client) {
    const SERVER: &str = "127.0.0.1:5055";
    let world = world_with_busybox();
    strict_registry(&world);
    let login = ["login", "-u", "user", "--password-stdin", SERVER];
    let refused = client.fed(&world, &login, b"wrong\n");
    assert!(!refused.status.success(), "{refused}");
    let path = world.dir().join("docker-config/config.json");
    assert!(!fs::read_to_string(&path).unwrap_or_default().contains(SERVER), "nothing is kept of a refused login");

    let done = client.fed(&world, &login, b"secret\n");
    assert!(done.ok().contains("Login Succeeded") && done.stderr.contains("stored unencrypted"), "{done}");
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("kept")).expect("JSON");
    assert_eq!(kept["auths"][SERVER]["auth"], "dXNlcjpzZWNyZXQ=");
    assert_eq!(fs::metadata(&path).expect("kept").permissions().mode() & 0o777, 0o600);
    assert!(client.line(&world, &format!("login {SERVER}")).ok().contains("Login Succeeded"), "with what is kept");
    client.line(&world, &format!("logout {SERVER}")).ok();
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&path).expect("kept")).expect("JSON");
    assert!(kept["auths"].get(SERVER).is_none(), "{kept}");

    // A helper keeps them instead.
    let bin = world.dir().join("bin");
    fs::create_dir(&bin).expect("a folder");
    let safe = world.dir().join("safe");
    let helper = format!(
        "#!/bin/sh\ncase $1 in\nstore) cat > {safe} ;;\n\
         get) test -f {safe} || {{ echo credentials not found in native keychain; exit 1; }}; cat {safe} ;;\n\
         erase) rm -f {safe} ;;\nlist) echo '{{}}' ;;\nesac\n",
        safe = safe.display()
    );
    script(&bin.join("docker-credential-test"), &helper);
    fs::write(&path, format!("{{\"credHelpers\":{{\"{SERVER}\":\"test\"}},\"other\":1}}")).expect("configuration");
    let search = format!("{}:{}", bin.display(), search_path());
    let helped = |args: &[&str], input: &[u8]| {
        let mut command = client.command(&world);
        command.args(args).env("PATH", &search);
        run_with(command, input)
    };
    let done = helped(&login, b"secret");
    assert!(done.ok().contains("Login Succeeded") && !done.stderr.contains("unencrypted"), "{done}");
    let told: serde_json::Value = serde_json::from_slice(&fs::read(&safe).expect("stored")).expect("JSON");
    assert_eq!((&told["Username"], &told["Secret"]), (&"user".into(), &"secret".into()));
    let text = fs::read_to_string(&path).expect("configuration");
    assert!(!text.contains("dXNlcjpzZWNyZXQ="), "{text}");
    // docker's client forgets what it does not know.
    assert!(client == Client::Docker || text.contains("\"other\""), "{text}");
    assert!(helped(&["login", SERVER], b"").ok().contains("Login Succeeded"), "with what the helper keeps");
    helped(&["logout", SERVER], b"").ok();
    assert!(!safe.exists(), "the helper was told to erase it");
}

fn system_prune_takes_what_is_unused(client: Client) {
    let world = world_with_busybox();
    let before = world.census();
    client.line(&world, "run --name stopped -v /data busybox touch /data/x").ok();
    client.line(&world, "run -d --name running busybox sleep 600").ok();
    client.line(&world, "network create lonely").ok();
    client.line(&world, "volume create named").ok();
    if client == Client::Gantry {
        let told = client.line(&world, "system prune --dry-run --volumes").ok();
        assert!(told.contains("stopped") && told.contains("Exited (0)") && told.contains("lonely"), "{told}");
        assert!(!told.contains("running") && !told.contains("named") && !told.contains("busybox"), "{told}");
        let told = client.line(&world, "volume prune --all --dry-run").ok();
        assert!(told.contains("named") && told.contains("no container has it"), "{told}");
        assert!(client.line(&world, "image prune -a --dry-run").ok().contains("Nothing would be removed"));
        assert_eq!(client.line(&world, "ps -aq").ok().lines().count(), 2, "nothing was removed");
    }
    let cancelled = client.fed(&world, &["system", "prune"], b"n\n");
    assert!(cancelled.out().contains("all stopped containers"), "{cancelled}");
    let done = client.line(&world, "system prune -f --volumes").ok();
    assert!(done.contains("Deleted Containers:") && done.contains("Deleted Networks:\nlonely"), "{done}");
    assert!(done.contains("Total reclaimed space:"), "{done}");
    assert_eq!(client.args(&world, &["ps", "-a", "--format", "{{.Names}}"]).ok().trim(), "running");
    assert_eq!(client.line(&world, "volume ls -q").ok().trim(), "named");
    client.line(&world, "rm -f running").ok();
    client.line(&world, "volume rm named").ok();
    world.assert_nothing_left(&before);
}

#[test]
fn what_belongs_to_swarm_is_refused_by_the_daemon() {
    let world = world_with_busybox();
    for line in ["service ls", "node ls", "secret ls", "config ls", "stack ls"] {
        let theirs = Client::Docker.line(&world, line);
        let ours = Client::Gantry.line(&world, line);
        assert_eq!(ours.stderr.trim(), theirs.stderr.trim(), "{line}");
        assert!(!ours.status.success(), "{line}");
    }
}

/// A CA, a certificate for a daemon and one for a client, in the layout of docker's client.
fn certificates(folder: &Path) {
    fs::create_dir_all(folder).expect("a folder");
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca-key.pem -out ca.pem -days 2 \
            -subj /CN=test-ca -addext basicConstraints=critical,CA:TRUE
        for who in server client; do
            name=$who; test $who = client && name=cert
            openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $who-key.pem -out $who.csr -subj /CN=$who
            printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nextendedKeyUsage=serverAuth,clientAuth\\n' > ext
            openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile ext -out $name.pem
        done
        mv client-key.pem key.pem";
    let mut command = Command::new("sh");
    command.args(["-ec", script]).current_dir(folder);
    run_with(command, b"").ok();
}

#[test]
fn one_client_speaks_to_several_daemons() {
    let near = world_with_busybox();
    let mut far = World::bare_with(EngineKind::Gantry);
    let certs = far.dir().join("certs");
    certificates(&certs);
    let file = |name: &str| certs.join(name).display().to_string();
    let tls = format!(
        "\"tcp://127.0.0.1:2376\"]\ntls_ca = {:?}\ntls_cert = {:?}\ntls_key = {:?}\n[cri]",
        file("ca.pem"),
        file("server.pem"),
        file("server-key.pem")
    );
    let config = gantry_config(&far).replacen("\"]\n[cri]", &format!("\", {tls}"), 1);
    fs::write(far.dir().join("gantryd.toml"), config).expect("configuration");
    far.start_daemon();
    load(&far, &sample::busybox().docker_archive("busybox:latest"));
    let (near_before, far_before) = (near.census(), far.census());

    for client in [Client::Docker, Client::Gantry] {
        // Inside of the far world's network, where its port is; the near one is a path.
        let run = |args: &[&str]| {
            let shown = client.command(&near);
            let mut command = far.enter(shown.get_program());
            for (name, value) in shown.get_envs() {
                match value {
                    Some(value) if name != "DOCKER_HOST" => command.env(name, value),
                    _ => command.env_remove(name),
                };
            }
            command.args(args);
            run_with(command, b"")
        };
        let near_host = format!("host=unix://{}", near.docker_socket().display());
        let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let far_host = format!("host=tcp://127.0.0.1:2376,ca={ca},cert={cert},key={key}");
        run(&["context", "create", "near", "--docker", &near_host]).ok();
        run(&["context", "create", "far", "--docker", &far_host]).ok();
        run(&["--context", "near", "run", "-d", "--name", "here", "busybox", "sleep", "600"]).ok();
        run(&["--context", "far", "run", "-d", "--name", "there", "busybox", "sleep", "600"]).ok();
        for (context, name) in [("near", "here"), ("far", "there")] {
            let listed = run(&["--context", context, "ps", "--format", "{{.Names}}"]).ok();
            assert_eq!(listed.trim(), name, "{client:?} {context}");
        }
        assert_eq!(run(&["--context", "far", "exec", "there", "echo", "over TLS"]).ok().trim(), "over TLS");
        // Without a certificate of its own a client is nobody.
        let refused = run(&["-H", "tcp://127.0.0.1:2376", "--tlsverify", "--tlscacert", &ca, "ps"]);
        assert!(!refused.status.success(), "{refused}");
        let refused = run(&["-H", "tcp://127.0.0.1:2376", "ps"]);
        assert!(!refused.status.success(), "{refused}");
        run(&["--context", "near", "rm", "-f", "here"]).ok();
        run(&["--context", "far", "rm", "-f", "there"]).ok();
        run(&["context", "rm", "near", "far"]).ok();
    }
    far.assert_nothing_left(&far_before);
    near.assert_nothing_left(&near_before);
}
