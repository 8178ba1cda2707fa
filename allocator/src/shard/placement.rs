//! Owns who this node is (its identity file) and how a new cluster comes to be (design D19): by
//! all its nodes or not at all.
//!
//! 1. A node with an empty folder asks every peer. It takes on its identity, durably, once all
//!    peers are reached, agree on what the cluster is, and none of them knows it already. If one
//!    does, this node has lost its disk and refuses to start.
//! 2. A node with an identity takes part in votes. Once every node says that it has one, each shard
//!    gets its first entry from the node that should lead it; so leaders are spread from the start,
//!    and no node can be without an identity when the first entry is made.
//!
//! Must never let a lost disk look like a fresh one, nor vote before the identity is on disk.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use futures_util::future::join_all;
use onsale_mesh::{Deadline, Failure, ShardClient};
use onsale_proto::allocator::DescribeResponse;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{Groups, leadership};
use crate::{
    Config, Error,
    config::StateLimits,
    limits::{DESCRIBE_TIMEOUT, FORMING_PAUSE, FORMING_REPORT_INTERVAL},
};

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

/// Where this node stands on the way to being part of a cluster.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) node: u64,
    pub(crate) cluster: String,
    pub(crate) fingerprint: String,
    data_dir: PathBuf,
    ids: Vec<u64>,
    identified: watch::Sender<bool>,
    formed: watch::Sender<bool>,
}

/// What a round of questions came to.
enum Round {
    /// Go on; what it waits for.
    Wait(String),
    /// Every node may go on.
    Done,
}

impl Standing {
    pub(crate) fn new(config: &Config, identity: Option<&Identity>) -> Standing {
        Standing {
            node: config.node,
            cluster: config.cluster.clone(),
            fingerprint: config.fingerprint(),
            data_dir: config.data_dir.clone(),
            ids: config.node_ids(),
            identified: watch::Sender::new(identity.is_some()),
            formed: watch::Sender::new(identity.is_some_and(|identity| identity.formed)),
        }
    }

    pub(crate) fn is_identified(&self) -> bool {
        *self.identified.borrow()
    }

    pub(crate) fn is_formed(&self) -> bool {
        *self.formed.borrow()
    }

    pub(crate) fn identified(&self) -> watch::Receiver<bool> {
        self.identified.subscribe()
    }

    pub(crate) fn formed(&self) -> watch::Receiver<bool> {
        self.formed.subscribe()
    }

    /// Takes this node from wherever it stands to being part of the cluster. Never gives up on
    /// peers that cannot be reached; says so in the log.
    pub(crate) async fn form(
        &self,
        config: &Config,
        client: &ShardClient,
        groups: &Groups,
    ) -> Result<(), Error> {
        let mut identity = Identity::of(config);
        if !self.is_identified() {
            self.rounds(client, |answers| self.may_identify(answers)).await?;
            identity.write(&self.data_dir)?;
            self.identified.send_replace(true);
            tracing::info!(node = self.node, cluster = %self.cluster, "identity is on disk");
        }
        if self.is_formed() {
            return Ok(());
        }
        let mut all_known = false;
        self.rounds(client, |answers| {
            all_known = all_known || self.all_identified(answers);
            Ok(self.initialised(groups, all_known, answers))
        })
        .await?;
        self.first_entries(client, groups).await?;
        identity.formed = true;
        identity.write(&self.data_dir)?;
        self.formed.send_replace(true);
        tracing::info!(node = self.node, cluster = %self.cluster, "part of the cluster");
        Ok(())
    }

    /// Asks all peers again and again until `judge` is satisfied.
    async fn rounds(
        &self,
        client: &ShardClient,
        mut judge: impl FnMut(&[(u64, Result<DescribeResponse, Failure>)]) -> Result<Round, Error>,
    ) -> Result<(), Error> {
        let mut said_at: Option<Instant> = None;
        loop {
            let peers = self.ids.iter().copied().filter(|id| *id != self.node);
            let asking = peers.map(|id| async move {
                (id, client.describe(id, Deadline::after(DESCRIBE_TIMEOUT)).await)
            });
            let answers = join_all(asking).await;
            let Round::Wait(what) = judge(&answers)? else {
                return Ok(());
            };
            if said_at.is_none_or(|at| at.elapsed() >= FORMING_REPORT_INTERVAL) {
                tracing::info!(node = self.node, cluster = %self.cluster, "waiting: {what}");
                said_at = Some(Instant::now());
            }
            tokio::time::sleep(FORMING_PAUSE).await;
        }
    }

