//! Owns one event's seats and counts as of a position, and their encodings: made once per change,
//! when somebody asks.
//!
//! Must never go back: a state is replaced by a later one only.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::HeaderValue;
use onsale_proto::allocator::{EventAvailability, SectionAvailability};
use parking_lot::Mutex;
use tokio::sync::broadcast;

use super::{Tile, stream::Frame};
use crate::{event_view::EventView, json::write_text, limits};

const AVAILABLE: usize = 0;
const HELD: usize = 1;
const SOLD: usize = 2;
const KILLED: usize = 3;

/// One event.
pub(crate) struct Live {
    event_no: u32,
    shard: u32,
    left: AtomicU64,
    state: Mutex<State>,
    frames: broadcast::Sender<Arc<Frame>>,
}

/// What changes.
pub(super) struct State {
    pub sections: Vec<SectionState>,
    /// Index of the entry that last changed something.
    pub position: u64,
    whole: Option<Tile>,
    pub watch: Option<Watch>,
}

/// One section.
pub(super) struct SectionState {
    /// Places by state: available, held, sold, killed.
    pub counts: [u32; 4],
    first_seat: u32,
    /// Numbered seats; 0 in general admission.
    seats: u32,
    bits: Vec<u8>,
    changed_at: u64,
    tile: Option<Tile>,
}

/// What is kept while somebody watches.
pub(super) struct Watch {
    pub keys: Vec<Box<str>>,
    /// The first position from which a viewer can go on.
    pub from: u64,
    /// Changes since the last frame: section → seat in the section → state.
    pub pending: BTreeMap<usize, HashMap<u32, u8>>,
    pub pending_from: u64,
    pub ring: VecDeque<Arc<Frame>>,
    pub ring_bytes: usize,
    pub unwatched_ticks: u32,
}

impl SectionState {
    fn new(index: u64, first_seat: u32, section: &SectionAvailability) -> SectionState {
        let counts = counts(section);
        let seats = if section.seats.is_empty() { 0 } else { counts.iter().sum() };
        SectionState {
            counts,
            first_seat,
            seats,
            bits: section.seats.to_vec(),
            changed_at: index,
            tile: None,
        }
    }

    fn state_of(&self, place: u32) -> usize {
        let byte = self.bits.get(place as usize / 4).copied().unwrap_or(0);
        usize::from(byte >> (place % 4 * 2) & 3)
    }

    fn set(&mut self, place: u32, state: usize) {
        let before = self.state_of(place);
        if let Some(byte) = self.bits.get_mut(place as usize / 4) {
            let shift = place % 4 * 2;
            *byte = *byte & !(3 << shift) | u8::try_from(state).unwrap_or(0) << shift;
            self.counts[before] = self.counts[before].saturating_sub(1);
            self.counts[state] += 1;
        }
    }

    fn changed(&mut self, index: u64) {
        self.changed_at = index;
        self.tile = None;
    }
}

fn counts(section: &SectionAvailability) -> [u32; 4] {
    [section.available, section.held, section.sold, section.killed]
}

fn sections(index: u64, event: &EventAvailability) -> Vec<SectionState> {
    let mut next_seat = 0;
    event
        .sections
        .iter()
        .map(|section| {
            let state = SectionState::new(index, next_seat, section);
            next_seat += state.seats;
            state
        })
        .collect()
}

impl Live {
    pub(super) fn new(shard: u32, index: u64, event: &EventAvailability) -> Live {
        let live = Live {
            event_no: event.event_no,
            shard,
            left: AtomicU64::new(0),
            state: Mutex::new(State {
                sections: sections(index, event),
                position: index,
                whole: None,
                watch: None,
            }),
            frames: broadcast::Sender::new(limits::STREAM_LAG_MAX),
        };
        live.count_left(&live.state.lock());
        live
    }

    pub(super) fn event_no(&self) -> u32 {
        self.event_no
    }

    pub(super) fn shard(&self) -> u32 {
        self.shard
    }

