//! Owns the way in for the stream's commands.

use onsale_mesh::Failure;
use onsale_proto::{allocator as pb, keyed};
use onsale_state::{
    HoldId, OrderId,
    command::{
        BeginCheckout, CommandKind, Contact, ExtendHold, Hold, HoldItem, HoldTerms, Idempotency,
        ReleaseHold, SellOverTheCounter, Wish,
    },
    limits::{CONTACT_BYTES_MAX, HOLD_ITEMS_MAX, HOLD_SEATS_MAX, PAYMENT_METHOD_BYTES_MAX},
};
use pb::command::Kind;

use super::{array, codes, hold_bytes, invalid, order_bytes, text};

/// The command that a message asks for, in `shard`.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn command(command: pb::Command, shard: u32) -> Result<CommandKind, Failure> {
    match command.kind {
        Some(Kind::Hold(hold)) => self::hold(&hold, shard),
        Some(Kind::ReleaseHold(release)) => Ok(CommandKind::ReleaseHold(ReleaseHold {
            hold: HoldId(hold_bytes("hold_id", &release.hold_id, shard)?),
        })),
        Some(Kind::ExtendHold(extend)) => Ok(CommandKind::ExtendHold(ExtendHold {
            hold: HoldId(hold_bytes("hold_id", &extend.hold_id, shard)?),
            extensions_seen: narrow("extensions_seen", extend.extensions_seen)?,
            idempotency: match &extend.idempotency {
                Some(given) => Some(idempotency(Some(given))?),
                None => None,
            },
        })),
        Some(Kind::BeginCheckout(begin)) => begin_checkout(&begin, shard),
        Some(Kind::Sell(sell)) => Ok(CommandKind::SellOverTheCounter(SellOverTheCounter {
            hold: HoldId(hold_bytes("hold_id", &sell.hold_id, shard)?),
            order: OrderId(order_bytes("order_id", &sell.order_id, shard)?),
            idempotency: idempotency(sell.idempotency.as_ref())?,
        })),
        None => Err(invalid("command", "must be one of the commands this version knows")),
    }
}

/// The idempotency part; it is required.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn idempotency(message: Option<&pb::Idempotency>) -> Result<Idempotency, Failure> {
    let Some(message) = message else {
        return Err(invalid("idempotency", "is required, so that a repeat finds its answer"));
    };
    Ok(Idempotency {
        key: state_key("idempotency/key", &message.key)?,
        request: message.request,
        buyer: buyer("idempotency/buyer", message.buyer)?,
        buyer_is_new: message.buyer_is_new,
    })
}

/// A key's hash: 16 bytes.
///
/// # Errors
/// `invalid_request` with the field and what it must be.
pub fn state_key(field: &str, bytes: &[u8]) -> Result<u128, Failure> {
    array(field, bytes).map(u128::from_be_bytes)
}

/// Contact data that fits its commitment.
///
/// # Errors
/// `invalid_request` with the field and what it must be; never the data.
pub fn contact(message: Option<&pb::Contact>, commitment: &[u8; 32]) -> Result<Contact, Failure> {
    let Some(message) = message else {
        return Err(invalid("contact", "is required: the tickets are sent to it"));
    };
    let salt = array("contact/salt", &message.salt)?;
    let name = text("contact/name", &message.name, 1, CONTACT_BYTES_MAX)?;
    let email = text("contact/email", &message.email, 3, CONTACT_BYTES_MAX)?;
    if keyed::contact_commitment(&salt, &name, &email) != *commitment {
        return Err(invalid("contact_commitment", "must be the salted hash of this contact"));
    }
    Ok(Contact { salt, name, email })
}

