//! Random histories: the shard, a twin that came from its snapshot, and the naive model decide the
//! same, and are the same after every entry.

use std::collections::BTreeSet;

use onsale_state::*;
use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use crate::{
    compare::{self, Follower},
    history::{self, EntryDraft, Writer},
    naive::Naive,
};

struct Run {
    shard: Shard,
    twin: Shard,
    model: Naive,
    follower: Follower,
    index: u64,
    /// A copy under way, and the snapshot of the moment at which it was begun.
    copy: Option<(SnapshotCopy, Vec<u8>)>,
    /// What ever came out.
    seen: BTreeSet<String>,
}

fn snapshot(shard: &Shard) -> Vec<u8> {
    let mut bytes = Vec::new();
    shard.encode_snapshot(&mut bytes);
    bytes
}

impl Run {
    fn new(shard: u16, limits: Limits) -> Self {
        Self {
            shard: Shard::new(shard, 3, limits),
            twin: Shard::new(shard, 3, limits),
            model: Naive::new(shard, 3, limits),
            follower: Follower::default(),
            index: 0,
            copy: None,
            seen: BTreeSet::new(),
        }
    }

    fn apply(&mut self, batch: &Batch) {
        let mut bytes = Vec::new();
        batch.encode(&mut bytes);
        assert_eq!(Batch::decode(&bytes).as_ref(), Ok(batch));
        // Indexes have gaps where the log holds something else.
        self.index += 1 + u64::from(batch.commands.len() as u32 % 2);
        self.copy_some();
        let leasable = self.leasable();
        let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
        self.shard.apply(self.index, batch, &mut outcomes, &mut changes);
        let (mut twins, mut twin_changes) = (Vec::new(), Vec::new());
        self.twin.apply(self.index, batch, &mut twins, &mut twin_changes);
        assert_eq!((&outcomes, &changes), (&twins, &twin_changes));
        assert_eq!(self.shard.chain(), self.twin.chain());
        let answers = self.model.apply(batch);
        compare::outcomes(batch, &outcomes, &answers);
        self.follower.follow(&changes, &self.shard);
        for outcome in &outcomes {
            self.seen.insert(match &outcome.result {
                Ok(done) if outcome.replayed => {
                    format!("replayed {}", name_of(format!("{done:?}")))
                }
                Ok(done) => name_of(format!("{done:?}")),
                Err(rejection) => name_of(format!("{rejection:?}")),
            });
        }
        for id in self.shard.order_ids() {
            let order = self.shard.order(id).expect("order");
            self.seen.insert(format!("{:?}", order.status));
            self.seen.extend(order.failure.map(|failure| format!("{:?}", failure.code)));
        }
        self.note_channels();
        compare::states(&self.shard, &self.model, &self.follower);
        if self.leasable().iter().any(|job| !leasable.contains(job)) {
            assert!(changes.contains(&Change::JobDue), "nobody tells of a due job");
        }
    }

    /// What came of channels.
    fn note_channels(&mut self) {
        for (&no, event) in &self.model.events {
            for channel in &event.channels {
                let through = self.model.through(no, channel.number);
                let foreign = |place: &Place| match place.seat {
                    Some(seat) => !channel.seats.contains(&seat),
                    None => !channel.areas.contains_key(&place.section),
                };
                let released = channel.release_at.is_some_and(|at| at <= self.model.now);
                let seats = through.iter().any(|place| place.seat.is_some());
                let areas = through.iter().any(|place| place.seat.is_none());
                let own = !through.iter().all(foreign);
                let both = channel.general_too && own && through.iter().any(foreign);
                let full = channel.areas.keys().any(|&section| {
                    let (dealt, rest) = self.model.dealt_area(no, section);
                    dealt[&channel.number] == 0 && rest == 0
                });
                let noted = [
                    (seats && own, "seats of a channel"),
                    (areas && own, "places of a channel"),
                    (both, "a channel's and everybody's"),
                    (released && !through.is_empty(), "held at the release"),
                    (full && !channel.areas.is_empty(), "less than was set aside"),
                ];
                let noted = noted.into_iter().filter(|(is_so, _)| *is_so);
                self.seen.extend(noted.map(|(_, what)| what.to_owned()));
            }
        }
    }

    /// Goes on copying the state of an earlier moment, a few records at a time.
    fn copy_some(&mut self) {
        let Some((mut copy, expected)) = self.copy.take() else {
            let expected = snapshot(&self.shard);
            self.copy = Some((self.shard.begin_copy(), expected));
            return;
        };
        if self.shard.copy_some(&mut copy, (self.index % 3) as usize) {
            self.copy = Some((copy, expected));
            return;
        }
        let mut copied = Vec::new();
        let _ = copy.write(|bytes| {
            copied.extend_from_slice(bytes);
            Ok::<_, ()>(())
        });
        assert_eq!(copied, expected, "what came later is in the copy, or something is missing");
        self.seen.insert("a copy".to_owned());
    }

