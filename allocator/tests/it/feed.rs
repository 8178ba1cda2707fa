//! The change feed against a deliberately naive follower: snapshot and deltas give the state at
//! every index, and whoever cannot go on is told so.

use std::{collections::BTreeMap, time::Duration};

use onsale_allocator::{
    document,
    feed::{Hub, Snapshot, Subscription, event_availability},
    limits::FEED_FOLLOWERS_MAX,
};
use onsale_proto::{Code, allocator as pb, catalog};
use onsale_state::{
    Batch, Change, Command, CommandKind, HoldId, LogTimeMs, OrderId, Shard,
    command::{
        ExtendHold, Hold, HoldItem, Idempotency, PrepareEvent, PublishEvent, PutApiKey,
        PutSigningKey, ReleaseHold, SellOverTheCounter, Wish,
    },
};
use pb::{feed_change::Kind, follow_response::Content};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

use crate::cluster_support::onsale;

/// What a follower believes.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Belief {
    pub(crate) index: u64,
    events: BTreeMap<u32, pb::EventAvailability>,
    documents: BTreeMap<String, pb::StoredDocument>,
    api_keys: BTreeMap<Vec<u8>, pb::ApiKey>,
    signing_keys: BTreeMap<u32, pb::SigningKey>,
    pub(crate) resets: u32,
}

impl Belief {
    pub(crate) fn take_in(&mut self, message: &[u8]) {
        let message = pb::FollowResponse::decode(message).expect("decodes");
        match message.content.expect("content") {
            Content::Snapshot(snapshot) => {
                *self = Belief { resets: self.resets, ..Belief::default() };
                snapshot.events.into_iter().for_each(|it| self.change(Kind::Event(it)));
                snapshot.documents.into_iter().for_each(|it| self.change(Kind::Document(it)));
                snapshot.api_keys.into_iter().for_each(|it| self.change(Kind::ApiKey(it)));
                snapshot.signing_keys.into_iter().for_each(|it| self.change(Kind::SigningKey(it)));
            }
            Content::Changes(changes) => {
                let kinds = changes.changes.into_iter().map(|change| change.kind.expect("a kind"));
                kinds.for_each(|kind| self.change(kind));
            }
            Content::Reset(_) => self.resets += 1,
        }
        assert!(message.index == 0 || message.index >= self.index, "a position went back");
        self.index = message.index;
    }

    fn change(&mut self, kind: Kind) {
        match kind {
            Kind::Event(event) => {
                self.events.insert(event.event_no, event);
            }
            Kind::Seats(changed) => {
                let event = self.events.get_mut(&changed.event_no).expect("known");
                for seat in changed.seats {
                    set_seat(event, seat, changed.state);
                }
            }
            Kind::GeneralAdmission(changed) => {
                let event = self.events.get_mut(&changed.event_no).expect("known");
                let section = &mut event.sections[changed.section as usize];
                let capacity = section.available + section.held + section.sold + section.killed;
                (section.held, section.sold) = (changed.held, changed.sold);
                section.killed = changed.killed;
                section.available = capacity - changed.held - changed.sold - changed.killed;
            }
            Kind::Order(_) => {}
            Kind::Document(document) => {
                self.documents.insert(document.event_id.clone(), document);
            }
            Kind::ApiKey(key) => {
                self.api_keys.insert(key.key_hash.to_vec(), key);
            }
            Kind::SigningKey(key) => {
                self.signing_keys.insert(key.key_id, key);
            }
        }
    }

    /// What a follower should believe.
    pub(crate) fn of(shard: &Shard, index: u64) -> Belief {
        let snapshot = Snapshot::of(shard, index, usize::MAX);
        let mut belief = Belief::default();
        for event in shard.events() {
            belief.change(Kind::Event(event_availability(&event.view())));
        }
        let control = Snapshot::of(shard, index, usize::MAX);
        assert_eq!(snapshot, control, "a snapshot is a function of the state");
        if shard.shard() == 0 {
            belief.take_in(&snapshot.messages[0]);
        }
        Belief { index, ..belief }
    }
}

fn set_seat(event: &mut pb::EventAvailability, seat: u32, state: u32) {
    let mut at = seat as usize;
    for section in &mut event.sections {
        let seats = if section.seats.is_empty() {
            continue;
        } else {
            (section.available + section.held + section.sold + section.killed) as usize
        };
        if at >= seats {
            at -= seats;
            continue;
        }
        let mut bits = section.seats.to_vec();
        let shift = at % 4 * 2;
        let before = u32::from(bits[at / 4] >> shift & 3);
        bits[at / 4] = bits[at / 4] & !(3 << shift) | (state as u8) << shift;
        section.seats = bits.into();
        *count(section, before) -= 1;
        *count(section, state) += 1;
        return;
    }
    panic!("seat {seat} is in no section");
}

