//! Owns what never changes about an event's places: sections, rows, numbers, names, and where a
//! row's bits stand in the bitmaps.
//!
//! Must never know what is held or sold.

use crate::{
    command::{Focus, RowSpec, SectionKind, SectionSpec},
    ids::{CategoryNo, SeatNo, SectionNo},
    limits::{EVENT_CATEGORIES_MAX, EVENT_SEATS_MAX, EVENT_SECTIONS_MAX, NAME_BYTES_MAX},
    row_names::RowNames,
};

/// An event's seat map.
#[derive(Clone, Debug)]
pub struct SeatMap {
    sections: Vec<Section>,
    rows: Vec<Row>,
    /// The rows again, as short as finding a seat needs them; behind the last a row without seats.
    plans: Vec<RowPlan>,
    /// The row of the first of every [`BLOCK`] seats.
    row_of_block: Vec<u32>,
    row_names: RowNames,
    kinds: Vec<KindWord>,
    has_companions: bool,
    /// Sections in the order in which best available looks: by category, then as in the map.
    preference: Vec<SectionNo>,
}

/// Each kind is a stock of its own: who asks for one never gets another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SeatKind {
    /// A seat like most.
    Ordinary = 0,
    /// Reached without steps, with room for a wheelchair.
    Accessible = 1,
    /// For who comes with somebody on an accessible seat.
    Companion = 2,
}

/// The kinds of the seats of one word of a row, a bit each; the other bits mean nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KindWord {
    accessible: u64,
    companion: u64,
}

impl KindWord {
    /// The seats of a kind.
    #[inline(always)]
    pub(crate) fn of(self, kind: SeatKind) -> u64 {
        match kind {
            SeatKind::Ordinary => !(self.accessible | self.companion),
            SeatKind::Accessible => self.accessible,
            SeatKind::Companion => self.companion,
        }
    }

    /// The kind of the seat whose bit this is, as the place of its counter.
    #[inline(always)]
    pub(crate) fn at(self, bit: u64) -> usize {
        usize::from(self.accessible & bit != 0) + 2 * usize::from(self.companion & bit != 0)
    }
}

/// Where the distance of seats is measured from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Point {
    /// The row's place in [`SeatMap::rows`].
    pub(crate) row: usize,
    /// Half seats to the right of the row's middle.
    pub(crate) right: i64,
}

/// A section of a seat map.
#[derive(Clone, Debug)]
pub struct Section {
    /// Unique in the event, e.g. `101`.
    pub key: Box<str>,
    /// Its category.
    pub category: CategoryNo,
    /// Places of a general admission area; `None` where seats are numbered.
    pub area_capacity: Option<u32>,
    /// Its rows' places in [`SeatMap::rows`]; empty in general admission.
    pub rows: std::ops::Range<usize>,
    /// Its seats; empty in general admission.
    pub seats: std::ops::Range<SeatNo>,
    /// Where its best seats are.
    pub focus: Focus,
    /// The same as a point.
    pub(crate) focal_point: Point,
    /// Seats of its widest row.
    pub(crate) width: u16,
}

/// A row of numbered seats.
#[derive(Clone, Debug)]
pub struct Row {
    /// Unique in the section, e.g. `A`.
    pub label: Box<str>,
    /// Its section.
    pub section: SectionNo,
    /// The seat with number 1.
    pub first_seat: SeatNo,
    /// Seats, numbered from 1.
    pub seats: u16,
    /// Its first word in the bitmaps; each row has words of its own.
    pub(crate) first_word: usize,
}

/// Seats that share an entry of `row_of_block`.
const BLOCK: usize = 16;

/// A row in 16 bytes.
#[derive(Clone, Copy, Debug)]
struct RowPlan {
    first_seat: SeatNo,
    first_word: u32,
    section: SectionNo,
    category: CategoryNo,
    /// Are there others than ordinary seats in it?
    mixed: bool,
}

/// Where a seat stands: all that holding it and giving it back need to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spot {
    /// The word with its bit in the bitmaps.
    pub(crate) word: usize,
    pub(crate) bit: u64,
    pub(crate) section: SectionNo,
    pub(crate) category: CategoryNo,
    /// May it be anything but an ordinary seat?
    pub(crate) mixed: bool,
}

impl Row {
    pub(crate) fn words(&self) -> std::ops::Range<usize> {
        self.first_word..self.first_word + usize::from(self.seats).div_ceil(64)
    }
}

