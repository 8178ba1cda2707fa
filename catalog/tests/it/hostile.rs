//! Requests nobody should send: each gets an answer or a refusal with its code.

use onsale_proto::{Code, catalog::ListEventsRequest};

use crate::{
    feed::Feed,
    harness::{Catalog, document},
};

async fn started(folder: &std::path::Path) -> (Feed, Catalog) {
    let feed = Feed::start().await;
    let mut arena = document("evt_arena", "Über Nacht: Rock’n’Roll (live)", 1_000);
    arena.city = "Zürich".to_owned();
    feed.publish(arena);
    let mut long = document("evt_long", "x", 2_000);
    long.description = "word ".repeat(100_000) + &"y".repeat(100_000);
    long.city = "c".repeat(70_000);
    let index = feed.publish(long);
    let catalog = Catalog::start(folder, &feed).await;
    assert!(catalog.handle.reached(index).await);
    (feed, catalog)
}

#[tokio::test]
async fn partial_words_find_their_event_in_any_spelling() {
    let folder = tempfile::tempdir().expect("folder");
    let (_feed, catalog) = started(folder.path()).await;
    for query in ["aren", "ARENA", "uber", "ÜBER", "zuri", "roll rock", "conc zur", "ost  ar "] {
        assert!(catalog.find(query).await.contains(&"evt_arena".to_owned()), "{query}");
    }
    assert_eq!(catalog.find("zur").await, ["evt_arena"]);
    for query in ["rena", "arenas", "rock jazz"] {
        assert_eq!(catalog.find(query).await, Vec::<String>::new(), "{query}");
    }
    catalog.stop().await;
}

#[tokio::test]
async fn no_query_text_is_an_error() {
    let folder = tempfile::tempdir().expect("folder");
    let (_feed, catalog) = started(folder.path()).await;
    let long = "arena ".repeat(20_000);
    let deep = "(".repeat(5_000);
    let word = "a".repeat(100_000);
    let queries = [
        "\"",
        "(",
        ")",
        "AND",
        "OR NOT",
        "name:",
        "name:[a TO",
        "starts_at:*",
        "+",
        "-",
        "!",
        "^2",
        "~",
        "*",
        "?",
        "\\",
        "a:b:c",
        "{",
        "}",
        "\0",
        "\u{feff}",
        "💥",
        "日本",
        "' OR 1=1 --",
        "%00",
        "\u{202e}abc",
        "ﬀ",
        "\r\n",
        "a\u{301}",
        "<script>",
        &long,
        &deep,
        &word,
    ];
    for query in queries {
        let request = ListEventsRequest { query: query.to_owned(), ..Default::default() };
        let answer = catalog.page(request).await;
        assert!(answer.is_ok(), "{:?}: {answer:?}", &query[..query.len().min(20)]);
    }
    assert_eq!(catalog.find(&long).await.len(), 2, "only a bounded part is looked at");
    assert_eq!(catalog.find("* ?").await, Vec::<String>::new(), "no word, nothing found");
    assert_eq!(catalog.find(&"y".repeat(90_000)).await, ["evt_long"]);
    catalog.stop().await;
}

#[tokio::test]
async fn bad_pages_are_invalid_requests() {
    let folder = tempfile::tempdir().expect("folder");
    let (_feed, catalog) = started(folder.path()).await;
    let first = ListEventsRequest { page_size: 1, ..Default::default() };
    let (events, token) = catalog.page(first.clone()).await.expect("a page");
    assert_eq!(events.len(), 1);
    assert!(!token.is_empty());
    let tampered = format!("{}0", &token[..token.len() - 1]);
    let long = "0".repeat(1 << 20);
    for token in ["x", "00", "zz", &tampered, &token[2..], &token.to_uppercase(), &long] {
        let request = ListEventsRequest { page_token: token.to_owned(), ..first.clone() };
        let refused = catalog.page(request).await.expect_err("refused");
        assert_eq!(Code::from_status(&refused), Code::InvalidRequest);
    }
    let other_filters =
        ListEventsRequest { page_token: token.clone(), city: "Berlin".to_owned(), ..first.clone() };
    let refused = catalog.page(other_filters).await.expect_err("refused");
    assert_eq!(Code::from_status(&refused), Code::InvalidRequest);
    assert!(refused.message().contains("page_token"), "{}", refused.message());
    let too_many = ListEventsRequest { page_size: 101, ..Default::default() };
    let refused = catalog.page(too_many).await.expect_err("refused");
    assert_eq!(Code::from_status(&refused), Code::InvalidRequest);
    // Another page size with the same token is fine: it is no filter.
    let bigger = ListEventsRequest { page_token: token, page_size: 100, ..first };
    assert_eq!(catalog.page(bigger).await.expect("a page").0.len(), 1);
    catalog.stop().await;
}

#[tokio::test]
async fn odd_filters_match_nothing_and_odd_ids_are_not_found() {
    let folder = tempfile::tempdir().expect("folder");
    let (_feed, catalog) = started(folder.path()).await;
    let count = async |request: ListEventsRequest| catalog.all(request).await.len();
    let city = |city: &str| ListEventsRequest { city: city.to_owned(), ..Default::default() };
    assert_eq!(count(city(" zÜRICH ")).await, 1);
    assert_eq!(count(city("Zuric")).await, 0, "facets are exact");
    assert_eq!(count(city(&"c".repeat(70_000))).await, 1);
    let times = |from_ms, to_ms| ListEventsRequest { from_ms, to_ms, ..Default::default() };
    assert_eq!(count(times(1_000, 2_000)).await, 1, "from is included, to is not");
    assert_eq!(count(times(3_000, 2_000)).await, 0);
    assert_eq!(count(times(u64::MAX, u64::MAX)).await, 0);
    for event_id in ["", "evt_", "mversion", "\0", &"e".repeat(1 << 20)] {
        let refused = catalog.get(event_id).await.expect_err("refused");
        assert_eq!(Code::from_status(&refused), Code::NotFound);
    }
    catalog.stop().await;
}

#[tokio::test]
async fn a_page_of_large_documents_ends_early_and_goes_on() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    let mut index = 0;
    for number in 0..10 {
        let mut large = document(&format!("evt_{number}"), "Large", 1_000);
        large.description = "d".repeat(600_000);
        index = feed.publish(large);
    }
    assert!(catalog.handle.reached(index).await);
    let (events, next) = catalog.page(ListEventsRequest::default()).await.expect("a page");
    assert!((1..10).contains(&events.len()) && !next.is_empty());
    assert_eq!(catalog.all(ListEventsRequest::default()).await.len(), 10);
    catalog.stop().await;
}
