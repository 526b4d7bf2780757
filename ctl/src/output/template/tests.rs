//! Templates against what docker's client prints for them.

use super::{Template, Value};

const CONTAINER: &str = r#"{"Id":"abc","Name":"/web","Args":["-c","sleep 1"],"Size":10,"Rate":1.5,"Up":true,"None":null,
"State":{"Status":"running","Pid":42},"Labels":{"a":"1","b.c":"2"}}"#;

fn value() -> Value {
    let Value::Struct(fields) = Value::from_json(CONTAINER).unwrap() else { panic!("an object") };
    let fields = fields
        .iter()
        .map(|(name, value)| {
            let value = if name == "Labels" { value.clone().into_maps() } else { value.clone() };
            (name.clone(), value)
        })
        .collect();
    Value::record(fields)
}

fn render(text: &str) -> String {
    match Template::parse(text) {
        Ok(template) => template.render(&value()).unwrap_or_else(|message| message),
        Err(message) => message,
    }
}

#[test]
fn templates_print_what_go_prints() {
    let cases = [
        ("{{.Name}} {{.State.Status}}", "/web running"),
        ("{{.State}} {{.Args}} {{.Labels}}", "{running 42} [-c sleep 1] map[a:1 b.c:2]"),
        (
            "{{json .State}} {{json .Args}} {{json .Labels}}",
            r#"{"Status":"running","Pid":42} ["-c","sleep 1"] {"a":"1","b.c":"2"}"#,
        ),
        ("{{.Labels.zz}}|{{index .Labels \"b.c\"}}|{{index .Labels \"zz\"}}|{{.None}}", "<no value>|2||<nil>"),
        ("{{range .Args}}<{{.}}>{{end}}", "<-c><sleep 1>"),
        ("{{range $i, $a := .Args}}{{$i}}={{$a}};{{end}}", "0=-c;1=sleep 1;"),
        ("{{range $k, $v := .Labels}}{{$k}}:{{$v}} {{end}}", "a:1 b.c:2 "),
        ("{{range .None}}x{{else}}empty{{end}}", "empty"),
        ("{{range $i, $a := .Args}}{{if eq $i 1}}{{break}}{{end}}{{$a}}{{end}}", "-c"),
        ("{{if .None}}a{{else if eq .State.Pid 42}}b{{else}}c{{end}}", "b"),
        ("{{with .State}}{{.Pid}} {{$.Name}}{{end}}{{with .None}}x{{else}}y{{end}}", "42 /weby"),
        ("{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}", "2"),
        ("{{define \"t\"}}[{{.}}]{{end}}{{template \"t\" .Name}}{{block \"u\" .Size}}({{.}}){{end}}", "[/web](10)"),
        ("{{.Name | upper | printf \"%s!\"}}", "/WEB!"),
        ("{{and .Up .Size}} {{or .None \"x\"}} {{not .Up}}", "10 x false"),
        (
            "{{lt 1 2}} {{le 2 2}} {{gt \"b\" \"a\"}} {{ge 1 2}} {{ne 1 2}} {{eq 1 3 1}}",
            "true true true false true true",
        ),
        ("{{slice .Name 1}} {{slice .Args 0 1}} {{len .Args}} {{len .Name}}", "web [-c] 2 4"),
        (
            "{{join .Args \",\"}} {{split \"a.b\" \".\"}} {{title \"ab cd\"}} {{lower \"AB\"}}",
            "-c,sleep 1 [a b] Ab Cd ab",
        ),
        ("{{pad \"x\" 1 2}}|{{truncate .Name 2}}|{{pad \"\" 1 1}}|", " x  |/w||"),
        ("{{print 1 2 \"a\" 3}} {{println 1 \"a\"}}", "1 2a3 1 a\n"),
        (
            "{{printf \"%5d|%-5s|%05.1f|%q|%v|%x|%t|%%\" .Size .Name .Rate .Name .Args 255 true}}",
            "   10|/web |001.5|\"/web\"|[-c sleep 1]|ff|true|%",
        ),
        ("{{printf \"%d\" \"x\"}} {{printf \"%s\"}} {{printf \"a\" 1}}", "%!d(string=x) %!s(MISSING) a%!(EXTRA int=1)"),
        ("{{html \"<a&b>\"}} {{urlquery \"a b&c\"}} {{js \"it's\"}}", "&lt;a&amp;b&gt; a+b%26c it\\'s"),
        ("a {{- 1 -}} b{{/* note */}}c", "a1bc"),
        ("{{`raw\"`}} {{'a'}} {{1.5}} {{1e3}} {{-3}} {{0x10}} {{\"\\t\\u00e9\"}}", "raw\" 97 1.5 1000 -3 16 \té"),
        ("{{(index .Args 0) | len}} {{(.State).Pid}}", "2 42"),
    ];
    for (text, shown) in cases {
        assert_eq!(render(text), shown, "{text}");
    }
}

#[test]
fn messages_are_those_of_go() {
    let cases = [
        ("{{", "template: :1: unclosed action"),
        ("{{foo}}", "template: :1: function \"foo\" not defined"),
        ("a\n{{.Name | }}", "template: :2: missing value for command"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{if .A}}", "template: :1: unexpected EOF"),
        ("{{$x}}", "template: :1: undefined variable \"$x\""),
        ("{{.Foo}}", "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type struct"),
        ("{{.State.Foo}}", "template: :1:8: executing \"\" at <.State.Foo>: can't evaluate field Foo in type struct"),
        ("{{.None.Foo}}", "template: :1:7: executing \"\" at <.None.Foo>: nil pointer evaluating interface {}.Foo"),
        (
            "{{index .Args 9}}",
            "template: :1:2: executing \"\" at <index .Args 9>: error calling index: index out of range: 9",
        ),
        ("{{template \"x\"}}", "template: :1:11: executing \"\" at <{{template \"x\"}}>: template \"x\" not defined"),
        ("{{define \"x\"}}{{template \"x\"}}{{end}}{{template \"x\"}}", "exceeded maximum template depth"),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
    ];
    for (text, message) in cases {
        let shown = render(text);
        assert!(shown.contains(message), "{text}: {shown}");
    }
}

#[test]
fn a_missing_key_is_an_error_when_strict() {
    let template = Template::parse("{{.Foo}}").unwrap();
    let message = template.render_strict(&value().into_maps()).unwrap_err();
    assert_eq!(message, "template: :1:2: executing \"\" at <.Foo>: map has no entry for key \"Foo\"");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\{\\{|\\}\\}|[a-z .|()$\"=:,-]|if|range|end|else|with|define|index|printf|\\PC){0,24}") {
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&value());
        }
    }
}
