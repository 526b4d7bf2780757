//! `gantry stats`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use crate::cli::{ANY, Command};
use crate::client::{Client, Lines, Path};
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render, short_id};
use crate::output::template::Value;
use crate::{terminal, units};

/// How often the screen is drawn, and how often new containers are looked for.
const DRAW_EVERY: Duration = Duration::from_millis(500);
const LIST_EVERY_DRAWS: u32 = 4;

pub(crate) static COMMAND: Command = Command {
    about: "Display a live stream of container(s) resource usage statistics",
    usage: "[CONTAINER...]",
    arguments: (0, ANY),
    flags: &[&[
        Flag::switch("all", "Show all containers (default shows just running)").short('a'),
        FORMAT_TABLE,
        Flag::switch("no-stream", "Disable streaming stats and only pull the first result"),
        Flag::switch("no-trunc", "Do not truncate output"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[
    ("Container", "CONTAINER"),
    ("Name", "NAME"),
    ("ID", "CONTAINER ID"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
];

const DEFAULT: &str =
    "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// The last sample of each container, by the name it was asked for; `None` until the first.
type Samples = Rc<RefCell<BTreeMap<String, Option<Value>>>>;

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let format = matches.optional("format").unwrap_or(&context.config.stats_format).to_owned();
    let names = match matches.args.as_slice() {
        [] => list(&context.client, matches.on("all")).await?,
        names => names.to_vec(),
    };
    if matches.on("no-stream") {
        let mut rows = Vec::new();
        let samples = futures_util::future::join_all(names.iter().map(|name| sample(&context.client, name))).await;
        for (name, sample) in names.iter().zip(samples) {
            rows.push(row(name, Some(&sample?), matches.on("no-trunc")));
        }
        return print(&render(&format, DEFAULT, COLUMNS, rows)?);
    }
    for name in &matches.args {
        // A wrong name is told at once, not after the first screen.
        context.client.get_value(&Path::of("containers", name, "json")?).await?;
    }
    stream(context, matches, &format, names).await
}

async fn list(client: &Client, all: bool) -> Result<Vec<String>> {
    let containers = client.get_value(&Path::new("/containers/json").query_if("all", all)).await?;
    Ok(containers.items().iter().map(|container| short_id(container.field("Id").as_str()).to_owned()).collect())
}

async fn sample(client: &Client, name: &str) -> Result<Value> {
    client.get_value(&Path::of("containers", name, "stats")?.query("stream", "0")).await
}

async fn stream(context: &Context, matches: &Matches, format: &str, names: Vec<String>) -> Result<()> {
    let samples: Samples = Rc::default();
    let follow = |name: String| {
        if samples.borrow_mut().insert(name.clone(), None).is_none() {
            tokio::task::spawn_local(collect(Rc::clone(&context.client), Rc::clone(&samples), name));
        }
    };
    names.into_iter().for_each(follow);
    let mut draws = 0;
    loop {
        tokio::time::sleep(DRAW_EVERY).await;
        draws += 1;
        if matches.args.is_empty() && draws % LIST_EVERY_DRAWS == 0 {
            for name in list(&context.client, matches.on("all")).await? {
                if !samples.borrow().contains_key(&name) {
                    follow(name);
                }
            }
        }
        let rows: Vec<Row> =
            samples.borrow().iter().map(|(name, sample)| row(name, sample.as_ref(), matches.on("no-trunc"))).collect();
        if rows.is_empty() && !matches.args.is_empty() {
            return Ok(());
        }
        let text = render(format, DEFAULT, COLUMNS, rows)?;
        if terminal::stdout_is_terminal() {
            let text = text.replace('\n', "\x1b[K\n");
            print(&format!("\x1b[H{text}\x1b[J"))?;
        } else {
            print(&text)?;
        }
    }
}

/// Keeps a container's last sample up to date; forgets it when its stream ends.
async fn collect(client: Rc<Client>, samples: Samples, name: String) {
    // The stream's end, whatever its reason, means that there is nothing more to show.
    let _ = follow_samples(&client, &samples, &name).await;
    samples.borrow_mut().remove(&name);
}

async fn follow_samples(client: &Client, samples: &Samples, name: &str) -> Result<()> {
    let path = Path::of("containers", name, "stats")?.query("stream", "1");
    let mut lines = Lines::new(client.get(&path).await?.into_body());
    while let Some(sample) = lines.next().await? {
        let message = sample.field("message").as_str();
        if !message.is_empty() {
            return Err(Error::message(message));
        }
        samples.borrow_mut().insert(name.to_owned(), Some(sample));
    }
    Ok(())
}

fn row(container: &str, sample: Option<&Value>, whole: bool) -> Row {
    let row = Row::new("*container.statsContext").set("Container", container);
    let Some(sample) = sample.filter(|sample| !sample.field("read").as_str().starts_with("0001-")) else {
        let stopped = sample.is_some();
        let blank = |row: Row, shown: &'static str| row.set("CPUPerc", shown).set("MemPerc", shown).set("PIDs", shown);
        let (name, id) = match sample {
            Some(sample) => (
                sample.field("name").as_str().trim_start_matches('/').to_owned(),
                sample.field("id").as_str().to_owned(),
            ),
            None => ("--".to_owned(), container.to_owned()),
        };
        let id = if whole { id.as_str() } else { short_id(&id) };
        let pair = if stopped { "0B / 0B" } else { "-- / --" };
        return blank(row, if stopped { "0.00%" } else { "--" })
            .set("PIDs", if stopped { "0" } else { "--" })
            .set("Name", name)
            .set("ID", id)
            .set("MemUsage", pair)
            .set("NetIO", if stopped { pair } else { "--" })
            .set("BlockIO", if stopped { pair } else { "--" });
    };
    let id = sample.field("id").as_str();
    let (used, limit) = (memory_used(sample), sample.at("memory_stats.limit").as_float());
    let percent = if limit > 0.0 { used / limit * 100.0 } else { 0.0 };
    let (received, sent) = network(sample);
    let (read, written) = block_io(sample);
    let pair = |a: f64, b: f64| format!("{} / {}", units::human_size(a, 3), units::human_size(b, 3));
    row.set("Name", sample.field("name").as_str().trim_start_matches('/'))
        .set("ID", if whole { id } else { short_id(id) })
        .set("CPUPerc", format!("{:.2}%", cpu_percent(sample)))
        .set("MemUsage", format!("{} / {}", units::binary_size(used), units::binary_size(limit)))
        .set("MemPerc", format!("{percent:.2}%"))
        .set("NetIO", pair(received, sent))
        .set("BlockIO", pair(read, written))
        .set("PIDs", sample.at("pids_stats.current").as_int().to_string())
}

/// The share of one processor times their number, between the last two samples.
fn cpu_percent(sample: &Value) -> f64 {
    let delta = |path: &str| sample.at("cpu_stats").at(path).as_float() - sample.at("precpu_stats").at(path).as_float();
    let (used, system) = (delta("cpu_usage.total_usage"), delta("system_cpu_usage"));
    if used <= 0.0 || system <= 0.0 {
        return 0.0;
    }
    let online = match sample.at("cpu_stats.online_cpus").as_float() {
        count if count > 0.0 => count,
        _ => {
            let count = sample.at("cpu_stats.cpu_usage.percpu_usage").items().len();
            u32::try_from(count).map_or(1.0, f64::from)
        }
    };
    used / system * online * 100.0
}

/// Without the page cache that can be dropped at once: cgroup v1 and v2 name it differently.
fn memory_used(sample: &Value) -> f64 {
    let usage = sample.at("memory_stats.usage").as_float();
    let stats = sample.at("memory_stats.stats");
    for name in ["total_inactive_file", "inactive_file"] {
        let cache = stats.field(name);
        if !cache.is_nil() && cache.as_float() < usage {
            return usage - cache.as_float();
        }
    }
    usage
}

fn network(sample: &Value) -> (f64, f64) {
    let sum = |name: &str| sample.field("networks").entries().into_iter().map(|(_, n)| n.field(name).as_float()).sum();
    (sum("rx_bytes"), sum("tx_bytes"))
}

fn block_io(sample: &Value) -> (f64, f64) {
    let entries = sample.at("blkio_stats.io_service_bytes_recursive").items();
    let sum = |letter: char| {
        let of = entries.iter().filter(|entry| entry.field("op").as_str().to_lowercase().starts_with(letter));
        of.map(|entry| entry.field("value").as_float()).sum()
    };
    (sum('r'), sum('w'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_docker() {
        let sample = Value::from_json(
            r#"{"read":"2024-01-01T00:00:00Z","id":"0123456789abcdef","name":"/web","pids_stats":{"current":3},
            "cpu_stats":{"cpu_usage":{"total_usage":300},"system_cpu_usage":2000,"online_cpus":2},
            "precpu_stats":{"cpu_usage":{"total_usage":100},"system_cpu_usage":1000},
            "memory_stats":{"usage":3145728,"limit":104857600,"stats":{"inactive_file":1048576}},
            "networks":{"eth0":{"rx_bytes":1000,"tx_bytes":2000},"eth1":{"rx_bytes":500,"tx_bytes":0}},
            "blkio_stats":{"io_service_bytes_recursive":[{"op":"Read","value":4096},{"op":"Write","value":8192}]}}"#,
        )
        .unwrap();
        let text = render(DEFAULT, "", COLUMNS, vec![row("web", Some(&sample), false)]).unwrap();
        assert_eq!(text, "0123456789ab\tweb\t40.00%\t2MiB / 100MiB\t2.00%\t1.5kB / 2kB\t4.1kB / 8.19kB\t3\n");
        let text = render(DEFAULT, "", COLUMNS, vec![row("web", None, false)]).unwrap();
        assert_eq!(text, "web\t--\t--\t-- / --\t--\t--\t--\t--\n");
    }
}
