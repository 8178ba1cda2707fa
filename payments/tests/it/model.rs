//! Random interleavings of workers, crashes, lost and late calls, buyers and fences against a
//! model of gateway and shard: money is taken once for what was sold, and never for anything else.

use std::collections::BTreeMap;

use onsale_payments::{
    checkout::{Kind, Purpose, Report, Step, Task, first, next},
    gateway::{Answer, Call, Intent, Payment, Status},
};
use proptest::prelude::*;

const ORDERS: usize = 3;
const HOUR_MS: u64 = 60 * 60 * 1000;
const KEYS_KEPT_MS: u64 = 24 * HOUR_MS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    Pays,
    Declines,
    Asks,
}

/// The gateway: keys are kept with their answers, a day long.
#[derive(Default)]
struct Gateway {
    intents: Vec<Intent>,
    keys: BTreeMap<String, (u64, Answer)>,
    captures: BTreeMap<String, u32>,
    given_back: BTreeMap<String, u32>,
}

impl Gateway {
    fn call(&mut self, payment: &Payment, call: &Call, fails: bool, now_ms: u64) -> Answer {
        self.keys.retain(|_, (at_ms, _)| now_ms - *at_ms <= KEYS_KEPT_MS);
        let key = match call {
            Call::Authorise => format!("{}:authorise", payment.order_id),
            Call::Capture { turn, .. } => format!("{}:capture:{turn}", payment.order_id),
            Call::Cancel { turn, .. } => format!("{}:void:{turn}", payment.order_id),
            Call::GiveBack(_) => format!("{}:give_back", payment.order_id),
            Call::Retrieve(id) => return self.find(|intent| intent.id == *id),
            Call::Search => {
                return self.find(|intent| intent.order_id.as_ref() == Some(&payment.order_id));
            }
        };
        if let Some((_, kept)) = self.keys.get(&key) {
            return match kept.clone() {
                Answer::Unknown { .. } => Answer::KeySpent,
                // As the client does: a kept answer is followed by a look.
                Answer::Intent(intent) => self.find(|own| own.id == intent.id),
                kept => kept,
            };
        }
        // Some failures of the gateway come after it has done the call, and are kept.
        let answer = self.execute(payment, call);
        let kept = if fails { Answer::Unknown { retry_after: None } } else { answer };
        self.keys.insert(key, (now_ms, kept.clone()));
        kept
    }

    fn execute(&mut self, payment: &Payment, call: &Call) -> Answer {
        match call {
            Call::Authorise => self.authorise(payment),
            Call::Capture { intent, .. } => {
                let found = self.intents.iter_mut().find(|own| own.id == *intent).unwrap();
                if found.status == Status::RequiresCapture {
                    found.status = Status::Succeeded;
                    found.received_minor = found.amount_minor;
                    *self.captures.entry(payment.order_id.clone()).or_default() += 1;
                }
                Answer::Intent(found.clone())
            }
            Call::Cancel { intent, .. } => {
                let found = self.intents.iter_mut().find(|own| own.id == *intent).unwrap();
                if found.status != Status::Succeeded {
                    found.status = Status::Canceled;
                }
                Answer::Intent(found.clone())
            }
            Call::GiveBack(_) => {
                *self.given_back.entry(payment.order_id.clone()).or_default() += 1;
                Answer::GivenBack
            }
            Call::Retrieve(_) | Call::Search => unreachable!("they have no key"),
        }
    }

    fn authorise(&mut self, payment: &Payment) -> Answer {
        let status = match payment.payment_method.as_str() {
            "pays" => Status::RequiresCapture,
            "asks" => Status::RequiresAction,
            _ => Status::RequiresPaymentMethod,
        };
        let intent = Intent {
            id: format!("pi_{}", self.intents.len()),
            status,
            amount_minor: payment.amount_minor,
            capturable_minor: payment.amount_minor,
            received_minor: 0,
            currency: "eur".to_owned(),
            order_id: Some(payment.order_id.clone()),
            next_action_url: Some("https://bank.test/".to_owned()),
            last_error: None,
        };
        self.intents.push(intent.clone());
        match status {
            Status::RequiresPaymentMethod => {
                Answer::Declined { intent: Some(intent.id), reason: "card_declined".to_owned() }
            }
            _ => Answer::Intent(intent),
        }
    }

