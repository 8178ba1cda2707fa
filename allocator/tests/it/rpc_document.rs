//! Documents are refused with a pointer to the first field that is wrong.

use onsale_allocator::document;
use onsale_proto::{Code, catalog::*};
use onsale_state::{
    Batch, Command, CommandKind, Done, SeatKind, Shard,
    command::{OpenOnsale, SectionKind},
};
use prost::Message as _;

/// A document that can be sold: two seated sections and a floor.
pub fn arena(event_id: &str) -> EventDocument {
    let row = |label: &str| Row {
        label: label.to_owned(),
        seats: 10,
        accessible: vec![1, 2],
        ..Row::default()
    };
    let section = |key: &str| Section {
        key: key.to_owned(),
        name: format!("Section {key}"),
        category: 0,
        rows: vec![row("A"), row("B")],
        ..Section::default()
    };
    let floor =
        Section { key: "FLOOR".to_owned(), category: 1, capacity: 50, ..Section::default() };
    let category = |key: &str, price_minor| PriceCategory {
        key: key.to_owned(),
        name: key.to_lowercase(),
        price_minor,
        ..PriceCategory::default()
    };
    EventDocument {
        event_id: event_id.to_owned(),
        organizer: "org_1".to_owned(),
        name: "A night".to_owned(),
        description: "First line\nSecond line".to_owned(),
        category: "concert".to_owned(),
        city: "Wien".to_owned(),
        venue: "Stadthalle".to_owned(),
        starts_at_ms: 1_900_000_000_000,
        onsale_at_ms: 0,
        currency: "EUR".to_owned(),
        categories: vec![category("A", 9_500), category("GA", 4_000)],
        sections: vec![section("101"), section("102"), floor],
        rules: Some(Rules {
            seats_per_order_max: 8,
            seats_per_buyer_max: 8,
            hold_ttl_ms: 600_000,
            hold_extensions_max: 1,
            ..Rules::default()
        }),
        status: "on_sale".to_owned(),
        ..EventDocument::default()
    }
}

fn opened(document: &EventDocument) -> OpenOnsale {
    document::open_onsale(document).expect("can be sold")
}

#[test]
fn a_good_document_opens_an_onsale_that_the_state_takes() {
    let mut content = arena("evt_good");
    (content.event_no, content.revision) = (3, 1);
    let open = opened(&content);
    assert_eq!(open.prices_minor, [9_500, 4_000]);
    assert_eq!(open.sections.len(), 3);
    assert_eq!(open.sections[2].kind, SectionKind::GeneralAdmission { capacity: 50 });
    let mut shard = Shard::new(1, 1, onsale_state::Limits::default());
    let kind = CommandKind::OpenOnsale(Box::new(open));
    let commands = vec![Command { not_after_ms: u64::MAX, kind }];
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    shard.apply(1, &Batch { log_time_ms: 1, commands }, &mut outcomes, &mut changes);
    assert_eq!(outcomes[0].result, Ok(Done::Ok));
    let view = shard.event(3).expect("open").view();
    assert_eq!(view.seat_map.label(11).as_deref(), Some("101-B-2"));
    assert!(view.seat_map.kind_of(11) == Some(SeatKind::Accessible));
}

#[test]
fn the_given_fields_are_stamped_and_nothing_else_changes() {
    let content = arena("evt_stamp");
    let bytes = document::stamped(&content.encode_to_vec(), 7, 2, 4).expect("stamped");
    let read = document::decode(&bytes).expect("good");
    assert_eq!((read.event_no, read.shard, read.revision), (7, 2, 4));
    assert_eq!(EventDocument { event_no: 0, shard: 0, revision: 0, ..read }, content);
}

#[test]
fn a_cancelled_event_opens_at_the_end_of_time() {
    let mut content = arena("evt_off");
    content.status = "cancelled".to_owned();
    let change = document::change_onsale(&content).expect("good");
    assert!(change.onsale_at_ms > content.starts_at_ms);
}

type Spoil = fn(&mut EventDocument);

