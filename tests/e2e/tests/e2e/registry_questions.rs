//! What registries are asked beside pull and push: credentials, search, what an image is; and indexes that stay whole.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use testkit::command::run_with;
use testkit::http::request_with;
use testkit::image::{digest_of, sample};
use testkit::registry::{ADDRESS, PRIVATE_ADDRESS, USER};
use testkit::{World, wait};

use crate::client::{Client, world_with_busybox};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

#[test]
fn credentials_are_checked_and_used() {
    let mut world = world_with_busybox();
    world.private_registry();
    let docker = |line: &str| Client::Docker.line(&world, line);
    let login = |password: &str| {
        let args = ["login", PRIVATE_ADDRESS, "-u", USER.0, "--password-stdin"];
        Client::Docker.fed(&world, &args, password.as_bytes())
    };
    let name = format!("{PRIVATE_ADDRESS}/team/box:1");
    docker(&format!("tag busybox {name}")).ok();
    let refused = docker(&format!("push -q {name}"));
    assert!(refused.failure().contains("denied"), "{refused}");

    let wrong = login("open barley");
    assert!(wrong.failure().contains("unauthorized"), "{wrong}");
    assert!(login(USER.1).ok().contains("Login Succeeded"));
    docker(&format!("push -q {name}")).ok();
    docker(&format!("rmi {name}")).ok();
    docker(&format!("pull -q {name}")).ok();

    // The API alone, with the header that clients send.
    let auth = json!({ "username": USER.0, "password": USER.1, "serveraddress": PRIVATE_ADDRESS }).to_string();
    let header = base64::engine::general_purpose::URL_SAFE.encode(auth);
    let path = format!("/distribution/{name}/json");
    let ask = |headers: &[(&str, &str)]| request_with(&world.docker_socket(), "GET", &path, headers, b"");
    let known = ask(&[("X-Registry-Auth", &header)]);
    assert!(known.json()["Descriptor"]["digest"].as_str().is_some_and(|d| d.starts_with("sha256:")), "{known:?}");
    assert_eq!(ask(&[]).status, 401);

    docker(&format!("logout {PRIVATE_ADDRESS}")).ok();
    docker(&format!("rmi {name}")).ok();
    let refused = docker(&format!("pull -q {name}"));
    assert!(refused.failure().contains("pull access denied"), "{refused}");
}

/// Two platforms and an attestation in one index, as an OCI layout with the tag `two`. Answers the index.
fn two_platforms(layout: &Path) -> Vec<u8> {
    std::fs::create_dir_all(layout).expect("layout");
    let entry = |image: testkit::image::Image, architecture: &str| {
        image.write_oci(layout, "one");
        let text = std::fs::read(layout.join("index.json")).expect("index.json");
        let mut entry = serde_json::from_slice::<Value>(&text).expect("JSON")["manifests"][0].take();
        entry["annotations"] = json!({});
        entry["platform"] = json!({ "os": "linux", "architecture": architecture });
        entry
    };
    let host = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
    let (first, second) = (entry(sample::busybox(), host.0), entry(sample::layered(2), host.1));
    let put = |bytes: &[u8], kind: &str| {
        let digest = digest_of(bytes);
        std::fs::write(layout.join("blobs/sha256").join(&digest[7..]), bytes).expect("blob");
        json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
    };
    let statement = put(br#"{"_type":"https://in-toto.io/Statement/v0.1"}"#, "application/vnd.in-toto+json");
    let config = put(
        br#"{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":[]}}"#,
        "application/vnd.oci.image.config.v1+json",
    );
    let attested = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [statement] });
    let mut attestation = put(attested.to_string().as_bytes(), OCI_MANIFEST);
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = json!({
        "vnd.docker.reference.type": "attestation-manifest",
        "vnd.docker.reference.digest": first["digest"],
    });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [first, second, attestation] });
    let index = index.to_string().into_bytes();
    let mut top = put(&index, OCI_INDEX);
    top["annotations"] = json!({ "org.opencontainers.image.ref.name": "two" });
    let text = json!({ "schemaVersion": 2, "manifests": [top] }).to_string();
    std::fs::write(layout.join("index.json"), text).expect("index.json");
    index
}

