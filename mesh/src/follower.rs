//! Owns following a shard's feed from any node that answers, across restarts of nodes.
//!
//! Must never skip an entry silently: what cannot be resumed starts again with a snapshot. Must
//! never give out a part of one: whoever takes it for the whole forgets the rest.

use std::sync::Arc;

use onsale_proto::allocator::{
    FeedChange, FeedSnapshot, FollowRequest, FollowResponse, feed_change::Kind,
    feed_service_client::FeedServiceClient, follow_response::Content,
};
use tokio::time::Instant;
use tonic::Streaming;

use crate::{Deadline, ShardClient, limits, peers::Peer};

/// A place in a shard's feed that moves on with each message.
pub struct Follower {
    client: ShardClient,
    shard: u32,
    index: u64,
    /// The furthest place ever reached: positions never go back (INV-9).
    reached: u64,
    turn: usize,
    stream: Option<Streaming<FollowResponse>>,
    /// The pieces of a snapshot so far, while more of it is to come.
    partial: Option<FeedSnapshot>,
    /// Which node the stream comes from.
    replica: Arc<Peer>,
    /// When the place last moved on, or the replica was last asked whether it has a leader.
    moved_at: Instant,
    /// Tries in a row that found no replica to follow.
    tries: u32,
}

/// What a stream came to.
enum Heard {
    /// Something to give out.
    Message(FollowResponse),
    /// Nothing yet; ask again.
    Again,
    /// Not from this replica; pause, then another one.
    Pause,
}

impl Follower {
    pub(crate) fn new(client: ShardClient, shard: u32, turn: usize) -> Follower {
        let replica = client.in_turn(turn);
        let moved_at = Instant::now();
        Follower {
            client,
            shard,
            index: 0,
            reached: 0,
            turn,
            stream: None,
            partial: None,
            replica,
            moved_at,
            tries: 0,
        }
    }

    /// The shard that is followed.
    #[must_use]
    pub fn shard(&self) -> u32 {
        self.shard
    }

    /// The next message: a snapshot first, then changes; a snapshot again whenever the place was
    /// lost. Waits as long as it takes; never gives `Reset` out.
    ///
    /// Cancel safe: a message is either given out or asked for again.
    pub async fn next(&mut self) -> FollowResponse {
        let mut pause = limits::BACKOFF_FIRST;
        loop {
            if self.stream.is_some() || self.open().await {
                match self.hear().await {
                    Heard::Message(message) => {
                        self.tries = 0;
                        return message;
                    }
                    Heard::Again => continue,
                    Heard::Pause => {}
                }
            }
            self.another_replica();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(limits::BACKOFF_MAX);
        }
    }

    /// One message of the stream, judged.
    async fn hear(&mut self) -> Heard {
        let Some(stream) = self.stream.as_mut() else {
            return Heard::Again;
        };
        // A feed that says nothing at all is not one, whatever its connection looks like.
        let hearing = tokio::time::timeout(limits::FEED_SILENCE_MAX, stream.message());
        let Ok(Ok(Some(message))) = hearing.await else {
            return Heard::Pause;
        };
        let is_reset = matches!(message.content, Some(Content::Reset(_)));
        // Of a snapshot's pieces only the last says where it stands.
        if message.index < self.reached && (is_reset || message.index > 0) {
            return Heard::Pause;
        }
        if is_reset {
            self.index = 0;
            self.stream = None;
            return Heard::Again;
        }
        if message.index < self.index {
            self.stream = None;
            return Heard::Again;
        }
        if message.index > self.index {
            self.moved_at = Instant::now();
        } else if self.moved_at.elapsed() > limits::FEED_SILENCE_MAX {
            // Nothing happens in this shard, or this replica does not hear of it.
            self.moved_at = Instant::now();
            if !self.replica_has_leader().await {
                return Heard::Pause;
            }
        }
        self.index = message.index;
        self.reached = self.reached.max(message.index);
        self.gather(message).map_or(Heard::Again, Heard::Message)
    }

    /// Puts a snapshot together that came in pieces; all but the last carry index 0.
    fn gather(&mut self, mut message: FollowResponse) -> Option<FollowResponse> {
        let is_last = message.index > 0;
        match (self.partial.take(), message.content.take()) {
            (Some(mut partial), Some(Content::Changes(piece))) => {
                piece.changes.into_iter().for_each(|change| add(&mut partial, change));
                if !is_last {
                    self.partial = Some(partial);
                    return None;
                }
                message.content = Some(Content::Snapshot(partial));
            }
            // A shard without entries has nothing to say either.
            (None, Some(Content::Snapshot(first)))
                if !is_last && first != FeedSnapshot::default() =>
            {
                self.partial = Some(first);
                return None;
            }
            (_, content) => message.content = content,
        }
        Some(message)
    }

    /// Whether the replica's node can be asked and knows who leads the shard.
    async fn replica_has_leader(&self) -> bool {
        let deadline = Deadline::after(limits::ATTEMPT_TIMEOUT);
        let described = self.client.describe(self.replica.node.id, deadline).await;
        described.is_ok_and(|described| {
            let shard = described.shards.iter().find(|shard| shard.shard == self.shard);
            shard.is_some_and(|shard| shard.leader > 0)
        })
    }

    /// Another replica goes on from this place.
    fn another_replica(&mut self) {
        self.stream = None;
        self.turn = self.turn.wrapping_add(1);
        self.tries = self.tries.saturating_add(1);
        if self.tries.is_multiple_of(limits::FOLLOW_TRIES_QUIET) {
            tracing::warn!(
                shard = self.shard,
                position = self.reached,
                tries = self.tries,
                "no replica can be followed from here: none answers, or all are behind"
            );
        }
    }

    async fn open(&mut self) -> bool {
        self.partial = None;
        self.replica = self.client.in_turn(self.turn);
        let mut service = FeedServiceClient::new(self.replica.channel.clone())
            .max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let request = FollowRequest { shard: self.shard, from_index: self.index };
        let opening = tokio::time::timeout(limits::FEED_SILENCE_MAX, service.follow(request));
        let opened = opening.await;
        self.moved_at = Instant::now();
        match opened {
            Ok(Ok(response)) => {
                self.stream = Some(response.into_inner());
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }
}

/// Adds what a later piece says to a snapshot.
fn add(snapshot: &mut FeedSnapshot, change: FeedChange) {
    match change.kind {
        Some(Kind::Event(event)) => snapshot.events.push(event),
        Some(Kind::Document(document)) => snapshot.documents.push(document),
        Some(Kind::ApiKey(key)) => snapshot.api_keys.push(key),
        Some(Kind::SigningKey(key)) => snapshot.signing_keys.push(key),
        // Not part of a state.
        Some(Kind::Seats(_) | Kind::GeneralAdmission(_) | Kind::Order(_)) | None => {}
    }
}
