//! Random documents and requests against a linear model that knows nothing of indexes.

use std::collections::BTreeMap;

use onsale_proto::catalog::{EventDocument, ListEventsRequest};
use proptest::{prelude::*, test_runner::Config};

use crate::{
    feed::Feed,
    harness::{Catalog, document, ids},
};

const WORDS: &[&str] = &[
    "Arena", "arenaria", "ar", "Rock", "rocket", "Müller", "muller", "Été", "été2", "2026", "a",
    "O2", "日本", "the", "The", "z", "zz",
];
const CITIES: &[&str] = &["Berlin", "berlin", "BERLIN ", "Köln", "köln", "Bern", ""];
const CATEGORIES: &[&str] = &["concert", "Concert", "sport", ""];

fn text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(WORDS);
    let gap = prop::sample::select(&[" ", ", ", "-", "  ", "/"][..]);
    prop::collection::vec((word, gap), 0..4)
        .prop_map(|parts| parts.iter().map(|(word, gap)| format!("{word}{gap}")).collect())
}

prop_compose! {
    fn event()(
        number in 0_u32..12, name in text(), description in text(), venue in text(),
        city in prop::sample::select(CITIES), category in prop::sample::select(CATEGORIES),
        starts_at_ms in 0_u64..6,
    ) -> EventDocument {
        EventDocument {
            description, venue, city: city.to_owned(), category: category.to_owned(),
            ..document(&format!("evt_{number}"), &name, starts_at_ms)
        }
    }
}

fn query() -> impl Strategy<Value = String> {
    let part = (prop::sample::select(WORDS), 1_usize..5, any::<bool>()).prop_map(|part| {
        let (word, letters, upper) = part;
        let word: String = word.chars().take(letters).collect();
        if upper { word.to_uppercase() } else { word }
    });
    prop_oneof![
        2 => Just(String::new()),
        4 => prop::collection::vec(part, 1..3).prop_map(|parts| parts.join(" ")),
        1 => "[!-/:-@{-~ \\x00-\\x1f]{0,8}[a-z]{0,2}[\"*()]{0,3}",
    ]
}

prop_compose! {
    fn list()(
        query in query(),
        city in prop_oneof![3 => Just(""), 2 => prop::sample::select(CITIES)],
        category in prop_oneof![3 => Just(""), 2 => prop::sample::select(CATEGORIES)],
        from_ms in 0_u64..4, to_ms in prop_oneof![Just(0_u64), 2..7_u64],
        page_size in prop_oneof![0_u32..5, Just(100)],
    ) -> ListEventsRequest {
        ListEventsRequest {
            query, city: city.to_owned(), category: category.to_owned(),
            from_ms, to_ms, page_size, page_token: String::new(),
        }
    }
}

/// Lower case, the accents of the words above taken off.
fn plain(text: &str) -> String {
    text.to_lowercase().replace(['é', 'É'], "e").replace('ü', "u").replace('ö', "o")
}

fn words(text: &str) -> Vec<String> {
    let split = text.split(|letter: char| !letter.is_alphanumeric());
    split.filter(|word| !word.is_empty()).map(plain).collect()
}

fn matches(event: &EventDocument, request: &ListEventsRequest) -> bool {
    let texts = [&event.name, &event.description, &event.venue, &event.city, &event.category];
    let known: Vec<String> = texts.iter().flat_map(|text| words(text)).collect();
    let wanted = words(&request.query);
    let found = wanted.iter().all(|word| known.iter().any(|other| other.starts_with(word)));
    let facet = |value: &str, filter: &str| {
        filter.trim().is_empty() || value.trim().to_lowercase() == filter.trim().to_lowercase()
    };
    (request.query.trim().is_empty() || !wanted.is_empty())
        && found
        && facet(&event.city, &request.city)
        && facet(&event.category, &request.category)
        && event.starts_at_ms >= request.from_ms
        && (request.to_ms == 0 || event.starts_at_ms < request.to_ms)
}

async fn compare(batches: Vec<Vec<EventDocument>>, requests: Vec<ListEventsRequest>) {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    let mut model: BTreeMap<String, EventDocument> = BTreeMap::new();
    for batch in batches {
        let mut index = 1;
        for event in batch {
            model.insert(event.event_id.clone(), event.clone());
            index = feed.publish(event);
        }
        assert!(catalog.handle.reached(index).await);
        for request in &requests {
            let mut expected: Vec<&EventDocument> =
                model.values().filter(|event| matches(event, request)).collect();
            expected.sort_by_key(|event| (event.starts_at_ms, event.event_id.clone()));
            let got = catalog.all(request.clone()).await;
            let expected_ids: Vec<&String> = expected.iter().map(|event| &event.event_id).collect();
            assert_eq!(ids(&got).iter().collect::<Vec<_>>(), expected_ids, "{request:?}");
            for (got, expected) in got.iter().zip(expected) {
                assert_eq!(got.name, expected.name);
                assert_eq!(got.city, expected.city);
            }
        }
        for (event_id, expected) in &model {
            let whole = catalog.get(event_id).await.expect("there");
            let revision = whole.revision;
            assert_eq!(whole, EventDocument { revision, ..expected.clone() });
        }
    }
    catalog.stop().await;
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn lists_and_searches_agree_with_a_linear_model(
        batches in prop::collection::vec(prop::collection::vec(event(), 0..8), 1..4),
        requests in prop::collection::vec(list(), 1..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("runtime").block_on(compare(batches, requests));
    }
}
