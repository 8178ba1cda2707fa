//! Owns `ControlService`: how an event's document gets from "stored" over "in force in its shard"
//! to "published" (design D12), and the keys.
//!
//! Every step is an entry and idempotent, so that the control group's leader, whoever it is, can
//! go on where another stopped. Must never answer "created" before buyers can buy.

use std::collections::BTreeSet;

use bytes::Bytes;
use onsale_mesh::{Deadline, Failure};
use onsale_proto::{
    Code, allocator as pb,
    catalog::EventDocument,
    error::{leader_hint, not_leader},
};
use onsale_state::{
    CommandKind, DocumentRecord, Done, EventNo,
    command::{DropChange, DropRevision, PrepareEvent, PublishEvent, PutApiKey, PutSigningKey},
    limits::NAME_BYTES_MAX,
};
use pb::control_service_server::ControlService;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::{
    convert::{self, array, invalid, text},
    deadline::deadline,
    node::Node,
};
use crate::{
    document,
    limits::{CONTROL_TIMEOUT, RESUME_PAUSE, UNARY_TIMEOUT},
};

const ROLES: [&str; 4] = ["organizer", "support", "finance", "operator"];

/// The service on a node.
#[derive(Clone)]
pub struct Control {
    node: Node,
}

/// A stored revision that must get through.
type Unfinished = (EventNo, u64);

impl Control {
    /// The service.
    #[must_use]
    pub fn new(node: Node) -> Control {
        Control { node }
    }

    /// Stores a revision and brings it through; the published document, and whether this was a
    /// repeat.
    async fn store(
        &self,
        document: EventDocument,
        revision: u64,
        idempotency: Option<&pb::Idempotency>,
        end: Deadline,
    ) -> Result<(Bytes, bool), Status> {
        // The given fields are the group's: they must not make equal documents differ.
        let document = EventDocument { event_no: 0, shard: 0, revision: 0, ..document };
        let command = CommandKind::PrepareEvent(Box::new(PrepareEvent {
            event_id: document.event_id.as_str().into(),
            organizer: document.organizer.as_str().into(),
            revision,
            idempotency: idempotency.map(|it| convert::idempotency(Some(it))).transpose()?,
            document: document.encode_to_vec().into(),
        }));
        match self.node.propose_here(0, command, end).await? {
            (Done::Prepared { event, revision, .. }, replayed) => {
                let published = self.finish((event, revision), end).await;
                let published = published.map_err(undecided)?;
                Ok((published, replayed))
            }
            _ => Err(Failure::new(Code::Internal, "the outcome is not one of this command").into()),
        }
    }

    /// Puts a stored revision in force in its shard, then publishes it. Nothing is left to do when
    /// it is published already.
    async fn finish(&self, (event, revision): Unfinished, end: Deadline) -> Result<Bytes, Status> {
        let record = self.record(event)?;
        if let Some((stored, bytes)) = &record.prepared
            && *stored == revision
        {
            let bytes = document::stamped(bytes, event, record.shard, revision)?;
            let content = document::decode(&bytes)?;
            let command = match record.published {
                None => CommandKind::OpenOnsale(Box::new(document::open_onsale(&content)?)),
                Some(_) => CommandKind::ChangeOnsale(Box::new(document::change_onsale(&content)?)),
            };
            let shard = u32::from(record.shard);
            if let Err(refused) = self.node.propose_anywhere(shard, command, end).await {
                self.give_up(&record, revision, refused, end).await?;
            }
            let event_id = record.event_id.clone();
            let publish = CommandKind::PublishEvent(PublishEvent { event_id, revision });
            self.node.propose_here(0, publish, end).await?;
        }
        match self.record(event)?.published {
            Some((published, bytes)) if published >= revision => {
                Ok(document::stamped(&bytes, event, record.shard, published)?)
            }
            _ => Err(Failure::new(Code::Unavailable, "the event is not published yet").into()),
        }
    }

    /// What to do about a stored revision that its shard did not put in force: refused for good, it
    /// is given up, first there and then here, so that the next change can come. `Ok` when it is in
    /// force after all.
    async fn give_up(
        &self,
        record: &DocumentRecord,
        revision: u64,
        refused: Failure,
        end: Deadline,
    ) -> Result<(), Status> {
        if record.published.is_none() || refused.code.http_status() >= 500 {
            return Err(refused.into());
        }
        let drop = CommandKind::DropChange(DropChange { event: record.event, revision });
        match self.node.propose_anywhere(u32::from(record.shard), drop, end).await {
            Ok(()) => {}
            Err(failure) if failure.code == Code::Conflict => return Ok(()),
            Err(failure) => return Err(failure.into()),
        }
        let event_id = record.event_id.clone();
        let drop = CommandKind::DropRevision(DropRevision { event_id, revision });
        self.node.propose_here(0, drop, end).await?;
        Err(refused.into())
    }

    fn record(&self, event: EventNo) -> Result<DocumentRecord, Failure> {
        let control = self.node.control()?;
        let found =
            control.read(|shard| shard.documents().find(|record| record.event == event).cloned());
        found.ok_or_else(|| convert::not_found("event"))
    }

    /// The document in force, read from the leader.
    async fn in_force(&self, event_id: &str, end: Deadline) -> Result<EventDocument, Status> {
        let control = self.node.control()?;
        control.read_index(end).await?;
        let found = control.read(|shard| crate::feed::published_document(shard, event_id));
        let found = found.ok_or_else(|| convert::not_found("event"))?;
        EventDocument::decode(found.document)
            .map_err(|_| Failure::new(Code::Internal, "a stored document cannot be read").into())
    }

