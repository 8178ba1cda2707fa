//! Best available, orphans and companions, by trying everything.

use onsale_state::{
    command::{Focus, SectionKind, Wish},
    *,
};

use super::{Naive, NaiveSeat};

/// The seats that may be taken, of one event.
struct House<'a> {
    seats: &'a [NaiveSeat],
    /// By section: the focal row and how many half seats right of its middle, and the widest row.
    focus: Vec<(usize, i64, u16)>,
    free: &'a [u32],
    kind: u8,
}

impl House<'_> {
    fn seat(&self, seat: u32) -> &NaiveSeat {
        &self.seats[seat as usize]
    }

    /// May it be taken, as one of this kind?
    fn has(&self, seat: u32, kind: u8) -> bool {
        self.free.contains(&seat) && self.seat(seat).kind == kind
    }

    fn of(&self, section: u16, kind: u8) -> Vec<u32> {
        let is_it = |s: &u32| self.seat(*s).section == section && self.seat(*s).kind == kind;
        self.free.iter().copied().filter(is_it).collect()
    }

    /// The seat so many to the right in the same row.
    fn beside(&self, seat: u32, right: i64) -> Option<u32> {
        let at = i64::from(self.seat(seat).at) + right;
        let inside = at >= 0 && at < i64::from(self.seat(seat).row_seats);
        inside.then(|| (i64::from(seat) + right) as u32)
    }

    fn window(&self, first: u32, n: u16) -> Option<Vec<u32>> {
        let window: Option<Vec<u32>> = (0..n).map(|nth| self.beside(first, nth.into())).collect();
        window.filter(|window| window.iter().all(|&seat| self.has(seat, self.kind)))
    }

    /// Ordinary seats left alone that were not alone before.
    fn stranded(&self, taken: &[u32]) -> Vec<u32> {
        let alone = |seat: u32, taken: &[u32]| {
            [-1, 1]
                .into_iter()
                .filter_map(|step| self.beside(seat, step))
                .all(|other| !self.has(other, 0) || taken.contains(&other))
        };
        let left = self.free.iter().copied().filter(|seat| !taken.contains(seat));
        left.filter(|&seat| self.has(seat, 0) && alone(seat, taken) && !alone(seat, &[])).collect()
    }

    /// Companion seats in an unbroken line beside a window.
    fn beside_them(&self, window: &[u32]) -> usize {
        let line = |from: u32, step: i64| {
            (1..=64i64)
                .map_while(|nth| self.beside(from, step * nth))
                .take_while(|&seat| self.has(seat, 2))
                .count()
        };
        line(window[0], -1) + line(window[window.len() - 1], 1)
    }

    fn right(&self, window: &[u32]) -> i64 {
        let (first, n) = (self.seat(window[0]), window.len() as i64);
        2 * i64::from(first.at) + n - i64::from(first.row_seats)
    }

    /// The best window of a section that is good: nearest to a point.
    fn nearest(
        &self,
        section: u16,
        n: u16,
        from: (usize, i64),
        good: impl Fn(&[u32]) -> bool,
    ) -> Option<Vec<u32>> {
        let all = self.of(section, self.kind).into_iter();
        let windows = all.filter_map(|first| self.window(first, n)).filter(|w| good(w));
        windows.min_by_key(|window| {
            let row = self.seat(window[0]).row;
            let (depth, off) = (4 * row.abs_diff(from.0) as i64, self.right(window) - from.1);
            (depth * depth + off * off, depth, row, window[0])
        })
    }

    fn point(&self, section: u16) -> (usize, i64) {
        let (row, right, _) = self.focus[usize::from(section)];
        (row, right)
    }

    /// The seats of a row's run around a column, and the one in the column.
    fn run(&self, section: u16, row: usize, column: u16) -> Option<(Vec<u32>, u32)> {
        let width = self.focus[usize::from(section)].2;
        let in_row = |s: &NaiveSeat| s.section == section && s.row == row;
        let first = self.seats.iter().position(in_row)? as u32;
        let margin = (width - self.seat(first).row_seats) / 2;
        let seat = self.beside(first, i64::from(column) - i64::from(margin))?;
        if column < margin || !self.has(seat, self.kind) {
            return None;
        }
        let line = |step: i64| {
            (1..=64i64)
                .map_while(move |nth| self.beside(seat, step * nth))
                .take_while(|&other| self.has(other, self.kind))
        };
        let mut run: Vec<u32> = line(-1).collect();
        run.reverse();
        run.push(seat);
        run.extend(line(1));
        Some((run, seat))
    }

    /// The best group of a section over adjacent rows.
    fn rows_together(&self, section: u16, n: u16) -> Option<Vec<u32>> {
        let rows = self.seats.iter().filter(|s| s.section == section).map(|s| s.row).max()? + 1;
        let (focal_row, focal_right, width) = self.focus[usize::from(section)];
        for count in 2..=rows.min(n.into()).min(limits::ROWS_TOGETHER_MAX) {
            let mut groups = Vec::new();
            for first in 0..=rows - count {
                for column in 0..width {
                    let runs = (first..first + count).map(|row| self.run(section, row, column));
                    let Some(runs) = runs.collect::<Option<Vec<_>>>() else { continue };
                    let Some(sizes) = even(&runs, n) else { continue };
                    let off = 2 * i64::from(column) + 1 - i64::from(width) - focal_right;
                    let away = |row: usize| (4 * row.abs_diff(focal_row) as i64).pow(2) + off * off;
                    let distance: i64 = (first..first + count).map(away).sum();
                    let smallest = sizes.iter().min().copied();
                    let worth = (std::cmp::Reverse(smallest), distance, first, column);
                    groups.push((worth, runs, sizes));
                }
            }
            let Some((_, runs, sizes)) = groups.into_iter().min_by_key(|group| group.0) else {
                continue;
            };
            let pieces = runs.iter().zip(sizes).map(|((run, seat), size)| {
                let windows = run.windows(size).filter(|window| window.contains(seat));
                let best = windows.min_by_key(|window| {
                    let off = window[0] + window[size - 1];
                    let strands = self.kind == 0 && !self.stranded(window).is_empty();
                    (strands, off.abs_diff(2 * seat), window[0])
                });
                best.expect("a piece").to_vec()
            });
            return Some(pieces.collect::<Vec<_>>().concat());
        }
        None
    }

    /// As few groups as possible.
    fn groups(&self, sections: &[u16], n: usize) -> Vec<u32> {
        let category = |section: u16| {
            self.seats.iter().find(|seat| seat.section == section).expect("a seat").category
        };
        let (mut chosen, mut free) = (Vec::new(), self.free.to_vec());
        let mut anchor: Option<(u16, (usize, i64))> = None;
        while chosen.len() < n {
            let house = House { focus: self.focus.clone(), free: &free, ..*self };
            let mut order = sections.to_vec();
            if let Some((first, _)) = anchor {
                let away = |s: u16| (s != first, category(s) != category(first));
                order.sort_by_key(|&s| away(s));
            }
            let piece = (1..=n - chosen.len()).rev().find_map(|len| {
                order.iter().find_map(|&section| {
                    let from = anchor.filter(|anchor| anchor.0 == section);
                    let from = from.map_or(house.point(section), |anchor| anchor.1);
                    let piece = house.nearest(section, len as u16, from, |_| true)?;
                    Some((section, piece))
                })
            });
            let (section, piece) = piece.expect("a single seat is a group");
            anchor = anchor.or(Some((section, (self.seat(piece[0]).row, self.right(&piece)))));
            free.retain(|seat| !piece.contains(seat));
            chosen.extend(piece);
        }
        chosen
    }

    /// The companion seats nearest to accessible ones.
    fn companions(&self, accessible: &[u32], n: usize) -> Vec<u32> {
        let mut all = self.of(self.seat(accessible[0]).section, 2);
        all.sort_by_key(|&seat| {
            let away = accessible.iter().map(|&other| {
                let rows = self.seat(seat).row.abs_diff(self.seat(other).row);
                (rows, self.right(&[seat]).abs_diff(self.right(&[other])))
            });
            (away.min(), seat)
        });
        all.truncate(n);
        all
    }
}

