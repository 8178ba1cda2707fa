//! Owns reading what a buyer wants to hold: named seats, a number of places, or several of both.
//!
//! Must never guess: a wish that is not clear is refused with the field that is not.

use onsale_proto::allocator::{ChannelEntry, HoldItem};
use serde_json::Value;

use super::{channels, codes, mix::Mix};
use crate::{
    event_view::EventView,
    idempotency::Canonical,
    json::{self, At, Faults, Object},
    limits,
    problem::Problem,
};

/// What stands beside `quantity`, and never beside `seat_ids`.
const CHOICE_FIELDS: [&str; 6] =
    ["category", "section", "accessible", "price_max_minor", "companions", "split"];
const WISH_FIELDS: [&str; 11] = [
    "seat_ids",
    "quantity",
    "category",
    "section",
    "accessible",
    "price_max_minor",
    "companions",
    "split",
    "types",
    "code",
    "channel",
];
const REQUEST_FIELDS: [&str; 13] = [
    "event_id",
    "items",
    "seat_ids",
    "quantity",
    "category",
    "section",
    "accessible",
    "price_max_minor",
    "companions",
    "split",
    "types",
    "code",
    "channel",
];

/// What is to be held.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub event_id: String,
    pub items: Vec<Wish>,
    /// The ticket types of each wish.
    pub types: Vec<Mix>,
    /// Named by `items`, not by one wish in the body itself.
    pub listed: bool,
    /// The channel that the buyer comes through.
    pub channel: Option<ChannelEntry>,
    /// The code that the buyer brings.
    pub code: Option<String>,
}

/// One wish.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Seats(Vec<String>),
    Places(Choice),
}

/// Places that the allocator chooses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Choice {
    pub quantity: u32,
    pub category: Option<String>,
    pub section: Option<String>,
    pub accessible: bool,
    pub price_max_minor: Option<u64>,
    pub companions: u32,
    pub split: bool,
}

impl Wishes {
    /// Reads the body of `POST /v1/reserve`.
    pub(crate) fn read(body: &Value) -> Result<Wishes, Problem> {
        let mut faults = Faults::default();
        let wishes = Wishes::read_object(body, &mut faults);
        match wishes {
            Some(wishes) if faults.is_empty() => Ok(wishes),
            _ => Err(Problem::fields(faults.into_errors())),
        }
    }

    fn read_object(body: &Value, faults: &mut Faults) -> Option<Wishes> {
        let object = Object::read(body, At::Root, &REQUEST_FIELDS, faults)?;
        let event_id = object.need_text("event_id", 1..=limits::EVENT_ID_CHARS_MAX, faults);
        let listed = object.get("items").is_some();
        let (items, types) = if listed {
            for name in ["seat_ids", "quantity", "types"].iter().chain(&CHOICE_FIELDS) {
                if object.get(name).is_some() {
                    object.fault(name, "cannot stand beside items", faults);
                }
            }
            read_items(&object, faults)
        } else {
            let (wish, mix) = read_wish(&object, faults)?;
            (vec![wish], vec![mix])
        };
        let places: u64 = items.iter().map(Wish::places).sum();
        if places > limits::HOLD_SEATS_MAX {
            let most = limits::HOLD_SEATS_MAX;
            faults.add(&At::Root, format!("asks for {places} places, at most {most}"));
        }
        check_repeats(&items, listed, faults);
        let channel = channels::read_entry(&object, faults);
        let code = codes::read_code(&object, faults);
        Some(Wishes { event_id: event_id?.to_owned(), items, types, listed, channel, code })
    }

    /// The content as it is hashed.
    pub(crate) fn canonical(&self) -> Canonical {
        let mut canonical = Canonical::default();
        canonical.text("reserve");
        canonical.text(&self.event_id);
        for (item, mix) in self.items.iter().zip(&self.types) {
            match item {
                Wish::Seats(seats) => {
                    canonical.number(seats.len() as u64);
                    seats.iter().for_each(|seat| canonical.text(seat));
                }
                Wish::Places(choice) => {
                    canonical.number(0);
                    choice.write_canonical(&mut canonical);
                }
            }
            mix.write(&mut canonical);
        }
        // The secret proves who may; it is not what is asked for.
        if let Some(channel) = &self.channel {
            canonical.text("channel");
            canonical.text(&channel.key);
        }
        if let Some(code) = &self.code {
            canonical.text("code");
            canonical.text(code);
        }
        canonical
    }