#[test]
fn bad_documents_are_refused_by_field() {
    let table: &[(&str, Spoil)] = &[
        ("/event_id", |d| d.event_id.clear()),
        ("/event_id", |d| d.event_id = "arena".into()),
        ("/event_id", |d| d.event_id = "evt_".into()),
        ("/event_id", |d| d.event_id = "evt_A".into()),
        ("/event_id", |d| d.event_id = format!("evt_{}", "a".repeat(61))),
        ("/organizer", |d| d.organizer.clear()),
        ("/name", |d| d.name.clear()),
        ("/name", |d| d.name = "two\nlines".into()),
        ("/name", |d| d.name = "x".repeat(201)),
        ("/description", |d| d.description = "x".repeat(20_001)),
        ("/description", |d| d.description = "bell\u{7}".into()),
        ("/category", |d| d.category = "x".repeat(65)),
        ("/city", |d| d.city = "x".repeat(201)),
        ("/venue", |d| d.venue.clear()),
        ("/starts_at_ms", |d| d.starts_at_ms = 0),
        ("/starts_at_ms", |d| d.starts_at_ms = u64::MAX),
        ("/onsale_at_ms", |d| d.onsale_at_ms = d.starts_at_ms + 1),
        ("/currency", |d| d.currency = "eur".into()),
        ("/currency", |d| d.currency = "EURO".into()),
        ("/status", |d| d.status = "sold".into()),
        ("/categories", |d| d.categories.clear()),
        ("/categories", |d| d.categories = vec![d.categories[0].clone(); 1_001]),
        ("/categories/0/key", |d| d.categories[0].key.clear()),
        ("/categories/1/key", |d| d.categories[1].key = "A".into()),
        ("/categories/1/price_minor", |d| d.categories[1].price_minor = 1_000_000_000_001),
        ("/sections", |d| d.sections.clear()),
        ("/sections", |d| d.sections[2].capacity = 200_001),
        ("/sections", |d| d.sections = vec![d.sections[2].clone(); 10_001]),
        ("/sections/0/key", |d| d.sections[0].key.clear()),
        ("/sections/1/key", |d| d.sections[1].key = "101".into()),
        ("/sections/0/key", |d| d.sections[0].key = "x".repeat(65)),
        ("/sections/2/category", |d| d.sections[2].category = 2),
        ("/sections/2/rows", |d| d.sections[2].capacity = 0),
        ("/sections/0/capacity", |d| d.sections[0].capacity = 5),
        ("/sections/0/rows/1/label", |d| d.sections[0].rows[1].label = "A".into()),
        ("/sections/0/rows/1/label", |d| d.sections[0].rows[1].label.clear()),
        ("/sections/0/rows/0/seats", |d| d.sections[0].rows[0].seats = 0),
        ("/sections/0/rows/0/seats", |d| d.sections[0].rows[0].seats = 10_001),
        ("/sections/1/rows/0/companion/1", |d| d.sections[1].rows[0].companion = vec![4, 4]),
        ("/sections/1/rows/0/companion/0", |d| d.sections[1].rows[0].companion = vec![2]),
        ("/sections/1/focal_row", |d| d.sections[1].focal_row = 99),
        ("/sections/1/focal_seat", |d| d.sections[1].focal_seat = 11),
        ("/sections/1/rows/0/accessible/1", |d| d.sections[1].rows[0].accessible = vec![2, 2]),
        ("/sections/1/rows/0/accessible/0", |d| d.sections[1].rows[0].accessible = vec![11]),
        ("/sections/1/rows/0/accessible/0", |d| d.sections[1].rows[0].accessible = vec![0]),
        // A dash in a section's key makes a seat's name ambiguous.
        ("/sections/1/rows/0/label", |d| {
            (d.sections[0].key, d.sections[0].rows[0].label) = ("X".into(), "1-A".into());
            (d.sections[1].key, d.sections[1].rows[0].label) = ("X-1".into(), "A".into());
        }),
        ("/rules", |d| d.rules = None),
        ("/rules/seats_per_order_max", |d| set(d, |r| r.seats_per_order_max = 0)),
        ("/rules/seats_per_order_max", |d| set(d, |r| r.seats_per_order_max = 65)),
        ("/rules/seats_per_buyer_max", |d| set(d, |r| r.seats_per_buyer_max = 65_536)),
        ("/rules/hold_ttl_ms", |d| set(d, |r| r.hold_ttl_ms = 999)),
        ("/rules/hold_ttl_ms", |d| set(d, |r| r.hold_ttl_ms = 24 * 60 * 60 * 1000 + 1)),
        ("/rules/hold_extensions_max", |d| set(d, |r| r.hold_extensions_max = 1_001)),
        ("/waiting_room/enabled", |d| {
            d.waiting_room = Some(WaitingRoom { enabled: true, ..WaitingRoom::default() });
        }),
    ];
    for (at, (pointer, spoil)) in table.iter().enumerate() {
        let mut content = arena("evt_bad");
        spoil(&mut content);
        let failure = document::check(&content).expect_err(pointer);
        assert_eq!(failure.code, Code::InvalidRequest);
        assert_eq!(failure.field, *pointer, "row {at}: {failure}");
        assert!(!failure.detail.is_empty());
    }
}

fn set(document: &mut EventDocument, change: impl FnOnce(&mut Rules)) {
    change(document.rules.as_mut().expect("rules"));
}

#[test]
fn bytes_that_are_no_document_or_too_many_are_refused() {
    let failure = document::decode(b"\xff\xff").expect_err("no document");
    assert_eq!(failure.code, Code::InvalidRequest);
    let failure = document::decode(&vec![0; (2 << 20) + 1]).expect_err("too large");
    assert_eq!(failure.code, Code::PayloadTooLarge);
}

