//! A second implementation, written from the rules and as simply as they can be: ordered maps,
//! linear scans, one owner looked up by asking everybody. Slow on purpose.

mod best;
mod channels;
mod choose;
mod codes;
mod control;
mod hoarding;
mod holds;
mod joint;
mod offers;
mod orders;
mod places;
mod staff;

pub use channels::{NaiveChannel, Pool};

use std::collections::{BTreeMap, BTreeSet};

use onsale_state::{
    command::{
        Batch, ChangeOnsale, CodeTerms, Command, CommandKind, Contact, OpenOnsale, Rules,
        SectionKind,
    },
    *,
};

pub const HOUR: u64 = 3_600_000;

#[derive(Clone, Debug)]
pub struct NaiveSeat {
    pub section: u16,
    pub row: usize,
    pub at: u16,
    pub row_seats: u16,
    pub category: u16,
    /// 1 accessible, 2 companion.
    pub kind: u8,
}

#[derive(Clone, Debug)]
pub struct NaiveEvent {
    pub open: OpenOnsale,
    pub seats: Vec<NaiveSeat>,
    /// Why seats are withdrawn, or are to be.
    pub kills: BTreeMap<u32, String>,
    /// Places withdrawn, or to be, by section and reason.
    pub area_kills: BTreeMap<(u16, String), u32>,
    pub dropped: u64,
    /// Milliseconds of seats by buyer, of holds that came to no order while a rule asked.
    pub spent: BTreeMap<u64, u64>,
    /// By number.
    pub channels: Vec<NaiveChannel>,
    pub channels_made: u32,
    /// What each code is good for, and its uses.
    pub codes: BTreeMap<u128, (CodeTerms, u32)>,
}

