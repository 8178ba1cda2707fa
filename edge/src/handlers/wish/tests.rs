//! What is read of a wish, and what is refused with which pointer.

use super::*;
use crate::event_view::tests::document;

fn read(body: &str) -> Result<Wishes, Problem> {
    Wishes::read(&serde_json::from_str(body).expect("JSON"))
}

#[test]
fn all_three_forms_are_read() {
    let wishes = read(r#"{"event_id":"evt_test","seat_ids":["101-A-1","102-A-4"]}"#);
    let items = wishes.expect("good").resolve(&EventView::new(document())).expect("known seats");
    assert_eq!(items[0].seats, [0, 11]);
    let wishes = read(r#"{"event_id":"evt_test","quantity":2,"section":"FLOOR"}"#);
    let items =
        wishes.expect("good").resolve(&EventView::new(document())).expect("a known section");
    assert_eq!((items[0].quantity, items[0].section), (2, Some(1)));
    let wishes = read(
        r#"{"event_id":"e","quantity":1,"accessible":true,"companions":2,
            "price_max_minor":900,"split":true}"#,
    );
    let item = &wishes.expect("good").resolve(&EventView::new(document())).expect("good")[0];
    assert_eq!((item.quantity, item.accessible, item.companions), (1, true, 2));
    assert_eq!((item.price_max_minor, item.split), (Some(900), true));
    let wishes = read(
        r#"{"event_id":"evt_test","items":[{"seat_ids":["101-A-1"]},
            {"quantity":1,"category":"GA","accessible":false}]}"#,
    );
    assert_eq!(wishes.expect("good").items.len(), 2);
}

