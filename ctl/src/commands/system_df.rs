//! `gantry system df`.

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{FORMAT_TABLE, Flag, Matches};
use crate::output::print;
use crate::output::table::{Columns, Row, render};
use crate::output::template::Value;
use crate::units;

use super::volume_ls;

pub(crate) static COMMAND: Command = Command {
    about: "Show docker disk usage",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORMAT_TABLE, Flag::switch("verbose", "Show detailed information on space usage").short('v')]],
    interspersed: true,
    run: |context, matches| Box::pin(run(context, matches)),
};

const COLUMNS: Columns = &[
    ("Type", "TYPE"),
    ("TotalCount", "TOTAL"),
    ("Active", "ACTIVE"),
    ("Size", "SIZE"),
    ("Reclaimable", "RECLAIMABLE"),
];

/// What one kind of object takes.
struct Usage {
    name: &'static str,
    total: usize,
    active: usize,
    size: f64,
    reclaimable: f64,
    /// With how much of the whole that is.
    percent: bool,
}

async fn run(context: &Context, matches: &Matches) -> Result<()> {
    let usage = context.client.get_value(&Path::new("/system/df")).await?;
    if matches.on("verbose") {
        if matches.given("format") && !matches!(matches.text("format"), "" | "table") {
            return Err(Error::message("--format with --verbose prints tables only"));
        }
        return verbose(&usage);
    }
    let rows =
        [images(&usage), containers(&usage), volumes(&usage), build_cache(&usage)].into_iter().map(row).collect();
    let default = "{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}";
    print(&render(matches.text("format"), default, COLUMNS, rows)?)
}

fn row(usage: Usage) -> Row {
    let share = if usage.percent && usage.size > 0.0 {
        format!(" ({:.0}%)", (usage.reclaimable / usage.size * 100.0).trunc())
    } else {
        String::new()
    };
    Row::new("*formatter.diskUsageContext")
        .set("Type", usage.name)
        .set("TotalCount", usage.total.to_string())
        .set("Active", usage.active.to_string())
        .set("Size", units::human_size(usage.size, 4))
        .set("Reclaimable", format!("{}{share}", units::human_size(usage.reclaimable, 4)))
}

fn sum(items: &[Value], name: &str) -> f64 {
    items.iter().map(|item| item.field(name).as_float().max(0.0)).sum()
}

fn images(usage: &Value) -> Usage {
    let images = usage.field("Images").items();
    let active = images.iter().filter(|image| image.field("Containers").as_int() > 0);
    let mut used = 0.0;
    for image in active.clone() {
        let (size, shared) = (image.field("Size").as_float(), image.field("SharedSize").as_float());
        if shared >= 0.0 {
            used += size - shared;
        }
    }
    let size = usage.field("LayersSize").as_float();
    Usage { name: "Images", total: images.len(), active: active.count(), size, reclaimable: size - used, percent: true }
}

fn containers(usage: &Value) -> Usage {
    let containers = usage.field("Containers").items();
    let running = |container: &&Value| matches!(container.field("State").as_str(), "running" | "paused" | "restarting");
    let idle: Vec<Value> = containers.iter().filter(|container| !running(container)).cloned().collect();
    Usage {
        name: "Containers",
        total: containers.len(),
        active: containers.len() - idle.len(),
        size: sum(containers, "SizeRw"),
        reclaimable: sum(&idle, "SizeRw"),
        percent: true,
    }
}

fn volumes(usage: &Value) -> Usage {
    let volumes = usage.field("Volumes").items();
    let size = |unused: bool| {
        let of = volumes.iter().filter(|volume| !unused || volume.at("UsageData.RefCount").as_int() == 0);
        of.map(|volume| volume.at("UsageData.Size").as_float().max(0.0)).sum()
    };
    let active = volumes.iter().filter(|volume| volume.at("UsageData.RefCount").as_int() > 0).count();
    Usage {
        name: "Local Volumes",
        total: volumes.len(),
        active,
        size: size(false),
        reclaimable: size(true),
        percent: true,
    }
}

fn build_cache(usage: &Value) -> Usage {
    let records = usage.field("BuildCache").items();
    let active = records.iter().filter(|record| record.field("InUse").truth()).count();
    let owned: Vec<Value> = records.iter().filter(|record| !record.field("Shared").truth()).cloned().collect();
    let idle: Vec<Value> = owned.iter().filter(|record| !record.field("InUse").truth()).cloned().collect();
    Usage {
        name: "Build Cache",
        total: records.len(),
        active,
        size: sum(&owned, "Size"),
        reclaimable: sum(&idle, "Size"),
        percent: false,
    }
}

fn verbose(usage: &Value) -> Result<()> {
    print("Volumes space usage:\n\n")?;
    let rows = usage.field("Volumes").items().iter().map(volume_ls::row).collect();
    print(&render("", "{{.Name}}\t{{.Links}}\t{{.Size}}", volume_ls::COLUMNS, rows)?)?;
    print("\nContainers space usage:\n\n")?;
    let rows = usage.field("Containers").items().iter().map(|item| super::ps::row(item, true)).collect();
    let format =
        "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}";
    print(&render("", format, super::ps::COLUMNS, rows)?)?;
    print("\nImages space usage:\n\n")?;
    let images = usage.field("Images").items();
    let rows = images.iter().flat_map(|image| super::images::image_rows(image, true, false)).collect();
    let format = "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}\t{{.SharedSize}}\t{{.UniqueSize}}\t{{.Containers}}";
    print(&render("", format, super::images::COLUMNS, rows)?)
}