    fn find(&self, which: impl Fn(&Intent) -> bool) -> Answer {
        let mut found: Vec<&Intent> = self.intents.iter().filter(|intent| which(intent)).collect();
        found.sort_by_key(|intent| intent.status == Status::Canceled);
        found.first().map_or(Answer::NotFound, |intent| Answer::Intent((*intent).clone()))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Undecided,
    Sold,
    Confirmed,
    Failed,
}

struct Order {
    life: Life,
    payment: Payment,
    intent: Option<String>,
    job: Option<Kind>,
    job_no: u32,
    lease: u32,
    attempts: u32,
    first_leased_ms: Option<u64>,
}

struct Worker {
    order: usize,
    job_no: u32,
    lease: u32,
    task: Task,
    step: Step,
}

struct World {
    now_ms: u64,
    gateway: Gateway,
    orders: Vec<Order>,
    workers: Vec<Worker>,
    /// Calls that somebody gave up on and that arrive later.
    late: Vec<(Payment, Call)>,
    random: u64,
}

impl World {
    fn new(seed: u64, cards: [Card; ORDERS]) -> World {
        let order = |(number, card): (usize, Card)| Order {
            life: Life::Undecided,
            payment: Payment {
                order_id: format!("ord_{number}"),
                amount_minor: 1900,
                currency: "EUR".to_owned(),
                payment_method: match card {
                    Card::Pays => "pays",
                    Card::Declines => "declines",
                    Card::Asks => "asks",
                }
                .to_owned(),
            },
            intent: None,
            job: Some(Kind::Authorise),
            job_no: 0,
            lease: 0,
            attempts: 0,
            first_leased_ms: None,
        };
        World {
            now_ms: 1,
            gateway: Gateway::default(),
            orders: cards.into_iter().enumerate().map(order).collect(),
            workers: Vec::new(),
            late: Vec::new(),
            random: seed | 1,
        }
    }

    fn roll(&mut self, sides: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % sides
    }

    fn pick(&mut self, count: usize) -> usize {
        usize::try_from(self.roll(count as u64)).unwrap()
    }

    /// A new lease; whoever had the job before goes on in vain.
    fn lease(&mut self, number: usize) {
        let now_ms = self.now_ms;
        let order = &mut self.orders[number];
        let Some(kind) = order.job else {
            return;
        };
        order.lease += 1;
        let first_leased = *order.first_leased_ms.get_or_insert(now_ms);
        let task = Task {
            kind,
            payment: order.payment.clone(),
            intent: order.intent.clone(),
            attempts: order.attempts,
            age_ms: now_ms - first_leased,
        };
        order.attempts += 1;
        let worker = Worker {
            order: number,
            job_no: order.job_no,
            lease: order.lease,
            step: first(&task),
            task,
        };
        self.workers.push(worker);
    }

    fn advance(&mut self, place: usize, faults: bool) {
        let fault = if faults { self.roll(8) } else { 7 };
        let worker = &mut self.workers[place];
        let mut step = worker.step.clone();
        while let Step::Alarm(_, inner) = step {
            step = *inner;
        }
        match step {
            Step::Alarm(..) => unreachable!(),
            Step::Call(call, purpose) => {
                let payment = worker.task.payment.clone();
                let lost = Answer::Unknown { retry_after: None };
                let answer = match fault {
                    0 => lost,
                    1 => {
                        self.late.push((payment, call.clone()));
                        lost
                    }
                    2 => {
                        self.gateway.call(&payment, &call, false, self.now_ms);
                        lost
                    }
                    3 => self.gateway.call(&payment, &call, true, self.now_ms),
                    _ => self.gateway.call(&payment, &call, false, self.now_ms),
                };
                self.go_on(place, &call, &purpose, &answer);
            }
            Step::Report(report) => {
                let worker = self.workers.swap_remove(place);
                self.settle(&worker, &report);
                if fault == 0 {
                    // The report's answer was lost: it is repeated.
                    self.settle(&worker, &report);
                }
            }
        }
    }

    fn go_on(&mut self, place: usize, call: &Call, purpose: &Purpose, answer: &Answer) {
        let worker = &mut self.workers[place];
        worker.step = next(&worker.task, call, purpose, answer);
    }

    fn settle(&mut self, worker: &Worker, report: &Report) {
        let order = &mut self.orders[worker.order];
        if order.job_no != worker.job_no || order.lease != worker.lease || order.job.is_none() {
            return;
        }
        let (life, job) = match report {
            Report::Retry { .. } => return,
            Report::ActionRequired { intent, .. } => {
                order.intent = Some(intent.clone());
                return;
            }
            Report::Authorised { intent } => {
                order.intent = Some(intent.clone());
                (Life::Sold, Some(Kind::Capture))
            }
            Report::Declined { .. } | Report::CaptureRefused { .. } => (Life::Failed, None),
            Report::Captured => (Life::Confirmed, None),
            Report::Voided => (order.life, None),
            Report::Issued => unreachable!("nothing is issued here"),
        };
        (order.life, order.job) = (life, job);
        order.job_no += 1;
        order.attempts = 0;
        order.first_leased_ms = None;
    }

