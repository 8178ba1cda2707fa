//! Owns one thread of the driver: its part of the arrivals and of the connections.
//!
//! A timer of its own says when the next arrival is due, to some ten microseconds; a free
//! connection takes it, and when none is free it waits in line with its intended time. Must never
//! send early, and never forget an arrival.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{Notify, oneshot},
};

use super::{
    Options, Pace,
    op::{Fate, Op},
    plan::Plan,
    player::Player,
    tally::Ended,
    wire::{Shared, Wire},
};
use crate::{limits, random::Dice};

/// Shorter waits cost more than they are worth.
const NAP_MIN: Duration = Duration::from_micros(30);

#[derive(Clone, Copy)]
struct Arrival {
    intended: Instant,
    op: Op,
}

/// Where arrivals wait for connections.
#[derive(Default)]
struct Board {
    due: RefCell<VecDeque<Arrival>>,
    bell: Notify,
    over: Cell<bool>,
}

/// Runs a lane to its end. `ready` is told when all connections are open; then `start` brings the
/// count.
///
/// # Errors
/// When connections cannot be opened.
pub async fn run(
    options: Arc<Options>,
    lane: u32,
    ready: oneshot::Sender<()>,
    start: oneshot::Receiver<Arc<Shared>>,
) -> anyhow::Result<()> {
    let lanes = u64::from(options.threads);
    let mine = (0..options.connections).filter(|number| number % lanes == u64::from(lane));
    let mut wires = Vec::new();
    for number in mine {
        let wire = Wire::open(options.target.clone(), options.patience).await;
        let wire = wire.with_context(|| format!("http://{}", options.target.authority))?;
        wires.push((number, wire));
    }
    let _ = ready.send(());
    let Ok(shared) = start.await else { return Ok(()) };
    let board = Rc::new(Board::default());
    let mut tasks = tokio::task::JoinSet::new();
    for (number, wire) in wires {
        let player = Player::new(Arc::clone(&options), number, wire);
        match options.pace {
            Pace::Open { .. } => {
                tasks.spawn_local(open_loop(player, Rc::clone(&board), Arc::clone(&shared)));
            }
            Pace::Closed => {
                tasks.spawn_local(closed_loop(player, Arc::clone(&shared)));
            }
        }
    }
    if let Pace::Open { rate, arrivals } = options.pace {
        let length = shared.span.until - shared.span.started;
        let plan = Plan::new(rate, arrivals, options.seed, (lane, options.threads), length);
        pace(plan, &options, lane, &board, &shared).await?;
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a connection's loop ended early")?;
    }
    Ok(())
}

async fn open_loop(mut player: Player, board: Rc<Board>, shared: Arc<Shared>) {
    loop {
        let next = board.due.borrow_mut().pop_front();
        match next {
            Some(arrival) => {
                shared.tally().queue -= 1;
                if player.options.is_too_late(arrival.intended) {
                    unsent(&shared, arrival);
                    continue;
                }
                player.play(&shared, arrival.op, arrival.intended).await;
            }
            None if board.over.get() || player.is_done() => return player.end(&shared).await,
            None => board.bell.notified().await,
        }
    }
}

async fn closed_loop(mut player: Player, shared: Arc<Shared>) {
    while !shared.is_over() && !player.is_done() {
        let op = player.draw();
        player.play(&shared, op, Instant::now()).await;
    }
    player.end(&shared).await;
}

/// Puts arrivals on the board when they are due, until the plan or the run is over.
async fn pace(
    mut plan: Plan,
    options: &Options,
    lane: u32,
    board: &Board,
    shared: &Shared,
) -> anyhow::Result<()> {
    let timer = Timer::new()?;
    let mut dice = Dice::new(options.seed ^ 0xa5a5, u64::from(lane));
    let mut next = plan.next();
    while let Some(after) = next {
        let at = shared.span.started + after;
        let now = Instant::now();
        // Not when the time is over: an arrival of the last moment may be noticed after it.
        if shared.is_stopped() {
            break;
        }
        if at > now {
            timer.wait((at - now).max(NAP_MIN).min(limits::STOP_POLL)).await?;
            continue;
        }
        let arrival = Arrival { intended: at, op: options.mix.draw(&mut dice) };
        let mut due = board.due.borrow_mut();
        if due.len() < limits::QUEUE_MAX {
            due.push_back(arrival);
            drop(due);
            shared.tally().queue += 1;
            board.bell.notify_one();
        } else {
            drop(due);
            unsent(shared, arrival);
        }
        next = plan.next();
    }
    // What was due in the last moment may still be taken by a connection that is free.
    let until = Instant::now() + limits::STOP_POLL;
    while !board.due.borrow().is_empty() && Instant::now() < until {
        timer.wait(NAP_MIN).await?;
    }
    board.over.set(true);
    let left: Vec<Arrival> = board.due.borrow_mut().drain(..).collect();
    for arrival in left {
        shared.tally().queue -= 1;
        unsent(shared, arrival);
    }
    board.bell.notify_waiters();
    Ok(())
}

/// Nobody was free to send it: it counts with the time it has waited so far.
fn unsent(shared: &Shared, arrival: Arrival) {
    let now = Instant::now();
    let ended = Ended { intended: arrival.intended, sent: now, ended: now, fate: Fate::Unsent };
    shared.tally().record(arrival.op, ended, "unsent");
}

/// A timer finer than the runtime's, which counts whole milliseconds.
struct Timer {
    fd: AsyncFd<std::os::fd::OwnedFd>,
}

impl Timer {
    fn new() -> anyhow::Result<Timer> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let fd = timerfd_create(TimerfdClockId::Monotonic, flags).context("no timer")?;
        // Deprecated for descriptors that could be closed elsewhere; this one is owned here alone.
        #[allow(deprecated)]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE).context("no timer")?;
        Ok(Timer { fd })
    }

    async fn wait(&self, length: Duration) -> anyhow::Result<()> {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec {
            tv_sec: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(length.subsec_nanos()),
        };
        let timer = Itimerspec { it_interval: zero, it_value: value };
        timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &timer)?;
        loop {
            let mut guard = self.fd.readable().await?;
            let mut expirations = [0_u8; 8];
            let read = guard.try_io(|fd| {
                rustix::io::read(fd.get_ref(), &mut expirations).map_err(std::io::Error::from)
            });
            match read {
                Ok(read) => return Ok(read.map(|_| ())?),
                Err(_would_block) => {}
            }
        }
    }
}
