//! Owns how a shard's state is copied out while commands go on being applied: what is small at one
//! moment, holds and orders bit by bit, as they were at that moment.
//!
//! Must never give out a state that the shard was not in: whatever changes after the moment is
//! kept by the slabs until it is copied.

use std::{convert::Infallible, sync::Arc};

use super::write;
use crate::{
    codec::put_varint, event::EventState, hold::HoldRef, order::Order, seat_map::SeatMap,
    shard::Shard, slab::Slab,
};

/// A part of a snapshot. Together, in their order, they are all of it.
pub(super) enum Part {
    /// As it is written.
    Bytes(Vec<u8>),
    /// The sections of a map; large, and never changed in place.
    Sections(Arc<SeatMap>),
    /// All holds.
    Holds,
    /// All orders.
    Orders,
}

/// Encoded records, found by their ids. In chunks: one buffer that grows is copied now and then,
/// which takes tens of milliseconds in which nothing is applied.
#[derive(Default)]
struct Records {
    chunks: Vec<Chunk>,
    count: usize,
}

#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Id, and where the record ends; it begins where the one before it does.
    ends: Vec<(u128, u32)>,
}

/// Bytes after which records go on in another chunk.
const CHUNK_BYTES: usize = 32 << 10;

impl Records {
    /// Adds the record of an id; `encode` writes it.
    fn add(&mut self, id: u128, encode: impl FnOnce(&mut Vec<u8>)) {
        if self.chunks.last().is_none_or(|chunk| chunk.bytes.len() >= CHUNK_BYTES) {
            let bytes = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 8);
            self.chunks.push(Chunk { bytes, ends: Vec::with_capacity(CHUNK_BYTES / 64) });
        }
        if let Some(chunk) = self.chunks.last_mut() {
            encode(&mut chunk.bytes);
            chunk.ends.push((id, chunk.bytes.len() as u32));
            self.count += 1;
        }
    }

    /// How many, then each in the order of ids.
    fn write<E>(&self, put: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut count = Vec::new();
        put_varint(&mut count, self.count as u64);
        put(&count)?;
        let mut sorted = Vec::with_capacity(self.count);
        for (nth, chunk) in self.chunks.iter().enumerate() {
            let mut start = 0;
            for &(id, end) in &chunk.ends {
                sorted.push((id, nth as u32, start, end));
                start = end;
            }
        }
        sorted.sort_unstable();
        sorted.into_iter().try_for_each(|(_, nth, start, end)| {
            put(&self.chunks[nth as usize].bytes[start as usize..end as usize])
        })
    }
}

/// A shard's state at one moment: made by [`Shard::begin_copy`], filled by [`Shard::copy_some`].
pub struct Copy {
    parts: Vec<Part>,
    holds: Records,
    orders: Records,
}

impl Copy {
    /// Gives the bytes out that [`Shard::encode_snapshot`] would have at that moment, piece by
    /// piece. Only a copy that [`Shard::copy_some`] has completed is a snapshot.
    ///
    /// # Errors
    ///
    /// What `put` says.
    pub fn write<E>(&self, mut put: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        for part in &self.parts {
            match part {
                Part::Bytes(bytes) => put(bytes)?,
                Part::Sections(map) => {
                    let mut bytes = Vec::new();
                    write::encode_sections(map, &mut bytes);
                    put(&bytes)?;
                }
                Part::Holds => self.holds.write(&mut put)?,
                Part::Orders => self.orders.write(&mut put)?,
            }
        }
        Ok(())
    }
}

impl Copy {
    fn new(parts: Vec<Part>) -> Self {
        Self { parts, holds: Records::default(), orders: Records::default() }
    }

    fn add_hold(&mut self, events: &[EventState], orders: &Slab<Order>, hold: &HoldRef<'_>) {
        self.holds.add(hold.id.0, |out| write::encode_hold(events, orders, hold, out));
    }

    fn add_order(&mut self, events: &[EventState], order: &Order) {
        self.orders.add(order.id.0, |out| write::encode_order(events, order, out));
    }
}

impl Shard {
    /// Adds the whole state to `out`. Equal states give equal bytes.
    pub fn encode_snapshot(&self, out: &mut Vec<u8>) {
        let mut copy = Copy::new(self.parts());
        for (_, hold) in self.holds.iter() {
            copy.add_hold(&self.events, &self.orders.slab, &hold);
        }
        for (_, order) in self.orders.slab.iter() {
            copy.add_order(&self.events, order);
        }
        let Ok(()) = copy.write(|bytes| {
            out.extend_from_slice(bytes);
            Ok::<_, Infallible>(())
        });
    }

    /// Begins to copy the state as it is now. Takes as long as there are events, jobs and
    /// documents; holds and orders follow in [`Shard::copy_some`]. One copy at a time.
    ///
    /// # Panics
    ///
    /// When a copy is under way.
    pub fn begin_copy(&mut self) -> Copy {
        assert!(!self.is_being_copied(), "a second copy was begun");
        self.holds.slab.begin_cut();
        self.orders.slab.begin_cut();
        Copy::new(self.parts())
    }

    /// Copies up to `most` holds or orders more; `false` when the copy is complete. Between two
    /// calls commands may be applied.
    pub fn copy_some(&mut self, copy: &mut Copy, most: usize) -> bool {
        let (events, orders) = (&self.events, &self.orders.slab);
        let holds = &mut self.holds;
        // A hold names its order by the slot, which stays the order's as long as the hold is there.
        if holds.read_cut(most, |hold| copy.add_hold(events, orders, &hold)) {
            return true;
        }
        if self.orders.slab.read_cut(most, |order| copy.add_order(events, order)) {
            return true;
        }
        self.end_copy();
        false
    }

    /// Ends a copy, complete or not.
    pub fn end_copy(&mut self) {
        self.holds.slab.end_cut();
        self.orders.slab.end_cut();
    }

    /// Is a copy under way?
    pub fn is_being_copied(&self) -> bool {
        self.holds.slab.is_cut()
    }
}
