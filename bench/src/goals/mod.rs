//! Owns `goals`: every figure of the goals that a harness can make, each from its own measurement,
//! held against its floor and its goal.
//!
//! Must never let one figure that cannot be measured keep the others from being so, nor show one
//! without saying what makes it doubtful.

mod apply;
mod measure;
mod stage;
mod table;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::Context as _;
use serde::Serialize;

pub use self::table::{Better, Goal};
use self::{
    measure::Found,
    table::{GOALS, How, Unit},
};
use crate::{
    exit::{self, Exit, ended},
    figures::Spread,
    limits,
    machine::{self, Stolen},
    result::Machine,
};

/// Name and version of the form.
pub const SCHEMA: &str = "onsale-bench/goals/1";

/// With what, where, how long.
#[derive(Clone, Debug)]
pub struct Setting {
    /// Our binary.
    pub onsale: PathBuf,
    /// Where the fronts of the peers are.
    pub fronts: PathBuf,
    /// The example of the state machine.
    pub apply_bench: PathBuf,
    /// Where all keep their data.
    pub work_dir: PathBuf,
    /// Rounds of every ratio.
    pub rounds: u32,
    /// Threads of the driver.
    pub threads: u32,
    /// Short rounds at low rates.
    pub quick: bool,
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The goal is reached.
    Goal,
    /// The floor is reached.
    Floor,
    /// Not even the floor.
    Missed,
    /// Measured, but it does not count: `why` says so.
    Void,
    /// `why` says so.
    NotMeasured,
    /// What was acknowledged did not hold: the figure is worth nothing.
    Broken,
}

/// One figure, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Its id.
    pub id: &'static str,
    /// What is measured, against what.
    pub what: &'static str,
    /// What the numbers count.
    pub unit: Unit,
    /// Whether more is better.
    pub better: Better,
    /// Median, least and greatest of the rounds; null where it was not measured.
    pub measured: Option<Spread>,
    /// Under this, the piece is not done.
    pub floor: f64,
    /// What we are after.
    pub goal: f64,
    /// What became of it.
    pub verdict: Verdict,
    /// By what share the floor is missed; null when it is reached or nothing was measured.
    pub floor_missed_by: Option<f64>,
    /// The same for the goal.
    pub goal_missed_by: Option<f64>,
    /// Why it does not count or was not measured.
    pub why: Option<String>,
    /// What else was seen.
    pub notes: Vec<String>,
    /// The command that measures it alone.
    pub command: String,
    /// How long it took.
    pub seconds: f64,
    /// Share of the machine that the host took away meanwhile.
    pub stolen: f64,
}

/// All that were asked for.
#[derive(Clone, Debug, Serialize)]
pub struct GoalsResult {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The command that made it.
    pub command: String,
    /// When, RFC 3339.
    pub started_at: String,
    /// Of the working tree it was started in.
    pub commit: String,
    /// Where.
    pub machine: Machine,
    /// Short rounds at low rates: the figures mean nothing.
    pub quick: bool,
    /// In the order of the goals.
    pub figures: Vec<Figure>,
}

impl GoalsResult {
    /// Done when all was measured and no floor was missed; floors do not count for short rounds.
    pub fn exit(&self) -> Exit {
        let any = |verdict| self.figures.iter().any(|figure| figure.verdict == verdict);
        if any(Verdict::Broken) {
            return Exit::Broken;
        }
        let missed = any(Verdict::Missed) || any(Verdict::Void);
        if any(Verdict::NotMeasured) || (missed && !self.quick) { Exit::Failed } else { Exit::Done }
    }
}

/// The goals of these ids; all without one.
///
/// # Errors
/// Usage, for an id that is none.
pub fn asked(ids: &[String]) -> anyhow::Result<Vec<&'static Goal>> {
    if let Some(wrong) = ids.iter().find(|id| !GOALS.iter().any(|goal| goal.is_called(id))) {
        let known: Vec<&str> = GOALS.iter().map(|goal| goal.id).collect();
        let why = format!("no figure {wrong} is made here; there are {}", known.join(" "));
        return Err(ended(Exit::Usage, why));
    }
    let wanted = |goal: &&Goal| ids.is_empty() || ids.iter().any(|id| goal.is_called(id));
    Ok(GOALS.iter().filter(wanted).collect())
}

