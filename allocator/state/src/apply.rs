//! Owns the order of things inside a log entry: time, what time ends, the commands, the chain.

use crate::{
    chain::Link,
    change::Change,
    command::{Batch, Command, CommandKind},
    dedup::KeyOwner,
    event::PlaceRefs,
    hold::HoldState,
    joint,
    order::FailureCode,
    outcome::{Done, Outcome, Rejection},
    shard::Shard,
};

/// Applies a log entry; see [`Shard::apply`].
pub fn apply(
    shard: &mut Shard,
    log_index: u64,
    batch: &Batch,
    outcomes: &mut Vec<Outcome>,
    changes: &mut Vec<Change>,
) {
    shard.apply(log_index, batch, outcomes, changes);
}

impl Outcome {
    pub(crate) fn done(done: Done) -> Self {
        Self { replayed: false, result: Ok(done) }
    }

    pub(crate) fn replayed(done: Done) -> Self {
        Self { replayed: true, result: Ok(done) }
    }

    pub(crate) fn rejected(rejection: Rejection) -> Self {
        Self { replayed: false, result: Err(rejection) }
    }
}

impl From<Result<Done, Rejection>> for Outcome {
    fn from(result: Result<Done, Rejection>) -> Self {
        Self { replayed: false, result }
    }
}

impl Shard {
    /// Applies a log entry. `outcomes` and `changes` are emptied first; then `outcomes` has one
    /// for each command, in the batch's order.
    ///
    /// # Panics
    ///
    /// When `log_index` is not above the last one, or an invariant is broken: going on would
    /// spread the damage.
    pub fn apply(
        &mut self,
        log_index: u64,
        batch: &Batch,
        outcomes: &mut Vec<Outcome>,
        changes: &mut Vec<Change>,
    ) {
        assert!(log_index > self.last_index, "entry {log_index} after {}", self.last_index);
        outcomes.clear();
        changes.clear();
        let before = self.log_time_ms;
        self.last_index = log_index;
        self.log_time_ms = before.max(batch.log_time_ms);
        self.job_due = self.log_time_ms > before && self.jobs.becomes_due(before, self.log_time_ms);
        self.read_what_ends();
        self.forget();
        self.expire(changes);
        self.read_what_is_named(batch);
        let room = std::mem::take(&mut self.scratch);
        let mut link = Link::begin(self, batch, changes, room);
        let mut commands = batch.commands.as_slice();
        while !commands.is_empty() {
            let (run, rest) = commands.split_at(joint::together(commands));
            match run {
                [command] => self.apply_step(command, None, &mut link, (outcomes, changes)),
                run => self.apply_together(run, &mut link, (outcomes, changes)),
            }
            commands = rest;
        }
        let before = changes.len();
        if std::mem::take(&mut self.job_due) {
            changes.push(Change::JobDue);
        }
        (self.chain, self.scratch) = link.finish(&changes[before..]);
    }

    /// Commands that may be allotted together.
    fn apply_together(
        &mut self,
        run: &[Command],
        link: &mut Link,
        (outcomes, changes): (&mut Vec<Outcome>, &mut Vec<Change>),
    ) {
        let chosen = if self.is_control() { Vec::new() } else { self.allot(run) };
        let mut chosen = chosen.into_iter();
        for command in run {
            let places = chosen.next().flatten();
            self.apply_step(command, places, link, (outcomes, changes));
        }
    }

    /// A command, what comes of it, and its part of the chain.
    fn apply_step(
        &mut self,
        command: &Command,
        chosen: Option<PlaceRefs>,
        link: &mut Link,
        (outcomes, changes): (&mut Vec<Outcome>, &mut Vec<Change>),
    ) {
        let before = changes.len();
        // Answers are written where they stand: moving one, of 160 bytes, costs more.
        outcomes.push(Outcome::done(Done::Ok));
        if let Some(outcome) = outcomes.last_mut() {
            self.apply_command(command, chosen, (outcome, changes));
            link.step(command, outcome, &changes[before..]);
        }
    }

    /// Writes an outcome that says "done" so far. `chosen` are a hold's places, if they are chosen
    /// already.
    #[inline(always)]
    fn apply_command(
        &mut self,
        command: &Command,
        chosen: Option<PlaceRefs>,
        (outcome, changes): (&mut Outcome, &mut Vec<Change>),
    ) {
        let is_tick = matches!(command.kind, CommandKind::Tick);
        *outcome = if self.log_time_ms > command.not_after_ms {
            Outcome::rejected(Rejection::TooLate)
        } else if !is_tick && self.is_control() != command.kind.is_for_control() {
            Outcome::rejected(Rejection::WrongShard)
        } else {
            match &command.kind {
                CommandKind::Hold(command) => {
                    return self.hold_seats(command, chosen, (outcome, changes));
                }
                CommandKind::ReleaseHold(command) => {
                    return self.release_hold(command, (outcome, changes));
                }
                _ => self.apply_rare(command, changes),
            }
        };
    }

