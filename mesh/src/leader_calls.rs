//! Owns the calls that go to a shard's leader by name: jobs, control, internal proposals.
//!
//! Must never decide what an answer means; finding the leader is [`ShardClient::on_leader`]'s part.

use std::time::Duration;

use bytes::Bytes;
use onsale_proto::allocator as pb;

use crate::{
    Deadline, Failure, ShardClient, limits,
    shard_client::{direct, timed},
};

/// The calls that go to one leader once, by name.
macro_rules! leader_calls {
    ($( $(#[$doc:meta])* $name:ident($request:ty, $shard:expr) -> $answer:ty,
        $client:ident :: $service:ident; )*) => {
        impl ShardClient {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// The answer's code; `outcome_unknown` or `unavailable` when the deadline passed.
                pub async fn $name(
                    &self,
                    request: $request,
                    deadline: Deadline,
                ) -> Result<$answer, Failure> {
                    let shard: fn(&$request) -> u32 = $shard;
                    let attempt = attempt_for(&request, deadline);
                    let shard = shard(&request);
                    self.on_leader_within(shard, deadline, attempt, |channel, timeout| {
                        let request = direct(request.clone(), timeout);
                        async move {
                            pb::$client::$service::new(channel)
                                .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
                                .max_encoding_message_size(limits::MESSAGE_BYTES_MAX)
                                .$name(request)
                                .await
                        }
                    })
                    .await
                }
            )*
        }
    };
}

leader_calls! {
    /// Leases due payment jobs; waits for some as long as the request says.
    lease_jobs(pb::LeaseJobsRequest, |request| request.shard) -> pb::LeaseJobsResponse,
        job_service_client::JobServiceClient;
    /// Reports a job's result.
    settle_job(pb::SettleJobRequest, |request| request.shard) -> pb::SettleJobResponse,
        job_service_client::JobServiceClient;
    /// Makes an order's waiting job due.
    wake_job(pb::WakeJobRequest, |request| order_shard(&request.order_id)) -> pb::WakeJobResponse,
        job_service_client::JobServiceClient;
    /// Creates an event.
    create_event(pb::CreateEventRequest, |_| 0) -> pb::CreateEventResponse,
        control_service_client::ControlServiceClient;
    /// Changes an event.
    change_event(pb::ChangeEventRequest, |_| 0) -> pb::ChangeEventResponse,
        control_service_client::ControlServiceClient;
    /// Stores an API key's hash.
    put_api_key(pb::PutApiKeyRequest, |_| 0) -> pb::PutApiKeyResponse,
        control_service_client::ControlServiceClient;
    /// Stores a ticket-signing public key.
    put_signing_key(pb::PutSigningKeyRequest, |_| 0) -> pb::PutSigningKeyResponse,
        control_service_client::ControlServiceClient;
    /// Withdraws places of an event from sale.
    kill_seats(pb::KillSeatsRequest, |request| request.shard) -> pb::Outcome,
        organizer_service_client::OrganizerServiceClient;
    /// Puts withdrawn places on sale again.
    return_seats(pb::ReturnSeatsRequest, |request| request.shard) -> pb::Outcome,
        organizer_service_client::OrganizerServiceClient;
    /// What is withdrawn of an event.
    list_kills(pb::ListKillsRequest, |request| request.shard) -> pb::ListKillsResponse,
        organizer_service_client::OrganizerServiceClient;
    /// Sets places of an event aside for a channel.
    put_channel(pb::PutChannelRequest, |request| request.shard) -> pb::Outcome,
        organizer_service_client::OrganizerServiceClient;
    /// Forgets a channel of an event.
    drop_channel(pb::DropChannelRequest, |request| request.shard) -> pb::Outcome,
        organizer_service_client::OrganizerServiceClient;
    /// The channels of an event.
    list_channels(pb::ListChannelsRequest, |request| request.shard) -> pb::ListChannelsResponse,
        organizer_service_client::OrganizerServiceClient;
    /// Gives an event presale and voucher codes.
    put_codes(pb::PutCodesRequest, |request| request.shard) -> pb::Outcome,
        organizer_service_client::OrganizerServiceClient;
    /// What an event's codes are good for.
    list_codes(pb::ListCodesRequest, |request| request.shard) -> pb::ListCodesResponse,
        organizer_service_client::OrganizerServiceClient;
    /// Moves a ticket to another seat.
    swap_seat(pb::SwapSeatRequest, |request| order_shard(&request.order_id)) -> pb::Outcome,
        support_service_client::SupportServiceClient;
    /// Gives tickets another holder's name.
    rename_tickets(pb::RenameTicketsRequest, |request| order_shard(&request.order_id))
        -> pb::Outcome, support_service_client::SupportServiceClient;
    /// Hands a shard's lead over.
    transfer_leader(pb::TransferLeaderRequest, |request| request.shard)
        -> pb::TransferLeaderResponse, cluster_service_client::ClusterServiceClient;
    /// Brings a shard's replica on a node a step further.
    add_replica(pb::AddReplicaRequest, |request| request.shard) -> pb::ReplicaChangeResponse,
        cluster_service_client::ClusterServiceClient;
    /// Takes a shard's replica away from a node.
    remove_replica(pb::RemoveReplicaRequest, |request| request.shard) -> pb::ReplicaChangeResponse,
        cluster_service_client::ClusterServiceClient;
}

