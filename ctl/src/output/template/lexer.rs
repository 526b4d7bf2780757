//! Cuts a template into text and the tokens of its actions.

/// A token and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) at: Position,
}

/// Line (from 1) and byte column (from 0), as Go's messages count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    /// Text outside actions.
    Text(String),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// `.Name`; a chain is several of these without space between.
    Field(String),
    /// A lone `.`
    Dot,
    /// `$` or `$name`
    Variable(String),
    /// A function, a keyword, `true`, `false`, `nil`.
    Word(String),
    Quoted(String),
    Int(i64),
    Float(f64),
    /// A character constant.
    Char(char),
    Pipe,
    LeftParen,
    RightParen,
    Comma,
    Declare,
    Assign,
    Space,
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<Token>,
}

/// All tokens of `text`, or Go's message.
pub(super) fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    while lexer.at < text.len() {
        lexer.outside()?;
    }
    Ok(lexer.tokens)
}

impl Lexer<'_> {
    fn position(&self, at: usize) -> Position {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        Position { line, column: at - before.rfind('\n').map_or(0, |newline| newline + 1) }
    }

    fn fail<T>(&self, reason: &str) -> Result<T, String> {
        Err(format!("template: :{}: {reason}", self.position(self.at.min(self.text.len())).line))
    }

    fn push(&mut self, kind: Kind, at: usize) {
        let at = self.position(at);
        self.tokens.push(Token { kind, at });
    }

    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Text up to the next `{{`, trimmed where the action says `{{- `.
    fn outside(&mut self) -> Result<(), String> {
        let start = self.at;
        let Some(found) = self.rest().find("{{") else {
            let text = self.rest().to_owned();
            self.push(Kind::Text(text), start);
            self.at = self.text.len();
            return Ok(());
        };
        let open = start + found;
        let after = &self.text[open + 2..];
        let trims = after.starts_with('-') && after[1..].starts_with([' ', '\t', '\r', '\n']);
        let text = &self.text[start..open];
        let text = if trims { text.trim_end_matches([' ', '\t', '\r', '\n']) } else { text };
        if !text.is_empty() {
            let text = text.to_owned();
            self.push(Kind::Text(text), start);
        }
        self.at = open + 2 + usize::from(trims);
        if self.rest().trim_start_matches([' ', '\t', '\r', '\n']).starts_with("/*") {
            return self.comment();
        }
        self.push(Kind::Open, open);
        self.inside()
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(end) = self.rest().find("*/") else { return self.fail("unclosed comment") };
        self.at += end + 2;
        let after = self.rest();
        if after.starts_with("}}") {
            self.at += 2;
        } else if after.starts_with(" -}}") {
            self.at += 4;
            self.skip_space();
        } else {
            return self.fail("comment ends before closing delimiter");
        }
        Ok(())
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    /// The tokens of one action, up to and with its `}}`.
    fn inside(&mut self) -> Result<(), String> {
        let mut depth = 0usize;
        loop {
            let rest = self.rest();
            let closes_trimmed = rest.starts_with([' ', '\t', '\r', '\n']) && rest[1..].starts_with("-}}");
            if rest.starts_with("}}") || closes_trimmed {
                if depth > 0 {
                    return self.fail("unclosed left paren");
                }
                let at = self.at;
                self.push(Kind::Close, at);
                self.at += if closes_trimmed { 4 } else { 2 };
                if closes_trimmed {
                    self.skip_space();
                }
                return Ok(());
            }
            let Some(c) = rest.chars().next() else { return self.fail("unclosed action") };
            match c {
                '(' => depth += 1,
                ')' if depth == 0 => return self.fail("unexpected right paren"),
                ')' => depth -= 1,
                _ => {}
            }
            self.token(c)?;
        }
    }

    fn token(&mut self, c: char) -> Result<(), String> {
        let start = self.at;
        let single = match c {
            ' ' | '\t' | '\r' | '\n' => {
                // The space of a closing ` -}}` belongs to the delimiter.
                while self.rest().starts_with([' ', '\t', '\r', '\n']) && !self.rest()[1..].starts_with("-}}") {
                    self.at += 1;
                }
                self.push(Kind::Space, start);
                return Ok(());
            }
            '|' => Some(Kind::Pipe),
            '(' => Some(Kind::LeftParen),
            ')' => Some(Kind::RightParen),
            ',' => Some(Kind::Comma),
            '=' => Some(Kind::Assign),
            _ => None,
        };
        if let Some(kind) = single {
            self.at += 1;
            self.push(kind, start);
            return Ok(());
        }
        match c {
            ':' if self.rest().starts_with(":=") => {
                self.at += 2;
                self.push(Kind::Declare, start);
                Ok(())
            }
            ':' => self.fail("expected :="),
            '"' => self.quoted(start),
            '`' => self.raw_quoted(start),
            '\'' => self.character(start),
            '$' => {
                self.at += 1;
                let name = self.name();
                self.push(Kind::Variable(format!("${name}")), start);
                Ok(())
            }
            '.' if !self.rest()[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.at += 1;
                let name = self.name();
                let kind = if name.is_empty() { Kind::Dot } else { Kind::Field(name) };
                self.push(kind, start);
                Ok(())
            }
            '.' | '+' | '-' | '0'..='9' => self.number(start),
            c if c.is_alphabetic() || c == '_' => {
                let name = self.name();
                self.push(Kind::Word(name), start);
                Ok(())
            }
            c => self.fail(&format!("unrecognized character in action: U+{:04X} {c:?}", u32::from(c))),
        }
    }

    fn name(&mut self) -> String {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        self.at += end;
        name
    }

    fn quoted(&mut self, start: usize) -> Result<(), String> {
        self.at += 1;
        let mut value = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else { return self.fail("unterminated quoted string") };
            self.at += c.len_utf8();
            match c {
                '"' => break,
                '\n' => return self.fail("unterminated quoted string"),
                '\\' => value.push(self.escape()?),
                c => value.push(c),
            }
        }
        self.push(Kind::Quoted(value), start);
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Result<char, String> {
        let Some(c) = self.rest().chars().next() else { return self.fail("unterminated quoted string") };
        self.at += c.len_utf8();
        let digits = |lexer: &mut Self, count: usize| {
            let code = lexer.rest().get(..count).and_then(|hex| u32::from_str_radix(hex, 16).ok());
            match code.and_then(char::from_u32) {
                Some(c) => {
                    lexer.at += count;
                    Ok(c)
                }
                None => lexer.fail("invalid syntax"),
            }
        };
        Ok(match c {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'v' => '\u{b}',
            '\\' | '"' | '\'' => c,
            'x' => digits(self, 2)?,
            'u' => digits(self, 4)?,
            'U' => digits(self, 8)?,
            _ => return self.fail("invalid syntax"),
        })
    }

    fn raw_quoted(&mut self, start: usize) -> Result<(), String> {
        let Some(end) = self.rest()[1..].find('`') else { return self.fail("unterminated raw quoted string") };
        let value = self.rest()[1..=end].to_owned();
        self.at += end + 2;
        self.push(Kind::Quoted(value), start);
        Ok(())
    }

    fn character(&mut self, start: usize) -> Result<(), String> {
        self.at += 1;
        let Some(c) = self.rest().chars().next() else { return self.fail("unterminated character constant") };
        self.at += c.len_utf8();
        let c = if c == '\\' { self.escape()? } else { c };
        if !self.rest().starts_with('\'') {
            return self.fail("unterminated character constant");
        }
        self.at += 1;
        self.push(Kind::Char(c), start);
        Ok(())
    }

    fn number(&mut self, start: usize) -> Result<(), String> {
        let rest = self.rest();
        let sign = usize::from(rest.starts_with(['+', '-']));
        let end = rest[sign..]
            .find(|c: char| !c.is_alphanumeric() && c != '.' && c != '_')
            .map_or(rest.len(), |end| end + sign);
        let text = rest[..end].to_owned();
        self.at += end;
        let plain = text.replace('_', "");
        if let Ok(number) = crate::flags::values::parse_int(&plain) {
            self.push(Kind::Int(number), start);
        } else if let (true, Ok(number)) = (plain.len() > sign, plain.parse::<f64>()) {
            self.push(Kind::Float(number), start);
        } else {
            return self.fail(&format!("bad number syntax: {text:?}"));
        }
        Ok(())
    }
}
