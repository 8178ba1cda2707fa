//! Owns one shard's stream of appends to one peer: one that is to be answered at a time, and
//! others that nobody waits for and that the next one makes needless.
//!
//! Must never hang: an answer that is late breaks the stream. Must never take one request's answer
//! for another's: who uses a stream after it broke has to open a new one.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;
use onsale_proto::allocator::{RaftRequest, RaftResponse};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, Sleep, sleep, timeout, timeout_at},
};
use tonic::{Status, Streaming};

use super::{
    network::{Client, timed_out},
    types::{LogId, Vote},
};
use crate::limits::{APPEND_TIMEOUT, APPENDS_QUEUED_MAX, COMMIT_TOLD_WITHIN};

/// What an append carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) vote: Vote,
    pub(super) prev: Option<LogId>,
    /// Of the last entry that fitted; none for a heartbeat.
    pub(super) last: Option<LogId>,
}

pub(super) struct AppendStream {
    requests: mpsc::Sender<RaftRequest>,
    answers: Answers,
    /// What was asked, and when.
    unanswered: Option<(Sent, Instant)>,
    /// How many were asked.
    asked: u64,
}

enum Answers {
    /// Goes on when its caller gives up: a slow link gets its stream, too.
    Opening(JoinHandle<Result<Streaming<RaftResponse>, Status>>),
    Open(Box<Streaming<RaftResponse>>),
}

impl AppendStream {
    pub(super) fn open(mut client: Client) -> AppendStream {
        let (requests, outgoing) = mpsc::channel(APPENDS_QUEUED_MAX);
        let opening = tokio::spawn(async move {
            let opened = client.append_entries(Outgoing::new(outgoing));
            let opened = timeout(APPEND_TIMEOUT, opened).await.map_err(|_| timed_out())?;
            opened.map(tonic::Response::into_inner)
        });
        AppendStream { requests, answers: Answers::Opening(opening), unanswered: None, asked: 0 }
    }

    /// Whether an answer is still to come.
    pub(super) fn owes_answer(&self) -> bool {
        self.unanswered.is_some()
    }

    /// Puts a request on its way that gets no answer; `false` if there is no room.
    pub(super) fn tell(&self, request: RaftRequest) -> bool {
        self.requests.try_send(request).is_ok()
    }

    /// Puts a request on its way. Must not be called while an answer is to come.
    ///
    /// # Errors
    /// `unavailable` when the stream is broken or full.
    pub(super) fn ask(&mut self, sent: Sent, request: RaftRequest) -> Result<(), Status> {
        self.asked += 1;
        let queued = self.requests.try_send(RaftRequest { number: self.asked, ..request });
        queued.map_err(|error| Status::unavailable(format!("the stream of appends: {error}")))?;
        self.unanswered = Some((sent, Instant::now()));
        Ok(())
    }

    /// The answer, and to what. Cancel safe: dropped meanwhile, it is still to come.
    ///
    /// # Errors
    /// Why the stream is broken; `deadline_exceeded` when the answer is late.
    pub(super) async fn answer(&mut self) -> Result<(Sent, RaftResponse), Status> {
        let Some((sent, at)) = self.unanswered else {
            return Err(Status::internal("no answer is to come"));
        };
        let answer = timeout_at(at + APPEND_TIMEOUT, self.answers.next()).await;
        let answer = answer.map_err(|_| timed_out())??;
        if answer.number != self.asked {
            // Taken for this one's, it could acknowledge entries that are not on disk there.
            return Err(Status::internal("the peer answered another append"));
        }
        self.unanswered = None;
        Ok((sent, answer))
    }
}

/// What goes out. A quiet append waits a moment for another one, which says all that it does.
struct Outgoing {
    requests: mpsc::Receiver<RaftRequest>,
    quiet: Option<RaftRequest>,
    moment: Pin<Box<Sleep>>,
}

impl Outgoing {
    fn new(requests: mpsc::Receiver<RaftRequest>) -> Outgoing {
        Outgoing { requests, quiet: None, moment: Box::pin(sleep(COMMIT_TOLD_WITHIN)) }
    }
}

impl Stream for Outgoing {
    type Item = RaftRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<RaftRequest>> {
        loop {
            match self.requests.poll_recv(context) {
                Poll::Ready(Some(request)) if request.quiet => {
                    if self.quiet.replace(request).is_none() {
                        self.moment.as_mut().reset(Instant::now() + COMMIT_TOLD_WITHIN);
                    }
                }
                Poll::Ready(other) => {
                    self.quiet = None;
                    return Poll::Ready(other);
                }
                Poll::Pending if self.quiet.is_none() => return Poll::Pending,
                Poll::Pending => {
                    return self.moment.as_mut().poll(context).map(|()| self.quiet.take());
                }
            }
        }
    }
}