/// Measures one after the other; writes what there is so far after each.
///
/// # Errors
/// When the JSON cannot be written.
pub async fn run(
    asked: &[&'static Goal],
    setting: &Setting,
    out: Option<&Path>,
) -> anyhow::Result<GoalsResult> {
    std::fs::create_dir_all(&setting.work_dir)
        .with_context(|| format!("{}", setting.work_dir.display()))?;
    let mut result = GoalsResult {
        schema: SCHEMA,
        command: std::env::args().collect::<Vec<_>>().join(" "),
        started_at: onsale_proto::time::to_rfc3339(onsale_proto::time::now_ms()),
        commit: machine::commit(),
        machine: machine::describe(Some(&setting.work_dir)),
        quick: setting.quick,
        figures: Vec::new(),
    };
    let mut hows: Vec<How> = Vec::new();
    for goal in asked {
        if !hows.contains(&goal.how) {
            hows.push(goal.how);
        }
    }
    for how in hows {
        let of_this: Vec<&Goal> = asked.iter().copied().filter(|goal| goal.how == how).collect();
        let ids: Vec<&str> = of_this.iter().map(|goal| goal.id).collect();
        eprintln!("{}: {}", ids.join(" and "), of_this[0].what);
        let (started, stolen) = (Instant::now(), Stolen::now());
        let found = measure::measure(how, setting).await;
        let stolen = Stolen::now().share_since(stolen);
        for goal in of_this {
            let mut figure = figure(goal, &found, stolen, setting.quick);
            figure.seconds = started.elapsed().as_secs_f64();
            eprintln!("{}", crate::print::goal(&figure));
            result.figures.push(figure);
        }
        let place = |figure: &Figure| GOALS.iter().position(|goal| goal.id == figure.id);
        result.figures.sort_by_key(place);
        if let Some(path) = out {
            let text = serde_json::to_vec_pretty(&result)?;
            std::fs::write(path, text).with_context(|| format!("{}", path.display()))?;
        }
    }
    Ok(result)
}

fn figure(goal: &Goal, found: &anyhow::Result<Vec<Found>>, stolen: f64, quick: bool) -> Figure {
    let mut figure = Figure {
        id: goal.id,
        what: goal.what,
        unit: goal.unit,
        better: goal.better,
        measured: None,
        floor: goal.floor,
        goal: goal.goal,
        verdict: Verdict::NotMeasured,
        floor_missed_by: None,
        goal_missed_by: None,
        why: None,
        notes: Vec::new(),
        command: format!("onsale-bench {}", goal.command),
        seconds: 0.0,
        stolen,
    };
    let found = match found {
        Ok(all) => all.iter().find(|found| found.id == goal.id),
        Err(error) => {
            figure.why = Some(format!("{error:#}"));
            if exit::of(error) == Exit::Broken {
                figure.verdict = Verdict::Broken;
            }
            return figure;
        }
    };
    let Some(found) = found else {
        figure.why = Some("the measurement did not say".to_owned());
        return figure;
    };
    let median = found.spread.median;
    figure.measured = Some(found.spread);
    figure.notes.clone_from(&found.notes);
    figure.why.clone_from(&found.void);
    figure.floor_missed_by = missed_by(goal.better, median, goal.floor);
    figure.goal_missed_by = missed_by(goal.better, median, goal.goal);
    if stolen > limits::STEAL_SHARE_MAX && !quick && figure.why.is_none() {
        figure.notes.push(format!("the host took {:.1} % of the machine", stolen * 100.0));
    }
    figure.verdict = match (found.broken, &figure.why) {
        (true, _) => Verdict::Broken,
        (false, Some(_)) => Verdict::Void,
        (false, None) if figure.goal_missed_by.is_none() => Verdict::Goal,
        (false, None) if figure.floor_missed_by.is_none() => Verdict::Floor,
        (false, None) => Verdict::Missed,
    };
    figure
}

/// By what share of itself a target is missed, or by how much when it is 0; `None` when it is
/// reached.
fn missed_by(better: Better, measured: f64, target: f64) -> Option<f64> {
    let short = match better {
        Better::More => target - measured,
        Better::Less => measured - target,
    };
    // Not a number misses everything.
    if short <= 0.0 {
        return None;
    }
    Some(if target == 0.0 { short } else { short / target })
}

#[cfg(test)]
mod tests;
