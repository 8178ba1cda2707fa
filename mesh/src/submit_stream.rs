//! Owns the long-lived stream of command batches to one node (design D7).
//!
//! What is ready goes out together, without a timer; answers come back by tag. Must never lose an
//! answer silently: when the stream breaks, every unanswered command is told "unknown".

use std::sync::Arc;

use http::uri::PathAndQuery;
use onsale_proto::{
    allocator::{Outcome, SubmitAnswer, SubmitResponse},
    packed::{PackedItem, PackedRequest},
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, client::Grpc, transport::Channel};
use tonic_prost::ProstCodec;

use crate::limits;

/// Why there is no outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOutcome {
    /// The command was not sent.
    NotSent,
    /// The command may have been applied.
    Unknown,
}

/// A handle on the stream; the stream is opened by the first command and again after it broke.
pub(crate) struct SubmitStream {
    channel: Channel,
    queue: Mutex<Option<mpsc::Sender<Waiting>>>,
}

struct Waiting {
    item: PackedItem,
    answer: oneshot::Sender<Result<Outcome, NoOutcome>>,
}

/// Unanswered commands; a tag is a place in here.
#[derive(Default)]
struct Unanswered {
    places: Vec<Option<oneshot::Sender<Result<Outcome, NoOutcome>>>>,
    free: Vec<usize>,
}

impl SubmitStream {
    pub(crate) fn new(channel: Channel) -> SubmitStream {
        SubmitStream { channel, queue: Mutex::new(None) }
    }

    /// Sends one command and waits for its outcome.
    pub(crate) async fn submit(&self, item: PackedItem) -> Result<Outcome, NoOutcome> {
        let (answer, outcome) = oneshot::channel();
        let queue = self.queue();
        queue.send(Waiting { item, answer }).await.map_err(|_| NoOutcome::NotSent)?;
        outcome.await.unwrap_or(Err(NoOutcome::Unknown))
    }

    fn queue(&self) -> mpsc::Sender<Waiting> {
        let mut slot = self.queue.lock();
        match slot.as_ref() {
            Some(queue) if !queue.is_closed() => queue.clone(),
            _ => {
                let (sender, receiver) = mpsc::channel(limits::STREAM_QUEUE_MAX);
                tokio::spawn(run(self.channel.clone(), receiver));
                *slot = Some(sender.clone());
                sender
            }
        }
    }
}

/// Carries commands until the stream breaks; dropping the senders in `unanswered` and in the queue
/// tells everyone who still waits.
async fn run(channel: Channel, mut queue: mpsc::Receiver<Waiting>) {
    let (requests, outbound) = mpsc::channel(limits::STREAM_MESSAGES_MAX);
    let opening = open(channel, ReceiverStream::new(outbound));
    let Ok(Ok(response)) = tokio::time::timeout(limits::ATTEMPT_TIMEOUT, opening).await else {
        return give_back(queue).await;
    };
    let unanswered = Arc::new(Mutex::new(Unanswered::default()));
    let reading = tokio::spawn(read(response.into_inner(), Arc::clone(&unanswered)));
    let writing = write(&mut queue, &requests, &unanswered);
    tokio::pin!(reading);
    tokio::select! {
        () = writing => reading.abort(),
        _ = &mut reading => {}
    }
    unanswered.lock().places.clear();
    give_back(queue).await;
}

/// The generated client would encode commands itself.
async fn open(
    channel: Channel,
    requests: ReceiverStream<PackedRequest>,
) -> Result<Response<Streaming<SubmitResponse>>, Status> {
    let mut client = Grpc::new(channel).max_decoding_message_size(limits::MESSAGE_BYTES_MAX);
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    let path = PathAndQuery::from_static("/onsale.allocator.v1.AllocatorService/Submit");
    client.streaming(Request::new(requests), path, ProstCodec::default()).await
}

/// Tells those whose command was never sent.
async fn give_back(mut queue: mpsc::Receiver<Waiting>) {
    queue.close();
    while let Some(waiting) = queue.recv().await {
        let _ = waiting.answer.send(Err(NoOutcome::NotSent));
    }
}

async fn write(
    queue: &mut mpsc::Receiver<Waiting>,
    requests: &mpsc::Sender<PackedRequest>,
    unanswered: &Mutex<Unanswered>,
) {
    let mut ready = Vec::with_capacity(limits::STREAM_BATCH_MAX);
    while queue.recv_many(&mut ready, limits::STREAM_BATCH_MAX).await > 0 {
        gather(queue, &mut ready).await;
        let items = {
            let mut unanswered = unanswered.lock();
            ready.drain(..).map(|waiting| unanswered.tag(waiting)).collect()
        };
        if requests.send(PackedRequest { items }).await.is_err() {
            return;
        }
    }
}

/// Requests that other tasks are about to hand over go out in the same message: a message costs
/// about what ten commands in it do.
async fn gather(queue: &mut mpsc::Receiver<Waiting>, ready: &mut Vec<Waiting>) {
    for _ in 0..limits::STREAM_GATHER_YIELDS {
        let before = ready.len();
        tokio::task::yield_now().await;
        while ready.len() < limits::STREAM_BATCH_MAX
            && let Ok(waiting) = queue.try_recv()
        {
            ready.push(waiting);
        }
        if ready.len() == before {
            return;
        }
    }
}

async fn read(mut answers: Streaming<SubmitResponse>, unanswered: Arc<Mutex<Unanswered>>) {
    while let Ok(Some(response)) = answers.message().await {
        let mut unanswered = unanswered.lock();
        for answer in response.answers {
            unanswered.answer(answer);
        }
    }
}

impl Unanswered {
    fn tag(&mut self, mut waiting: Waiting) -> PackedItem {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.places[place] = Some(waiting.answer);
        waiting.item.tag = place as u64;
        waiting.item
    }

    fn answer(&mut self, answer: SubmitAnswer) {
        let place = usize::try_from(answer.tag).unwrap_or(usize::MAX);
        let Some(sender) = self.places.get_mut(place).and_then(Option::take) else {
            return;
        };
        self.free.push(place);
        if let Some(outcome) = answer.outcome {
            // Nobody waits any more when the request's budget is used up.
            let _ = sender.send(Ok(outcome));
        }
    }
}
