//! Owns an event's presale and voucher codes: given by its organizer or made here, and how a buyer
//! brings one.
//!
//! Must never let a code go further than its keyed hash, but for the answer to the organizer who
//! made it. Made codes follow from the request's key, so that a replay is the same byte for byte.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use http::StatusCode;
use onsale_proto::{
    allocator::{
        CodeBatch, CodeTerms, CodesInfo, ListCodesRequest, PutCodesRequest, code_terms::Effect,
        outcome::Result as Answer,
    },
    keyed::normalise_code,
    time,
};
use serde::Serialize;
use serde_json::Value;

use super::{document, kills, organizer};
use crate::{
    event_view::EventView,
    json::{self, At, Faults, Object},
    limits,
    problem::Problem,
    reply::{self, Reply},
    request::Request,
    service::Edge,
};

/// Crockford's alphabet: nothing in it is mistaken for something else.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// 60 bits, more than anybody can try.
const MADE_CHARS: usize = 12;
const TERMS: [&str; 8] = [
    "label",
    "kind",
    "uses_max",
    "valid_from",
    "valid_until",
    "percent_off",
    "price_minor",
    "categories",
];

#[derive(Serialize)]
struct Put<'a> {
    event_id: &'a str,
    stored: u32,
    codes: Vec<&'a str>,
}

/// Codes that are all good for the same.
#[derive(Serialize)]
struct Shown<'a> {
    label: &'a str,
    kind: &'static str,
    codes: u32,
    uses: u64,
    uses_max: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    percent_off: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price_minor: Option<u64>,
    valid_from: Option<String>,
    valid_until: Option<String>,
    categories: Vec<&'a str>,
}

#[derive(Serialize)]
struct Codes<'a> {
    event_id: &'a str,
    codes: Vec<Shown<'a>>,
}

/// Codes by what they are good for, in one spelling.
type Batches = Vec<(CodeTerms, Vec<String>)>;

/// What is to be made.
struct Wanted {
    count: u64,
    prefix: String,
}

/// `POST /v1/events/{event_id}/codes`
pub(crate) async fn put(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let body = request.json()?;
    let (view, staff) = organizer::own_event(&edge, &request).await?;
    let idempotency = organizer::staff_key(&edge, staff, "codes", &request)?;
    let event_id = &view.document.event_id;
    let mut faults = Faults::default();
    let make = |nth: u64| made(&edge, event_id, (&idempotency.key, nth));
    let batches = read(&view, &body, make, &mut faults);
    if !faults.is_empty() {
        return Err(Problem::fields(faults.into_errors()));
    }
    let hash = |code: &String| edge.secret.code_hash(event_id, code).to_be_bytes();
    let hashes = |codes: &[String]| codes.iter().map(|code| hash(code).to_vec().into()).collect();
    let batch = |(terms, codes): &(CodeTerms, Vec<String>)| CodeBatch {
        terms: Some(terms.clone()),
        hashes: hashes(codes),
    };
    let message = PutCodesRequest {
        shard: view.document.shard,
        event_no: view.document.event_no,
        idempotency: Some(idempotency.clone()),
        batches: batches.iter().map(batch).collect(),
    };
    let outcome = edge.shards.put_codes(message, request.deadline).await;
    match kills::done(outcome)? {
        (replayed, Answer::CodesPut(put)) => {
            let codes = batches.iter().flat_map(|(_, codes)| codes).map(String::as_str).collect();
            let answer = Put { event_id, stored: put.codes, codes };
            Ok(organizer::answered(&request, &answer, replayed))
        }
        _ => Err(kills::unexpected()),
    }
}

/// `GET /v1/events/{event_id}/codes`
pub(crate) async fn list(edge: Arc<Edge>, request: Request) -> Result<Reply, Problem> {
    let (view, _) = organizer::own_event(&edge, &request).await?;
    let (shard, event_no) = (view.document.shard, view.document.event_no);
    let message = ListCodesRequest { shard, event_no };
    let answer = edge.shards.list_codes(message, request.deadline).await;
    let answer = answer.map_err(super::holds::unread)?;
    let codes = answer.codes.iter().filter_map(|info| shown(&view, info)).collect();
    let body = Codes { event_id: &view.document.event_id, codes };
    Ok(reply::json_of(StatusCode::OK, &body))
}

