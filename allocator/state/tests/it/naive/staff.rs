//! What the organizer and support do: places withdrawn and returned, tickets moved and renamed,
//! changes given up.

use std::collections::BTreeSet;

use onsale_state::{
    command::{
        DropChange, DropRevision, Idempotency, KillSeats, RenameTicket, ReturnSeats, SectionKind,
        Selection, SwapSeat,
    },
    *,
};

use super::{Answer, HOUR, Naive, NaiveKey, channels::Pool, invalid, orders::number_of};

impl Naive {
    /// Answers a repeat as before, remembers what is new.
    pub(super) fn staff(
        &mut self,
        key: &Idempotency,
        apply: impl FnOnce(&mut Self) -> Result<Done, Rejection>,
    ) -> Answer {
        if let Some(known) = self.keys.get(&key.key) {
            let same = known.request == key.request
                && (key.buyer_is_new || known.buyer == key.buyer)
                && known.staff;
            return match same {
                true => (true, Ok(known.answer.clone())),
                false => (false, Err(Rejection::IdempotencyKeyReused)),
            };
        }
        if self.keys.len() >= self.limits.dedup_entries_max as usize {
            return (false, Err(Rejection::Overloaded { bound: "dedup_entries_max" }));
        }
        let answer = apply(self);
        if let Ok(answer) = &answer {
            let (request, buyer, answer) = (key.request, key.buyer, answer.clone());
            let forget_at = Some(self.now + 24 * HOUR);
            let entry = NaiveKey { request, buyer, answer, forget_at, staff: true };
            self.keys.insert(key.key, entry);
        }
        (false, answer)
    }

    pub fn capacity(&self, event: u32, section: u16) -> Option<u32> {
        match self.events[&event].open.sections.get(usize::from(section))?.kind {
            SectionKind::GeneralAdmission { capacity } => Some(capacity),
            SectionKind::Seated { .. } => None,
        }
    }

    /// Places of an area that are to be withdrawn.
    fn doomed(&self, event: u32, section: u16) -> u32 {
        let kills = &self.events[&event].area_kills;
        kills.iter().filter(|((of, _), _)| *of == section).map(|(_, places)| places).sum()
    }

    /// Places of an area that are withdrawn.
    pub fn killed(&self, event: u32, section: u16) -> u32 {
        let (held, sold) = self.area(event, section);
        let nobodys = self.capacity(event, section).unwrap_or(0) - held - sold;
        self.doomed(event, section).min(nobodys)
    }

    pub fn taken(&self, event: u32, section: u16) -> AreaTaken {
        let (held, sold) = self.area(event, section);
        AreaTaken { section, held, sold, killed: self.killed(event, section) }
    }

    fn check_selection(&self, no: u32, places: &Selection) -> Result<(), Rejection> {
        if !self.events.contains_key(&no) {
            return Err(Rejection::NotFound { what: "event" });
        }
        if places.seats.is_empty() && places.areas.is_empty() {
            return invalid("seats");
        }
        self.check_places(no, places)
    }

    pub(super) fn check_places(&self, no: u32, places: &Selection) -> Result<(), Rejection> {
        let Some(event) = self.events.get(&no) else {
            return Err(Rejection::NotFound { what: "event" });
        };
        let unique: BTreeSet<u32> = places.seats.iter().copied().collect();
        if !unique.iter().eq(&places.seats)
            || unique.iter().any(|&s| s as usize >= event.seats.len())
        {
            return invalid("seats");
        }
        let unique: BTreeSet<u16> = places.areas.iter().map(|&(no, _)| no).collect();
        if !unique.iter().copied().eq(places.areas.iter().map(|&(no, _)| no))
            || unique.iter().any(|&section| self.capacity(no, section).is_none())
        {
            return invalid("areas");
        }
        if places.areas.iter().any(|&(_, places)| places == 0) {
            return invalid("areas/quantity");
        }
        Ok(())
    }

