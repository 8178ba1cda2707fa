//! Owns who a folder's node is: the identity file.
//!
//! Must never be written without being durable on return: votes hang on it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{Config, Error, config::StateLimits};

const FILE: &str = "identity.json";

/// Who a folder's node is. Its limits, not the settings', are the shards': replicas must have the
/// same ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    version: u32,
    /// The cluster's name.
    pub cluster: String,
    /// The node's number.
    pub node: u64,
    /// Selling shards.
    pub shards: u32,
    /// Bounds of the shards' state.
    pub limits: StateLimits,
    /// What the nodes agreed on.
    pub fingerprint: String,
    /// Every shard had its first entry here.
    pub formed: bool,
    /// It came to a cluster that was there already.
    #[serde(default)]
    pub joined: bool,
    /// Members when this node last looked.
    #[serde(default)]
    pub members: Vec<u64>,
    /// Numbers that were members once and are no more: never used again.
    #[serde(default)]
    pub retired: Vec<u64>,
}

impl Identity {
    /// The identity that these settings give.
    #[must_use]
    pub fn of(config: &Config) -> Identity {
        Identity {
            version: 1,
            cluster: config.cluster.clone(),
            node: config.node,
            shards: config.shards,
            limits: config.limits,
            fingerprint: config.fingerprint(),
            formed: false,
            joined: config.join,
            members: Vec::new(),
            retired: Vec::new(),
        }
    }

    /// The identity of a folder; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(data_dir: &Path) -> Result<Option<Identity>, Error> {
        let path = data_dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(path, error)),
        };
        let identity = serde_json::from_slice(&bytes);
        identity.map(Some).map_err(|error| Error::io(path, io::Error::other(error)))
    }

    /// Writes the identity; it is durable on return.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, data_dir: &Path) -> Result<(), Error> {
        let path = data_dir.join(FILE);
        self.write_to(&path, data_dir).map_err(|error| Error::io(path, error))
    }

    fn write_to(&self, path: &Path, data_dir: &Path) -> io::Result<()> {
        let tmp = path.with_extension("json.tmp");
        let mut file = File::create(&tmp)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&tmp, path)?;
        File::open(data_dir)?.sync_all()
    }

    /// Whether these settings may use this identity's folder.
    ///
    /// # Errors
    /// `ForeignFolder` or `FixedSetting`.
    pub fn check(&self, config: &Config) -> Result<(), Error> {
        let file = config.data_dir.join(FILE);
        if self.cluster != config.cluster || self.node != config.node {
            let (node, cluster) = (self.node, self.cluster.clone());
            return Err(Error::ForeignFolder { folder: config.data_dir.clone(), node, cluster });
        }
        let fixed = |what, formed, now| Error::FixedSetting { what, formed, now, file };
        if self.shards != config.shards {
            let (formed, now) = (self.shards.to_string(), config.shards.to_string());
            return Err(fixed("shards", formed, now));
        }
        if self.limits != config.limits {
            let (formed, now) = (format!("{:?}", self.limits), format!("{:?}", config.limits));
            return Err(fixed("limits", formed, now));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use onsale_mesh::Node;

    use super::*;

    fn config(dir: &Path) -> Config {
        let node = |id: u64| Node { id, grpc: format!("127.0.0.1:{}", 7000 + id) };
        let nodes = vec![node(1), node(2), node(3)];
        Config { nodes, data_dir: dir.to_owned(), ..Config::default() }
    }

    #[test]
    fn an_identity_is_read_back_and_another_nodes_folder_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = config(dir.path());
        assert!(Identity::read(dir.path()).expect("reads").is_none());
        let identity = Identity::of(&config);
        identity.write(dir.path()).expect("writes");
        let back = Identity::read(dir.path()).expect("reads").expect("is there");
        assert_eq!(back, identity);
        assert!(back.check(&config).is_ok());
        let other = Config { node: 2, ..config.clone() };
        assert!(matches!(back.check(&other), Err(Error::ForeignFolder { node: 1, .. })));
        let other = Config { cluster: "b".to_owned(), ..config.clone() };
        assert!(matches!(back.check(&other), Err(Error::ForeignFolder { .. })));
        let other = Config { shards: 9, ..config };
        assert!(matches!(back.check(&other), Err(Error::FixedSetting { .. })));
    }
}
