//! Builds from elsewhere: `ADD` of addresses and repositories, and contexts that the daemon itself fetches.

use testkit::{World, http};

use crate::build::{build, context, docker, remove_all};
use crate::client::world_with_busybox;

/// A web server on port 8099 and a repository at `git://127.0.0.1/repo`, both in the world; answers the digest of
/// `file.txt`.
fn serve(world: &World) -> String {
    let alone = "FROM busybox\nRUN echo alone > /said\nCMD cat /said\n";
    let web = context(world, "web", &[("file.txt", "from afar\n"), ("Dockerfile.txt", alone)]);
    let part = "FROM busybox\nCOPY said /said\nCMD cat /said\n";
    let files = [("Dockerfile", part), ("said", "whole\n"), ("part/Dockerfile", part), ("part/said", "a part\n")];
    let repository = context(world, "git/repo", &files);
    std::os::unix::fs::symlink("../..", repository.join("out")).expect("a symlink");
    let base = repository.parent().expect("its parent").display().to_string();
    let (web, repository) = (web.display(), repository.display());
    world.sh(&format!(
        "tar -C {repository} -czf {web}/context.tar.gz Dockerfile said
         busybox httpd -p 127.0.0.1:8099 -h {web}
         cd {repository}; export HOME={base} GIT_CONFIG_NOSYSTEM=1
         git init -q -b main; git add -A; git -c user.name=x -c user.email=x@example.com commit -qm first
         git -c safe.directory='*' daemon --detach --export-all --base-path={base} --listen=127.0.0.1"
    ));
    let sum = world.sh(&format!("sha256sum {web}/file.txt"));
    sum.split_whitespace().next().expect("a digest").to_owned()
}

#[test]
fn an_image_is_imported_from_an_address() {
    let world = world_with_busybox();
    serve(&world);
    let before = world.census();
    docker(&world, "import http://127.0.0.1:8099/context.tar.gz imported:1");
    docker(&world, "create --name files imported:1 none");
    assert!(
        world.sh(&format!("docker -H unix://{} cp files:/said - | tar -xO", world.docker_socket().display()))
            == "whole"
    );
    assert!(world.docker(["import", "http://127.0.0.1:8099/nothing", "never"]).failure().contains("404"));
    // docker's client takes what has no scheme that it knows for files; the API does not.
    let import = |from: &str| http::request(&world.docker_socket(), "POST", &format!("/images/create?{from}"), b"");
    assert_eq!(import("fromSrc=127.0.0.1%3A8099/context.tar.gz&repo=imported&tag=2").status, 200);
    assert!(import("fromSrc=ftp%3A//127.0.0.1/x").message().contains("only http and https"));
    docker(&world, "rm files");
    remove_all(&world);
    world.assert_nothing_left(&before);
}

/// `POST /build?remote=…`, as client libraries send it; answers the last line.
fn build_remote(world: &World, remote: &str) -> String {
    let path = format!("/build?t=remote:1&remote={}", remote.replace('#', "%23").replace(':', "%3A"));
    let answer = http::request_with(&world.docker_socket(), "POST", &path, &[], b"");
    String::from_utf8_lossy(&answer.body).lines().last().unwrap_or_default().to_owned()
}

#[test]
fn addresses_and_repositories_are_fetched() {
    let world = world_with_busybox();
    let digest = serve(&world);
    let before = world.census();
    let dockerfile = format!(
        "FROM busybox\nADD --checksum=sha256:{digest} http://127.0.0.1:8099/file.txt /added/\n\
         ADD http://127.0.0.1:8099/context.tar.gz /packed/\nADD git://127.0.0.1/repo#main:part /part\n\
         CMD cat /added/file.txt /part/said; ls -a /packed /part; stat -c %a /added/file.txt\n"
    );
    let dir = context(&world, "adding", &[("Dockerfile", &dockerfile)]);
    build(&world, &dir, &["-t", "added"]).ok();
    let found = docker(&world, "run --rm added");
    assert_eq!(
        found, "from afar\na part\n/packed:\n.\n..\ncontext.tar.gz\n\n/part:\n.\n..\nDockerfile\nsaid\n600",
        "an archive from an address is not unpacked, and .git is left out"
    );
    for (instruction, why) in [
        (format!("ADD --checksum=sha256:{} http://127.0.0.1:8099/file.txt /x", "0".repeat(64)), "digest mismatch"),
        ("ADD http://127.0.0.1:8099/nothing /x".to_owned(), "404"),
        ("ADD http://127.0.0.1:8098/nobody /x".to_owned(), "127.0.0.1:8098"),
        ("ADD git://127.0.0.1/repo#main:../../etc /x".to_owned(), "invalid subdirectory"),
        ("ADD git://127.0.0.1/repo#main:.git /x".to_owned(), "invalid subdirectory"),
        ("ADD git://127.0.0.1/repo#nosuch /x".to_owned(), "nosuch"),
    ] {
        let dir = context(&world, "wrong", &[("Dockerfile", &format!("FROM busybox\n{instruction}\n"))]);
        let failed = build(&world, &dir, &["-t", "never"]);
        assert!(failed.failure().contains(why), "{instruction}: {failed}");
    }
    remove_all(&world);
    world.assert_nothing_left(&before);
}

#[test]
fn contexts_come_from_addresses_and_repositories() {
    let world = world_with_busybox();
    serve(&world);
    let before = world.census();
    for (remote, said) in [
        ("http://127.0.0.1:8099/context.tar.gz", "whole"),
        ("http://127.0.0.1:8099/Dockerfile.txt", "alone"),
        ("git://127.0.0.1/repo", "whole"),
        ("git://127.0.0.1/repo#main:part", "a part"),
        // CVE-2026-33748: a symlink out of the repository ends at its root.
        ("git://127.0.0.1/repo#main:out", "whole"),
    ] {
        let last = build_remote(&world, remote);
        assert!(last.contains("Successfully tagged remote:1"), "{remote}: {last}");
        assert_eq!(docker(&world, "run --rm remote:1"), said, "{remote}");
    }
    for (remote, why) in [
        ("git://127.0.0.1/repo#main:out/etc", "invalid subdirectory"),
        ("ftp://127.0.0.1/x", "neither a URL nor a repository"),
        ("http://127.0.0.1:8099/nothing", "404"),
    ] {
        let last = build_remote(&world, remote);
        assert!(last.contains(why), "{remote}: {last}");
    }
    remove_all(&world);
    world.assert_nothing_left(&before);
}