/// How many seats of each run, as even as they can be.
fn even(runs: &[(Vec<u32>, u32)], n: u16) -> Option<Vec<usize>> {
    let mut sizes = vec![0; runs.len()];
    for _ in 0..n {
        let room = (0..runs.len()).filter(|&at| sizes[at] < runs[at].0.len());
        let smallest = room.min_by_key(|&at| (sizes[at], at))?;
        sizes[smallest] += 1;
    }
    Some(sizes)
}

impl Naive {
    fn house<'a>(&'a self, event: u32, free: &'a [u32], kind: u8) -> House<'a> {
        let event = &self.events[&event];
        let focus = event.open.sections.iter().map(|section| {
            let SectionKind::Seated { rows } = &section.kind else { return (0, 0, 0) };
            let Focus { row, seat } = section.focus;
            let seats = i64::from(rows[row as usize - 1].seats);
            let right = if seat == 0 { 0 } else { 2 * i64::from(seat) - 1 - seats };
            let width = rows.iter().map(|row| row.seats).max().expect("a row");
            (row as usize - 1, right, width)
        });
        House { seats: &event.seats, focus: focus.collect(), free, kind }
    }

    /// The best seats of those in `free`, by these sections in order; or whether there are none.
    pub fn best(
        &self,
        event: u32,
        sections: &[u16],
        free: &[u32],
        wish: &Wish,
    ) -> Result<Vec<u32>, bool> {
        let house = self.house(event, free, wish.accessible.into());
        let (n, companions) = (wish.quantity, usize::from(wish.companions));
        let count = |section: u16, kind: u8| house.of(section, kind).len();
        let roomy: Vec<u16> = sections
            .iter()
            .copied()
            .filter(|&s| count(s, house.kind) >= n.into() && count(s, 2) >= companions)
            .collect();
        let strict = |window: &[u32]| match wish.accessible {
            false => house.stranded(window).is_empty(),
            true => house.beside_them(window) >= companions,
        };
        let category =
            |section: &u16| self.events[&event].open.sections[usize::from(*section)].category;
        let together = roomy.chunk_by(|a, b| category(a) == category(b)).find_map(|sections| {
            let first = |good: &dyn Fn(&[u32]) -> bool| {
                sections.iter().find_map(|&s| house.nearest(s, n, house.point(s), good))
            };
            first(&strict).or_else(|| first(&|_| true))
        });
        let mut seats = match together
            .or_else(|| roomy.iter().find_map(|&section| house.rows_together(section, n)))
        {
            Some(seats) => seats,
            None => {
                let total = |kind| sections.iter().map(|&s| count(s, kind)).sum::<usize>();
                if total(house.kind) == 0 || companions > 0 && total(2) == 0 {
                    return Err(true);
                }
                let enough =
                    total(house.kind) >= n.into() && (companions == 0 || !roomy.is_empty());
                if !enough || !wish.split {
                    return Err(false);
                }
                let among = if companions == 0 { sections } else { &roomy[..1] };
                house.groups(among, n.into())
            }
        };
        if companions > 0 {
            seats.extend(house.companions(&seats, companions));
        }
        seats.sort_unstable();
        Ok(seats)
    }

