//! Types, tiers and quotas: whatever is held or sold is asked each time.

use onsale_state::{
    command::{ChangeOnsale, CodeTerms, Offer, PriceLine, Quota},
    *,
};

use super::{Naive, NaiveOrder, codes::with_code, invalid, places::has_seats};

fn meant(numbers: &[u16], no: u16) -> bool {
    numbers.is_empty() || numbers.contains(&no)
}

fn counts(quota: &Quota, place: &Place) -> bool {
    meant(&quota.sections, place.section)
        && meant(&quota.categories, place.category)
        && meant(&quota.types, place.ticket_type)
}

fn line_of<'a>(offer: &'a Offer, place: &Place) -> Option<&'a PriceLine> {
    let of = |ticket_type| {
        let is =
            |line: &&PriceLine| line.category == place.category && line.ticket_type == ticket_type;
        offer.lines.iter().find(is)
    };
    of(Some(place.ticket_type)).or(of(None))
}

impl Naive {
    /// Every place of an event that is held or sold, with its tier.
    fn dealt(&self, event: u32) -> Vec<(Place, u16)> {
        let live = |state| matches!(state, HoldState::Live | HoldState::InCheckout);
        let holds = self.holds.values().filter(|hold| hold.event == event && live(hold.state));
        let holds = holds.flat_map(|hold| hold.answer.places.iter().zip(&hold.tiers));
        let orders = self.orders.values().filter(|o| o.event == event && has_seats(o.status));
        let orders = orders.flat_map(|order| order.places.iter().zip(&order.tiers));
        holds.chain(orders).map(|(place, tier)| (*place, *tier)).collect()
    }

    pub(super) fn check_types(&self, event: u32, types: &[u16], n: usize) -> Result<(), Rejection> {
        let known = self.events[&event].open.offer.as_ref().map_or(0, |offer| offer.types);
        if types.iter().any(|&no| no >= known) || (!types.is_empty() && types.len() != n) {
            return invalid("types");
        }
        Ok(())
    }

    /// Gives places their types and prices; their tiers.
    pub(super) fn deal(
        &self,
        event: u32,
        places: &mut [Place],
        types: &[u16],
    ) -> Result<Vec<u16>, Rejection> {
        let Some(offer) = &self.events[&event].open.offer else {
            return Ok(vec![0; places.len()]);
        };
        for (place, &no) in places.iter_mut().zip(types) {
            place.ticket_type = no;
        }
        let mut taken = self.dealt(event);
        for quota in &offer.quotas {
            let all = taken.iter().map(|(place, _)| place).chain(places.iter());
            if all.filter(|place| counts(quota, place)).count() > quota.size as usize {
                return Err(Rejection::QuotaExhausted { quota: quota.key.clone() });
            }
        }
        let mut tiers = Vec::new();
        for place in places {
            let tier = self.tier(offer, &taken, place);
            taken.push((*place, tier));
            tiers.push(tier);
        }
        Ok(tiers)
    }

    /// The tier a place takes; gives it its price.
    fn tier(&self, offer: &Offer, taken: &[(Place, u16)], place: &mut Place) -> u16 {
        let Some(line) = line_of(offer, place) else { return 0 };
        place.price_minor = line.price_minor;
        for (nth, asked) in (1..).zip(&line.tiers) {
            let gone =
                taken.iter().filter(|(o, tier)| *tier == nth && line_of(offer, o) == Some(line));
            let gone = gone.count();
            let early = asked.until_ms.is_none_or(|until| self.now < until);
            if early && asked.count.is_none_or(|count| gone < count as usize) {
                place.price_minor = asked.price_minor;
                return nth;
            }
        }
        0
    }

    /// What a place of a section costs now, as the dearest of these types.
    pub(super) fn price_now(
        &self,
        event: u32,
        section: u16,
        (types, code): (&[u16], Option<&CodeTerms>),
    ) -> u64 {
        let open = &self.events[&event].open;
        let category = open.sections[usize::from(section)].category;
        let taken = self.dealt(event);
        let types = if types.is_empty() { &[0] } else { types };
        let prices = types.iter().map(|&ticket_type| {
            let price_minor = open.prices_minor[usize::from(category)];
            let mut place = Place { seat: None, section, category, ticket_type, price_minor };
            if let Some(offer) = &open.offer {
                self.tier(offer, &taken, &mut place);
            }
            code.map_or(place.price_minor, |code| with_code(code, &place))
        });
        prices.max().expect("a type")
    }

