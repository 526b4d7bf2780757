//! Rows as tables, templates or JSON: the one path from a list to the terminal.
//!
//! A command makes [`Row`]s and names its columns; [`render`] obeys `--format`: `table` (the default),
//! `table TEMPLATE`, `json`, or a template per row.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::{Error, Result};

use super::template::{Object, Template, Value, quote_json};

/// One object of a list, with the properties that templates may use.
#[derive(Debug)]
pub(crate) struct Row {
    type_name: &'static str,
    fields: BTreeMap<&'static str, Value>,
    labels: BTreeMap<String, String>,
}

impl Row {
    /// `type_name` is how docker's messages call such a row, e.g. `*formatter.ContainerContext`.
    pub(crate) fn new(type_name: &'static str) -> Self {
        Row { type_name, fields: BTreeMap::new(), labels: BTreeMap::new() }
    }

    /// A row with every property of a table, all empty.
    fn blank(columns: Columns) -> Self {
        let fields = columns.iter().map(|(name, _)| (*name, Value::text(""))).collect();
        Row { type_name: "row", fields, labels: BTreeMap::new() }
    }

    pub(crate) fn set(mut self, name: &'static str, value: impl Into<Rc<str>>) -> Self {
        self.fields.insert(name, Value::text(value));
        self
    }

    /// A property that is no text.
    pub(crate) fn set_value(mut self, name: &'static str, value: Value) -> Self {
        self.fields.insert(name, value);
        self
    }

    /// What the `.Label "key"` method looks in.
    pub(crate) fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = labels;
        self
    }
}

impl Object for Row {
    fn type_name(&self) -> &str {
        self.type_name
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<std::result::Result<Value, String>> {
        if name == "Label" && !self.fields.contains_key("Label") {
            let key = args.first().map(|key| key.as_str().to_owned());
            return Some(match key {
                Some(key) => Ok(Value::text(self.labels.get(&key).map_or("", String::as_str))),
                None => Err("wrong number of args for Label: want 1 got 0".to_owned()),
            });
        }
        self.fields.get(name).map(|value| Ok(value.clone()))
    }

    fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (index, (name, value)) in self.fields.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            quote_json(name, &mut out);
            out.push(':');
            out.push_str(&value.to_json());
        }
        out.push('}');
        // Docker escapes these in rows, though not in other JSON.
        out.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
    }
}

/// The names of the columns as `.Name` → `HEADER`.
#[derive(Debug)]
struct Header(BTreeMap<&'static str, &'static str>);

impl Object for Header {
    fn type_name(&self) -> &str {
        "formatter.SubHeaderContext"
    }

    fn get(&self, name: &str, args: &[Value]) -> Option<std::result::Result<Value, String>> {
        if name == "Label" && !self.0.contains_key("Label") {
            let key = args.first().map_or("", |key| key.as_str());
            let last = key.rsplit('.').next().unwrap_or(key);
            return Some(Ok(Value::text(last.replace(['-', '_'], " "))));
        }
        Some(Ok(self.0.get(name).map_or(Value::Missing, |header| Value::text(*header))))
    }

    fn to_json(&self) -> String {
        "{}".to_owned()
    }
}

/// Headers of every property a row has: `("ID", "CONTAINER ID")`.
pub(crate) type Columns = &'static [(&'static str, &'static str)];

/// Renders rows by `format`; an empty one means `table default`.
pub(crate) fn render(format: &str, default: &str, columns: Columns, rows: Vec<Row>) -> Result<String> {
    let format = if format.is_empty() || format == "table" { format!("table {default}") } else { format.to_owned() };
    let (is_table, body) = match format.strip_prefix("table") {
        Some(rest) if rest.starts_with([' ', '\t']) => (true, rest.trim().to_owned()),
        _ if format == "json" => (false, "{{json .}}".to_owned()),
        _ => (false, format),
    };
    let template = parse(&body.replace("\\t", "\t").replace("\\n", "\n"))?;
    let execute = |result: std::result::Result<String, String>| {
        result.map_err(|message| Error::message(format!("failed to execute template: {message}")))
    };
    let mut text = String::new();
    if rows.is_empty() && !is_table {
        // A bad template is told even where there is nothing to show.
        execute(template.render(&Value::Object(Rc::new(Row::blank(columns)))))?;
    }
    let mut lines = String::new();
    for row in rows {
        lines.push_str(&execute(template.render(&Value::Object(Rc::new(row))))?);
        lines.push('\n');
    }
    if is_table {
        let header = Value::Object(Rc::new(Header(columns.iter().copied().collect())));
        text.push_str(&execute(template.render_header(&header))?);
        text.push('\n');
        text.push_str(&lines);
        return Ok(align(&text, 10, 3));
    }
    Ok(lines)
}

