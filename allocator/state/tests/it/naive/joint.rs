//! Best-available wishes side by side: everybody by size, or everybody in order of arrival.

use std::collections::BTreeMap;

use onsale_state::{
    command::{Batch, Command, CommandKind, Hold, HoldItem, HoldTerms, Offer},
    *,
};

use super::{Answer, Naive};

type Places = smallvec::SmallVec<[Place; 4]>;

/// The hold of a command that leaves the choice to us, and how many places it asks for.
fn wish(command: &Command) -> Option<(&Hold, u16)> {
    let CommandKind::Hold(hold) = &command.kind else { return None };
    let apart = |terms: &HoldTerms| terms.channel.is_some() || terms.code.is_some();
    if hold.terms.as_deref().is_some_and(apart) {
        return None;
    }
    match hold.items.as_slice() {
        [HoldItem::BestAvailable(wish)] => Some((hold, wish.quantity + wish.companions)),
        _ => None,
    }
}

impl Naive {
    pub(super) fn commands(&mut self, batch: &Batch) -> Vec<Answer> {
        let same = |a: &Command, b: &Command| match (wish(a), wish(b)) {
            (Some((a, _)), Some((b, _))) => a.event == b.event,
            _ => false,
        };
        let mut answers = Vec::new();
        for run in batch.commands.chunk_by(same) {
            let chosen = self.clone().by_size(run).unwrap_or_default();
            for (at, command) in run.iter().enumerate() {
                self.chosen = chosen.get(&at).cloned();
                answers.push(self.command(command));
            }
        }
        self.chosen = None;
        answers
    }

    /// What everybody gets when the larger ones choose first; `None` if somebody gets nothing.
    fn by_size(self, run: &[Command]) -> Option<BTreeMap<usize, Places>> {
        if self.shard == 0 || run.len() < 2 {
            return None;
        }
        let event = self.events.get(&wish(&run[0])?.0.event)?;
        // Who would be granted seats if there were enough for all: seats that are nowhere, free and
        // no quota's.
        let mut rich = self.clone();
        if let Some(offer) = &event.open.offer {
            let none = Offer { types: offer.types, ..Offer::default() };
            let event = rich.events.get_mut(&event.open.event).expect("event");
            event.open.offer = Some(Box::new(none));
        }
        let nowhere =
            Place { seat: None, section: u16::MAX, category: 0, ticket_type: 0, price_minor: 0 };
        let mut asking = Vec::new();
        for (at, command) in run.iter().enumerate() {
            let (hold, size) = wish(command)?;
            rich.chosen = Some(smallvec::smallvec![nowhere; size.into()]);
            if matches!(rich.command(command), (false, Ok(_))) {
                asking.push((std::cmp::Reverse(size), at, hold));
            }
        }
        asking.sort_by_key(|&(size, at, _)| (size, at));
        let mut taken = self.clone();
        let mut chosen = BTreeMap::new();
        for &(_, at, hold) in &asking {
            let places = taken.choose(hold).ok()?;
            taken.deal_and_grant(hold, places.clone())?;
            chosen.insert(at, places);
        }
        // Quotas and tiers are dealt in the order of arrival.
        let mut taken = self;
        asking.sort_by_key(|&(_, at, _)| at);
        for (_, at, hold) in asking {
            taken.deal_and_grant(hold, chosen[&at].clone())?;
        }
        Some(chosen)
    }

    fn deal_and_grant(&mut self, hold: &Hold, mut places: Places) -> Option<()> {
        let types = hold.terms.as_ref().map_or(&[][..], |terms| &terms.types);
        let tiers = self.deal(hold.event, &mut places, types).ok()?;
        let is_within = self.within_limits(hold, &places);
        is_within.then(|| self.grant(hold, places, tiers)).map(drop)
    }
}
