//! Owns the way from a hold's wishes to places: what makes no sense, and all places or none.
//!
//! Must never look at who asks.

use smallvec::SmallVec;

use crate::{
    best_available::{self, Scope, Shortage},
    command::{CodeTerms, HoldItem, Wish},
    event::{EventState, PlaceRef, PlaceRefs},
    general_admission,
    ids::{LogTimeMs, SeatNo, SectionNo, TypeNo},
    limits::HOLD_ITEMS_MAX,
    offer::Deal,
    outcome::Rejection,
    quota_room,
    seat_map::SeatKind,
};

macro_rules! item_fields {
    ($name:literal: $($no:literal)*) => { [$(concat!("items/", $no, "/", $name)),*] };
    ($($field:ident $name:literal)*) => {
        $(static $field: [&str; HOLD_ITEMS_MAX] =
            item_fields!($name: 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);)*
    };
}

item_fields! {
    SEATS "seats"
    QUANTITY "quantity"
    SECTION "section"
    CATEGORY "category"
    COMPANIONS "companions"
}

fn invalid(field: &'static str, reason: &'static str) -> Rejection {
    Rejection::Invalid { field, reason }
}

/// The seats the wishes name.
fn named(items: &[HoldItem]) -> impl Iterator<Item = SeatNo> + Clone {
    let seats = items.iter().flat_map(|item| match item {
        HoldItem::Seats(seats) => seats.as_slice(),
        HoldItem::BestAvailable(_) => &[],
    });
    seats.copied()
}

/// The same as `validate` for one wish for named seats, which most holds are.
#[inline]
fn validate_named(event: &EventState, seats: &[SeatNo]) -> Result<usize, Rejection> {
    if let &[seat] = seats
        && seat < event.seat_map.seats()
        && event.rules.seats_per_order_max > 0
    {
        return Ok(1);
    }
    if seats.is_empty() {
        return Err(invalid(SEATS[0], "must name at least one seat"));
    }
    if seats.len() > usize::from(event.rules.seats_per_order_max) {
        return Err(invalid("items", "are more places than one order may have"));
    }
    for (at, &seat) in seats.iter().enumerate() {
        if seat >= event.seat_map.seats() {
            return Err(invalid(SEATS[0], "are not all in the seat map"));
        }
        if seats[..at].contains(&seat) {
            return Err(invalid(SEATS[0], "name a seat twice"));
        }
    }
    Ok(seats.len())
}

/// How many places the items want, if they make sense.
#[inline]
pub(crate) fn validate(event: &EventState, items: &[HoldItem]) -> Result<usize, Rejection> {
    match items {
        [HoldItem::Seats(seats)] => validate_named(event, seats),
        items => validate_all(event, items),
    }
}

fn validate_all(event: &EventState, items: &[HoldItem]) -> Result<usize, Rejection> {
    if items.is_empty() || items.len() > HOLD_ITEMS_MAX {
        return Err(invalid("items", "must be 1 to 16"));
    }
    let mut wanted = 0;
    for (at, item) in items.iter().enumerate() {
        wanted += match item {
            HoldItem::Seats(seats) if seats.is_empty() => {
                return Err(invalid(SEATS[at], "must name at least one seat"));
            }
            HoldItem::BestAvailable(Wish { quantity: 0, .. }) => {
                return Err(invalid(QUANTITY[at], "must be at least 1"));
            }
            item => size(item),
        };
    }
    if wanted > usize::from(event.rules.seats_per_order_max) {
        return Err(invalid("items", "are more places than one order may have"));
    }
    let mut named: SmallVec<[SeatNo; 16]> = SmallVec::new();
    for (at, item) in items.iter().enumerate() {
        match item {
            HoldItem::Seats(seats) => {
                for &seat in seats {
                    if seat >= event.seat_map.seats() {
                        return Err(invalid(SEATS[at], "are not all in the seat map"));
                    }
                    if named.contains(&seat) {
                        return Err(invalid(SEATS[at], "name a seat twice"));
                    }
                    named.push(seat);
                }
            }
            HoldItem::BestAvailable(wish) => {
                let (_, areas) = scope(event, at, wish, Terms::default())?;
                if wish.companions > 0 && (areas || !wish.accessible) {
                    return Err(invalid(COMPANIONS[at], "come with accessible seats only"));
                }
            }
        }
    }
    Ok(wanted)
}