    /// Seats that these would leave alone for no need, and the ones to take instead.
    pub fn orphans(&self, event: u32, free: &[u32], named: &[u32]) -> (Vec<u32>, Vec<u32>) {
        let house = self.house(event, free, 0);
        let mut named: Vec<u32> =
            named.iter().copied().filter(|&s| house.seat(s).kind == 0).collect();
        named.sort_unstable();
        let (mut orphans, mut mend) = (Vec::new(), Vec::new());
        let row = |seat: &u32| (house.seat(*seat).section, house.seat(*seat).row);
        for selection in named.chunk_by(|a, b| row(a) == row(b)) {
            let stranded = house.stranded(selection);
            let middle = selection[0] + selection[selection.len() - 1];
            let others = free.iter().filter(|&seat| row(seat) == row(&selection[0]));
            let others = others.filter_map(|&first| house.window(first, selection.len() as u16));
            let clean = others.filter(|window| house.stranded(window).is_empty());
            let instead = clean.min_by_key(|window| {
                let off = (window[0] + window[window.len() - 1]).abs_diff(middle);
                (off, window[0])
            });
            if let Some(instead) = instead.filter(|_| !stranded.is_empty()) {
                orphans.extend(stranded);
                mend.extend(instead.into_iter().filter(|seat| !selection.contains(seat)));
            }
        }
        (orphans, mend)
    }
}