#[derive(Clone, Debug)]
pub struct NaiveHold {
    pub event: u32,
    pub key: u128,
    pub buyer: u64,
    /// The number of the channel that it came through; 0 is none.
    pub channel: u32,
    pub state: HoldState,
    pub answer: Held,
    pub code: Option<u128>,
    /// The tier that each place took; 0 is none.
    pub tiers: Vec<u16>,
    pub expires_at_ms: u64,
    pub extensions: u16,
    pub order: Option<u128>,
    /// Prices by category when it was granted.
    pub price_list: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct NaiveOrder {
    pub event: u32,
    pub hold: u128,
    pub hold_key: u128,
    pub channel: u32,
    pub buyer: u64,
    pub email: u64,
    pub card: u64,
    pub status: OrderStatus,
    pub failure: Option<(&'static str, String)>,
    pub places: Vec<Place>,
    pub tiers: Vec<u16>,
    pub fence: u64,
    pub created: u64,
    pub method: String,
    pub intent: Option<String>,
    pub url: Option<String>,
    pub signatures: Vec<[u8; 64]>,
    pub signing_key: u32,
    pub contact: Option<Contact>,
    /// Prices by category when it was held.
    pub price_list: Vec<u64>,
    pub numbers: Vec<u16>,
    pub unsigned: BTreeSet<u16>,
    pub moved: Vec<(u16, Place, u64, String)>,
    pub holders: BTreeMap<u16, Contact>,
}

#[derive(Clone, Debug)]
pub struct NaiveJob {
    pub kind: JobKind,
    pub order: u128,
    pub not_before: u64,
    pub lease: u64,
    pub lease_until: u64,
    pub attempts: u32,
    pub first: u64,
}

impl NaiveJob {
    pub fn due_at(&self) -> u64 {
        if self.lease == 0 { self.not_before } else { self.not_before.max(self.lease_until) }
    }
}

#[derive(Clone, Debug)]
pub struct NaiveKey {
    pub request: u64,
    pub buyer: u64,
    pub answer: Done,
    /// `None` as long as the hold that it made is not over.
    pub forget_at: Option<u64>,
    pub staff: bool,
}

#[derive(Clone, Debug)]
pub struct NaiveDocument {
    pub event: u32,
    pub shard: u16,
    pub organizer: String,
    pub published: Option<(u64, Vec<u8>)>,
    pub prepared: Option<(u64, Vec<u8>)>,
    pub prepared_by: Option<u128>,
    pub dropped: u64,
}

#[derive(Clone)]
pub struct Naive {
    pub shard: u16,
    pub shards: u16,
    pub limits: Limits,
    pub now: u64,
    pub events: BTreeMap<u32, NaiveEvent>,
    pub holds: BTreeMap<u128, NaiveHold>,
    pub orders: BTreeMap<u128, NaiveOrder>,
    pub keys: BTreeMap<u128, NaiveKey>,
    pub jobs: BTreeMap<u64, NaiveJob>,
    pub reports: BTreeMap<u64, (u64, command::JobResult, u128)>,
    pub last_job: u64,
    pub documents: BTreeMap<String, NaiveDocument>,
    pub api_keys: BTreeMap<[u8; 32], (String, String)>,
    pub signing_keys: BTreeMap<u32, [u8; 32]>,
    /// What the next hold gets, if that is settled.
    chosen: Option<smallvec::SmallVec<[Place; 4]>>,
}

pub type Answer = (bool, Result<Done, Rejection>);

pub fn invalid<T>(field: &'static str) -> Result<T, Rejection> {
    Err(Rejection::Invalid { field, reason: "" })
}

impl Naive {
    pub fn new(shard: u16, shards: u16, limits: Limits) -> Self {
        Self {
            shard,
            shards,
            limits,
            now: 0,
            events: BTreeMap::new(),
            holds: BTreeMap::new(),
            orders: BTreeMap::new(),
            keys: BTreeMap::new(),
            jobs: BTreeMap::new(),
            reports: BTreeMap::new(),
            last_job: 0,
            documents: BTreeMap::new(),
            api_keys: BTreeMap::new(),
            signing_keys: BTreeMap::new(),
            chosen: None,
        }
    }

    pub fn apply(&mut self, batch: &Batch) -> Vec<Answer> {
        self.now = self.now.max(batch.log_time_ms);
        self.pass_time();
        self.commands(batch)
    }

    fn pass_time(&mut self) {
        let now = self.now;
        let over: Vec<u128> = self
            .keys
            .iter()
            .filter(|(_, key)| key.forget_at.is_some_and(|at| at <= now))
            .map(|(&key, _)| key)
            .collect();
        for key in over {
            self.keys.remove(&key);
            self.holds.retain(|_, hold| hold.key != key);
        }
        let mut fenced: Vec<(u64, u128)> = self
            .orders
            .iter()
            .filter(|(_, order)| undecided(order.status) && order.fence <= now)
            .map(|(&id, order)| (order.fence, id))
            .collect();
        fenced.sort_unstable();
        for (_, order) in fenced {
            self.time_out(order);
        }
        let ended: Vec<u128> = self
            .holds
            .iter()
            .filter(|(_, hold)| hold.state == HoldState::Live && hold.expires_at_ms <= now)
            .map(|(&id, _)| id)
            .collect();
        for hold in ended {
            self.spend(hold, self.holds[&hold].expires_at_ms);
            self.end(hold, HoldState::Expired);
        }
        self.release_allotments();
    }

    /// The hold is over; its key lives an hour more.
    pub fn end(&mut self, hold: u128, state: HoldState) {
        if state != HoldState::Sold {
            self.give_code_back(hold);
        }
        let hold = self.holds.get_mut(&hold).expect("hold");
        hold.state = state;
        let at = self.now + HOUR;
        self.keys.get_mut(&hold.key).expect("key").forget_at = Some(at);
        let id = hold.answer.hold;
        for key in self.keys.values_mut() {
            if matches!(key.answer, Done::Extended { hold, .. } if hold == id) {
                key.forget_at = Some(at);
            }
        }
    }

    fn command(&mut self, command: &Command) -> Answer {
        if command.not_after_ms < self.now {
            return (false, Err(Rejection::TooLate));
        }
        let control = matches!(
            command.kind,
            CommandKind::PrepareEvent(_)
                | CommandKind::PublishEvent(_)
                | CommandKind::PutApiKey(_)
                | CommandKind::PutSigningKey(_)
                | CommandKind::DropRevision(_)
        );
        if !matches!(command.kind, CommandKind::Tick) && control != (self.shard == 0) {
            return (false, Err(Rejection::WrongShard));
        }
        match &command.kind {
            CommandKind::Tick => (false, Ok(Done::Ok)),
            CommandKind::KillSeats(asked) => {
                self.staff(&asked.idempotency, |model| model.kill(asked))
            }
            CommandKind::ReturnSeats(asked) => {
                self.staff(&asked.idempotency, |model| model.give_back(asked))
            }
            CommandKind::SwapSeat(asked) => {
                self.staff(&asked.idempotency, |model| model.swap(asked))
            }
            CommandKind::RenameTicket(asked) => {
                self.staff(&asked.idempotency, |model| model.rename(asked))
            }
            CommandKind::PutChannel(asked) => {
                self.staff(&asked.idempotency, |model| model.put_channel(asked))
            }
            CommandKind::DropChannel(asked) => {
                self.staff(&asked.idempotency, |model| model.drop_channel(asked))
            }
            CommandKind::PutCodes(asked) => {
                self.staff(&asked.idempotency, |model| model.put_codes(asked))
            }
            CommandKind::DropChange(asked) => self.drop_change(asked),
            CommandKind::DropRevision(asked) => self.drop_revision(asked),
            CommandKind::OpenOnsale(open) => self.open(open),
            CommandKind::ChangeOnsale(change) => self.change(change),
            CommandKind::Hold(hold) => self.hold(hold),
            CommandKind::ReleaseHold(release) => self.release(release.hold.0),
            CommandKind::ExtendHold(extend) => self.extend(extend),
            CommandKind::BeginCheckout(checkout) => self.checkout(checkout),
            CommandKind::SellOverTheCounter(sale) => self.counter(sale),
            CommandKind::LeaseJobs(lease) => self.lease(lease),
            CommandKind::SettleJob(report) => self.settle(report),
            CommandKind::WakeJob(wake) => self.wake(wake.order.0),
            CommandKind::PrepareEvent(prepare) => self.prepare(prepare),
            CommandKind::PublishEvent(publish) => self.publish(&publish.event_id, publish.revision),
            CommandKind::PutApiKey(key) => {
                let record = (key.role.to_string(), key.owner.to_string());
                match self.api_keys.get(&key.key_hash) {
                    Some(known) if *known == record => (true, Ok(Done::Ok)),
                    Some(_) => (false, invalid("key_hash")),
                    None => {
                        self.api_keys.insert(key.key_hash, record);
                        (false, Ok(Done::Ok))
                    }
                }
            }
            CommandKind::PutSigningKey(key) => match self.signing_keys.get(&key.key_id) {
                Some(known) if *known == key.public_key => (true, Ok(Done::Ok)),
                Some(_) => (false, invalid("key_id")),
                None => {
                    self.signing_keys.insert(key.key_id, key.public_key);
                    (false, Ok(Done::Ok))
                }
            },
        }
    }

    fn open(&mut self, open: &OpenOnsale) -> Answer {
        if let Some(known) = self.events.get(&open.event) {
            return if known.open.event_id != open.event_id {
                (false, invalid("event"))
            } else if open.revision <= known.open.revision {
                (true, Ok(Done::Ok))
            } else {
                (false, Err(Rejection::StaleRevision { in_force: known.open.revision }))
            };
        }
        self.events.insert(
            open.event,
            NaiveEvent {
                open: open.clone(),
                seats: places::seats(open),
                kills: BTreeMap::new(),
                area_kills: BTreeMap::new(),
                dropped: 0,
                spent: BTreeMap::new(),
                channels: Vec::new(),
                channels_made: 0,
                codes: BTreeMap::new(),
            },
        );
        (false, Ok(Done::Ok))
    }

    fn change(&mut self, change: &ChangeOnsale) -> Answer {
        let Some(event) = self.events.get(&change.event) else {
            return (false, Err(Rejection::NotFound { what: "event" }));
        };
        if change.revision <= event.open.revision {
            return (true, Ok(Done::Ok));
        }
        if change.revision <= event.dropped {
            return (false, Err(Rejection::StaleRevision { in_force: event.open.revision }));
        }
        if change.prices_minor.len() != event.open.prices_minor.len() {
            return (false, invalid("prices_minor"));
        }
        let Rules { seats_per_order_max, hold_ttl_ms, .. } = change.rules;
        if !(1..=64).contains(&seats_per_order_max) {
            return (false, invalid("rules/seats_per_order_max"));
        }
        if !(1000..=24 * HOUR as u32).contains(&hold_ttl_ms) {
            return (false, invalid("rules/hold_ttl_ms"));
        }
        if let Err(rejection) = self.check_capacities(change) {
            return (false, Err(rejection));
        }
        if let Err(refused) = self.check_offer(change) {
            return (false, Err(refused));
        }
        self.leave_untyped(change);
        let event = self.events.get_mut(&change.event).expect("event");
        event.open.offer = change.offer.clone();
        for &(section, places) in &change.capacities {
            event.open.sections[usize::from(section)].kind =
                SectionKind::GeneralAdmission { capacity: places };
        }
        event.open.revision = change.revision;
        event.open.onsale_at_ms = change.onsale_at_ms;
        event.open.prices_minor = change.prices_minor.clone();
        event.open.rules = change.rules;
        let rules = change.rules;
        if rules.holds_per_buyer_max == 0 && rules.hold_seconds_per_buyer_max == 0 {
            event.spent.clear();
        }
        (false, Ok(Done::Ok))
    }

    fn check_capacities(&self, change: &ChangeOnsale) -> Result<(), Rejection> {
        let mut sections: Vec<u16> = change.capacities.iter().map(|&(no, _)| no).collect();
        sections.dedup();
        let unknown = |&(no, _): &(u16, u32)| self.capacity(change.event, no).is_none();
        if sections.len() != change.capacities.len()
            || !sections.is_sorted()
            || change.capacities.iter().any(unknown)
            || change.capacities.iter().any(|&(_, places)| places == 0 || places > 190_000)
        {
            return invalid("sections/capacity");
        }
        let mut areas = Vec::new();
        for &(section, places) in &change.capacities {
            let (held, sold) = self.area(change.event, section);
            let killed = self.killed(change.event, section);
            if held + sold + killed > places {
                areas.push(AreaTaken { section, held, sold, killed });
            }
        }
        if areas.is_empty() { Ok(()) } else { Err(Rejection::CapacityBelowTaken { areas }) }
    }
}

pub fn undecided(status: OrderStatus) -> bool {
    matches!(status, OrderStatus::Processing | OrderStatus::ActionRequired)
}
