//! Owns what the sandbox answers to GET: objects, lists by page, search, events, the books.
//!
//! Must never change anything.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    answer::{Answer, ApiError},
    books::{Books, unrecognized},
    form::Form,
    intents::is_method,
    objects::{Intent, Record, Status},
    page,
};

const PAGE_DEFAULT: usize = 10;
const PAGE_MAX: usize = 100;

/// Answers a GET request.
pub(crate) fn get(books: &Books, path: &str, query: &str, base_url: &str) -> Answer {
    Form::parse(query)
        .map_err(|reason| ApiError::invalid(None, "", reason.to_owned()))
        .and_then(|form| dispatch(books, path, &form, base_url))
        .unwrap_or_else(Answer::from)
}

fn dispatch(books: &Books, path: &str, form: &Form, base: &str) -> Result<Answer, ApiError> {
    if let Some(id) = path.strip_prefix(page::PREFIX) {
        let intent = books.intents.get(id);
        let intent = intent.ok_or_else(|| ApiError::no_such("payment_intent", id))?;
        return Ok(Answer::Page(Box::new(intent.clone())));
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let value = match parts.as_slice() {
        ["v1", "payment_intents"] => {
            list(path, books.intents.rows(), form, |_| true, |row| row.to_json(base))?
        }
        ["v1", "payment_intents", "search"] => search(books, form, base)?,
        ["v1", "payment_intents", id] => return books.intent_answer(id),
        ["v1", "charges"] => {
            let of = form.get("payment_intent");
            let fits = |row: &super::objects::Charge| of.is_none_or(|id| id == row.intent);
            list(path, books.charges.rows(), form, fits, |row| row.to_json())?
        }
        ["v1", "charges", id] => match books.charges.get(id) {
            Some(charge) => charge.to_json(),
            None => return Err(ApiError::no_such("charge", id)),
        },
        ["v1", "refunds"] => {
            let of = form.get("payment_intent");
            let fits = |row: &super::objects::Refund| of.is_none_or(|id| id == row.intent);
            list(path, books.refunds.rows(), form, fits, |row| row.to_json())?
        }
        ["v1", "refunds", id] => match books.refunds.get(id) {
            Some(refund) => refund.to_json(),
            None => return Err(ApiError::no_such("refund", id)),
        },
        ["v1", "events"] => {
            let kind = form.get("type");
            let fits = |row: &super::objects::Event| kind.is_none_or(|kind| kind == row.kind);
            let rows: Vec<_> = books.events.iter().cloned().collect();
            list(path, &rows, form, fits, |row| row.to_json(base))?
        }
        ["v1", "events", id] => match books.events.iter().find(|event| event.id == *id) {
            Some(event) => event.to_json(base),
            None => return Err(ApiError::no_such("event", id)),
        },
        ["v1", "balance_transactions"] => {
            let rows = books.transactions.rows();
            list(path, rows, form, |_| true, |row| row.to_json())?
        }
        ["v1", "balance_transactions", id] => match books.transactions.get(id) {
            Some(transaction) => transaction.to_json(),
            None => return Err(ApiError::no_such("balance_transaction", id)),
        },
        ["v1", "payment_methods", id] if is_method(id) => json!({
            "id": id, "object": "payment_method", "type": "card", "livemode": false,
            "card": {"brand": "visa", "last4": "4242", "exp_month": 8, "exp_year": 2034},
            "metadata": {},
        }),
        ["v1", "payment_methods", id] => return Err(ApiError::no_such("payment_method", id)),
        ["sandbox", "books"] => totals(books),
        _ => return Err(unrecognized("GET", path)),
    };
    Ok(Answer::Json(value))
}

/// A page of a list, newest first.
fn list<T: Record>(
    path: &str,
    rows: &[T],
    form: &Form,
    fits: impl Fn(&T) -> bool,
    to_json: impl Fn(&T) -> Value,
) -> Result<Value, ApiError> {
    let limit = limit(form)?;
    let place = |name: &str| match form.get(name) {
        None => Ok(None),
        Some(id) => match rows.iter().rposition(|row| row.id() == id) {
            Some(place) => Ok(Some(place)),
            None => Err(ApiError::invalid(
                Some("resource_missing"),
                name,
                format!("No such object: {name}"),
            )),
        },
    };
    let end = place("starting_after")?.unwrap_or(rows.len());
    let start = place("ending_before")?.map_or(0, |place| place + 1);
    let from = time(form, "created[gte]")?.unwrap_or(0);
    let to = time(form, "created[lte]")?.unwrap_or(u64::MAX);
    let seen = |row: &&T| row.created() >= from && row.created() <= to && fits(row);
    let window = rows.get(start.min(end)..end).unwrap_or_default();
    let mut data: Vec<Value> = Vec::new();
    let more = if form.get("ending_before").is_some() {
        // The page next to the named row, still newest first.
        let mut near = window.iter().filter(seen);
        data.extend(near.by_ref().take(limit).map(&to_json));
        data.reverse();
        near.next().is_some()
    } else {
        let mut near = window.iter().rev().filter(seen);
        data.extend(near.by_ref().take(limit).map(&to_json));
        near.next().is_some()
    };
    Ok(json!({"object": "list", "url": path, "has_more": more, "data": data}))
}

fn limit(form: &Form) -> Result<usize, ApiError> {
    let Some(text) = form.get("limit") else {
        return Ok(PAGE_DEFAULT);
    };
    match text.parse::<usize>() {
        Ok(limit) if (1..=PAGE_MAX).contains(&limit) => Ok(limit),
        _ => Err(ApiError::invalid(
            Some("parameter_invalid_integer"),
            "limit",
            format!("This value must be between 1 and {PAGE_MAX}."),
        )),
    }
}

fn time(form: &Form, name: &str) -> Result<Option<u64>, ApiError> {
    form.get(name)
        .map(str::parse)
        .transpose()
        .map_err(|_| ApiError::invalid(None, name, "Invalid timestamp".to_owned()))
}

/// `metadata['key']:'value'` and `status:'value'`, joined by AND.
fn search(books: &Books, form: &Form, base: &str) -> Result<Value, ApiError> {
    let query = form.get("query").ok_or_else(|| ApiError::missing("query"))?;
    let clauses: Option<Vec<Clause<'_>>> = query.split(" AND ").map(clause).collect();
    let clauses = clauses.ok_or_else(|| {
        let message = "We were unable to parse your search query.".to_owned();
        ApiError::invalid(None, "query", message)
    })?;
    let limit = limit(form)?;
    let before = match form.get("page") {
        None => books.intents.rows().len(),
        Some(id) => books
            .intents
            .place(id)
            .ok_or_else(|| ApiError::invalid(None, "page", "Invalid page token".to_owned()))?,
    };
    let rows = &books.intents.rows()[..before];
    let mut found = rows.iter().rev().filter(|row| clauses.iter().all(|clause| clause.fits(row)));
    let page: Vec<&Intent> = found.by_ref().take(limit).collect();
    let more = found.next().is_some();
    let next_page = page.last().filter(|_| more).map(|row| row.id.clone());
    let data: Vec<Value> = page.iter().map(|row| row.to_json(base)).collect();
    Ok(json!({
        "object": "search_result", "url": "/v1/payment_intents/search",
        "has_more": more, "next_page": next_page, "data": data,
    }))
}

enum Clause<'a> {
    Metadata(&'a str, &'a str),
    Status(&'a str),
}

impl Clause<'_> {
    fn fits(&self, row: &Intent) -> bool {
        match self {
            Clause::Metadata(key, value) => row.metadata.get(*key).is_some_and(|own| own == value),
            Clause::Status(status) => row.status.as_str() == *status,
        }
    }
}