#[test]
fn what_is_wrong_is_named() {
    let many = format!(r#"{{"event_id":"e","quantity":{}}}"#, u64::MAX);
    for (body, pointer) in [
        ("[]", ""),
        ("{}", "/event_id"),
        (r#"{"event_id":"e"}"#, ""),
        (r#"{"event_id":1,"quantity":1}"#, "/event_id"),
        (r#"{"event_id":"e","quantity":0}"#, "/quantity"),
        (r#"{"event_id":"e","quantity":-1}"#, "/quantity"),
        (r#"{"event_id":"e","quantity":1.5}"#, "/quantity"),
        (r#"{"event_id":"e","quantity":"2"}"#, "/quantity"),
        (&many, "/quantity"),
        (r#"{"event_id":"e","quantity":1,"seat_ids":["x"]}"#, "/quantity"),
        (r#"{"event_id":"e","seat_ids":[]}"#, "/seat_ids"),
        (r#"{"event_id":"e","seat_ids":"x"}"#, "/seat_ids"),
        (r#"{"event_id":"e","seat_ids":[1]}"#, "/seat_ids/0"),
        (r#"{"event_id":"e","seat_ids":["x","x"]}"#, "/seat_ids/1"),
        (r#"{"event_id":"e","seat_ids":["x"],"section":"s"}"#, "/section"),
        (r#"{"event_id":"e","quantity":1,"price_minor":1}"#, "/price_minor"),
        (r#"{"event_id":"e","quantity":1,"code":""}"#, "/code"),
        (r#"{"event_id":"e","quantity":1,"code":7}"#, "/code"),
        (r#"{"event_id":"e","items":[{"quantity":1,"code":"FANS"}]}"#, "/items/0/code"),
        (r#"{"event_id":"e","quantity":1,"channel":""}"#, "/channel"),
        (r#"{"event_id":"e","quantity":1,"channel":"a/b"}"#, "/channel"),
        (r#"{"event_id":"e","quantity":1,"channel":1}"#, "/channel"),
        (r#"{"event_id":"e","items":[{"quantity":1,"channel":"x"}]}"#, "/items/0/channel"),
        (r#"{"event_id":"e","quantity":1,"accessible":1}"#, "/accessible"),
        (r#"{"event_id":"e","quantity":1,"category":null}"#, "/category"),
        (r#"{"event_id":"e","quantity":1,"price_max_minor":-1}"#, "/price_max_minor"),
        (r#"{"event_id":"e","quantity":1,"price_max_minor":"9"}"#, "/price_max_minor"),
        (r#"{"event_id":"e","quantity":1,"companions":1}"#, "/companions"),
        (r#"{"event_id":"e","quantity":1,"accessible":true,"companions":65}"#, "/companions"),
        (r#"{"event_id":"e","quantity":60,"accessible":true,"companions":6}"#, ""),
        (r#"{"event_id":"e","quantity":1,"split":1}"#, "/split"),
        (r#"{"event_id":"e","seat_ids":["x"],"split":true}"#, "/split"),
        (r#"{"event_id":"e","items":[{"quantity":1}],"companions":1}"#, "/companions"),
        (r#"{"event_id":"e","items":[]}"#, "/items"),
        (r#"{"event_id":"e","items":[1]}"#, "/items/0"),
        (r#"{"event_id":"e","items":[{"quantity":1,"types":{"adult":2}}]}"#, "/items/0/types"),
        (r#"{"event_id":"e","seat_ids":["x"],"types":{"adult":2}}"#, "/types"),
        (r#"{"event_id":"e","types":{"adult":0}}"#, "/types/adult"),
        (r#"{"event_id":"e","types":{"a":60,"b":60}}"#, ""),
        (r#"{"event_id":"e","quantity":1,"types":{}}"#, "/types"),
        (r#"{"event_id":"e","quantity":1,"types":["adult"]}"#, "/types"),
        (r#"{"event_id":"e","items":[{"quantity":1}],"types":{"adult":1}}"#, "/types"),
        (r#"{"event_id":"e","items":[{"quantity":1}],"quantity":1}"#, "/quantity"),
        (r#"{"event_id":"e","items":[{"quantity":40},{"quantity":40}]}"#, ""),
        (
            r#"{"event_id":"e","items":[{"seat_ids":["x"]},{"seat_ids":["x"]}]}"#,
            "/items/1/seat_ids/0",
        ),
    ] {
        let problem = read(body).expect_err(body);
        let pointers: Vec<&str> =
            problem.errors().iter().map(|error| error.pointer.as_str()).collect();
        assert!(pointers.contains(&pointer), "{body}: {pointers:?}");
    }
}

#[test]
fn the_shards_fields_are_named_as_in_the_body() {
    for (body, field, pointer) in [
        (r#"{"event_id":"e","quantity":9}"#, "items", "/quantity"),
        (r#"{"event_id":"e","quantity":9}"#, "items/0/section", "/section"),
        (r#"{"event_id":"e","seat_ids":["x"]}"#, "items", "/seat_ids"),
        (r#"{"event_id":"e","seat_ids":["x"]}"#, "items/0/seats", "/seat_ids"),
        (r#"{"event_id":"e","items":[{"seat_ids":["x"]}]}"#, "items/0/seats", "/items/0/seat_ids"),
        (r#"{"event_id":"e","items":[{"quantity":9}]}"#, "items", "/items"),
    ] {
        assert_eq!(read(body).expect("good").pointer(field), pointer, "{body} {field}");
    }
}

#[test]
fn unknown_seats_sections_and_categories_are_named() {
    let view = EventView::new(document());
    for (body, pointer) in [
        (r#"{"event_id":"e","seat_ids":["101-A-1","101-A-9"]}"#, "/seat_ids/1"),
        (r#"{"event_id":"e","quantity":1,"section":"Z"}"#, "/section"),
        (r#"{"event_id":"e","items":[{"quantity":1,"category":"Z"}]}"#, "/items/0/category"),
    ] {
        let problem = read(body).expect("good").resolve(&view).expect_err(body);
        assert_eq!(problem.errors()[0].pointer, pointer);
    }
}

#[test]
fn types_are_dealt_in_the_events_order_and_may_say_how_many() {
    let mut document = document();
    for key in ["adult", "child"] {
        let one = onsale_proto::catalog::TicketType { key: key.into(), name: key.into() };
        document.types.push(one);
    }
    let view = EventView::new(document);
    for (body, types) in [
        (r#"{"event_id":"e","quantity":2}"#, &[][..]),
        (r#"{"event_id":"e","types":{"child":2,"adult":1}}"#, &[0, 1, 1]),
        (r#"{"event_id":"e","items":[{"quantity":2},{"types":{"child":1}}]}"#, &[0, 0, 1]),
    ] {
        let wishes = read(body).expect("good");
        assert_eq!(wishes.types(&view).expect("known types"), types, "{body}");
        let places: u64 = wishes.items.iter().map(Wish::places).sum();
        assert!(types.is_empty() || places == types.len() as u64);
    }
    let unknown = read(r#"{"event_id":"e","quantity":1,"types":{"senior":1}}"#);
    let problem = unknown.expect("good").types(&view).expect_err("no such type");
    assert_eq!(problem.errors()[0].pointer, "/types/senior");
}

#[test]
fn other_wishes_have_other_canonical_forms() {
    let hash = |body: &str| read(body).expect("good").canonical().bytes().to_vec();
    let two = hash(r#"{"event_id":"e","quantity":2}"#);
    assert_eq!(two, hash(r#"{ "quantity":2, "accessible":false,"event_id":"e"}"#));
    for other in [
        r#"{"event_id":"f","quantity":2}"#,
        r#"{"event_id":"e","quantity":3}"#,
        r#"{"event_id":"e","quantity":2,"section":"s"}"#,
        r#"{"event_id":"e","quantity":2,"category":"s"}"#,
        r#"{"event_id":"e","quantity":2,"accessible":true}"#,
        r#"{"event_id":"e","quantity":2,"accessible":true,"companions":1}"#,
        r#"{"event_id":"e","quantity":2,"price_max_minor":0}"#,
        r#"{"event_id":"e","quantity":2,"split":true}"#,
        r#"{"event_id":"e","items":[{"quantity":1},{"quantity":1}]}"#,
        r#"{"event_id":"e","seat_ids":["2"]}"#,
        r#"{"event_id":"e","quantity":2,"types":{"a":2}}"#,
        r#"{"event_id":"e","quantity":2,"types":{"a":1,"b":1}}"#,
    ] {
        assert_ne!(two, hash(other), "{other}");
    }
}