/// The code that a buyer's body brings, in the one spelling.
pub(crate) fn read_code(object: &Object<'_>, faults: &mut Faults) -> Option<String> {
    object.text("code", 1..=limits::CODE_CHARS_MAX, faults).map(normalise_code)
}

/// The code typed into a form, in the one spelling.
pub(crate) fn typed_code(text: &str) -> Result<Option<String>, Problem> {
    if text.chars().count() > limits::CODE_CHARS_MAX {
        let most = limits::CODE_CHARS_MAX;
        return Err(Problem::field("code", format!("must have at most {most} characters")));
    }
    Ok(Some(normalise_code(text)).filter(|code| !code.is_empty()))
}

/// How a code travels; empty where there is none.
pub(crate) fn hash(edge: &Edge, event_id: &str, code: Option<&str>) -> Bytes {
    let hash = |code| edge.secret.code_hash(event_id, code).to_be_bytes();
    code.map_or_else(Bytes::new, |code| Bytes::copy_from_slice(&hash(code)))
}

fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

/// The `nth` code that a request makes.
fn made(edge: &Edge, event_id: &str, (key, nth): (&[u8], u64)) -> String {
    let seed = [event_id.as_bytes(), b"\0", key, &nth.to_be_bytes()].concat();
    let random = edge.secret.sign("made_code", &seed);
    random[..MADE_CHARS].iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

fn read(
    view: &EventView,
    body: &Value,
    make: impl Fn(u64) -> String,
    faults: &mut Faults,
) -> Batches {
    if body.get("generate").is_none() {
        return read_listed(view, body, faults);
    }
    let fields = [&TERMS[..], &["generate"]].concat();
    let Some(object) = Object::read(body, At::Root, &fields, faults) else {
        return Batches::new();
    };
    let wanted = read_wanted(&object, faults);
    let (Some(wanted), Some(terms)) = (wanted, read_terms(view, &object, faults)) else {
        return Batches::new();
    };
    let codes = (0..wanted.count).map(|nth| format!("{}{}", wanted.prefix, make(nth)));
    vec![(terms, codes.collect())]
}

fn read_wanted(object: &Object<'_>, faults: &mut Faults) -> Option<Wanted> {
    let at = At::Field(&object.at, "generate");
    let said = Object::read(object.get("generate")?, at, &["count", "prefix"], faults)?;
    let count = said.need_integer("count", 1..=limits::CODES_MADE_MAX, faults);
    let prefix = said.text("prefix", 1..=limits::CODE_PREFIX_CHARS_MAX, faults).unwrap_or("");
    if !is_plain(prefix) {
        said.fault("prefix", "must be letters, digits, dashes or underscores", faults);
    }
    Some(Wanted { count: count?, prefix: normalise_code(prefix) })
}

fn read_listed(view: &EventView, body: &Value, faults: &mut Faults) -> Batches {
    let mut batches = Batches::new();
    let Some(object) = Object::read(body, At::Root, &["codes"], faults) else {
        return batches;
    };
    if object.need("codes", faults).is_none() {
        return batches;
    }
    let at = At::Field(&object.at, "codes");
    let values = object.list("codes", 1..=limits::CODES_LISTED_MAX, faults);
    let fields = [&TERMS[..], &["code"]].concat();
    let mut seen = BTreeSet::new();
    for (place, value) in values.unwrap_or_default().iter().enumerate() {
        let Some(one) = Object::read(value, At::Index(&at, place), &fields, faults) else {
            continue;
        };
        let code = one.need_text("code", limits::CODE_CHARS_MIN..=limits::CODE_CHARS_MAX, faults);
        let (Some(code), Some(terms)) = (code, read_terms(view, &one, faults)) else {
            continue;
        };
        if !is_plain(code) {
            one.fault("code", "must be letters, digits, dashes or underscores", faults);
        }
        let code = normalise_code(code);
        if !seen.insert(code.clone()) {
            one.fault("code", "is named twice", faults);
        }
        match batches.iter_mut().find(|(known, _)| *known == terms) {
            Some((_, codes)) => codes.push(code),
            None => batches.push((terms, vec![code])),
        }
    }
    batches
}

fn read_terms(view: &EventView, object: &Object<'_>, faults: &mut Faults) -> Option<CodeTerms> {
    let label = object.need_text("label", 1..=limits::CODE_LABEL_BYTES_MAX, faults);
    if label.is_some_and(|it| it.len() > limits::CODE_LABEL_BYTES_MAX || it.contains('\n')) {
        object.fault("label", "must be one line of at most 64 bytes", faults);
    }
    let effect = read_effect(object, faults);
    let uses_max = match object.get("uses_max") {
        Some(_) => object.integer("uses_max", 1..=limits::CODE_USES_MAX, faults),
        None => Some(1),
    };
    let valid_from_ms = document::point(object, "valid_from", faults).unwrap_or(0);
    let valid_until_ms = document::point(object, "valid_until", faults);
    if valid_until_ms.is_some_and(|until| until <= valid_from_ms) {
        object.fault("valid_until", "must be after valid_from", faults);
    }
    let categories = read_categories(view, object, faults);
    Some(CodeTerms {
        label: label?.to_owned(),
        effect: Some(effect?),
        uses_max: u32::try_from(uses_max?).ok()?,
        valid_from_ms,
        valid_until_ms,
        categories,
    })
}

fn read_effect(object: &Object<'_>, faults: &mut Faults) -> Option<Effect> {
    let kind = object.need_text("kind", 1..=16, faults)?;
    let percent = object.integer("percent_off", 1..=100, faults);
    let price = object.integer("price_minor", 0..=limits::PRICE_MINOR_MAX, faults);
    match (kind, object.get("percent_off"), object.get("price_minor")) {
        ("presale", None, None) => Some(Effect::Presale(true)),
        ("voucher", Some(_), None) => {
            percent.and_then(|it| u32::try_from(it).ok()).map(Effect::PercentOff)
        }
        ("voucher", None, Some(_)) => price.map(Effect::PriceMinor),
        ("voucher", None, None) => {
            object.fault("percent_off", "or price_minor is required for a voucher", faults);
            None
        }
        ("voucher", Some(_), Some(_)) => {
            object.fault("price_minor", "cannot stand beside percent_off", faults);
            None
        }
        ("presale", _, _) => {
            object.fault("kind", "must be voucher for another price", faults);
            None
        }
        _ => {
            object.fault("kind", "must be presale or voucher", faults);
            None
        }
    }
}

fn read_categories(view: &EventView, object: &Object<'_>, faults: &mut Faults) -> Vec<u32> {
    let mut categories = BTreeSet::new();
    if object.get("categories").is_some() {
        let list = At::Field(&object.at, "categories");
        let values = object.list("categories", 1..=view.document.categories.len(), faults);
        for (place, value) in values.unwrap_or_default().iter().enumerate() {
            let at = At::Index(&list, place);
            let key = json::text(value, &at, 1..=limits::LABEL_CHARS_MAX, faults);
            match key.map(|key| view.category_no(key)) {
                Some(Some(no)) => drop(categories.insert(no)),
                Some(None) => faults.add(&at, "is not a category of this event"),
                None => {}
            }
        }
    }
    categories.into_iter().collect()
}

fn shown<'a>(view: &'a EventView, info: &'a CodesInfo) -> Option<Shown<'a>> {
    let terms = info.terms.as_ref()?;
    let (kind, percent_off, price_minor) = match terms.effect? {
        Effect::Presale(_) => ("presale", None, None),
        Effect::PercentOff(percent) => ("voucher", Some(percent), None),
        Effect::PriceMinor(price) => ("voucher", None, Some(price)),
    };
    let key = |&no: &u32| view.document.categories.get(no as usize).map(|it| it.key.as_str());
    Some(Shown {
        label: &terms.label,
        kind,
        codes: info.codes,
        uses: info.uses,
        uses_max: terms.uses_max,
        percent_off,
        price_minor,
        valid_from: (terms.valid_from_ms > 0).then(|| time::to_rfc3339(terms.valid_from_ms)),
        valid_until: terms.valid_until_ms.map(time::to_rfc3339),
        categories: terms.categories.iter().filter_map(key).collect(),
    })
}

#[cfg(test)]
mod tests;