    /// The sections where a quota has no room for a wish of such types, beside what is taken and
    /// what else the hold has.
    pub(super) fn full_sections(&self, event: u32, others: &[Place], types: &[u16]) -> Vec<u16> {
        let open = &self.events[&event].open;
        let Some(offer) = &open.offer else { return vec![] };
        let taken = self.dealt(event);
        let all: Vec<Place> = taken.iter().map(|taken| taken.0).chain(others.to_vec()).collect();
        let is_full = |&section: &u16| {
            let category = open.sections[usize::from(section)].category;
            let place =
                |&ticket_type| Place { seat: None, section, category, ticket_type, price_minor: 0 };
            offer.quotas.iter().any(|quota| {
                let before = all.iter().filter(|place| counts(quota, place)).count();
                let more = types.iter().map(place).filter(|place| counts(quota, place)).count();
                more > 0 && before + more > quota.size as usize
            })
        };
        (0..open.sections.len() as u16).filter(is_full).collect()
    }

    /// What a place costs when no tier is open.
    pub(super) fn lasting_price(&self, order: &NaiveOrder, place: &Place) -> u64 {
        let offer = self.events[&order.event].open.offer.as_ref();
        let line = offer.and_then(|offer| line_of(offer, place));
        line.map_or(order.price_list[usize::from(place.category)], |line| line.price_minor)
    }

    pub(super) fn check_move(&self, event: u32, from: &Place, to: &Place) -> Result<(), Rejection> {
        let Some(offer) = &self.events[&event].open.offer else { return Ok(()) };
        let taken = self.dealt(event);
        for quota in &offer.quotas {
            let used = taken.iter().filter(|(place, _)| counts(quota, place)).count();
            let used = used + usize::from(counts(quota, to)) - usize::from(counts(quota, from));
            if used > quota.size as usize {
                return Err(Rejection::QuotaExhausted { quota: quota.key.clone() });
            }
        }
        Ok(())
    }

    /// What was taken before an event's first types has none of them.
    pub(super) fn leave_untyped(&mut self, change: &ChangeOnsale) {
        let types = |offer: &Option<Box<Offer>>| offer.as_ref().map_or(0, |offer| offer.types);
        if types(&self.events[&change.event].open.offer) > 0 || types(&change.offer) == 0 {
            return;
        }
        let untyped = |place: &mut Place| place.ticket_type = NO_TYPE;
        for hold in self.holds.values_mut().filter(|hold| hold.event == change.event) {
            hold.answer.places.iter_mut().for_each(untyped);
            let known = self.keys.get_mut(&hold.key).expect("a hold's key");
            known.answer = Done::Held(hold.answer.clone());
        }
        for order in self.orders.values_mut().filter(|order| order.event == change.event) {
            order.places.iter_mut().for_each(untyped);
            order.moved.iter_mut().for_each(|moved| untyped(&mut moved.1));
        }
    }

    pub(super) fn check_offer(&self, change: &ChangeOnsale) -> Result<(), Rejection> {
        let types = |offer: &Option<Box<Offer>>| offer.as_ref().map_or(0, |offer| offer.types);
        let (had, has) = (types(&self.events[&change.event].open.offer), types(&change.offer));
        if has < had {
            return invalid("types");
        }
        let Some(offer) = &change.offer else { return Ok(()) };
        let mut taken = self.dealt(change.event);
        if had == 0 && has > 0 {
            taken.iter_mut().for_each(|(place, _)| place.ticket_type = NO_TYPE);
        }
        let mut quotas = Vec::new();
        for quota in &offer.quotas {
            let taken = taken.iter().filter(|(place, _)| counts(quota, place)).count() as u32;
            if taken > quota.size {
                quotas.push(QuotaTaken { quota: quota.key.clone(), taken });
            }
        }
        if quotas.is_empty() { Ok(()) } else { Err(Rejection::QuotaBelowTaken { quotas }) }
    }
}
