//! Owns as much of etcd's v3 API as a comparison needs: a lease, a conditional put, a count.
//!
//! Used by the driver and by the front before etcd. Nothing here is ours.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use anyhow::Context as _;
use prost::Message;
use tonic::{
    Request,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

#[derive(Clone, PartialEq, Message)]
struct LeaseGrantRequest {
    #[prost(int64, tag = "1")]
    ttl: i64,
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseGrantResponse {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(int64, tag = "3")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOp {
    #[prost(message, optional, tag = "2")]
    put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, Message)]
struct Compare {
    /// 0: equal.
    #[prost(int32, tag = "1")]
    result: i32,
    /// 1: create revision.
    #[prost(int32, tag = "2")]
    target: i32,
    #[prost(bytes = "vec", tag = "3")]
    key: Vec<u8>,
    /// In a oneof there: sent even when it is 0.
    #[prost(int64, optional, tag = "5")]
    create_revision: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
struct TxnResponse {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    range_end: Vec<u8>,
    #[prost(bool, tag = "9")]
    count_only: bool,
}

#[derive(Clone, PartialEq, Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

/// Connections to the members of a cluster, used in turn.
#[derive(Clone)]
pub struct Etcd {
    channels: Arc<Vec<Channel>>,
    turn: Arc<AtomicUsize>,
}

impl Etcd {
    /// Of `host:port,host:port,…`.
    ///
    /// # Errors
    /// When that is no list of addresses.
    pub fn connect(members: &str) -> anyhow::Result<Etcd> {
        let channels = members.split(',').map(|member| {
            let endpoint = Endpoint::from_shared(format!("http://{member}"));
            anyhow::Ok(endpoint.context("not an address")?.tcp_nodelay(true).connect_lazy())
        });
        let channels = Arc::new(channels.collect::<anyhow::Result<_>>()?);
        Ok(Etcd { channels, turn: Arc::default() })
    }

    /// A new lease.
    ///
    /// # Errors
    /// When no member grants it.
    pub async fn grant(&self, seconds: i64) -> anyhow::Result<i64> {
        let request = LeaseGrantRequest { ttl: seconds, id: 0 };
        let granted: LeaseGrantResponse =
            self.call("/etcdserverpb.Lease/LeaseGrant", request).await?;
        Ok(granted.id)
    }

    /// Puts a key under a lease unless it is there; whether it was put.
    ///
    /// # Errors
    /// When the outcome is not known.
    pub async fn put_new(&self, key: Vec<u8>, value: Vec<u8>, lease: i64) -> anyhow::Result<bool> {
        let compare = Compare { result: 0, target: 1, key: key.clone(), create_revision: Some(0) };
        let put = RequestOp { put: Some(PutRequest { key, value, lease }) };
        let request = TxnRequest { compare: vec![compare], success: vec![put] };
        let done: TxnResponse = self.call("/etcdserverpb.KV/Txn", request).await?;
        Ok(done.succeeded)
    }

    /// Keys of held seats.
    ///
    /// # Errors
    /// When no majority answers.
    pub async fn count(&self) -> anyhow::Result<u64> {
        let request =
            RangeRequest { key: b"seat/".into(), range_end: b"seat0".into(), count_only: true };
        let found: RangeResponse = self.call("/etcdserverpb.KV/Range", request).await?;
        Ok(u64::try_from(found.count)?)
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> anyhow::Result<A>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.channels.len();
        let mut grpc = Grpc::new(self.channels[turn].clone());
        grpc.ready().await?;
        let path = PathAndQuery::from_static(path);
        let answer = grpc.unary(Request::new(request), path, ProstCodec::default()).await?;
        Ok(answer.into_inner())
    }
}