    fn leasable(&self) -> Vec<u64> {
        let due = self.model.jobs.iter().filter(|(_, job)| job.due_at() <= self.model.now);
        due.map(|(&id, _)| id).collect()
    }

    /// The twin becomes what a replica would be that starts from the shard's snapshot.
    fn restart_twin(&mut self) {
        let bytes = snapshot(&self.shard);
        assert_eq!(snapshot(&self.twin), bytes, "equal states have equal bytes");
        self.twin = Shard::decode_snapshot(&bytes).expect("its own snapshot");
        assert_eq!(snapshot(&self.twin), bytes, "reading and writing changes nothing");
    }
}

fn small() -> Limits {
    Limits { dedup_entries_max: 18, holds_max: 6, orders_max: 5, ..Limits::default() }
}

fn play(limits: Limits, history: &[EntryDraft]) -> BTreeSet<String> {
    let mut run = Run::new(1, limits);
    let mut writer = Writer::default();
    run.apply(&Writer::openings());
    for (at, entry) in history.iter().enumerate() {
        let batch = writer.batch(entry, &run.model);
        run.apply(&batch);
        if at % 5 == 4 {
            run.restart_twin();
        }
    }
    run.restart_twin();
    run.seen
}

#[test]
fn random_histories_reach_every_outcome_and_every_state() {
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    for nth in 0..600 {
        let history = history::histories(60).new_tree(&mut runner).expect("a history").current();
        let limits = if nth % 4 == 0 { small() } else { Limits::default() };
        seen.extend(play(limits, &history));
    }
    let expected = [
        "AllotmentUnavailable",
        "BuyerLimitReached",
        "CapacityBelowTaken",
        "CaptureRefused",
        "ChannelForbidden",
        "CheckoutBegun",
        "CodeInvalid",
        "CodeUsedUp",
        "CodesPut",
        "CompanionWithoutAccessible",
        "Confirmed",
        "ExtensionLimitReached",
        "Extended",
        "Held",
        "HoldExpired",
        "HoardingLimitReached",
        "HoldInCheckout",
        "IdempotencyKeyReused",
        "Invalid",
        "Killed",
        "Leased",
        "NotEnoughTogether",
        "NotFound",
        "NotOnSale",
        "OrderUnconfirmed",
        "OrphanSeats",
        "Overloaded",
        "PaymentDeclined",
        "PaymentTimeout",
        "PriceDiffers",
        "QuotaBelowTaken",
        "QuotaExhausted",
        "Renamed",
        "Returned",
        "SeatUnavailable",
        "SeatsNotKilled",
        "SeatsSold",
        "Settled",
        "Sold",
        "SoldOut",
        "StaleLease",
        "StaleRevision",
        "Swapped",
        "TooLate",
        "replayed CheckoutBegun",
        "replayed Extended",
        "replayed Held",
        "replayed Killed",
        "replayed Leased",
        "replayed Ok",
        "replayed Settled",
        "a channel's and everybody's",
        "a copy",
        "held at the release",
        "less than was set aside",
        "places of a channel",
        "seats of a channel",
    ];
    let missing: Vec<_> = expected.iter().filter(|name| !seen.contains(**name)).collect();
    assert!(missing.is_empty(), "never reached: {missing:?}");
}

/// The name of what came out, without its content.
fn name_of(debug: String) -> String {
    debug.split([' ', '(', '{']).next().unwrap_or_default().to_owned()
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn random_histories_are_decided_as_the_naive_model_decides(history in history::histories(60)) {
        play(Limits::default(), &history);
    }

    #[test]
    fn full_tables_refuse_as_the_naive_model_refuses(history in history::histories(50)) {
        play(small(), &history);
    }

    #[test]
    fn the_control_group_decides_as_the_naive_model_decides(
        entries in proptest::collection::vec((any::<[u16; 4]>(), 0u64..3), 1..60),
    ) {
        let limits = Limits { events_max: 3, dedup_entries_max: 8, ..Limits::default() };
        let mut run = Run::new(0, limits);
        for (numbers, hours) in entries {
            let log_time_ms = run.model.now + hours * 3_600_000 * 5;
            let kind = history::control_command(numbers, &run.model);
            let commands = vec![Command { not_after_ms: u64::MAX, kind }];
            run.apply(&Batch { log_time_ms, commands });
            run.restart_twin();
        }
    }
}
