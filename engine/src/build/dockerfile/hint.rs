//! PURE. What was probably meant: the known word that is nearest to an unknown one.

/// The most letters that may differ, and one.
const DISTANCE_END: usize = 3;

/// The option nearest to `word`, in its case. `None` if none is near, or one is the word itself.
pub(crate) fn nearest<'a>(
    word: &str,
    options: impl IntoIterator<Item = &'a str>,
    case_matters: bool,
) -> Option<String> {
    let fold = |text: &str| if case_matters { text.to_owned() } else { text.to_lowercase() };
    let folded = fold(word);
    // Nothing is near to a word that is this long, and distances cost its square.
    if folded.len() > 64 {
        return None;
    }
    let mut best: Option<(usize, String)> = None;
    for option in options {
        let option = fold(option);
        if option == folded {
            return None;
        }
        let distance = distance(&folded, &option);
        if distance < best.as_ref().map_or(DISTANCE_END, |(least, _)| *least) {
            best = Some((distance, option));
        }
    }
    let (_, found) = best?;
    Some(if !case_matters && word == word.to_uppercase() { found.to_uppercase() } else { found })
}

/// As it stands in a message.
pub(crate) fn did_you_mean(found: &str) -> String {
    format!("did you mean {found}?")
}

/// Levenshtein's.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, letter) in one.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, known) in other.iter().enumerate() {
            let change = diagonal + usize::from(letter != *known);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_offered_in_the_case_that_was_written() {
        assert_eq!(nearest("FRMO", ["from", "run"], false).as_deref(), Some("FROM"));
        assert_eq!(nearest("copi", ["COPY"], false).as_deref(), Some("copy"));
        assert_eq!(nearest("xyzzy", ["from"], false), None);
        assert_eq!(nearest("from", ["FROM", "frog"], false), None, "the word itself is known");
        assert_eq!(nearest("Chmod", ["chmod", "chown"], true).as_deref(), Some("chmod"));
    }
}
