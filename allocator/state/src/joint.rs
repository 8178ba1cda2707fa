//! Owns the joint allotment of best-available wishes that stand side by side in a batch, so that
//! small groups do not break up what larger ones need.
//!
//! The rule: if the seats suffice for all of them, larger groups choose first, then who came first;
//! if not, the order of arrival decides alone. Whoever is refused for another reason, or repeats a
//! key, does not choose. Quotas have to suffice as well, and prices that depend on what was dealt
//! before have to stay within what each allows; they are dealt in the order of arrival. Answers and
//! everything but the seats are as if each came by itself.
//!
//! Must never grant or refuse: it chooses seats, in the order in which they are then granted.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    command::{Command, CommandKind, Hold, HoldItem, Others},
    event::{EventState, PlaceRefs},
    ids::{EventNo, LogTimeMs},
    offer::Deals,
    shard::Shard,
    wishes::{self, Terms},
};

/// The event of a command that leaves the choice to us.
fn leaves_choice(command: &Command) -> Option<(EventNo, u16)> {
    match &command.kind {
        CommandKind::Hold(hold) => match hold.items.as_slice() {
            // Who comes through a channel chooses elsewhere.
            [HoldItem::BestAvailable(_)] if hold.names_channel() => None,
            // A code may refuse what was chosen.
            [HoldItem::BestAvailable(_)] if hold.code().is_some() => None,
            [HoldItem::BestAvailable(wish)] => {
                Some((hold.event, wish.quantity.saturating_add(wish.companions)))
            }
            _ => None,
        },
        _ => None,
    }
}

/// How many commands from the front are allotted together; at least 1, if there is one.
pub(crate) fn together(commands: &[Command]) -> usize {
    let Some((event, _)) = commands.first().and_then(leaves_choice) else {
        return commands.len().min(1);
    };
    let same = |command: &&Command| leaves_choice(command).is_some_and(|(its, _)| its == event);
    commands.iter().take_while(same).count()
}

/// What is chosen, dealt as if it were held, so that the next one sees quotas and tiers as they
/// would be.
struct Taken<'a> {
    event: &'a mut EventState,
    now: LogTimeMs,
    dealt: Vec<(PlaceRefs, Deals)>,
}

impl Taken<'_> {
    fn pick(&mut self, hold: &Hold) -> Option<PlaceRefs> {
        let terms = Terms { types: hold.types(), now: self.now, code: None };
        let places = wishes::pick(self.event, &hold.items, terms).ok()?;
        if self.event.offer.is_none() || self.deal(hold, places.clone()) {
            return Some(places);
        }
        wishes::unpick(self.event, places);
        None
    }

    /// Do quotas and price limits let the hold have these places?
    fn deal(&mut self, hold: &Hold, places: PlaceRefs) -> bool {
        let Ok(deals) = self.event.deal(&places, hold.types(), self.now) else {
            return false;
        };
        let prices = deals.as_deref().unwrap_or_default();
        let is_cheap_enough = wishes::are_within_limits(&hold.items, prices);
        self.dealt.push((places, deals));
        is_cheap_enough
    }

    fn forget(&mut self) {
        for (places, deals) in self.dealt.drain(..) {
            self.event.count_deals(&places, &deals, false);
        }
    }
}

impl Shard {
    /// The places of each command of such a run, out of the stock; `None` where a command has to
    /// choose for itself, all of them if the order of arrival decides.
    pub(crate) fn allot(&mut self, run: &[Command]) -> Vec<Option<PlaceRefs>> {
        let mut chosen = vec![None; run.len()];
        let sizes = run.iter().filter_map(leaves_choice).map(|(_, size)| size);
        if sizes.is_sorted_by(|a, b| a >= b) {
            // Larger groups come first as it is.
            return chosen;
        }
        let (event_slot, mut asking) = self.asking(run);
        let Some(event) = self.events.get_mut(event_slot as usize) else {
            return chosen;
        };
        let left: u64 = event.stock.iter().map(|stock| u64::from(stock.all_available())).sum();
        let wanted: usize = asking.iter().map(|&(wanted, _, _)| wanted).sum();
        if left < wanted as u64 {
            return chosen;
        }
        asking.sort_by_key(|&(wanted, at, _)| (std::cmp::Reverse(wanted), at));
        let mut taken = Taken { event, now: self.log_time_ms, dealt: Vec::new() };
        let mut is_granted = asking.iter().all(|&(_, at, hold)| {
            chosen[at] = taken.pick(hold);
            chosen[at].is_some()
        });
        taken.forget();
        if is_granted && taken.event.offer.is_some() {
            asking.sort_by_key(|&(_, at, _)| at);
            let mut places = chosen.iter().flatten();
            is_granted = asking
                .iter()
                .all(|(_, _, hold)| places.next().is_some_and(|it| taken.deal(hold, it.clone())));
            taken.forget();
        }
        if !is_granted {
            let places = chosen.iter_mut().filter_map(Option::take);
            places.for_each(|places| wishes::unpick(taken.event, places));
        }
        chosen
    }

    /// The event's slot, and who would be granted seats if there were enough for all: how many, the
    /// place in the run, the command.
    fn asking<'a>(&self, run: &'a [Command]) -> (u32, Vec<(usize, usize, &'a Hold)>) {
        let (mut keys, mut holds) = (BTreeSet::new(), BTreeSet::new());
        let mut buyers: BTreeMap<_, Others> = BTreeMap::new();
        let (mut event_slot, mut asking) = (0, Vec::new());
        for (at, command) in run.iter().enumerate() {
            let CommandKind::Hold(hold) = &command.kind else { continue };
            let key = hold.idempotency.key;
            let known = self.find_key(key).is_some() || keys.contains(&key);
            let late = self.log_time_ms > command.not_after_ms;
            if known || late || holds.contains(&hold.hold) {
                continue;
            }
            let others = buyers.entry(hold.idempotency.buyer).or_default();
            others.holds = asking.len();
            let Ok(admitted) = self.admit(hold, others) else { continue };
            event_slot = admitted.event_slot;
            let wanted = admitted.wanted;
            others.seats_of_buyer += wanted;
            others.holds_of_buyer += 1;
            keys.insert(key);
            holds.insert(hold.hold);
            asking.push((wanted, at, hold));
        }
        (event_slot, asking)
    }
}