    /// An empty folder: may this node be new?
    fn may_identify(
        &self,
        answers: &[(u64, Result<DescribeResponse, Failure>)],
    ) -> Result<Round, Error> {
        let mut wait = None;
        for (peer, answer) in answers {
            let answer = match answer {
                Ok(answer) => answer,
                Err(failure) => {
                    let reason = format!("node {peer} cannot be reached ({})", failure.detail);
                    wait.get_or_insert(reason);
                    continue;
                }
            };
            let agrees = answer.fingerprint == self.fingerprint && answer.node == *peer;
            match (answer.initialised, agrees) {
                (true, true) => {
                    return Err(Error::Emptied {
                        node: self.node,
                        cluster: self.cluster.clone(),
                        folder: self.data_dir.clone(),
                        peer: *peer,
                    });
                }
                (true, false) => {
                    return Err(Error::Disagreement {
                        peer: *peer,
                        theirs: answer.fingerprint.clone(),
                        cluster: answer.cluster.clone(),
                        ours: self.fingerprint.clone(),
                    });
                }
                (false, false) => {
                    wait.get_or_insert(format!(
                        "node {peer} (it says it is node {} of `{}`) has other settings: name, \
                         nodes, shards or limits differ",
                        answer.node, answer.cluster
                    ));
                }
                (false, true) => {}
            }
        }
        Ok(wait.map_or(Round::Done, Round::Wait))
    }

    fn all_identified(&self, answers: &[(u64, Result<DescribeResponse, Failure>)]) -> bool {
        answers.iter().all(|(peer, answer)| {
            answer.as_ref().is_ok_and(|answer| {
                answer.node == *peer
                    && answer.fingerprint == self.fingerprint
                    && (answer.identified || answer.initialised)
            })
        })
    }

    /// With an identity: are all nodes there, or has somebody made our shards' first entries?
    fn initialised(
        &self,
        groups: &Groups,
        all_known: bool,
        answers: &[(u64, Result<DescribeResponse, Failure>)],
    ) -> Round {
        if all_known || groups.iter().all(|group| group.status().initialised) {
            return Round::Done;
        }
        let missing: Vec<String> = answers
            .iter()
            .filter(|(_, answer)| !answer.as_ref().is_ok_and(|answer| answer.identified))
            .map(|(peer, _)| peer.to_string())
            .collect();
        Round::Wait(format!("not all nodes are ready to begin; missing: {}", missing.join(", ")))
    }

    /// Makes the first entries of the shards that this node should lead, unless a peer has them,
    /// and waits for those of the others.
    async fn first_entries(&self, client: &ShardClient, groups: &Groups) -> Result<(), Error> {
        let mut known_by_peers = vec![false; groups.len()];
        self.rounds(client, |answers| {
            for shard in answers.iter().filter_map(|(_, a)| a.as_ref().ok()).flat_map(|a| &a.shards)
            {
                if let Some(known) = known_by_peers.get_mut(shard.shard as usize) {
                    *known |= shard.role != "learner";
                }
            }
            Ok(Round::Done)
        })
        .await?;
        for (group, known) in groups.iter().zip(known_by_peers) {
            let preferred = leadership::preferred(group.no().into(), &self.ids);
            if preferred == self.node && !known {
                group.replica().initialise(&self.ids).await?;
            }
        }
        for group in groups.iter() {
            let mut changes = group.replica().changes();
            while !group.status().initialised {
                if !changes.next().await {
                    let reason = "the replica has ended".to_owned();
                    return Err(Error::Replica { shard: group.no().into(), reason });
                }
            }
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

    fn answer(standing: &Standing, peer: u64) -> DescribeResponse {
        DescribeResponse {
            node: peer,
            cluster: standing.cluster.clone(),
            fingerprint: standing.fingerprint.clone(),
            ..DescribeResponse::default()
        }
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

    #[test]
    fn an_empty_node_begins_only_with_all_peers_empty_and_agreed() {
        let dir = tempfile::tempdir().expect("a folder");
        let standing = Standing::new(&config(dir.path()), None);
        let good = || Ok(answer(&standing, 2));
        let judge = |third: Result<DescribeResponse, Failure>| {
            standing.may_identify(&[(2, good()), (3, third)])
        };
        assert!(matches!(judge(Ok(answer(&standing, 3))), Ok(Round::Done)));
        let unreachable = Failure::new(onsale_proto::Code::Unavailable, "no");
        assert!(matches!(judge(Err(unreachable)), Ok(Round::Wait(_))));
        let mut other = answer(&standing, 3);
        other.fingerprint = "other".to_owned();
        assert!(matches!(judge(Ok(other.clone())), Ok(Round::Wait(_))));
        other.initialised = true;
        assert!(matches!(judge(Ok(other)), Err(Error::Disagreement { peer: 3, .. })));
        let knows = DescribeResponse { initialised: true, ..answer(&standing, 3) };
        let refused = judge(Ok(knows)).err().expect("refused").to_string();
        assert!(refused.contains("onsale cluster remove-replica --node 1"), "{refused}");
    }
}
