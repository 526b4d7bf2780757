//! `gantry context`: named daemons, shared with docker's client.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use crate::cli::{ANY, Command};
use crate::client::{DEFAULT_HOST, parse_host};
use crate::config_file;
use crate::context::Context;
use crate::context_store::{DEFAULT, EndpointMetadata, FILE_BYTES_MAX, Metadata, Store, TLS_FILES, check_name};
use crate::error::{Error, Result, open_file};
use crate::flags::{FORMAT_OBJECT, FORMAT_TABLE, Flag, Matches};
use crate::output::json::indent;
use crate::output::table::{Columns, Row, render};
use crate::output::template::{Template, Value};
use crate::output::{eprintln, print, println};
use crate::terminal;

const DESCRIPTION: Flag = Flag::text("description", "Description of the context");
const DOCKER: Flag = Flag::new_map("docker", "set the docker endpoint");

pub(crate) static CREATE: Command = Command {
    about: "Create a context",
    usage: "CONTEXT",
    arguments: (1, 1),
    flags: &[&[DESCRIPTION, DOCKER, Flag::text("from", "create context from a named context")]],
    interspersed: true,
    run: |context, matches| Box::pin(async { create(context, matches) }),
};

pub(crate) static EXPORT: Command = Command {
    about: "Export a context to a tar archive FILE or a tar stream on STDOUT.",
    usage: "CONTEXT [FILE|-]",
    arguments: (1, 2),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(async { export(context, matches) }),
};

pub(crate) static IMPORT: Command = Command {
    about: "Import a context from a tar file",
    usage: "CONTEXT FILE|-",
    arguments: (2, 2),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(async { import(context, matches) }),
};