impl Answers {
    async fn next(&mut self) -> Result<RaftResponse, Status> {
        if let Answers::Opening(opening) = self {
            let opened = opening.await.map_err(|error| Status::internal(error.to_string()))?;
            *self = Answers::Open(Box::new(opened?));
        }
        let Answers::Open(answers) = self else {
            return Err(Status::internal("the stream of appends is not open"));
        };
        let answer = answers.message().await?;
        answer.ok_or_else(|| Status::unavailable("the peer ended the stream of appends"))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt as _;
    use http_body_util::Full;
    use prost::Message as _;
    use tonic::codec::Codec as _;
    use tonic_prost::ProstCodec;

    use super::*;

    /// A stream whose peer answered with these numbers.
    fn answered_with(numbers: &[u64]) -> (AppendStream, mpsc::Receiver<RaftRequest>) {
        let mut body = Vec::new();
        for &number in numbers {
            let answer = RaftResponse { number, ..RaftResponse::default() }.encode_to_vec();
            body.push(0);
            body.extend_from_slice(&(answer.len() as u32).to_be_bytes());
            body.extend_from_slice(&answer);
        }
        let decoder = ProstCodec::<RaftRequest, RaftResponse>::default().decoder();
        let body = Full::new(Bytes::from(body));
        let answers = Streaming::new_response(decoder, body, http::StatusCode::OK, None, None);
        let (requests, sent) = mpsc::channel(APPENDS_QUEUED_MAX);
        let answers = Answers::Open(Box::new(answers));
        (AppendStream { requests, answers, unanswered: None, asked: 0 }, sent)
    }

    fn sent() -> Sent {
        Sent { vote: Vote::new_committed(3, 1), prev: None, last: None }
    }

    #[tokio::test]
    async fn an_answer_to_what_was_only_told_acknowledges_nothing() {
        let (mut stream, mut requests) = answered_with(&[1, 0, 2]);
        stream.ask(sent(), RaftRequest::default()).expect("room");
        assert!(stream.answer().await.is_ok());
        assert!(!stream.owes_answer());
        // A peer of another version, which answers quiet requests, too.
        assert!(stream.tell(RaftRequest { quiet: true, ..RaftRequest::default() }));
        stream.ask(sent(), RaftRequest::default()).expect("room");
        let answer = stream.answer().await;
        assert!(answer.is_err(), "{answer:?}");
        let numbers: Vec<u64> =
            std::iter::from_fn(|| requests.try_recv().ok()).map(|sent| sent.number).collect();
        assert_eq!(numbers, [1, 0, 2]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_told_goes_out_alone_after_a_moment_or_not_at_all() {
        let (requests, queued) = mpsc::channel(APPENDS_QUEUED_MAX);
        let mut outgoing = Outgoing::new(queued);
        let request = |number, quiet| RaftRequest { number, quiet, ..RaftRequest::default() };
        let started = Instant::now();
        for number in 1..=2 {
            requests.send(request(number, true)).await.expect("room");
        }
        let told = outgoing.next().await.expect("told");
        assert_eq!((told.number, started.elapsed()), (2, COMMIT_TOLD_WITHIN));
        requests.send(request(3, true)).await.expect("room");
        assert!(timeout(COMMIT_TOLD_WITHIN / 2, outgoing.next()).await.is_err());
        requests.send(request(4, false)).await.expect("room");
        assert_eq!(outgoing.next().await.expect("asked").number, 4);
        assert!(timeout(COMMIT_TOLD_WITHIN * 2, outgoing.next()).await.is_err());
        requests.send(request(5, true)).await.expect("room");
        drop(requests);
        assert!(outgoing.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_does_not_come_is_waited_for_so_long_and_can_be_waited_for_again() {
        let (mut stream, _requests) = answered_with(&[]);
        stream.answers = Answers::Opening(tokio::spawn(std::future::pending()));
        stream.ask(sent(), RaftRequest::default()).expect("room");
        let given_up = timeout(APPEND_TIMEOUT / 2, stream.answer()).await;
        assert!(given_up.is_err() && stream.owes_answer());
        let late = stream.answer().await.expect_err("late");
        assert_eq!(late.code(), tonic::Code::DeadlineExceeded);
    }
}
