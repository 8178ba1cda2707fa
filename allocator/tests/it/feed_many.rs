//! A thousand followers of one shard: each entry is encoded once, all reach the same state, and
//! those who do not read cost nothing but a message.

use std::sync::atomic::{AtomicUsize, Ordering};

use onsale_allocator::feed::{Hub, Subscription};
use tokio::task::JoinSet;

use crate::feed::{Belief, Source, opened, selling};

const FOLLOWERS: usize = 1_000;
const ENTRIES: u64 = 400;

async fn read_to(mut follower: Subscription, index: u64) -> Belief {
    let mut belief = Belief::default();
    while belief.index < index {
        belief.take_in(&follower.next().await.expect("a message"));
    }
    belief
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

#[test]
fn a_thousand_followers_reach_the_same_state_and_each_entry_is_encoded_once() {
    runtime().block_on(async {
        let mut source = Source::new(1, Hub::new());
        let hub = source.hub.clone();
        let _ringing = tokio::spawn(async move { hub.ring().await });
        source.apply(1, vec![opened(1)]);
        let (encoded, snapshots) = (source.hub.encoded(), AtomicUsize::new(0));
        let mut followers = JoinSet::new();
        let last = source.index + ENTRIES;
        for _ in 0..FOLLOWERS {
            let snapshot = || {
                snapshots.fetch_add(1, Ordering::Relaxed);
                source.hub.snapshot(&source.shard)
            };
            followers.spawn(read_to(source.hub.follow(0, snapshot).expect("a place"), last));
        }
        assert_eq!(snapshots.into_inner(), 1, "whoever begins at the same time shares it");
        for no in 1..=ENTRIES {
            // Each of them is granted or gives back what was: an entry with changes.
            let kind = if no % 2 == 1 { selling(no, 0, 0, 3) } else { selling(no, 4, 0, 1) };
            source.apply(1_000 + no, vec![kind]);
            tokio::task::yield_now().await;
        }
        let truth = Belief::of(&source.shard, source.index);
        while let Some(belief) = followers.join_next().await {
            assert_eq!(belief.expect("reads on"), truth);
        }
        assert_eq!(source.hub.encoded() - encoded, ENTRIES);
    });
}

#[test]
fn a_thousand_who_do_not_read_hold_nothing_up_and_start_again() {
    runtime().block_on(async {
        let mut source = Source::new(1, Hub::with_bounds(64, usize::MAX));
        source.apply(1, vec![opened(1)]);
        let hub = source.hub.clone();
        let _ringing = tokio::spawn(async move { hub.ring().await });
        let follow = |from| source.hub.follow(from, || source.hub.snapshot(&source.shard));
        let slow: Vec<Subscription> = (0..FOLLOWERS).map(|_| follow(1).expect("a place")).collect();
        let (mut quick, mut belief) = (follow(0).expect("a place"), Belief::default());
        for no in 1..=ENTRIES {
            let kind = if no % 2 == 1 { selling(no, 0, 0, 3) } else { selling(no, 4, 0, 1) };
            source.apply(1_000 + no, vec![kind]);
            if no % 32 == 0 {
                while belief.index < source.index {
                    belief.take_in(&quick.next().await.expect("a message"));
                }
            }
        }
        assert_eq!(belief.resets, 0, "who reads is not told to start again");
        for mut follower in slow {
            let mut belief = Belief::default();
            belief.take_in(&follower.next().await.expect("a message"));
            assert_eq!(belief.resets, 1);
            assert_eq!(follower.next().await, None);
        }
    });
}
