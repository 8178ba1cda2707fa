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
//! A node that joins a running cluster (`Config::join`) takes on its identity once a majority of
//! the members said that its number is new, makes no first entry, and is part of the cluster when
//! it has been made a member of every shard.
//!
//! Must never let a lost disk look like a fresh one, nor vote before the identity is on disk.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use futures_util::future::join_all;
use onsale_mesh::{Deadline, Failure, ShardClient};
use onsale_proto::allocator::{DescribeResponse, Member};
use parking_lot::Mutex;
use tokio::sync::watch;

pub use super::identity::Identity;
use super::{Group, Groups, leadership};
use crate::{
    Config, Error,
    limits::{DESCRIBE_TIMEOUT, FORMING_PAUSE, FORMING_REPORT_INTERVAL},
};

/// Where this node stands on the way to being part of a cluster.
#[derive(Debug)]
pub(crate) struct Standing {
    pub(crate) node: u64,
    pub(crate) cluster: String,
    pub(crate) fingerprint: String,
    /// What a node that joins must agree on.
    pub(crate) settings: String,
    /// Addresses as configured.
    pub(crate) addresses: BTreeMap<u64, String>,
    data_dir: PathBuf,
    ids: Vec<u64>,
    join: bool,
    identity: Mutex<Identity>,
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
            settings: config.settings_fingerprint(),
            addresses: config.nodes.iter().map(|node| (node.id, node.grpc.clone())).collect(),
            data_dir: config.data_dir.clone(),
            ids: config.node_ids(),
            join: identity.map_or(config.join, |identity| identity.joined),
            identity: Mutex::new(identity.cloned().unwrap_or_else(|| Identity::of(config))),
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
    pub(crate) async fn form(&self, client: &ShardClient, groups: &Groups) -> Result<(), Error> {
        if !self.is_identified() {
            self.rounds(client, |answers| match self.join {
                true => self.may_join(answers),
                false => self.may_identify(answers),
            })
            .await?;
            self.keep(|_| {})?;
            self.identified.send_replace(true);
            tracing::info!(node = self.node, cluster = %self.cluster, "identity is on disk");
        }
        if self.is_formed() {
            return Ok(());
        }
        let mut all_known = false;
        if self.join {
            self.rounds(client, |_| Ok(self.is_member(groups))).await?;
        } else {
            self.rounds(client, |answers| {
                all_known = all_known || self.all_identified(answers);
                Ok(self.initialised(groups, all_known, answers))
            })
            .await?;
            self.first_entries(client, groups).await?;
        }
        self.keep(|identity| identity.formed = true)?;
        self.formed.send_replace(true);
        tracing::info!(node = self.node, cluster = %self.cluster, "part of the cluster");
        Ok(())
    }

    /// Changes the identity and writes it down; durable on return.
    fn keep(&self, change: impl FnOnce(&mut Identity)) -> Result<(), Error> {
        let mut identity = self.identity.lock();
        change(&mut identity);
        identity.write(&self.data_dir)
    }

    /// Numbers that were members once and are no more.
    pub(crate) fn retired(&self) -> Vec<u64> {
        self.identity.lock().retired.clone()
    }

