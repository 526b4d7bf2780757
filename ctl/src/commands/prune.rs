//! `gantry container|image|network|volume|system prune`.

use std::io::{BufRead, Write};

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches, values};
use crate::output::print;
use crate::output::template::Value;
use crate::units;

use super::prune_plan::{self, Doomed, Wanted};

const FORCE: Flag = Flag::switch("force", "Do not prompt for confirmation").short('f');
const DRY_RUN: Flag = Flag::switch(
    "dry-run",
    "Tell what would be removed and why, and remove nothing (docker's client has no such flag)",
);
const UNTIL: Flag =
    Flag::list("filter", "Provide filter values (e.g. \"until=<timestamp>\")").named("filter").check(values::filter);

pub(crate) static CONTAINERS: Command = Command {
    about: "Remove all stopped containers",
    usage: "",
    arguments: (0, 0),
    flags: &[&[DRY_RUN, FORCE, UNTIL]],
    interspersed: true,
    run: |context, matches| Box::pin(containers(context, matches)),
};

pub(crate) static IMAGES: Command = Command {
    about: "Remove unused images",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::switch("all", "Remove all unused images, not just dangling ones").short('a'),
        DRY_RUN,
        FORCE,
        UNTIL,
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(images(context, matches)),
};

pub(crate) static NETWORKS: Command = Command {
    about: "Remove all unused networks",
    usage: "",
    arguments: (0, 0),
    flags: &[&[DRY_RUN, FORCE, UNTIL]],
    interspersed: true,
    run: |context, matches| Box::pin(networks(context, matches)),
};

pub(crate) static VOLUMES: Command = Command {
    about: "Remove unused local volumes",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::switch("all", "Remove all unused volumes, not just anonymous ones").short('a'),
        DRY_RUN,
        FORCE,
        UNTIL,
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(volumes(context, matches)),
};

pub(crate) static SYSTEM: Command = Command {
    about: "Remove unused data",
    usage: "",
    arguments: (0, 0),
    flags: &[&[
        Flag::switch("all", "Remove all unused images not just dangling ones").short('a'),
        DRY_RUN,
        FORCE,
        UNTIL,
        Flag::switch("volumes", "Prune anonymous volumes"),
    ]],
    interspersed: true,
    run: |context, matches| Box::pin(system(context, matches)),
};

async fn containers(context: &Context, matches: &Matches) -> Result<()> {
    if matches.on("dry-run") {
        let wanted = Wanted::read(matches.list("filter"))?;
        let doomed = prune_plan::containers(context, &wanted).await?;
        return plan(&[("Would remove containers:", doomed)]);
    }
    confirm(matches, "This will remove all stopped containers.")?;
    let answer = prune(context, "/containers/prune", matches.list("filter").to_vec()).await?;
    tell("Deleted Containers:", &texts(answer.field("ContainersDeleted")), Some(&answer))
}

async fn images(context: &Context, matches: &Matches) -> Result<()> {
    if matches.on("dry-run") {
        let wanted = Wanted::read(matches.list("filter"))?;
        let doomed = prune_plan::images(context, &wanted, matches.on("all"), &[]).await?;
        return plan(&[("Would remove images:", doomed)]);
    }
    let all = matches.on("all");
    let what = if all { "all images without at least one container associated to them" } else { "all dangling images" };
    confirm(matches, &format!("This will remove {what}."))?;
    let mut filters = matches.list("filter").to_vec();
    filters.push(format!("dangling={}", !all));
    let answer = prune(context, "/images/prune", filters).await?;
    tell("Deleted Images:", &image_lines(&answer), Some(&answer))
}

async fn networks(context: &Context, matches: &Matches) -> Result<()> {
    if matches.on("dry-run") {
        let wanted = Wanted::read(matches.list("filter"))?;
        let doomed = prune_plan::networks(context, &wanted).await?;
        return plan(&[("Would remove networks:", doomed)]);
    }
    confirm(matches, "This will remove all custom networks not used by at least one container.")?;
    let answer = prune(context, "/networks/prune", matches.list("filter").to_vec()).await?;
    tell("Deleted Networks:", &texts(answer.field("NetworksDeleted")), None)
}

async fn volumes(context: &Context, matches: &Matches) -> Result<()> {
    if matches.on("dry-run") {
        let wanted = Wanted::read(matches.list("filter"))?;
        let doomed = prune_plan::volumes(context, &wanted, matches.on("all")).await?;
        return plan(&[("Would remove volumes:", doomed)]);
    }
    let all = matches.on("all");
    let which = if all { "all" } else { "anonymous" };
    confirm(matches, &format!("This will remove {which} local volumes not used by at least one container."))?;
    let mut filters = matches.list("filter").to_vec();
    if all {
        filters.push("all=true".to_owned());
    }
    let answer = prune(context, "/volumes/prune", filters).await?;
    tell("Deleted Volumes:", &texts(answer.field("VolumesDeleted")), Some(&answer))
}

