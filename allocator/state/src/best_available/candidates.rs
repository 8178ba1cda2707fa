//! Owns which seats of a row a wish may take, as bits, and the neighbours among them.
//!
//! Must never know which section or wish comes first.

use crate::{
    event::EventState,
    seat_map::{KindWord, Point, Row, SeatKind, SeatMap, Section},
};

/// How far rows stand apart, in half seats: a row is about twice as deep as a seat is wide.
const ROW_DEPTH: u64 = 4;

/// The square of how far so many rows are.
pub(super) fn depth(rows: u64) -> u64 {
    (ROW_DEPTH * rows).pow(2)
}

/// Neighbours in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The row's place in [`SeatMap::rows`].
    pub(crate) row: usize,
    pub(crate) start: u16,
    pub(crate) len: u16,
}

impl Piece {
    /// Its middle.
    pub(crate) fn point(self, map: &SeatMap) -> Point {
        let seats = i64::from(map.rows()[self.row].seats);
        Point { row: self.row, right: 2 * i64::from(self.start) + i64::from(self.len) - seats }
    }
}

/// What is looked for in one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    pub(crate) kind: SeatKind,
    /// Neighbours of that kind.
    pub(crate) len: u16,
    /// Companion seats with them.
    pub(crate) companions: u16,
    /// Ordinary seats that strand nobody; accessible ones with the companion seats right beside.
    pub(crate) strict: bool,
}

/// The seats of one kind that may be taken.
#[derive(Clone, Copy)]
pub(crate) struct Candidates<'a> {
    free: &'a [u64],
    kinds: &'a [KindWord],
    kind: SeatKind,
}

impl<'a> Candidates<'a> {
    pub(crate) fn new(event: &'a EventState, kind: SeatKind) -> Self {
        Self { free: &event.free, kinds: event.seat_map.kind_words(), kind }
    }

    fn of(self, kind: SeatKind) -> Self {
        Self { kind, ..self }
    }

    /// The one place that decides whether a wish may take a seat; a bit each.
    #[inline(always)]
    fn word(self, at: usize) -> u64 {
        self.free[at] & self.kinds[at].of(self.kind)
    }

    /// 64 seats of a row from a position on, which may lie before or behind the row.
    pub(crate) fn bits(self, row: &Row, from: i64) -> u64 {
        let words = row.words();
        let read = |nth: i64| match usize::try_from(nth) {
            Ok(nth) if nth < words.len() => self.word(words.start + nth),
            _ => 0,
        };
        let (nth, shift) = (from.div_euclid(64), from.rem_euclid(64));
        if shift == 0 { read(nth) } else { read(nth) >> shift | read(nth + 1) << (64 - shift) }
    }

    fn has(self, row: &Row, at: i64) -> bool {
        self.bits(row, at) & 1 == 1
    }

    /// How many neighbours there are from a position to the right, at most 64.
    pub(crate) fn run_right(self, row: &Row, at: i64) -> u16 {
        self.bits(row, at).trailing_ones() as u16
    }

    /// How many neighbours there are from a position to the left, at most 64.
    pub(crate) fn run_left(self, row: &Row, at: i64) -> u16 {
        self.bits(row, at - 63).leading_ones() as u16
    }

    /// The positions of a row's seats.
    pub(crate) fn positions(self, row: &Row) -> impl Iterator<Item = u16> {
        row.words().enumerate().flat_map(move |(nth, at)| {
            set_bits(self.word(at)).map(move |bit| (nth * 64) as u16 + bit)
        })
    }

    /// Would these neighbours leave an ordinary seat alone that was not alone before?
    pub(crate) fn strands(self, row: &Row, start: u16, len: u16) -> bool {
        let (start, end) = (i64::from(start), i64::from(start) + i64::from(len));
        self.kind == SeatKind::Ordinary
            && (self.has(row, start - 1) && !self.has(row, start - 2)
                || self.has(row, end) && !self.has(row, end + 1))
    }

    /// Are so many companion seats right beside these neighbours?
    fn accompanied(self, row: &Row, start: u16, look: Look) -> bool {
        let companions = self.of(SeatKind::Companion);
        let left = companions.run_left(row, i64::from(start) - 1);
        let right = companions.run_right(row, i64::from(start) + i64::from(look.len));
        left + right >= look.companions
    }

    fn is_strict(self, row: &Row, start: u16, look: Look) -> bool {
        match look.kind {
            SeatKind::Ordinary => !self.strands(row, start, look.len),
            _ => look.companions == 0 || self.accompanied(row, start, look),
        }
    }

