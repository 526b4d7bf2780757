//! PURE. Query strings as Go's `url.ParseQuery` and moby's form helpers read them.

use percent_encoding::percent_decode_str;

use crate::status_code::Failure;

/// Keys of a query beyond these are not read.
const KEYS_MAX: usize = 1024;

/// A parsed query; keys may repeat.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    /// Parses `a=b&c=d`.
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).take(KEYS_MAX);
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }
    /// The first value of a key, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }
    /// The first value of a key, else nothing.
    pub(crate) fn text(&self, key: &str) -> &str {
        self.get(key).unwrap_or_default()
    }
    /// All values of a key.
    pub(crate) fn all(&self, key: &str) -> Vec<String> {
        self.0.iter().filter(|(name, _)| name == key).map(|(_, value)| value.clone()).collect()
    }
    /// moby's `BoolValue`: everything is true except nothing, 0, no, false and none.
    pub(crate) fn flag(&self, key: &str) -> bool {
        self.flag_or(key, false)
    }
    /// As [`Query::flag`], with what an absent key means.
    pub(crate) fn flag_or(&self, key: &str, absent: bool) -> bool {
        let Some(value) = self.get(key) else { return absent };
        !matches!(value.trim().to_ascii_lowercase().as_str(), "" | "0" | "no" | "false" | "none")
    }
    /// A whole number, `None` when absent or empty.
    ///
    /// # Errors
    /// 400 naming the key.
    pub(crate) fn integer<N: std::str::FromStr>(&self, key: &str) -> Result<Option<N>, Failure> {
        match self.get(key) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|_| Failure::bad_request(format!("query {key}: {text:?} is not a number in range"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_and_may_repeat() {
        let query = Query::parse("names=a%2Fb&names=c+d&x&y=%7B%22a%22%3A1%7D");
        assert_eq!(query.all("names"), ["a/b", "c d"]);
        assert_eq!(query.get("x"), Some(""));
        assert_eq!(query.text("y"), "{\"a\":1}");
        assert_eq!(query.text("z"), "");
    }

    #[test]
    fn flags_are_true_unless_they_say_no() {
        let query = Query::parse("a=1&b=0&c=False&d=yes&e=&f=none&g=anything");
        let flags = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|key| query.flag(key));
        assert_eq!(flags, [true, false, false, true, false, false, true, false]);
        assert!(query.flag_or("stream", true));
    }

    #[test]
    fn a_number_that_is_none_is_refused_by_name() {
        let query = Query::parse("t=5&h=x");
        assert_eq!(query.integer::<u16>("t").unwrap(), Some(5));
        assert_eq!(query.integer::<u16>("w").unwrap(), None);
        assert_eq!(query.integer::<u16>("h").unwrap_err().message, "query h: \"x\" is not a number in range");
    }
}
