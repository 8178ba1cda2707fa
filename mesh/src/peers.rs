//! Owns the list of nodes that a shard client knows: as configured at first, then as the cluster's
//! members say (a node that was added is found, one that was removed is not asked any more).
//!
//! Must never forget every node, nor believe an older list than the one it has. An address in the
//! configuration lies over the one that the cluster knows.

use std::sync::Arc;

use arc_swap::ArcSwap;
use onsale_proto::allocator as pb;
use parking_lot::Mutex;
use tonic::transport::Channel;

use crate::{Failure, Node, channel, submit_stream::SubmitStream};

/// The nodes of a client.
pub(crate) struct Peers {
    given: Vec<Node>,
    list: ArcSwap<Vec<Arc<Peer>>>,
    /// Index of the entry that the list comes from; 0 is the configuration.
    index: Mutex<u64>,
}

/// A node and the connections to it.
pub(crate) struct Peer {
    pub(crate) node: Node,
    pub(crate) channel: Channel,
    pub(crate) stream: SubmitStream,
}

impl Peers {
    pub(crate) fn new(given: Vec<Node>) -> Result<Peers, Failure> {
        if given.is_empty() {
            return Err(Failure::invalid("nodes", "at least one node is needed"));
        }
        let list: Vec<Arc<Peer>> =
            given.iter().cloned().map(Peer::new).collect::<Result<_, _>>()?;
        Ok(Peers { given, list: ArcSwap::from_pointee(list), index: Mutex::new(0) })
    }

    /// All nodes; never empty.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Peer>>> {
        self.list.load_full()
    }

    /// The node at this place, counted round and round.
    pub(crate) fn in_turn(&self, turn: usize) -> Arc<Peer> {
        let list = self.list.load();
        list[turn % list.len()].clone()
    }

    /// The node of that number.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Peer>> {
        self.list.load().iter().find(|peer| peer.node.id == id).cloned()
    }

    /// The node after that one, round and round.
    pub(crate) fn after(&self, id: u64) -> Arc<Peer> {
        let list = self.list.load();
        let place = list.iter().position(|peer| peer.node.id == id).map_or(0, |place| place + 1);
        list[place % list.len()].clone()
    }

    /// Takes in the members as the entry `index` made them; whether that changed anything.
    pub(crate) fn learn(&self, index: u64, members: &[pb::Member]) -> bool {
        let mut known = self.index.lock();
        if index <= *known {
            return false;
        }
        let before = self.all();
        let mut list: Vec<Arc<Peer>> = Vec::with_capacity(members.len());
        for member in members {
            let given = self.given.iter().find(|node| node.id == member.node);
            let grpc = given.map_or(&member.grpc, |node| &node.grpc);
            let kept = before
                .iter()
                .find(|peer| peer.node.id == member.node && peer.node.grpc == *grpc)
                .cloned();
            let node = Node { id: member.node, grpc: grpc.clone() };
            match kept.map_or_else(|| Peer::new(node), Ok) {
                Ok(peer) => list.push(peer),
                Err(failure) => tracing::warn!(node = member.node, %failure, "an address"),
            }
        }
        if list.is_empty() {
            return false;
        }
        *known = index;
        let ids = |list: &[Arc<Peer>]| list.iter().map(|p| p.node.clone()).collect::<Vec<_>>();
        let changed = ids(&list) != ids(&before);
        if changed {
            self.list.store(Arc::new(list));
        }
        changed
    }
}

impl Peer {
    fn new(node: Node) -> Result<Arc<Peer>, Failure> {
        let calls = channel::connect(&node.grpc)?;
        // A connection of its own: batches must not wait behind snapshots.
        let stream = SubmitStream::new(channel::connect(&node.grpc)?);
        Ok(Arc::new(Peer { node, channel: calls, stream }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u64, grpc: &str) -> Node {
        Node { id, grpc: grpc.to_owned() }
    }

    fn member(node: u64, grpc: &str) -> pb::Member {
        pb::Member { node, grpc: grpc.to_owned(), voter: true }
    }

    #[tokio::test]
    async fn members_replace_the_configured_nodes_but_not_their_addresses() {
        let peers = Peers::new(vec![node(1, "a:1"), node(2, "b:1")]).expect("nodes");
        assert!(peers.learn(5, &[member(2, "elsewhere:9"), member(4, "d:1")]));
        let nodes: Vec<Node> = peers.all().iter().map(|peer| peer.node.clone()).collect();
        assert_eq!(nodes, [node(2, "b:1"), node(4, "d:1")]);
        assert!(peers.get(1).is_none());
        assert_eq!(peers.after(2).node.id, 4);
        assert_eq!(peers.after(4).node.id, 2);
        assert_eq!(peers.after(1).node.id, 2, "a node that is gone is followed by the first");
    }

    #[tokio::test]
    async fn an_older_list_and_an_empty_one_change_nothing() {
        let peers = Peers::new(vec![node(1, "a:1"), node(2, "b:1")]).expect("nodes");
        assert!(peers.learn(7, &[member(2, "")]));
        assert!(!peers.learn(6, &[member(1, ""), member(2, "")]));
        assert!(!peers.learn(8, &[]));
        assert!(!peers.learn(9, &[member(9, "")]), "an address that is not known is no node");
        assert_eq!(peers.all().len(), 1);
    }
}
