//! Owns `OrganizerService` and `SupportService`: what staff change while an event sells.
//!
//! Must never see whose key it was: the edge has proved that. Must never answer "yes" by itself.

use std::collections::BTreeMap;

use onsale_mesh::{Deadline, Failure};
use onsale_proto::{allocator as pb, error::not_leader, id};
use onsale_state::{Command, CommandKind, EventNo, SeatState, Shard};
use pb::{organizer_service_server::OrganizerService, support_service_server::SupportService};
use tonic::{Request, Response, Status};

use super::{convert, deadline::deadline, node::Node};
use crate::limits::{CONTROL_TIMEOUT, UNARY_TIMEOUT};

/// Both services on a node.
#[derive(Clone)]
pub struct StaffApi {
    node: Node,
}

impl StaffApi {
    /// The services.
    #[must_use]
    pub fn new(node: Node) -> StaffApi {
        StaffApi { node }
    }

    /// A refusal is an answer here: its list of seats may be longer than a status can carry.
    async fn propose(
        &self,
        shard: u32,
        kind: CommandKind,
        end: Deadline,
    ) -> Result<Response<pb::Outcome>, Status> {
        let group = self.node.group(shard)?;
        let (index, outcome) = group.propose(Command { not_after_ms: 0, kind }, end).await?;
        Ok(Response::new(convert::outcome(index, &outcome)))
    }

    /// The shard that an order's id names.
    fn shard_of(order_id: &[u8]) -> Result<u32, Failure> {
        match id::from_bytes(order_id).map_or(0, id::shard_of) {
            0 => Err(convert::not_found("order")),
            shard => Ok(shard),
        }
    }
}

#[tonic::async_trait]
impl OrganizerService for StaffApi {
    async fn kill_seats(
        &self,
        request: Request<pb::KillSeatsRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        let message = request.into_inner();
        let shard = message.shard;
        self.propose(shard, convert::kill_seats(message)?, end).await
    }

    async fn return_seats(
        &self,
        request: Request<pb::ReturnSeatsRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        let message = request.into_inner();
        let shard = message.shard;
        self.propose(shard, convert::return_seats(message)?, end).await
    }

    async fn put_codes(
        &self,
        request: Request<pb::PutCodesRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        let message = request.get_ref();
        self.propose(message.shard, convert::put_codes(message)?, end).await
    }

    async fn list_codes(
        &self,
        request: Request<pb::ListCodesRequest>,
    ) -> Result<Response<pb::ListCodesResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let message = request.into_inner();
        let group = self.node.group(message.shard)?;
        if !group.leads() {
            return Err(not_leader(group.leader()));
        }
        group.read_index(end).await?;
        let list = |shard: &Shard| {
            let event = shard.event(message.event_no)?;
            Some(event.codes().iter().map(convert::codes).collect())
        };
        let codes = group.read(list).ok_or_else(|| convert::not_found("event"))?;
        Ok(Response::new(pb::ListCodesResponse { codes }))
    }

    async fn list_kills(
        &self,
        request: Request<pb::ListKillsRequest>,
    ) -> Result<Response<pb::ListKillsResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let message = request.into_inner();
        let group = self.node.group(message.shard)?;
        if !group.leads() {
            return Err(not_leader(group.leader()));
        }
        group.read_index(end).await?;
        let kills = group.read(|shard| kills(shard, message.event_no));
        let kills = kills.ok_or_else(|| convert::not_found("event"))?;
        Ok(Response::new(pb::ListKillsResponse { kills }))
    }

    async fn put_channel(
        &self,
        request: Request<pb::PutChannelRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        let message = request.into_inner();
        let shard = message.shard;
        self.propose(shard, convert::put_channel(message)?, end).await
    }

    async fn drop_channel(
        &self,
        request: Request<pb::DropChannelRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        let message = request.into_inner();
        self.propose(message.shard, convert::drop_channel(&message)?, end).await
    }

    async fn list_channels(
        &self,
        request: Request<pb::ListChannelsRequest>,
    ) -> Result<Response<pb::ListChannelsResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let message = request.into_inner();
        let group = self.node.group(message.shard)?;
        if !group.leads() {
            return Err(not_leader(group.leader()));
        }
        group.read_index(end).await?;
        let channels = group.read(|shard| Some(shard.event(message.event_no)?.channels()));
        let channels = channels.ok_or_else(|| convert::not_found("event"))?;
        let channels = channels.into_iter().map(convert::channel).collect();
        Ok(Response::new(pb::ListChannelsResponse { channels }))
    }
}

#[tonic::async_trait]
impl SupportService for StaffApi {
    async fn swap_seat(
        &self,
        request: Request<pb::SwapSeatRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let message = request.get_ref();
        let shard = Self::shard_of(&message.order_id)?;
        self.propose(shard, convert::swap_seat(message, shard)?, end).await
    }

    async fn rename_tickets(
        &self,
        request: Request<pb::RenameTicketsRequest>,
    ) -> Result<Response<pb::Outcome>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let message = request.get_ref();
        let shard = Self::shard_of(&message.order_id)?;
        self.propose(shard, convert::rename_tickets(message, shard)?, end).await
    }
}

/// What is withdrawn of an event, or is to be, by reason.
fn kills(shard: &Shard, event: EventNo) -> Option<Vec<pb::Kill>> {
    let event = shard.event(event)?;
    let view = event.view();
    let mut kills: BTreeMap<&str, pb::Kill> = BTreeMap::new();
    for (seat, reason) in event.killed_seats() {
        let kill = kills.entry(reason).or_default();
        match view.seat_state(seat) {
            Some(SeatState::Killed) => kill.seats.push(seat),
            _ => kill.pending_seats.push(seat),
        }
    }
    for (section, reason, quantity) in event.killed_areas() {
        let area = pb::AreaQuantity { section: u32::from(section), quantity };
        kills.entry(reason).or_default().areas.push(area);
    }
    let named = |(reason, kill): (&str, pb::Kill)| pb::Kill { reason: reason.to_owned(), ..kill };
    Some(kills.into_iter().map(named).collect())
}
