//! PURE. `# check=skip=Rule,…;error=true;experimental=all`.

use std::collections::BTreeSet;

use super::Rule;

/// Which rules report, and whether what they report fails the build.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    skip_all: bool,
    skip: BTreeSet<String>,
    experimental_all: bool,
    experimental: BTreeSet<String>,
    /// A warning is an error.
    pub error: bool,
}

impl Options {
    /// Reads options.
    ///
    /// # Errors
    /// Options that are unknown, naming them.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut options = Self::default();
        for part in text.trim().split(';').filter(|part| !part.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            let value = value.trim();
            let names = || value.split(',').map(|name| name.trim().to_owned());
            match key.trim() {
                "skip" if value == "all" => options.skip_all = true,
                "skip" => options.skip.extend(names()),
                "experimental" if value == "all" => options.experimental_all = true,
                "experimental" => options.experimental.extend(names()),
                "error" => {
                    options.error = match value.to_ascii_lowercase().as_str() {
                        "1" | "t" | "true" => true,
                        "0" | "f" | "false" => false,
                        _ => return Err(format!("failed to parse check option {part:?}")),
                    }
                }
                other => return Err(format!("invalid check option {other:?}")),
            }
        }
        Ok(options)
    }

    /// Both together.
    #[must_use]
    pub fn merged(mut self, other: &Self) -> Self {
        self.skip_all |= other.skip_all;
        self.experimental_all |= other.experimental_all;
        self.error |= other.error;
        self.skip.extend(other.skip.iter().cloned());
        self.experimental.extend(other.experimental.iter().cloned());
        self
    }

    /// Whether a rule reports.
    pub(super) fn reports(&self, rule: &str) -> bool {
        if Rule::is_experimental(rule) {
            return self.experimental_all || self.experimental.contains(rule);
        }
        !self.skip_all && !self.skip.contains(rule)
    }
}
