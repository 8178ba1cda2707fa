//! Owns the live streams: changes of an event put together into frames, encoded once and shared by
//! all viewers, and what a viewer gets who comes, lags or comes back.
//!
//! Must never buffer for a slow viewer: it is told to start again (`reset`).

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::{Instant, Interval, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::live::{Live, State, Watch};
use crate::{body::Pieces, event_view::EventView, json::write_text, limits};

/// One delta as it is sent.
pub(crate) struct Frame {
    position: u64,
    bytes: Bytes,
}

impl Frame {
    /// The one that says "read the state again".
    pub(super) fn reset(position: u64) -> Frame {
        Frame { position, bytes: message("reset", position) }
    }
}

const KEEPALIVE: Bytes = Bytes::from_static(b": still here\n\n");

impl Live {
    /// Puts the changes since the last tick together and sends them to all viewers. Returns
    /// whether anybody watches or has just watched.
    pub(super) fn tick(&self) -> bool {
        let mut state = self.lock();
        let viewers = self.frames().receiver_count();
        let State { sections, position, watch: watching, .. } = &mut *state;
        let Some(watch) = watching else {
            return false;
        };
        watch.unwatched_ticks = if viewers > 0 { 0 } else { watch.unwatched_ticks + 1 };
        if watch.unwatched_ticks > limits::STREAM_UNWATCHED_TICKS_MAX {
            *watching = None;
            return false;
        }
        if watch.pending.is_empty() {
            return true;
        }
        let pending = std::mem::take(&mut watch.pending);
        let changes: Vec<_> = pending
            .into_iter()
            .filter_map(|(place, seats)| {
                let section = sections.get(place)?;
                let seats: BTreeMap<u32, u8> = seats.into_iter().collect();
                Some((&*watch.keys[place.min(watch.keys.len() - 1)], section.counts, seats))
            })
            .collect();
        let bytes = encode(watch.pending_from, *position, &changes);
        watch.pending_from = *position;
        let frame = Arc::new(Frame { position: *position, bytes });
        watch.keep(frame.clone());
        // Nobody there to hear it is fine.
        let _ = self.frames().send(frame);
        true
    }

    /// What a new viewer gets first, and where the rest comes from. `from` is the position it has.
    pub(crate) fn watch(
        &self,
        view: &EventView,
        from: Option<u64>,
    ) -> (VecDeque<Bytes>, broadcast::Receiver<Arc<Frame>>) {
        let mut state = self.lock();
        let receiver = self.frames().subscribe();
        let position = state.position;
        let watch = state.watch.get_or_insert_with(|| Watch {
            keys: view
                .document
                .sections
                .iter()
                .map(|section| section.key.clone().into_boxed_str())
                .collect(),
            from: position,
            pending: BTreeMap::new(),
            pending_from: position,
            ring: VecDeque::new(),
            ring_bytes: 0,
            unwatched_ticks: 0,
        });
        watch.unwatched_ticks = 0;
        let first = match from {
            None => VecDeque::from([message("position", watch.pending_from)]),
            Some(from) if from < watch.from => VecDeque::from([message("reset", position)]),
            Some(from) => watch
                .ring
                .iter()
                .filter(|frame| frame.position > from)
                .map(|frame| frame.bytes.clone())
                .collect(),
        };
        (first, receiver)
    }

    fn position(&self) -> u64 {
        self.lock().position
    }
}

impl Watch {
    fn keep(&mut self, frame: Arc<Frame>) {
        self.ring_bytes += frame.bytes.len();
        self.ring.push_back(frame);
        while self.ring.len() > limits::STREAM_FRAMES_MAX
            || self.ring_bytes > limits::STREAM_FRAMES_BYTES_MAX
        {
            let Some(oldest) = self.ring.pop_front() else {
                break;
            };
            self.ring_bytes -= oldest.bytes.len();
            self.from = oldest.position;
        }
    }
}

type Change<'a> = (&'a str, [u32; 4], BTreeMap<u32, u8>);

fn encode(from: u64, position: u64, changes: &[Change<'_>]) -> Bytes {
    let mut out = format!(
        "id: {position}\nevent: delta\n\
         data: {{\"position\":{position},\"from\":{from},\"sections\":["
    )
    .into_bytes();
    for (place, (key, [available, held, sold, killed], seats)) in changes.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        write_text(&mut out, key);
        let counts = format!(
            ",\"available\":{available},\"held\":{held},\"sold\":{sold},\"killed\":{killed}"
        );
        out.extend_from_slice(counts.as_bytes());
        if !seats.is_empty() {
            out.extend_from_slice(b",\"changes\":[");
            for (place, (seat, state)) in seats.iter().enumerate() {
                let comma = if place > 0 { "," } else { "" };
                out.extend_from_slice(format!("{comma}[{seat},{state}]").as_bytes());
            }
            out.push(b']');
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}\n\n");
    Bytes::from(out)
}

fn message(event: &str, position: u64) -> Bytes {
    Bytes::from(format!("id: {position}\nevent: {event}\ndata: {{\"position\":{position}}}\n\n"))
}

/// A viewer's stream.
struct Viewer<G> {
    live: Arc<Live>,
    first: VecDeque<Bytes>,
    receiver: broadcast::Receiver<Arc<Frame>>,
    keepalive: Interval,
    shutdown: CancellationToken,
    resets: metrics::Counter,
    /// Held as long as the stream is open.
    _place: G,
}

/// The pieces of a viewer's stream. Ends when the edge stops; `place` is dropped with it.
pub(crate) fn pieces<G: Send + 'static>(
    live: Arc<Live>,
    view: &EventView,
    from: Option<u64>,
    shutdown: CancellationToken,
    resets: metrics::Counter,
    place: G,
) -> Pieces {
    let (mut first, receiver) = live.watch(view, from);
    first.push_front(Bytes::from_static(b"retry: 1000\n\n"));
    let start = Instant::now() + limits::STREAM_KEEPALIVE;
    let mut keepalive = tokio::time::interval_at(start, limits::STREAM_KEEPALIVE);
    keepalive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let viewer = Viewer { live, first, receiver, keepalive, shutdown, resets, _place: place };
    Box::pin(futures_util::stream::unfold(viewer, |mut viewer| async {
        let piece = viewer.next().await?;
        Some((piece, viewer))
    }))
}

