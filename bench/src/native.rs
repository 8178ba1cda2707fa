//! Owns what is known of a cluster before the native stream can be used: each event's number, its
//! shard, and who leads it.
//!
//! Must never use more than the gRPC interface.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::Context as _;
use onsale_proto::allocator::{
    FollowRequest, GetStatusRequest, cluster_service_client::ClusterServiceClient,
    feed_change::Kind, feed_service_client::FeedServiceClient, follow_response::Content,
};

use crate::{api::Client, event, limits, seats::EventSeats};

/// Where commands go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// Of each event.
    pub places: Vec<Place>,
    /// `host:port` of each node.
    pub nodes: BTreeMap<u64, String>,
}

/// Where the commands for one event go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its number in the cluster.
    pub event_no: u32,
    /// Its shard.
    pub shard: u32,
    /// Its leader.
    pub leader: u64,
}

/// Of each event, in their order, and of all nodes.
///
/// # Errors
/// When the cluster does not say.
pub async fn map(
    client: &mut Client,
    grpc: &str,
    events: &[EventSeats],
) -> anyhow::Result<Arc<Map>> {
    let channel = onsale_mesh::channel::connect(grpc).map_err(|e| anyhow::anyhow!("{e}"))?;
    let status = ClusterServiceClient::new(channel).get_status(GetStatusRequest {}).await?;
    let status = status.into_inner();
    let nodes = status.nodes.iter().map(|node| (node.node, node.grpc.clone())).collect();
    let nodes: BTreeMap<u64, String> = nodes;
    let mut places = Vec::new();
    for seats in events {
        let document = event::read(client, &format!("/v1/events/{}", seats.event_id)).await?;
        let shard = document["shard"].as_u64().context("an event without shard")?;
        let shard = u32::try_from(shard)?;
        let known = status.shards.iter().find(|known| known.shard == shard);
        let leader = known.map_or(0, |known| known.leader);
        let node = nodes.get(&leader);
        let node = node.with_context(|| format!("nobody knows the leader of shard {shard}"))?;
        let event_no = number(node, shard, &seats.event_id).await?;
        places.push(Place { event_no, shard, leader });
    }
    Ok(Arc::new(Map { places, nodes }))
}

/// An event's number, from its shard's feed.
async fn number(leader: &str, shard: u32, event_id: &str) -> anyhow::Result<u32> {
    let channel = onsale_mesh::channel::connect(leader).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut feed =
        FeedServiceClient::new(channel).max_decoding_message_size(limits::RESPONSE_BYTES_MAX);
    let mut messages = feed.follow(FollowRequest { shard, from_index: 0 }).await?.into_inner();
    // A snapshot may be older than the event; what came since follows it.
    let finding = async {
        while let Some(message) = messages.message().await? {
            if let Some(no) = message.content.and_then(|content| named(content, event_id)) {
                return Ok(no);
            }
        }
        anyhow::bail!("shard {shard}: the feed ended")
    };
    let found = tokio::time::timeout(limits::FEED_LAG_MAX, finding).await;
    found.with_context(|| format!("the feed of shard {shard} does not show {event_id}"))?
}

/// The event's number, if that content shows it.
fn named(content: Content, event_id: &str) -> Option<u32> {
    let events = match content {
        Content::Snapshot(snapshot) => snapshot.events,
        Content::Changes(changes) => {
            let kinds = changes.changes.into_iter().filter_map(|change| change.kind);
            kinds
                .filter_map(|kind| if let Kind::Event(e) = kind { Some(e) } else { None })
                .collect()
        }
        Content::Reset(_) => return None,
    };
    events.iter().find(|event| event.event_id == event_id).map(|event| event.event_no)
}

#[cfg(test)]
mod tests {
    use onsale_proto::allocator::{EventAvailability, FeedChange, FeedChanges, FeedSnapshot};

    use super::*;

    #[test]
    fn an_event_is_found_in_the_snapshot_and_in_what_came_since() {
        let event = |event_no| EventAvailability {
            event_no,
            event_id: format!("evt_{event_no}"),
            ..EventAvailability::default()
        };
        let events = vec![event(4), event(5)];
        let snapshot = || FeedSnapshot { events: events.clone(), ..FeedSnapshot::default() };
        assert_eq!(named(Content::Snapshot(snapshot()), "evt_5"), Some(5));
        assert_eq!(named(Content::Snapshot(snapshot()), "evt_6"), None);
        let change = FeedChange { kind: Some(Kind::Event(event(6))) };
        let changes = FeedChanges { changes: vec![change] };
        assert_eq!(named(Content::Changes(changes), "evt_6"), Some(6), "changes");
    }
}