impl Section {
    /// All places of it.
    pub fn capacity(&self) -> u32 {
        self.area_capacity.unwrap_or(self.seats.end - self.seats.start)
    }
}

/// Why a seat map cannot be; the field and the reason of `Rejection::Invalid`.
pub type MapError = (&'static str, &'static str);

impl SeatMap {
    /// Builds the map; `categories` is how many categories there are.
    pub fn build(specs: &[SectionSpec], categories: usize) -> Result<Self, MapError> {
        if specs.is_empty() || specs.len() > EVENT_SECTIONS_MAX {
            return Err(("sections", "must be 1 to 10,000"));
        }
        if categories == 0 || categories > EVENT_CATEGORIES_MAX {
            return Err(("prices_minor", "must be 1 to 1,000"));
        }
        let mut map = Self::with_room_for(specs);
        let mut places = 0u64;
        let mut keys: Vec<&str> = specs.iter().map(|spec| &*spec.key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(("sections/key", "is not unique"));
        }
        for spec in specs {
            if spec.key.is_empty() || spec.key.len() > NAME_BYTES_MAX {
                return Err(("sections/key", "must have 1 to 64 bytes"));
            }
            if usize::from(spec.category) >= categories {
                return Err(("sections/category", "is not one of the event's"));
            }
            places += map.add_section(spec)?;
            if places > u64::from(EVENT_SEATS_MAX) {
                return Err(("sections", "have more than 200,000 places"));
            }
        }
        map.plans.push(RowPlan {
            first_seat: map.seats(),
            first_word: 0,
            section: 0,
            category: 0,
            mixed: false,
        });
        map.preference = (0..specs.len() as SectionNo).collect();
        map.preference.sort_by_key(|&no| (map.sections[usize::from(no)].category, no));
        Ok(map)
    }

    /// An empty map with room for all of it: what growing would leave behind is a third of a map.
    fn with_room_for(specs: &[SectionSpec]) -> Self {
        let (mut rows, mut words, mut seats) = (0, 0, 0);
        for spec in specs {
            let SectionKind::Seated { rows: its } = &spec.kind else { continue };
            rows += its.len();
            words += its.iter().map(|row| usize::from(row.seats).div_ceil(64)).sum::<usize>();
            seats += its.iter().map(|row| usize::from(row.seats)).sum::<usize>();
        }
        // Of a map that is refused no more than of one that is not.
        let most = EVENT_SEATS_MAX as usize;
        let (rows, words) = (rows.min(most), words.min(most));
        Self {
            sections: Vec::with_capacity(specs.len()),
            rows: Vec::with_capacity(rows),
            plans: Vec::with_capacity(rows + 1),
            row_of_block: Vec::with_capacity(seats.min(most).div_ceil(BLOCK)),
            row_names: RowNames::with_capacity(rows),
            kinds: Vec::with_capacity(words),
            has_companions: false,
            preference: Vec::new(),
        }
    }

