//! PURE. Answers of a front-end as people read them: tables and pieces of a Dockerfile.

/// Lines shown around those that are meant.
const AROUND: usize = 4;
const RULE: &str = "--------------------";

/// Rows in columns, three spaces or `gap` apart, as Go's tabwriter sets them: the last column is not padded.
pub(super) fn table(rows: &[Vec<String>], gap: usize) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0) + gap).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            let width = if column + 1 == row.len() { 0 } else { widths[column] };
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count())));
        }
        text.push('\n');
    }
    text
}

/// A piece of a file, the lines from `start` to `end` (from 1) marked.
pub(super) fn excerpt(name: &str, file: &str, start: u32, end: u32) -> String {
    let lines: Vec<&str> = file.lines().collect();
    let (marked_start, marked_end) = (start as usize, (end as usize).min(lines.len()));
    if marked_start == 0 || marked_start > lines.len() {
        return String::new();
    }
    let (mut first, mut last) = (marked_start, marked_end.max(marked_start));
    let pad = if first == last { AROUND } else { AROUND / 2 };
    let mut shown = 0;
    while shown < pad {
        if first > 1 {
            first -= 1;
            shown += 1;
        }
        if last < lines.len() {
            last += 1;
            shown += 1;
        }
        shown += 1;
    }
    let mut text = format!("{name}:{marked_start}\n{RULE}\n");
    for number in first..=last {
        let mark = if (marked_start..=marked_end).contains(&number) { ">>>" } else { "   " };
        text.push_str(&format!(" {number:3} | {mark} {}\n", lines[number - 1]));
    }
    text.push_str(RULE);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_are_meant_are_marked() {
        let file = "FROM a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f";
        let found = excerpt("Dockerfile", file, 3, 3);
        assert!(found.starts_with("Dockerfile:3\n--------------------\n"), "{found}");
        assert!(found.contains("   3 | >>> RUN c\n") && found.contains("   2 |     RUN b\n"), "{found}");
        assert!(!found.contains("RUN f"), "{found}");
        assert_eq!(excerpt("x", file, 9, 9), "");
    }

    #[test]
    fn columns_are_set_apart() {
        let rows = [vec!["A".into(), "B".into()], vec!["long".into(), "b".into()]];
        assert_eq!(table(&rows, 3), "A      B\nlong   b\n");
    }
}
