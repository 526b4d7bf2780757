//! PURE. Finds the route of a path.
//!
//! A pattern is fixed text with at most two parameters: `{id}` is one segment, `{name*}` is any number of them (image
//! names have slashes). Routes are tried in order, so that fixed ones stand before those with parameters.

use http::Method;
use percent_encoding::percent_decode_str;

use crate::routes::{ROUTES, Route};

/// The route for a method and a path without version, and the decoded parameters.
pub(crate) fn find(method: &Method, path: &str) -> Option<(&'static Route, Vec<String>)> {
    let clean = collapse(path);
    ROUTES.iter().filter(|route| route.method == method.as_str()).find_map(|route| {
        let raw = captures(route.pattern, &clean)?;
        let decode = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        Some((route, raw.into_iter().map(decode).collect::<Option<Vec<_>>>()?))
    })
}

/// Doubled and trailing slashes mean nothing.
fn collapse(path: &str) -> String {
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    format!("/{}", segments.join("/"))
}

fn captures<'p>(pattern: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let Some((before, rest)) = pattern.split_once('{') else {
        return (pattern == path).then(Vec::new);
    };
    let (name, after) = rest.split_once('}')?;
    let tail = path.strip_prefix(before)?;
    if name.ends_with('*') {
        let value = tail.strip_suffix(after)?;
        return (!value.is_empty()).then(|| vec![value]);
    }
    let end = tail.find('/').unwrap_or(tail.len());
    let (value, remaining) = tail.split_at(end);
    if value.is_empty() {
        return None;
    }
    let mut values = vec![value];
    values.extend(captures(after, remaining)?);
    Some(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(method: &str, path: &str) -> Option<(&'static str, Vec<String>)> {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        find(&method, path).map(|(route, params)| (route.pattern, params))
    }

    #[test]
    fn fixed_routes_go_before_those_with_parameters() {
        assert_eq!(pattern("GET", "/containers/json").unwrap().0, "/containers/json");
        assert_eq!(pattern("GET", "/images/get").unwrap().0, "/images/get");
        assert_eq!(pattern("GET", "/images/search").unwrap().0, "/images/search");
        assert_eq!(pattern("POST", "/networks/create").unwrap().0, "/networks/create");
    }

    #[test]
    fn image_names_may_have_slashes_ports_and_tags() {
        let (route, params) = pattern("GET", "/images/localhost:5000/a/b:1/json").unwrap();
        assert_eq!((route, &params[..]), ("/images/{name*}/json", &["localhost:5000/a/b:1".to_owned()][..]));
        let (_, params) = pattern("DELETE", "/images/a%2Fb%40sha256%3A00").unwrap();
        assert_eq!(params, ["a/b@sha256:00"]);
        assert_eq!(pattern("POST", "/images/x/json/tag").unwrap().0, "/images/{name*}/tag");
    }

    #[test]
    fn names_may_come_with_their_slash() {
        assert_eq!(pattern("GET", "/containers/%2Fweb/json").unwrap().1, ["/web"]);
        assert_eq!(pattern("GET", "/containers//web/json").unwrap().1, ["web"]);
    }

    #[test]
    fn unknown_paths_and_methods_have_no_route() {
        for (method, path) in
            [("GET", "/"), ("GET", "/nope"), ("PUT", "/containers/json"), ("GET", "/containers/a/b/json")]
        {
            assert_eq!(pattern(method, path), None, "{method} {path}");
        }
    }

    #[test]
    fn each_route_is_reached_by_its_own_pattern() {
        for route in ROUTES {
            let path = route.pattern.replace("{name*}", "n").replace("{id}", "i").replace("{checkpoint}", "c");
            let found = pattern(route.method, &path).unwrap_or_else(|| panic!("{} {path}", route.method));
            assert_eq!(found.0, route.pattern);
        }
    }
}