    fn end_fence(&mut self, number: usize) {
        let order = &mut self.orders[number];
        if order.life == Life::Undecided {
            order.life = Life::Failed;
            order.job = Some(Kind::Void);
            order.job_no += 1;
            order.attempts = 0;
            // The void's age is the authorisation's: its key is what it repeats.
        }
    }

    fn buyer_acts(&mut self) {
        let yes = self.roll(2) == 0;
        for intent in &mut self.gateway.intents {
            if intent.status == Status::RequiresAction {
                intent.status =
                    if yes { Status::RequiresCapture } else { Status::RequiresPaymentMethod };
            }
        }
    }

    fn late_calls_arrive(&mut self) {
        for (payment, call) in std::mem::take(&mut self.late) {
            self.gateway.call(&payment, &call, false, self.now_ms);
        }
    }

    fn random_step(&mut self) {
        match self.roll(16) {
            0..=4 => {
                let number = self.pick(ORDERS);
                self.lease(number);
            }
            5..=11 if !self.workers.is_empty() => {
                let place = self.pick(self.workers.len());
                self.advance(place, true);
            }
            12 if !self.workers.is_empty() => {
                let place = self.pick(self.workers.len());
                self.workers.swap_remove(place);
            }
            13 => self.late_calls_arrive(),
            14 => self.buyer_acts(),
            15 => match self.roll(4) {
                0 => {
                    // Leases and connections end long before keys do.
                    self.late_calls_arrive();
                    self.workers.clear();
                    self.now_ms += HOUR_MS * (1 + self.roll(30));
                }
                _ => {
                    let number = self.pick(ORDERS);
                    self.end_fence(number);
                }
            },
            _ => {}
        }
    }

    /// Faults are over: everything comes to an end in a bounded number of steps.
    fn rest(&mut self) {
        self.late_calls_arrive();
        for round in 0..200 {
            if self.orders.iter().all(|order| order.job.is_none()) {
                return;
            }
            if round == 20 {
                (0..ORDERS).for_each(|number| self.end_fence(number));
            }
            if round == 40 {
                self.workers.clear();
                self.now_ms += 21 * HOUR_MS;
            }
            for number in 0..ORDERS {
                self.lease(number);
            }
            for _ in 0..8 {
                for place in (0..self.workers.len()).rev() {
                    self.advance(place, false);
                }
            }
        }
        panic!("some job never ends");
    }

    fn check(&self, at_rest: bool) {
        for order in &self.orders {
            let name = &order.payment.order_id;
            let captures = self.gateway.captures.get(name).copied().unwrap_or(0);
            let back = self.gateway.given_back.get(name).copied().unwrap_or(0);
            assert!(captures <= 1, "{name} was captured {captures} times");
            assert_eq!(back, 0, "{name}: nothing is taken that has to be given back");
            match order.life {
                Life::Confirmed => assert_eq!(captures, 1, "{name} is confirmed and not paid"),
                Life::Undecided | Life::Failed => {
                    assert_eq!(captures, 0, "{name} is not sold and was paid");
                }
                Life::Sold => assert!(!at_rest, "{name} is sold and never settled"),
            }
            let own = |intent: &&Intent| intent.order_id.as_ref() == Some(name);
            let reserved = self.gateway.intents.iter().filter(own).any(|intent| {
                matches!(intent.status, Status::RequiresCapture | Status::RequiresAction)
            });
            assert!(!at_rest || !reserved, "{name}: money stays reserved for nothing");
        }
    }
}

fn card() -> impl Strategy<Value = Card> {
    prop_oneof![3 => Just(Card::Pays), 1 => Just(Card::Declines), 2 => Just(Card::Asks)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    #[test]
    fn no_interleaving_takes_money_twice_or_for_nothing(
        seed in any::<u64>(),
        cards in [card(), card(), card()],
        steps in 1_usize..250,
    ) {
        let mut world = World::new(seed, cards);
        for _ in 0..steps {
            world.random_step();
            world.check(false);
        }
        world.rest();
        world.check(true);
    }
}
