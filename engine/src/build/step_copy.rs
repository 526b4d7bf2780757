//! `COPY`, `ADD` and `WORKDIR`: files into a new layer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sys::rooted::RootFd;

use crate::container::{root_tree, rootfs};
use crate::error::{Error, Result};
use crate::id::{ContainerId, Digest};
use crate::snapshot::SnapshotKey;
use crate::spec::user::{WantedUser, parse_id, resolve};

use super::chmod::Chmod;
use super::copier::{Copier, Ways, is_archive, place};
use super::dockerfile::ignore::Patterns;
use super::dockerfile::{Add, Copy};
use super::executor::Execution;
use super::layers::{chain, ids};
use super::remote::{self, Fetched};
use super::source::{Source, blocking};
use super::state::{State, clean};
use super::step::{Outcome, Step};
use super::tree::{Chosen, Entry};

/// A `COPY` or an `ADD` with its variables put in.
struct Wanted {
    copy: Copy,
    add: Option<Add>,
    sources: Vec<String>,
    /// Absolute; ends with a slash where it was written so.
    destination: String,
    inline: Vec<(String, String)>,
    chown: Option<String>,
    chmod: Option<Chmod>,
    exclude: Option<Patterns>,
}

/// Something to be written.
enum Item {
    /// What a source names, with everything below it.
    Tree { source: Arc<Source>, chosen: Chosen, entries: Vec<Entry>, digest: Digest, unpack: bool },
    /// A file of the Dockerfile itself.
    Inline { name: String, text: String },
    /// What was fetched.
    Fetched { fetched: Fetched, unpack: bool },
}

/// `COPY`.
pub(super) async fn copy(execution: &Execution, state: &mut State, step: &Step<'_>, copy: &Copy) -> Result<Outcome> {
    let wanted = wanted(state, copy, None)?;
    carry_out(execution, state, step, wanted).await
}

/// `ADD`.
pub(super) async fn add(execution: &Execution, state: &mut State, step: &Step<'_>, add: &Add) -> Result<Outcome> {
    let wanted = wanted(state, &add.copy, Some(add))?;
    carry_out(execution, state, step, wanted).await
}

fn wanted(state: &State, copy: &Copy, add: Option<&Add>) -> Result<Wanted> {
    let sources = copy.sources.iter().map(|source| state.word(source)).collect::<Result<Vec<_>>>()?;
    let written = state.word(&copy.destination)?;
    let count = sources.len() + copy.heredocs.len();
    if count > 1 && !written.ends_with('/') && written != "." && !written.ends_with("/.") {
        let name = if add.is_some() { "ADD" } else { "COPY" };
        return Err(Error::invalid(format!(
            "When using {name} with more than one source file, the destination must be a directory and end with a /"
        )));
    }
    let slash = written.ends_with('/') || written == "." || written.ends_with("/.");
    let path = state.path(&written);
    let destination = if slash && path != "/" { format!("{path}/") } else { path };
    let mut inline = Vec::new();
    for document in &copy.heredocs {
        let text = document.text();
        inline.push((document.name.clone(), if document.expand { state.document(&text)? } else { text }));
    }
    let word = |text: &Option<String>| text.as_deref().map(|text| state.word(text)).transpose();
    let chmod = word(&copy.chmod)?.filter(|text| !text.is_empty()).map(|text| Chmod::parse(&text)).transpose()?;
    let exclude = copy.exclude.iter().map(|text| state.word(text)).collect::<Result<Vec<_>>>()?;
    let exclude = match exclude.is_empty() {
        true => None,
        false => Some(Patterns::new(&exclude).map_err(|e| Error::invalid(format!("--exclude: {e}")))?),
    };
    let chown = word(&copy.chown)?.filter(|text| !text.is_empty());
    Ok(Wanted { copy: copy.clone(), add: add.cloned(), sources, destination, inline, chown, chmod, exclude })
}

async fn carry_out(execution: &Execution, state: &mut State, step: &Step<'_>, wanted: Wanted) -> Result<Outcome> {
    let text = history(&wanted);
    let items = items(execution, state, step, &wanted).await?;
    let key = key(execution, state, &wanted, &items);
    if let Some(outcome) = step.cached(execution, state, key, &text).await? {
        return Ok(outcome);
    }
    let _turn = execution.turn().await?;
    let writing = Writing { key, text, chown: wanted.chown.clone(), link: wanted.copy.link };
    let bytes_max = execution.core.images.settings().layer_unpacked_bytes_max;
    let work = move |root: &RootFd, owner: Option<(u32, u32)>, latest: Option<i64>| {
        let ways = Ways { owner, chmod: wanted.chmod.clone(), latest };
        let mut copier = Copier::new(root, ways);
        for item in &items {
            write(&mut copier, item, &wanted, items.len() > 1, bytes_max)?;
        }
        copier.end()
    };
    write_layer(execution, state, step, writing, work).await
}

/// A layer to be written.
struct Writing {
    key: Digest,
    text: String,
    chown: Option<String>,
    /// On nothing: what is below it makes no difference.
    link: bool,
}

