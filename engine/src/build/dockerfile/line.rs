//! PURE. From text to instructions as lines: directives, comments, continuation and heredocs.

use super::expand::{self, Mode};
use super::fault::Fault;
use super::flags;
use super::lint::{self, Warning};
use super::model::{Directives, Heredoc, ParseError, Span, Written};
use super::words::{self, Array};

/// The most bytes that one line may have, as BuildKit's scanner has it.
const LINE_BYTES_MAX: usize = (64 << 10) - 1;
/// The most bytes that a Dockerfile may have.
pub const FILE_BYTES_MAX: usize = 4 << 20;

/// One instruction, its continuation lines joined.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Line {
    /// Its first word and the comments above.
    pub(super) written: Written,
    /// Words that begin with `--`.
    pub(super) flags: Vec<String>,
    /// What follows them.
    pub(super) rest: String,
    /// All of it.
    pub(super) source: String,
    /// Its first line as it stands in the file, for columns.
    pub(super) first: String,
    pub(super) span: Span,
    pub(super) heredocs: Vec<Heredoc>,
}

/// A file as lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) directives: Directives,
    pub(super) lines: Vec<Line>,
    pub(super) warnings: Vec<Warning>,
}

/// Takes a file apart.
///
/// # Errors
/// Lines that are too long, bad directives, heredocs that do not end, a file without instructions.
pub(super) fn read(text: &str) -> Result<Lines, ParseError> {
    let at = |line: u32| Span { start_line: line, end_line: line };
    if text.len() > FILE_BYTES_MAX {
        return Err(Fault::new(format!("the Dockerfile is longer than {FILE_BYTES_MAX} bytes")).on(at(1), ""));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader =
        Reader { raw: text.split_inclusive('\n'), number: 0, out: Lines::default(), directives_over: false };
    let mut comments = Vec::new();
    while let Some(raw) = reader.next()? {
        if is_comment(raw) {
            reader.comment(raw.trim(), &mut comments)?;
        } else if !raw.trim().is_empty() {
            reader.directives_over = true;
            reader.instruction(raw, std::mem::take(&mut comments))?;
        } else {
            reader.directives_over = true;
        }
    }
    if reader.out.lines.is_empty() {
        return Err(Fault::new("file with no instructions").on(at(reader.number.max(1)), ""));
    }
    Ok(reader.out)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn without_newline(line: &str) -> &str {
    line.trim_end_matches(['\r', '\n'])
}

/// The line without what continues it, and whether it goes on.
fn continued(line: &str, escape: char) -> (&str, bool) {
    let Some(body) = line.trim_end_matches([' ', '\t']).strip_suffix(escape) else { return (line, false) };
    // Two of them are an escaped one.
    if body.ends_with(escape) { (line, false) } else { (body, true) }
}

struct Reader<'a> {
    raw: std::str::SplitInclusive<'a, char>,
    number: u32,
    out: Lines,
    directives_over: bool,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<&'a str>, ParseError> {
        let Some(raw) = self.raw.next() else { return Ok(None) };
        self.number += 1;
        if raw.len() > LINE_BYTES_MAX {
            let fault = Fault::new(format!("dockerfile line greater than max allowed size of {LINE_BYTES_MAX}"));
            return Err(fault.on(Span { start_line: self.number, end_line: self.number }, ""));
        }
        Ok(Some(raw))
    }

    /// A comment: a directive, or what may describe the next instruction.
    fn comment(&mut self, line: &str, comments: &mut Vec<String>) -> Result<(), ParseError> {
        let text = line.trim_start_matches('#').trim();
        if !self.directives_over && self.directive(line)? {
            return Ok(());
        }
        self.directives_over = true;
        if text.is_empty() {
            comments.clear();
        } else {
            comments.push(line[1..].trim().to_owned());
        }
        Ok(())
    }

    /// `# name=value`; whether it was one.
    fn directive(&mut self, line: &str) -> Result<bool, ParseError> {
        let span = Span { start_line: self.number, end_line: self.number };
        let Some((name, value)) = line[1..].trim_start().split_once('=') else { return Ok(false) };
        let (name, value) = (name.trim_end(), value.trim());
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|letter| letter.is_ascii_alphanumeric());
        if !is_name || value.is_empty() {
            return Ok(false);
        }
        let name = name.to_lowercase();
        let twice = || Fault::new(format!("only one {name} parser directive can be used")).on(span, line);
        let directives = &mut self.out.directives;
        match name.as_str() {
            "syntax" if directives.syntax.is_some() => return Err(twice()),
            "syntax" => directives.syntax = Some((value.to_owned(), span)),
            "check" if directives.check.is_some() => return Err(twice()),
            "check" => directives.check = Some(value.to_owned()),
            "escape" if directives.escape_line.is_some() => return Err(twice()),
            "escape" => {
                directives.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    _ => {
                        let fault = Fault::new(format!("invalid escape token '{value}' does not match ` or \\"));
                        return Err(fault.at(value).on(span, line));
                    }
                };
                directives.escape_line = Some(span);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// An instruction from its first line to its last heredoc.
    fn instruction(&mut self, raw: &'a str, comments: Vec<String>) -> Result<(), ParseError> {
        let start_line = self.number;
        let escape = self.out.directives.escape;
        let first = without_newline(raw);
        let (body, mut more) = continued(first.trim_start(), escape);
        let mut source = body.to_owned();
        let mut has_empty = false;
        while more {
            let Some(raw) = self.next()? else { break };
            if is_comment(raw) {
                continue;
            }
            if raw.trim().is_empty() {
                has_empty = true;
                continue;
            }
            let (body, goes_on) = continued(without_newline(raw), escape);
            source.push_str(body);
            more = goes_on;
        }
        if has_empty {
            let span = Span { start_line: self.number, end_line: self.number };
            self.out.warnings.push(lint::NO_EMPTY_CONTINUATION.found("Empty continuation line".to_owned(), span));
        }
        // A continuation mark by itself at the end of the file.
        if source.trim().is_empty() {
            return Ok(());
        }
        let span = Span { start_line, end_line: self.number };
        let mut line = Line::of(&source, escape);
        (line.first, line.span, line.written.comments) = (first.to_owned(), span, comments);
        self.heredocs(&mut line)?;
        line.span.end_line = self.number;
        self.out.lines.push(line);
        Ok(())
    }

    /// The documents that a line announces.
    fn heredocs(&mut self, line: &mut Line) -> Result<(), ParseError> {
        if !line.source.contains("<<") || !line.takes_heredocs() {
            return Ok(());
        }
        let named = announced(&line.source).map_err(|fault| fault.on(line.span, &line.first))?;
        for mut heredoc in named {
            loop {
                let Some(raw) = self.next()? else {
                    let fault = Fault::new("unterminated heredoc").at(&heredoc.name);
                    return Err(fault.on(Span { end_line: self.number, ..line.span }, &line.first));
                };
                let end = without_newline(raw);
                let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
                if end == heredoc.name {
                    break;
                }
                heredoc.content.push_str(raw);
            }
            line.heredocs.push(heredoc);
        }
        Ok(())
    }
}

impl Line {
    /// Splits a joined line into its word, its flags and the rest.
    pub(super) fn of(source: &str, escape: char) -> Self {
        let source = source.trim();
        let (keyword, behind) = source.split_once(words::is_blank).unwrap_or((source, ""));
        let (flags, rest) = flags::split(behind, escape);
        let written = Written { keyword: keyword.to_owned(), ..Written::default() };
        Self { written, flags, rest: rest.trim().to_owned(), source: source.to_owned(), ..Self::default() }
    }

    /// Whether the instruction is one that documents may follow.
    fn takes_heredocs(&self) -> bool {
        match self.written.keyword.to_ascii_uppercase().as_str() {
            "ADD" | "COPY" | "RUN" => !matches!(words::array(&self.rest), Ok(Array::Strings(_))),
            "ONBUILD" => {
                let inner = Self::of(&self.rest, '\\');
                !inner.written.keyword.eq_ignore_ascii_case("ONBUILD") && inner.takes_heredocs()
            }
            _ => false,
        }
    }
}

/// The documents that the words of a line announce.
fn announced(source: &str) -> Result<Vec<Heredoc>, Fault> {
    let mode = Mode { raw_quotes: true, raw_escapes: true, ..Mode::default() };
    // A line that is no shell's (an open quote) announces nothing.
    let words = expand::split(source, mode).unwrap_or_default();
    words.iter().filter_map(|word| heredoc(word).transpose()).collect()
}

/// Reads `<<NAME`, `<<-NAME`, `3<<"NAME"`. `None` if the word is something else.
///
/// # Errors
/// Quotes that are not closed.
pub(super) fn heredoc(word: &str) -> Result<Option<Heredoc>, Fault> {
    let Some(name) = word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<") else {
        return Ok(None);
    };
    let (name, chomp) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
    let name = name.trim_start();
    if name.is_empty() || name.contains('<') {
        return Ok(None);
    }
    let split = |raw_quotes| {
        expand::split(name, Mode { raw_quotes, ..Mode::default() }).map_err(|error| Fault::new(error.0).at(word))
    };
    let (plain, quoted) = (split(false)?, split(true)?);
    let ([plain], [quoted]) = (plain.as_slice(), quoted.as_slice()) else { return Ok(None) };
    let quotes = |text: &str| text.matches(['\'', '"']).count();
    let expand = quotes(plain) == quotes(quoted);
    Ok(Some(Heredoc { name: plain.clone(), content: String::new(), expand, chomp }))
}