pub(crate) static INSPECT: Command = Command {
    about: "Display detailed information on one or more contexts",
    usage: "[CONTEXT] [CONTEXT...]",
    arguments: (0, ANY),
    flags: &[&[FORMAT_OBJECT.short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(async { inspect(context, matches) }),
};

pub(crate) static LS: Command = Command {
    about: "List contexts",
    usage: "",
    arguments: (0, 0),
    flags: &[&[FORMAT_TABLE, Flag::switch("quiet", "Only show context names").short('q')]],
    interspersed: true,
    run: |context, matches| Box::pin(async { list(context, matches) }),
};

pub(crate) static RM: Command = Command {
    about: "Remove one or more contexts",
    usage: "CONTEXT [CONTEXT...]",
    arguments: (1, ANY),
    flags: &[&[Flag::switch("force", "Force the removal of a context in use").short('f')]],
    interspersed: true,
    run: |context, matches| Box::pin(async { remove(context, matches) }),
};

pub(crate) static SHOW: Command = Command {
    about: "Print the name of the current context",
    usage: "",
    arguments: (0, 0),
    flags: &[],
    interspersed: true,
    run: |context, _| Box::pin(async { println(&context.named) }),
};

pub(crate) static UPDATE: Command = Command {
    about: "Update a context",
    usage: "CONTEXT",
    arguments: (1, 1),
    flags: &[&[DESCRIPTION, DOCKER]],
    interspersed: true,
    run: |context, matches| Box::pin(async { update(context, matches) }),
};

pub(crate) static USE: Command = Command {
    about: "Set the current docker context",
    usage: "CONTEXT",
    arguments: (1, 1),
    flags: &[],
    interspersed: true,
    run: |context, matches| Box::pin(async { choose(context, matches) }),
};

/// An endpoint as `--docker` gives it, with the contents of its files.
struct Given {
    endpoint: EndpointMetadata,
    tls: BTreeMap<String, Vec<u8>>,
}

/// `host=…,ca=…,cert=…,key=…,skip-tls-verify=…,from=…`
fn given(context: &Context, texts: &[String]) -> Result<Given> {
    let mut made = Given { endpoint: EndpointMetadata::default(), tls: BTreeMap::new() };
    for pair in texts.iter().flat_map(|text| text.split(',')).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair
            .split_once('=')
            .ok_or_else(|| Error::message(format!("--docker: {pair:?} is not of the form key=value")))?;
        match key {
            "host" => {
                parse_host(value, false).map_err(|e| Error::message(format!("--docker host: {e}")))?;
                made.endpoint.host = value.to_owned();
            }
            "ca" | "cert" | "key" => {
                made.tls.insert(format!("{key}.pem"), read_limited(open_file(value)?, value)?);
            }
            "skip-tls-verify" => {
                made.endpoint.skip_tls_verify = crate::flags::values::parse_bool(value)
                    .ok_or_else(|| Error::message(format!("--docker skip-tls-verify: {value:?} is not a bool")))?;
            }
            "from" => made = of(context, value)?,
            other => return Err(Error::message(format!("unrecognized config key: {other}"))),
        }
    }
    if made.endpoint.host.is_empty() {
        made.endpoint.host = DEFAULT_HOST.to_owned();
    }
    Ok(made)
}

/// The endpoint of a context that exists, `default` included.
fn of(context: &Context, name: &str) -> Result<Given> {
    if name == DEFAULT {
        let endpoint = EndpointMetadata { host: context.default_host.clone(), skip_tls_verify: false };
        return Ok(Given { endpoint, tls: BTreeMap::new() });
    }
    let store = store(context);
    let mut tls = BTreeMap::new();
    for (file, path) in store.tls(name) {
        let shown = path.display().to_string();
        tls.insert(file, read_limited(open_file(&shown)?, &shown)?);
    }
    Ok(Given { endpoint: store.get(name)?.docker(), tls })
}

fn read_limited(source: impl Read, shown: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(Error::message(format!("{shown}: larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(bytes)
}

fn store(context: &Context) -> Store {
    Store::of(&context.folder)
}

fn create(context: &Context, matches: &Matches) -> Result<()> {
    let (store, name) = (store(context), matches.arg(0));
    check_name(name)?;
    if store.exists(name) {
        return Err(Error::message(format!("context {name:?} already exists")));
    }
    let from = matches.text("from");
    let made = match (matches.list("docker"), from) {
        ([], "") => return Err(Error::message("docker endpoint configuration is required")),
        ([], from) => of(context, from)?,
        (texts, "") => given(context, texts)?,
        _ => return Err(Error::message("cannot use --docker flag when --from is set")),
    };
    let inherited =
        if matches!(from, "" | DEFAULT) { String::new() } else { store.get(from)?.description().to_owned() };
    let description = matches.optional("description").unwrap_or(&inherited);
    store.put_tls(name, &made.tls)?;
    store.put(&Metadata::new(name, description, made.endpoint))?;
    println(name)?;
    eprintln(&format!("Successfully created context {name:?}"));
    Ok(())
}

fn update(context: &Context, matches: &Matches) -> Result<()> {
    let (store, name) = (store(context), matches.arg(0));
    let mut updated = store.get(name)?;
    if let Some(description) = matches.optional("description") {
        updated.describe(description);
    }
    if !matches.list("docker").is_empty() {
        let made = given(context, matches.list("docker"))?;
        updated.endpoints.insert("docker".to_owned(), made.endpoint);
        store.put_tls(name, &made.tls)?;
    }
    store.put(&updated)?;
    println(name)?;
    eprintln(&format!("Successfully updated context {name:?}"));
    Ok(())
}

fn choose(context: &Context, matches: &Matches) -> Result<()> {
    let name = matches.arg(0);
    if name != DEFAULT {
        store(context).get(name)?;
    }
    config_file::change(&context.folder, |fields| {
        match name {
            DEFAULT => fields.remove("currentContext"),
            name => fields.insert("currentContext".to_owned(), name.into()),
        };
    })?;
    println(name)?;
    eprintln(&format!("Current context is now {name:?}"));
    if std::env::var_os("DOCKER_HOST").is_some_and(|host| !host.is_empty()) && name != DEFAULT {
        eprintln("Warning: DOCKER_HOST environment variable overrides the active context.");
    }
    Ok(())
}

fn remove(context: &Context, matches: &Matches) -> Result<()> {
    let store = store(context);
    let one = |name: &str| -> Result<()> {
        if name == DEFAULT {
            return Err(Error::message("context \"default\" cannot be removed"));
        }
        store.get(name)?;
        if context.named == name && !matches.on("force") {
            return Err(Error::message(format!("context {name:?} is in use, set -f flag to force remove")));
        }
        store.remove(name)?;
        if context.config.current_context == name {
            config_file::change(&context.folder, |fields| {
                fields.remove("currentContext");
            })?;
        }
        println(name)
    };
    let failures: Vec<String> =
        matches.args.iter().filter_map(|name| one(name).err()).map(|error| error.to_string()).collect();
    if failures.is_empty() { Ok(()) } else { Err(Error::message(failures.join("\n"))) }
}

const COLUMNS: Columns =
    &[("Name", "NAME"), ("Description", "DESCRIPTION"), ("DockerEndpoint", "DOCKER ENDPOINT"), ("Error", "ERROR")];

fn list(context: &Context, matches: &Matches) -> Result<()> {
    let mut all = store(context).list();
    let endpoint = EndpointMetadata { host: context.default_host.clone(), skip_tls_verify: false };
    all.push(Metadata::new(DEFAULT, "Current DOCKER_HOST based configuration", endpoint));
    all.sort_by(|a, b| a.name.cmp(&b.name));
    let lost = !all.iter().any(|known| known.name == context.named);
    let row = |known: &Metadata, error: &str| {
        Row::new("*formatter.ClientContext")
            .set("Name", known.name.as_str())
            .set_value("Current", Value::Bool(known.name == context.named))
            .set("Description", known.description())
            .set("DockerEndpoint", known.docker().host)
            .set("Error", error)
    };
    let mut rows: Vec<Row> = all.iter().map(|known| row(known, "")).collect();
    if lost {
        let known = Metadata { name: context.named.clone(), ..Metadata::default() };
        rows.push(row(&known, "context not found"));
    }
    let format = if matches.on("quiet") { "{{.Name}}" } else { matches.text("format") };
    let default = "{{.Name}}{{if .Current}} *{{end}}\t{{.Description}}\t{{.DockerEndpoint}}\t{{.Error}}";
    print(&render(format, default, COLUMNS, rows)?)
}

fn inspect(context: &Context, matches: &Matches) -> Result<()> {
    let current = [context.named.clone()];
    let names = if matches.args.is_empty() { &current[..] } else { &matches.args[..] };
    let texts = names.iter().map(|name| described(context, name)).collect::<Result<Vec<String>>>()?;
    match matches.text("format") {
        "" => print(&format!("{}\n", indent(&format!("[{}]", texts.join(",")), "    "))),
        "json" => print(&format!("[{}]\n", texts.join(","))),
        format => {
            let broken = |message: String| Error::message(format!("template parsing error: {message}"));
            let template = Template::parse(format).map_err(broken)?;
            texts.iter().try_for_each(|text| {
                let value = Value::from_json(text).map_err(|e| Error::message(e.to_string()))?;
                let shown = template.render(&value).or_else(|_| template.render_strict(&value.into_maps()));
                println(&shown.map_err(broken)?)
            })
        }
    }
}

/// A context as JSON in docker's order.
fn described(context: &Context, name: &str) -> Result<String> {
    let store = store(context);
    let (known, tls, meta_path, tls_path) = if name == DEFAULT {
        let endpoint = EndpointMetadata { host: context.default_host.clone(), skip_tls_verify: false };
        (Metadata::new(DEFAULT, "", endpoint), Vec::new(), "<IN MEMORY>".to_owned(), "<IN MEMORY>".to_owned())
    } else {
        let shown = |path: &Path| path.display().to_string();
        let (meta, tls) = (store.meta_folder(name), store.tls_folder(name));
        (store.get(name)?, store.tls(name).into_keys().collect(), shown(&meta), shown(&tls))
    };
    let material = if tls.is_empty() { serde_json::json!({}) } else { serde_json::json!({ "docker": tls }) };
    let storage = format!(
        "{{\"MetadataPath\":{},\"TLSPath\":{}}}",
        serde_json::Value::from(meta_path),
        serde_json::Value::from(tls_path)
    );
    let text = serde_json::to_string(&known).map_err(|e| Error::message(e.to_string()))?;
    let open = text.strip_suffix('}').unwrap_or(&text);
    Ok(format!("{open},\"TLSMaterial\":{material},\"Storage\":{storage}}}"))
}

fn export(context: &Context, matches: &Matches) -> Result<()> {
    let (store, name) = (store(context), matches.arg(0));
    if name == DEFAULT {
        return Err(Error::message("\"default\" is a reserved context name"));
    }
    let known = store.get(name)?;
    let text = serde_json::to_vec(&known).map_err(|e| Error::message(e.to_string()))?;
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |path: &str, bytes: &[u8]| -> Result<()> {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        Ok(archive.append_data(&mut header, path, bytes)?)
    };
    add("meta.json", &text)?;
    for (file, path) in store.tls(name) {
        let shown = path.display().to_string();
        add(&format!("tls/docker/{file}"), &read_limited(open_file(&shown)?, &shown)?)?;
    }
    let bytes = archive.into_inner()?;
    let file = matches.args.get(1).cloned().unwrap_or_else(|| format!("{name}.dockercontext"));
    if file == "-" {
        if terminal::stdout_is_terminal() {
            return Err(Error::message("cowardly refusing to export to a terminal, specify a file path"));
        }
        return Ok(std::io::stdout().lock().write_all(&bytes)?);
    }
    let made = std::fs::OpenOptions::new().write(true).create_new(true).open(&file);
    made.and_then(|mut made| made.write_all(&bytes))
        .map_err(|e| Error::message(format!("open {file}: {}", crate::error::reason(&e))))?;
    eprintln(&format!("Written file {file:?}"));
    Ok(())
}

fn import(context: &Context, matches: &Matches) -> Result<()> {
    let (store, name, file) = (store(context), matches.arg(0), matches.arg(1));
    check_name(name)?;
    if store.exists(name) {
        return Err(Error::message(format!("context {name:?} already exists")));
    }
    let bytes = match file {
        "-" => read_limited(std::io::stdin(), "-")?,
        file => read_limited(open_file(file)?, file)?,
    };
    if bytes.starts_with(b"PK") {
        return Err(Error::message(format!("{file}: zip archives of contexts are not supported: export a tar")));
    }
    let (known, tls) = unpack(&bytes).map_err(|e| Error::message(format!("{file}: {e}")))?;
    store.put_tls(name, &tls)?;
    store.put(&Metadata { name: name.to_owned(), ..known })?;
    println(name)?;
    eprintln(&format!("Successfully imported context {name:?}"));
    Ok(())
}

/// The parts of an exported context. The limit on the whole archive is the limit on each.
fn unpack(bytes: &[u8]) -> std::result::Result<(Metadata, BTreeMap<String, Vec<u8>>), String> {
    let mut archive = tar::Archive::new(bytes);
    let (mut known, mut tls) = (None, BTreeMap::new());
    for entry in archive.entries().map_err(|e| e.to_string())? {
        let mut entry = entry.map_err(|e| e.to_string())?;
        let path = entry.path().map_err(|e| e.to_string())?.to_string_lossy().into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| e.to_string())?;
        match path.strip_prefix("tls/docker/") {
            Some(file) if TLS_FILES.contains(&file) => drop(tls.insert(file.to_owned(), content)),
            _ if path == "meta.json" => known = Some(serde_json::from_slice(&content).map_err(|e| e.to_string())?),
            // Folders and the endpoints of other programs.
            _ => {}
        }
    }
    known.map(|known| (known, tls)).ok_or_else(|| "invalid context: no metadata found".to_owned())
}