    /// The wishes in the event's numbers.
    pub(crate) fn resolve(&self, view: &EventView) -> Result<Vec<HoldItem>, Problem> {
        let mut faults = Faults::default();
        let items = At::Field(&At::Root, "items");
        let resolved = self
            .items
            .iter()
            .enumerate()
            .map(|(place, wish)| match self.listed {
                true => wish.resolve(view, &At::Index(&items, place), &mut faults),
                false => wish.resolve(view, &At::Root, &mut faults),
            })
            .collect();
        if faults.is_empty() { Ok(resolved) } else { Err(Problem::fields(faults.into_errors())) }
    }

    /// The ticket types of all places by number; none where no wish says any.
    pub(crate) fn types(&self, view: &EventView) -> Result<Vec<u32>, Problem> {
        if self.types.iter().all(Mix::is_empty) {
            return Ok(Vec::new());
        }
        let mut faults = Faults::default();
        let items = At::Field(&At::Root, "items");
        let mut types = Vec::new();
        for (place, (wish, mix)) in self.items.iter().zip(&self.types).enumerate() {
            let at = if self.listed { At::Index(&items, place) } else { At::Root };
            types.extend(mix.deal(wish.places(), view, &at, &mut faults));
        }
        if faults.is_empty() { Ok(types) } else { Err(Problem::fields(faults.into_errors())) }
    }

    /// A pointer of the allocator (`items/0/seats`) as one into this body.
    pub(crate) fn pointer(&self, field: &str) -> String {
        let field = field.trim_start_matches('/').replace("/seats", "/seat_ids");
        match field.strip_prefix("items/0/") {
            Some(rest) if !self.listed => format!("/{rest}"),
            None if !self.listed => match self.items.first() {
                Some(Wish::Seats(_)) => "/seat_ids".to_owned(),
                _ => "/quantity".to_owned(),
            },
            _ => format!("/{field}"),
        }
    }
}

impl Wish {
    fn places(&self) -> u64 {
        match self {
            Wish::Seats(seats) => seats.len() as u64,
            Wish::Places(choice) => u64::from(choice.quantity) + u64::from(choice.companions),
        }
    }

    fn resolve(&self, view: &EventView, at: &At<'_>, faults: &mut Faults) -> HoldItem {
        match self {
            Wish::Seats(seats) => {
                HoldItem { seats: resolve_seats(seats, view, at, faults), ..HoldItem::default() }
            }
            Wish::Places(choice) => choice.resolve(view, at, faults),
        }
    }
}

impl Choice {
    fn write_canonical(&self, canonical: &mut Canonical) {
        canonical.number(self.quantity.into());
        canonical.optional(self.category.as_deref());
        canonical.optional(self.section.as_deref());
        canonical.number(self.accessible.into());
        canonical.number(self.price_max_minor.map_or(0, |price| price.saturating_add(1)));
        canonical.number(self.companions.into());
        canonical.number(self.split.into());
    }

    /// Without a quantity the types say how many places there are, companion seats included.
    fn read(object: &Object<'_>, mix: &Mix, faults: &mut Faults) -> Option<Choice> {
        let key = 1..=limits::LABEL_CHARS_MAX;
        let most = limits::HOLD_SEATS_MAX;
        let category = object.text("category", key.clone(), faults);
        let section = object.text("section", key, faults);
        let accessible = object.flag("accessible", faults).unwrap_or(false);
        let price = 0..=limits::PRICE_MINOR_MAX;
        let price_max_minor = object.integer("price_max_minor", price, faults);
        let companions = object.integer("companions", 0..=most, faults).unwrap_or(0);
        if companions > 0 && !accessible {
            object.fault("companions", "come with accessible seats only", faults);
        }
        let split = object.flag("split", faults).unwrap_or(false);
        let quantity = match object.get("quantity") {
            Some(_) => object.integer("quantity", 1..=most, faults),
            None if mix.places() <= companions => {
                object.fault("types", "must add up to more places than companions", faults);
                None
            }
            None => Some(mix.places() - companions),
        };
        Some(Choice {
            quantity: u32::try_from(quantity?).ok()?,
            category: category.map(str::to_owned),
            section: section.map(str::to_owned),
            accessible,
            price_max_minor,
            companions: u32::try_from(companions).ok()?,
            split,
        })
    }

