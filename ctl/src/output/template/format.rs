//! How Go's `fmt` prints values: `%v` and the verbs of `printf`.

use super::value::Value;
use crate::units::format_g;

/// What an action prints.
pub(super) fn print_value(value: &Value, out: &mut String) {
    match value {
        Value::Missing => out.push_str("<no value>"),
        Value::Nil => out.push_str("<nil>"),
        other => print_plain(other, out),
    }
}

fn print_plain(value: &Value, out: &mut String) {
    match value {
        Value::Nil | Value::Missing => out.push_str("<nil>"),
        Value::Bool(on) => out.push_str(if *on { "true" } else { "false" }),
        Value::Int(number) => out.push_str(&number.to_string()),
        Value::Float(number) => out.push_str(&float(*number)),
        Value::Text(text) => out.push_str(text),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                print_plain(item, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                out.push_str(key);
                out.push(':');
                print_plain(item, out);
            }
            out.push(']');
        }
        Value::Struct(fields) => {
            out.push('{');
            for (index, (_, item)) in fields.iter().enumerate() {
                if index > 0 {
                    out.push(' ');
                }
                print_plain(item, out);
            }
            out.push('}');
        }
        Value::Object(object) => match object.to_plain() {
            Some(value) => print_plain(&value, out),
            None => out.push_str(&object.to_json()),
        },
    }
}

/// `%v` of one value.
pub(super) fn plain(value: &Value) -> String {
    let mut out = String::new();
    print_plain(value, &mut out);
    out
}

/// Go's shortest form of a float: `1.5`, `1e+21`.
fn float(number: f64) -> String {
    let exponent = format!("{number:e}");
    let exponent: i32 = exponent.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if number != 0.0 && !(-4..21).contains(&exponent) {
        let text = format!("{number:e}");
        let (mantissa, _) = text.split_once('e').unwrap_or((&text, ""));
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    format!("{number}")
}

/// `print`: no space between two operands where one is a text.
pub(super) fn print(args: &[Value]) -> String {
    let mut out = String::new();
    for (index, arg) in args.iter().enumerate() {
        let text =
            matches!(arg, Value::Text(_)) || matches!(index.checked_sub(1).map(|i| &args[i]), Some(Value::Text(_)));
        if index > 0 && !text {
            out.push(' ');
        }
        print_plain(arg, &mut out);
    }
    out
}

/// `println`: a space between all operands and a newline behind.
pub(super) fn println(args: &[Value]) -> String {
    let mut out = args.iter().map(plain).collect::<Vec<_>>().join(" ");
    out.push('\n');
    out
}

/// The flags, width and precision between `%` and the verb.
#[derive(Default)]
struct Spec {
    minus: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// Widths and precisions beyond this are cut, so that a template cannot ask for gigabytes.
const WIDTH_MAX: usize = 4096;

/// `printf`.
pub(super) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut out = String::new();
    let mut args = args.iter();
    let mut letters = format.chars().peekable();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let spec = read_spec(&mut letters, &mut args);
        match letters.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                None => out.push_str(&format!("%!{verb}(MISSING)")),
                Some(arg) => out.push_str(&pad(&render(verb, &spec, arg), &spec, arg)),
            },
        }
    }
    let extra: Vec<String> = args.map(|arg| format!("{}={}", arg.type_name(), plain(arg))).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    out
}

fn read_spec<'a>(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    args: &mut impl Iterator<Item = &'a Value>,
) -> Spec {
    let mut spec = Spec::default();
    while let Some(c) = letters.peek() {
        match c {
            '-' => spec.minus = true,
            '+' => spec.plus = true,
            '0' => spec.zero = true,
            ' ' => spec.space = true,
            '#' => spec.sharp = true,
            _ => break,
        }
        letters.next();
    }
    let mut number = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| {
        if letters.next_if_eq(&'*').is_some() {
            return args.next().and_then(|arg| usize::try_from(arg.as_int()).ok());
        }
        let mut digits = String::new();
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            digits.push(digit);
        }
        digits.parse().ok()
    };
    spec.width = number(letters).map(|width: usize| width.min(WIDTH_MAX));
    if letters.next_if_eq(&'.').is_some() {
        spec.precision = Some(number(letters).unwrap_or(0).min(WIDTH_MAX));
    }
    spec
}

fn render(verb: char, spec: &Spec, arg: &Value) -> String {
    let bad = || format!("%!{verb}({}={})", arg.type_name(), plain(arg));
    let signed = |text: String, negative: bool| match (negative, spec.plus, spec.space) {
        (false, true, _) => format!("+{text}"),
        (false, false, true) => format!(" {text}"),
        _ => text,
    };
    match (verb, arg) {
        ('v', Value::Text(_)) | ('s', Value::Text(_)) => {
            let text = plain(arg);
            if verb == 'v' && spec.sharp {
                return format!("{text:?}");
            }
            spec.precision.map_or(text.clone(), |limit| text.chars().take(limit).collect())
        }
        ('v' | 'd', Value::Int(number)) => signed(number.to_string(), *number < 0),
        ('v', Value::Struct(fields)) if spec.plus => {
            let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}:{}", plain(value))).collect();
            format!("{{{}}}", fields.join(" "))
        }
        ('v', _) => plain(arg),
        ('s', Value::Nil | Value::Missing) => "%!s(<nil>)".to_owned(),
        ('s', Value::List(_) | Value::Map(_) | Value::Struct(_) | Value::Object(_)) => plain(arg),
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('t', Value::Bool(on)) => on.to_string(),
        ('T', _) => arg.type_name().to_owned(),
        ('x', Value::Int(number)) => format!("{number:x}"),
        ('X', Value::Int(number)) => format!("{number:X}"),
        ('o', Value::Int(number)) => format!("{number:o}"),
        ('b', Value::Int(number)) => format!("{number:b}"),
        ('c', Value::Int(number)) => {
            u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or('\u{fffd}').to_string()
        }
        ('x', Value::Text(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        ('f' | 'F', Value::Float(number)) => signed(format!("{number:.*}", spec.precision.unwrap_or(6)), *number < 0.0),
        ('e', Value::Float(number)) => {
            let text = format!("{number:.*e}", spec.precision.unwrap_or(6));
            let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
            let exponent: i32 = exponent.parse().unwrap_or(0);
            let sign = if exponent < 0 { '-' } else { '+' };
            signed(format!("{mantissa}e{sign}{:02}", exponent.abs()), *number < 0.0)
        }
        ('g', Value::Float(number)) => match spec.precision {
            Some(digits) => signed(format_g(*number, digits), *number < 0.0),
            None => signed(float(*number), *number < 0.0),
        },
        _ => bad(),
    }
}

fn pad(text: &str, spec: &Spec, arg: &Value) -> String {
    let width = spec.width.unwrap_or(0);
    let missing = width.saturating_sub(text.chars().count());
    if spec.minus {
        return format!("{text}{}", " ".repeat(missing));
    }
    let numeric = matches!(arg, Value::Int(_) | Value::Float(_));
    if spec.zero && numeric {
        let (sign, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (&text[..1], digits),
            None => ("", text),
        };
        return format!("{sign}{}{digits}", "0".repeat(missing));
    }
    format!("{}{text}", " ".repeat(missing))
}
