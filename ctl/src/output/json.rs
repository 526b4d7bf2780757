//! JSON text for people: indented exactly as it came, every number and escape untouched.

/// Indents JSON text by `unit` per level, like Go's `json.Indent`. Other white space is dropped.
pub(crate) fn indent(text: &str, unit: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let mut depth = 0usize;
    let mut letters = text.trim().chars().peekable();
    while let Some(c) = letters.next() {
        match c {
            '"' => {
                out.push('"');
                copy_string(&mut letters, &mut out);
            }
            '{' | '[' => {
                let close = if c == '{' { '}' } else { ']' };
                while letters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                out.push(c);
                if letters.next_if_eq(&close).is_some() {
                    out.push(close);
                } else {
                    depth += 1;
                    newline(&mut out, unit, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                newline(&mut out, unit, depth);
                out.push(c);
            }
            ',' => {
                out.push(',');
                newline(&mut out, unit, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

fn copy_string(letters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    while let Some(c) = letters.next() {
        out.push(c);
        match c {
            '\\' => out.extend(letters.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn newline(out: &mut String, unit: &str, depth: usize) {
    out.push('\n');
    for _ in 0..depth {
        out.push_str(unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_as_go_does() {
        let text = r#" {"a":[1,2.50,{"b":"x\"{,:"}],"c":{},"d":[ ],"e":null} "#;
        let shown = indent(text, "  ");
        assert_eq!(
            shown,
            "{\n  \"a\": [\n    1,\n    2.50,\n    {\n      \"b\": \"x\\\"{,:\"\n    }\n  ],\n  \"c\": {},\n  \"d\": [],\n  \"e\": null\n}"
        );
    }
}
