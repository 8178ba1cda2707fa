//! Owns which places of an event the organizer wants withdrawn, and why: seat by seat, and by
//! number in general admission.
//!
//! A place that is held or sold when it is to be withdrawn stays its buyer's, and is withdrawn when
//! it is given back. Must never move a place itself.

use std::collections::BTreeMap;

use crate::{
    codec::{Reader, put_bytes, put_varint},
    error::DecodeError,
    ids::{SeatNo, SectionNo},
    limits::{KILL_REASONS_MAX, REASON_BYTES_MAX},
};

/// A reason, and how many seats name it.
#[derive(Clone, Debug)]
struct Reason {
    text: Box<str>,
    seats: u32,
}

/// What of an event is withdrawn, or to be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kills {
    /// By seat: 0, or one more than its reason's place in `reasons`. Empty before the first kill.
    of_seat: Vec<u16>,
    reasons: Vec<Reason>,
    /// Places of general admission areas by reason.
    areas: BTreeMap<SectionNo, BTreeMap<Box<str>, u32>>,
    /// Seats to be withdrawn that are still somebody's.
    pub(crate) pending: u32,
}

impl Kills {
    /// Is there nothing to be withdrawn that is somebody's? Then a place given back is available.
    pub(crate) fn are_settled(&self) -> bool {
        self.pending == 0 && self.areas.is_empty()
    }

    /// Is the seat withdrawn, or to be?
    pub(crate) fn has(&self, seat: SeatNo) -> bool {
        self.of_seat.get(seat as usize).is_some_and(|&reason| reason != 0)
    }

    /// Why it is withdrawn, or to be.
    pub(crate) fn reason(&self, seat: SeatNo) -> Option<&str> {
        let at = usize::from(*self.of_seat.get(seat as usize)?).checked_sub(1)?;
        self.reasons.get(at).map(|reason| &*reason.text)
    }

    /// Would one more reason be too many?
    pub(crate) fn is_full(&self, reason: &str) -> bool {
        let used = self.reasons.iter().filter(|known| known.seats > 0);
        let areas = self.areas.values().map(BTreeMap::len).max().unwrap_or(0);
        let known = self.reasons.iter().any(|known| known.seats > 0 && &*known.text == reason);
        !known && used.count().max(areas) >= KILL_REASONS_MAX
    }

    /// The seats are to be withdrawn, for this reason from now on. There is room for the reason.
    pub(crate) fn add_seats(&mut self, seats: &[SeatNo], of: usize, reason: &str) {
        if seats.is_empty() {
            return;
        }
        self.of_seat.resize(of, 0);
        let found = self.reasons.iter().position(|known| &*known.text == reason);
        let unused = || self.reasons.iter().position(|known| known.seats == 0);
        let at = found.or_else(unused).unwrap_or_else(|| {
            self.reasons.push(Reason { text: "".into(), seats: 0 });
            self.reasons.len() - 1
        });
        if self.reasons[at].seats == 0 {
            self.reasons[at].text = reason.into();
        }
        for &seat in seats {
            let mark = &mut self.of_seat[seat as usize];
            if *mark != 0 {
                self.reasons[usize::from(*mark) - 1].seats -= 1;
            }
            *mark = at as u16 + 1;
            self.reasons[at].seats += 1;
        }
    }

    /// The seat is not to be withdrawn any more.
    pub(crate) fn remove_seat(&mut self, seat: SeatNo) {
        let mark = std::mem::take(&mut self.of_seat[seat as usize]);
        assert!(mark != 0, "seat {seat} was not killed");
        self.reasons[usize::from(mark) - 1].seats -= 1;
    }

    /// So many places of an area are to be withdrawn.
    pub(crate) fn wanted(&self, section: SectionNo) -> u32 {
        self.areas.get(&section).map_or(0, |reasons| reasons.values().sum())
    }

    /// More places of an area are to be withdrawn.
    pub(crate) fn add_places(&mut self, section: SectionNo, places: u32, reason: &str) {
        let reasons = self.areas.entry(section).or_default();
        *reasons.entry(reason.into()).or_default() += places;
    }

