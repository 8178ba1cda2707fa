//! Owns the stream of commands (design D7): items in, to the shards' queues; answers out, as many
//! in one message as are ready.
//!
//! Must never hold more than `STREAM_UNANSWERED_MAX` items of one stream, nor leave one without an
//! answer while the stream lives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt as _, stream};
use metrics::{Gauge, gauge};
use onsale_mesh::{Deadline, Failure};
use onsale_proto::{
    Code,
    allocator::{Outcome, SubmitAnswer, SubmitItem, SubmitRequest, SubmitResponse},
};
use onsale_state::Command;
use tokio::{sync::Notify, task::JoinHandle, time::Instant};
use tonic::{Status, Streaming};

use super::{convert, hold::AnswerStream};
use crate::{
    error::ProposeError,
    limits::{BUDGET_MAX, STREAM_ANSWERS_MAX, STREAM_UNANSWERED_MAX, STREAMS_MAX},
    metrics::STREAM_UNANSWERED,
    shard::{Answer, Collector, Groups},
};

/// What one stream has under way.
struct Flow {
    groups: Groups,
    collector: Arc<Collector>,
    unanswered: AtomicUsize,
    unanswered_of_all: Gauge,
    /// Told when there is room again, and when the incoming side has ended.
    room: Notify,
    /// Answers that need no shard: items that could not be read.
    refused: parking_lot::Mutex<Vec<SubmitAnswer>>,
    refused_ready: Notify,
}

/// Streams of this process.
static STREAMS: AtomicUsize = AtomicUsize::new(0);

/// Serves one stream until its caller ends it and everything is answered, or goes away.
///
/// # Errors
/// `overloaded` when there are too many streams.
pub(crate) fn serve(
    groups: Groups,
    items: Streaming<SubmitRequest>,
) -> Result<AnswerStream, Status> {
    if STREAMS.fetch_add(1, Ordering::Relaxed) >= STREAMS_MAX {
        STREAMS.fetch_sub(1, Ordering::Relaxed);
        return Err(Code::Overloaded.to_status("too many streams on this node"));
    }
    let flow = Arc::new(Flow {
        groups,
        collector: Arc::default(),
        unanswered: AtomicUsize::new(0),
        unanswered_of_all: gauge!(STREAM_UNANSWERED),
        room: Notify::new(),
        refused: parking_lot::Mutex::default(),
        refused_ready: Notify::new(),
    });
    let reading = tokio::spawn(read(flow.clone(), items));
    Ok(answers(flow, Reading(reading)).boxed())
}

/// The reading task; ends with the answers' side.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(flow: Arc<Flow>, mut items: Streaming<SubmitRequest>) {
    while let Some(Ok(request)) = items.next().await {
        // One look at the clock for all that arrived together.
        let now = Instant::now();
        for item in request.items {
            while flow.unanswered.load(Ordering::Acquire) >= STREAM_UNANSWERED_MAX {
                flow.room.notified().await;
            }
            flow.unanswered.fetch_add(1, Ordering::AcqRel);
            flow.unanswered_of_all.increment(1.0);
            let tag = item.tag;
            if let Err(outcome) = dispatch(&flow, item, now) {
                let outcome = Some(*outcome);
                flow.refused.lock().push(SubmitAnswer { tag, outcome });
                flow.refused_ready.notify_one();
            }
        }
    }
}

/// Queues an item; what cannot be queued is answered at once.
fn dispatch(flow: &Flow, item: SubmitItem, now: Instant) -> Result<(), Box<Outcome>> {
    let SubmitItem { tag, shard, budget_ms, command } = item;
    let refuse = |failure: Failure| Box::new(convert::rejected(&failure));
    let group = flow.groups.get(shard as usize).filter(|group| group.no() > 0);
    let group = group.ok_or_else(|| refuse(convert::not_found("shard")))?;
    let command = command.ok_or_else(|| refuse(convert::invalid("command", "must be there")))?;
    let kind = convert::command(command, shard).map_err(refuse)?;
    let budget = Duration::from_millis(budget_ms.into()).min(BUDGET_MAX);
    let command = Command { not_after_ms: 0, kind };
    group.submit(tag, command, Deadline::after_instant(now, budget), &flow.collector);
    Ok(())
}

/// Messages of ready answers, until the reader has ended and nothing is unanswered.
fn answers(
    flow: Arc<Flow>,
    reading: Reading,
) -> impl Stream<Item = Result<SubmitResponse, Status>> + Send {
    let state = (flow, reading, Vec::new(), Vec::new());
    stream::unfold(state, |(flow, mut reading, mut ready, mut answers)| async move {
        while ready.is_empty() {
            let ended = reading.0.is_finished();
            if ended && flow.unanswered.load(Ordering::Acquire) == 0 {
                return None;
            }
            tokio::select! {
                () = flow.collector.take(&mut answers) => {
                    ready.extend(answers.drain(..).map(said));
                }
                () = flow.refused_ready.notified() => ready.append(&mut flow.refused.lock()),
                _ = &mut reading.0, if !ended => {}
            }
        }
        let rest = ready.split_off(ready.len().min(STREAM_ANSWERS_MAX));
        let count = ready.len();
        flow.unanswered.fetch_sub(count, Ordering::AcqRel);
        flow.unanswered_of_all.decrement(count as f64);
        flow.room.notify_one();
        Some((Ok(SubmitResponse { answers: ready }), (flow, reading, rest, answers)))
    })
}

impl Drop for Flow {
    fn drop(&mut self) {
        STREAMS.fetch_sub(1, Ordering::Relaxed);
        self.unanswered_of_all.decrement(*self.unanswered.get_mut() as f64);
    }
}

fn said(answer: Answer) -> SubmitAnswer {
    let outcome = match answer.decided {
        Ok((index, outcome)) => convert::outcome(index, &outcome),
        Err(ProposeError::NotLeader(leader)) => convert::not_leader(leader),
        Err(ProposeError::Unknown) => convert::unknown(),
        Err(ProposeError::Overloaded) => {
            convert::rejected(&Failure::new(Code::Overloaded, "the shard's queue is full"))
        }
    };
    SubmitAnswer { tag: answer.tag, outcome: Some(outcome) }
}
