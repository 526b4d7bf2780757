//! The two command lines that speak to the Docker door, and the macro that makes one scenario two tests.

use std::process::Command;
use std::time::Duration;

use testkit::command::run_with;
use testkit::image::sample;
use testkit::{Run, World, wait};

/// A client of the Docker door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// The unmodified docker CLI.
    Docker,
    /// Ours.
    Gantry,
}

impl Client {
    /// The client as a command without arguments.
    pub(crate) fn command(self, world: &World) -> Command {
        match self {
            Self::Docker => world.client("docker"),
            Self::Gantry => world.client(testkit::daemon::program("gantry")),
        }
    }

    /// Runs the client with a line of words; quotes are not interpreted.
    #[track_caller]
    pub(crate) fn line(self, world: &World, line: &str) -> Run {
        self.args(world, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs the client.
    #[track_caller]
    pub(crate) fn args(self, world: &World, args: &[&str]) -> Run {
        self.fed(world, args, b"")
    }

    /// Runs the client with input.
    #[track_caller]
    pub(crate) fn fed(self, world: &World, args: &[&str], stdin: &[u8]) -> Run {
        let mut command = self.command(world);
        command.args(args);
        run_with(command, stdin)
    }
}

/// Fetches the page of the sample image from inside the world.
pub(crate) fn fetch(world: &World, address: &str) {
    let script = format!("busybox wget -q -O - http://{address}/index.html || true");
    wait::until(&format!("a page from {address}"), Duration::from_secs(10), || {
        (world.sh(&script).trim() == "hello from a container").then_some(())
    });
}

/// A world with the engine and the image `busybox:latest`, loaded without a registry.
#[track_caller]
pub(crate) fn world_with_busybox() -> World {
    let world = World::start();
    load(&world, &sample::busybox().docker_archive("busybox:latest"));
    world
}

/// Loads an archive through the API.
#[track_caller]
pub(crate) fn load(world: &World, archive: &[u8]) {
    let headers = [("Content-Type", "application/x-tar")];
    let answer = testkit::http::request_with(&world.docker_socket(), "POST", "/images/load?quiet=1", &headers, archive);
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(answer.status == 200 && !body.contains("errorDetail"), "load: {} {body}", answer.status);
}

/// Makes `with_docker::<name>` and `with_gantry::<name>` of `fn <name>(client: Client)`.
macro_rules! with_both_clients {
    ($($name:ident),+ $(,)?) => {
        mod with_docker {
            $(#[test] fn $name() { super::$name(crate::client::Client::Docker) })+
        }
        mod with_gantry {
            $(#[test] fn $name() { super::$name(crate::client::Client::Gantry) })+
        }
    };
}
pub(crate) use with_both_clients;