    /// The neighbours of a section that are nearest to a point, in the row nearer to it of two
    /// equally far, in the front one, on the left; and whether there are any that need not be
    /// strict, where none are found.
    pub(crate) fn nearest(
        self,
        map: &SeatMap,
        section: &Section,
        look: Look,
        from: Point,
    ) -> (Option<Piece>, bool) {
        let rows = section.rows.clone();
        let (mut best, mut any) = (None::<(u64, Piece)>, false);
        for away in 0..rows.len() {
            let depth = depth(away as u64);
            if best.is_some_and(|(least, _)| least <= depth) {
                break;
            }
            let front = from.row.checked_sub(away).filter(|&row| row >= rows.start);
            let back = Some(from.row + away).filter(|&row| away > 0 && row < rows.end);
            for at in front.into_iter().chain(back) {
                let row = &map.rows()[at];
                let middle = from.right + i64::from(row.seats);
                let (found, is_any) = self.nearest_in_row(row, look, middle);
                any |= is_any;
                let Some((off, start)) = found else { continue };
                let distance = depth + off * off;
                if best.is_none_or(|(least, _)| distance < least) {
                    best = Some((distance, Piece { row: at, start, len: look.len }));
                }
            }
        }
        (best.map(|(_, piece)| piece), any)
    }

    /// The same in one row: how far from the point (in half seats from the row's left end) and
    /// where; and whether there are any that need not be strict.
    #[inline]
    pub(crate) fn nearest_in_row(
        self,
        row: &Row,
        look: Look,
        middle: i64,
    ) -> (Option<(u64, u16)>, bool) {
        let twice = middle - i64::from(look.len);
        let words = row.words();
        if words.len() > 1 || look.len > 64 {
            return self.nearest_in_wide_row(row, look, twice);
        }
        let bits = self.word(words.start);
        let any = starts(bits, look.len);
        if any == 0 {
            return (None, false);
        }
        let good = match look.kind {
            _ if !look.strict => any,
            SeatKind::Ordinary => any & !stranding(bits, look.len),
            _ if look.companions == 0 => any,
            _ => set_bits(any)
                .filter(|&start| self.accompanied(row, start, look))
                .fold(0, |good, start| good | 1 << start),
        };
        (nearest_bit(good, twice), true)
    }

    /// The same for rows of more than 64 seats, seat by seat.
    fn nearest_in_wide_row(self, row: &Row, look: Look, twice: i64) -> (Option<(u64, u16)>, bool) {
        let (mut best, mut any, mut run) = (None::<(u64, u16)>, false, 0);
        let mut next = 0;
        for at in self.positions(row) {
            run = if at == next { run + 1 } else { 1 };
            next = at + 1;
            if run < look.len {
                continue;
            }
            any = true;
            let start = next - look.len;
            let off = (2 * i64::from(start)).abs_diff(twice);
            let nearer = best.is_none_or(|(least, _)| off < least);
            if nearer && (!look.strict || self.is_strict(row, start, look)) {
                best = Some((off, start));
            }
        }
        (best, any)
    }
}

fn set_bits(mut bits: u64) -> impl Iterator<Item = u16> {
    std::iter::from_fn(move || {
        let bit = (bits != 0).then_some(bits.trailing_zeros() as u16)?;
        bits &= bits - 1;
        Some(bit)
    })
}

/// The positions at which `len` set bits start.
fn starts(mut bits: u64, len: u16) -> u64 {
    let mut have = 1;
    while have < len && bits != 0 {
        let step = have.min(len - have);
        bits &= bits >> step;
        have += step;
    }
    bits
}

/// The positions from which `len` bits cannot be taken without leaving one alone on either side.
fn stranding(bits: u64, len: u16) -> u64 {
    let behind = |len: u16| bits.checked_shr(len.into()).unwrap_or(0);
    bits << 1 & !(bits << 2) | behind(len) & !behind(len + 1)
}

/// The set bit nearest to half of `twice`, the left one of two, and how far twice it is.
fn nearest_bit(bits: u64, twice: i64) -> Option<(u64, u16)> {
    let left = match twice.div_euclid(2) {
        ..0 => 0,
        at @ 0..63 => bits & (u64::MAX >> (63 - at)),
        63.. => bits,
    };
    let right = bits & !left;
    let far = |bit: u32| ((2 * i64::from(bit)).abs_diff(twice), bit as u16);
    let left = (left != 0).then(|| far(63 - left.leading_zeros()));
    let right = (right != 0).then(|| far(right.trailing_zeros()));
    match (left, right) {
        (Some(left), Some(right)) => Some(if right.0 < left.0 { right } else { left }),
        (left, right) => left.or(right),
    }
}