    /// Places that are neither sold nor withdrawn.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    fn count_left(&self, state: &State) {
        let left = state
            .sections
            .iter()
            .map(|section| u64::from(section.counts[AVAILABLE]) + u64::from(section.counts[HELD]))
            .sum();
        self.left.store(left, Ordering::Relaxed);
    }

    /// Places available by section, in the order of the seat map.
    pub(crate) fn available(&self) -> Vec<u32> {
        let state = self.state.lock();
        let available = |section: &SectionState| section.counts[AVAILABLE];
        state.sections.iter().map(available).collect()
    }

    /// Takes over a whole state, exact at `index`; sections that are as before keep their position.
    pub(super) fn replace(&self, index: u64, event: &EventAvailability) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.sections.len() != event.sections.len() {
            state.sections = sections(index, event);
            self.start_again(state, index);
        } else {
            let mut changed = false;
            for (mine, theirs) in state.sections.iter_mut().zip(&event.sections) {
                if mine.counts != counts(theirs) || mine.bits[..] != theirs.seats[..] {
                    mine.counts = counts(theirs);
                    mine.bits = theirs.seats.to_vec();
                    mine.changed(index);
                    changed = true;
                }
            }
            if changed {
                self.start_again(state, index);
            }
        }
        self.count_left(state);
    }

    /// What led to this state is not known: who watches has to read it anew.
    fn start_again(&self, state: &mut State, index: u64) {
        state.moved(index);
        if let Some(watch) = &mut state.watch {
            watch.forget_deltas(index);
            // Nobody there to hear it is fine.
            let _ = self.frames.send(Arc::new(Frame::reset(index)));
        }
    }

    /// Numbered seats have a new state since `index`.
    pub(super) fn seats_changed(&self, index: u64, seats: &[u32], to: u32) {
        let to = to as usize;
        if to > KILLED {
            return;
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        for seat in seats {
            let after = state.sections.partition_point(|section| section.first_seat <= *seat);
            // General admission has no seats and begins where the next section does.
            let Some(place) = (0..after).rev().find(|place| state.sections[*place].seats > 0)
            else {
                continue;
            };
            let section = &mut state.sections[place];
            let in_section = seat - section.first_seat;
            if in_section >= section.seats {
                continue;
            }
            section.set(in_section, to);
            section.changed(index);
            if let Some(watch) = &mut state.watch {
                let pending = watch.pending.entry(place).or_default();
                pending.insert(in_section, u8::try_from(to).unwrap_or(0));
            }
        }
        state.moved(index);
        self.count_left(state);
    }

    /// A general admission area has new counts since `index`.
    pub(super) fn area_changed(&self, index: u64, section: u32, held: u32, sold: u32, killed: u32) {
        let mut state = self.state.lock();
        let state = &mut *state;
        let place = section as usize;
        let Some(area) = state.sections.get_mut(place) else {
            return;
        };
        let capacity: u32 = area.counts.iter().sum();
        let available = capacity.saturating_sub(held).saturating_sub(sold);
        area.counts[AVAILABLE] = available.saturating_sub(killed);
        area.counts[HELD] = held;
        area.counts[SOLD] = sold;
        area.counts[KILLED] = killed;
        area.changed(index);
        if let Some(watch) = &mut state.watch {
            watch.pending.entry(place).or_default();
        }
        state.moved(index);
        self.count_left(state);
    }

    pub(super) fn lock(&self) -> parking_lot::MutexGuard<'_, State> {
        self.state.lock()
    }

    pub(super) fn frames(&self) -> &broadcast::Sender<Arc<Frame>> {
        &self.frames
    }

    /// The bytes of the whole event (`None`) or of one section.
    pub(super) fn encoded(&self, view: &EventView, place: Option<usize>) -> Option<Tile> {
        let mut state = self.state.lock();
        let state = &mut *state;
        if view.document.sections.len() != state.sections.len() {
            return None;
        }
        let Some(place) = place else {
            if state.whole.is_none() {
                let all = 0..state.sections.len();
                state.whole = Some(encode(view, &state.sections, all, state.position));
            }
            return state.whole.clone();
        };
        let section = state.sections.get(place)?;
        if section.tile.is_none() {
            let only = place..place + 1;
            let tile = encode(view, &state.sections, only, section.changed_at);
            state.sections[place].tile = Some(tile);
        }
        state.sections[place].tile.clone()
    }
}

impl State {
    fn moved(&mut self, index: u64) {
        self.position = index;
        self.whole = None;
    }
}

impl Watch {
    fn forget_deltas(&mut self, index: u64) {
        self.pending.clear();
        self.pending_from = index;
        self.ring.clear();
        self.ring_bytes = 0;
        self.from = index;
    }
}

