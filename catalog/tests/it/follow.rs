//! Following the feed: first snapshot, changes, reset, restart, an unreadable folder.

use std::{fs, path::Path};

use onsale_catalog::{Config, Error, Service};
use onsale_proto::{Code, allocator::StoredDocument, catalog::ListEventsRequest};

use crate::{
    feed::Feed,
    harness::{Catalog, document, ids},
};

#[tokio::test]
async fn documents_are_listed_without_and_read_with_their_seat_map() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    feed.publish(document("evt_a", "First night", 2_000));
    let catalog = Catalog::start(folder.path(), &feed).await;
    assert!(catalog.handle.ready().await);
    let index = feed.publish(document("evt_b", "Second night", 1_000));
    assert!(catalog.handle.reached(index).await);

    let listed = catalog.all(ListEventsRequest::default()).await;
    assert_eq!(ids(&listed), ["evt_b", "evt_a"], "soonest first");
    assert!(listed.iter().all(|event| event.sections.is_empty() && !event.categories.is_empty()));
    let whole = catalog.get("evt_a").await.expect("there");
    assert_eq!(whole.sections[0].rows.len(), 25);
    assert_eq!((whole.revision, whole.shard), (1, 2));
    let missing = catalog.get("evt_c").await.expect_err("not there");
    assert_eq!(Code::from_status(&missing), Code::NotFound);
    assert_eq!((catalog.handle.documents(), catalog.handle.position()), (2, index));
    catalog.stop().await;
}

#[tokio::test]
async fn a_new_revision_replaces_the_old_one_and_an_old_one_nothing() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    feed.publish(document("evt_a", "Working title", 1_000));
    let mut moved = document("evt_a", "Final title", 9_000);
    moved.city = "Hamburg".to_owned();
    let index = feed.publish(moved);
    assert!(catalog.handle.reached(index).await);
    assert_eq!(catalog.find("working").await, Vec::<String>::new());
    assert_eq!(catalog.find("final").await, ["evt_a"]);

    let stale = StoredDocument { event_id: "evt_a".into(), revision: 1, ..Default::default() };
    let index = feed.send(stale);
    assert!(catalog.handle.reached(index).await);
    assert_eq!(catalog.get("evt_a").await.expect("there").name, "Final title");
    catalog.stop().await;
}

#[tokio::test]
async fn a_lost_place_in_the_feed_is_made_up_by_a_snapshot() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    let index = feed.publish(document("evt_a", "Before", 1_000));
    assert!(catalog.handle.reached(index).await);
    feed.publish(document("evt_b", "Unseen, perhaps", 2_000));
    let index = feed.purge_with(document("evt_a", "After", 1_000));
    assert!(catalog.handle.reached(index).await);
    let listed = catalog.all(ListEventsRequest::default()).await;
    assert_eq!(ids(&listed), ["evt_a", "evt_b"]);
    assert_eq!(listed[0].name, "After");
    catalog.stop().await;
}

#[tokio::test]
async fn documents_that_cannot_be_kept_are_left_out_and_nothing_else() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    let broken = |event_id: String, size: usize| StoredDocument {
        event_id,
        revision: 1,
        document: vec![0xff; size].into(),
    };
    feed.send(broken("evt_bits".to_owned(), 10));
    feed.send(broken("evt_huge".to_owned(), onsale_catalog::limits::DOCUMENT_BYTES_MAX + 1));
    feed.send(broken("e".repeat(100_000), 0));
    feed.send(broken(String::new(), 0));
    let index = feed.publish(document("evt_a", "Fine", 1_000));
    assert!(catalog.handle.reached(index).await);
    let listed = catalog.all(ListEventsRequest::default()).await;
    assert_eq!(ids(&listed), ["evt_a"]);
    assert!(catalog.get("evt_bits").await.is_err());
    catalog.stop().await;
}

#[tokio::test]
async fn it_is_not_ready_before_the_first_snapshot_even_with_documents_of_before() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    let index = feed.publish(document("evt_a", "Kept", 1_000));
    assert!(catalog.handle.reached(index).await);
    assert!(catalog.handle.is_ready());
    catalog.stop().await;

    feed.stop();
    let catalog = Catalog::start(folder.path(), &feed).await;
    assert_eq!(catalog.find("kept").await, ["evt_a"], "what was stored is answered");
    assert!(!catalog.handle.is_ready(), "but it is not called ready");
    let ready = catalog.handle.clone();
    catalog.stop().await;
    assert!(!ready.ready().await, "and those who wait are told that it ended");
}

