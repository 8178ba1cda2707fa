//! Owns scenarios: the TOML files that say rates and mixes, those of this crate and those of
//! whoever writes their own.
//!
//! Must never guess: an unknown field is an error that names it.

use std::{collections::BTreeMap, path::Path};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::{
    buyer::Habits,
    event::Shape,
    exit::{Exit, ended},
    limits,
    load::{Mix, op::Op, plan::Arrivals},
};

/// The scenarios of this crate.
const BUILT_IN: &[(&str, &str)] = &[
    ("reserve", include_str!("../scenarios/reserve.toml")),
    ("hot-event", include_str!("../scenarios/hot-event.toml")),
    ("sellout", include_str!("../scenarios/sellout.toml")),
    ("browse", include_str!("../scenarios/browse.toml")),
    ("flash-sale", include_str!("../scenarios/flash-sale.toml")),
    ("purchase", include_str!("../scenarios/purchase.toml")),
    ("leader-kill", include_str!("../scenarios/leader-kill.toml")),
    ("rolling-restart", include_str!("../scenarios/rolling-restart.toml")),
];

/// What happens to the system meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disturbance {
    /// kill -9 of the leader of the event's shard.
    LeaderKill,
    /// SIGTERM to each replica in turn.
    RollingRestart,
}

/// A scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// One line for people.
    pub about: String,
    /// Arrivals a second of an open loop; without it the loop is closed.
    pub rate_per_second: Option<f64>,
    /// How arrivals lie.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// How long is counted.
    pub seconds: u64,
    /// How long before that is not.
    #[serde(default = "two")]
    pub warm_up_seconds: u64,
    /// Keep-alive connections.
    pub connections: u64,
    /// How long a client waits for an answer.
    pub give_up_ms: Option<u64>,
    /// How often it asks again under the same key when nobody answered.
    #[serde(default)]
    pub retries: u32,
    /// What happens to the system meanwhile.
    pub disturbance: Option<Disturbance>,
    /// What is sold.
    pub event: Stock,
    /// Shares of the kinds of requests.
    pub mix: BTreeMap<Op, u64>,
    /// What buyers do.
    #[serde(default)]
    pub buyers: Habits,
}

/// What is sold: an event that exists, or events to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stock {
    /// An event that exists.
    pub id: Option<String>,
    /// Seats to be made.
    pub seats: Option<u64>,
    /// Or so many for each second of the run.
    pub seats_a_second: Option<u64>,
    /// Or one for so many requests of an open loop.
    pub requests_a_seat: Option<u64>,
    /// Over at least so many events.
    pub events: Option<u64>,
    /// Seats a buyer may have; 0 is no limit.
    pub seats_per_buyer_max: Option<u64>,
    /// A waiting room that admits so many a second.
    pub waiting_room_admit_per_second: Option<u64>,
}

fn two() -> u64 {
    2
}

/// The names of the scenarios of this crate, with what they are about.
fn names() -> Vec<(&'static str, String)> {
    BUILT_IN
        .iter()
        .map(|(name, text)| (*name, parse(text).map_or(String::new(), |scenario| scenario.about)))
        .collect()
}

/// A scenario by name, or from a file.
///
/// # Errors
/// When there is none, or it is wrong: usage, with the place.
pub fn load(name: &str, file: Option<&Path>) -> anyhow::Result<Scenario> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| ended(Exit::NotFound, format!("{}: {error}", path.display())))?,
        None => {
            let known = BUILT_IN.iter().find(|(known, _)| *known == name);
            let known = known.ok_or_else(|| {
                let lines = names().into_iter().map(|(name, about)| format!("\n  {name}: {about}"));
                let lines: String = lines.collect();
                ended(Exit::Usage, format!("no scenario {name}; there are:{lines}"))
            })?;
            known.1.to_owned()
        }
    };
    let what = file.map_or_else(|| name.to_owned(), |path| path.display().to_string());
    let scenario = parse(&text).map_err(|error| ended(Exit::Usage, format!("{what}: {error}")))?;
    scenario.check().map_err(|error| ended(Exit::Usage, format!("{what}: {error}")))?;
    Ok(scenario)
}

fn parse(text: &str) -> anyhow::Result<Scenario> {
    toml::from_str(text).context("not a scenario").map_err(|error| anyhow::anyhow!("{error:#}"))
}

