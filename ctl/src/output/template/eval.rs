//! Runs a parsed template on a value.

use super::format::print_value;
use super::functions;
use super::lexer::Position;
use super::parser::{Node, Operand, Pipeline, Term, Tree};
use super::value::Value;

/// Nested `template` calls beyond this are refused, as in Go.
const CALLS_MAX: usize = 200;

pub(super) struct Evaluator<'t> {
    tree: &'t Tree,
    mode: Mode,
    output: String,
    variables: Vec<(String, Value)>,
    /// The template being executed, for messages.
    name: String,
    calls: usize,
}

/// How a list of nodes came to its end.
#[derive(PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// What a run is for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Mode {
    Normal,
    /// A missing key of a map is an error.
    Strict,
    /// The header of a table: functions leave the columns' names alone.
    Header,
}

type Run<T> = Result<T, String>;

impl<'t> Evaluator<'t> {
    pub(super) fn new(tree: &'t Tree, mode: Mode) -> Self {
        Evaluator { tree, mode, output: String::new(), variables: Vec::new(), name: String::new(), calls: 0 }
    }

    pub(super) fn run(mut self, dot: &Value) -> Run<String> {
        self.variables.push(("$".to_owned(), dot.clone()));
        let tree = self.tree;
        self.walk(&tree.root, dot)?;
        Ok(self.output)
    }

    fn fail<T>(&self, at: Position, shown: &str, reason: &str) -> Run<T> {
        let Position { line, column } = at;
        let name = &self.name;
        Err(format!("template: {name}:{line}:{column}: executing {name:?} at <{shown}>: {reason}"))
    }

    fn walk(&mut self, nodes: &'t [Node], dot: &Value) -> Run<Flow> {
        for node in nodes {
            match self.step(node, dot)? {
                Flow::Next => {}
                ended => return Ok(ended),
            }
        }
        Ok(Flow::Next)
    }

