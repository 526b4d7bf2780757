//! `hack/bench`: the engine beside Debian's crun, runc and dockerd on this machine, in one run, taken in turns.
//! Figures of a busy machine say little; their ratios within one run do.
#![expect(clippy::print_stdout, reason = "a program whose result is what it prints")]

mod builds;
mod engines;
mod kubelet;
mod measure;
mod memory;
mod pods;
mod report;
mod runtimes;

use report::Report;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let mut report = Report::new();
    if chosen("runtime") {
        runtimes::create_start_delete(&mut report);
    }
    if ["run", "exec", "parallel", "memory", "ps", "pull", "cri", "build"].into_iter().any(chosen) {
        engines::compare(&mut report, &chosen);
    }
    if chosen("pods") {
        pods::compare(&mut report);
    }
    if chosen("kubelet") {
        kubelet::load(&mut report);
    }
    println!("{}", report.summary());
}
