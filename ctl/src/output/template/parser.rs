//! Tokens become a tree: lists of nodes, pipelines of commands, operands.

use std::collections::BTreeMap;

use super::functions;
use super::lexer::{Kind, Position, Token, lex};

/// Nesting of blocks and parentheses beyond this is refused.
const DEPTH_MAX: usize = 64;

/// A template and the templates it defines.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) root: Vec<Node>,
    pub(super) defined: BTreeMap<String, Vec<Node>>,
}

#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    Action(Pipeline),
    If { condition: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    With { value: Pipeline, then: Vec<Node>, otherwise: Vec<Node> },
    Range { over: Pipeline, body: Vec<Node>, otherwise: Vec<Node> },
    Call { name: String, dot: Option<Pipeline>, at: Position },
    Break,
    Continue,
}

/// Commands joined by `|`, perhaps with variables that receive the result.
#[derive(Debug)]
pub(super) struct Pipeline {
    pub(super) variables: Vec<String>,
    /// `=` changes existing variables, `:=` declares new ones.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Vec<Operand>>,
    pub(super) at: Position,
}

#[derive(Debug)]
pub(super) struct Operand {
    pub(super) term: Term,
    /// `.A.B` behind a term other than dot.
    pub(super) fields: Vec<String>,
    pub(super) at: Position,
    /// As written, for messages.
    pub(super) shown: String,
}

#[derive(Debug)]
pub(super) enum Term {
    Dot,
    /// `.A.B`
    Field(Vec<String>),
    Variable(String),
    Function(String),
    Text(String),
    Int(i64),
    Float(f64),
    Bool(bool),
    Nil,
    Group(Box<Pipeline>),
}

struct Parser {
    tokens: Vec<Token>,
    index: usize,
    at: Position,
    defined: BTreeMap<String, Vec<Node>>,
    variables: Vec<String>,
    depth: usize,
    loops: usize,
}

/// How a list of nodes ended.
#[derive(PartialEq)]
enum Ended {
    Eof,
    End,
    Else,
    /// `{{else if` or `{{else with`: the rest of the action follows.
    ElseWord(String),
}

type Parsed<T> = Result<T, String>;

pub(super) fn parse(text: &str) -> Parsed<Tree> {
    let mut parser = Parser {
        tokens: lex(text)?,
        index: 0,
        at: Position { line: 1, column: 0 },
        defined: BTreeMap::new(),
        variables: vec!["$".to_owned()],
        depth: 0,
        loops: 0,
    };
    let (root, ended) = parser.nodes()?;
    match ended {
        Ended::Eof => Ok(Tree { root, defined: parser.defined }),
        Ended::End => parser.fail("unexpected {{end}}"),
        Ended::Else | Ended::ElseWord(_) => parser.fail("unexpected {{else}}"),
    }
}