fn encode(
    view: &EventView,
    sections: &[SectionState],
    places: std::ops::Range<usize>,
    position: u64,
) -> Tile {
    let bits: usize =
        sections[places.clone()].iter().map(|section| section.bits.len() * 4 / 3 + 128).sum();
    let mut out = Vec::with_capacity(bits + 128);
    out.extend_from_slice(b"{\"event_id\":");
    write_text(&mut out, &view.document.event_id);
    out.extend_from_slice(format!(",\"position\":{position},\"sections\":[").as_bytes());
    let first = places.start;
    for place in places {
        if place > first {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"key\":");
        write_text(&mut out, &view.document.sections[place].key);
        let section = &sections[place];
        let [available, held, sold, killed] = section.counts;
        out.extend_from_slice(
            format!(
                ",\"available\":{available},\"held\":{held},\"sold\":{sold},\"killed\":{killed}"
            )
            .as_bytes(),
        );
        if section.seats > 0 {
            out.extend_from_slice(b",\"seats\":\"");
            out.extend_from_slice(STANDARD.encode(&section.bits).as_bytes());
            out.push(b'"');
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Tile {
        etag: HeaderValue::try_from(format!("\"{position}\""))
            .unwrap_or(HeaderValue::from_static("\"0\"")),
        body: Bytes::from(out),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::Value;

    use super::*;
    use crate::event_view::tests::document;

    /// Matches `event_view::tests::document`: 8 seats, 50 places, 4 seats.
    pub(crate) fn availability() -> EventAvailability {
        let section = |available, bytes: usize| SectionAvailability {
            available,
            seats: Bytes::from(vec![0; bytes]),
            ..SectionAvailability::default()
        };
        EventAvailability {
            event_no: 7,
            event_id: "evt_test".into(),
            revision: 1,
            sections: vec![section(8, 2), section(50, 0), section(4, 1)],
        }
    }

    fn read(tile: &Tile) -> Value {
        serde_json::from_slice(&tile.body).expect("JSON")
    }

    #[test]
    fn a_change_moves_counts_bits_and_only_the_tags_it_touches() {
        let view = EventView::new(document());
        let live = Live::new(1, 10, &availability());
        let before = live.tile(&view, Some("101")).expect("a section");
        live.seats_changed(11, &[8, 9], 1);
        live.seats_changed(12, &[9], 2);
        live.area_changed(13, 1, 3, 2, 0);
        let whole = live.tile(&view, None).expect("the event");
        assert_eq!(whole.etag, "\"13\"");
        let json = read(&whole);
        assert_eq!(json["position"], 13);
        assert_eq!(json["sections"][2]["available"], 2);
        assert_eq!(json["sections"][2]["held"], 1);
        assert_eq!(json["sections"][2]["sold"], 1);
        assert_eq!(json["sections"][2]["seats"], STANDARD.encode([0b1001]));
        assert_eq!(json["sections"][1]["available"], 45);
        assert!(json["sections"][1].get("seats").is_none());
        let after = live.tile(&view, Some("101")).expect("a section");
        assert_eq!(before.etag, after.etag, "101 did not change");
        assert_eq!(before.body, after.body);
        assert_eq!(live.tile(&view, Some("102")).expect("a section").etag, "\"12\"");
        assert!(live.tile(&view, Some("103")).is_none());
        assert_eq!(live.left(), 8 + 48 + 3);
    }

    #[test]
    fn the_same_state_again_keeps_its_position() {
        let view = EventView::new(document());
        let live = Live::new(1, 10, &availability());
        live.replace(20, &availability());
        assert_eq!(live.tile(&view, None).expect("the event").etag, "\"10\"");
        let mut other = availability();
        other.sections[2].available = 3;
        other.sections[2].sold = 1;
        other.sections[2].seats = Bytes::from_static(&[2]);
        live.replace(30, &other);
        assert_eq!(live.tile(&view, None).expect("the event").etag, "\"30\"");
        assert_eq!(live.tile(&view, Some("101")).expect("a section").etag, "\"10\"");
    }

    #[test]
    fn nonsense_from_a_feed_is_left_alone() {
        let live = Live::new(1, 10, &availability());
        live.seats_changed(11, &[12, 4_000_000_000], 1);
        live.seats_changed(12, &[0], 9);
        live.area_changed(13, 99, 1, 1, 1);
        assert_eq!(live.left(), 62);
        assert_eq!(live.available(), [8, 50, 4]);
    }
}