    /// Writes down who the members are now, and whose number is used up.
    pub(crate) fn remember_members(&self, now: &[u64]) -> Result<(), Error> {
        if self.identity.lock().members == now {
            return Ok(());
        }
        self.keep(|identity| {
            let gone = identity.members.iter().copied().filter(|id| !now.contains(id));
            let gone: Vec<u64> = gone.filter(|id| !identity.retired.contains(id)).collect();
            identity.retired.extend(gone);
            identity.members = now.to_vec();
        })
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

    fn lost(&self, peer: u64) -> Error {
        Error::Emptied {
            node: self.node,
            cluster: self.cluster.clone(),
            folder: self.data_dir.clone(),
            peer,
            ask: self.addresses.get(&peer).cloned().unwrap_or_default(),
        }
    }

    /// An empty folder of a node that joins: is its number new to the cluster?
    fn may_join(
        &self,
        answers: &[(u64, Result<DescribeResponse, Failure>)],
    ) -> Result<Round, Error> {
        let known = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let known: Vec<&DescribeResponse> = known.filter(|answer| answer.initialised).collect();
        for answer in &known {
            if answer.settings != self.settings {
                return Err(Error::Disagreement {
                    peer: answer.node,
                    theirs: answer.settings.clone(),
                    cluster: answer.cluster.clone(),
                    ours: self.settings.clone(),
                });
            }
            let has_voted = |member: &Member| member.node == self.node && member.voter;
            if answer.members.iter().any(has_voted) || answer.retired.contains(&self.node) {
                return Err(self.lost(answer.node));
            }
        }
        let newest = known.iter().max_by_key(|answer| answer.members_index);
        let voters: Vec<u64> = newest.map_or_else(Vec::new, |answer| {
            answer.members.iter().filter(|member| member.voter).map(|m| m.node).collect()
        });
        let answered = voters.iter().filter(|id| known.iter().any(|answer| answer.node == **id));
        if !voters.is_empty() && answered.count() > voters.len() / 2 {
            return Ok(Round::Done);
        }
        Ok(Round::Wait(format!(
            "a majority of the cluster's voters must say that node {} is new; cluster.nodes must \
             name them (known voters: {voters:?})",
            self.node
        )))
    }

    /// With an identity, joining: has this node been made a member?
    fn is_member(&self, groups: &Groups) -> Round {
        let member = |group: &&Group| group.replica().members().nodes.contains_key(&self.node);
        let missing: Vec<u16> =
            groups.iter().filter(|group| !member(group)).map(Group::no).collect();
        if missing.is_empty() {
            return Round::Done;
        }
        let own = self.addresses.get(&self.node).map_or("HOST:PORT", String::as_str);
        Round::Wait(format!(
            "this node is no member of the shards {missing:?} yet; run `onsale cluster \
             add-replica --node {} --grpc {own}`",
            self.node
        ))
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
                (true, true) => return Err(self.lost(*peer)),
                // Members have changed since our list was written.
                (true, false) if answer.settings == self.settings => return Err(self.lost(*peer)),
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
                let changing = tokio::time::timeout(FORMING_REPORT_INTERVAL, changes.next());
                match changing.await {
                    Ok(true) => {}
                    Ok(false) => {
                        let reason = "the replica has ended".to_owned();
                        return Err(Error::Replica { shard: group.no().into(), reason });
                    }
                    Err(_) => {
                        let by = leadership::preferred(group.no().into(), &self.ids);
                        let shard = group.no();
                        tracing::info!(shard, "waiting: node {by} has to make the first entry");
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

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

    fn joining(dir: &Path) -> Standing {
        let nodes = [1, 2, 3, 4].map(|id| Node { id, grpc: format!("127.0.0.1:{}", 7000 + id) });
        let nodes = nodes.to_vec();
        Standing::new(&Config { node: 4, nodes, join: true, ..config(dir) }, None)
    }

    /// A node of a running cluster of three.
    fn member(standing: &Standing, node: u64) -> (u64, Result<DescribeResponse, Failure>) {
        let voter = |node| Member { node, grpc: String::new(), voter: true };
        let described = DescribeResponse {
            node,
            initialised: true,
            settings: standing.settings.clone(),
            members: vec![voter(1), voter(2), voter(3)],
            members_index: 1,
            ..DescribeResponse::default()
        };
        (node, Ok(described))
    }

    #[test]
    fn a_new_number_joins_when_a_majority_of_the_voters_does_not_know_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let standing = joining(dir.path());
        let away = (3, Err(Failure::new(onsale_proto::Code::Unavailable, "no")));
        let two = [member(&standing, 1), member(&standing, 2), away.clone()];
        assert!(matches!(standing.may_join(&two), Ok(Round::Done)));
        let one = [member(&standing, 1), away.clone()];
        assert!(matches!(standing.may_join(&one), Ok(Round::Wait(_))), "one may not know");
        let empty = [(1, Ok(DescribeResponse { initialised: false, ..two[0].1.clone().unwrap() }))];
        assert!(matches!(standing.may_join(&empty), Ok(Round::Wait(_))), "no cluster yet");
    }

    #[test]
    fn a_number_that_has_voted_or_was_taken_away_never_joins() {
        let dir = tempfile::tempdir().expect("a folder");
        let standing = joining(dir.path());
        let (_, knows) = member(&standing, 2);
        let mut voter = knows.clone().expect("an answer");
        voter.members.push(Member { node: 4, grpc: "x:1".to_owned(), voter: true });
        let lost = standing.may_join(&[member(&standing, 1), (2, Ok(voter.clone()))]);
        assert!(matches!(lost, Err(Error::Emptied { node: 4, peer: 2, .. })));
        let mut retired = knows.expect("an answer");
        retired.retired.push(4);
        let lost = standing.may_join(&[member(&standing, 1), (2, Ok(retired))]);
        assert!(matches!(lost, Err(Error::Emptied { .. })));
        // A learner that has never voted may begin again.
        voter.members.last_mut().expect("it").voter = false;
        let again = standing.may_join(&[member(&standing, 1), (2, Ok(voter))]);
        assert!(matches!(again, Ok(Round::Done)));
    }

    #[test]
    fn a_number_is_used_up_once_its_node_is_no_member_any_more() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = config(dir.path());
        let standing = Standing::new(&config, None);
        standing.remember_members(&[1, 2, 3]).expect("written");
        standing.remember_members(&[1, 2, 3, 4]).expect("written");
        standing.remember_members(&[1, 2, 4]).expect("written");
        assert_eq!(standing.retired(), [3]);
        let back = Identity::read(dir.path()).expect("reads").expect("is there");
        assert_eq!((back.members, back.retired), (vec![1, 2, 4], vec![3]));
    }
}
