//! Owns the list of figures that the harness can make: what each is, its floor, its goal, how it
//! is measured and the command that measures it alone.
//!
//! Must never hold what was measured.

use serde::Serialize;

use self::{
    Better::{Less, More},
    Unit::{Bytes, MillionPerSecond, Ms, Percent, Seconds, Times, Us},
};

/// Whether more is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// At least the goal.
    More,
    /// At most the goal.
    Less,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A ratio.
    Times,
    /// Milliseconds.
    Ms,
    /// Microseconds.
    Us,
    /// Seconds.
    Seconds,
    /// Parts of a hundred.
    Percent,
    /// Millions a second.
    MillionPerSecond,
    /// Bytes.
    Bytes,
}

impl Unit {
    /// As it stands behind a number.
    pub fn sign(self) -> &'static str {
        match self {
            Times => "×",
            Ms => " ms",
            Us => " µs",
            Seconds => " s",
            Percent => " %",
            MillionPerSecond => " M/s",
            Bytes => " B",
        }
    }
}

/// The measurement behind one figure or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Against axum before Redis.
    Redis,
    /// Against axum before PostgreSQL.
    Postgres,
    /// The native stream against etcd.
    Etcd,
    /// The native stream, one replica, against an echo.
    Echo,
    /// Against nginx.
    Reads,
    /// Refused reserves against reads.
    Refused,
    /// One event against twenty.
    HotEvent,
    /// Three replicas against one.
    Replicas,
    /// The example of the state machine, one run of it.
    Apply(&'static str),
    /// An open loop of reserves.
    OpenLoop,
    /// Half of the peak.
    HalfLoad,
    /// Everything is sold.
    Sellout,
    /// Four times the peak.
    Overload,
    /// From exec to ready.
    Start,
    /// kill -9 of a leader.
    LeaderKill,
    /// SIGTERM to each replica in turn.
    RollingRestart,
}

/// A figure.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// Its id; a small letter behind it is a second figure of the same goal.
    pub id: &'static str,
    /// What is measured, against what.
    pub what: &'static str,
    /// Whether more is better.
    pub better: Better,
    /// What the numbers count.
    pub unit: Unit,
    /// Under this, the piece is not done.
    pub floor: f64,
    /// What we are after.
    pub goal: f64,
    /// How it is measured.
    pub how: How,
    /// The command that measures it alone, without `onsale-bench`.
    pub command: &'static str,
}

impl Goal {
    /// Whether it is meant by that word: its id, with or without the small letter.
    pub fn is_called(&self, word: &str) -> bool {
        let (id, word) = (self.id.to_ascii_lowercase(), word.to_ascii_lowercase());
        id == word || id.strip_suffix('b') == Some(&word)
    }
}

const fn goal(
    (id, what): (&'static str, &'static str),
    better: Better,
    (floor, goal, unit): (f64, f64, Unit),
    how: How,
    command: &'static str,
) -> Goal {
    Goal { id, what, better, unit, floor, goal, how, command }
}

/// All of them.
#[rustfmt::skip]
pub const GOALS: &[Goal] = &[
    goal(("P1", "reserve over HTTP, 3 replicas ÷ axum → Redis"), More, (1.0, 2.0, Times),
        How::Redis, "compare --peer redis"),
    goal(("P2", "the same ÷ axum → PostgreSQL"), More, (3.0, 6.0, Times),
        How::Postgres, "compare --peer postgres"),
    goal(("P3", "native stream, 3 replicas ÷ 3 × etcd, put with lease"), More, (10.0, 25.0, Times),
        How::Etcd, "compare --peer etcd --native --seconds 5 --seats 4000000"),
    goal(("P4", "native stream, one replica ÷ tonic unary echo"), More, (3.0, 10.0, Times),
        How::Echo, "compare --peer echo --native --replicas 1 --seconds 5 --seats 4000000"),
    goal(("P5", "live reads ÷ nginx with static files"), More, (0.8, 1.4, Times),
        How::Reads, "compare --peer nginx"),
    goal(("P6", "refused reserves ÷ own reads"), More, (0.6, 0.9, Times),
        How::Refused, "goals P6"),
    goal(("P7", "one hot event ÷ twenty events"), More, (0.8, 1.0, Times),
        How::HotEvent, "compare --peer own --own-events 20"),
    goal(("P8", "three replicas ÷ one, both durable"), More, (0.35, 0.6, Times),
        How::Replicas, "compare --peer own --own-replicas 1"),
    goal(("P9", "apply alone, one thread"), More, (3.0, 10.0, MillionPerSecond),
        How::Apply("steady rush"), "goals P9"),
    goal(("P10", "best available, 4 together, 95 % gone, p99"), Less, (50.0, 5.0, Us),
        How::Apply("best"), "goals P10"),
    goal(("P11", "memory of a held seat and replica"), Less, (64.0, 24.0, Bytes),
        How::Apply("memory"), "goals P11"),
    goal(("P12", "a reserve among 1 M seats ÷ among 1,000"), Less, (1.3, 1.05, Times),
        How::Apply("scale"), "goals P12"),
    goal(("P13", "p99 at 10,000 reserve/s, open loop"), Less, (100.0, 10.0, Ms),
        How::OpenLoop, "run reserve --rate 10000 --seconds 60 --demo target/release/onsale"),
    goal(("P14", "p50 of a reserve at half load ÷ one fdatasync"), Less, (6.0, 2.5, Times),
        How::HalfLoad, "goals P14"),
    goal(("P15", "60,000 seats sold to 2,000 buyers"), Less, (30.0, 8.0, Seconds),
        How::Sellout, "run sellout --demo target/release/onsale"),
    goal(("P16", "goodput at 4 times the peak ÷ peak"), More, (0.7, 0.9, Times),
        How::Overload, "goals P16"),
    goal(("P16b", "back to normal after the overload"), Less, (5.0, 1.0, Seconds),
        How::Overload, "goals P16"),
    goal(("P18", "from exec of the demo to ready"), Less, (5.0, 1.0, Seconds),
        How::Start, "start"),
    goal(("P19", "server CPU of a durable reserve ÷ axum → Redis"), Less, (1.0, 0.5, Times),
        How::Redis, "compare --peer redis"),
    goal(("T2", "longest silence after kill -9 of a leader"), Less, (1.5, 0.5, Seconds),
        How::LeaderKill, "run leader-kill --demo target/release/onsale"),
    goal(("T3", "requests failed by a rolling restart"), Less, (0.1, 0.0, Percent),
        How::RollingRestart, "run rolling-restart --demo target/release/onsale"),
];
