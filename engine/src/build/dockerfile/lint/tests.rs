//! Tests of the linter: each rule finds what it is for, and nothing else.

use super::*;
use crate::build::dockerfile::{ignore, parse};

fn found(text: &str, surroundings: &Surroundings<'_>, options: &str) -> Vec<String> {
    let options = Options::read(options).unwrap();
    check(&parse(text).unwrap(), surroundings, &options).iter().map(Warning::short).collect()
}

/// With the platform arguments of a build, and a base image `busybox` that sets `PATH` and `HOME`.
fn surroundings() -> Surroundings<'static> {
    Surroundings {
        platform_args: [("TARGETPLATFORM", "linux/amd64"), ("BUILDPLATFORM", "linux/amd64"), ("TARGETARCH", "amd64")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        base_env: [("busybox".to_owned(), vec!["HOME".to_owned()])].into(),
        ..Surroundings::default()
    }
}

/// A file, and the one thing that is found in it.
const FINDINGS: &[(&str, &str)] = &[
    ("FROM busybox AS Base", "StageNameCasing: Stage name 'Base' should be lowercase (line 1)"),
    ("FROM busybox as base", "FromAsCasing: 'as' and 'FROM' keywords' casing do not match (line 1)"),
    ("FROM busybox\nRUN a \\\n\n b", "NoEmptyContinuation: Empty continuation line (line 4)"),
    (
        "FROM busybox\nrun a\nRUN b",
        "ConsistentInstructionCasing: Command 'run' should match the case of the command majority (uppercase) (line 2)",
    ),
    (
        "FROM busybox AS a\nFROM busybox AS a",
        "DuplicateStageName: Duplicate stage name \"a\", stage names should be unique (line 2)",
    ),
    (
        "FROM busybox AS context",
        "ReservedStageName: Stage name should not use the same name as reserved stage \"context\" (line 1)",
    ),
    (
        "FROM busybox\nCMD a b",
        "JSONArgsRecommended: JSON arguments recommended for CMD to prevent unintended behavior related to OS signals (line 2)",
    ),
    (
        "FROM busybox\nMAINTAINER me",
        "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 2)",
    ),
    (
        "ARG VERSION=1\nFROM busybox:${VERSON}1",
        "UndefinedArgInFrom: FROM argument 'VERSON' is not declared (did you mean VERSION?) (line 2)",
    ),
    (
        "FROM busybox\nWORKDIR app",
        "WorkdirRelativePath: Relative workdir \"app\" can have unexpected results if the base image changes (line 2)",
    ),
    (
        "FROM busybox\nARG FILENAME\nCOPY $FILENAM /x",
        "UndefinedVar: Usage of undefined variable '$FILENAM' (did you mean $FILENAME?) (line 3)",
    ),
    (
        "FROM busybox\nCMD [\"a\"]\nCMD [\"b\"]",
        "MultipleInstructionsDisallowed: Multiple CMD instructions should not be used in the same stage because only the last one will be used (line 2)",
    ),
    (
        "FROM busybox\nENV A b",
        "LegacyKeyValueFormat: \"ENV key=value\" should be used instead of legacy \"ENV key value\" format (line 2)",
    ),
    (
        "FROM --platform=$TARGETPLATFORM busybox",
        "RedundantTargetPlatform: Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior (line 1)",
    ),
    (
        "FROM --platform=linux/arm64 busybox",
        "FromPlatformFlagConstDisallowed: FROM --platform flag should not use constant value \"linux/arm64\" (line 1)",
    ),
    (
        "FROM busybox\nARG DB_PASSWORD",
        "SecretsUsedInArgOrEnv: Do not use ARG or ENV instructions for sensitive data (ARG \"DB_PASSWORD\") (line 2)",
    ),
    (
        "ARG TAG\nFROM busybox:$TAG",
        "InvalidDefaultArgInFrom: Default value for ARG busybox:$TAG results in empty or invalid base image name (line 2)",
    ),
    (
        "FROM busybox\nEXPOSE 80/TCP",
        "ExposeProtoCasing: Defined protocol '80/TCP' in EXPOSE instruction should be lowercase (line 2)",
    ),
    (
        "FROM busybox\nEXPOSE 127.0.0.1:80:80",
        "ExposeInvalidFormat: EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80' (line 2)",
    ),
];

#[test]
fn each_rule_finds_what_it_is_for() {
    for (text, expected) in FINDINGS {
        let found = found(text, &surroundings(), "");
        assert_eq!(found, [*expected], "{text}");
    }
}

#[test]
fn what_is_right_is_left_alone() {
    let fine = [
        "FROM --platform=$BUILDPLATFORM busybox AS build\nFROM scratch\nCOPY --from=build /a /a",
        "FROM --platform=linux/arm64 busybox AS build-arm64",
        "FROM busybox\nSHELL [\"/bin/bash\", \"-c\"]\nCMD run me",
        "FROM busybox\nENV PUBLIC_KEY=x TOKEN_FILE=/run/t\nRUN echo $ANYTHING",
        "FROM busybox AS a\nENV DIR=/x\nFROM a\nWORKDIR $DIR\nENV P=$PATH:$HOME",
        "FROM elsewhere\nWORKDIR $SET_BY_ITS_IMAGE",
        "ARG TAG=1\nFROM busybox:$TAG",
        "# not a description\nFROM busybox AS a",
        "FROM busybox\n# check=skip=LegacyKeyValueFormat\nENV A b",
        "# check=skip=all\nfrom busybox as A\nMAINTAINER me",
    ];
    for text in fine {
        assert_eq!(found(text, &surroundings(), ""), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn ignored_sources_are_found_unless_exceptions_make_it_unsure() {
    let text = "FROM busybox\nCOPY a.tmp src /x/\nADD --chown=1 . /y\nCOPY --from=other a.tmp /z";
    let patterns = ignore::parse("*.tmp").unwrap();
    let with = |ignore| Surroundings { ignore: Some(ignore), ..Surroundings::default() };
    let expected = "CopyIgnoredFile: Attempting to Copy file \"a.tmp\" that is excluded by .dockerignore (line 2)";
    assert_eq!(found(text, &with(&patterns), ""), [expected]);
    let unsure = ignore::parse("*.tmp\n!a.tmp").unwrap();
    assert_eq!(found(text, &with(&unsure), ""), Vec::<String>::new());
    let all = ignore::parse("*").unwrap();
    assert_eq!(found(text, &with(&all), "").len(), 3);
}

#[test]
fn options_silence_and_experiments_speak() {
    let text = "# about nothing\nFROM busybox AS A";
    assert_eq!(found(text, &surroundings(), "skip=StageNameCasing"), Vec::<String>::new());
    assert_eq!(found(text, &surroundings(), "skip=all;experimental=all").len(), 1);
    let both = Options::read("skip=A, B;error=true").unwrap();
    assert!(both.error && !both.reports("B") && both.reports("C"));
    for bad in ["nonsense", "skip", "error=maybe", "loud=1"] {
        assert!(Options::read(bad).unwrap_err().contains("check option"), "{bad}");
    }
}
