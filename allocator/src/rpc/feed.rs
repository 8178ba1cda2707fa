//! Owns `FeedService`: the feed's messages are encoded once, so that this service is written by
//! hand to send bytes as they are.
//!
//! Must never encode a message per follower, nor buffer for one.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::stream::BoxStream;
use onsale_mesh::Failure;
use onsale_proto::allocator::FollowRequest;
use prost::Message as _;
use tonic::{
    Code, Request, Response, Status,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{BoxFuture, Service, http},
    server::{Grpc, NamedService, ServerStreamingService},
};

use crate::feed::Subscription;

const FOLLOW: &str = "/onsale.allocator.v1.FeedService/Follow";

/// Where followers of a shard begin.
pub trait Feeds: Send + Sync + 'static {
    /// A follower of `shard` from after `from`; 0 begins with a snapshot.
    ///
    /// # Errors
    /// `not_found` when this node has no such shard, `overloaded` when too many follow.
    fn follow(&self, shard: u32, from: u64) -> Result<Subscription, Failure>;
}

/// `onsale.allocator.v1.FeedService`.
#[derive(Clone)]
pub struct FeedServer {
    feeds: Arc<dyn Feeds>,
}

impl FeedServer {
    /// The service over these feeds.
    #[must_use]
    pub fn new(feeds: Arc<dyn Feeds>) -> FeedServer {
        FeedServer { feeds }
    }
}

impl NamedService for FeedServer {
    const NAME: &'static str = "onsale.allocator.v1.FeedService";
}

impl Service<http::Request<Body>> for FeedServer {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = Follow(self.feeds.clone());
        Box::pin(async move {
            if request.uri().path() != FOLLOW {
                return Ok(Status::new(Code::Unimplemented, "no such method").into_http());
            }
            Ok(Grpc::new(Encoded).server_streaming(method, request).await)
        })
    }
}

struct Follow(Arc<dyn Feeds>);

impl ServerStreamingService<FollowRequest> for Follow {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = Ready<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<FollowRequest>) -> Self::Future {
        let request = request.into_inner();
        let follower = self.0.follow(request.shard, request.from_index);
        ready(follower.map_err(Status::from).map(|follower| Response::new(stream(follower))))
    }
}

fn stream(follower: Subscription) -> BoxStream<'static, Result<Bytes, Status>> {
    Box::pin(futures_util::stream::unfold(follower, |mut follower| async move {
        let message = follower.next().await?;
        Some((Ok(message), follower))
    }))
}

/// Messages that are encoded already.
struct Encoded;

impl Codec for Encoded {
    type Encode = Bytes;
    type Decode = FollowRequest;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.len());
        out.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = FollowRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<FollowRequest>, Status> {
        let left = bytes.remaining();
        let request = FollowRequest::decode(bytes.copy_to_bytes(left))
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Some(request))
    }
}