    /// A row's section and label; of the section that is being added, its key.
    fn named<'a>(&'a self, row: u32, adding: &'a str) -> (&'a str, &'a str) {
        let row = &self.rows[row as usize];
        let section = self.sections.get(usize::from(row.section));
        (section.map_or(adding, |section| &section.key), &row.label)
    }

    fn add_section(&mut self, spec: &SectionSpec) -> Result<u64, MapError> {
        let (first_row, first_seat) = (self.rows.len(), self.seats());
        let mut area_capacity = None;
        match &spec.kind {
            SectionKind::GeneralAdmission { capacity: 0 } => {
                return Err(("sections/capacity", "must be at least 1"));
            }
            SectionKind::GeneralAdmission { capacity } => area_capacity = Some(*capacity),
            SectionKind::Seated { rows } if rows.is_empty() => {
                return Err(("sections/rows", "must be at least 1"));
            }
            SectionKind::Seated { rows } => {
                for row in rows {
                    self.add_row(spec, row)?;
                }
            }
        }
        let rows = first_row..self.rows.len();
        let section = Section {
            key: spec.key.clone(),
            category: spec.category,
            area_capacity,
            focus: spec.focus,
            focal_point: focal_point(spec.focus, first_row, &self.rows[rows.clone()])?,
            width: self.rows[rows.clone()].iter().map(|row| row.seats).max().unwrap_or(0),
            rows,
            seats: first_seat..self.seats(),
        };
        let places = section.capacity();
        self.sections.push(section);
        Ok(u64::from(places))
    }

    fn add_row(&mut self, spec: &SectionSpec, row: &RowSpec) -> Result<(), MapError> {
        if row.label.is_empty() || row.label.len() > NAME_BYTES_MAX {
            return Err(("sections/rows/label", "must have 1 to 64 bytes"));
        }
        if row.seats == 0 {
            return Err(("sections/rows/seats", "must be at least 1"));
        }
        if self.seats() + u32::from(row.seats) > EVENT_SEATS_MAX {
            return Err(("sections", "have more than 200,000 places"));
        }
        let row_no = self.rows.len() as u32;
        let (mut names, adding) = (self.row_names.take(), &spec.key);
        let is_new = names.add((row_no, adding, &row.label), |row| self.named(row, adding));
        self.row_names = names;
        if !is_new {
            return Err(("sections/rows/label", "makes two rows with one name"));
        }
        let first_word = self.kinds.len();
        let first_seat = self.seats();
        let words = first_word + usize::from(row.seats).div_ceil(64);
        self.kinds.resize(words, KindWord::default());
        if !is_ascending(&row.accessible, row.seats) {
            return Err(("sections/rows/accessible", "must be ascending numbers of the row"));
        }
        if !is_ascending(&row.companion, row.seats) {
            return Err(("sections/rows/companion", "must be ascending numbers of the row"));
        }
        for &number in &row.accessible {
            let bit = usize::from(number - 1);
            self.kinds[first_word + bit / 64].accessible |= 1 << (bit % 64);
        }
        self.has_companions |= !row.companion.is_empty();
        for &number in &row.companion {
            let bit = usize::from(number - 1);
            let word = &mut self.kinds[first_word + bit / 64];
            if word.accessible >> (bit % 64) & 1 == 1 {
                return Err(("sections/rows/companion", "is accessible already"));
            }
            word.companion |= 1 << (bit % 64);
        }
        let blocks = (first_seat as usize + usize::from(row.seats)).div_ceil(BLOCK);
        self.row_of_block.resize(blocks, row_no);
        self.plans.push(RowPlan {
            first_seat,
            first_word: first_word as u32,
            section: self.sections.len() as SectionNo,
            category: spec.category,
            mixed: !row.accessible.is_empty() || !row.companion.is_empty(),
        });
        self.rows.push(Row {
            label: row.label.clone(),
            section: self.sections.len() as SectionNo,
            first_seat,
            seats: row.seats,
            first_word,
        });
        Ok(())
    }

    /// The same map with other capacities of general admission areas.
    pub(crate) fn with_capacities(&self, capacities: &[(SectionNo, u32)]) -> Self {
        let mut map = self.clone();
        for &(section, capacity) in capacities {
            map.sections[usize::from(section)].area_capacity = Some(capacity);
        }
        map
    }

    /// Seats and places of all sections.
    pub fn places(&self) -> u64 {
        self.sections.iter().map(|section| u64::from(section.capacity())).sum()
    }

    /// The specification it was built from.
    pub fn specs(&self) -> Vec<SectionSpec> {
        self.sections.iter().map(|section| self.spec(section)).collect()
    }

    fn spec(&self, section: &Section) -> SectionSpec {
        let kind = match section.area_capacity {
            Some(capacity) => SectionKind::GeneralAdmission { capacity },
            None => SectionKind::Seated {
                rows: self.rows[section.rows.clone()]
                    .iter()
                    .map(|row| RowSpec {
                        label: row.label.clone(),
                        seats: row.seats,
                        accessible: self.numbers(row, SeatKind::Accessible),
                        companion: self.numbers(row, SeatKind::Companion),
                    })
                    .collect(),
            },
        };
        let (key, category, focus) = (section.key.clone(), section.category, section.focus);
        SectionSpec { key, category, kind, focus }
    }

    fn numbers(&self, row: &Row, kind: SeatKind) -> Vec<u16> {
        let is_it = |at: &u16| self.kind_of(row.first_seat + SeatNo::from(*at)) == Some(kind);
        (0..row.seats).filter(is_it).map(|at| at + 1).collect()
    }

    /// The numbered seats of all sections.
    pub fn seats(&self) -> u32 {
        self.rows.last().map_or(0, |row| row.first_seat + u32::from(row.seats))
    }

    /// All sections in seat-map order.
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// All rows of all seated sections, in seat-map order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A section by its number.
    pub fn section(&self, section: SectionNo) -> Option<&Section> {
        self.sections.get(usize::from(section))
    }

    /// A section's number by its key.
    pub fn section_no(&self, key: &str) -> Option<SectionNo> {
        self.sections.iter().position(|section| &*section.key == key).map(|at| at as SectionNo)
    }

    /// The row a seat stands in.
    pub fn row_of(&self, seat: SeatNo) -> Option<&Row> {
        self.rows.get(self.row_no(seat)?)
    }

    /// The place of a seat's row in [`SeatMap::rows`].
    #[inline(always)]
    pub(crate) fn row_no(&self, seat: SeatNo) -> Option<usize> {
        let mut row = *self.row_of_block.get(seat as usize / BLOCK)? as usize;
        // Of rows that are not shorter than a block one more at most: which of the two is as good
        // as random, so that a sum is cheaper than a jump.
        row += usize::from(seat >= self.plans.get(row + 1)?.first_seat);
        while seat >= self.plans.get(row + 1)?.first_seat {
            row += 1;
        }
        Some(row)
    }

    /// Where a seat stands.
    #[inline(always)]
    pub(crate) fn spot(&self, seat: SeatNo) -> Option<Spot> {
        let RowPlan { first_seat, first_word, section, category, mixed } =
            *self.plans.get(self.row_no(seat)?)?;
        let at = seat - first_seat;
        let (word, bit) = ((first_word + at / 64) as usize, 1 << (at % 64));
        Some(Spot { word, bit, section, category, mixed })
    }

    /// The section a seat stands in.
    pub fn section_of(&self, seat: SeatNo) -> Option<SectionNo> {
        self.row_of(seat).map(|row| row.section)
    }

    /// A seat's kind; `None` where there is no such seat.
    pub fn kind_of(&self, seat: SeatNo) -> Option<SeatKind> {
        let row = self.row_of(seat)?;
        let bit = (seat - row.first_seat) as usize;
        Some(match self.kinds[row.first_word + bit / 64].at(1 << (bit % 64)) {
            0 => SeatKind::Ordinary,
            1 => SeatKind::Accessible,
            _ => SeatKind::Companion,
        })
    }

    /// A seat's number in its row, from 1.
    pub fn number(&self, seat: SeatNo) -> Option<u16> {
        self.row_of(seat).map(|row| (seat - row.first_seat) as u16 + 1)
    }

    /// A seat's public name, `<section>-<row>-<number>`.
    pub fn label(&self, seat: SeatNo) -> Option<String> {
        let row = self.row_of(seat)?;
        let section = self.section(row.section)?;
        Some(format!("{}-{}-{}", section.key, row.label, seat - row.first_seat + 1))
    }

    /// The seat of a public name; only the exact spelling that [`SeatMap::label`] gives.
    pub fn seat_no(&self, label: &str) -> Option<SeatNo> {
        let (row, number) = label.rsplit_once('-')?;
        if number.starts_with(['0', '+']) {
            return None;
        }
        let number: u16 = number.parse().ok()?;
        let row = self.row_names.find(row, |row| self.named(row, ""))?;
        let row = &self.rows[row as usize];
        (number <= row.seats).then(|| row.first_seat + SeatNo::from(number) - 1)
    }

    pub(crate) fn preference(&self) -> &[SectionNo] {
        &self.preference
    }

    pub(crate) fn has_companions(&self) -> bool {
        self.has_companions
    }

    pub(crate) fn kind_words(&self) -> &[KindWord] {
        &self.kinds
    }
}

fn is_ascending(numbers: &[u16], seats: u16) -> bool {
    let mut last = 0;
    numbers.iter().all(|&number| {
        let follows = number > last && number <= seats;
        last = number;
        follows
    })
}

fn focal_point(focus: Focus, first_row: usize, rows: &[Row]) -> Result<Point, MapError> {
    if rows.is_empty() {
        return match focus == Focus::default() {
            true => Ok(Point { row: first_row, right: 0 }),
            false => Err(("sections/focal_row", "is for rows of seats")),
        };
    }
    let at = (focus.row as usize).wrapping_sub(1);
    let Some(row) = rows.get(at) else {
        return Err(("sections/focal_row", "is not one of its rows, from 1"));
    };
    if focus.seat > row.seats {
        return Err(("sections/focal_seat", "is not in the focal row"));
    }
    let right = match focus.seat {
        0 => 0,
        seat => 2 * i64::from(seat) - 1 - i64::from(row.seats),
    };
    Ok(Point { row: first_row + at, right })
}
