//! Owns what the change feed says: what is different after an entry, in absolute values, so that
//! applying a change twice does no harm.
//!
//! Must never carry personal data or secrets.

use smallvec::SmallVec;

use crate::{
    ids::{EventNo, LogTimeMs, OrderId, SeatNo, SectionNo},
    order::OrderStatus,
    seat_word::SeatState,
};

/// One difference. All changes of an entry are delivered together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Numbered seats have a new state.
    Seats {
        /// The event.
        event: EventNo,
        /// Their state now.
        state: SeatState,
        /// The seats.
        seats: SmallVec<[SeatNo; 8]>,
        /// The low 8 bytes of the key hash whose request did it; 0 where no key did.
        key_tag: u64,
        /// When a hold on them ends; 0 where the state does not end by itself.
        until_ms: LogTimeMs,
    },
    /// A general admission area has new counts.
    GeneralAdmission {
        /// The event.
        event: EventNo,
        /// The area.
        section: SectionNo,
        /// Places held.
        held: u32,
        /// Places sold.
        sold: u32,
        /// Places withdrawn.
        killed: u32,
    },
    /// An event was opened or its rules changed; its view says what is in force.
    Event {
        /// The event.
        event: EventNo,
        /// The revision in force.
        revision: u64,
    },
    /// An order has a new state.
    Order {
        /// The order.
        order: OrderId,
        /// Its event.
        event: EventNo,
        /// Its state now.
        status: OrderStatus,
    },
    /// A payment job may be due.
    JobDue,
    /// A document's revision was published (control group).
    Published {
        /// The event's public id.
        event_id: Box<str>,
        /// The published revision.
        revision: u64,
    },
    /// An API key was stored (control group).
    ApiKey {
        /// SHA-256 of the key.
        key_hash: [u8; 32],
    },
    /// A signing key was stored (control group).
    SigningKey {
        /// Its number.
        key_id: u32,
    },
}

impl Change {
    /// Adds a change of seats, to be named where it stands: moving a finished one costs more.
    #[inline(always)]
    pub(crate) fn of_seats(
        event: EventNo,
        state: SeatState,
        (key_tag, until_ms): (u64, LogTimeMs),
        changes: &mut Vec<Self>,
    ) -> &mut SmallVec<[SeatNo; 8]> {
        let seats = SmallVec::new();
        changes.push(Self::Seats { event, state, seats, key_tag, until_ms });
        match changes.last_mut() {
            Some(Self::Seats { seats, .. }) => seats,
            _ => panic!("what was added is not there"),
        }
    }
}