    fn resolve(&self, view: &EventView, at: &At<'_>, faults: &mut Faults) -> HoldItem {
        let category = self.category.as_deref().and_then(|key| {
            let found = view.category_no(key);
            if found.is_none() {
                faults.add(&At::Field(at, "category"), "is not a category of the event");
            }
            found
        });
        let section = self.section.as_deref().and_then(|key| {
            let found = view.section_no(key);
            if found.is_none() {
                faults.add(&At::Field(at, "section"), "is not a section of the event");
            }
            found
        });
        HoldItem {
            seats: Vec::new(),
            quantity: self.quantity,
            category,
            section,
            accessible: self.accessible,
            price_max_minor: self.price_max_minor,
            companions: self.companions,
            split: self.split,
        }
    }
}

fn resolve_seats(seats: &[String], view: &EventView, at: &At<'_>, faults: &mut Faults) -> Vec<u32> {
    let field = At::Field(at, "seat_ids");
    let resolve = |(place, seat): (usize, &String)| {
        let found = view.seat_no(seat);
        if found.is_none() {
            faults.add(&At::Index(&field, place), "is not a seat of the event");
        }
        found
    };
    seats.iter().enumerate().filter_map(resolve).collect()
}

fn read_items(object: &Object<'_>, faults: &mut Faults) -> (Vec<Wish>, Vec<Mix>) {
    let values = object.list("items", 1..=limits::HOLD_ITEMS_MAX, faults);
    let at = At::Field(&object.at, "items");
    let mut items = Vec::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let at = At::Index(&at, place);
        if let Some(item) = Object::read(value, at, &WISH_FIELDS, faults) {
            for name in ["channel", "code"] {
                if item.get(name).is_some() {
                    item.fault(name, "stands beside items", faults);
                }
            }
            items.extend(read_wish(&item, faults));
        }
    }
    items.into_iter().unzip()
}

fn read_wish(object: &Object<'_>, faults: &mut Faults) -> Option<(Wish, Mix)> {
    let mix = Mix::read(object, faults);
    let wish = read_places(object, &mix, faults)?;
    if !mix.is_empty() && mix.places() != wish.places() {
        object.fault("types", "must add up to the places", faults);
    }
    Some((wish, mix))
}

fn read_places(object: &Object<'_>, mix: &Mix, faults: &mut Faults) -> Option<Wish> {
    match (object.get("seat_ids"), object.get("quantity")) {
        (Some(_), Some(_)) => {
            object.fault("quantity", "cannot stand beside seat_ids", faults);
            None
        }
        (None, None) if mix.is_empty() => {
            faults.add(&object.at, "needs seat_ids or quantity");
            None
        }
        (Some(_), None) => {
            for name in CHOICE_FIELDS {
                if object.get(name).is_some() {
                    object.fault(name, "cannot stand beside seat_ids", faults);
                }
            }
            read_seats(object, faults).map(Wish::Seats)
        }
        (None, _) => Choice::read(object, mix, faults).map(Wish::Places),
    }
}

fn read_seats(object: &Object<'_>, faults: &mut Faults) -> Option<Vec<String>> {
    let most = usize::try_from(limits::HOLD_SEATS_MAX).unwrap_or(usize::MAX);
    let values = object.list("seat_ids", 1..=most, faults)?;
    let at = At::Field(&object.at, "seat_ids");
    values
        .iter()
        .enumerate()
        .map(|(place, value)| {
            let at = At::Index(&at, place);
            json::text(value, &at, 1..=limits::SEAT_ID_CHARS_MAX, faults).map(str::to_owned)
        })
        .collect()
}

fn check_repeats(items: &[Wish], listed: bool, faults: &mut Faults) {
    let mut seen: Vec<&str> = Vec::new();
    let list = At::Field(&At::Root, "items");
    for (item, wish) in items.iter().enumerate() {
        let Wish::Seats(seats) = wish else {
            continue;
        };
        for (place, seat) in seats.iter().enumerate() {
            if seen.contains(&seat.as_str()) {
                let parent = if listed { At::Index(&list, item) } else { At::Root };
                let field = At::Field(&parent, "seat_ids");
                faults.add(&At::Index(&field, place), "is named twice");
            }
            seen.push(seat);
        }
    }
}

#[cfg(test)]
mod tests;
