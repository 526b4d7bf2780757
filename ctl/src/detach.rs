//! The key sequence that leaves a container without stopping it.

/// `ctrl-p,ctrl-q`.
pub(crate) const DEFAULT_KEYS: [u8; 2] = [16, 17];

/// Reads `ctrl-p,ctrl-q`, `a,b`, `DEL`; the error names the sequence.
pub(crate) fn parse_keys(text: &str) -> Result<Vec<u8>, String> {
    text.split(',')
        .map(|key| match key.as_bytes() {
            [single] => Ok(*single),
            _ if key.eq_ignore_ascii_case("del") => Ok(127),
            _ => match key.to_ascii_lowercase().strip_prefix("ctrl-").map(str::as_bytes) {
                Some([letter @ b'a'..=b'z']) => Ok(letter - b'a' + 1),
                Some([b'@']) => Ok(0),
                Some([b'[']) => Ok(27),
                Some([b'\\']) => Ok(28),
                Some([b']']) => Ok(29),
                Some([b'^']) => Ok(30),
                Some([b'_']) => Ok(31),
                _ => Err(format!("Unknown character: '{key}'")),
            },
        })
        .collect()
}

/// Watches what is typed for the sequence.
#[derive(Debug)]
pub(crate) struct Watcher {
    keys: Vec<u8>,
    matched: usize,
}

impl Watcher {
    pub(crate) fn new(keys: Vec<u8>) -> Self {
        Watcher { keys, matched: 0 }
    }

    /// What of `typed` goes on to the container, and whether the sequence is complete.
    pub(crate) fn pass(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut out = Vec::with_capacity(typed.len());
        for byte in typed {
            if self.keys.get(self.matched) == Some(byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    self.matched = 0;
                    return (out, true);
                }
                continue;
            }
            out.extend_from_slice(&self.keys[..self.matched]);
            self.matched = 0;
            if self.keys.first() == Some(byte) {
                self.matched = 1;
                continue;
            }
            out.push(*byte);
        }
        (out, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        assert_eq!(parse_keys("ctrl-p,ctrl-q").unwrap(), DEFAULT_KEYS);
        assert_eq!(parse_keys("a,CTRL-[,del").unwrap(), [b'a', 27, 127]);
        assert_eq!(parse_keys("zz").unwrap_err(), "Unknown character: 'zz'");
    }

    #[test]
    fn the_sequence_is_found_across_reads_and_the_rest_passes() {
        let mut watcher = Watcher::new(DEFAULT_KEYS.to_vec());
        assert_eq!(watcher.pass(b"a\x10"), (b"a".to_vec(), false));
        assert_eq!(watcher.pass(b"b"), (b"\x10b".to_vec(), false));
        assert_eq!(watcher.pass(b"\x10\x10"), (b"\x10".to_vec(), false));
        assert_eq!(watcher.pass(b"\x11rest"), (Vec::new(), true));
    }
}
