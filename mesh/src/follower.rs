//! Owns following a shard's feed from any node that answers, across restarts of nodes.
//!
//! Must never skip an entry silently: what cannot be resumed starts again with a snapshot.

use std::time::Duration;

use onsale_proto::allocator::{
    FollowRequest, FollowResponse, feed_service_client::FeedServiceClient, follow_response::Content,
};
use tonic::Streaming;

use crate::{ShardClient, limits};

/// A place in a shard's feed that moves on with each message.
pub struct Follower {
    client: ShardClient,
    shard: u32,
    index: u64,
    /// The furthest place ever reached: positions never go back (INV-9).
    reached: u64,
    turn: usize,
    stream: Option<Streaming<FollowResponse>>,
}

impl Follower {
    pub(crate) fn new(client: ShardClient, shard: u32, turn: usize) -> Follower {
        Follower { client, shard, index: 0, reached: 0, turn, stream: None }
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
            let Some(stream) = self.stream.as_mut() else {
                if !self.open().await {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(limits::BACKOFF_MAX);
                }
                continue;
            };
            match stream.message().await {
                Ok(Some(message)) => {
                    let is_reset = matches!(message.content, Some(Content::Reset(_)));
                    // Of a snapshot's pieces only the last says where it stands.
                    if message.index < self.reached && (is_reset || message.index > 0) {
                        self.give_up_replica_behind();
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(limits::BACKOFF_MAX);
                        continue;
                    }
                    if is_reset {
                        self.index = 0;
                        self.stream = None;
                        continue;
                    }
                    if message.index < self.index {
                        self.stream = None;
                        continue;
                    }
                    self.index = message.index;
                    self.reached = self.reached.max(message.index);
                    return message;
                }
                Ok(None) | Err(_) => {
                    self.stream = None;
                    self.turn += 1;
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(limits::BACKOFF_MAX);
                }
            }
        }
    }

    /// A replica that has not come as far as this follower: another one goes on from its place.
    fn give_up_replica_behind(&mut self) {
        self.stream = None;
        self.turn += 1;
    }

    async fn open(&mut self) -> bool {
        let channel = self.client.channel_in_turn(self.turn);
        let mut service =
            FeedServiceClient::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
        let request = FollowRequest { shard: self.shard, from_index: self.index };
        let opening = tokio::time::timeout(Duration::from_secs(5), service.follow(request));
        match opening.await {
            Ok(Ok(response)) => {
                self.stream = Some(response.into_inner());
                true
            }
            Ok(Err(_)) | Err(_) => {
                self.turn += 1;
                false
            }
        }
    }
}
