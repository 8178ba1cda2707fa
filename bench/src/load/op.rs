//! Owns the list of requests that a load consists of, and what counts as a good answer to each.

use serde::{Deserialize, Serialize};

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// Read the event document.
    Event,
    /// Read one section's availability.
    Section,
    /// Hold a seat nobody was asked for before.
    Reserve,
    /// Hold two of the best seats.
    Best,
    /// Ask for a seat that is sold: a refusal is the good answer.
    Lose,
    /// A bot: asks for one of the front seats, again and again, under new keys.
    Bot,
    /// A buyer's whole way; its steps are counted under the names below.
    Buy,
    /// A buyer's hold.
    Hold,
    /// A buyer's release.
    Release,
    /// A buyer's checkout.
    Checkout,
    /// From a buyer's checkout to the order's decision.
    Decision,
    /// A buyer in the waiting room, from joining to being admitted.
    Line,
}

impl Op {
    /// All of them, in the order of reports.
    pub const ALL: [Op; 12] = [
        Op::Event,
        Op::Section,
        Op::Reserve,
        Op::Best,
        Op::Lose,
        Op::Bot,
        Op::Buy,
        Op::Hold,
        Op::Release,
        Op::Checkout,
        Op::Decision,
        Op::Line,
    ];

    /// Its place in [`Op::ALL`].
    pub fn place(self) -> usize {
        self as usize
    }

    /// As in scenario files, reports and thresholds.
    pub fn name(self) -> &'static str {
        match self {
            Op::Event => "event",
            Op::Section => "section",
            Op::Reserve => "reserve",
            Op::Best => "best",
            Op::Lose => "lose",
            Op::Bot => "bot",
            Op::Buy => "buy",
            Op::Hold => "hold",
            Op::Release => "release",
            Op::Checkout => "checkout",
            Op::Decision => "decision",
            Op::Line => "line",
        }
    }

    /// What an answer of this status means for this kind of request.
    pub fn judge(self, status: u16) -> Fate {
        match (self, status) {
            (_, 429 | 503) => Fate::Limited,
            (_, 504) => Fate::Unknown,
            (_, 200..=299) => Fate::Good,
            // Losing a race is what most people do in a flash sale.
            (Op::Lose | Op::Bot, 409) => Fate::Good,
            (_, 409 | 410) => Fate::Refused,
            _ => Fate::Wrong,
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it should.
    Good,
    /// Refused for a reason of business.
    Refused,
    /// Turned away: rate limit or overload.
    Limited,
    /// Answered, but nobody knows: 504.
    Unknown,
    /// Any other answer: a fault, ours or the system's.
    Wrong,
    /// No answer in time, or the connection broke.
    Lost,
    /// Never sent: every connection was busy until the end.
    Unsent,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 7] = [
        Fate::Good,
        Fate::Refused,
        Fate::Limited,
        Fate::Unknown,
        Fate::Wrong,
        Fate::Lost,
        Fate::Unsent,
    ];

    /// Whether its time belongs into the latency curve: an answer that says nothing must not
    /// flatter it, a missing one must not be missing there.
    pub fn has_latency(self) -> bool {
        matches!(self, Fate::Good | Fate::Lost | Fate::Unsent | Fate::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_stands_at_its_place_under_its_own_name() {
        for (place, op) in Op::ALL.into_iter().enumerate() {
            assert_eq!(op.place(), place);
            assert_eq!(serde_json::to_value(op).expect("JSON"), op.name());
        }
        for (place, fate) in Fate::ALL.into_iter().enumerate() {
            assert_eq!(fate as usize, place);
        }
    }

    #[test]
    fn a_refusal_is_good_for_those_who_ask_for_sold_seats_only() {
        assert_eq!(Op::Lose.judge(409), Fate::Good);
        assert_eq!(Op::Reserve.judge(409), Fate::Refused);
        assert_eq!(Op::Reserve.judge(200), Fate::Good);
        assert_eq!(Op::Lose.judge(503), Fate::Limited);
        assert_eq!(Op::Reserve.judge(504), Fate::Unknown);
        assert_eq!(Op::Section.judge(404), Fate::Wrong);
    }
}