fn clause(text: &str) -> Option<Clause<'_>> {
    let (name, value) = text.trim().split_once(':')?;
    let value = unquote(value)?;
    if name == "status" {
        return Some(Clause::Status(value));
    }
    let key = unquote(name.strip_prefix("metadata[")?.strip_suffix(']')?)?;
    Some(Clause::Metadata(key, value))
}

fn unquote(text: &str) -> Option<&str> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).filter(|text: &&str| !text.contains(['\'', '"', '\\']))
}

/// All money by currency, and every intent: what an audit compares with the tickets.
fn totals(books: &Books) -> Value {
    let mut sums: BTreeMap<&str, [u64; 5]> = BTreeMap::new();
    let mut rows = Vec::with_capacity(books.intents.rows().len());
    for intent in books.intents.rows() {
        let sum = sums.entry(&intent.currency).or_default();
        let charge = intent.latest_charge.as_ref().and_then(|id| books.charges.get(id));
        let authorised = charge.filter(|charge| charge.failure.is_none()).map_or(0, |c| c.amount);
        let captured = charge.map_or(0, |charge| charge.amount_captured);
        let refunded = charge.filter(|charge| charge.captured).map_or(0, |c| c.amount_refunded);
        sum[0] += authorised;
        sum[1] += captured;
        sum[2] += refunded;
        match intent.status {
            Status::Canceled => sum[3] += authorised,
            Status::RequiresCapture => sum[4] += authorised,
            _ => {}
        }
        rows.push(json!({
            "id": intent.id, "order_id": intent.metadata.get("order_id"),
            "status": intent.status.as_str(), "currency": intent.currency,
            "amount_minor": intent.amount, "authorised_minor": authorised,
            "captured_minor": captured, "refunded_minor": refunded,
        }));
    }
    let currencies: serde_json::Map<String, Value> = sums
        .into_iter()
        .map(|(currency, [authorised, captured, refunded, canceled, open])| {
            let sum = json!({
                "authorised_minor": authorised, "captured_minor": captured,
                "refunded_minor": refunded, "canceled_minor": canceled, "uncaptured_minor": open,
            });
            (currency.to_owned(), sum)
        })
        .collect();
    json!({"currencies": currencies, "payment_intents": rows})
}
