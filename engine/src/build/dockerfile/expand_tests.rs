//! Tests of the expansion of variables, form by form.

use super::*;
use proptest::prelude::*;

fn variables(name: &str) -> Option<String> {
    Some(
        match name {
            "HOME" => "/root",
            "EMPTY" => "",
            "PWD" => "/home",
            "WORDS" => "two words",
            "PATHS" => "/a/b/c.tar.gz",
            "DOTS" => "a.b.c",
            "КИР" => "cyr",
            "1" => "one",
            _ => return None,
        }
        .to_owned(),
    )
}

fn text(input: &str) -> String {
    match word(input, '\\', &variables) {
        Ok(expanded) => expanded.text,
        Err(error) => format!("error: {error}"),
    }
}

#[test]
fn each_form_gives_what_a_shell_gives() {
    let table = [
        ("a$HOME", "a/root"),
        ("${HOME}b", "/rootb"),
        ("$HOMEx", ""),
        ("$", "$"),
        ("a$.b", "a$.b"),
        ("\\$HOME", "$HOME"),
        ("'$HOME'", "$HOME"),
        ("\"$HOME x\"", "/root x"),
        ("\"a\\\"b\\n\"", "a\"b\\n"),
        ("'a'\"b\"c", "abc"),
        ("a\\", "a"),
        ("$1x", "onex"),
        ("$КИР", "cyr"),
        ("${NO:-dflt}", "dflt"),
        ("${EMPTY:-dflt}", "dflt"),
        ("${EMPTY-dflt}", ""),
        ("${NO-dflt}", "dflt"),
        ("${HOME:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${NO+set}", ""),
        ("${HOME:?gone}", "/root"),
        ("${EMPTY?gone}", ""),
        ("${NO:-${EMPTY:-${HOME}}}", "/root"),
        ("${NO:-\\}}", "}"),
        ("${PATHS#*/}", "a/b/c.tar.gz"),
        ("${PATHS##*/}", "c.tar.gz"),
        ("${PATHS%.*}", "/a/b/c.tar"),
        ("${PATHS%%.*}", "/a/b/c"),
        ("${DOTS#a?}", "b.c"),
        ("${DOTS/./-}", "a-b.c"),
        ("${DOTS//./-}", "a-b-c"),
        ("${DOTS//./$1}", "aonebonec"),
        ("${PATHS//\\//_}", "_a_b_c.tar.gz"),
        ("<<EOF", "<<EOF"),
    ];
    for (input, expected) in table {
        assert_eq!(text(input), expected, "{input}");
    }
}

#[test]
fn what_is_not_a_substitution_is_refused_in_a_shells_words() {
    let table = [
        ("${", "syntax error: missing '}'"),
        ("${HOME", "syntax error: missing '}'"),
        ("${HOME:-a", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${HOME:#x}", "unsupported modifier (:#) in substitution"),
        ("${HOME!x}", "unsupported modifier (!) in substitution"),
        ("${HOME/a}", "missing '/' in ${}"),
        ("'a", "looking for matching single-quote"),
        ("\"a", "looking for matching double-quote"),
        ("${NO:?}", "NO: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${NO?please set NO}", "NO: please set NO"),
    ];
    for (input, expected) in table {
        let found = text(input);
        assert!(found.starts_with("error: ") && found.contains(expected), "{input}: {found}");
    }
}

#[test]
fn words_split_after_the_variables_are_in() {
    let split = |input: &str| words(input, '\\', &variables).unwrap();
    assert_eq!(split("a $WORDS \"$WORDS\" b\\ c"), ["a", "two", "words", "two words", "b c"]);
    assert_eq!(split("  $EMPTY "), Vec::<String>::new());
    assert_eq!(split("a${NO:-b c}d"), ["ab", "cd"]);
    let expanded = word("$HOME $NO ${ALSO:-x}", '\\', &variables).unwrap();
    assert_eq!(expanded.matched.into_iter().collect::<Vec<_>>(), ["HOME"]);
    assert_eq!(expanded.unset.into_iter().collect::<Vec<_>>(), ["ALSO", "NO"]);
    assert_eq!(word("a`$b`\\", '`', &variables).unwrap().text, "a$b\\");
}

#[test]
fn documents_keep_their_quotes() {
    assert_eq!(document("it's \"$HOME\" \\$x", &variables).unwrap().text, "it's \"/root\" $x");
}

#[test]
fn depth_and_growth_have_limits() {
    let deep = format!("{}x{}", "${NO:-".repeat(1000), "}".repeat(1000));
    assert!(text(&deep).contains("inside of each other") || text(&deep).contains("missing '}'"));
    let long = "x".repeat(1 << 20);
    let grow = |_: &str| Some(long.clone());
    let error = word(&format!("${{A//x/{long}}}"), '\\', &grow).unwrap_err();
    assert!(error.to_string().contains("longer than"), "{error}");
    assert!(word(&"$A".repeat(100), '\\', &grow).unwrap_err().to_string().contains("longer than"));
}

proptest! {
    #[test]
    fn nothing_panics(input in "[a${}:+?#%/*\\\\'\" <-]{0,40}|.{0,40}", escape in prop::sample::select(vec!['\\', '`'])) {
        let _ = word(&input, escape, &variables);
        let _ = document(&input, &variables);
        let _ = split(&input, Mode { raw_quotes: true, raw_escapes: true, ..Mode::default() });
    }

    #[test]
    fn single_quotes_protect_everything(input in "[^']{0,30}") {
        prop_assert_eq!(word(&format!("'{input}'"), '\\', &variables).unwrap().text, input);
    }
}