/// Parses a `--format` template with docker's message.
pub(crate) fn parse(text: &str) -> Result<Template> {
    Template::parse(text).map_err(|message| Error::message(format!("failed to parse template: {message}")))
}

/// Aligns tab-separated cells in columns, as Go's `tabwriter` does: a column is a run of lines that have
/// the cell; its width is that of the widest cell plus `padding`, at least `minimum`.
pub(crate) fn align(text: &str, minimum: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> =
        text.strip_suffix('\n').unwrap_or(text).split('\n').map(|line| line.split('\t').collect()).collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|line| vec![0; line.len().saturating_sub(1)]).collect();
    let deepest = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..deepest {
        let mut first = 0;
        while first < lines.len() {
            let end = (first..lines.len()).find(|line| widths[*line].len() <= column).unwrap_or(lines.len());
            let widest = (first..end).map(|line| lines[line][column].chars().count() + padding).max();
            let width = widest.unwrap_or(0).max(minimum);
            for row in &mut widths[first..end] {
                row[column] = width;
            }
            first = end + 1;
        }
    }
    let mut out = String::with_capacity(text.len() * 2);
    for (line, widths) in lines.iter().zip(&widths) {
        for (index, cell) in line.iter().enumerate() {
            match widths.get(index) {
                Some(width) => out.push_str(&format!("{cell:<width$}")),
                None => out.push_str(cell),
            }
        }
        out.push('\n');
    }
    out
}

/// Cuts a text to `limit` characters, the last of them an ellipsis.
pub(crate) fn ellipsis(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(limit.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// The twelve digits by which people know an id; the algorithm's name is dropped.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.split_once(':').map_or(id, |(_, digits)| digits);
    digits.get(..12).unwrap_or(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> Vec<Row> {
        let labels = BTreeMap::from([("com.x.tier-name".to_owned(), "front".to_owned())]);
        vec![
            Row::new("*formatter.ContainerContext").set("ID", "abc").set("Names", "web").labels(labels),
            Row::new("*formatter.ContainerContext").set("ID", "0123456789ab").set("Names", "a-long-name"),
        ]
    }

    const COLUMNS: Columns = &[("ID", "CONTAINER ID"), ("Names", "NAMES")];
    const DEFAULT: &str = "{{.ID}}\t{{.Names}}";

    #[test]
    fn the_format_flag_is_obeyed() {
        let cases = [
            ("", "CONTAINER ID   NAMES\nabc            web\n0123456789ab   a-long-name\n"),
            (
                "table {{.Names}}\t{{.ID}}",
                "NAMES         CONTAINER ID\nweb           abc\na-long-name   0123456789ab\n",
            ),
            (
                "table {{upper .Names}}\\t{{.Label \"com.x.tier-name\"}}",
                "NAMES         tier name\nWEB           front\nA-LONG-NAME   \n",
            ),
            ("json", "{\"ID\":\"abc\",\"Names\":\"web\"}\n{\"ID\":\"0123456789ab\",\"Names\":\"a-long-name\"}\n"),
            ("{{.Names}}={{.ID}}", "web=abc\na-long-name=0123456789ab\n"),
        ];
        for (format, shown) in cases {
            assert_eq!(render(format, DEFAULT, COLUMNS, rows()).unwrap(), shown, "{format}");
        }
    }

    #[test]
    fn bad_templates_are_told_as_docker_tells_them() {
        let message = |format| render(format, DEFAULT, COLUMNS, rows()).unwrap_err().to_string();
        assert_eq!(
            message("{{.Foo}}"),
            "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        );
        assert_eq!(message("{{"), "failed to parse template: template: :1: unclosed action");
    }

    #[test]
    fn columns_are_runs_of_lines() {
        assert_eq!(align("a\tb\nccccccccccc\td\n\ne\tf\n", 4, 1), "a           b\nccccccccccc d\n\ne   f\n");
    }
}