fn count(section: &mut pb::SectionAvailability, state: u32) -> &mut u32 {
    match state {
        0 => &mut section.available,
        1 => &mut section.held,
        2 => &mut section.sold,
        _ => &mut section.killed,
    }
}

/// A shard whose every entry goes into a hub.
pub(crate) struct Source {
    pub(crate) shard: Shard,
    pub(crate) hub: Hub,
    pub(crate) index: u64,
}

impl Source {
    pub(crate) fn new(shard: u16, hub: Hub) -> Source {
        Source { shard: Shard::new(shard, 2, onsale_state::Limits::default()), hub, index: 0 }
    }

    pub(crate) fn apply(&mut self, log_time_ms: LogTimeMs, kinds: Vec<CommandKind>) {
        let commands =
            kinds.into_iter().map(|kind| Command { not_after_ms: u64::MAX, kind }).collect();
        let (mut outcomes, mut changes): (Vec<_>, Vec<Change>) = (Vec::new(), Vec::new());
        self.index += 1;
        let batch = Batch { log_time_ms, commands };
        self.shard.apply(self.index, &batch, &mut outcomes, &mut changes);
        self.hub.publish(self.index, self.shard.log_time_ms(), &changes, &self.shard);
    }

    /// An entry of Raft's own.
    fn blank(&mut self) {
        self.index += 1;
        self.hub.publish(self.index, self.shard.log_time_ms(), &[], &self.shard);
    }

    fn follow(&self, from: u64) -> Subscription {
        self.hub.follow(from, || self.hub.snapshot(&self.shard)).expect("a place")
    }
}

async fn next(follower: &mut Subscription, belief: &mut Belief) {
    belief.take_in(&follower.next().await.expect("a message"));
}

/// Reads until the follower is exact at `index`.
async fn read_to(follower: &mut Subscription, belief: &mut Belief, index: u64) {
    while belief.index < index {
        next(follower, belief).await;
    }
}

fn key(no: u64) -> Idempotency {
    let key = u128::from(no) << 64 | u128::from(no);
    Idempotency { key, request: no, buyer: no % 7 + 1, buyer_is_new: false }
}

fn hold_id(no: u64) -> HoldId {
    HoldId(1 << 112 | u128::from(no))
}

/// A command of a selling shard, made of small numbers so that they meet.
pub(crate) fn selling(no: u64, kind: u8, a: u16, b: u16) -> CommandKind {
    let event = u32::from(a % 2) + 1;
    let seats = |seats: u16| (b % 20..b % 20 + seats % 3 + 1).map(u32::from).collect();
    match kind % 8 {
        0..=2 => CommandKind::Hold(Hold {
            event,
            hold: hold_id(no),
            idempotency: key(no),
            items: [HoldItem::Seats(seats(a))].into_iter().collect(),
            terms: None,
        }),
        3 => CommandKind::Hold(Hold {
            event,
            hold: hold_id(no),
            idempotency: key(no),
            items: [HoldItem::BestAvailable(Wish {
                quantity: a % 4 + 1,
                section: b.is_multiple_of(2).then_some(2),
                ..Wish::default()
            })]
            .into_iter()
            .collect(),
            terms: None,
        }),
        4 => CommandKind::ReleaseHold(ReleaseHold { hold: hold_id(no.saturating_sub(b.into())) }),
        5 => CommandKind::ExtendHold(ExtendHold {
            hold: hold_id(no.saturating_sub(u64::from(b) % 8)),
            extensions_seen: 0,
            idempotency: b.is_multiple_of(2).then(|| key(no)),
        }),
        6 => CommandKind::SellOverTheCounter(SellOverTheCounter {
            hold: hold_id(no.saturating_sub(u64::from(b) % 8)),
            order: OrderId(1 << 112 | u128::from(no) << 16),
            idempotency: key(no),
        }),
        _ => CommandKind::Tick,
    }
}

pub(crate) fn opened(event: u32) -> CommandKind {
    let CommandKind::OpenOnsale(mut open) = onsale(event, 2, 2) else { unreachable!() };
    open.sections.push(onsale_state::command::SectionSpec {
        key: "FLOOR".into(),
        category: 0,
        kind: onsale_state::command::SectionKind::GeneralAdmission { capacity: 9 },
        focus: onsale_state::command::Focus::default(),
    });
    open.rules.hold_ttl_ms = 5_000;
    CommandKind::OpenOnsale(open)
}