fn order_shard(order_id: &[u8]) -> u32 {
    onsale_proto::id::from_bytes(order_id).map_or(0, onsale_proto::id::shard_of)
}

impl ShardClient {
    /// Proposes one internal, encoded command to the shard's leader; the answer is opaque too.
    ///
    /// # Errors
    /// The answer's code; `outcome_unknown` or `unavailable` when the deadline passed.
    pub async fn propose(
        &self,
        shard: u32,
        cluster: &str,
        payload: Bytes,
        deadline: Deadline,
    ) -> Result<Bytes, Failure> {
        let request = pb::RaftRequest {
            shard,
            payload,
            clock_ms: onsale_proto::time::now_ms(),
            cluster: cluster.to_owned(),
            ..pb::RaftRequest::default()
        };
        let response = self
            .on_leader(shard, deadline, |channel, timeout| {
                let request = timed(request.clone(), timeout);
                async move {
                    pb::raft_service_client::RaftServiceClient::new(channel).propose(request).await
                }
            })
            .await?;
        Ok(response.payload)
    }
}

/// Calls that wait on purpose say how long in their request.
trait Waits {
    fn wait(&self) -> Duration {
        Duration::ZERO
    }
}

impl Waits for pb::LeaseJobsRequest {
    fn wait(&self) -> Duration {
        Duration::from_millis(u64::from(self.wait_ms))
    }
}
impl Waits for pb::SettleJobRequest {}
impl Waits for pb::WakeJobRequest {}
// Creating an event is three entries in two groups.
impl Waits for pb::CreateEventRequest {
    fn wait(&self) -> Duration {
        limits::REQUEST_BUDGET
    }
}
impl Waits for pb::ChangeEventRequest {
    fn wait(&self) -> Duration {
        limits::REQUEST_BUDGET
    }
}
impl Waits for pb::TransferLeaderRequest {
    fn wait(&self) -> Duration {
        limits::CLUSTER_CHANGE_WAIT
    }
}
impl Waits for pb::AddReplicaRequest {
    fn wait(&self) -> Duration {
        limits::CLUSTER_CHANGE_WAIT
    }
}
impl Waits for pb::RemoveReplicaRequest {
    fn wait(&self) -> Duration {
        limits::CLUSTER_CHANGE_WAIT
    }
}
impl Waits for pb::PutApiKeyRequest {}
impl Waits for pb::PutSigningKeyRequest {}
// An event of 200,000 seats takes a moment on each of three replicas.
impl Waits for pb::KillSeatsRequest {
    fn wait(&self) -> Duration {
        limits::REQUEST_BUDGET
    }
}
impl Waits for pb::ReturnSeatsRequest {
    fn wait(&self) -> Duration {
        limits::REQUEST_BUDGET
    }
}
impl Waits for pb::PutChannelRequest {
    fn wait(&self) -> Duration {
        limits::REQUEST_BUDGET
    }
}
impl Waits for pb::DropChannelRequest {
    fn wait(&self) -> Duration {
        limits::REQUEST_BUDGET
    }
}
impl Waits for pb::ListKillsRequest {}
impl Waits for pb::ListChannelsRequest {}
impl Waits for pb::PutCodesRequest {}
impl Waits for pb::ListCodesRequest {}
impl Waits for pb::SwapSeatRequest {}
impl Waits for pb::RenameTicketsRequest {}

fn attempt_for(request: &impl Waits, deadline: Deadline) -> Duration {
    deadline.min(limits::ATTEMPT_TIMEOUT + request.wait())
}
