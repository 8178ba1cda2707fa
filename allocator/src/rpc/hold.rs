//! Owns `AllocatorService` in public strings, the same on a node and in a process without a
//! replica.
//!
//! Must never answer "yes" by itself: every yes is the log's, through [`Submitter`].

use futures_util::{future::BoxFuture, stream::BoxStream};
use onsale_mesh::{DIRECT, Deadline, Failure};
use onsale_proto::{
    Code, allocator as pb, id,
    keyed::{Secret, normalise_code},
};
use onsale_state::limits::{HOLD_ITEMS_MAX, HOLD_SEATS_MAX};
use pb::{allocator_service_server::AllocatorService, command::Kind, outcome::Result as Answer};
use prost::Message as _;
use tonic::{Request, Response, Status, Streaming};

use super::{
    convert::invalid,
    deadline::deadline,
    directory::{Directory, KnownEvent},
};
use crate::limits::{BUYER_BYTES_MAX, CODE_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX, UNARY_TIMEOUT};

/// The stream of answers.
pub type AnswerStream = BoxStream<'static, Result<pb::SubmitResponse, Status>>;

/// How commands and exact reads reach the leader of a shard.
pub trait Submitter: Send + Sync + 'static {
    /// Submits a command until there is an outcome; a rejection is an error with its code.
    fn submit(
        &self,
        shard: u32,
        command: pb::Command,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::Outcome, Failure>>;

    /// A hold as it stands now. `direct`: answer here or say who leads.
    fn get_hold(
        &self,
        hold: u128,
        direct: bool,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::GetHoldResponse, Status>>;

    /// An order as it stands now. `direct`: answer here or say who leads.
    fn get_order(
        &self,
        order: u128,
        direct: bool,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<pb::GetOrderResponse, Status>>;

    /// The stream of commands.
    ///
    /// # Errors
    /// `overloaded` when there are too many streams.
    fn stream(&self, items: Streaming<pb::SubmitRequest>) -> Result<AnswerStream, Status>;
}

/// The service over one way to the leaders.
pub struct AllocatorApi<S> {
    submitter: S,
    directory: Directory,
    secret: Secret,
}

impl<S: Submitter> AllocatorApi<S> {
    /// The service.
    #[must_use]
    pub fn new(submitter: S, directory: Directory, secret: Secret) -> Self {
        Self { submitter, directory, secret }
    }

    async fn hold_seats(
        &self,
        request: pb::HoldRequest,
        deadline: Deadline,
    ) -> Result<pb::HoldDetails, Failure> {
        if request.event_id.is_empty() {
            return Err(invalid("event_id", "is required"));
        }
        let event = self.directory.find(&request.event_id, deadline).await?;
        let command = hold_command(&request, &event, &self.secret)?;
        let command = pb::Command { kind: Some(Kind::Hold(command)) };
        let outcome = self.submitter.submit(event.shard, command, deadline).await;
        let outcome = outcome.map_err(|failure| with_seat_names(failure, &event))?;
        let Some(Answer::Held(held)) = outcome.result else {
            return Err(unexpected());
        };
        let hold = id::from_bytes(&held.hold_id).ok_or_else(unexpected)?;
        Ok(pb::HoldDetails {
            hold_id: id::format(id::HOLD, hold),
            event_id: request.event_id,
            seats: held.places.iter().map(|place| event.details(place)).collect(),
            total_minor: held.places.iter().map(|place| place.price_minor).sum(),
            currency: event.currency.clone(),
            expires_at_ms: held.expires_at_ms,
            extensions: 0,
        })
    }

    async fn on_hold(
        &self,
        hold_id: &str,
        deadline: Deadline,
        kind: impl FnOnce(u128) -> Result<Kind, Failure>,
    ) -> Result<Answer, Failure> {
        let hold = hold_bits(hold_id)?;
        let command = pb::Command { kind: Some(kind(hold)?) };
        let outcome = self.submitter.submit(id::shard_of(hold), command, deadline).await?;
        outcome.result.ok_or_else(unexpected)
    }
}

#[tonic::async_trait]
impl<S: Submitter> AllocatorService for AllocatorApi<S> {
    async fn hold(
        &self,
        request: Request<pb::HoldRequest>,
    ) -> Result<Response<pb::HoldResponse>, Status> {
        let deadline = deadline(request.metadata(), UNARY_TIMEOUT);
        let hold = self.hold_seats(request.into_inner(), deadline).await?;
        Ok(Response::new(pb::HoldResponse { hold: Some(hold) }))
    }

    async fn release_hold(
        &self,
        request: Request<pb::ReleaseHoldRequest>,
    ) -> Result<Response<pb::ReleaseHoldResponse>, Status> {
        let deadline = deadline(request.metadata(), UNARY_TIMEOUT);
        let kind = |hold| {
            let hold_id = id::to_bytes(hold);
            Ok(Kind::ReleaseHold(pb::ReleaseHoldCommand { hold_id }))
        };
        self.on_hold(&request.get_ref().hold_id, deadline, kind).await?;
        Ok(Response::new(pb::ReleaseHoldResponse {}))
    }

    async fn extend_hold(
        &self,
        request: Request<pb::ExtendHoldRequest>,
    ) -> Result<Response<pb::ExtendHoldResponse>, Status> {
        let deadline = deadline(request.metadata(), UNARY_TIMEOUT);
        let request = request.get_ref();
        let kind = |hold| extend_command(request, hold, &self.secret).map(Kind::ExtendHold);
        match self.on_hold(&request.hold_id, deadline, kind).await? {
            Answer::Extended(extended) => Ok(Response::new(pb::ExtendHoldResponse {
                expires_at_ms: extended.expires_at_ms,
                extensions: extended.extensions,
            })),
            _ => Err(unexpected().into()),
        }
    }

    async fn sell(
        &self,
        request: Request<pb::SellRequest>,
    ) -> Result<Response<pb::SellResponse>, Status> {
        let deadline = deadline(request.metadata(), UNARY_TIMEOUT);
        let request = request.into_inner();
        let hold_id = request.hold_id.clone();
        let kind = |hold| sell_command(&request, hold, &self.secret).map(Kind::Sell);
        match self.on_hold(&hold_id, deadline, kind).await? {
            Answer::OrderMade(made) => {
                let order = id::from_bytes(&made.order_id).ok_or_else(unexpected)?;
                let order_id = id::format(id::ORDER, order);
                Ok(Response::new(pb::SellResponse { order_id }))
            }
            _ => Err(unexpected().into()),
        }
    }

    async fn get_hold(
        &self,
        request: Request<pb::GetHoldRequest>,
    ) -> Result<Response<pb::GetHoldResponse>, Status> {
        let deadline = deadline(request.metadata(), UNARY_TIMEOUT);
        let direct = request.metadata().contains_key(DIRECT);
        let hold = hold_bits(&request.get_ref().hold_id)?;
        Ok(Response::new(self.submitter.get_hold(hold, direct, deadline).await?))
    }

    async fn get_order(
        &self,
        request: Request<pb::GetOrderRequest>,
    ) -> Result<Response<pb::GetOrderResponse>, Status> {
        let deadline = deadline(request.metadata(), UNARY_TIMEOUT);
        let direct = request.metadata().contains_key(DIRECT);
        let order = id::parse(id::ORDER, &request.get_ref().order_id)
            .ok_or_else(|| invalid("order_id", "must be ord_ and 26 digits of base 32"))?;
        Ok(Response::new(self.submitter.get_order(order, direct, deadline).await?))
    }

    type SubmitStream = AnswerStream;

    async fn submit(
        &self,
        request: Request<Streaming<pb::SubmitRequest>>,
    ) -> Result<Response<AnswerStream>, Status> {
        Ok(Response::new(self.submitter.stream(request.into_inner())?))
    }
}

/// The command behind a request in public strings.
///
/// # Errors
/// `invalid_request` or `idempotency_key_required`, with the field.
pub fn hold_command(
    request: &pb::HoldRequest,
    event: &KnownEvent,
    secret: &Secret,
) -> Result<pb::HoldCommand, Failure> {
    let key = idempotency_key(&request.idempotency_key)?;
    if request.buyer.is_empty() || request.buyer.len() > BUYER_BYTES_MAX {
        return Err(invalid("buyer", &format!("must have 1 to {BUYER_BYTES_MAX} bytes")));
    }
    if request.wishes.is_empty() || request.wishes.len() > HOLD_ITEMS_MAX {
        return Err(invalid("wishes", &format!("must be 1 to {HOLD_ITEMS_MAX}")));
    }
    let items = request.wishes.iter().enumerate().map(|(at, wish)| hold_item(at, wish, event));
    let mut command = pb::HoldCommand {
        event_no: event.event_no,
        items: items.collect::<Result<_, _>>()?,
        ..pb::HoldCommand::default()
    };
    command.types = types(request, event)?;
    if !request.code.is_empty() {
        command.code = code(request, secret)?;
    }
    if !request.channel.is_empty() {
        command.channel = Some(channel_entry(request, event, secret));
    }
    let content = command.encode_to_vec();
    command.hold_id = id::to_bytes(id::new_hold(event.shard).map_err(no_randomness)?);
    command.idempotency = Some(pb::Idempotency {
        key: id::to_bytes(secret.key_hash(&format!("hold:{}", event.event_id), key)),
        request: secret.request_hash(&content),
        buyer: secret.buyer_hash("customer", &request.buyer),
        buyer_is_new: false,
    });
    Ok(command)
}

/// How the code stands in the log; part of the content, so that another one is another request.
fn code(request: &pb::HoldRequest, secret: &Secret) -> Result<bytes::Bytes, Failure> {
    if request.code.len() > CODE_BYTES_MAX {
        return Err(invalid("code", &format!("must have at most {CODE_BYTES_MAX} bytes")));
    }
    let hash = secret.code_hash(&request.event_id, &normalise_code(&request.code));
    Ok(id::to_bytes(hash))
}

/// The ticket types of all places, in their order; none where no wish says any.
fn types(request: &pb::HoldRequest, event: &KnownEvent) -> Result<Vec<u32>, Failure> {
    if request.wishes.iter().all(|wish| wish.types.is_empty()) {
        return Ok(Vec::new());
    }
    let mut types = Vec::new();
    for (at, wish) in request.wishes.iter().enumerate() {
        let places = match wish.seat_ids.len() {
            0 => u64::from(wish.quantity) + u64::from(wish.companions),
            named => named as u64,
        };
        let asked: u64 = wish.types.iter().map(|one| u64::from(one.quantity)).sum();
        let fits = asked == places || wish.types.is_empty();
        if !fits || places > HOLD_SEATS_MAX as u64 {
            let remedy = "must be as many as the wish has places";
            return Err(invalid(&format!("wishes/{at}/types"), remedy));
        }
        for (nth, one) in wish.types.iter().enumerate() {
            let no = event.type_no(&one.r#type).ok_or_else(|| {
                let field = format!("wishes/{at}/types/{nth}/type");
                invalid(&field, "must be the key of one of the event's ticket types")
            })?;
            types.extend(std::iter::repeat_n(no, one.quantity as usize));
        }
        if wish.types.is_empty() {
            types.extend(std::iter::repeat_n(0, usize::try_from(places).unwrap_or(usize::MAX)));
        }
    }
    Ok(types)
}

fn channel_entry(
    request: &pb::HoldRequest,
    event: &KnownEvent,
    secret: &Secret,
) -> pb::ChannelEntry {
    let (channel, key) = (&request.channel, &request.channel_key);
    let hash = || secret.channel_key_hash(&event.event_id, channel, key).to_vec();
    let key_hash = if key.is_empty() { Vec::new() } else { hash() };
    pb::ChannelEntry { key: channel.clone(), key_hash: key_hash.into() }
}

fn hold_item(at: usize, wish: &pb::HoldWish, event: &KnownEvent) -> Result<pb::HoldItem, Failure> {
    let field = |name: &str| format!("wishes/{at}/{name}");
    let mut seats = Vec::with_capacity(wish.seat_ids.len().min(64));
    for (nth, label) in wish.seat_ids.iter().enumerate() {
        let seat = event.seat_map.seat_no(label).ok_or_else(|| {
            let remedy = "must be a seat of this event, spelled <section>-<row>-<number>";
            invalid(&field(&format!("seat_ids/{nth}")), remedy)
        })?;
        seats.push(seat);
    }
    let category = match wish.category.as_str() {
        "" => None,
        key => Some(event.category_no(key).ok_or_else(|| {
            invalid(&field("category"), "must be the key of one of the event's categories")
        })?),
    };
    let section = match wish.section.as_str() {
        "" => None,
        key => Some(event.seat_map.section_no(key).ok_or_else(|| {
            invalid(&field("section"), "must be the key of one of the event's sections")
        })?),
    };
    Ok(pb::HoldItem {
        seats,
        quantity: wish.quantity,
        category: category.map(u32::from),
        section: section.map(u32::from),
        accessible: wish.accessible,
        price_max_minor: wish.price_max_minor,
        companions: wish.companions,
        split: wish.split,
    })
}

fn sell_command(
    request: &pb::SellRequest,
    hold: u128,
    secret: &Secret,
) -> Result<pb::SellCommand, Failure> {
    let key = idempotency_key(&request.idempotency_key)?;
    let order = id::new_order(id::shard_of(hold)).map_err(no_randomness)?;
    Ok(pb::SellCommand {
        hold_id: id::to_bytes(hold),
        order_id: id::to_bytes(order),
        idempotency: Some(pb::Idempotency {
            key: id::to_bytes(secret.key_hash(&format!("sell:{}", request.hold_id), key)),
            request: secret.request_hash(&hold.to_be_bytes()),
            buyer: secret.buyer_hash("counter", &request.hold_id),
            buyer_is_new: false,
        }),
    })
}

fn extend_command(
    request: &pb::ExtendHoldRequest,
    hold: u128,
    secret: &Secret,
) -> Result<pb::ExtendHoldCommand, Failure> {
    let extensions_seen = request.extensions_seen;
    if extensions_seen > u32::from(u16::MAX) {
        return Err(invalid("extensions_seen", "must be at most 65,535"));
    }
    let hold_id = id::to_bytes(hold);
    let mut command = pb::ExtendHoldCommand { hold_id, extensions_seen, idempotency: None };
    if !request.idempotency_key.is_empty() {
        let key = idempotency_key(&request.idempotency_key)?;
        command.idempotency = Some(pb::Idempotency {
            key: id::to_bytes(secret.key_hash(&format!("extend:{}", request.hold_id), key)),
            request: secret.request_hash(&extensions_seen.to_be_bytes()),
            buyer: secret.buyer_hash("counter", &request.hold_id),
            buyer_is_new: false,
        });
    }
    Ok(command)
}

fn idempotency_key(key: &str) -> Result<&str, Failure> {
    if key.is_empty() {
        let mut failure = Failure::new(
            Code::IdempotencyKeyRequired,
            "make a random key and repeat the request with the same one",
        );
        failure.field = "idempotency_key".to_owned();
        return Err(failure);
    }
    if key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let remedy = format!("must have at most {IDEMPOTENCY_KEY_BYTES_MAX} bytes");
        return Err(invalid("idempotency_key", &remedy));
    }
    Ok(key)
}

fn hold_bits(text: &str) -> Result<u128, Failure> {
    id::parse(id::HOLD, text)
        .ok_or_else(|| invalid("hold_id", "must be hold_ and 26 digits of base 32"))
}

fn with_seat_names(mut failure: Failure, event: &KnownEvent) -> Failure {
    let names = |seats: &[u32]| -> String {
        let names = seats.iter().filter_map(|&seat| event.seat_map.label(seat));
        names.collect::<Vec<_>>().join(", ")
    };
    if !failure.seats.is_empty() {
        failure.detail = format!("{}: {}", failure.detail, names(&failure.seats));
    }
    if !failure.mend_seats().is_empty() {
        failure.detail = format!("{}; instead: {}", failure.detail, names(failure.mend_seats()));
    }
    failure
}

fn unexpected() -> Failure {
    Failure::new(Code::Internal, "the answer is not one to this command")
}

fn no_randomness(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, format!("the system gives no randomness: {error}"))
}
