//! Names for containers that were given none: `adjective_surname`, as people know them.

const LEFT: [&str; 48] = [
    "able", "agile", "amber", "bold", "brave", "bright", "brisk", "calm", "clever", "cosy", "crisp", "daring", "eager",
    "early", "fair", "fond", "frank", "gentle", "glad", "golden", "grand", "happy", "hardy", "honest", "jolly", "keen",
    "kind", "lively", "loyal", "lucid", "merry", "mild", "neat", "noble", "patient", "plucky", "polite", "proud",
    "quick", "quiet", "ready", "sharp", "silver", "steady", "sunny", "swift", "warm", "wise",
];
const RIGHT: [&str; 48] = [
    "babbage",
    "banach",
    "bardeen",
    "bell",
    "bohr",
    "boole",
    "borg",
    "carson",
    "cerf",
    "church",
    "curie",
    "darwin",
    "dijkstra",
    "edison",
    "elion",
    "engelbart",
    "euler",
    "fermat",
    "fermi",
    "gauss",
    "goodall",
    "hamilton",
    "hoover",
    "hopper",
    "hypatia",
    "jepsen",
    "johnson",
    "joliot",
    "keller",
    "kepler",
    "knuth",
    "lamarr",
    "leavitt",
    "lovelace",
    "meitner",
    "mendel",
    "newton",
    "noether",
    "pasteur",
    "perlman",
    "ramanujan",
    "ritchie",
    "shannon",
    "swartz",
    "tesla",
    "turing",
    "wilson",
    "wozniak",
];

/// A name; from the second try on with a number at its end.
pub(crate) fn pick(attempt: usize) -> String {
    let mut random = [0_u8; 3];
    if getrandom::fill(&mut random).is_err() {
        random = [7, 11, 13];
    }
    let left = LEFT[usize::from(random[0]) % LEFT.len()];
    let right = RIGHT[usize::from(random[1]) % RIGHT.len()];
    if attempt == 0 { format!("{left}_{right}") } else { format!("{left}_{right}{}", random[2]) }
}
