//! PURE. The `-v` syntax: `[source:]destination[:options]`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::volume::local;

/// Where the content of a mount comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BindSource {
    /// A path of the host, absolute and cleaned.
    Path(String),
    /// A named volume.
    Volume(String),
    /// A volume without a name, made for this container.
    Anonymous,
}

/// Mount propagation of a bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Propagation {
    /// `private`.
    Private,
    /// `rprivate`, the default.
    RPrivate,
    /// `slave`.
    Slave,
    /// `rslave`.
    RSlave,
    /// `shared`.
    Shared,
    /// `rshared`.
    RShared,
}

impl Propagation {
    /// The option's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
            Self::Shared => "shared",
            Self::RShared => "rshared",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Private, Self::RPrivate, Self::Slave, Self::RSlave, Self::Shared, Self::RShared];
        all.into_iter().find(|propagation| propagation.as_str() == word)
    }
}

/// SELinux relabelling asked for with `z` or `Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Relabel {
    /// `z`: one label for all containers.
    Shared,
    /// `Z`: this container's own label.
    Private,
}

/// One parsed `-v`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Where the content comes from.
    pub source: BindSource,
    /// Absolute path in the container, cleaned.
    pub destination: String,
    /// Mounted read-only.
    pub read_only: bool,
    /// Propagation, when asked for.
    pub propagation: Option<Propagation>,
    /// Relabelling, when asked for.
    pub relabel: Option<Relabel>,
    /// A new volume is not filled from the image (`nocopy`).
    pub no_copy: bool,
}

/// Parses one `-v` argument.
///
/// # Errors
/// `InvalidArgument` naming the argument and what is wrong in it.
pub fn parse(text: &str) -> Result<Bind> {
    let wrong = |reason: &str| Error::invalid(format!("invalid volume specification: '{text}': {reason}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, options) = match parts[..] {
        [destination] => (None, destination, None),
        [_, second] if !second.starts_with('/') && second.split(',').all(is_option) => {
            return Err(wrong("a destination with options needs a source before it"));
        }
        [source, destination] => (Some(source), destination, None),
        [source, destination, options] => (Some(source), destination, Some(options)),
        _ => return Err(wrong("it has more than source, destination and options")),
    };
    if text.contains('\0') {
        return Err(wrong("it contains a zero byte"));
    }
    let source = source.map_or(Ok(BindSource::Anonymous), |source| parse_source(source, &wrong))?;
    if !destination.starts_with('/') {
        return Err(wrong("invalid mount config: mount path must be absolute"));
    }
    let destination = clean(destination);
    if destination == "/" {
        return Err(wrong("destination can't be '/'"));
    }
    let mut bind = Bind { source, destination, read_only: false, propagation: None, relabel: None, no_copy: false };
    if let Some(options) = options {
        apply_options(&mut bind, options).map_err(|reason| wrong(&reason))?;
    }
    Ok(bind)
}

fn parse_source(source: &str, wrong: &dyn Fn(&str) -> Error) -> Result<BindSource> {
    if source.is_empty() {
        return Err(wrong("the source is empty"));
    }
    if source.starts_with('/') {
        return Ok(BindSource::Path(clean(source)));
    }
    local::check_name(source)?;
    Ok(BindSource::Volume(source.to_owned()))
}

/// What an option says; each kind may be given once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OptionKind {
    Access,
    Propagation,
    Relabel,
    Copy,
    Consistency,
}

fn kind_of(word: &str) -> Option<OptionKind> {
    match word {
        "ro" | "rw" => Some(OptionKind::Access),
        "z" | "Z" => Some(OptionKind::Relabel),
        "nocopy" => Some(OptionKind::Copy),
        // How often a virtual machine synchronises: without one they mean nothing.
        "consistent" | "cached" | "delegated" | "default" => Some(OptionKind::Consistency),
        _ => Propagation::parse(word).map(|_| OptionKind::Propagation),
    }
}

fn is_option(word: &str) -> bool {
    kind_of(word).is_some()
}