    /// Fewer places of an area are to be withdrawn; there are so many. The last reason goes first.
    pub(crate) fn remove_places(&mut self, section: SectionNo, mut places: u32) {
        let Some(reasons) = self.areas.get_mut(&section) else {
            return;
        };
        while places > 0
            && let Some(mut last) = reasons.last_entry()
        {
            let taken = places.min(*last.get());
            *last.get_mut() -= taken;
            places -= taken;
            if *last.get() == 0 {
                last.remove();
            }
        }
        if reasons.is_empty() {
            self.areas.remove(&section);
        }
    }

    /// Seats that are withdrawn or to be, ascending.
    pub(crate) fn seats(&self) -> impl Iterator<Item = SeatNo> {
        let marks = self.of_seat.iter().enumerate();
        marks.filter(|&(_, &mark)| mark != 0).map(|(seat, _)| seat as SeatNo)
    }

    /// Areas with places that are withdrawn or to be: the section, the reason, how many.
    pub(crate) fn areas(&self) -> impl Iterator<Item = (SectionNo, &str, u32)> {
        self.areas.iter().flat_map(|(&section, reasons)| {
            reasons.iter().map(move |(reason, &places)| (section, &**reason, places))
        })
    }

    /// Runs of neighbouring seats with one reason, each as long as it can be.
    fn runs(&self) -> Vec<(SeatNo, u32, &str)> {
        let mut runs: Vec<(SeatNo, u32, &str)> = Vec::new();
        for seat in self.seats() {
            let reason = self.reason(seat).unwrap_or_default();
            match runs.last_mut() {
                Some((first, seats, of)) if *first + *seats == seat && *of == reason => *seats += 1,
                _ => runs.push((seat, 1, reason)),
            }
        }
        runs
    }

    /// Equal kills give equal bytes, whatever the order in which they came.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let runs = self.runs();
        put_varint(out, runs.len() as u64);
        let mut end = 0;
        for (first, seats, reason) in runs {
            put_varint(out, (first - end).into());
            put_varint(out, seats.into());
            put_bytes(out, reason.as_bytes());
            end = first + seats;
        }
        put_varint(out, self.areas().count() as u64);
        for (section, reason, places) in self.areas() {
            put_varint(out, section.into());
            put_bytes(out, reason.as_bytes());
            put_varint(out, places.into());
        }
    }

    /// Reads what [`Kills::encode`] wrote, for an event of so many seats; nothing is pending yet.
    pub(crate) fn decode(r: &mut Reader<'_>, of: u32) -> Result<Self, DecodeError> {
        let invalid = Err(DecodeError::Invalid { what: "killed seats" });
        let mut kills = Self::default();
        let mut end = 0u32;
        for _ in 0..r.count(of as usize, 3, "killed seats")? {
            let (gap, seats) = (r.u32("a seat")?, r.u32("seats")?);
            let reason = r.str(REASON_BYTES_MAX, "a reason")?;
            let first = end.checked_add(gap);
            let Some((first, last)) = first.and_then(|at| Some((at, at.checked_add(seats)?)))
            else {
                return invalid;
            };
            let joins = gap == 0 && end > 0 && kills.reason(end - 1) == Some(&*reason);
            if seats == 0 || last > of || joins || kills.is_full(&reason) {
                return invalid;
            }
            let seats: Vec<SeatNo> = (first..last).collect();
            kills.add_seats(&seats, of as usize, &reason);
            end = last;
        }
        let mut before: Option<(SectionNo, Box<str>)> = None;
        for _ in 0..r.count(usize::MAX, 3, "killed places")? {
            let section = r.u16("a section")?;
            let reason = r.str(REASON_BYTES_MAX, "a reason")?;
            let places = r.u32("places")?;
            let this = Some((section, reason.clone()));
            if places == 0 || this <= before {
                return invalid;
            }
            kills.add_places(section, places, &reason);
            before = this;
        }
        Ok(kills)
    }
}