#[tokio::test]
async fn a_restart_keeps_documents_and_the_snapshot_removes_what_is_gone() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    feed.publish(document("evt_a", "Kept", 1_000));
    let index = feed.publish(document("evt_b", "Gone", 2_000));
    assert!(catalog.handle.reached(index).await);
    catalog.stop().await;
    feed.forget("evt_b");

    let catalog = Catalog::start(folder.path(), &feed).await;
    assert!(catalog.handle.ready().await);
    assert_eq!(ids(&catalog.all(ListEventsRequest::default()).await), ["evt_a"]);
    assert!(catalog.get("evt_b").await.is_err());
    catalog.stop().await;
}

#[tokio::test]
async fn another_clusters_documents_do_not_outlive_the_first_snapshot() {
    let folder = tempfile::tempdir().expect("folder");
    let old = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &old).await;
    for revision in 0..5 {
        old.publish(document("evt_a", &format!("Old {revision}"), 1_000));
    }
    let index = old.publish(document("evt_b", "Old", 1_000));
    assert!(catalog.handle.reached(index).await);
    catalog.stop().await;

    let new = Feed::start().await;
    let index = new.publish(document("evt_a", "New", 1_000));
    let catalog = Catalog::start(folder.path(), &new).await;
    assert!(catalog.handle.ready().await);
    let listed = catalog.all(ListEventsRequest::default()).await;
    assert_eq!((ids(&listed), listed[0].name.as_str()), (vec!["evt_a".to_owned()], "New"));
    assert_eq!(catalog.handle.position(), index, "the new cluster's position counts");
    catalog.stop().await;
}

fn overwrite(path: &Path, with: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("the store's file");
    with(&mut bytes);
    fs::write(path, bytes).expect("written");
}

fn moved_aside(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).expect("folder");
    let mut names = entries.map(|entry| entry.expect("entry").file_name());
    names.any(|name| name.to_string_lossy().starts_with("documents.broken-"))
}

/// Damages the store between two runs; true if the folder was moved aside then.
async fn filled_again_after(damage: impl Fn(&Path)) -> bool {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let catalog = Catalog::start(folder.path(), &feed).await;
    for number in 0..20 {
        let event_id = format!("evt_{number:02}");
        let index = feed.publish(document(&event_id, "Kept", 1_000 + number));
        assert!(catalog.handle.reached(index).await);
    }
    catalog.stop().await;
    damage(&folder.path().join("documents"));

    for _ in 0..2 {
        let catalog = Catalog::start(folder.path(), &feed).await;
        assert!(catalog.handle.ready().await);
        assert_eq!(catalog.find("kept").await.len(), 20);
        let whole = catalog.get("evt_19").await.expect("there");
        assert_eq!(whole.sections[0].rows.len(), 25);
        catalog.stop().await;
    }
    moved_aside(folder.path())
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_moved_aside_and_filled_again() {
    let settings = |folder: &Path| overwrite(&folder.join("conf"), |bytes| bytes.fill(0x5a));
    assert!(filled_again_after(settings).await);
    assert!(!filled_again_after(|_| {}).await, "a good one stays");
}

#[tokio::test]
async fn a_damaged_store_is_filled_again_whatever_sled_makes_of_it() {
    let pages = |folder: &Path, with: fn(&mut Vec<u8>)| {
        overwrite(&folder.join("db"), with);
        for entry in fs::read_dir(folder).expect("folder") {
            let path = entry.expect("entry").path();
            if path.to_string_lossy().contains("snap.") {
                overwrite(&path, |bytes| bytes.truncate(bytes.len() / 2));
            }
        }
    };
    filled_again_after(|folder| pages(folder, |bytes| bytes.fill(0x5a))).await;
    filled_again_after(|folder| pages(folder, |bytes| bytes.truncate(100))).await;
    filled_again_after(|folder| {
        pages(folder, |bytes| bytes.iter_mut().step_by(64).for_each(|byte| *byte ^= 0x10));
    })
    .await;
    filled_again_after(|folder| overwrite(&folder.join("db"), |bytes| bytes.clear())).await;
    filled_again_after(|folder| {
        overwrite(&folder.join("db"), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..].iter_mut().for_each(|byte| *byte = !*byte);
        });
    })
    .await;
}

#[tokio::test]
async fn wrong_settings_and_a_folder_in_use_are_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let feed = Feed::start().await;
    let wrong = Config { data_dir: "".into(), cache_bytes: 1 };
    let refused = Service::open(wrong, feed.client()).err();
    assert!(matches!(refused, Some(Error::Config(sentences)) if sentences.len() == 2));
    let config = Config { data_dir: folder.path().to_owned(), ..Config::default() };
    let first = Service::open(config.clone(), feed.client()).expect("opens");
    let refused = Service::open(config, feed.client()).err();
    assert!(matches!(refused, Some(Error::Locked(_))));
    drop(first);
}
