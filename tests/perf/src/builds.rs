//! Building images: five steps with and without cache, and a context of many files twice, beside dockerd's classic
//! builder and its BuildKit.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::engines::Side;
use crate::measure::{Series, time};
use crate::report::Report;

const ROUNDS: usize = 5;
const FILES: usize = 20_000;
const FILE_BYTES: usize = 1024;
const FIVE_STEPS: &str = "FROM busybox\nRUN echo 1 > /1\nCOPY file /file\nRUN cat /file > /2\nRUN mkdir /d && echo 3 > /d/3\n\
    RUN rm /1\nCMD [\"true\"]\n";

/// Debian's docker CLI, which has a BuildKit client built in.
const DEBIAN_CLI: &str = "/usr/bin/docker";

/// An engine, the client that it is asked with, and whether that speaks BuildKit.
struct Way<'s> {
    name: &'static str,
    side: &'s Side,
    client: PathBuf,
    buildkit: &'static str,
}

impl Way<'_> {
    fn build(&self, context: &Path, args: &[&str]) -> Command {
        let mut command = self.side.client(&self.client, &["build", "-q", "-t", "bench-build"]);
        command.env("DOCKER_BUILDKIT", self.buildkit).args(args).arg(context);
        command
    }
}

/// All rows.
pub(crate) fn compare(report: &mut Report, ours: &Side, dockerd: &Side) {
    let ways = [
        Way { name: "docker CLI on gantryd, classic", side: ours, client: "docker".into(), buildkit: "0" },
        Way { name: "docker CLI on dockerd 20.10, classic", side: dockerd, client: "docker".into(), buildkit: "0" },
        Way {
            name: "docker 20.10 on dockerd 20.10, BuildKit",
            side: dockerd,
            client: DEBIAN_CLI.into(),
            buildkit: "1",
        },
    ];
    let context = ours.world.dir().join("five");
    std::fs::create_dir_all(&context).expect("a context");
    std::fs::write(context.join("Dockerfile"), FIVE_STEPS).expect("a Dockerfile");
    std::fs::write(context.join("file"), "a file\n").expect("a file");
    let fresh = in_turns(&ways, &context, &["--no-cache"]);
    let cached = in_turns(&ways, &context, &[]);
    show(report, "five steps without cache", &ways, &fresh, 3.0);
    show(report, "the same again, all of it cached", &ways, &cached, 5.0);
    many_files(report, &ways);
}

/// The same build in each way, in turns; the first round is not counted.
fn in_turns(ways: &[Way<'_>; 3], context: &Path, args: &[&str]) -> [Series; 3] {
    let mut series: [Series; 3] = Default::default();
    for round in 0..=ROUNDS {
        for (way, series) in ways.iter().zip(&mut series) {
            let mut discarded = Series::default();
            let target = if round == 0 { &mut discarded } else { series };
            time(target, &way.side.meter, way.build(context, args));
        }
    }
    series
}

fn show(report: &mut Report, what: &str, ways: &[Way<'_>; 3], series: &[Series; 3], times: f64) {
    report.heading(&format!("build: {what}"));
    for (way, one) in ways.iter().zip(series) {
        report.row(way.name, one, &series[1]);
    }
    for (way, peer) in ways.iter().zip(series).skip(1) {
        let ratio = peer.median() / series[0].median();
        let budget = format!("{what}: at most 1/{times} of {}", way.name);
        report.budget(&budget, &format!("1/{ratio:.1}"), ratio >= times);
    }
}

/// A context of many files, sent for the first time and again after one of them has changed.
fn many_files(report: &mut Report, ways: &[Way<'_>; 3]) {
    let context = ways[0].side.world.dir().join("many");
    for n in 0..FILES {
        let dir = context.join(format!("d{}", n / 200));
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join(format!("f{n}")), vec![b'x'; FILE_BYTES]).expect("a file");
    }
    std::fs::write(context.join("Dockerfile"), "FROM busybox\nCOPY . /all/\n").expect("a Dockerfile");
    let mut first: [Series; 3] = Default::default();
    let mut second: [Series; 3] = Default::default();
    for (n, way) in ways.iter().enumerate() {
        std::fs::write(context.join("changes"), format!("first {n}")).expect("a file");
        time(&mut first[n], &way.side.meter, way.build(&context, &[]));
        std::fs::write(context.join("changes"), format!("second {n}")).expect("a file");
        time(&mut second[n], &way.side.meter, way.build(&context, &[]));
    }
    for (what, series) in [("sent", &first), ("sent again, one changed", &second)] {
        report.heading(&format!("build: a context of {FILES} files, {what}"));
        for (way, one) in ways.iter().zip(series) {
            report.row(way.name, one, &series[1]);
        }
    }
}