fn apply_options(bind: &mut Bind, options: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    let is_path = matches!(bind.source, BindSource::Path(_));
    for word in options.split(',') {
        let kind = kind_of(word).ok_or_else(|| format!("invalid mode: {word:?}"))?;
        if seen.contains(&kind) {
            return Err(format!("invalid mode: {word:?} says again, or otherwise, what was said"));
        }
        seen.push(kind);
        match kind {
            OptionKind::Access => bind.read_only = word == "ro",
            OptionKind::Relabel => {
                bind.relabel = Some(if word == "z" { Relabel::Shared } else { Relabel::Private });
            }
            OptionKind::Copy if is_path => return Err("nocopy is for volumes, not for a path of the host".into()),
            OptionKind::Copy => bind.no_copy = true,
            OptionKind::Propagation if !is_path => {
                return Err(format!("propagation {word:?} is for a path of the host, not for a volume"));
            }
            OptionKind::Propagation => bind.propagation = Propagation::parse(word),
            OptionKind::Consistency => {}
        }
    }
    Ok(())
}

/// An absolute path without `.`, `..`, doubled and trailing slashes, by its text alone.
fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bind(source: BindSource, destination: &str) -> Bind {
        let destination = destination.into();
        Bind { source, destination, read_only: false, propagation: None, relabel: None, no_copy: false }
    }

    #[test]
    fn good_binds() {
        let path = |p: &str| BindSource::Path(p.into());
        let volume = || BindSource::Volume("data".into());
        let cases = [
            ("/data", bind(BindSource::Anonymous, "/data")),
            ("/data//x/../y/", bind(BindSource::Anonymous, "/data/y")),
            ("/src:/dst", bind(path("/src"), "/dst")),
            ("/:/host", bind(path("/"), "/host")),
            ("/a/./b//c/:/dst/", bind(path("/a/b/c"), "/dst")),
            ("data:/dst", bind(volume(), "/dst")),
            ("data:/dst:rw", bind(volume(), "/dst")),
            ("data:/dst:ro", Bind { read_only: true, ..bind(volume(), "/dst") }),
            ("data:/dst:nocopy,ro", Bind { read_only: true, no_copy: true, ..bind(volume(), "/dst") }),
            (
                "/s:/d:rslave,Z,cached",
                Bind {
                    propagation: Some(Propagation::RSlave),
                    relabel: Some(Relabel::Private),
                    ..bind(path("/s"), "/d")
                },
            ),
            (
                "/s:/d:z,rshared,ro",
                Bind {
                    propagation: Some(Propagation::RShared),
                    relabel: Some(Relabel::Shared),
                    read_only: true,
                    ..bind(path("/s"), "/d")
                },
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_or_else(|e| panic!("{text}: {e}")), expected, "{text}");
        }
    }

    #[test]
    fn bad_binds_say_why() {
        let cases = [
            ("", "must be absolute"),
            (":", "source is empty"),
            (":/dst", "source is empty"),
            ("/src:", "must be absolute"),
            ("/src:dst", "must be absolute"),
            ("relative", "must be absolute"),
            ("/foo:ro", "needs a source"),
            ("/", "can't be '/'"),
            ("/src:/", "can't be '/'"),
            ("/src:/..", "can't be '/'"),
            ("./src:/dst", "includes invalid characters for a local volume name"),
            ("a/b:/dst", "includes invalid characters for a local volume name"),
            ("x:/dst", "too short"),
            ("/s:/d:wrong", "invalid mode: \"wrong\""),
            ("/s:/d:", "invalid mode: \"\""),
            ("/s:/d:ro,rw", "invalid mode: \"rw\""),
            ("/s:/d:ro,ro", "invalid mode: \"ro\""),
            ("/s:/d:shared,private", "invalid mode: \"private\""),
            ("/s:/d:nocopy", "nocopy is for volumes"),
            ("data:/d:rshared", "for a path of the host"),
            ("/s:/d:ro:x", "more than source"),
        ];
        for (text, expected) in cases {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error} should contain {expected}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_or_gives_a_clean_destination(text in "[/a.:,rozZ\\PC]{0,24}") {
            if let Ok(bind) = parse(&text) {
                prop_assert!(bind.destination.starts_with('/') && bind.destination.len() > 1);
                prop_assert!(bind.destination.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
            }
        }
    }
}
