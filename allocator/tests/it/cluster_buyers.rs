//! Many buyers on few seats, over the wire, with repeats, releases and best-available mixed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use onsale_mesh::{Failure, ShardClient};
use onsale_proto::{Code, allocator as pb};
use onsale_state::SeatState;
use parking_lot::Mutex;

use crate::cluster_support::{Cluster, eventually, held, hold, patient, release, run};

const BUYERS: u64 = 300;
const SEATS: u32 = 120;

/// What the buyers were told: hold → its seats, as long as it was not released.
#[derive(Default)]
struct Books {
    holds: BTreeMap<Bytes, Vec<u32>>,
    refusals: BTreeMap<&'static str, u64>,
}

/// A small generator, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

async fn buyer(client: ShardClient, no: u64, books: Arc<Mutex<Books>>) {
    let mut dice = Dice(no * 977 + 5);
    for round in 0..4 {
        let key = no * 100 + round;
        let seat = dice.below(u64::from(SEATS) - 1) as u32;
        let command = match dice.below(3) {
            0 => hold(1, 1, key, &[], 1 + dice.below(4) as u32),
            1 => hold(1, 1, key, &[seat], 0),
            _ => hold(1, 1, key, &[seat, seat + 1], 0),
        };
        let wanted = wanted(&command);
        let outcome = client.submit(1, command.clone(), patient()).await;
        if dice.below(3) == 0 {
            let again = client.submit(1, command, patient()).await;
            check_repeat(&outcome, again, &books);
            if outcome.is_err() {
                continue;
            }
        }
        let held = match outcome {
            Ok(outcome) => held(outcome),
            Err(failure) => {
                check_refusal(&failure, &wanted);
                *books.lock().refusals.entry(failure.code.as_str()).or_default() += 1;
                continue;
            }
        };
        take(&books, &held);
        if dice.below(2) == 0 {
            // Out of the books first: from the release on somebody else may have the seats.
            books.lock().holds.remove(&held.hold_id);
            client.submit(1, release(&held.hold_id), patient()).await.expect("released");
            client.submit(1, release(&held.hold_id), patient()).await.ok();
        }
    }
}

fn wanted(command: &pb::Command) -> Vec<u32> {
    let Some(pb::command::Kind::Hold(hold)) = &command.kind else { panic!("a hold") };
    hold.items[0].seats.clone()
}

fn seats(held: &pb::Held) -> Vec<u32> {
    held.places.iter().map(|place| place.seat.expect("numbered")).collect()
}

fn take(books: &Mutex<Books>, held: &pb::Held) {
    books.lock().holds.insert(held.hold_id.clone(), seats(held));
}

/// A repeat under the same key is the same hold; after a refusal it may be one now.
fn check_repeat(
    first: &Result<pb::Outcome, Failure>,
    again: Result<pb::Outcome, Failure>,
    books: &Mutex<Books>,
) {
    match (first, again) {
        (Ok(first), Ok(again)) => {
            assert!(again.replayed);
            assert_eq!(first.result, again.result, "one key, one outcome");
        }
        (Ok(_), Err(failure)) => panic!("acknowledged, then {failure}"),
        (Err(_), Ok(again)) => take(books, &held(again)),
        (Err(_), Err(_)) => {}
    }
}

fn check_refusal(failure: &Failure, wanted: &[u32]) {
    match failure.code {
        Code::SeatUnavailable => {
            assert!(!failure.seats.is_empty(), "a refusal names the seats");
            assert!(failure.seats.iter().all(|seat| wanted.contains(seat)), "and only those");
        }
        Code::SoldOut | Code::NotEnoughTogether => assert!(wanted.is_empty()),
        _ => panic!("{failure}"),
    }
}

#[test]
fn three_hundred_buyers_on_a_hundred_and_twenty_seats_never_share_one() {
    let cluster = Cluster::formed(3, 1);
    let books = Arc::new(Mutex::new(Books::default()));
    run(async {
        cluster.open_onsale(1, 1, 3, 4).await;
        let clients: Vec<ShardClient> = (0..4).map(|_| cluster.client()).collect();
        let buyers: Vec<_> = (0..BUYERS)
            .map(|no| {
                let client = clients[(no % 4) as usize].clone();
                tokio::spawn(buyer(client, no, books.clone()))
            })
            .collect();
        for buyer in buyers {
            tokio::time::timeout(Duration::from_secs(120), buyer)
                .await
                .expect("in time")
                .expect("a buyer was told an untruth");
        }
    });
    cluster.wait_equal(1);
    let books = books.lock();
    let taken: Vec<u32> = books.holds.values().flatten().copied().collect();
    let distinct: BTreeSet<u32> = taken.iter().copied().collect();
    assert_eq!(taken.len(), distinct.len(), "a seat is in two buyers' hands");
    assert!(!books.refusals.is_empty(), "there was a fight");
    for at in 0..3 {
        let group = cluster.handle(at).group(1).expect("the shard");
        group.read(|shard| assert_eq!(shard.check_invariants(), vec![]));
        let view = eventually("the event's view", || group.view(1));
        let held = (0..SEATS).filter(|seat| view.seat_state(*seat) == Some(SeatState::Held));
        assert_eq!(held.collect::<BTreeSet<_>>(), distinct, "node {}: who holds what", at + 1);
        let sections = view.availability();
        let free: u32 = sections.iter().map(|section| section.available).sum();
        assert_eq!(free as usize + distinct.len(), SEATS as usize, "counts add up");
    }
}