#[test]
fn prices_names_rules_and_capacities_may_change_and_seats_may_not() {
    let before = arena("evt_x");
    let mut after = before.clone();
    after.categories[0].price_minor = 1;
    after.sections[0].name = "Renamed".to_owned();
    after.name = "Another night".to_owned();
    after.sections[2].capacity += 1;
    set(&mut after, |rules| rules.seats_per_order_max = 2);
    document::check_change(&before, &after).expect("allowed");
    let table: &[(&str, Spoil)] = &[
        ("/currency", |d| d.currency = "USD".into()),
        ("/organizer", |d| d.organizer = "other".into()),
        ("/categories", |d| d.categories.reverse()),
        ("/sections", |d| d.sections.truncate(2)),
        ("/sections/0", |d| d.sections[0].rows[0].seats += 1),
        ("/sections/2", |d| d.sections[2].key = "OTHER".into()),
        ("/sections/0", |d| d.sections[0].capacity = 1),
    ];
    for (pointer, spoil) in table {
        let mut after = before.clone();
        spoil(&mut after);
        let failure = document::check_change(&before, &after).expect_err(pointer);
        assert_eq!(failure.field, *pointer);
    }
}

/// With types, early prices and quotas.
pub fn offer() -> EventDocument {
    let mut content = arena("evt_offer");
    (content.event_no, content.revision) = (3, 1);
    let one = |key: &str| TicketType { key: key.to_owned(), name: String::new() };
    content.types = vec![one("adult"), one("child")];
    let tier = |price_minor, count| Tier { price_minor, count: Some(count), until_ms: None };
    content.categories[0].tiers = vec![tier(8_000, 2)];
    content.categories[0].prices =
        vec![TypePrice { r#type: 1, price_minor: 4_500, tiers: vec![tier(1_000, 1)] }];
    content.quotas = vec![Quota {
        key: "floor".to_owned(),
        size: 30,
        sections: vec![2],
        categories: vec![1],
        types: vec![0, 1],
    }];
    content
}

#[test]
fn an_offer_is_what_the_shard_sells_by() {
    let open = opened(&offer());
    let sold = open.offer.as_ref().expect("an offer");
    assert_eq!((sold.types, sold.lines.len()), (2, 2));
    assert_eq!((sold.lines[0].ticket_type, sold.lines[0].price_minor), (None, 9_500));
    assert_eq!((sold.lines[1].ticket_type, sold.lines[1].price_minor), (Some(1), 4_500));
    assert_eq!((sold.quotas[0].size, &*sold.quotas[0].sections), (30, &[2][..]));
    let mut shard = Shard::new(1, 1, onsale_state::Limits::default());
    let kind = CommandKind::OpenOnsale(Box::new(open));
    let commands = vec![Command { not_after_ms: u64::MAX, kind }];
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    shard.apply(1, &Batch { log_time_ms: 1, commands }, &mut outcomes, &mut changes);
    assert_eq!(outcomes[0].result, Ok(Done::Ok));
    assert!(opened(&arena("evt_plain")).offer.is_none(), "what is plain stays plain");
}

#[test]
fn an_offer_that_cannot_be_sold_is_refused_with_its_field() {
    type Spoil = fn(&mut EventDocument);
    let cases: [(&str, Spoil); 10] = [
        ("/types/1/key", |it| it.types[1].key = "adult".to_owned()),
        ("/types", |it| it.types = vec![it.types[0].clone(); 65]),
        ("/categories/0/prices/0/type", |it| it.categories[0].prices[0].r#type = 2),
        ("/categories/0/prices/0/price_minor", |it| {
            it.categories[0].prices[0].price_minor = u64::MAX;
        }),
        ("/categories/0/tiers/0/count", |it| it.categories[0].tiers[0].count = None),
        ("/categories/0/tiers", |it| {
            it.categories[0].tiers = vec![it.categories[0].tiers[0]; 17];
        }),
        ("/quotas/0/key", |it| it.quotas[0].key = String::new()),
        ("/quotas/0/sections", |it| it.quotas[0].sections = vec![3]),
        ("/quotas/0/types", |it| it.quotas[0].types = vec![1, 0]),
        ("/quotas", |it| it.quotas = vec![it.quotas[0].clone(); 65]),
    ];
    for (field, spoil) in cases {
        let mut content = offer();
        spoil(&mut content);
        assert_eq!(document::check(&content).expect_err(field).field, field);
    }
}

#[test]
fn types_are_only_ever_added_and_quotas_are_the_shards_to_judge() {
    let before = offer();
    let mut more = offer();
    more.types.push(TicketType { key: "senior".to_owned(), name: String::new() });
    document::check_change(&before, &more).expect("one more type");
    for (field, change) in [
        ("/types", (|it| it.types.truncate(1)) as fn(&mut EventDocument)),
        ("/types", |it| it.types.swap(0, 1)),
    ] {
        let mut after = offer();
        change(&mut after);
        let refused = document::check_change(&before, &after).expect_err(field);
        assert_eq!((refused.code, refused.field.as_str()), (Code::InvalidRequest, field));
    }
    document::check_change(&arena("evt_offer"), &before).expect("first types and quotas");
    let mut other = offer();
    other.quotas[0].size = 0;
    other.quotas.push(Quota { key: "all".to_owned(), size: 1, ..Quota::default() });
    document::check_change(&before, &other).expect("other quotas");
    document::check_change(&other, &before).expect("fewer quotas");
}
