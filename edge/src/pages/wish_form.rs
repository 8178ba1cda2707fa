//! Owns reading the form with which people look for places on an event's page.
//!
//! Must never guess: a number that is not clear is refused with the field that is not.

use onsale_proto::keyed::Secret;

use crate::{
    event_view::EventView,
    handlers::{
        channels, codes,
        mix::Mix,
        wish::{Choice, Wish, Wishes},
    },
    limits,
    problem::Problem,
    request::Form,
};

/// A ticket type's field.
pub(super) fn type_field(key: &str) -> String {
    format!("type.{key}")
}

/// What the form asks for.
pub(super) fn wishes(view: &EventView, form: &Form, secret: &Secret) -> Result<Wishes, Problem> {
    let mix = mix(view, form)?;
    let companions = count(form, "companions")?;
    let accessible = form.get("accessible").is_some();
    if companions > 0 && !accessible {
        return Err(Problem::field("companions", "come with accessible places only"));
    }
    // Types say how many places there are, those of companions included.
    let quantity = match u32::try_from(mix.places()) {
        Ok(places) if !mix.is_empty() => places.checked_sub(companions),
        _ => Some(count(form, "quantity")?),
    };
    let Some(quantity) = quantity.filter(|quantity| *quantity > 0) else {
        return Err(Problem::field("quantity", "choose at least one place besides companions'"));
    };
    if u64::from(quantity) + u64::from(companions) > limits::HOLD_SEATS_MAX {
        let most = limits::HOLD_SEATS_MAX;
        return Err(Problem::field("quantity", format!("must be at most {most}")));
    }
    let (category, section) = match form.get("where").and_then(|text| text.split_once(':')) {
        Some(("c", key)) => (Some(key.to_owned()), None),
        Some(("s", key)) => (None, Some(key.to_owned())),
        _ => (None, None),
    };
    let split = form.get("split").is_some();
    let choice =
        Choice { quantity, category, section, accessible, companions, split, ..Choice::default() };
    let event_id = view.document.event_id.clone();
    let typed = |name| form.get(name).unwrap_or("").trim();
    let channel = (typed("channel"), typed("channel_key"));
    Ok(Wishes {
        channel: channels::typed_entry(&event_id, channel, secret)?,
        code: codes::typed_code(typed("code"))?,
        event_id,
        items: vec![Wish::Places(choice)],
        types: vec![mix],
        listed: false,
    })
}

fn mix(view: &EventView, form: &Form) -> Result<Mix, Problem> {
    let mut asked = Vec::new();
    for one in &view.document.types {
        let count = count(form, &type_field(&one.key))?;
        if count > 0 {
            asked.push((one.key.clone(), count));
        }
    }
    Ok(Mix::of(asked))
}

/// A number of places; a field left empty is none.
fn count(form: &Form, name: &str) -> Result<u32, Problem> {
    let Some(text) = form.get(name) else {
        return Ok(0);
    };
    let count = text.parse::<u32>().ok();
    let count = count.filter(|count| u64::from(*count) <= limits::HOLD_SEATS_MAX);
    let most = limits::HOLD_SEATS_MAX;
    count.ok_or_else(|| {
        Problem::field(name.to_owned(), format!("must be a whole number from 0 to {most}"))
    })
}