/// Refuses companion seats that are named without an accessible seat of their section.
#[inline]
pub(crate) fn check_companions(event: &EventState, items: &[HoldItem]) -> Result<(), Rejection> {
    match event.seat_map.has_companions() {
        true => check_companions_among(event, items),
        false => Ok(()),
    }
}

fn check_companions_among(event: &EventState, items: &[HoldItem]) -> Result<(), Rejection> {
    let map = &event.seat_map;
    let of = |kind| named(items).filter(move |&seat| map.kind_of(seat) == Some(kind));
    let alone = of(SeatKind::Companion).filter(|&companion| {
        let section = map.section_of(companion);
        of(SeatKind::Accessible).all(|accessible| map.section_of(accessible) != section)
    });
    let mut seats: Vec<SeatNo> = alone.collect();
    if seats.is_empty() {
        return Ok(());
    }
    seats.sort_unstable();
    Err(Rejection::CompanionWithoutAccessible { seats })
}

/// Where a wish may be fulfilled, and whether that is general admission.
fn scope<'a>(
    event: &EventState,
    at: usize,
    wish: &Wish,
    terms: Terms<'a>,
) -> Result<(Scope<'a>, bool), Rejection> {
    let Wish { category, section, price_max_minor, .. } = *wish;
    if category.is_some_and(|no| usize::from(no) >= event.prices_in_force().len()) {
        return Err(invalid(CATEGORY[at], "is not one of the event's"));
    }
    let scope = Scope { section, category, price_max_minor, terms, full: &[] };
    if let Some(no) = section {
        let Some(section) = event.seat_map.section(no) else {
            return Err(invalid(SECTION[at], "is not in the seat map"));
        };
        if category.is_some_and(|category| category != section.category) {
            return Err(invalid(CATEGORY[at], "is not the section's"));
        }
        return Ok((scope, section.area_capacity.is_some()));
    }
    if category.is_none() {
        return Ok((scope, event.seat_map.seats() == 0));
    }
    // Whatever its price is.
    let any = Scope { price_max_minor: None, ..scope };
    if any.sections(event, false).next().is_some() {
        return Ok((scope, false));
    }
    if any.sections(event, true).next().is_some() {
        return Ok((scope, true));
    }
    Err(invalid(CATEGORY[at], "has no sections"))
}

/// What a price limit depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Terms<'a> {
    /// The ticket types of all places, in their order; or none.
    pub(crate) types: &'a [TypeNo],
    /// Early prices end with time.
    pub(crate) now: LogTimeMs,
    /// What the buyer's code is good for.
    pub(crate) code: Option<&'a CodeTerms>,
}

impl<'a> Terms<'a> {
    /// Those of an item before which these places were picked.
    fn of(self, item: &HoldItem, before: &[PlaceRef]) -> Self {
        let types = self.types.get(before.len()..before.len() + size(item));
        Self { types: types.unwrap_or_default(), ..self }
    }
}

/// How many places an item asks for.
pub(crate) fn size(item: &HoldItem) -> usize {
    match item {
        HoldItem::Seats(seats) => seats.len(),
        HoldItem::BestAvailable(wish) => usize::from(wish.quantity) + usize::from(wish.companions),
    }
}

/// Does no place cost more than its wish allows? An early price may end within a hold.
pub(crate) fn are_within_limits(items: &[HoldItem], mut prices: &[Deal]) -> bool {
    items.iter().all(|item| {
        let (its, others) = prices.split_at(size(item).min(prices.len()));
        prices = others;
        match item {
            HoldItem::BestAvailable(Wish { price_max_minor: Some(max), .. }) => {
                its.iter().all(|deal| deal.price_minor <= *max)
            }
            _ => true,
        }
    })
}