#[test]
fn an_index_stays_whole_from_registry_to_registry() {
    let mut world = World::start();
    world.registry();
    let before = world.census();
    let layout = world.dir().join("two-platforms");
    let index = two_platforms(&layout);
    let mut skopeo = world.enter("skopeo");
    skopeo.args(["copy", "--quiet", "--all", "--insecure-policy", "--dest-tls-verify=false"]);
    skopeo.args([format!("oci:{}:two", layout.display()), format!("docker://{ADDRESS}/team/two:1")]);
    run_with(skopeo, b"").ok();
    let docker = |line: &str| Client::Docker.line(&world, line).ok();
    docker(&format!("pull -q {ADDRESS}/team/two:1"));
    assert_eq!(docker(&format!("run --rm {ADDRESS}/team/two:1 echo it runs")), "it runs");
    docker(&format!("tag {ADDRESS}/team/two:1 {ADDRESS}/other/two:2"));
    let said = docker(&format!("push {ADDRESS}/other/two:2"));
    let mut raw = world.enter("skopeo");
    raw.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{ADDRESS}/other/two:2")]);
    let pushed = run_with(raw, b"").ok();
    assert_eq!(digest_of(pushed.as_bytes()), digest_of(&index), "{said}\n{pushed}");
    // All of it is there: another client takes every platform and the attestation.
    let mut all = world.enter("skopeo");
    all.args(["copy", "--quiet", "--all", "--insecure-policy", "--src-tls-verify=false"]);
    all.args([format!("docker://{ADDRESS}/other/two:2"), format!("oci:{}:back", world.dir().join("back").display())]);
    run_with(all, b"").ok();

    let asked =
        request_with(&world.docker_socket(), "GET", &format!("/distribution/{ADDRESS}/other/two:2/json"), &[], b"");
    let told = asked.json();
    assert_eq!(
        (&told["Descriptor"]["mediaType"], &told["Descriptor"]["digest"]),
        (&json!(OCI_INDEX), &json!(digest_of(&index)))
    );
    assert_eq!(told["Platforms"].as_array().map(Vec::len), Some(3), "{told}");
    one_platform(&world);
    docker(&format!("rmi {ADDRESS}/single/two:1"));
    docker(&format!("rmi {ADDRESS}/team/two:1 {ADDRESS}/other/two:2"));
    for name in ["team/two", "other/two"] {
        // The names by digest that a pull and a push leave.
        let _ = Client::Docker.line(&world, &format!("rmi {ADDRESS}/{name}@{}", digest_of(&index)));
    }
    world.assert_nothing_left(&before);
}

/// Query `platform`: this machine's manifest alone is pushed; another platform is told as not there.
fn one_platform(world: &World) {
    Client::Docker.line(world, &format!("tag {ADDRESS}/team/two:1 {ADDRESS}/single/two:1")).ok();
    let of = |architecture: &str| format!("%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22{architecture}%22%7D");
    let (ours, other) = if cfg!(target_arch = "x86_64") { ("amd64", "arm64") } else { ("arm64", "amd64") };
    let ask = |method: &str, path: &str| request_with(&world.docker_socket(), method, path, &[], b"");
    let push = |architecture: &str| {
        ask("POST", &format!("/images/{ADDRESS}/single/two/push?tag=1&platform={}", of(architecture)))
    };
    let refused = push(other);
    assert!(
        refused.status == 404 && refused.message().contains("does not provide the specified platform"),
        "{refused:?}"
    );
    assert_eq!(push(ours).status, 200);
    let mut raw = world.enter("skopeo");
    raw.args(["inspect", "--raw", "--tls-verify=false", &format!("docker://{ADDRESS}/single/two:1")]);
    let manifest: Value = serde_json::from_str(&run_with(raw, b"").ok()).expect("a manifest");
    assert!(manifest["layers"].is_array() && manifest["manifests"].is_null(), "{manifest}");
    let save =
        |architecture: &str| ask("GET", &format!("/images/{ADDRESS}/team/two:1/get?platform={}", of(architecture)));
    assert_eq!((save(ours).status, save(other).status), (200, 404));
}

/// A registry's search of version 1, as far as `GET /v1/search` goes: busybox's httpd serves the answer.
fn serve_search(world: &World) {
    let root = world.dir().join("index/v1");
    std::fs::create_dir_all(&root).expect("the index");
    let answer = json!({ "num_results": 2, "results": [
        { "name": "team/web", "description": "serves pages", "star_count": 7, "is_official": false },
        { "name": "web", "description": null, "star_count": 900, "is_official": true },
    ]});
    std::fs::write(root.join("search"), answer.to_string()).expect("the answer");
    let listen = format!("busybox httpd -p 127.0.0.1:5002 -h {}", root.parent().expect("parent").display());
    world.sh(&listen);
    wait::until("the index", Duration::from_secs(10), || {
        world.sh("busybox wget -q -O - http://127.0.0.1:5002/v1/search || true").contains("results").then_some(())
    });
}

#[test]
fn registries_are_searched_where_they_offer_it() {
    let mut world = World::start();
    world.registry();
    serve_search(&world);
    let docker = |args: &[&str]| Client::Docker.args(&world, args);
    let format = "{{.Name}} {{.StarCount}} {{.IsOfficial}}";
    let found = docker(&["search", "--format", format, "127.0.0.1:5002/web"]).ok();
    assert_eq!(found.lines().map(str::trim).collect::<Vec<_>>(), ["team/web 7", "web 900 [OK]"]);
    let official =
        docker(&["search", "--format", "{{.Name}}", "--filter", "is-official=true", "127.0.0.1:5002/web"]).ok();
    assert_eq!(official, "web");
    let many = docker(&["search", "--format", "{{.Name}}", "--filter", "stars=100", "127.0.0.1:5002/web"]).ok();
    assert_eq!(many, "web");
    assert_eq!(docker(&["search", "--limit", "1", "--format", "{{.Name}}", "127.0.0.1:5002/web"]).ok(), "team/web");

    let none = docker(&["search", &format!("{ADDRESS}/web")]);
    assert!(none.failure().contains("offers no search"), "{none}");
    let nobody = docker(&["search", "127.0.0.1:5009/web"]);
    assert!(nobody.failure().contains("127.0.0.1:5009"), "{nobody}");
    let wrong = docker(&["search", "https://127.0.0.1:5002/web"]);
    assert!(wrong.failure().contains("a term has no scheme"), "{wrong}");
    let range = docker(&["search", "--limit", "101", "127.0.0.1:5002/web"]);
    assert!(range.failure().contains("outside the range of [1, 100]"), "{range}");
}
