//! `gantry container|image|network|volume prune`.

use std::io::{BufRead, Write};

use crate::cli::Command;
use crate::client::Path;
use crate::context::Context;
use crate::error::{Error, Result};
use crate::flags::{Flag, Matches, values};
use crate::output::print;
use crate::output::template::Value;
use crate::units;

const FORCE: Flag = Flag::switch("force", "Do not prompt for confirmation").short('f');
const UNTIL: Flag =
    Flag::list("filter", "Provide filter values (e.g. \"until=<timestamp>\")").named("filter").check(values::filter);

pub(crate) static CONTAINERS: Command = Command {
    about: "Remove all stopped containers",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORCE, UNTIL]],
    interspersed: true,
    run: |context, matches| Box::pin(containers(context, matches)),
};

pub(crate) static IMAGES: Command = Command {
    about: "Remove unused images",
    usage: "",
    arguments: (0, 0),
    flags: &[&[Flag::switch("all", "Remove all unused images, not just dangling ones").short('a'), FORCE, UNTIL]],
    interspersed: true,
    run: |context, matches| Box::pin(images(context, matches)),
};

pub(crate) static NETWORKS: Command = Command {
    about: "Remove all unused networks",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORCE, UNTIL]],
    interspersed: true,
    run: |context, matches| Box::pin(networks(context, matches)),
};

pub(crate) static VOLUMES: Command = Command {
    about: "Remove unused local volumes",
    usage: "",
    arguments: (0, 0),
    flags: &[&[Flag::switch("all", "Remove all unused volumes, not just anonymous ones").short('a'), FORCE, UNTIL]],
    interspersed: true,
    run: |context, matches| Box::pin(volumes(context, matches)),
};

async fn containers(context: &Context, matches: &Matches) -> Result<()> {
    confirm(matches, "This will remove all stopped containers.")?;
    let answer = prune(context, "/containers/prune", matches.list("filter").to_vec()).await?;
    tell("Deleted Containers:", &texts(answer.field("ContainersDeleted")), Some(&answer))
}

async fn images(context: &Context, matches: &Matches) -> Result<()> {
    let all = matches.on("all");
    let what = if all { "all images without at least one container associated to them" } else { "all dangling images" };
    confirm(matches, &format!("This will remove {what}."))?;
    let mut filters = matches.list("filter").to_vec();
    filters.push(format!("dangling={}", !all));
    let answer = prune(context, "/images/prune", filters).await?;
    let lines: Vec<String> = answer
        .field("ImagesDeleted")
        .items()
        .iter()
        .map(|item| match item.field("Untagged").as_str() {
            "" => format!("deleted: {}", item.field("Deleted").as_str()),
            name => format!("untagged: {name}"),
        })
        .collect();
    tell("Deleted Images:", &lines, Some(&answer))
}

async fn networks(context: &Context, matches: &Matches) -> Result<()> {
    confirm(matches, "This will remove all custom networks not used by at least one container.")?;
    let answer = prune(context, "/networks/prune", matches.list("filter").to_vec()).await?;
    tell("Deleted Networks:", &texts(answer.field("NetworksDeleted")), None)
}

async fn volumes(context: &Context, matches: &Matches) -> Result<()> {
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

async fn prune(context: &Context, path: &str, filters: Vec<String>) -> Result<Value> {
    let path = Path::new(path).filters(&filters);
    let response = context.client.post(&path).await?;
    let bytes = crate::client::read_all(response.into_body()).await?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Error::message(format!("the daemon's answer is not readable: {error}")))
}

fn texts(list: &Value) -> Vec<String> {
    list.items().iter().map(|item| item.as_str().to_owned()).collect()
}

fn tell(title: &str, lines: &[String], space: Option<&Value>) -> Result<()> {
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
fn confirm(matches: &Matches, warning: &str) -> Result<()> {
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
