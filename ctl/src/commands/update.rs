//! `gantry update`.

use serde_json::{Map, Value, json};

use crate::cli::{ANY, Command};
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches};
use crate::output::{eprintln, println};
use crate::units::{parse_bytes, parse_nano_cpus};

pub(crate) static COMMAND: Command = Command {
    about: "Update configuration of one or more containers",
    usage: "CONTAINER [CONTAINER...]",
    arguments: (1, ANY),
    flags: &[&[
        Flag::text("blkio-weight", "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)")
            .named("uint16")
            .check(crate::flags::values::uint16),
        Flag::int("cpu-period", "Limit CPU CFS (Completely Fair Scheduler) period"),
        Flag::int("cpu-quota", "Limit CPU CFS (Completely Fair Scheduler) quota"),
        Flag::int("cpu-rt-period", "Limit the CPU real-time period in microseconds"),
        Flag::int("cpu-rt-runtime", "Limit the CPU real-time runtime in microseconds"),
        Flag::int("cpu-shares", "CPU shares (relative weight)").short('c'),
        Flag::text("cpus", "Number of CPUs").named("decimal"),
        Flag::text("cpuset-cpus", "CPUs in which to allow execution (0-3, 0,1)"),
        Flag::text("cpuset-mems", "MEMs in which to allow execution (0-3, 0,1)"),
        Flag::bytes("memory", "Memory limit").short('m'),
        Flag::bytes("memory-reservation", "Memory soft limit"),
        Flag::text("memory-swap", "Swap limit equal to memory plus swap: -1 to enable unlimited swap").named("bytes"),
        Flag::int("pids-limit", "Tune container pids limit (set -1 for unlimited)"),
        Flag::text("restart", "Restart policy to apply when a container exits"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let body = body(matches)?;
    if body.is_empty() {
        return Err(Error::message("you must provide one or more flags when using this command"));
    }
    let mut failures = Vec::new();
    for name in &matches.args {
        match context.client.post_json(&Path::of("containers", name, "update")?, &body).await {
            Ok(answer) => {
                for warning in answer.field("Warnings").items() {
                    eprintln(warning.as_str());
                }
                println(name)?;
            }
            Err(error) => failures.push(error.to_string()),
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(Error::Message(failures.join("\n"))) }
}

/// Only what was typed.
fn body(matches: &Matches) -> Result<Map<String, Value>> {
    let mut body = Map::new();
    let numbers = [
        ("blkio-weight", "BlkioWeight"),
        ("cpu-period", "CpuPeriod"),
        ("cpu-quota", "CpuQuota"),
        ("cpu-rt-period", "CpuRealtimePeriod"),
        ("cpu-rt-runtime", "CpuRealtimeRuntime"),
        ("cpu-shares", "CpuShares"),
        ("pids-limit", "PidsLimit"),
    ];
    for (flag, field) in numbers.into_iter().filter(|(flag, _)| matches.given(flag)) {
        body.insert(field.to_owned(), json!(matches.int(flag)));
    }
    for (flag, field) in [("cpuset-cpus", "CpusetCpus"), ("cpuset-mems", "CpusetMems")] {
        if matches.given(flag) {
            body.insert(field.to_owned(), json!(matches.text(flag)));
        }
    }
    let sizes = [("memory", "Memory"), ("memory-reservation", "MemoryReservation"), ("memory-swap", "MemorySwap")];
    for (flag, field) in sizes.into_iter().filter(|(flag, _)| matches.given(flag)) {
        let text = matches.text(flag);
        let bytes = if text == "-1" { -1 } else { parse_bytes(text).map_err(Error::Message)? };
        body.insert(field.to_owned(), json!(bytes));
    }
    if matches.given("cpus") {
        body.insert("NanoCpus".to_owned(), json!(parse_nano_cpus(matches.text("cpus")).map_err(Error::Message)?));
    }
    if let Some(policy) = matches.optional("restart") {
        let (name, count) = policy.split_once(':').unwrap_or((policy, "0"));
        let count: i64 = count.parse().map_err(|_| {
            Error::message(format!("invalid restart policy format: {policy:?}: maximum retry count must be an integer"))
        })?;
        body.insert("RestartPolicy".to_owned(), json!({"Name": name, "MaximumRetryCount": count}));
    }
    Ok(body)
}