    fn leads(&self) -> Result<(), Status> {
        let control = self.node.control()?;
        if control.leads() { Ok(()) } else { Err(not_leader(control.leader())) }
    }

    fn unfinished(&self) -> BTreeSet<Unfinished> {
        let Ok(control) = self.node.control() else {
            return BTreeSet::new();
        };
        control.read(|shard| {
            let prepared = shard.documents().filter_map(|record| {
                record.prepared.as_ref().map(|(revision, _)| (record.event, *revision))
            });
            prepared.collect()
        })
    }
}

/// Brings every stored revision through that nobody else does, as long as this node leads the
/// control group. Never ends.
pub async fn resume_unfinished(control: Control) {
    let mut seen = BTreeSet::new();
    let mut reported = BTreeSet::new();
    // Refused for good, as far as this leader can tell: every try would be an entry for nothing.
    let mut refused = BTreeSet::new();
    loop {
        tokio::time::sleep(RESUME_PAUSE).await;
        if control.leads().is_err() {
            seen.clear();
            refused.clear();
            continue;
        }
        let now = control.unfinished();
        // What was there a round ago already is not just another call's work.
        for &unfinished in now.intersection(&seen) {
            if refused.contains(&unfinished) {
                continue;
            }
            let (event, revision) = unfinished;
            match control.finish(unfinished, Deadline::after(CONTROL_TIMEOUT)).await {
                Err(status) if is_for_good(&status) => {
                    let reason = status.message();
                    tracing::error!(event, revision, reason, "an event can never be published so");
                    refused.insert(unfinished);
                }
                Ok(_) => tracing::info!(event, revision, "finished an interrupted publication"),
                Err(status) if reported.insert(unfinished) => {
                    let reason = status.message();
                    tracing::warn!(event, revision, reason, "an event cannot be published yet");
                }
                Err(_) => {}
            }
        }
        reported.retain(|unfinished| now.contains(unfinished));
        refused.retain(|unfinished| now.contains(unfinished));
        seen = now;
    }
}

/// Another try comes to the same.
fn is_for_good(status: &Status) -> bool {
    let code = Code::from_status(status);
    leader_hint(status).is_none() && !code.retryable() && code != Code::Internal
}

/// A stored revision may get through without its caller: that is unknown, not a failure.
fn undecided(status: Status) -> Status {
    let retryable = matches!(Code::from_status(&status), Code::Unavailable | Code::Overloaded);
    if !retryable || leader_hint(&status).is_some_and(|leader| leader > 0) {
        return status;
    }
    Code::OutcomeUnknown.to_status("the event is stored and not published yet; repeat it")
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn create_event(
        &self,
        request: Request<pb::CreateEventRequest>,
    ) -> Result<Response<pb::CreateEventResponse>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        self.leads()?;
        let message = request.into_inner();
        let content = document::decode(&message.document)?;
        let (document, replayed) =
            self.store(content, 1, message.idempotency.as_ref(), end).await?;
        Ok(Response::new(pb::CreateEventResponse { document, replayed }))
    }

    async fn change_event(
        &self,
        request: Request<pb::ChangeEventRequest>,
    ) -> Result<Response<pb::ChangeEventResponse>, Status> {
        let end = deadline(request.metadata(), CONTROL_TIMEOUT);
        self.leads()?;
        let message = request.into_inner();
        let content = document::decode(&message.document)?;
        if content.revision < 2 {
            return Err(invalid("/revision", "must be the one in force + 1").into());
        }
        let before = self.in_force(&content.event_id, end).await?;
        document::check_change(&before, &content)?;
        let revision = content.revision;
        let (document, replayed) =
            self.store(content, revision, message.idempotency.as_ref(), end).await?;
        Ok(Response::new(pb::ChangeEventResponse { document, replayed }))
    }

    async fn put_api_key(
        &self,
        request: Request<pb::PutApiKeyRequest>,
    ) -> Result<Response<pb::PutApiKeyResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let command = api_key(request.into_inner())?;
        self.node.propose_here(0, command, end).await?;
        Ok(Response::new(pb::PutApiKeyResponse {}))
    }

    async fn put_signing_key(
        &self,
        request: Request<pb::PutSigningKeyRequest>,
    ) -> Result<Response<pb::PutSigningKeyResponse>, Status> {
        let end = deadline(request.metadata(), UNARY_TIMEOUT);
        let command = signing_key(request.into_inner())?;
        self.node.propose_here(0, command, end).await?;
        Ok(Response::new(pb::PutSigningKeyResponse {}))
    }
}

/// The command behind a request to store an API key.
///
/// # Errors
/// `invalid_request` with the field.
pub fn api_key(message: pb::PutApiKeyRequest) -> Result<CommandKind, Failure> {
    let Some(key) = message.key else {
        return Err(invalid("key", "is required"));
    };
    if !ROLES.contains(&key.role.as_str()) {
        return Err(invalid("key/role", "must be organizer, support, finance or operator"));
    }
    Ok(CommandKind::PutApiKey(PutApiKey {
        key_hash: array("key/key_hash", &key.key_hash)?,
        role: key.role.into(),
        owner: text("key/owner", &key.owner, 1, NAME_BYTES_MAX)?,
    }))
}

/// The command behind a request to store a signing key.
///
/// # Errors
/// `invalid_request` with the field.
pub fn signing_key(message: pb::PutSigningKeyRequest) -> Result<CommandKind, Failure> {
    let Some(key) = message.key else {
        return Err(invalid("key", "is required"));
    };
    let public_key = array("key/public_key", &key.public_key)?;
    Ok(CommandKind::PutSigningKey(PutSigningKey { key_id: key.key_id, public_key }))
}
