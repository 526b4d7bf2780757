//! Tests of the reader of Dockerfiles: what each instruction says, and how mistakes are told.

use super::*;
use crate::build::dockerfile::model::{Add, ArgDecl, CommandLine, Copy, Heredoc, Pair, Run};
use proptest::prelude::*;

/// The kinds of the first stage's instructions.
fn kinds(text: &str) -> Vec<Kind> {
    let file = parse(&format!("FROM x\n{text}")).unwrap_or_else(|error| panic!("{text}: {error}"));
    file.stages.into_iter().next().unwrap().instructions.into_iter().map(|one| one.kind).collect()
}

fn kind(text: &str) -> Kind {
    let [kind] = <[Kind; 1]>::try_from(kinds(text)).unwrap();
    kind
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn strings(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn pair(key: &str, value: &str, legacy: bool) -> Pair {
    Pair { key: key.into(), value: value.into(), legacy }
}

#[test]
fn stages_have_names_platforms_and_lines() {
    let file = parse(
        "# syntax=docker/dockerfile:1 trailing\n# escape=`\n\nARG V=1\n# build the builder\nFROM --platform=$P a:$V AS Build\nRUN x `\n  y\nfrom build\n",
    )
    .unwrap();
    assert_eq!(file.directives.syntax.as_ref().unwrap().0, "docker/dockerfile:1 trailing");
    assert_eq!(file.directives.escape, '`');
    assert_eq!(file.meta_args.len(), 1);
    let [first, second] = file.stages.as_slice() else { panic!("{:?}", file.stages) };
    assert_eq!(
        (first.name.as_deref(), first.base.as_str(), first.platform.as_deref()),
        (Some("build"), "a:$V", Some("$P"))
    );
    assert_eq!(first.doc.as_deref(), Some("the builder"));
    assert_eq!(first.span, Span { start_line: 6, end_line: 6 });
    assert_eq!(first.instructions[0].span, Span { start_line: 7, end_line: 8 });
    assert_eq!(first.instructions[0].source, "RUN x   y");
    assert_eq!((second.base.as_str(), second.name.as_deref()), ("build", None));
}

#[test]
fn continuation_lines_join_across_comments_and_empty_lines() {
    let file = parse("FROM x\nRUN a \\\n# comment\n  && b \\ \n\n  && c # no comment\nCMD d\\\\\nCMD e").unwrap();
    let sources: Vec<_> = file.stages[0].instructions.iter().map(|one| one.source.as_str()).collect();
    assert_eq!(sources, ["RUN a   && b   && c # no comment", "CMD d\\\\", "CMD e"]);
    assert_eq!(file.warnings.len(), 1);
    assert_eq!(parse("FROM x\nRUN a \\").unwrap().stages[0].instructions[0].source, "RUN a");
    assert_eq!(parse("\u{feff}FROM x\r\nRUN a \\\r\n b\r\n").unwrap().stages[0].instructions[0].source, "RUN a  b");
}

#[test]
fn commands_are_json_or_for_the_shell() {
    assert_eq!(kind("CMD [\"a\", \"b c\"]"), Kind::Cmd(CommandLine::Exec(strings(&["a", "b c"]))));
    assert_eq!(kind("CMD ['a']"), Kind::Cmd(CommandLine::Shell("['a']".into())));
    assert_eq!(kind("ENTRYPOINT  run  me "), Kind::Entrypoint(CommandLine::Shell("run  me".into())));
    assert_eq!(kind("ENTRYPOINT []"), Kind::Entrypoint(CommandLine::Exec(Vec::new())));
    assert_eq!(kind("SHELL [\"/bin/bash\", \"-c\"]"), Kind::Shell(strings(&["/bin/bash", "-c"])));
}

#[test]
fn names_and_values_keep_their_quotes_until_they_are_expanded() {
    let env = |pairs: &[Pair]| Kind::Env(pairs.to_vec());
    assert_eq!(
        kind("ENV A=1 B=\"two words\" C=a\\ b"),
        env(&[pair("A", "1", false), pair("B", "\"two words\"", false), pair("C", "a\\ b", false),])
    );
    assert_eq!(kind("ENV OLD  the rest = of it"), env(&[pair("OLD", "the rest = of it", true)]));
    assert_eq!(kind("LABEL \"a b\"=c"), Kind::Label(vec![pair("\"a b\"", "c", false)]));
    let argument =
        |name: &str, value: Option<&str>| ArgDecl { name: name.into(), value: value.map(Into::into), doc: None };
    assert_eq!(
        kind("ARG A B= C=\"x y\""),
        Kind::Arg(vec![argument("A", None), argument("B", Some("")), argument("C", Some("\"x y\""))])
    );
}

#[test]
fn copies_have_flags_sources_and_documents() {
    assert_eq!(
        kind("COPY --from=build --chown=1:2 --chmod=755 --link --parents --exclude=*.a --exclude=b a [b /c/"),
        Kind::Copy(Copy {
            sources: strings(&["a", "[b"]),
            destination: "/c/".into(),
            from: Some("build".into()),
            chown: Some("1:2".into()),
            chmod: Some("755".into()),
            link: true,
            parents: true,
            exclude: strings(&["*.a", "b"]),
            ..Copy::default()
        })
    );
    let Kind::Copy(json) = kind("COPY [\"a b\", \"/c d\"]") else { panic!() };
    assert_eq!((json.sources, json.destination), (strings(&["a b"]), "/c d".to_owned()));
    let Kind::Add(add) = kind("ADD --checksum=sha256:x --keep-git-dir=true --unpack=false http://h/a.tar /d") else {
        panic!()
    };
    assert_eq!((add.checksum.as_deref(), add.keep_git_dir, add.unpack), (Some("sha256:x"), true, Some(false)),);
    assert_eq!(
        Add {
            copy: Copy { sources: strings(&["http://h/a.tar"]), destination: "/d".into(), ..Copy::default() },
            ..Add::default()
        }
        .copy,
        add.copy
    );
    let Kind::Copy(inline) = kind("COPY <<one <<-\"two\" f /d/\n$A\none\n\t\tb\n\t\tc\n\ttwo") else { panic!() };
    let document = |name: &str, content: &str, expand, chomp| Heredoc {
        name: name.into(),
        content: content.into(),
        expand,
        chomp,
    };
    assert_eq!(inline.heredocs, [document("one", "$A\n", true, false), document("two", "\t\tb\n\t\tc\n", false, true)]);
    assert_eq!((inline.heredocs[1].text(), inline.sources), ("b\nc\n".to_owned(), strings(&["f"])));
}

#[test]
fn runs_have_mounts_documents_and_networks() {
    let Kind::Run(run) = kind(
        "RUN --mount=type=cache,target=/c,sharing=locked --mount=type=bind,from=base,target=/b --network=none --security=sandbox a && b",
    ) else {
        panic!()
    };
    assert_eq!(run.command, CommandLine::Shell("a && b".into()));
    assert_eq!(run.mounts[1].from.as_deref(), Some("base"));
    assert_eq!((run.network.as_deref(), run.security.as_deref()), (Some("none"), Some("sandbox")));
    let kinds = kinds(
        "RUN <<EOF\nset -e\nFROM nothing\nEOF\nRUN cat <<A >x && cat <<'B' >y\na\nA\nb\nB\nRUN echo \"<<no\" $((1<<2))",
    );
    let Kind::Run(Run { command, heredocs, .. }) = &kinds[0] else { panic!() };
    assert_eq!(
        (command, heredocs[0].content.as_str()),
        (&CommandLine::Shell("<<EOF".into()), "set -e\nFROM nothing\n")
    );
    let Kind::Run(Run { heredocs, .. }) = &kinds[1] else { panic!() };
    assert_eq!(
        heredocs.iter().map(|one| (one.name.as_str(), one.expand)).collect::<Vec<_>>(),
        [("A", true), ("B", false)]
    );
    let Kind::Run(Run { heredocs, .. }) = &kinds[2] else { panic!() };
    assert!(heredocs.is_empty());
}

#[test]
fn flags_end_where_words_begin() {
    let Kind::Run(run) = kind("RUN --network=host -- --mount=type=cache") else { panic!() };
    assert_eq!((run.command, run.mounts.len()), (CommandLine::Shell("--mount=type=cache".into()), 0));
    let Kind::Run(quoted) = kind("RUN --mount=type=bind,target=\"/a b\" x") else { panic!() };
    assert_eq!(quoted.mounts[0].text, "type=bind,target=/a b");
}

#[test]
fn health_checks_and_the_rest() {
    let Kind::Healthcheck(health) = kind("HEALTHCHECK --interval=1m30s --timeout=500ms --retries=2 CMD curl -f x")
    else {
        panic!()
    };
    assert_eq!((health.interval, health.timeout, health.retries), (90_000_000_000, 500_000_000, 2));
    assert_eq!(health.test, ["CMD-SHELL", "curl -f x"]);
    let Kind::Healthcheck(health) = kind("HEALTHCHECK CMD [\"a\"]") else { panic!() };
    assert_eq!(health.test, ["CMD", "a"]);
    let Kind::Healthcheck(health) = kind("HEALTHCHECK none") else { panic!() };
    assert_eq!(health.test, ["NONE"]);
    assert_eq!(kind("VOLUME [\"/a b\", \"/c\"]"), Kind::Volume(strings(&["/a b", "/c"])));
    assert_eq!(kind("EXPOSE 80 53/udp"), Kind::Expose(strings(&["80", "53/udp"])));
    assert_eq!(kind("WORKDIR /a b"), Kind::Workdir("/a b".into()));
    assert_eq!(kind("USER 1:2"), Kind::User("1:2".into()));
    assert_eq!(kind("STOPSIGNAL 9"), Kind::Stopsignal("9".into()));
    let Kind::Onbuild { trigger, instruction } = kind("ONBUILD RUN <<E\na\nE") else { panic!() };
    assert_eq!(trigger, "RUN <<E\na\nE");
    assert_eq!(parse_trigger(&trigger).unwrap().kind, instruction.kind);
}

#[test]
fn mistakes_are_told_as_buildkit_tells_them() {
    let table: &[(&str, &str)] = &[
        ("FRMO x", "line 1: unknown instruction: FRMO (did you mean FROM?)"),
        ("FROM x\n\nRUNN y", "line 3: unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM x\nxyzzy y", "line 2: unknown instruction: xyzzy"),
        ("", "line 1: file with no instructions"),
        ("# only\n", "file with no instructions"),
        ("ARG A=1", "line 1: dockerfile contains no stages to build"),
        ("RUN a", "line 1: no build stage in current context"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", "invalid name for build stage: \"1b\", name can't start with a number or contain symbols"),
        (
            "FROM a\nCOPY x",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("FROM a\nCOPY --form=b c d", "unknown flag: --form (did you mean from?)"),
        ("FROM a\nCOPY --link --link c d", "duplicate flag specified: --link"),
        ("FROM a\nCOPY --link=maybe c d", "expecting boolean value for flag --link, not: maybe"),
        ("FROM a\nCOPY --from c d", "missing a value on flag: --from"),
        ("FROM a\nCOPY x <<E\nE", "COPY cannot accept a heredoc as a destination"),
        ("FROM a\nRUN <<E\nx", "unterminated heredoc"),
        ("FROM a\nENV", "ENV requires at least one argument"),
        ("FROM a\nENV A", "ENV must have two arguments"),
        ("FROM a\nENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
        ("FROM a\nENV =1", "ENV names can not be blank"),
        ("FROM a\nCMD [\"a\", 1]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("FROM a\nSHELL bash", "SHELL requires the arguments to be in JSON form"),
        ("FROM a\nONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("FROM a\nONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nONBUILD COPI a b", "unknown instruction: COPI (did you mean COPY?)"),
        ("FROM a\nWORKDIR", "WORKDIR requires exactly one argument"),
        ("FROM a\nHEALTHCHECK SHELL x", "Unknown type \"SHELL\" in HEALTHCHECK (try CMD)"),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
        ("FROM a\nRUN --network=bridge x", "invalid network mode \"bridge\""),
        ("FROM a\nRUN --security=none x", "security \"none\" is not valid"),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        ("# escape=`\n# escape=`\nFROM a", "only one escape parser directive can be used"),
    ];
    for (text, expected) in table {
        let found = refused(text);
        assert!(found.ends_with(expected) && found.starts_with("dockerfile parse error on line "), "{text}: {found}");
    }
}

#[test]
fn mistakes_have_lines_and_columns() {
    let error = parse("FROM a\n\n  COPY --link \\\n --form=b c d").unwrap_err();
    assert_eq!((error.span, error.column), (Span { start_line: 3, end_line: 4 }, 0), "it is on a later line");
    let error = parse("FROM a\n  COPY --form=b c d").unwrap_err();
    assert_eq!((error.span.start_line, error.column), (2, 8));
    assert_eq!(parse("  FRMO a").unwrap_err().column, 3);
}

#[test]
fn size_has_limits() {
    assert!(refused(&format!("FROM a\nRUN {}", "x".repeat(70_000))).contains("line greater than max allowed size"));
    assert!(refused(&"#\n".repeat(3 << 20)).contains("longer than"));
    assert!(refused(&format!("FROM a\n{}", "RUN a\n".repeat(20_001))).contains("more than"));
}

proptest! {
    #[test]
    fn nothing_panics(text in "((FROM|RUN|COPY|ENV|ONBUILD|ARG|HEALTHCHECK|# escape=|--mount=|--from=|<<E|AS|\n|\\\\|[\"'$={}\\[\\],` \t#a-c])){0,60}|(.|\n){0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("FROM x\n{text}"));
        let _ = parse_trigger(&text);
    }

    #[test]
    fn every_instruction_lies_within_the_file(lines in prop::collection::vec("(RUN|ENV A=1|CMD) [a-z \\\\]{1,12}", 1..12)) {
        let text = format!("FROM x\n{}\n", lines.join("\n"));
        if let Ok(file) = parse(&text) {
            let last = u32::try_from(text.lines().count()).unwrap();
            let mut before = 1;
            for one in &file.stages[0].instructions {
                prop_assert!(one.span.start_line > before || before == 1);
                prop_assert!(one.span.start_line <= one.span.end_line && one.span.end_line <= last);
                before = one.span.end_line;
            }
        }
    }
}