impl Scenario {
    /// What no field says alone.
    ///
    /// # Errors
    /// A sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.mix.values().sum::<u64>() == 0 {
            return Err("the mix is empty".to_owned());
        }
        if !(1..=limits::CONNECTIONS_MAX as u64).contains(&self.connections) {
            return Err(format!("connections must be 1 to {}", limits::CONNECTIONS_MAX));
        }
        if self.seconds == 0 || self.seconds + self.warm_up_seconds > limits::SECONDS_MAX {
            return Err(format!("seconds must be 1 to {}", limits::SECONDS_MAX));
        }
        if self.rate_per_second.is_some_and(|rate| !(rate > 0.0 && rate <= limits::RATE_MAX)) {
            return Err(format!("rate_per_second must be above 0, at most {}", limits::RATE_MAX));
        }
        let ways = [self.event.seats, self.event.seats_a_second, self.event.requests_a_seat];
        let ways = ways.iter().flatten().count() + usize::from(self.event.id.is_some());
        if ways != 1 {
            return Err(
                "[event] needs one of id, seats, seats_a_second, requests_a_seat".to_owned()
            );
        }
        if self.event.requests_a_seat.is_some() && self.rate_per_second.is_none() {
            return Err("requests_a_seat needs rate_per_second".to_owned());
        }
        Ok(())
    }

    /// The shares.
    pub fn shares(&self) -> Mix {
        Mix::new(self.mix.iter().map(|(op, share)| (*op, *share)).collect())
    }

    /// The events to be made.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn shape(&self) -> Shape {
        let seconds = self.seconds + self.warm_up_seconds;
        let requests = self.rate_per_second.unwrap_or(0.0) * seconds as f64;
        let seats = match (&self.event.seats, self.event.seats_a_second) {
            (Some(seats), _) => *seats,
            (None, Some(rate)) => rate * seconds,
            (None, None) => (requests / self.event.requests_a_seat.unwrap_or(1) as f64) as u64,
        };
        Shape {
            hold_ttl_seconds: 600.max(seconds + 300),
            seats_per_buyer_max: self.event.seats_per_buyer_max.unwrap_or(8),
            admit_per_second: self.event.waiting_room_admit_per_second,
            ..Shape::plain(
                seats.clamp(40, limits::SEATS_MAX),
                self.event.events.unwrap_or(1).clamp(1, limits::EVENTS_MAX),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_of_this_crate_is_understood_and_its_file_is_there() {
        for (name, _) in BUILT_IN {
            let scenario = load(name, None).expect("a scenario");
            assert!(!scenario.about.is_empty(), "{name}");
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        assert_eq!(std::fs::read_dir(folder).expect("there").count(), BUILT_IN.len());
    }

    #[test]
    fn a_wrong_scenario_says_what_is_wrong_and_ends_as_usage() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.toml");
        let good = "about = 'x'\nseconds = 1\nconnections = 1\n";
        for (text, word) in [
            ("nonsense", "expected"),
            ("about = 'x'\nseconds = 1\nconnections = 1\nspeed = 2\n", "speed"),
            (&format!("{good}[event]\nseats = 1\n[mix]\nfly = 1\n"), "fly"),
            (&format!("{good}[event]\nseats = 1\n[mix]\n"), "mix is empty"),
            (&format!("{good}[event]\n[mix]\nreserve = 1\n"), "needs one of"),
            (&format!("rate_per_second = 0\n{good}[event]\nseats = 1\n[mix]\nbuy = 1\n"), "rate"),
        ] {
            std::fs::write(&path, text).expect("written");
            let error = load("x", Some(&path)).expect_err(text);
            assert_eq!(crate::exit::of(&error), Exit::Usage);
            assert!(format!("{error:#}").contains(word), "{text}: {error:#}");
        }
        assert_eq!(crate::exit::of(&load("nothing", None).expect_err("no")), Exit::Usage);
        let gone = folder.path().join("gone.toml");
        assert_eq!(crate::exit::of(&load("x", Some(&gone)).expect_err("no")), Exit::NotFound);
    }

    #[test]
    fn a_flash_sale_has_1750_requests_for_each_ticket() {
        let mut scenario = load("flash-sale", None).expect("a scenario");
        (scenario.rate_per_second, scenario.seconds) = (Some(17_500.0), 98);
        assert_eq!(scenario.shape().seats, 1_000);
    }
}