fn quiet_runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn snapshot_and_deltas_are_the_state_at_every_index(
        entries in vec(
            (0_u64..4_000, vec((any::<u8>(), any::<u16>(), any::<u16>()), 0..5)),
            1..60,
        ),
        join in 0_usize..60,
    ) {
        quiet_runtime().block_on(async {
            let mut source = Source::new(1, Hub::new());
            let mut first = source.follow(0);
            let mut belief = Belief::default();
            let mut late: Option<(Subscription, Belief)> = None;
            let (mut time, mut no) = (1_000, 0);
            source.apply(time, vec![opened(1)]);
            for (at, (pass, drafts)) in entries.into_iter().enumerate() {
                time += pass;
                if at == 3 {
                    source.apply(time, vec![opened(2)]);
                }
                if at % 7 == 6 {
                    source.blank();
                }
                let kinds = drafts.into_iter().map(|(kind, a, b)| {
                    no += 1;
                    selling(no, kind, a, b)
                });
                source.apply(time, kinds.collect());
                if at == join {
                    late = Some((source.follow(0), Belief::default()));
                }
                let truth = Belief::of(&source.shard, source.index);
                read_to(&mut first, &mut belief, source.index).await;
                assert_eq!(belief, truth);
                if let Some((follower, belief)) = &mut late {
                    read_to(follower, belief, source.index).await;
                    assert_eq!(*belief, truth);
                }
            }
            // Who resumes where it was goes on as if nothing had been.
            let mut resumed = source.follow(source.index);
            source.apply(time + 60_000, vec![]);
            read_to(&mut resumed, &mut belief, source.index).await;
            assert_eq!(belief, Belief::of(&source.shard, source.index));
        });
    }
}

fn document(event_id: &str, revision: u64) -> (CommandKind, CommandKind) {
    let content = catalog::EventDocument {
        event_id: event_id.to_owned(),
        name: format!("revision {revision}"),
        ..catalog::EventDocument::default()
    };
    let prepare = CommandKind::PrepareEvent(Box::new(PrepareEvent {
        event_id: event_id.into(),
        organizer: "org".into(),
        revision,
        idempotency: None,
        document: content.encode_to_vec().into(),
    }));
    let publish = PublishEvent { event_id: event_id.into(), revision };
    (prepare, CommandKind::PublishEvent(publish))
}

#[test]
fn followers_of_the_control_group_see_published_documents_and_keys_only() {
    quiet_runtime().block_on(async {
        let mut source = Source::new(0, Hub::new());
        let (mut follower, mut belief) = (source.follow(0), Belief::default());
        let (prepare, publish) = document("evt_a", 1);
        source.apply(1, vec![prepare]);
        read_to(&mut follower, &mut belief, source.index).await;
        assert!(belief.documents.is_empty(), "a prepared document is nobody's to see");
        source.apply(2, vec![publish]);
        let key = PutApiKey { key_hash: [7; 32], role: "support".into(), owner: "desk".into() };
        source.apply(3, vec![CommandKind::PutApiKey(key)]);
        let key = PutSigningKey { key_id: 9, public_key: [3; 32] };
        source.apply(4, vec![CommandKind::PutSigningKey(key)]);
        let (prepare, publish) = document("evt_a", 2);
        source.apply(5, vec![prepare, publish]);
        let (prepare, _) = document("evt_b", 1);
        source.apply(6, vec![prepare]);
        read_to(&mut follower, &mut belief, source.index).await;
        let truth = Belief::of(&source.shard, source.index);
        assert_eq!(belief, truth);
        let stored = &belief.documents["evt_a"];
        let read = catalog::EventDocument::decode(stored.document.clone()).expect("decodes");
        assert_eq!((read.event_no, read.revision, stored.revision), (1, 2, 2));
        assert_eq!(u64::from(read.shard), u64::from(source.shard.document("evt_a").unwrap().shard));
        assert_eq!(belief.documents.len(), 1);
        assert_eq!((belief.api_keys.len(), belief.signing_keys.len()), (1, 1));
        assert!(document::stamped(b"\xff", 1, 1, 1).is_err());
    });
}

#[test]
fn a_large_snapshot_comes_in_pieces_and_counts_only_when_whole() {
    let mut source = Source::new(0, Hub::new());
    for no in 0..5 {
        let (prepare, publish) = document(&format!("evt_{no}"), 1);
        source.apply(no + 1, vec![prepare, publish]);
    }
    let snapshot = Snapshot::of(&source.shard, source.index, 1);
    assert_eq!(snapshot.messages.len(), 5);
    let mut belief = Belief::default();
    for message in &snapshot.messages {
        assert_eq!(belief.index, 0, "a part is exact at no index");
        belief.take_in(message);
    }
    assert_eq!(belief, Belief::of(&source.shard, source.index));
}

