//! `--volume`, `--mount` and `--tmpfs`.

use std::collections::BTreeMap;
use std::path::Path;

use docker_api::container::{BindOptions, DriverConfig, ImageOptions, Mount, TmpfsOptions, VolumeOptions};

use crate::flags::values::parse_bool;
use crate::units;

/// A `-v` value: a bind (with a source) or the path of an anonymous volume.
#[derive(Debug, PartialEq)]
pub(crate) enum Volume {
    Bind(String),
    Anonymous(String),
}

/// Reads one `-v`. A relative source that begins with a dot is meant from the working directory.
pub(crate) fn parse_volume(text: &str) -> Result<Volume, String> {
    if text.is_empty() {
        return Err("invalid empty volume spec".to_owned());
    }
    let Some((source, target)) = text.split_once(':') else {
        return Ok(Volume::Anonymous(text.to_owned()));
    };
    if source.starts_with('.') {
        return Ok(Volume::Bind(format!("{}:{target}", absolute(source)?)));
    }
    Ok(Volume::Bind(text.to_owned()))
}

fn absolute(path: &str) -> Result<String, String> {
    let folder = std::env::current_dir().map_err(|error| format!("{path}: {error}"))?;
    Ok(clean(&folder.join(path)))
}

/// Without `.` and `..`, as text: the path need not exist.
fn clean(path: &Path) -> String {
    let mut parts: Vec<String> = Vec::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                parts.pop();
            }
            std::path::Component::Normal(name) => parts.push(name.to_string_lossy().into_owned()),
            _ => {}
        }
    }
    format!("/{}", parts.join("/"))
}

/// `--tmpfs PATH[:OPTIONS]`.
pub(crate) fn parse_tmpfs(list: &[String]) -> BTreeMap<String, String> {
    let split = |text: &String| match text.split_once(':') {
        Some((path, options)) => (path.to_owned(), options.to_owned()),
        None => (text.clone(), String::new()),
    };
    list.iter().map(split).collect()
}

/// The check of `--mount`.
pub(crate) fn check_mount(text: &str) -> Result<(), String> {
    parse_mount(text).map(|_| ())
}

/// Splits comma separated fields; a field may be quoted.
pub(crate) fn split_fields(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Err("EOF".to_owned());
    }
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(c) = letters.next() {
        let field = fields.last_mut().ok_or("EOF")?;
        match c {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            '"' => return Err("parse error: bare \" in non-quoted-field".to_owned()),
            ',' if !quoted => fields.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("parse error: extraneous or missing \" in quoted-field".to_owned());
    }
    Ok(fields)
}

/// Reads one `--mount`.
pub(crate) fn parse_mount(text: &str) -> Result<Mount, String> {
    let mut mount = Mount { kind: "volume".to_owned(), ..Mount::default() };
    for field in split_fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), value),
            None => (field.to_lowercase(), ""),
        };
        let bare = !field.contains('=');
        let switch = matches!(key.as_str(), "readonly" | "ro" | "volume-nocopy" | "bind-nonrecursive");
        if bare && !switch {
            return Err(format!("invalid field '{field}' must be a key=value pair"));
        }
        let value = if bare { "true" } else { value };
        set_field(&mut mount, &key, value, &field)?;
    }
    validate(mount)
}

