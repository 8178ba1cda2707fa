//! Owns the catalog's settings. Must never read files or the environment: `onsale` does.

use std::path::PathBuf;

use serde::Deserialize;

/// Settings of a catalog instance.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where documents are kept; made if missing. One process per folder.
    pub data_dir: PathBuf,
    /// Memory for sled's page cache, in bytes; 1 MiB to 16 GiB.
    pub cache_bytes: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config { data_dir: PathBuf::from("data/catalog"), cache_bytes: 32 << 20 }
    }
}

impl Config {
    /// Everything that is wrong with these settings, one sentence each.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.data_dir.as_os_str().is_empty() {
            wrong.push("catalog.data_dir must name a folder".to_owned());
        }
        if !(1 << 20..=16 << 30).contains(&self.cache_bytes) {
            wrong.push("catalog.cache_bytes must be between 1 MiB and 16 GiB".to_owned());
        }
        wrong
    }
}