/// Opens a new layer, writes into it and makes it the topmost one.
async fn write_layer(
    execution: &Execution,
    state: &mut State,
    step: &Step<'_>,
    writing: Writing,
    work: impl FnOnce(&RootFd, Option<(u32, u32)>, Option<i64>) -> Result<()> + Send + 'static,
) -> Result<Outcome> {
    let id = ContainerId::random();
    let snapshot: SnapshotKey = id.as_str().parse()?;
    let snapshots = execution.core.snapshots.clone();
    let lower = if writing.link { Vec::new() } else { ids(&state.layers) };
    let mounts = snapshots.prepare(&snapshot, &lower).await?;
    let users = execution.core.images.overlay().stack(&ids(&state.layers))?;
    let (chown, latest) = (writing.chown, execution.spec.source_date_epoch);
    let written = blocking(move || {
        let owner = chown.map(|text| owner(&text, &users)).transpose()?;
        let root = RootFd::from_fd(root_tree::writable(&mounts)?);
        work(&root, owner, latest)
    })
    .await;
    if let Err(error) = written {
        snapshots.remove(&snapshot).await?;
        return Err(error);
    }
    step.seal(execution, state, &snapshot, &[writing.key], writing.text).await
}

/// `user[:group]`: names are those of the stage; a number alone is the group's too.
fn owner(text: &str, users: &[crate::snapshot::Mount]) -> Result<(u32, u32)> {
    if let Some(id) = parse_id(text)? {
        return Ok((id, id));
    }
    if let Some((user, group)) = text.split_once(':')
        && let (Some(uid), Some(gid)) = (parse_id(user)?, parse_id(group)?)
    {
        return Ok((uid, gid));
    }
    let root = RootFd::from_fd(rootfs::open(users)?);
    let files = rootfs::read_user_files(&root)?;
    let wanted = WantedUser { user: text, additional_groups: &[], groups_from_image: false };
    let found = resolve(wanted, &files.passwd, &files.group).map_err(|e| e.context(format!("--chown={text}")))?;
    Ok((found.uid, found.gid))
}

/// Everything that is to be written, with what it depends on read.
async fn items(execution: &Execution, state: &State, step: &Step<'_>, wanted: &Wanted) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    let mut source = None;
    for text in &wanted.sources {
        if let Some(add) = &wanted.add
            && remote::is_remote(text)
        {
            items.push(fetched(execution, state, step, add, text).await?);
            continue;
        }
        let source = match &source {
            Some(source) => Arc::clone(source),
            None => {
                let found = execution.source(step.stage, wanted.copy.from.as_deref()).await?;
                source = Some(Arc::clone(&found));
                found
            }
        };
        items.extend(chosen(execution, source, text, wanted).await?);
    }
    items.extend(wanted.inline.iter().map(|(name, text)| Item::Inline { name: name.clone(), text: text.clone() }));
    Ok(items)
}

async fn chosen(execution: &Execution, source: Arc<Source>, text: &str, wanted: &Wanted) -> Result<Vec<Item>> {
    let (text, exclude) = (text.to_owned(), wanted.exclude.clone());
    let unpack_wanted = wanted.add.as_ref().is_some_and(|add| add.unpack.unwrap_or(true));
    let bytes_max = execution.core.images.settings().layer_unpacked_bytes_max;
    blocking(move || {
        let mut items = Vec::new();
        for chosen in source.tree.choose(&text)? {
            let entries = source.tree.entries(&chosen, exclude.as_ref())?;
            let digest = source.tree.digest(&entries)?;
            let unpack = unpack_wanted && is_regular(&chosen) && is_archive(source.tree.open(&chosen.path)?, bytes_max);
            items.push(Item::Tree { source: Arc::clone(&source), chosen, entries, digest, unpack });
        }
        Ok(items)
    })
    .await
}

fn is_regular(chosen: &Chosen) -> bool {
    super::tree::kind(&chosen.stat) == rustix::fs::FileType::RegularFile
}

async fn fetched(execution: &Execution, state: &State, step: &Step<'_>, add: &Add, text: &str) -> Result<Item> {
    let checksum = add.checksum.as_deref().map(|text| state.word(text)).transpose()?.filter(|text| !text.is_empty());
    if let Some(repository) = remote::git_source(text) {
        if checksum.is_some() && !remote::is_commit(checksum.as_deref().unwrap_or_default()) {
            return Err(Error::invalid("checksum can't be specified for git sources unless it is a commit"));
        }
        let source = remote::git(execution, &repository, add.keep_git_dir, checksum.as_deref(), &step.vertex).await?;
        let chosen = source.tree.choose("/")?.pop().ok_or_else(|| Error::internal("a directory that is not there"))?;
        let entries = source.tree.entries(&chosen, None)?;
        let digest = source.tree.digest(&entries)?;
        return Ok(Item::Tree { source, chosen, entries, digest, unpack: false });
    }
    let fetched = remote::fetch(execution, text, checksum.as_deref(), &step.vertex).await?;
    Ok(Item::Fetched { fetched, unpack: add.unpack.unwrap_or(false) })
}