    pub(super) fn kill(&mut self, asked: &KillSeats) -> Result<Done, Rejection> {
        let no = asked.event;
        if self.events.contains_key(&no) && asked.reason.len() > 64 {
            return invalid("reason");
        }
        self.check_selection(no, &asked.places)?;
        let in_state = |state| {
            let seats = asked.places.seats.iter().copied();
            seats.filter(|&seat| self.plain_seat(no, seat).0 == state).collect::<Vec<u32>>()
        };
        let seats = in_state(SeatState::Sold);
        let too_many = |&(section, places): &(u16, u32)| {
            let (_, sold) = self.area(no, section);
            let doomed = self.doomed(no, section);
            (places + doomed + sold > self.capacity(no, section).unwrap_or(0))
                .then(|| self.taken(no, section))
        };
        let areas: Vec<AreaTaken> = asked.places.areas.iter().filter_map(too_many).collect();
        if !seats.is_empty() || !areas.is_empty() {
            return Err(Rejection::SeatsSold { seats, areas });
        }
        let pending = in_state(SeatState::Held);
        let mut killed = (asked.places.seats.len() - pending.len()) as u32;
        let event = self.events.get_mut(&no).expect("event");
        for &seat in &asked.places.seats {
            event.kills.insert(seat, asked.reason.to_string());
        }
        let mut pending_areas = Vec::new();
        for &(section, places) in &asked.places.areas {
            let event = self.events.get_mut(&no).expect("event");
            *event.area_kills.entry((section, asked.reason.to_string())).or_default() += places;
            let left = self.doomed(no, section) - self.killed(no, section);
            if left > 0 {
                pending_areas.push((section, left));
            }
            killed += places.saturating_sub(left);
        }
        Ok(Done::Killed { killed, pending, pending_areas })
    }

    pub(super) fn give_back(&mut self, asked: &ReturnSeats) -> Result<Done, Rejection> {
        let no = asked.event;
        self.check_selection(no, &asked.places)?;
        let Selection { seats, areas } = &asked.places;
        let kills = &self.events[&no].kills;
        let others: Vec<u32> = seats.iter().copied().filter(|s| !kills.contains_key(s)).collect();
        let short = areas.iter().filter(|&&(section, places)| places > self.doomed(no, section));
        let short: Vec<AreaTaken> = short.map(|&(section, _)| self.taken(no, section)).collect();
        if !others.is_empty() || !short.is_empty() {
            return Err(Rejection::SeatsNotKilled { seats: others, areas: short });
        }
        let event = self.events.get_mut(&no).expect("event");
        seats.iter().for_each(|seat| drop(event.kills.remove(seat)));
        let mut returned = seats.len() as u32;
        for &(section, places) in areas {
            returned += places;
            for _ in 0..places {
                let of = |key: &&(u16, String)| key.0 == section;
                let last = event.area_kills.keys().rfind(of).expect("a reason").clone();
                *event.area_kills.get_mut(&last).expect("places") -= 1;
                event.area_kills.retain(|_, places| *places > 0);
            }
        }
        Ok(Done::Returned { returned })
    }