fn hold(message: &pb::HoldCommand, shard: u32) -> Result<CommandKind, Failure> {
    if message.event_no == 0 {
        return Err(invalid("event_no", "must be an event's number, from 1"));
    }
    if message.items.is_empty() || message.items.len() > HOLD_ITEMS_MAX {
        return Err(invalid("items", &format!("must be 1 to {HOLD_ITEMS_MAX}")));
    }
    let mut places = 0;
    let mut items = Vec::with_capacity(message.items.len());
    for (at, item) in message.items.iter().enumerate() {
        let chosen = u64::from(item.quantity) + u64::from(item.companions);
        places += chosen.max(item.seats.len() as u64);
        if places > HOLD_SEATS_MAX as u64 {
            let field = if item.seats.is_empty() { "quantity" } else { "seats" };
            let remedy = format!("must leave the hold at {HOLD_SEATS_MAX} places or fewer");
            return Err(invalid(&format!("items/{at}/{field}"), &remedy));
        }
        items.push(hold_item(at, item)?);
    }
    Ok(CommandKind::Hold(Hold {
        event: message.event_no,
        hold: HoldId(hold_bytes("hold_id", &message.hold_id, shard)?),
        idempotency: idempotency(message.idempotency.as_ref())?,
        items: items.into(),
        terms: terms(message)?,
    }))
}

/// What few buyers say beside their wishes.
fn terms(message: &pb::HoldCommand) -> Result<Option<Box<HoldTerms>>, Failure> {
    if message.types.is_empty() && message.channel.is_none() && message.code.is_empty() {
        return Ok(None);
    }
    if message.types.len() > HOLD_SEATS_MAX {
        return Err(invalid("types", "must be as many as there are places"));
    }
    let types = message.types.iter().map(|&no| narrow("types", no));
    let channel = message.channel.as_ref().map(super::channel::entry).transpose()?;
    let types = types.collect::<Result<_, _>>()?;
    let code = (!message.code.is_empty()).then(|| codes::code(&message.code)).transpose()?;
    Ok(Some(Box::new(HoldTerms { types, channel, code })))
}

fn hold_item(at: usize, item: &pb::HoldItem) -> Result<HoldItem, Failure> {
    let field = |name: &str| format!("items/{at}/{name}");
    if item.seats.is_empty() {
        if item.quantity == 0 {
            return Err(invalid(&field("quantity"), "must be at least 1, or seats be named"));
        }
        return Ok(HoldItem::BestAvailable(Wish {
            quantity: narrow(&field("quantity"), item.quantity)?,
            category: item.category.map(|no| narrow(&field("category"), no)).transpose()?,
            section: item.section.map(|no| narrow(&field("section"), no)).transpose()?,
            price_max_minor: item.price_max_minor,
            accessible: item.accessible,
            companions: narrow(&field("companions"), item.companions)?,
            split: item.split,
        }));
    }
    let unwanted = [
        ("quantity", item.quantity != 0),
        ("category", item.category.is_some()),
        ("section", item.section.is_some()),
        ("accessible", item.accessible),
        ("price_max_minor", item.price_max_minor.is_some()),
        ("companions", item.companions != 0),
        ("split", item.split),
    ];
    if let Some((name, _)) = unwanted.iter().find(|(_, is_there)| *is_there) {
        return Err(invalid(&field(name), "must be absent where seats are named"));
    }
    let mut sorted = item.seats.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(invalid(&field("seats"), "must name each seat once"));
    }
    Ok(HoldItem::Seats(item.seats.as_slice().into()))
}

fn begin_checkout(message: &pb::BeginCheckoutCommand, shard: u32) -> Result<CommandKind, Failure> {
    let method = &message.payment_method;
    let contact_commitment = array("contact_commitment", &message.contact_commitment)?;
    Ok(CommandKind::BeginCheckout(Box::new(BeginCheckout {
        hold: HoldId(hold_bytes("hold_id", &message.hold_id, shard)?),
        order: OrderId(order_bytes("order_id", &message.order_id, shard)?),
        idempotency: idempotency(message.idempotency.as_ref())?,
        email: buyer("email", message.email)?,
        card: message.card.map(|card| buyer("card", card)).transpose()?,
        payment_method: text("payment_method", method, 1, PAYMENT_METHOD_BYTES_MAX)?,
        contact_commitment,
        contact: contact(message.contact.as_ref(), &contact_commitment)?,
    })))
}

fn buyer(field: &str, hash: u64) -> Result<u64, Failure> {
    if hash == 0 {
        return Err(invalid(field, "must be a keyed hash; 0 is nobody's"));
    }
    Ok(hash)
}

pub(super) fn narrow(field: &str, value: u32) -> Result<u16, Failure> {
    u16::try_from(value).map_err(|_| invalid(field, "must be at most 65,535"))
}
