//! PURE. Header blocks of SPDY/3: names and values, deflated over one state for the whole connection.

use flate2::{Decompress, FlushDecompress, Status};

use super::{Violation, dictionary};

/// Longest block once inflated. A bomb ends here: the state cannot be followed any further, nor the connection.
const INFLATED_BYTES_MAX: usize = 16 << 10;
/// Headers in one block at most.
const HEADERS_MAX: usize = 64;

/// Names (lower case) and values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::streaming) struct Headers(Vec<(String, String)>);

impl Headers {
    /// The value of a header; the first, where there are several.
    pub(in crate::streaming) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        value.split('\0').next()
    }
}

/// Inflates the blocks of one connection, in order.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Self(Decompress::new(true))
    }

    /// The headers of the next block.
    pub(super) fn headers(&mut self, block: &[u8]) -> Result<Headers, Violation> {
        parse(&self.inflate(block)?)
    }

    fn inflate(&mut self, mut block: &[u8]) -> Result<Vec<u8>, Violation> {
        const WRONG: Violation = Violation("headers are not deflated rightly");
        let mut inflated = Vec::with_capacity(512);
        loop {
            let before = self.0.total_in();
            let outcome = self.0.decompress_vec(block, &mut inflated, FlushDecompress::Sync);
            let taken = usize::try_from(self.0.total_in() - before).unwrap_or(usize::MAX);
            block = block.get(taken..).unwrap_or_default();
            match outcome {
                Ok(Status::Ok | Status::BufError) => {}
                Ok(Status::StreamEnd) => return Err(Violation("the deflated headers have ended")),
                Err(error) if error.needs_dictionary().is_some() => {
                    let known = self.0.set_dictionary(&dictionary::bytes());
                    known.map_err(|_| Violation("headers are deflated with another dictionary"))?;
                    continue;
                }
                Err(_) => return Err(WRONG),
            }
            if inflated.len() > INFLATED_BYTES_MAX {
                return Err(Violation("a header block is too long"));
            }
            if inflated.len() == inflated.capacity() {
                inflated.reserve_exact(inflated.len());
            } else if block.is_empty() {
                // With room left in the output, nothing is held back in the state.
                return Ok(inflated);
            } else if taken == 0 {
                return Err(WRONG);
            }
        }
    }
}

fn parse(mut block: &[u8]) -> Result<Headers, Violation> {
    const SHORT: Violation = Violation("a header block is cut off");
    let count = usize::try_from(number(&mut block).ok_or(SHORT)?).unwrap_or(usize::MAX);
    if count > HEADERS_MAX {
        return Err(Violation("a header block has too many headers"));
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let name = text(&mut block).ok_or(SHORT)?;
        let value = text(&mut block).ok_or(SHORT)?;
        headers.push((name, value));
    }
    if block.is_empty() { Ok(Headers(headers)) } else { Err(Violation("a header block has more than its headers")) }
}

fn number(block: &mut &[u8]) -> Option<u32> {
    let (first, rest) = block.split_first_chunk::<4>()?;
    *block = rest;
    Some(u32::from_be_bytes(*first))
}

fn text(block: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(number(block)?).ok()?;
    let (text, rest) = block.split_at_checked(length)?;
    *block = rest;
    Some(String::from_utf8_lossy(text).into_owned())
}

/// Deflates the blocks of one connection. It only stores: our replies have no headers worth a state of 256 KiB.
#[derive(Debug, Default)]
pub(super) struct Deflater {
    begun: bool,
}

impl Deflater {
    /// A block without headers.
    pub(super) fn empty_block(&mut self) -> Vec<u8> {
        const ZLIB_HEAD: [u8; 2] = [0x78, 0x01];
        /// A stored block of four bytes (its length and the complement of it), which are the number 0; then an empty
        /// one, at which inflaters hand over what they have (Go's holds it back until then).
        const STORED: [u8; 14] = [0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];
        let head: &[u8] = if self.begun { &[] } else { &ZLIB_HEAD };
        self.begun = true;
        [head, &STORED].concat()
    }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    struct Client(Compress);

    impl Client {
        fn new() -> Self {
            let mut deflate = Compress::new(Compression::best(), true);
            deflate.set_dictionary(&dictionary::bytes()).unwrap();
            Self(deflate)
        }
        fn block(&mut self, plain: &[u8]) -> Vec<u8> {
            let mut block = Vec::with_capacity(plain.len() + 1000);
            self.0.compress_vec(plain, &mut block, FlushCompress::Sync).unwrap();
            block
        }
    }

    fn plain(headers: &[(&str, &str)]) -> Vec<u8> {
        let number = |n: usize| u32::try_from(n).unwrap().to_be_bytes();
        let mut bytes = number(headers.len()).to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            bytes.extend(number(text.len()));
            bytes.extend(text.as_bytes());
        }
        bytes
    }

    #[test]
    fn blocks_of_one_connection_in_order() {
        let (mut client, mut inflater) = (Client::new(), Inflater::new());
        for n in ["1", "2", "3"] {
            let block = client.block(&plain(&[("streamtype", "data"), ("port", "80\x0081"), ("requestid", n)]));
            let headers = inflater.headers(&block).unwrap();
            assert_eq!((headers.get("streamType"), headers.get("requestID")), (Some("data"), Some(n)));
            assert_eq!((headers.get("port"), headers.get("host")), (Some("80"), None));
        }
    }

    #[test]
    fn blocks_longer_than_the_first_buffer() {
        let (mut client, mut inflater) = (Client::new(), Inflater::new());
        for length in [500, 512, 513, 1024, 9000] {
            let value = "v".repeat(length);
            let headers = inflater.headers(&client.block(&plain(&[("n", &value)]))).unwrap();
            assert_eq!(headers.get("n").unwrap().len(), length);
        }
    }

    #[test]
    fn our_blocks_are_read_by_zlib() {
        let (mut deflater, mut inflater) = (Deflater::default(), Inflater::new());
        for _ in 0..3 {
            assert_eq!(inflater.headers(&deflater.empty_block()), Ok(Headers::default()));
        }
    }

    #[test]
    fn bombs_and_lies() {
        let bomb = Client::new().block(&plain(&[("n", &"0".repeat(50 << 20))]));
        assert!(bomb.len() < 60_000, "{}", bomb.len());
        assert_eq!(Inflater::new().headers(&bomb), Err(Violation("a header block is too long")));
        for (plain, word) in [
            (vec![0xff; 4], "too many"),
            (vec![0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff], "cut off"),
            (vec![0, 0, 0, 0, 9], "more than"),
            (vec![], "cut off"),
        ] {
            let error = Inflater::new().headers(&Client::new().block(&plain)).unwrap_err();
            assert!(error.0.contains(word), "{}", error.0);
        }
        let mut other = Compress::new(Compression::best(), true);
        other.set_dictionary(b"another dictionary").unwrap();
        let error = Inflater::new().headers(&Client(other).block(&plain(&[]))).unwrap_err();
        assert!(error.0.contains("dictionary"), "{}", error.0);
    }

    proptest! {
        #[test]
        fn any_bytes(blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..4)) {
            let mut inflater = Inflater::new();
            for block in blocks {
                if inflater.headers(&block).is_err() {
                    break;
                }
            }
        }

        #[test]
        fn any_bytes_after_a_good_beginning(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut client = Client::new();
            let mut inflater = Inflater::new();
            inflater.headers(&client.block(&plain(&[("a", "b")]))).unwrap();
            let _ = inflater.headers(&garbage);
        }

        #[test]
        fn any_plain_block(plain in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Inflater::new().headers(&Client::new().block(&plain));
        }
    }
}