impl Parser {
    fn fail<T>(&self, reason: &str) -> Parsed<T> {
        Err(format!("template: :{}: {reason}", self.at.line))
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.index)?.clone();
        self.index += 1;
        self.at = token.at;
        Some(token)
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.index).map(|token| &token.kind)
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.next();
        }
    }

    fn enter(&mut self) -> Parsed<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { self.fail("template is nested too deeply") } else { Ok(()) }
    }

    /// Nodes up to `{{end}}`, `{{else …}}` or the end of the text.
    fn nodes(&mut self) -> Parsed<(Vec<Node>, Ended)> {
        self.enter()?;
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            if let Kind::Text(text) = token.kind {
                nodes.push(Node::Text(text));
                continue;
            }
            self.skip_space();
            let word = match self.peek() {
                Some(Kind::Word(word)) => word.clone(),
                _ => String::new(),
            };
            if matches!(word.as_str(), "end" | "else") {
                self.next();
                self.skip_space();
                self.depth -= 1;
                let ended = if word == "end" { Ended::End } else { self.else_kind()? };
                if !matches!(ended, Ended::ElseWord(_)) {
                    self.close(&word)?;
                }
                return Ok((nodes, ended));
            }
            if let Some(node) = self.action(&word)? {
                nodes.push(node);
            }
        }
        self.depth -= 1;
        Ok((nodes, Ended::Eof))
    }

    fn else_kind(&mut self) -> Parsed<Ended> {
        match self.peek() {
            Some(Kind::Word(word)) if word == "if" || word == "with" => {
                let word = word.clone();
                self.next();
                Ok(Ended::ElseWord(word))
            }
            _ => Ok(Ended::Else),
        }
    }

    fn close(&mut self, context: &str) -> Parsed<()> {
        self.skip_space();
        match self.next() {
            Some(Token { kind: Kind::Close, .. }) => Ok(()),
            Some(token) => self.fail(&format!("unexpected {} in {context}", show(&token.kind))),
            None => self.fail("unclosed action"),
        }
    }

    fn action(&mut self, word: &str) -> Parsed<Option<Node>> {
        let node = match word {
            "if" | "with" | "range" => {
                self.next();
                self.control(word)?
            }
            "define" | "block" => {
                self.next();
                return self.define(word);
            }
            "template" => {
                self.next();
                let name = self.template_name("template")?;
                let at = self.at;
                self.skip_space();
                let dot = if self.peek() == Some(&Kind::Close) { None } else { Some(self.pipeline("template")?) };
                self.close("template")?;
                Node::Call { name, dot, at }
            }
            "break" | "continue" => {
                self.next();
                if self.loops == 0 {
                    return self.fail(&format!("{{{{{word}}}}} outside {{{{range}}}}"));
                }
                self.close(word)?;
                if word == "break" { Node::Break } else { Node::Continue }
            }
            _ => {
                let pipeline = self.pipeline("command")?;
                self.close("command")?;
                Node::Action(pipeline)
            }
        };
        Ok(Some(node))
    }

    fn control(&mut self, word: &str) -> Parsed<Node> {
        let scope = self.variables.len();
        let head = self.pipeline(word)?;
        self.close(word)?;
        self.loops += usize::from(word == "range");
        let (then, ended) = self.nodes()?;
        self.loops -= usize::from(word == "range");
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::Eof => return self.fail("unexpected EOF"),
            Ended::Else => match self.nodes()? {
                (nodes, Ended::End) => nodes,
                (_, Ended::Eof) => return self.fail("unexpected EOF"),
                _ => return self.fail("expected end; found {{else}}"),
            },
            Ended::ElseWord(next) if next == word => {
                self.enter()?;
                let node = self.control(&next)?;
                self.depth -= 1;
                vec![node]
            }
            Ended::ElseWord(next) => return self.fail(&format!("unexpected <{next}> in else")),
        };
        self.variables.truncate(scope);
        Ok(match word {
            "if" => Node::If { condition: head, then, otherwise },
            "with" => Node::With { value: head, then, otherwise },
            _ => Node::Range { over: head, body: then, otherwise },
        })
    }

    /// `{{define "x"}}…{{end}}`, or `{{block "x" dot}}…{{end}}` which also calls it.
    fn define(&mut self, word: &str) -> Parsed<Option<Node>> {
        let name = self.template_name(word)?;
        let at = self.at;
        self.skip_space();
        let dot = if word == "block" { Some(self.pipeline(word)?) } else { None };
        self.close(word)?;
        let outer = std::mem::replace(&mut self.variables, vec!["$".to_owned()]);
        let (nodes, ended) = self.nodes()?;
        self.variables = outer;
        if ended != Ended::End {
            return self.fail(&format!("unexpected EOF in {word} clause"));
        }
        self.defined.insert(name.clone(), nodes);
        Ok(dot.map(|dot| Node::Call { name, dot: Some(dot), at }))
    }

    fn template_name(&mut self, context: &str) -> Parsed<String> {
        self.skip_space();
        match self.next().map(|token| token.kind) {
            Some(Kind::Quoted(name)) => Ok(name),
            Some(kind) => self.fail(&format!("unexpected {} in {context} clause", show(&kind))),
            None => self.fail("unclosed action"),
        }
    }

    fn pipeline(&mut self, context: &str) -> Parsed<Pipeline> {
        self.enter()?;
        self.skip_space();
        let at = self.tokens.get(self.index).map_or(self.at, |token| token.at);
        let (variables, assigns) = self.declaration(context)?;
        let mut commands = vec![self.command(context)?];
        while self.peek() == Some(&Kind::Pipe) {
            self.next();
            commands.push(self.command(context)?);
        }
        for (index, command) in commands.iter().enumerate().skip(1) {
            let literal = matches!(
                command[0].term,
                Term::Text(_) | Term::Int(_) | Term::Float(_) | Term::Bool(_) | Term::Nil | Term::Dot
            );
            if literal {
                return self.fail(&format!("non executable command in pipeline stage {}", index + 1));
            }
        }
        if assigns {
            self.require_known(&variables)?;
        } else {
            self.variables.extend(variables.iter().cloned());
        }
        self.depth -= 1;
        Ok(Pipeline { variables, assigns, commands, at })
    }

    fn require_known(&self, names: &[String]) -> Parsed<()> {
        match names.iter().find(|name| !self.variables.contains(name)) {
            Some(name) => self.fail(&format!("undefined variable {name:?}")),
            None => Ok(()),
        }
    }

    /// `$x :=`, `$x =`, `$i, $x :=` at the head of a pipeline, if there.
    fn declaration(&mut self, context: &str) -> Parsed<(Vec<String>, bool)> {
        let ahead = self.tokens.get(self.index..).unwrap_or_default();
        let mut ahead = ahead.iter().map(|token| &token.kind).filter(|kind| **kind != Kind::Space);
        let Some(Kind::Variable(first)) = ahead.next() else { return Ok((Vec::new(), false)) };
        let mut names = vec![first.clone()];
        let mut operator = ahead.next();
        if operator == Some(&Kind::Comma) {
            let Some(Kind::Variable(second)) = ahead.next() else {
                return self.fail(&format!("unexpected \",\" in {context}"));
            };
            if context != "range" {
                return self.fail(&format!("too many declarations in {context}"));
            }
            names.push(second.clone());
            operator = ahead.next();
            if !matches!(operator, Some(Kind::Declare | Kind::Assign)) {
                return self.fail("range can only initialize variables");
            }
        }
        let assigns = match operator {
            Some(Kind::Declare) => false,
            Some(Kind::Assign) => true,
            _ => return Ok((Vec::new(), false)),
        };
        while let Some(token) = self.next() {
            if matches!(token.kind, Kind::Declare | Kind::Assign) {
                break;
            }
        }
        Ok((names, assigns))
    }

    fn command(&mut self, context: &str) -> Parsed<Vec<Operand>> {
        let mut operands = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                Some(Kind::Close | Kind::Pipe | Kind::RightParen) | None => break,
                _ => operands.push(self.operand(context)?),
            }
        }
        if operands.is_empty() {
            return self.fail(&format!("missing value for {context}"));
        }
        Ok(operands)
    }

    fn operand(&mut self, context: &str) -> Parsed<Operand> {
        let Some(token) = self.next() else { return self.fail("unclosed action") };
        let at = token.at;
        let mut shown = show(&token.kind);
        let term = match token.kind {
            Kind::Dot => Term::Dot,
            Kind::Field(name) => Term::Field(vec![name]),
            Kind::Variable(name) => {
                self.require_known(std::slice::from_ref(&name))?;
                Term::Variable(name)
            }
            Kind::Word(word) => match word.as_str() {
                "true" => Term::Bool(true),
                "false" => Term::Bool(false),
                "nil" => Term::Nil,
                name if functions::exists(name) => Term::Function(word),
                name => return self.fail(&format!("function {name:?} not defined")),
            },
            Kind::Quoted(text) => Term::Text(text),
            Kind::Int(number) => Term::Int(number),
            Kind::Float(number) => Term::Float(number),
            Kind::Char(c) => Term::Int(i64::from(u32::from(c))),
            Kind::LeftParen => {
                let group = self.pipeline("parenthesized pipeline")?;
                self.skip_space();
                match self.next().map(|token| token.kind) {
                    Some(Kind::RightParen) => {}
                    _ => return self.fail("unclosed left paren"),
                }
                "(…)".clone_into(&mut shown);
                Term::Group(Box::new(group))
            }
            kind => return self.fail(&format!("unexpected {} in {context}", show(&kind))),
        };
        self.with_fields(term, at, shown)
    }

    /// Adds `.A.B` written directly behind the operand.
    fn with_fields(&mut self, term: Term, mut at: Position, mut shown: String) -> Parsed<Operand> {
        let mut fields = Vec::new();
        if matches!(self.peek(), Some(Kind::Field(_))) {
            // Go counts a chain's column from its second part.
            at = self.tokens[self.index].at;
        }
        while let Some(Kind::Field(name)) = self.peek() {
            let name = name.clone();
            shown.push_str(&format!(".{name}"));
            fields.push(name);
            self.next();
        }
        let term = match term {
            Term::Field(mut chain) => {
                chain.append(&mut fields);
                Term::Field(chain)
            }
            Term::Text(_) | Term::Int(_) | Term::Float(_) | Term::Bool(_) | Term::Nil if !fields.is_empty() => {
                return self.fail(&format!("unexpected . after term {shown:?}"));
            }
            other => other,
        };
        Ok(Operand { term, fields, at, shown })
    }
}

fn show(kind: &Kind) -> String {
    match kind {
        Kind::Text(text) | Kind::Word(text) | Kind::Variable(text) => text.clone(),
        Kind::Quoted(text) => format!("{text:?}"),
        Kind::Field(name) => format!(".{name}"),
        Kind::Dot => ".".to_owned(),
        Kind::Int(number) => number.to_string(),
        Kind::Float(number) => number.to_string(),
        Kind::Char(c) => format!("{c:?}"),
        Kind::Open => "\"{{\"".to_owned(),
        Kind::Close => "\"}}\"".to_owned(),
        Kind::Pipe => "\"|\"".to_owned(),
        Kind::LeftParen => "\"(\"".to_owned(),
        Kind::RightParen => "\")\"".to_owned(),
        Kind::Comma => "\",\"".to_owned(),
        Kind::Declare => "\":=\"".to_owned(),
        Kind::Assign => "\"=\"".to_owned(),
        Kind::Space => "\" \"".to_owned(),
    }
}