/// Why wishes that make sense are not granted.
pub(crate) enum Refused {
    /// Named seats that are not available, ascending.
    Conflict(Vec<SeatNo>),
    /// Named seats that strand others for no need.
    Orphans {
        stranded: Vec<SeatNo>,
        mend: Vec<SeatNo>,
    },
    Short(Shortage),
}

/// All named seats that are not to be had.
#[inline(never)]
fn conflict(event: &EventState, items: &[HoldItem]) -> Refused {
    let mut seats: Vec<SeatNo> =
        named(items).filter(|&seat| event.is_free(seat) != Some(true)).collect();
    seats.sort_unstable();
    Refused::Conflict(seats)
}

/// Are the named seats all to be had, and the others left as they should be?
fn check_named(event: &EventState, items: &[HoldItem]) -> Result<(), Refused> {
    if named(items).any(|seat| event.is_free(seat) != Some(true)) {
        return Err(conflict(event, items));
    }
    if event.rules.no_orphans
        && let Some((stranded, mend)) = best_available::needless_orphans(event, named(items))
    {
        return Err(Refused::Orphans { stranded, mend });
    }
    Ok(())
}

/// Takes all places out of the stock, in the order of the wishes; or none.
#[inline]
pub(crate) fn pick(
    event: &mut EventState,
    items: &[HoldItem],
    terms: Terms<'_>,
) -> Result<PlaceRefs, Refused> {
    // Most holds are one wish for named seats.
    if let [HoldItem::Seats(seats)] = items
        && !event.rules.no_orphans
    {
        return event.pick_named(seats).ok_or_else(|| match seats.as_slice() {
            &[seat] => Refused::Conflict(vec![seat]),
            _ => conflict(event, items),
        });
    }
    pick_all(event, items, terms)
}

fn pick_all(
    event: &mut EventState,
    items: &[HoldItem],
    terms: Terms<'_>,
) -> Result<PlaceRefs, Refused> {
    check_named(event, items)?;
    // Named seats first, so that no wish takes what another one names.
    for seat in named(items) {
        event.pick(PlaceRef::seat(seat));
    }
    let mut places = PlaceRefs::new();
    for (at, item) in items.iter().enumerate() {
        let short = match item {
            HoldItem::Seats(seats) => {
                for &seat in seats {
                    places.push(PlaceRef::seat(seat));
                }
                continue;
            }
            HoldItem::BestAvailable(wish) => {
                match scope(event, at, wish, terms.of(item, &places)) {
                    Ok(scope) => {
                        let full =
                            quota_room::full_sections(event, items, &places, wish, terms.types);
                        pick_best(event, scope, &full, wish, &mut places)
                    }
                    Err(_) => Err(Shortage::SoldOut),
                }
            }
        };
        if let Err(shortage) = short {
            unpick(event, places);
            unpick(event, named(&items[at..]).map(PlaceRef::seat));
            return Err(Refused::Short(shortage));
        }
    }
    Ok(places)
}

/// Picks the places of one wish, outside of full sections if that is possible; or none.
fn pick_best(
    event: &mut EventState,
    (scope, areas): (Scope<'_>, bool),
    full: &[SectionNo],
    wish: &Wish,
    places: &mut PlaceRefs,
) -> Result<(), Shortage> {
    let mut pick_in = |scope| match areas {
        true => general_admission::pick_places(event, scope, wish.quantity, places),
        false => best_available::pick_seats(event, scope, wish, places),
    };
    if !full.is_empty() && pick_in(Scope { full, ..scope }).is_ok() {
        return Ok(());
    }
    pick_in(scope)
}

/// Puts picked places back.
pub(crate) fn unpick(event: &mut EventState, places: impl IntoIterator<Item = PlaceRef>) {
    for place in places {
        event.unpick(place);
    }
}
