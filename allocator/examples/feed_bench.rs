//! What followers of one shard's feed cost: `cargo run --release -p onsale-allocator --example
//! feed_bench`.
//!
//! A thousand entries a second, a hold or a release each, for five seconds; without followers and
//! with 1,000 that read everything, in one process and without the network. Printed are the
//! processor's time a second, and what each follower adds.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use onsale_allocator::feed::{Hub, Subscription};
use onsale_state::{
    Batch, Command, CommandKind, HoldId, Limits, Shard,
    command::{
        Focus, Hold, HoldItem, Idempotency, OpenOnsale, ReleaseHold, RowSpec, Rules, SectionKind,
        SectionSpec,
    },
};
use tokio::task::JoinSet;

type Failure = Box<dyn Error + Send + Sync>;

const FOLLOWERS: usize = 1_000;
const ENTRIES: u64 = 5_000;
const PAUSE: Duration = Duration::from_millis(1);
/// Of `/proc/self/stat`.
const TICKS_A_SECOND: f64 = 100.0;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let alone = run(0).await?;
    let followed = run(FOLLOWERS).await?;
    println!("without followers: {:.1} % of a core", alone * 100.0);
    println!("with {FOLLOWERS} followers: {:.1} % of a core", followed * 100.0);
    let each_us = (followed - alone) / FOLLOWERS as f64 * 1e6;
    println!("each follower: {each_us:.0} us a second, for {} entries a second", 1_000);
    Ok(())
}

/// Seconds of processor time a second.
async fn run(followers: usize) -> Result<f64, Failure> {
    let hub = Hub::new();
    let ringing = {
        let hub = hub.clone();
        tokio::spawn(async move { hub.ring().await })
    };
    let mut shard = Shard::new(1, 1, Limits::default());
    let open = CommandKind::OpenOnsale(Box::new(arena()));
    apply(&mut shard, &hub, 1, open);
    let mut reading = JoinSet::new();
    for _ in 0..followers {
        reading.spawn(read(hub.follow(0, || hub.snapshot(&shard))?, ENTRIES + 1));
    }
    let encoded = hub.encoded();
    let (started, busy) = (Instant::now(), busy_seconds()?);
    let mut tick = tokio::time::interval(PAUSE);
    for no in 1..=ENTRIES {
        tick.tick().await;
        let hold = HoldId(u128::from(no.div_ceil(2)));
        let kind = match no % 2 {
            1 => reserve(hold),
            _ => CommandKind::ReleaseHold(ReleaseHold { hold }),
        };
        apply(&mut shard, &hub, no + 1, kind);
    }
    while let Some(read) = reading.join_next().await {
        read??;
    }
    assert_eq!(hub.encoded() - encoded, ENTRIES, "each entry is encoded once");
    let used = (busy_seconds()? - busy) / started.elapsed().as_secs_f64();
    ringing.abort();
    Ok(used)
}

async fn read(mut follower: Subscription, until: u64) -> Result<(), Failure> {
    while follower.position() < until || follower.has_ready() {
        follower.next().await.ok_or("told to start again")?;
    }
    Ok(())
}

fn apply(shard: &mut Shard, hub: &Hub, index: u64, kind: CommandKind) {
    let commands = vec![Command { not_after_ms: u64::MAX, kind }];
    let (mut outcomes, mut changes) = (Vec::new(), Vec::new());
    let batch = Batch { log_time_ms: index, commands };
    shard.apply(index, &batch, &mut outcomes, &mut changes);
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()));
    hub.publish(index, shard.log_time_ms(), &changes, shard);
}

fn reserve(hold: HoldId) -> CommandKind {
    let idempotency = Idempotency { key: hold.0, request: 1, buyer: 0, buyer_is_new: false };
    let items = [HoldItem::Seats([0, 1, 2, 3].as_slice().into())].as_slice().into();
    CommandKind::Hold(Hold { event: 1, hold, idempotency, items, terms: None })
}

fn arena() -> OpenOnsale {
    let row = |no| RowSpec { label: format!("{no}").into(), seats: 20, ..RowSpec::default() };
    let section = |no: u32| SectionSpec {
        key: format!("{no}").into(),
        category: 0,
        kind: SectionKind::Seated { rows: (0..50).map(row).collect() },
        focus: Focus::default(),
    };
    OpenOnsale {
        event: 1,
        event_id: "evt_1".into(),
        revision: 1,
        currency: *b"EUR",
        onsale_at_ms: 0,
        prices_minor: vec![5_000],
        sections: (0..60).map(section).collect(),
        rules: Rules {
            seats_per_order_max: 4,
            seats_per_buyer_max: 0,
            hold_ttl_ms: 600_000,
            hold_extensions_max: 0,
            ..Rules::default()
        },
        offer: None,
    }
}

fn busy_seconds() -> Result<f64, Failure> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| fields.get(at).unwrap_or(&"0").parse::<f64>();
    Ok((ticks(11)? + ticks(12)?) / TICKS_A_SECOND)
}