    /// All but the two commonest commands.
    fn apply_rare(&mut self, command: &Command, changes: &mut Vec<Change>) -> Outcome {
        match &command.kind {
            CommandKind::OpenOnsale(command) => self.open_onsale(command, changes),
            CommandKind::ChangeOnsale(command) => self.change_onsale(command, changes),
            CommandKind::Hold(_) | CommandKind::ReleaseHold(_) => {
                panic!("a common command has come the way of the rare ones")
            }
            CommandKind::ExtendHold(command) => self.extend_hold(command, changes),
            CommandKind::BeginCheckout(command) => self.begin_checkout(command, changes),
            CommandKind::SellOverTheCounter(command) => {
                self.sell_over_the_counter(command, changes)
            }
            CommandKind::LeaseJobs(command) => self.lease_jobs(command),
            CommandKind::SettleJob(command) => self.settle_job(command, changes),
            CommandKind::WakeJob(command) => self.wake_job(command),
            CommandKind::PrepareEvent(command) => self.prepare_event(command),
            CommandKind::PublishEvent(command) => self.publish_event(command, changes),
            CommandKind::PutApiKey(command) => self.put_api_key(command, changes),
            CommandKind::PutSigningKey(command) => self.put_signing_key(command, changes),
            CommandKind::KillSeats(command) => self.kill_seats(command, changes),
            CommandKind::ReturnSeats(command) => self.return_seats(command, changes),
            CommandKind::SwapSeat(command) => self.swap_seat(command, changes),
            CommandKind::RenameTicket(command) => self.rename_ticket(command),
            CommandKind::PutChannel(command) => self.put_channel(command, changes),
            CommandKind::DropChannel(command) => self.drop_channel(command, changes),
            CommandKind::PutCodes(command) => self.put_codes(command),
            CommandKind::DropChange(command) => self.drop_change(command),
            CommandKind::DropRevision(command) => self.drop_revision(command),
            CommandKind::Tick => self.tick(),
        }
    }

    /// Forgets keys whose time is over, and ended holds with theirs.
    fn forget(&mut self) {
        let now = self.log_time_ms;
        while let Some(slot) = self.holds.first_forgettable(now) {
            self.holds.ended.pop_front();
            let (key, extensions) = self.holds.remove(slot);
            self.dedup.remove(key, KeyOwner::Hold(slot));
            for key in extensions {
                self.dedup.remove(key, KeyOwner::Extension(slot));
            }
        }
        while let Some(&(_, slot)) = self.orders.keys.front().filter(|&&(at, _)| at <= now) {
            self.orders.keys.pop_front();
            let order = &mut self.orders.slab[slot];
            order.key_lives = false;
            self.dedup.remove(order.key, KeyOwner::Order(slot));
        }
        self.forget_answers();
    }

    /// Ends what is due: first payment fences, then holds, then allotments, each by time and id, so
    /// that the order is the same on a replica that started from a snapshot.
    fn expire(&mut self, changes: &mut Vec<Change>) {
        let now = self.log_time_ms;
        if self.due.first().is_none_or(|&(time, _)| time > now) {
            return;
        }
        let (mut events, mut fences, mut holds) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(&(time, event)) = self.due.first().filter(|&&(time, _)| time <= now) {
            self.due.remove(&(time, event));
            let clock = &mut self.events[event as usize].clock;
            clock.next_at_ms = None;
            clock.take_due(&self.holds, event, now, &mut holds);
            let ended = clock.fences.iter().take_while(|&&(time, _, _)| time <= now);
            fences.extend(ended.copied());
            events.push(event);
        }
        fences.sort_unstable();
        for (_, _, order) in fences {
            self.fail_undecided(order, FailureCode::PaymentTimeout, "", changes);
            self.void_after_timeout(order);
        }
        let ended = holds.into_iter().map(|slot| {
            let hold = self.holds.at(slot);
            (hold.expires_at_ms(), hold.id, slot)
        });
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        ended.dedup();
        for (until_ms, _, hold) in ended {
            self.end_hold(hold, (HoldState::Expired, until_ms), changes);
        }
        // When an event came due, and its slot, are this replica's own.
        events.sort_unstable_by_key(|&slot| {
            let event = &self.events[slot as usize];
            (event.clock.release_at_ms, event.event)
        });
        for event in events {
            self.events[event as usize].release_allotments(now, changes);
            self.reschedule(event);
        }
    }
}