    fn step(&mut self, node: &'t Node, dot: &Value) -> Run<Flow> {
        let scope = self.variables.len();
        match node {
            Node::Text(text) => self.output.push_str(text),
            Node::Action(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                if pipeline.variables.is_empty() {
                    print_value(&value, &mut self.output);
                }
                // A variable declared here lives on to the end of the enclosing block.
                return Ok(Flow::Next);
            }
            Node::If { condition, then, otherwise } => {
                let branch = if self.pipeline(condition, dot)?.truth() { then } else { otherwise };
                let flow = self.walk(branch, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::With { value, then, otherwise } => {
                let value = self.pipeline(value, dot)?;
                let flow = if value.truth() { self.walk(then, &value)? } else { self.walk(otherwise, dot)? };
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Range { over, body, otherwise } => {
                let flow = self.range(over, body, otherwise, dot)?;
                self.variables.truncate(scope);
                return Ok(flow);
            }
            Node::Call { name, dot: argument, at } => self.call(name, argument.as_ref(), *at, dot)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, over: &'t Pipeline, body: &'t [Node], otherwise: &'t [Node], dot: &Value) -> Run<Flow> {
        let scope = self.variables.len();
        let value = self.pipeline(over, dot)?;
        let pairs: Vec<(Value, Value)> = match &value {
            Value::List(items) => items.iter().enumerate().map(|(index, item)| (int(index), item.clone())).collect(),
            Value::Map(map) => map.iter().map(|(key, item)| (Value::text(key.as_str()), item.clone())).collect(),
            Value::Int(count) => (0..*count).map(|index| (Value::Int(index), Value::Int(index))).collect(),
            Value::Nil | Value::Missing => Vec::new(),
            other => {
                let mut shown = String::new();
                print_value(other, &mut shown);
                return self.fail(over.at, &shown_pipeline(over), &format!("range can't iterate over {shown}"));
            }
        };
        if pairs.is_empty() {
            return self.walk(otherwise, dot);
        }
        for (key, item) in pairs {
            self.variables.truncate(scope);
            match over.variables.as_slice() {
                [value] => self.bind(over, &[(value, &item)]),
                [first, second] => self.bind(over, &[(first, &key), (second, &item)]),
                _ => {}
            }
            if self.walk(body, &item)? == Flow::Break {
                break;
            }
        }
        Ok(Flow::Next)
    }

    fn bind(&mut self, pipeline: &Pipeline, values: &[(&String, &Value)]) {
        for (name, value) in values {
            let existing = self.variables.iter_mut().rev().find(|(known, _)| known == *name);
            match existing {
                Some((_, slot)) if pipeline.assigns => *slot = (*value).clone(),
                _ => self.variables.push(((*name).clone(), (*value).clone())),
            }
        }
    }

    fn call(&mut self, name: &str, argument: Option<&'t Pipeline>, at: Position, dot: &Value) -> Run<()> {
        let tree = self.tree;
        let shown = format!("{{{{template {name:?}}}}}");
        let Some(nodes) = tree.defined.get(name) else {
            return self.fail(at, &shown, &format!("template {name:?} not defined"));
        };
        if self.calls >= CALLS_MAX {
            return self.fail(at, &shown, &format!("exceeded maximum template depth ({CALLS_MAX})"));
        }
        let argument = match argument {
            Some(pipeline) => self.pipeline(pipeline, dot)?,
            None => Value::Nil,
        };
        let outer = std::mem::replace(&mut self.variables, vec![("$".to_owned(), argument.clone())]);
        let outer_name = std::mem::replace(&mut self.name, name.to_owned());
        self.calls += 1;
        self.walk(nodes, &argument)?;
        self.calls -= 1;
        self.name = outer_name;
        self.variables = outer;
        Ok(())
    }

    fn pipeline(&mut self, pipeline: &'t Pipeline, dot: &Value) -> Run<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            value = Some(self.command(command, dot, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        // `range` binds its variables itself, item by item; for it this binding is overwritten.
        if let [name] = pipeline.variables.as_slice() {
            self.bind(pipeline, &[(name, &value)]);
        }
        Ok(value)
    }

    /// A command: its first operand applied to the others and to the result of the previous stage.
    fn command(&mut self, operands: &'t [Operand], dot: &Value, piped: Option<Value>) -> Run<Value> {
        let first = &operands[0];
        if let Term::Function(name) = &first.term {
            let shown = shown_command(operands);
            if name == "and" || name == "or" {
                return self.lazy(name == "and", &operands[1..], dot, piped, first, &shown);
            }
            let args = self.arguments(&operands[1..], dot, piped)?;
            return match self.function(name, &args) {
                Ok(value) => self.chain(value, &first.fields, first),
                Err(reason) => {
                    let reason = if reason.starts_with("wrong number") {
                        reason
                    } else {
                        format!("error calling {name}: {reason}")
                    };
                    self.fail(first.at, &shown, &reason)
                }
            };
        }
        let has_arguments = operands.len() > 1 || piped.is_some();
        let method = match &first.term {
            Term::Field(chain) => chain.last().filter(|_| has_arguments),
            Term::Variable(_) | Term::Group(_) => first.fields.last().filter(|_| has_arguments),
            _ => None,
        };
        if !has_arguments {
            return self.operand(first, dot);
        }
        let Some(method) = method else {
            return self.fail(first.at, &first.shown, &format!("can't give argument to non-function {}", first.shown));
        };
        let receiver = self.receiver(first, dot)?;
        let args = self.arguments(&operands[1..], dot, piped)?;
        self.lookup(&receiver, method, &args, first)
    }

    /// What the last field of the operand is looked up in.
    fn receiver(&mut self, operand: &'t Operand, dot: &Value) -> Run<Value> {
        match &operand.term {
            Term::Field(chain) => self.chain(dot.clone(), &chain[..chain.len() - 1], operand),
            Term::Variable(name) => {
                let value = self.variable(name);
                self.chain(value, &operand.fields[..operand.fields.len() - 1], operand)
            }
            Term::Group(pipeline) => {
                let value = self.pipeline(pipeline, dot)?;
                self.chain(value, &operand.fields[..operand.fields.len() - 1], operand)
            }
            _ => Ok(Value::Nil),
        }
    }

    fn arguments(&mut self, operands: &'t [Operand], dot: &Value, piped: Option<Value>) -> Run<Vec<Value>> {
        let mut args = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            args.push(self.operand(operand, dot)?);
        }
        args.extend(piped);
        Ok(args)
    }

    /// `and` and `or` stop at the first operand that decides.
    fn lazy(
        &mut self,
        all: bool,
        operands: &'t [Operand],
        dot: &Value,
        piped: Option<Value>,
        first: &Operand,
        shown: &str,
    ) -> Run<Value> {
        let mut last = None;
        for operand in operands {
            let value = self.operand(operand, dot)?;
            if value.truth() != all {
                return Ok(value);
            }
            last = Some(value);
        }
        match piped.or(last) {
            Some(value) => Ok(value),
            None => {
                let name = if all { "and" } else { "or" };
                let reason = format!("wrong number of args for {name}: want at least 1 got 0");
                self.fail(first.at, shown, &reason)
            }
        }
    }

    fn operand(&mut self, operand: &'t Operand, dot: &Value) -> Run<Value> {
        let value = match &operand.term {
            Term::Dot => dot.clone(),
            Term::Field(chain) => return self.chain(dot.clone(), chain, operand),
            Term::Variable(name) => self.variable(name),
            Term::Function(name) => match self.function(name, &[]) {
                Ok(value) => value,
                Err(reason) => return self.fail(operand.at, &operand.shown, &reason),
            },
            Term::Text(text) => Value::text(text.as_str()),
            Term::Int(number) => Value::Int(*number),
            Term::Float(number) => Value::Float(*number),
            Term::Bool(on) => Value::Bool(*on),
            Term::Nil => Value::Nil,
            Term::Group(pipeline) => self.pipeline(pipeline, dot)?,
        };
        self.chain(value, &operand.fields, operand)
    }

    fn function(&self, name: &str, args: &[Value]) -> Run<Value> {
        match self.mode {
            Mode::Header => functions::call_in_header(name, args),
            Mode::Normal | Mode::Strict => functions::call(name, args),
        }
    }

    fn variable(&self, name: &str) -> Value {
        let found = self.variables.iter().rev().find(|(known, _)| known == name);
        found.map_or(Value::Nil, |(_, value)| value.clone())
    }

    fn chain(&self, mut value: Value, fields: &[String], operand: &Operand) -> Run<Value> {
        for field in fields {
            value = self.lookup(&value, field, &[], operand)?;
        }
        Ok(value)
    }

    fn lookup(&self, receiver: &Value, name: &str, args: &[Value], operand: &Operand) -> Run<Value> {
        let shown = &operand.shown;
        let no_field = || {
            let reason = format!("can't evaluate field {name} in type {}", receiver.type_name());
            self.fail(operand.at, shown, &reason)
        };
        if !args.is_empty() && !matches!(receiver, Value::Object(_)) {
            let reason = format!("{name} is not a method but has arguments");
            return self.fail(operand.at, shown, &reason);
        }
        match receiver {
            Value::Object(object) => match object.get(name, args) {
                Some(Ok(value)) => Ok(value),
                Some(Err(reason)) => self.fail(operand.at, shown, &reason),
                None => no_field(),
            },
            Value::Struct(fields) => match fields.iter().find(|(field, _)| field == name) {
                Some((_, value)) => Ok(value.clone()),
                None => no_field(),
            },
            Value::Map(map) => match map.get(name) {
                Some(value) => Ok(value.clone()),
                None if self.mode == Mode::Strict => {
                    self.fail(operand.at, shown, &format!("map has no entry for key {name:?}"))
                }
                None => Ok(Value::Missing),
            },
            Value::Nil | Value::Missing => {
                self.fail(operand.at, shown, &format!("nil pointer evaluating interface {{}}.{name}"))
            }
            _ => no_field(),
        }
    }
}

fn int(index: usize) -> Value {
    Value::Int(i64::try_from(index).unwrap_or(i64::MAX))
}

fn shown_command(operands: &[Operand]) -> String {
    operands.iter().map(|operand| operand.shown.as_str()).collect::<Vec<_>>().join(" ")
}

fn shown_pipeline(pipeline: &Pipeline) -> String {
    pipeline.commands.iter().map(|command| shown_command(command)).collect::<Vec<_>>().join(" | ")
}

impl std::fmt::Debug for Evaluator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").field("name", &self.name).finish_non_exhaustive()
    }
}
