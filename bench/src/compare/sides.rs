//! Owns one side of a round: start it, load it with reserves, kill it, start it again and count
//! what is left.

use std::{path::Path, sync::Arc, time::Duration, time::Instant};

use super::{Kind, Options, Side};
use crate::{
    api::Client,
    event::{self, Shape},
    figures::Figures,
    http::Target,
    limits,
    load::{self, Way, op::Op, progress::Progress},
    machine, native, random,
    seats::EventSeats,
    server,
    stock::Stock,
};

/// Connections of a comparison over gRPC, and holds in flight on each, for both sides: ours in one
/// message, the peer's in as many calls.
const STREAMS: u64 = 4;
const CALLS: u64 = 256;

/// Our side, on a folder of that name.
///
/// # Errors
/// When it cannot be started or does not answer.
pub async fn ours(options: &Options, folder: &Path, name: &str) -> anyhow::Result<Side> {
    let data = folder.join(name);
    let replicas = options.replicas.to_string();
    let flags = ["--no-limits", "--empty", "--replicas", &replicas];
    let demo = server::onsale(&options.onsale, &data, &flags).await?;
    let mut client = Client::new(demo.target.clone());
    let key = event::organizer_key(&data.join("credentials.json"))?;
    let run = random::run_id()?;
    let shape = Shape::plain(options.seats, options.events_min);
    let events = event::make(&mut client, &key, &run, shape).await?;
    let pids = machine::family(demo.server.pid);
    let way = if options.native {
        let map = native::map(&mut client, &demo.grpc, &events).await?;
        Way::Stream { map, batch: usize::try_from(CALLS)? }
    } else {
        Way::Http
    };
    let load = reserves(options, (demo.target.clone(), way), events.clone(), pids).await?;
    let found = if options.crash_check {
        demo.server.kill().await?;
        let again = server::onsale(&options.onsale, &data, &flags).await?;
        let found = held(&mut Client::new(again.target), &events, load.granted).await?;
        again.server.kill().await?;
        found
    } else {
        let found = held(&mut client, &events, load.granted).await?;
        demo.server.kill().await?;
        found
    };
    Ok(side(if name == "onsale" { "ours" } else { name }, load, Some(found)))
}

/// The peer's side.
///
/// # Errors
/// When it is not installed, cannot be started or is not durable.
pub async fn peer(options: &Options, folder: &Path) -> anyhow::Result<Side> {
    if options.peer == Kind::Own {
        let (replicas, events_min) = (options.own_replicas, options.own_events_min);
        let other = Options { replicas, events_min, ..options.clone() };
        return Box::pin(ours(&other, folder, Kind::Own.name())).await;
    }
    let data = folder.join(options.peer.name());
    let mut peer = options.peer.start(&options.fronts, &data).await?;
    let events = event::like_made(Shape::plain(options.seats, options.events_min));
    let way = match options.peer {
        Kind::Etcd if options.native => Way::Etcd { members: peer.url.clone(), calls: CALLS },
        Kind::Echo => Way::Echo { address: peer.target.authority.clone(), calls: CALLS },
        _ => Way::Http,
    };
    let load = reserves(options, (peer.target.clone(), way), events, peer.pids()).await?;
    if options.peer == Kind::Echo {
        peer.kill().await?;
        return Ok(side(options.peer.name(), load, None));
    }
    if options.crash_check {
        peer.kill().await?;
        peer = options.peer.start(&options.fronts, &data).await?;
    }
    let found = peer.held().await?;
    peer.kill().await?;
    Ok(side(options.peer.name(), load, Some(found)))
}

/// A closed loop of reserves for fresh seats.
///
/// # Errors
/// When connections cannot be opened.
pub async fn reserves(
    options: &Options,
    (target, way): (Target, Way),
    events: Vec<EventSeats>,
    pids: Vec<u32>,
) -> anyhow::Result<Figures> {
    let stock = Arc::new(Stock::new(events, options.events_min > 1));
    let native = !matches!(way, Way::Http);
    let mut load =
        load::Options::closed(target, Arc::clone(&stock), Op::Reserve, random::run_id()?);
    load.way = way;
    load.connections = if native { STREAMS } else { options.connections };
    load.threads = options.threads;
    load.warm_up = Duration::from_secs(options.warm_up_seconds);
    load.duration = Duration::from_secs(options.seconds);
    load.pids = pids;
    let done = load::run(Arc::new(load), Progress::Quiet, crate::never()).await?;
    let (granted, unknown) = {
        let ledger = stock.ledger();
        (ledger.granted, ledger.unknown)
    };
    Ok(Figures { unknown, ..Figures::of(&done, Op::Reserve, granted) })
}

/// Places held in all events, once the feed shows what was granted, or the time is over.
async fn held(client: &mut Client, events: &[EventSeats], granted: u64) -> anyhow::Result<u64> {
    let until = Instant::now() + limits::FEED_LAG_MAX;
    loop {
        let mut found = 0;
        for event in events {
            found += event::held(client, &event.event_id).await?;
        }
        if found >= granted || Instant::now() >= until {
            return Ok(found);
        }
        tokio::time::sleep(limits::RETRY_PAUSE).await;
    }
}

/// Judges what is left.
pub fn side(name: &str, load: Figures, holds_found: Option<u64>) -> Side {
    let possible = load.granted..=load.granted + load.unknown;
    let holds_agree = holds_found.is_none_or(|found| possible.contains(&found));
    eprintln!(
        "  {name}: {:.0}/s, p99 {:.2} ms, server CPU {:.1} µs",
        load.rate,
        crate::print::milliseconds(load.p99_us),
        load.cpu_us
    );
    Side { load, holds_found, holds_agree }
}
