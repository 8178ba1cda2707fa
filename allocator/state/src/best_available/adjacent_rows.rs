//! Owns groups over adjacent rows: one piece of neighbours in each of a few rows, one behind the
//! other.
//!
//! The rule: rows stand behind each other with their middles in line, to half a seat. A group has a
//! piece in each of 2 to [`ROWS_TOGETHER_MAX`] consecutive rows, and all of them cover one column.
//! Fewest rows first; then the largest smallest piece, for who sits alone; then nearest to the
//! focal point, front-most, left-most. The pieces are as even as their rows let them be, the larger
//! ones in front, and each stands around the column, on the side on which it strands nobody.

use std::cmp::Reverse;

use smallvec::SmallVec;

use super::candidates::{Candidates, Piece, depth};
use crate::{
    limits::ROWS_TOGETHER_MAX,
    seat_map::{Row, SeatMap, Section},
};

/// Pieces of one group.
pub(crate) type Pieces = SmallVec<[Piece; 4]>;

/// A group's worth: the least is the best.
type Worth = (Reverse<u16>, u64, usize, i64);

/// The rows of a section as columns.
struct Stand<'a> {
    candidates: Candidates<'a>,
    section: &'a Section,
    rows: &'a [Row],
    len: u16,
}

/// The best group of `len` seats over adjacent rows of a section.
pub(super) fn find(
    candidates: Candidates<'_>,
    map: &SeatMap,
    section: &Section,
    len: u16,
) -> Option<Pieces> {
    let rows = &map.rows()[section.rows.clone()];
    let stand = Stand { candidates, section, rows, len };
    let count_max = ROWS_TOGETHER_MAX.min(usize::from(len)).min(rows.len());
    (2..=count_max).find_map(|count| stand.best(count))
}

impl Stand<'_> {
    /// The best group over so many rows.
    fn best(&self, count: usize) -> Option<Pieces> {
        let mut best: Option<Worth> = None;
        for first in 0..=self.rows.len() - count {
            for from in (0..i64::from(self.section.width)).step_by(64) {
                let rows = &self.rows[first..first + count];
                let mut shared = rows.iter().fold(u64::MAX, |shared, row| {
                    shared & self.candidates.bits(row, self.position(row, from))
                });
                while shared != 0 {
                    let column = from + i64::from(shared.trailing_zeros());
                    shared &= shared - 1;
                    if let Some(worth) = self.worth(first, count, column) {
                        best = Some(best.map_or(worth, |best| best.min(worth)));
                    }
                }
            }
        }
        let (_, _, first, column) = best?;
        let rows = first..first + count;
        let sizes = self.sizes(first, count, column)?;
        let pieces = rows.zip(sizes).map(|(at, size)| self.piece(at, column, size));
        Some(pieces.collect())
    }

    /// A column's position in a row.
    fn position(&self, row: &Row, column: i64) -> i64 {
        column - i64::from(self.section.width - row.seats) / 2
    }

    /// How many neighbours there are around a column, to the left with it and to the right of it.
    fn run(&self, row: &Row, column: i64) -> (u16, u16) {
        let at = self.position(row, column);
        (self.candidates.run_left(row, at), self.candidates.run_right(row, at + 1))
    }

    /// As even as it can be.
    fn sizes(&self, first: usize, count: usize, column: i64) -> Option<[u16; ROWS_TOGETHER_MAX]> {
        let mut room = [0; ROWS_TOGETHER_MAX];
        for (room, row) in room.iter_mut().zip(&self.rows[first..first + count]) {
            let (left, right) = self.run(row, column);
            *room = (left + right).min(self.len);
        }
        if room.iter().sum::<u16>() < self.len {
            return None;
        }
        let mut sizes = [0; ROWS_TOGETHER_MAX];
        for _ in 0..self.len {
            let open = (0..count).filter(|&at| sizes[at] < room[at]);
            let smallest = open.min_by_key(|&at| sizes[at])?;
            sizes[smallest] += 1;
        }
        Some(sizes)
    }

    fn worth(&self, first: usize, count: usize, column: i64) -> Option<Worth> {
        let sizes = self.sizes(first, count, column)?;
        let focus = self.section.focal_point;
        let right = 2 * column + 1 - i64::from(self.section.width);
        let off = right.abs_diff(focus.right);
        let away = |at: usize| (self.section.rows.start + at).abs_diff(focus.row) as u64;
        let distance = (first..first + count).map(|at| depth(away(at)) + off * off).sum();
        let smallest = sizes[..count].iter().copied().min()?;
        Some((Reverse(smallest), distance, first, column))
    }

    /// `len` neighbours of a row around a column.
    fn piece(&self, at: usize, column: i64, len: u16) -> Piece {
        let row = &self.rows[at];
        let (left, right) = self.run(row, column);
        let position = self.position(row, column) as u16;
        let starts = (position + 1 - left.min(len))..=position;
        let start = starts
            .filter(|start| start + len <= position + 1 + right)
            .min_by_key(|&start| {
                let off =
                    (2 * i64::from(start) + i64::from(len)).abs_diff(2 * i64::from(position) + 1);
                (self.candidates.strands(row, start, len), off, start)
            })
            .unwrap_or(position);
        Piece { row: self.section.rows.start + at, start, len }
    }
}
