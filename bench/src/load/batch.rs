//! Owns loads that speak gRPC: batches of holds on the native stream, and one call at a time
//! against what is compared with it.
//!
//! Must never enter anything into the ledger that was not acknowledged, nor let an item vanish.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Instant,
};

use anyhow::Context as _;
use bytes::Bytes;
use onsale_proto::{
    allocator::{
        self as pb, SubmitItem, SubmitRequest, SubmitResponse,
        allocator_service_client::AllocatorServiceClient,
    },
    id,
    time::now_ms,
};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tonic::{Streaming, codegen::tokio_stream::wrappers::ReceiverStream};

use super::{
    Options, Way,
    op::{Fate, Op},
    tally::Ended,
    wire::Shared,
};
use crate::{
    echo::Echo,
    etcd_client::Etcd,
    limits,
    native::{Map, Place},
    random::Dice,
};

/// How long a hold lasts that keeps no time of its own.
const HOLD_MS: u64 = 600_000;

type Seat = (usize, u64);

/// Runs a lane to its end, as `lane::run` does for HTTP.
///
/// # Errors
/// When the other side cannot be reached.
pub async fn run(
    options: Arc<Options>,
    lane: u32,
    ready: oneshot::Sender<()>,
    start: oneshot::Receiver<Arc<Shared>>,
) -> anyhow::Result<()> {
    let lanes = u64::from(options.threads);
    let mine = (0..options.connections).filter(|number| number % lanes == u64::from(lane));
    let mut clients = Vec::new();
    for number in mine {
        clients.push((number, Client::open(&options).await?));
    }
    let _ = ready.send(());
    let Ok(shared) = start.await else { return Ok(()) };
    let mut tasks = tokio::task::JoinSet::new();
    for (number, client) in clients {
        let dice = |turn: u64| Dice::new(options.seed, number + (turn << 32));
        match client {
            Client::Stream { map, batch } => {
                let (options, again) = (Arc::clone(&options), Vec::new());
                let holds = Holds { options, map, moved: BTreeMap::new(), again, dice: dice(0) };
                tasks.spawn_local(stream(holds, batch, Arc::clone(&shared)));
            }
            Client::Unary(unary, calls) => {
                for turn in 0..calls {
                    let (options, shared) = (Arc::clone(&options), Arc::clone(&shared));
                    tasks.spawn_local(unary_loop(unary.clone(), options, dice(turn), shared));
                }
            }
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a connection's loop ended early")?;
    }
    Ok(())
}

enum Client {
    Stream {
        map: Arc<Map>,
        batch: usize,
    },
    /// And how many calls at a time.
    Unary(Unary, u64),
}

#[derive(Clone)]
enum Unary {
    Etcd(Etcd, i64),
    Echo(Echo, Bytes),
}

impl Client {
    async fn open(options: &Options) -> anyhow::Result<Client> {
        Ok(match &options.way {
            Way::Http => anyhow::bail!("HTTP has lanes of its own"),
            Way::Stream { map, batch } => {
                let (events, places) = (options.stock.events.len(), map.places.len());
                anyhow::ensure!(events == places, "events without place");
                Client::Stream { map: Arc::clone(map), batch: *batch }
            }
            Way::Etcd { members, calls } => {
                let etcd = Etcd::connect(members)?;
                let lease = etcd.grant(HOLD_MS.cast_signed() / 1_000).await?;
                Client::Unary(Unary::Etcd(etcd, lease), *calls)
            }
            Way::Echo { address, calls } => {
                let echo = Echo::connect(address)?;
                let place = Place { event_no: 1, shard: 1, leader: 1 };
                let item = item(&place, 1, 1, &mut Dice::new(1, 1));
                let bytes = Bytes::from(item.encode_to_vec());
                anyhow::ensure!(echo.call(bytes.clone()).await?, "the echo says something else");
                Client::Unary(Unary::Echo(echo, bytes), *calls)
            }
        })
    }
}

/// What one stream asks for.
struct Holds {
    options: Arc<Options>,
    map: Arc<Map>,
    /// Shards whose lead went to another node meanwhile.
    moved: BTreeMap<u32, u64>,
    /// Asked for at a node that sent us on: not decided there.
    again: Vec<Seat>,
    dice: Dice,
}

/// A stream that is open.
struct Open {
    requests: mpsc::Sender<SubmitRequest>,
    answers: Streaming<SubmitResponse>,
}

async fn open(leader: &str) -> anyhow::Result<Open> {
    let channel = onsale_mesh::channel::connect(leader).map_err(|e| anyhow::anyhow!("{e}"))?;
    let mut service =
        AllocatorServiceClient::new(channel).max_decoding_message_size(limits::RESPONSE_BYTES_MAX);
    let (requests, outbound) = mpsc::channel(4);
    let answers = service.submit(ReceiverStream::new(outbound)).await?.into_inner();
    Ok(Open { requests, answers })
}

/// A closed loop: a batch, all its answers, the next batch.
async fn stream(mut holds: Holds, batch: usize, shared: Arc<Shared>) {
    let mut streams: BTreeMap<u64, Open> = BTreeMap::new();
    let left = |holds: &Holds| !holds.again.is_empty() && Instant::now() < shared.span.until;
    while !shared.is_over() || (shared.ran_out() && left(&holds)) {
        // One event after the other: a batch seldom has more than one leader.
        for (leader, seats) in holds.next(batch, &shared) {
            let address = holds.map.nodes.get(&leader);
            if !streams.contains_key(&leader)
                && let Some(address) = address
                && let Ok(opened) = open(address).await
            {
                streams.insert(leader, opened);
            }
            let stream = streams.get_mut(&leader);
            if !holds.batch(stream, &seats, &shared).await {
                streams.remove(&leader);
                tokio::time::sleep(limits::RECONNECT_PAUSE).await;
            }
        }
    }
}

impl Holds {
    /// The next batch, by leader.
    fn next(&mut self, batch: usize, shared: &Shared) -> BTreeMap<u64, Vec<Seat>> {
        let mut seats = std::mem::take(&mut self.again);
        let stock = &self.options.stock;
        while seats.len() < batch && !shared.ran_out() {
            match stock.fresh() {
                Some(seat) => seats.push(seat),
                None => shared.run_out(),
            }
        }
        let mut by_leader: BTreeMap<u64, Vec<Seat>> = BTreeMap::new();
        for seat in seats {
            if let Some(place) = self.map.places.get(seat.0) {
                let leader = self.moved.get(&place.shard).copied().unwrap_or(place.leader);
                by_leader.entry(leader).or_default().push(seat);
            }
        }
        by_leader
    }

    /// Sends a batch and enters its answers; whether the stream is still of use.
    async fn batch(&mut self, stream: Option<&mut Open>, seats: &[Seat], shared: &Shared) -> bool {
        let sent = Instant::now();
        let mut waiting: HashMap<u64, Seat> = HashMap::with_capacity(seats.len());
        let mut items = Vec::with_capacity(seats.len());
        for (tag, seat) in (1_u64..).zip(seats) {
            if let Some(place) = self.map.places.get(seat.0) {
                items.push(item(place, seat.1, tag, &mut self.dice));
                waiting.insert(tag, *seat);
            }
        }
        shared.tally().in_flight += waiting.len() as u64;
        let (mut alive, patience) = (false, self.options.patience);
        if let Some(stream) = stream {
            let hearing = self.hear(stream, SubmitRequest { items }, &mut waiting, sent, shared);
            let heard = tokio::time::timeout(patience, hearing).await;
            alive = heard.is_ok_and(|all| all);
        }
        // Whatever was not answered may have been done.
        self.options.stock.ledger().unknown += waiting.len() as u64;
        answered(shared, sent, waiting.values().map(|_| (Fate::Lost, "no_answer")));
        alive
    }

    async fn hear(
        &mut self,
        stream: &mut Open,
        request: SubmitRequest,
        waiting: &mut HashMap<u64, Seat>,
        sent: Instant,
        shared: &Shared,
    ) -> bool {
        if stream.requests.send(request).await.is_err() {
            return false;
        }
        while !waiting.is_empty() {
            let Ok(Some(response)) = stream.answers.message().await else { return false };
            let now = now_ms();
            let mut ends = Vec::with_capacity(response.answers.len());
            let options = Arc::clone(&self.options);
            let mut ledger = options.stock.ledger();
            for answer in response.answers {
                let Some(seat) = waiting.remove(&answer.tag) else { continue };
                if let Some(leader) = sent_on(answer.outcome.as_ref())
                    && let Some(place) = self.map.places.get(seat.0)
                {
                    self.moved.insert(place.shard, leader);
                    self.again.push(seat);
                    shared.tally().in_flight -= 1;
                    continue;
                }
                let (fate, code, expires_ms) = judge(answer.outcome.as_ref());
                match fate {
                    Fate::Good => ledger.claim(seat, now, expires_ms),
                    Fate::Unknown => ledger.unknown += 1,
                    _ => {}
                }
                ends.push((fate, code));
            }
            drop(ledger);
            answered(shared, sent, ends.iter().map(|(fate, code)| (*fate, code.as_str())));
        }
        true
    }
}

/// The node to ask instead, of one that does not lead: nothing was decided.
fn sent_on(outcome: Option<&pb::Outcome>) -> Option<u64> {
    match outcome?.result.as_ref()? {
        pb::outcome::Result::Rejected(rejected) if !rejected.unknown && rejected.leader != 0 => {
            Some(rejected.leader)
        }
        _ => None,
    }
}

/// How an outcome counts, its code, and until when it holds.
fn judge(outcome: Option<&pb::Outcome>) -> (Fate, String, u64) {
    use pb::outcome::Result as Decided;
    match outcome.and_then(|outcome| outcome.result.as_ref()) {
        Some(Decided::Held(held)) => (Fate::Good, String::new(), held.expires_at_ms),
        Some(Decided::Rejected(rejected)) => {
            let fate = match rejected.code.as_str() {
                _ if rejected.unknown => Fate::Unknown,
                "unavailable" | "overloaded" | "rate_limited" => Fate::Limited,
                _ => Fate::Refused,
            };
            (fate, rejected.code.clone(), 0)
        }
        _ => (Fate::Wrong, "no_hold".to_owned(), 0),
    }
}

fn answered<'a>(
    shared: &Shared,
    sent: Instant,
    ends: impl ExactSizeIterator<Item = (Fate, &'a str)>,
) {
    let ended = Instant::now();
    let mut tally = shared.tally();
    tally.in_flight -= ends.len() as u64;
    for (fate, code) in ends {
        tally.record(Op::Reserve, Ended { intended: sent, sent, ended, fate }, code);
    }
}

async fn unary_loop(unary: Unary, options: Arc<Options>, mut dice: Dice, shared: Arc<Shared>) {
    while !shared.is_over() {
        let Some(seat) = options.stock.fresh() else { return shared.run_out() };
        shared.tally().in_flight += 1;
        let sent = Instant::now();
        let call = unary.call(&options, seat, &mut dice);
        let done = tokio::time::timeout(options.patience, call).await;
        let fate = match done {
            Ok(Some(true)) => Fate::Good,
            Ok(Some(false)) => Fate::Refused,
            Ok(None) | Err(_) => Fate::Lost,
        };
        let keeps = matches!(unary, Unary::Etcd(..));
        match fate {
            Fate::Good if keeps => {
                let now = now_ms();
                options.stock.ledger().claim(seat, now, now + HOLD_MS);
            }
            Fate::Lost if keeps => options.stock.ledger().unknown += 1,
            _ => {}
        }
        let code = if fate == Fate::Lost { "no_answer" } else { "" };
        answered(&shared, sent, [(fate, code)].into_iter());
        if fate == Fate::Lost {
            tokio::time::sleep(limits::RECONNECT_PAUSE).await;
        }
    }
}

impl Unary {
    /// Whether it was done; `None` without an answer.
    async fn call(&self, options: &Options, seat: Seat, dice: &mut Dice) -> Option<bool> {
        match self {
            Unary::Etcd(etcd, lease) => {
                let event = options.stock.events.get(seat.0)?;
                let key = format!("seat/{}/{}", event.event_id, event.id(seat.1)?).into_bytes();
                let hold = format!("{:016x}{:016x}", dice.next(), dice.next()).into_bytes();
                etcd.put_new(key, hold, *lease).await.ok()
            }
            Unary::Echo(echo, bytes) => echo.call(bytes.clone()).await.ok(),
        }
    }
}

/// A hold of one named seat by a buyer who was not seen before, as the edge sends it.
fn item(place: &Place, seat: u64, tag: u64, dice: &mut Dice) -> SubmitItem {
    let mut wide = || u128::from(dice.next()) << 64 | u128::from(dice.next());
    let (key, random) = (wide(), wide());
    // A hold's shard stands in its top 16 bits.
    let hold = random >> 16 | u128::from(place.shard & 0xffff) << 112;
    let command = pb::HoldCommand {
        event_no: place.event_no,
        hold_id: id::to_bytes(hold),
        idempotency: Some(pb::Idempotency {
            key: id::to_bytes(key),
            request: dice.next(),
            buyer: dice.next(),
            buyer_is_new: true,
        }),
        items: vec![pb::HoldItem {
            seats: vec![u32::try_from(seat).unwrap_or(u32::MAX)],
            ..pb::HoldItem::default()
        }],
        ..pb::HoldCommand::default()
    };
    SubmitItem {
        tag,
        shard: place.shard,
        budget_ms: u32::try_from(limits::ANSWER_TIMEOUT.as_millis()).unwrap_or(u32::MAX),
        command: Some(pb::Command { kind: Some(pb::command::Kind::Hold(command)) }),
    }
}

#[cfg(test)]
mod tests;