#[test]
fn who_is_too_far_behind_starts_again() {
    quiet_runtime().block_on(async {
        let mut source = Source::new(1, Hub::with_bounds(4, usize::MAX));
        source.apply(1, vec![opened(1)]);
        let (mut slow, mut belief) = (source.follow(0), Belief::default());
        next(&mut slow, &mut belief).await;
        for no in 1..=6 {
            source.apply(1, vec![selling(no, 0, 0, no as u16 * 3)]);
        }
        next(&mut slow, &mut belief).await;
        assert_eq!(belief.resets, 1);
        assert_eq!(slow.next().await, None, "after a reset there is nothing");
        let (mut again, mut belief) = (source.follow(0), Belief::default());
        next(&mut again, &mut belief).await;
        assert_eq!(belief, Belief::of(&source.shard, source.index));
        let mut resumed = source.follow(source.index - 3);
        let mut belief = Belief { events: belief.events.clone(), ..Belief::default() };
        read_to(&mut resumed, &mut belief, source.index).await;
        assert_eq!(belief.resets, 0, "what is remembered can be resumed");
    });
}

#[test]
fn memory_is_bounded_by_bytes_too() {
    quiet_runtime().block_on(async {
        let mut source = Source::new(1, Hub::with_bounds(usize::MAX, 64));
        source.apply(1, vec![opened(1)]);
        let mut follower = source.follow(source.index);
        for no in 1..=9 {
            source.apply(1, vec![selling(no, 0, 0, no as u16 * 3)]);
        }
        let mut belief = Belief::default();
        next(&mut follower, &mut belief).await;
        assert_eq!(belief.resets, 1);
    });
}

#[test]
fn who_is_ahead_waits_for_this_replica_and_then_starts_again() {
    quiet_runtime().block_on(async {
        let mut source = Source::new(1, Hub::new());
        source.apply(1, vec![opened(1)]);
        let mut ahead = source.follow(source.index + 1);
        source.apply(2, vec![selling(1, 0, 0, 0)]);
        source.apply(2, vec![selling(2, 0, 0, 5)]);
        let mut belief = Belief::of(&source.shard, 0);
        next(&mut ahead, &mut belief).await;
        assert_eq!((belief.index, belief.resets), (source.index, 0), "it was caught up with");
        let started = tokio::time::Instant::now();
        let mut ahead = source.follow(source.index + 100);
        next(&mut ahead, &mut belief).await;
        assert_eq!(belief.resets, 1);
        assert!(started.elapsed() >= Duration::from_secs(5));
    });
}

#[test]
fn a_snapshot_install_makes_older_positions_start_again() {
    quiet_runtime().block_on(async {
        let mut source = Source::new(1, Hub::new());
        source.apply(1, vec![opened(1)]);
        let (mut follower, mut belief) = (source.follow(0), Belief::default());
        next(&mut follower, &mut belief).await;
        source.hub.reset(50, 9_000);
        next(&mut follower, &mut belief).await;
        assert_eq!(belief.resets, 1);
        // The last entry may be one of Raft's own, which the state does not count.
        let (mut again, mut belief) = (source.follow(0), Belief::default());
        next(&mut again, &mut belief).await;
        assert_eq!((belief.index, belief.resets), (50, 0));
        source.index = 50;
        source.apply(9_001, vec![selling(1, 0, 0, 0)]);
        next(&mut again, &mut belief).await;
        assert_eq!((belief.index, belief.resets), (51, 0));
    });
}

#[test]
fn entries_without_changes_move_the_position_in_few_messages() {
    quiet_runtime().block_on(async {
        let mut source = Source::new(1, Hub::new());
        source.apply(1, vec![opened(1)]);
        let (mut follower, mut belief) = (source.follow(0), Belief::default());
        next(&mut follower, &mut belief).await;
        for at in 0..1_000 {
            source.apply(at, vec![]);
        }
        let started = tokio::time::Instant::now();
        let mut messages = 0;
        while belief.index < source.index {
            next(&mut follower, &mut belief).await;
            messages += 1;
        }
        assert_eq!(messages, 1);
        assert!(started.elapsed() <= Duration::from_millis(250), "{:?}", started.elapsed());
        next(&mut follower, &mut belief).await;
        assert!(started.elapsed() <= Duration::from_millis(1_500), "silence is broken");
    });
}

#[test]
fn followers_are_bounded_and_give_their_places_back() {
    let source = Source::new(1, Hub::new());
    let full: Vec<Subscription> = (0..FEED_FOLLOWERS_MAX).map(|_| source.follow(0)).collect();
    let refused = source.hub.follow(0, || source.hub.snapshot(&source.shard));
    assert_eq!(refused.err().map(|failure| failure.code), Some(Code::Overloaded));
    drop(full);
    source.follow(0);
}