async fn system(context: &Context, matches: &Matches) -> Result<()> {
    let (all, with_volumes) = (matches.on("all"), matches.on("volumes"));
    let filters = matches.list("filter");
    if with_volumes && filters.iter().any(|filter| filter.starts_with("until=")) {
        return Err(Error::message("ERROR: The \"until\" filter is not supported with \"--volumes\""));
    }
    if matches.on("dry-run") {
        let wanted = Wanted::read(filters)?;
        let containers = prune_plan::containers(context, &wanted).await?;
        let networks = prune_plan::networks(context, &wanted).await?;
        let volumes = if with_volumes { prune_plan::volumes(context, &wanted, false).await? } else { Vec::new() };
        let images = prune_plan::images(context, &wanted, all, &containers).await?;
        return plan(&[
            ("Would remove containers:", containers),
            ("Would remove networks:", networks),
            ("Would remove volumes:", volumes),
            ("Would remove images:", images),
        ]);
    }
    confirm(matches, &system_warning(all, with_volumes, filters))?;
    let mut space = 0.0;
    let mut step = |title: &str, lines: &[String], answer: &Value| -> Result<()> {
        space += answer.field("SpaceReclaimed").as_float();
        if lines.is_empty() { Ok(()) } else { print(&format!("{title}\n{}\n\n", lines.join("\n"))) }
    };
    let answer = prune(context, "/containers/prune", filters.to_vec()).await?;
    step("Deleted Containers:", &texts(answer.field("ContainersDeleted")), &answer)?;
    let answer = prune(context, "/networks/prune", filters.to_vec()).await?;
    step("Deleted Networks:", &texts(answer.field("NetworksDeleted")), &answer)?;
    if with_volumes {
        let answer = prune(context, "/volumes/prune", filters.to_vec()).await?;
        step("Deleted Volumes:", &texts(answer.field("VolumesDeleted")), &answer)?;
    }
    let dangling = [filters, &[format!("dangling={}", !all)]].concat();
    let answer = prune(context, "/images/prune", dangling).await?;
    step("Deleted Images:", &image_lines(&answer), &answer)?;
    match prune_build_cache(context, all, filters).await {
        Ok(answer) => step("Deleted build cache objects:", &texts(answer.field("CachesDeleted")), &answer)?,
        // A daemon that builds nothing has nothing to prune.
        Err(Error::Daemon { status: 404 | 501, .. }) => {}
        Err(error) => return Err(error),
    }
    print(&format!("Total reclaimed space: {}\n", units::human_size(space, 4)))
}

async fn prune_build_cache(context: &Context, all: bool, filters: &[String]) -> Result<Value> {
    ask(context, &Path::new("/build/prune").query_if("all", all).filters(filters)).await
}

fn system_warning(all: bool, volumes: bool, filters: &[String]) -> String {
    let mut text = String::from("This will remove:\n  - all stopped containers\n");
    text.push_str("  - all networks not used by at least one container\n");
    if volumes {
        text.push_str("  - all anonymous volumes not used by at least one container\n");
    }
    text.push_str(if all {
        "  - all images without at least one container associated to them\n  - all build cache\n"
    } else {
        "  - all dangling images\n  - unused build cache\n"
    });
    if !filters.is_empty() {
        let lines: Vec<String> = filters.iter().map(|filter| format!("  - {filter}\n")).collect();
        text.push_str(&format!("\n  Items to be pruned will be filtered with:\n{}", lines.concat()));
    }
    text
}

/// Tells what would go, and how much that is.
fn plan(parts: &[(&str, Vec<Doomed>)]) -> Result<()> {
    let mut text: String = parts.iter().map(|(title, doomed)| prune_plan::described(title, doomed)).collect();
    if text.is_empty() {
        text.push_str("Nothing would be removed.\n");
    }
    let space: f64 = parts.iter().flat_map(|(_, doomed)| doomed).map(|one| one.bytes).sum();
    text.push_str(&format!("Space that would be reclaimed: {}\n", units::human_size(space, 4)));
    print(&text)
}

async fn prune(context: &Context, path: &str, filters: Vec<String>) -> Result<Value> {
    ask(context, &Path::new(path).filters(&filters)).await
}

/// Asks for a removal; answers what went.
pub(super) async fn ask(context: &Context, path: &Path) -> Result<Value> {
    let response = context.client.post(path).await?;
    let bytes = crate::client::read_all(response.into_body()).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::message(format!("the daemon's answer is not readable: {error}")))
}

fn image_lines(answer: &Value) -> Vec<String> {
    let deleted = answer.field("ImagesDeleted").items().iter();
    deleted
        .map(|item| match item.field("Untagged").as_str() {
            "" => format!("deleted: {}", item.field("Deleted").as_str()),
            name => format!("untagged: {name}"),
        })
        .collect()
}

pub(super) fn texts(list: &Value) -> Vec<String> {
    list.items().iter().map(|item| item.as_str().to_owned()).collect()
}

pub(super) fn tell(title: &str, lines: &[String], space: Option<&Value>) -> Result<()> {
    let mut text = String::new();
    if !lines.is_empty() {
        text = format!("{title}\n{}\n", lines.join("\n"));
        text.push('\n');
    }
    if let Some(answer) = space {
        let bytes = answer.field("SpaceReclaimed").as_float();
        text.push_str(&format!("Total reclaimed space: {}\n", units::human_size(bytes, 4)));
    }
    print(&text)
}

/// Asks, unless `--force` was given; anything but yes ends the command.
pub(super) fn confirm(matches: &Matches, warning: &str) -> Result<()> {
    if matches.on("force") {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    write!(out, "WARNING! {warning}\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Error::message("prune has been cancelled")),
    }
}