impl<G> Viewer<G> {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.first.pop_front() {
            return Some(piece);
        }
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            frame = self.receiver.recv() => match frame {
                Ok(frame) => Some(frame.bytes.clone()),
                Err(RecvError::Lagged(_)) => {
                    self.resets.increment(1);
                    self.receiver = self.receiver.resubscribe();
                    Some(message("reset", self.live.position()))
                }
                Err(RecvError::Closed) => None,
            },
            _ = self.keepalive.tick() => Some(KEEPALIVE),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::{availability::live::tests::availability, event_view::tests::document};

    fn open(live: &Arc<Live>, from: Option<u64>) -> Pieces {
        let view = EventView::new(document());
        let resets = metrics::Counter::noop();
        pieces(live.clone(), &view, from, CancellationToken::new(), resets, ())
    }

    async fn text(pieces: &mut Pieces) -> String {
        let piece = pieces.next().await.expect("a piece");
        String::from_utf8(piece.to_vec()).expect("UTF-8")
    }

    #[tokio::test(start_paused = true)]
    async fn viewers_share_one_delta_and_a_quiet_stream_says_that_it_lives() {
        let live = Arc::new(Live::new(1, 10, &availability()));
        let (mut one, mut two) = (open(&live, None), open(&live, Some(10)));
        assert!(text(&mut one).await.starts_with("retry"));
        assert!(text(&mut one).await.contains("event: position"));
        live.seats_changed(11, &[8], 1);
        live.seats_changed(12, &[8, 9], 2);
        assert!(live.tick());
        let delta = text(&mut one).await;
        assert!(delta.starts_with("id: 12\nevent: delta\n"), "{delta}");
        assert!(delta.contains("\"from\":10"), "{delta}");
        assert!(delta.contains("\"changes\":[[0,2],[1,2]]"), "{delta}");
        assert!(text(&mut two).await.starts_with("retry"));
        assert_eq!(text(&mut two).await, delta);
        assert!(text(&mut one).await.starts_with(": still here"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_back_goes_on_and_who_was_away_too_long_is_reset() {
        let live = Arc::new(Live::new(1, 10, &availability()));
        let first = open(&live, None);
        for index in 11..20 {
            live.seats_changed(index, &[0], 1);
            live.tick();
        }
        drop(first);
        let mut back = open(&live, Some(17));
        assert!(text(&mut back).await.starts_with("retry"));
        assert!(text(&mut back).await.starts_with("id: 18\n"));
        assert!(text(&mut back).await.starts_with("id: 19\n"));
        let mut late = open(&live, Some(9));
        assert!(text(&mut late).await.starts_with("retry"));
        assert!(text(&mut late).await.contains("event: reset"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lagging_viewer_is_reset_and_not_buffered() {
        let live = Arc::new(Live::new(1, 10, &availability()));
        let mut slow = open(&live, None);
        for index in 11..(20 + limits::STREAM_FRAMES_MAX as u64) {
            live.seats_changed(index, &[0], (index % 2) as u32);
            live.tick();
        }
        assert!(text(&mut slow).await.starts_with("retry"));
        assert!(text(&mut slow).await.contains("event: position"));
        assert!(text(&mut slow).await.contains("event: reset"));
        assert!(
            live.lock().watch.as_ref().expect("watched").ring.len() <= limits::STREAM_FRAMES_MAX
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_the_edge_stops_and_nobody_watching_costs_nothing() {
        let live = Arc::new(Live::new(1, 10, &availability()));
        let view = EventView::new(document());
        let shutdown = CancellationToken::new();
        let resets = metrics::Counter::noop();
        let mut stream = pieces(live.clone(), &view, Some(10), shutdown.clone(), resets, ());
        assert!(text(&mut stream).await.starts_with("retry"));
        shutdown.cancel();
        assert!(stream.next().await.is_none());
        drop(stream);
        let ticks = (0..=limits::STREAM_UNWATCHED_TICKS_MAX).filter(|_| live.tick());
        assert!(ticks.count() <= limits::STREAM_UNWATCHED_TICKS_MAX as usize);
        assert!(live.lock().watch.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_watches_hears_when_the_feed_starts_again_with_another_state() {
        let live = Arc::new(Live::new(1, 10, &availability()));
        let mut stream = open(&live, None);
        assert!(text(&mut stream).await.starts_with("retry"));
        assert!(text(&mut stream).await.contains("event: position"));
        live.seats_changed(11, &[8], 1);
        live.replace(12, &availability());
        live.tick();
        let next = text(&mut stream).await;
        assert!(next.starts_with("id: 12\nevent: reset\n"), "{next}");
        live.seats_changed(13, &[8], 1);
        live.tick();
        let next = text(&mut stream).await;
        assert!(next.contains("\"from\":12"), "{next}");
        let mut back = open(&live, Some(12));
        assert!(text(&mut back).await.starts_with("retry"));
        assert_eq!(text(&mut back).await, next, "no reset for who has that state");
    }
}
