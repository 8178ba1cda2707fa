//! Which places a hold gets, pool by pool, wish by wish.

use std::collections::BTreeSet;

use onsale_state::{
    command::{self, CodeTerms, Hold, HoldItem, Wish},
    *,
};

use super::{Naive, NaiveSeat, channels::Pool};

type Places = smallvec::SmallVec<[Place; 4]>;

/// What a hold may choose from.
struct Left {
    free: BTreeSet<u32>,
    /// By section.
    areas: Vec<u32>,
}

impl Naive {
    /// Places left by section; none where seats are numbered.
    fn places_left(&self, no: u32, pool: Pool) -> Vec<u32> {
        let sections = 0..self.events[&no].open.sections.len() as u16;
        let left = |section| self.capacity(no, section).map_or(0, |_| self.left(no, section, pool));
        sections.map(left).collect()
    }

    /// All places from the first pool that has them all.
    pub(super) fn choose(&self, asked: &Hold) -> Result<smallvec::SmallVec<[Place; 4]>, Rejection> {
        let pools = self.pools(asked).into_iter();
        let chosen = pools.map(|pool| self.choose_from(asked, pool));
        chosen.reduce(|first, second| first.or(second)).expect("a pool")
    }

    fn choose_from(
        &self,
        asked: &Hold,
        pool: Pool,
    ) -> Result<smallvec::SmallVec<[Place; 4]>, Rejection> {
        let event = &self.events[&asked.event];
        let mut named = BTreeSet::new();
        for item in &asked.items {
            if let HoldItem::Seats(seats) = item {
                named.extend(seats.iter().copied());
            }
        }
        let taken = |seat: &u32| !self.has(asked.event, *seat, pool);
        let seats: Vec<u32> = named.iter().copied().filter(taken).collect();
        if !seats.is_empty() {
            return Err(Rejection::SeatUnavailable { seats });
        }
        let mut free: BTreeSet<u32> =
            (0..event.seats.len() as u32).filter(|seat| !taken(seat)).collect();
        if event.open.rules.no_orphans {
            let all: Vec<u32> = free.iter().copied().collect();
            let named: Vec<u32> = named.iter().copied().collect();
            let (seats, mend) = self.orphans(asked.event, &all, &named);
            if !seats.is_empty() {
                return Err(Rejection::OrphanSeats { seats, mend });
            }
        }
        free.retain(|seat| !named.contains(seat));
        let mut left = Left { free, areas: self.places_left(asked.event, pool) };
        let mut places = Places::new();
        for (at, item) in asked.items.iter().enumerate() {
            match item {
                HoldItem::Seats(seats) => {
                    places.extend(seats.iter().map(|&seat| self.seat_place(asked.event, seat)));
                }
                HoldItem::BestAvailable(wish) => {
                    places.extend(self.choose_best(asked, at, wish, &places, &mut left)?);
                }
            }
        }
        Ok(places)
    }

    /// The places of one wish: outside of sections that are full for it, else anywhere.
    fn choose_best(
        &self,
        asked: &Hold,
        at: usize,
        wish: &Wish,
        before: &Places,
        left: &mut Left,
    ) -> Result<Places, Rejection> {
        let types = asked.terms.as_ref().map_or(vec![], |terms| terms.types.clone());
        let type_at = |nth: usize| types.get(nth).copied().unwrap_or(0);
        let size = usize::from(wish.quantity + wish.companions);
        let its = before.len()..before.len() + size;
        let code = asked.terms.as_ref().and_then(|terms| terms.code);
        let code = code.map(|code| self.check_code(asked.event, code).expect("it was admitted"));
        let terms = (types.get(its.clone()).unwrap_or_default(), code);
        let (sections, areas) = self.sections(asked.event, wish, terms);

        let mut others = before.to_vec();
        others.iter_mut().enumerate().for_each(|(nth, place)| place.ticket_type = type_at(nth));
        let mut nth = its.end;
        for item in &asked.items[at + 1..] {
            match item {
                HoldItem::BestAvailable(wish) => {
                    nth += usize::from(wish.quantity + wish.companions)
                }
                HoldItem::Seats(seats) => {
                    for &seat in seats {
                        let ticket_type = type_at(nth);
                        others.push(Place { ticket_type, ..self.seat_place(asked.event, seat) });
                        nth += 1;
                    }
                }
            }
        }
        let its: Vec<u16> = its.map(type_at).collect();
        let full = self.full_sections(asked.event, &others, &its);
        let roomy: Vec<u16> = sections.iter().copied().filter(|s| !full.contains(s)).collect();
        let chosen = self.choose_in(asked.event, (&roomy, areas), wish, left);
        let chosen =
            chosen.or_else(|_| self.choose_in(asked.event, (&sections, areas), wish, left));
        let held_may_return_at_ms = self.may_return(asked.event);
        chosen.map_err(|none| match none {
            true => Rejection::SoldOut { held_may_return_at_ms },
            false => Rejection::NotEnoughTogether { held_may_return_at_ms },
        })
    }

