//! Query `platform` of create, save, load and push. An engine of one machine has one platform of each image: asked for that one,
//! it does as it would anyway; asked for another, it says that it has none.

use engine::image::{ImageView, Platform};
use http::StatusCode;
use serde::Deserialize;

use crate::query::Query;
use crate::status_code::Failure;

/// The form in which clients since API 1.48 send it.
#[derive(Deserialize)]
struct Document {
    os: String,
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// The platform that is asked for: a JSON object, or `os/architecture`.
///
/// # Errors
/// 400 naming the query.
pub(crate) fn asked(query: &Query) -> Result<Option<Platform>, Failure> {
    let text = query.text("platform").trim();
    if text.is_empty() {
        return Ok(None);
    }
    if !text.starts_with('{') {
        return Ok(Some(text.parse()?));
    }
    let document: Document = docker_api::from_slice(text.as_bytes())
        .map_err(|e| Failure::bad_request(format!("query platform: not an OCI platform: {e}")))?;
    Ok(Some(Platform::new(&document.os, &document.architecture, document.variant.as_deref())))
}

/// Checks that an image is for `wanted`; `name` is what it was called by.
///
/// # Errors
/// 404 naming both.
pub(crate) fn check(image: &ImageView, wanted: &Platform, name: &str) -> Result<(), Failure> {
    let offered = Platform::new(&image.os, &image.architecture, image.variant.as_deref());
    if wanted == &offered {
        return Ok(());
    }
    let message = format!(
        "image with reference {name} was found but does not provide the specified platform ({wanted}): it is for {offered}"
    );
    Err(Failure::new(StatusCode::NOT_FOUND, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_comes_as_json_or_as_words() {
        let of = |text: &str| asked(&Query::parse(&format!("platform={text}"))).map(|p| p.map(|p| p.to_string()));
        assert_eq!(of("").unwrap(), None);
        assert_eq!(of("linux/arm64").unwrap().unwrap(), "linux/arm64");
        let json = r#"{"os":"linux","architecture":"arm","variant":"v7"}"#;
        assert_eq!(of(json).unwrap().unwrap(), "linux/arm/v7");
        assert!(of(r#"{"os":3}"#).unwrap_err().message.contains("query platform"));
        assert!(of("a/b/c/d/e").is_err());
    }
}
