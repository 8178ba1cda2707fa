//! Bytes: foreign ones are an error, never a panic; our own are read as they were written.

use onsale_state::*;
use proptest::prelude::*;

use crate::{
    channels,
    history::{self, EntryDraft, Writer},
    kit::{Desk, authorised, best, checkout, hold_items, hold_seats, lease, settle},
    naive::Naive,
};

fn config() -> ProptestConfig {
    ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() }
}

fn encoded(entry: &EntryDraft) -> Vec<u8> {
    let mut model = Naive::new(1, 1, Limits::default());
    model.apply(&Writer::openings());
    let mut bytes = Vec::new();
    Writer::default().batch(entry, &model).encode(&mut bytes);
    bytes
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Batch::decode(&bytes);
        let _ = Shard::decode_snapshot(&bytes);
        let mut versioned = vec![1];
        versioned.extend(bytes);
        let _ = Batch::decode(&versioned);
        let _ = Shard::decode_snapshot(&versioned);
    }

    #[test]
    fn truncated_batches_are_errors(history in history::histories(2), at in any::<u16>()) {
        let bytes = encoded(&history[0]);
        prop_assert!(Batch::decode(&bytes).is_ok());
        let cut = usize::from(at) % bytes.len();
        prop_assert!(Batch::decode(&bytes[..cut]).is_err());
    }

    #[test]
    fn a_mutated_batch_is_an_error_or_another_batch(
        history in history::histories(2),
        at in any::<u16>(),
        flip in 1u8..,
    ) {
        let mut bytes = encoded(&history[0]);
        let at = usize::from(at) % bytes.len();
        bytes[at] ^= flip;
        if let Ok(batch) = Batch::decode(&bytes) {
            let mut again = Vec::new();
            batch.encode(&mut again);
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn a_mutated_snapshot_never_panics(at in any::<u32>(), flip in 1u8.., cut in any::<bool>()) {
        let mut bytes = busy_snapshot();
        let at = at as usize % bytes.len();
        bytes[at] ^= flip;
        if cut {
            bytes.truncate(at + 1);
        }
        if let Ok(shard) = Shard::decode_snapshot(&bytes) {
            prop_assert_eq!(shard.check_invariants(), []);
        }
    }
}

fn busy_snapshot() -> Vec<u8> {
    let mut desk = Desk::open();
    desk.ok(1000, hold_seats(1, &[0, 1]));
    desk.ok(1000, hold_items(1, 2, &[best(2)]));
    desk.ok(1000, hold_items(2, 3, &[best(4)]));
    desk.ok(1000, checkout(1, 1));
    desk.ok(1000, checkout(2, 2));
    desk.ok(1000, lease(5));
    desk.ok(1000, settle(1, 5, authorised()));
    channels::some(&mut desk);
    let mut bytes = Vec::new();
    desk.shard.encode_snapshot(&mut bytes);
    bytes
}

#[test]
fn a_snapshot_of_another_version_is_refused() {
    let mut bytes = busy_snapshot();
    bytes[0] = 200;
    assert_eq!(Shard::decode_snapshot(&bytes).err(), Some(DecodeError::Version(200)));
    assert_eq!(Batch::decode(&[200]).err(), Some(DecodeError::Version(200)));
}

#[test]
fn bytes_after_the_end_are_refused() {
    let mut bytes = busy_snapshot();
    bytes.push(0);
    assert_eq!(Shard::decode_snapshot(&bytes).err(), Some(DecodeError::TrailingBytes));
}

#[test]
fn a_count_that_the_bytes_cannot_hold_is_refused_before_anything_is_allocated() {
    let bytes = [1, 0, 0xff, 0x03];
    assert_eq!(Batch::decode(&bytes).err(), Some(DecodeError::Truncated));
    let bytes = [1, 0, 0xff, 0xff, 0xff, 0xff, 0x0f];
    let refused = Batch::decode(&bytes).err();
    assert_eq!(refused, Some(DecodeError::TooLarge { what: "commands" }));
}

#[test]
fn the_chain_does_not_see_contact_data() {
    let chains = ["Ada", "Grace"].map(|name| {
        let mut desk = Desk::open();
        desk.ok(1000, hold_seats(1, &[0]));
        let CommandKind::BeginCheckout(mut command) = checkout(1, 1) else { unreachable!() };
        command.contact.name = name.into();
        desk.ok(1000, CommandKind::BeginCheckout(command));
        assert_eq!(&*desk.shard.contact(crate::kit::order_id(1)).unwrap().name, name);
        desk.shard.chain()
    });
    assert_eq!(chains[0], chains[1]);
}
