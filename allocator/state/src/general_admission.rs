//! Owns which area places without numbers come from: the first area, in order of preference, that
//! has them all; else from area to area.

use crate::{
    best_available::{Scope, Shortage},
    event::{EventState, PlaceRef, PlaceRefs},
    ids::SectionNo,
};

/// Picks `quantity` places and adds them to `picked`; changes nothing when there are too few.
pub(crate) fn pick_places(
    event: &mut EventState,
    scope: Scope<'_>,
    quantity: u16,
    picked: &mut PlaceRefs,
) -> Result<(), Shortage> {
    let left = |section: SectionNo| event.stock[usize::from(section)].available[0];
    let total: u64 = scope.sections(event, true).map(|section| u64::from(left(section))).sum();
    match total {
        0 => return Err(Shortage::SoldOut),
        total if total < u64::from(quantity) => return Err(Shortage::NotEnough),
        _ => {}
    }
    let whole = scope.sections(event, true).find(|&section| left(section) >= u32::from(quantity));
    let sections: Vec<SectionNo> = match whole {
        Some(section) => vec![section],
        None => scope.sections(event, true).collect(),
    };
    let mut missing = u32::from(quantity);
    for section in sections {
        let taken = missing.min(event.stock[usize::from(section)].available[0]);
        for _ in 0..taken {
            event.pick(PlaceRef::area(section));
            picked.push(PlaceRef::area(section));
        }
        missing -= taken;
    }
    assert!(missing == 0, "the areas' counters promised places that are not there");
    Ok(())
}
