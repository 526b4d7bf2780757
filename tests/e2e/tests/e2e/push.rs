//! `push` to Debian's registry: what was pulled keeps its bytes, what was made here is compressed once, what a neighbour
//! has is linked.

use testkit::World;
use testkit::image::sample;

use crate::client::{Client, with_both_clients};

with_both_clients!(a_pulled_image_keeps_its_digest, a_committed_image_comes_back, what_cannot_be_pushed_is_told,);

fn remove_all(client: Client, world: &World) {
    for image in client.line(world, "images -q --no-trunc").ok().lines().collect::<std::collections::BTreeSet<_>>() {
        client.args(world, &["rmi", "-f", image]).ok();
    }
}

fn a_pulled_image_keeps_its_digest(client: Client) {
    let mut world = World::start();
    let source = world.registry().push(&sample::layered(3), "team/source:1");
    let before = world.census();
    client.args(&world, &["pull", "-q", &source]).ok();
    let digest = |name: &str| {
        let said = client.args(&world, &["image", "inspect", "-f", "{{json .RepoDigests}}", &source]).ok();
        let digests: Vec<String> = serde_json::from_str(&said).expect("a list");
        let found = digests.iter().find_map(|d| d.strip_prefix(&format!("{name}@")).map(str::to_owned));
        found.unwrap_or_else(|| panic!("{name} in {digests:?}"))
    };
    let pulled = digest("127.0.0.1:5000/team/source");
    let target = "127.0.0.1:5000/other/copy:2";
    client.args(&world, &["tag", &source, target]).ok();
    let said = client.args(&world, &["push", target]).ok();
    assert!(said.contains("The push refers to repository [127.0.0.1:5000/other/copy]"), "{said}");
    assert!(said.contains(&format!("2: digest: {pulled}")), "{pulled} in {said}");
    assert_eq!(digest("127.0.0.1:5000/other/copy"), pulled, "the same bytes");
    // Once more: everything is there.
    let again = client.args(&world, &["push", target]).ok();
    assert!(again.contains("Layer already exists") && !again.contains("Pushed"), "{again}");
    client.args(&world, &["rmi", &source, target]).ok();
    client.args(&world, &["run", "--rm", target, "true"]).ok();
    remove_all(client, &world);
    world.assert_nothing_left(&before);
}

fn a_committed_image_comes_back(client: Client) {
    let mut world = World::start();
    let source = world.registry().push(&sample::busybox(), "team/source:1");
    let before = world.census();
    let script = "echo made > /made; dd if=/dev/urandom of=/random bs=1M count=9 2>/dev/null; sha256sum /random";
    let sum = client.args(&world, &["run", "--name", "box", &source, "sh", "-c", script]).ok();
    client.args(&world, &["commit", "box", "127.0.0.1:5000/team/made:1"]).ok();
    client.args(&world, &["tag", "127.0.0.1:5000/team/made:1", "127.0.0.1:5000/team/made:2"]).ok();
    client.line(&world, "rm box").ok();
    let said = client.args(&world, &["push", "--all-tags", "127.0.0.1:5000/team/made"]).ok();
    assert!(said.contains("1: digest: sha256:") && said.contains("2: digest: sha256:"), "{said}");
    remove_all(client, &world);
    let back =
        client.args(&world, &["run", "--rm", "127.0.0.1:5000/team/made:2", "sh", "-c", "sha256sum /random; cat /made"]);
    assert_eq!(back.ok(), format!("{sum}\nmade"));
    remove_all(client, &world);
    world.assert_nothing_left(&before);
}

fn what_cannot_be_pushed_is_told(client: Client) {
    let mut world = World::start();
    let source = world.registry().push(&sample::busybox(), "team/source:1");
    client.args(&world, &["pull", "-q", &source]).ok();
    let before = world.census();
    let unknown = client.args(&world, &["push", "127.0.0.1:5000/no/such:1"]);
    assert!(unknown.failure().contains("127.0.0.1:5000/no/such"), "{unknown}");
    client.args(&world, &["tag", &source, "127.0.0.1:5999/down:1"]).ok();
    let down = client.args(&world, &["push", "127.0.0.1:5999/down:1"]);
    assert!(down.failure().contains("refused"), "{down}");
    client.args(&world, &["rmi", "127.0.0.1:5999/down:1"]).ok();
    world.assert_nothing_left(&before);
}
