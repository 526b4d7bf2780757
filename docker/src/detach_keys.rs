//! PURE. The keys that let a client go without ending the container: `ctrl-p,ctrl-q` unless it names others.

use engine::{Error, Result};

/// What is used when a client names none.
const DEFAULT: [u8; 2] = [16, 17];

/// Parses `ctrl-p,ctrl-q`, `a`, `ctrl-@,x`.
///
/// # Errors
/// `InvalidArgument` naming the key that is none.
pub(crate) fn parse(text: &str) -> Result<Vec<u8>> {
    if text.is_empty() {
        return Ok(DEFAULT.to_vec());
    }
    text.split(',').map(key).collect()
}

fn key(word: &str) -> Result<u8> {
    let wrong = || Error::invalid(format!("Invalid detach keys ({word:?}) provided"));
    if let Some(letter) = word.strip_prefix("ctrl-") {
        return match letter.as_bytes() {
            [letter @ b'a'..=b'z'] => Ok(letter - b'a' + 1),
            b"@" => Ok(0),
            b"[" => Ok(27),
            b"\\" => Ok(28),
            b"]" => Ok(29),
            b"^" => Ok(30),
            b"_" => Ok(31),
            _ => Err(wrong()),
        };
    }
    match word.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err(wrong()),
    }
}

/// Watches input for the sequence. Keys that begin it are held back until it is clear that they do not.
#[derive(Debug)]
pub(crate) struct Watch {
    keys: Vec<u8>,
    matched: usize,
}

impl Watch {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }
    /// What of `input` goes on to the process, and whether the sequence is complete; what follows it is dropped.
    pub(crate) fn feed(&mut self, input: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(input.len() + self.matched);
        for &byte in input {
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(self.keys.get(..self.matched).unwrap_or_default());
            self.matched = usize::from(self.keys.first() == Some(&byte));
            if self.matched == 0 {
                out.push(byte);
            } else if self.keys.len() == 1 {
                self.matched = 0;
                return (out, true);
            }
        }
        (out, false)
    }
    /// Keys that were held back when the input ended.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let held = self.keys.get(..self.matched).unwrap_or_default().to_vec();
        self.matched = 0;
        held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_sequences_are_parsed_as_dockers() {
        assert_eq!(parse("").unwrap(), [16, 17]);
        assert_eq!(parse("ctrl-a,b,ctrl-[").unwrap(), [1, b'b', 27]);
        for wrong in ["ctrl-", "ctrl-A", "ctrl-1", "ab", "a,,b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sequence_is_found_across_pieces_and_never_reaches_the_process() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.feed(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(watch.feed(b"\x11rest"), (Vec::new(), true));
    }

    #[test]
    fn keys_that_only_began_the_sequence_are_given_on() {
        let mut watch = Watch::new(vec![16, 17]);
        assert_eq!(watch.feed(b"\x10x"), (b"\x10x".to_vec(), false));
        assert_eq!(watch.feed(b"\x10\x10\x11"), (b"\x10".to_vec(), true));
        assert_eq!(watch.feed(b"z\x10"), (b"z".to_vec(), false));
        assert_eq!(watch.rest(), b"\x10");
        assert_eq!(watch.rest(), b"");
    }

    #[test]
    fn one_key_is_enough() {
        let mut watch = Watch::new(vec![b'q']);
        assert_eq!(watch.feed(b"abq"), (b"ab".to_vec(), true));
    }
}