/// Writes one item where it goes.
fn write(copier: &mut Copier<'_>, item: &Item, wanted: &Wanted, several: bool, bytes_max: u64) -> Result<()> {
    let destination = wanted.destination.as_str();
    let directory = || -> PathBuf { Path::new(destination.trim_start_matches('/')).components().collect() };
    match item {
        Item::Tree { source, chosen, unpack: true, .. } => {
            copier.archive(source.tree.open(&chosen.path)?, &directory(), bytes_max)
        }
        Item::Tree { source, chosen, entries, .. } if wanted.copy.parents => {
            let to = directory().join(&chosen.written);
            copier.tree(&source.tree, entries, &to, chosen.is_dir())
        }
        Item::Tree { source, chosen, entries, .. } => {
            let to = place(copier, destination, &chosen.name, chosen.is_dir(), several);
            if chosen.is_dir() && !copier.is_dir(&to) && copier.exists(&to) {
                return Err(Error::invalid(format!("cannot copy to non-directory: /{}", to.display())));
            }
            copier.tree(&source.tree, entries, &to, chosen.is_dir())
        }
        Item::Inline { name, text } => {
            let to = place(copier, destination, &OsString::from(name), false, several);
            copier.text(&to, text.as_bytes(), 0o644, 0)
        }
        Item::Fetched { fetched, unpack: true } => copier.archive(fetched.open()?, &directory(), bytes_max),
        Item::Fetched { fetched, .. } => {
            let to = place(copier, destination, &OsString::from(&fetched.name), false, several);
            copier.stream(&to, &mut fetched.open()?, 0o600, fetched.modified)
        }
    }
}

fn history(wanted: &Wanted) -> String {
    let mut words = vec![if wanted.add.is_some() { "ADD".to_owned() } else { "COPY".to_owned() }];
    if wanted.copy.parents {
        words.push("--parents".to_owned());
    }
    words.extend(wanted.chown.iter().map(|owner| format!("--chown={owner}")));
    words.extend(wanted.copy.chmod.iter().map(|mode| format!("--chmod={mode}")));
    words.extend(wanted.inline.iter().map(|(name, _)| format!("<<{name}")));
    words.extend(wanted.sources.iter().cloned());
    words.push(wanted.destination.clone());
    format!("{} # buildkit", words.join(" "))
}

fn key(execution: &Execution, state: &State, wanted: &Wanted, items: &[Item]) -> Digest {
    let items: Vec<String> = items
        .iter()
        .map(|item| match item {
            Item::Tree { chosen, digest, unpack, .. } => {
                let name = chosen.name.to_string_lossy();
                let written = chosen.written.to_string_lossy();
                format!("{digest} {unpack} {} {name:?} {written:?}", chosen.is_dir())
            }
            Item::Inline { name, text } => format!("{name:?} {}", Digest::of(text.as_bytes())),
            Item::Fetched { fetched, unpack } => {
                format!("{} {unpack} {:?} {}", fetched.digest, fetched.name, fetched.modified)
            }
        })
        .collect();
    let link = wanted.copy.link;
    let inputs = serde_json::json!({
        "step": if wanted.add.is_some() { "add 1" } else { "copy 1" },
        "files": (!link).then(|| chain(&state.layers)),
        "users": wanted.chown.is_some().then(|| chain(&state.layers)),
        "items": items,
        "destination": wanted.destination,
        "owner": wanted.chown,
        "mode": format!("{:?}", wanted.chmod),
        "parents": wanted.copy.parents,
        "epoch": execution.spec.source_date_epoch,
    });
    Digest::of(inputs.to_string().as_bytes())
}

/// `WORKDIR`: the directory is made, for the user that the image has then.
pub(super) async fn workdir(
    execution: &Execution,
    state: &mut State,
    step: &Step<'_>,
    path: &str,
) -> Result<Option<Outcome>> {
    let path = state.path(&state.word(path)?);
    state.config.working_dir.clone_from(&path);
    let text = format!("WORKDIR {path}");
    if path == "/" {
        state.note(text, None);
        return Ok(None);
    }
    let inputs = serde_json::json!({
        "step": "workdir 1",
        "files": chain(&state.layers),
        "path": path,
        "user": state.config.user,
        "epoch": execution.spec.source_date_epoch,
    });
    let key = Digest::of(inputs.to_string().as_bytes());
    if let Some(outcome) = step.cached(execution, state, key, &text).await? {
        return Ok(Some(outcome));
    }
    let chown = Some(state.config.user.clone()).filter(|user| !user.is_empty());
    let path = clean(&path);
    let work = move |root: &RootFd, owner: Option<(u32, u32)>, latest: Option<i64>| {
        let copier = Copier::new(root, Ways { owner, chmod: None, latest });
        copier.make_dir(Path::new(path.trim_start_matches('/'))).map(drop)
    };
    let writing = Writing { key, text, chown, link: false };
    write_layer(execution, state, step, writing, work).await.map(Some)
}