    /// The places of one wish in these sections; or whether there are none.
    fn choose_in(
        &self,
        event: u32,
        (sections, areas): (&[u16], bool),
        wish: &Wish,
        left: &mut Left,
    ) -> Result<Places, bool> {
        let mut places = Places::new();
        if areas {
            let total = sections.iter().map(|&s| left.areas[usize::from(s)] as usize);
            let (total, n) = (total.sum::<usize>(), usize::from(wish.quantity));
            if total < n {
                return Err(total == 0);
            }
            self.fill_areas(event, sections, n, &mut left.areas, &mut places);
            return Ok(places);
        }
        let all: Vec<u32> = left.free.iter().copied().collect();
        for seat in self.best(event, sections, &all, wish)? {
            left.free.remove(&seat);
            places.push(self.seat_place(event, seat));
        }
        Ok(places)
    }

    fn fill_areas(
        &self,
        event: u32,
        sections: &[u16],
        n: usize,
        left: &mut [u32],
        places: &mut Places,
    ) {
        let whole = sections.iter().find(|&&s| left[usize::from(s)] as usize >= n);
        let order = whole.map_or(sections.to_vec(), |&section| vec![section]);
        let mut missing = n;
        for section in order {
            while missing > 0 && left[usize::from(section)] > 0 {
                left[usize::from(section)] -= 1;
                missing -= 1;
                let open = &self.events[&event].open;
                let category = open.sections[usize::from(section)].category;
                let price_minor = open.prices_minor[usize::from(category)];
                places.push(Place { seat: None, section, category, ticket_type: 0, price_minor });
            }
        }
    }

    /// Which sections a wish means, best first, and whether they are general admission.
    pub(super) fn sections(
        &self,
        no: u32,
        wish: &Wish,
        terms: (&[u16], Option<&CodeTerms>),
    ) -> (Vec<u16>, bool) {
        let Wish { category, section, price_max_minor, .. } = *wish;
        let open = &self.events[&no].open;
        let is_area = |section: u16| {
            let kind = &open.sections[usize::from(section)].kind;
            matches!(kind, command::SectionKind::GeneralAdmission { .. })
        };
        let mut meant: Vec<u16> = (0..open.sections.len() as u16)
            .filter(|&s| section.is_none_or(|wanted| wanted == s))
            .filter(|&s| category.is_none_or(|c| open.sections[usize::from(s)].category == c))
            .collect();
        meant.sort_by_key(|&s| (open.sections[usize::from(s)].category, s));
        let areas = meant.iter().all(|&s| is_area(s));
        let price = |section| self.price_now(no, section, terms);
        meant.retain(|&s| is_area(s) == areas && price_max_minor.is_none_or(|max| price(s) <= max));
        (meant, areas)
    }

    fn seat_place(&self, event: u32, seat: u32) -> Place {
        let event = &self.events[&event];
        let NaiveSeat { section, category, .. } = event.seats[seat as usize];
        let price_minor = event.open.prices_minor[usize::from(category)];
        Place { seat: Some(seat), section, category, ticket_type: 0, price_minor }
    }
}
