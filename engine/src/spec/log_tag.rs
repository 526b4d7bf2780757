//! Tags of log lines: docker's `tag` option, a template such as `{{.Name}}/{{.ID}}`.
//!
//! Of Go's templates there are fields of the container, and the functions `lower`, `upper`, `title` and `json` in front
//! of a field or behind `|`; other actions are refused.

use std::collections::BTreeMap;

/// Bytes of a template at most.
const TEMPLATE_BYTES_MAX: usize = 4096;

/// What templates know of a container.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The digest of its image.
    pub image_id: &'a str,
    /// Its image as the user named it.
    pub image_name: &'a str,
    /// The command line.
    pub command: &'a str,
    /// This machine's name.
    pub hostname: &'a str,
    /// The labels and variables that the log's options choose.
    pub extra: &'a BTreeMap<String, String>,
}

/// A field of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Id,
    FullId,
    Name,
    ImageId,
    ImageFullId,
    ImageName,
    Command,
    Hostname,
    DaemonName,
    ExtraAttributes,
}

/// What is done to a field's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Function {
    Lower,
    Upper,
    Title,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Action(Field, Vec<Function>),
}

/// A template, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Part>);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > TEMPLATE_BYTES_MAX {
            return Err(format!("longer than {TEMPLATE_BYTES_MAX} bytes"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("{{") {
            let inside = &rest[start + 2..];
            let end = inside.find("}}").ok_or("unclosed action")?;
            if start > 0 {
                parts.push(Part::Text(rest[..start].to_owned()));
            }
            parts.push(action(&inside[..end])?);
            rest = &inside[end + 2..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text for a container.
    #[must_use]
    pub fn render(&self, facts: &Facts<'_>) -> String {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(plain) => text.push_str(plain),
                Part::Action(field, functions) => {
                    let value = functions.iter().fold(field.of(facts), |value, function| function.apply(value));
                    text.push_str(&value);
                }
            }
        }
        text
    }
}

fn action(text: &str) -> Result<Part, String> {
    let refuse =
        || format!("{{{{{text}}}}} is not supported: a field such as {{{{.Name}}}}, with lower, upper, title or json");
    let mut stages = text.split('|').map(str::trim);
    let first = stages.next().unwrap_or_default();
    let mut functions = Vec::new();
    let words: Vec<&str> = first.split_whitespace().collect();
    let field = match words[..] {
        // docker's own form: a method that is given a function or nil.
        [".ExtraAttributes", "nil"] | [".ExtraAttributes"] => ".ExtraAttributes",
        [field] => field,
        [function, field] => {
            functions.push(Function::named(function).ok_or_else(refuse)?);
            field
        }
        _ => return Err(refuse()),
    };
    let field = field.strip_prefix('.').and_then(Field::named).ok_or_else(refuse)?;
    for stage in stages {
        functions.push(Function::named(stage).ok_or_else(refuse)?);
    }
    Ok(Part::Action(field, functions))
}

impl Field {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ID" => Self::Id,
            "FullID" | "ContainerID" => Self::FullId,
            "Name" | "ContainerName" => Self::Name,
            "ImageID" => Self::ImageId,
            "ImageFullID" | "ContainerImageID" => Self::ImageFullId,
            "ImageName" | "ContainerImageName" => Self::ImageName,
            "Command" => Self::Command,
            "Hostname" => Self::Hostname,
            "DaemonName" => Self::DaemonName,
            "ExtraAttributes" => Self::ExtraAttributes,
            _ => return None,
        })
    }

    fn of(self, facts: &Facts<'_>) -> String {
        let short = |id: &str| id.chars().take(12).collect();
        match self {
            Self::Id => short(facts.id),
            Self::FullId => facts.id.to_owned(),
            Self::Name => facts.name.to_owned(),
            Self::ImageId => short(facts.image_id.rsplit(':').next().unwrap_or_default()),
            Self::ImageFullId => facts.image_id.to_owned(),
            Self::ImageName => facts.image_name.to_owned(),
            Self::Command => facts.command.to_owned(),
            Self::Hostname => facts.hostname.to_owned(),
            Self::DaemonName => "gantry".to_owned(),
            Self::ExtraAttributes => {
                let pairs: Vec<String> = facts.extra.iter().map(|(name, value)| format!("{name}:{value}")).collect();
                format!("map[{}]", pairs.join(" "))
            }
        }
    }
}

impl Function {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "lower" => Self::Lower,
            "upper" => Self::Upper,
            "title" => Self::Title,
            "json" => Self::Json,
            _ => return None,
        })
    }

    fn apply(self, text: String) -> String {
        match self {
            Self::Lower => text.to_lowercase(),
            Self::Upper => text.to_uppercase(),
            Self::Title => {
                let mut letters = text.chars();
                let first: String = letters.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
                first + letters.as_str()
            }
            Self::Json => serde_json::Value::String(text).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, String> {
        let extra = BTreeMap::from([("role".to_owned(), "web".to_owned())]);
        let facts = Facts {
            id: "0123456789abcdef",
            name: "shop",
            image_id: "sha256:fedcba98765432100",
            image_name: "nginx:1",
            command: "nginx -g x",
            hostname: "node1",
            extra: &extra,
        };
        Ok(Template::parse(template)?.render(&facts))
    }

    #[test]
    fn fields_stand_for_the_containers_own() {
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{{.ID}}", "0123456789ab"),
            ("{{.ImageName}}/{{ .Name }}/{{.FullID}}", "nginx:1/shop/0123456789abcdef"),
            ("{{.ImageID}} {{.ImageFullID}}", "fedcba987654 sha256:fedcba98765432100"),
            ("{{upper .Name}}-{{.Name | title}}-{{.Name|upper|json}}", "SHOP-Shop-\"SHOP\""),
            ("{{.DaemonName}} {{.Hostname}} {{.Command}}", "gantry node1 nginx -g x"),
            ("{{.ExtraAttributes nil}}", "map[role:web]"),
        ] {
            assert_eq!(render(template).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn other_actions_are_refused() {
        for template in ["{{.Nope}}", "{{.ID", "{{if .ID}}x{{end}}", "{{printf \"%s\" .ID}}", "{{.ID | shout}}"] {
            assert!(render(template).is_err(), "{template}");
        }
    }
}
