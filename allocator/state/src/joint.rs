//! Owns the joint allotment of best-available wishes that stand side by side in a batch, so that
//! small groups do not break up what larger ones need.
//!
//! The rule: if the seats suffice for all of them, larger groups choose first, then who came first;
//! if not, the order of arrival decides alone. Whoever is refused for another reason, or repeats a
//! key, does not choose. Where prices or quotas depend on what was dealt before, the order of
//! arrival decides always. Answers and everything but the seats are as if each came by itself.
//!
//! Must never grant or refuse: it chooses seats, in the order in which they are then granted.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    command::{Command, CommandKind, Hold, HoldItem, Others},
    event::PlaceRefs,
    ids::EventNo,
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
        if event.offer.is_some() {
            return chosen;
        }
        let left: u64 = event.stock.iter().map(|stock| u64::from(stock.all_available())).sum();
        let wanted: usize = asking.iter().map(|&(wanted, _, _)| wanted).sum();
        if left < wanted as u64 {
            return chosen;
        }
        asking.sort_by_key(|&(wanted, at, _)| (std::cmp::Reverse(wanted), at));
        for (_, at, hold) in asking {
            match wishes::pick(event, &hold.items, Terms::default()) {
                Ok(places) => chosen[at] = Some(places),
                Err(_) => {
                    for places in chosen.iter_mut().filter_map(Option::take) {
                        wishes::unpick(event, places);
                    }
                    return chosen;
                }
            }
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