    pub(super) fn swap(&mut self, asked: &SwapSeat) -> Result<Done, Rejection> {
        let Some(order) = self.orders.get(&asked.order.0) else {
            return Err(Rejection::NotFound { what: "order" });
        };
        let Some(at) = order.numbers.iter().position(|&number| number == asked.ticket) else {
            return Err(Rejection::NotFound { what: "ticket" });
        };
        let event = &self.events[&order.event];
        if asked.reason.len() > 64 {
            return invalid("reason");
        }
        let Some(to) = event.seats.get(asked.to_seat as usize) else {
            return invalid("to_seat");
        };
        let Some(from) = order.places[at].seat else {
            return invalid("ticket");
        };
        if event.seats[from as usize].kind != to.kind {
            return invalid("to_seat");
        }
        if order.status != OrderStatus::Confirmed {
            return Err(Rejection::OrderUnconfirmed);
        }
        let old = order.places[at];
        let (section, category, ticket_type) = (to.section, to.category, old.ticket_type);
        let seat = Some(asked.to_seat);
        let place = Place { seat, section, category, ticket_type, price_minor: old.price_minor };
        let price_minor = self.lasting_price(order, &old);
        let other_minor = self.lasting_price(order, &place);
        if price_minor != other_minor {
            return Err(Rejection::PriceDiffers { price_minor, other_minor });
        }
        if !self.has(order.event, asked.to_seat, Pool::Both(order.channel)) {
            return Err(Rejection::SeatUnavailable { seats: vec![asked.to_seat] });
        }
        self.check_move(order.event, &old, &place)?;
        let now = self.now;
        let order = self.orders.get_mut(&asked.order.0).expect("order");
        let old = std::mem::replace(&mut order.places[at], place);
        let new = number_of(order.places.len() + order.moved.len());
        order.moved.push((asked.ticket, old, now, asked.reason.to_string()));
        order.numbers[at] = new;
        if let Some(holder) = order.holders.remove(&asked.ticket) {
            order.holders.insert(new, holder);
        }
        order.unsigned.remove(&asked.ticket);
        order.unsigned.insert(new);
        self.jobs.retain(|_, job| job.order != asked.order.0);
        self.add_job(asked.order.0, JobKind::Issue, 0, 0);
        let (order, ticket, to) = (asked.order, asked.ticket, asked.to_seat);
        Ok(Done::Swapped { order, ticket, new_ticket: new, from, to })
    }

    pub(super) fn rename(&mut self, asked: &RenameTicket) -> Result<Done, Rejection> {
        let Some(order) = self.orders.get_mut(&asked.order.0) else {
            return Err(Rejection::NotFound { what: "order" });
        };
        let tickets: Vec<u16> = match asked.ticket {
            None => order.numbers.clone(),
            Some(number) => vec![number],
        };
        if tickets.iter().any(|number| !order.numbers.contains(number)) {
            return Err(Rejection::NotFound { what: "ticket" });
        }
        if asked.contact.name.is_empty() {
            return invalid("contact");
        }
        if order.status == OrderStatus::Failed {
            return Err(Rejection::OrderUnconfirmed);
        }
        for &number in &tickets {
            order.holders.insert(number, asked.contact.clone());
        }
        Ok(Done::Renamed { order: asked.order, tickets: tickets.into() })
    }

    pub(super) fn drop_change(&mut self, asked: &DropChange) -> Answer {
        let Some(event) = self.events.get_mut(&asked.event) else {
            return (false, Err(Rejection::NotFound { what: "event" }));
        };
        let in_force = event.open.revision;
        if asked.revision <= in_force {
            return (false, Err(Rejection::StaleRevision { in_force }));
        }
        let known = asked.revision <= event.dropped;
        event.dropped = event.dropped.max(asked.revision);
        (known, Ok(Done::Ok))
    }

    pub(super) fn drop_revision(&mut self, asked: &DropRevision) -> Answer {
        let Some(document) = self.documents.get_mut(&*asked.event_id) else {
            return (false, Err(Rejection::NotFound { what: "event" }));
        };
        let in_force = document.published.as_ref().map_or(0, |(revision, _)| *revision);
        let is_prepared =
            document.prepared.as_ref().is_some_and(|(revision, _)| *revision == asked.revision);
        if is_prepared && in_force > 0 {
            document.prepared = None;
            document.dropped = asked.revision;
            if let Some(key) = document.prepared_by.take() {
                self.keys.remove(&key);
            }
            return (false, Ok(Done::Ok));
        }
        if asked.revision <= document.dropped && asked.revision != in_force {
            return (true, Ok(Done::Ok));
        }
        (false, Err(Rejection::StaleRevision { in_force }))
    }
}