fn set_field(mount: &mut Mount, key: &str, value: &str, field: &str) -> Result<(), String> {
    let boolean = || parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"));
    match key {
        "type" => mount.kind = value.to_lowercase(),
        "source" | "src" => {
            mount.source = if value == "." || value == ".." || value.starts_with("./") || value.starts_with("../") {
                absolute(value)?
            } else {
                value.to_owned()
            };
        }
        "target" | "dst" | "destination" => value.clone_into(&mut mount.target),
        "readonly" | "ro" => mount.read_only = boolean()?,
        "consistency" => mount.consistency = value.to_lowercase(),
        "bind-propagation" => bind(mount).propagation = value.to_lowercase(),
        "bind-nonrecursive" => bind(mount).non_recursive = boolean()?,
        "bind-recursive" => set_recursive(bind(mount), value)?,
        "volume-subpath" => value.clone_into(&mut volume(mount).subpath),
        "volume-nocopy" => {
            volume(mount).no_copy =
                parse_bool(value).ok_or_else(|| format!("invalid value for volume-nocopy: {value}"))?;
        }
        "volume-label" => insert(&mut volume(mount).labels, value),
        "volume-driver" => value.clone_into(&mut driver(mount).name),
        "volume-opt" => insert(&mut driver(mount).options, value),
        "image-subpath" => {
            value.clone_into(&mut mount.image_options.get_or_insert_with(ImageOptions::default).subpath);
        }
        "tmpfs-size" => {
            tmpfs(mount).size_bytes =
                units::parse_bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        "tmpfs-mode" => {
            tmpfs(mount).mode =
                u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
        }
        _ => return Err(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

fn set_recursive(options: &mut BindOptions, value: &str) -> Result<(), String> {
    match value {
        "enabled" => {}
        "disabled" => options.non_recursive = true,
        "writable" => options.read_only_non_recursive = true,
        "readonly" => options.read_only_force_recursive = true,
        _ => {
            return Err(format!(
                "invalid value for bind-recursive: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
            ));
        }
    }
    Ok(())
}

fn validate(mount: Mount) -> Result<Mount, String> {
    let mixed = |family: &str| Err(format!("cannot mix '{family}-*' options with mount type '{}'", mount.kind));
    if mount.volume_options.is_some() && mount.kind != "volume" {
        return mixed("volume");
    }
    if mount.image_options.is_some() && mount.kind != "image" {
        return mixed("image");
    }
    if mount.bind_options.is_some() && mount.kind != "bind" {
        return mixed("bind");
    }
    if mount.tmpfs_options.is_some() && mount.kind != "tmpfs" {
        return mixed("tmpfs");
    }
    if let Some(options) = &mount.bind_options {
        let needs = |option: &str, what: &str| {
            Err(format!("option 'bind-recursive={option}' requires '{what}' to be specified in conjunction"))
        };
        if options.read_only_non_recursive && !mount.read_only {
            return needs("writable", "readonly");
        }
        if options.read_only_force_recursive && !mount.read_only {
            return needs("readonly", "readonly");
        }
        if options.read_only_force_recursive && options.propagation != "rprivate" {
            return needs("readonly", "bind-propagation=rprivate");
        }
    }
    if mount.target.is_empty() {
        return Err("target is required".to_owned());
    }
    Ok(mount)
}

fn bind(mount: &mut Mount) -> &mut BindOptions {
    mount.bind_options.get_or_insert_with(BindOptions::default)
}

fn volume(mount: &mut Mount) -> &mut VolumeOptions {
    mount.volume_options.get_or_insert_with(VolumeOptions::default)
}

fn driver(mount: &mut Mount) -> &mut DriverConfig {
    volume(mount).driver_config.get_or_insert_with(DriverConfig::default)
}

fn tmpfs(mount: &mut Mount) -> &mut TmpfsOptions {
    mount.tmpfs_options.get_or_insert_with(TmpfsOptions::default)
}

fn insert(map: &mut BTreeMap<String, String>, text: &str) {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    map.insert(key.to_owned(), value.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_binds_or_anonymous() {
        let here = std::env::current_dir().unwrap().display().to_string();
        assert_eq!(parse_volume("/a:/b:ro").unwrap(), Volume::Bind("/a:/b:ro".to_owned()));
        assert_eq!(parse_volume("name:/b").unwrap(), Volume::Bind("name:/b".to_owned()));
        assert_eq!(parse_volume("./x/../y:/b").unwrap(), Volume::Bind(format!("{here}/y:/b")));
        assert_eq!(parse_volume("/data").unwrap(), Volume::Anonymous("/data".to_owned()));
        assert_eq!(parse_volume("").unwrap_err(), "invalid empty volume spec");
    }

    #[test]
    fn mounts_are_read() {
        let mount = parse_mount("type=bind,\"src=/a,b\",dst=/c,ro,bind-propagation=rslave").unwrap();
        assert_eq!((mount.source.as_str(), mount.target.as_str(), mount.read_only), ("/a,b", "/c", true));
        assert_eq!(mount.bind_options.unwrap().propagation, "rslave");
        let mount = parse_mount("type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1777").unwrap();
        let options = mount.tmpfs_options.unwrap();
        assert_eq!((options.size_bytes, options.mode), (1 << 20, 0o1777));
        let mount = parse_mount("src=v,target=/t,volume-nocopy,volume-opt=a=b,volume-label=l").unwrap();
        let options = mount.volume_options.unwrap();
        assert!(options.no_copy && options.labels.contains_key("l"));
        assert_eq!(options.driver_config.unwrap().options["a"], "b");
    }

    #[test]
    fn bad_mounts_are_refused_with_dockers_words() {
        let cases = [
            ("type=foo", "target is required"),
            ("type=bind,foo=bar", "unexpected key 'foo' in 'foo=bar'"),
            ("target=/x,readonly=zz", "invalid value for readonly: zz"),
            ("target", "invalid field 'target' must be a key=value pair"),
            ("", "EOF"),
            ("type=volume,bind-propagation=rprivate,target=/b", "cannot mix 'bind-*' options with mount type 'volume'"),
            ("type=bind,volume-nocopy,src=/,target=/b", "cannot mix 'volume-*' options with mount type 'bind'"),
        ];
        for (text, message) in cases {
            assert_eq!(parse_mount(text).unwrap_err(), message, "{text}");
        }
    }
}
