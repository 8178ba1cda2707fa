//! Owns how results look to people. Scripts take `--json`.

use crate::{
    compare::{Comparison, Side},
    figures::Spread,
    goals::{Better, Figure, GoalsResult, Verdict},
    limits::PRINTED_VIOLATIONS_MAX,
    result::RunResult,
    start::Starts,
};

/// A run and its audit.
pub fn run(result: &RunResult) {
    let load = &result.load;
    let pace = load.rate_per_second.map_or("closed loop".to_owned(), |rate| format!("{rate:.0}/s"));
    println!("{} · {}", result.scenario, result.about);
    println!("{pace}, {} connections, {:.1} s, seed {}", load.connections, load.seconds, load.seed);
    println!(
        "\n{:<10}{:>9}{:>10}{:>10}{:>10}{:>10}{:>10}{:>9}{:>8}",
        "request", "good/s", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "good", "refused", "failed"
    );
    for (name, row) in &result.operations {
        let latency = &row.latency_us;
        let [p50, p99, p999, max] =
            [latency.p50, latency.p99, latency.p999, latency.max].map(milliseconds);
        let failed = row.limited + row.unknown + row.wrong + row.lost + row.unsent;
        println!(
            "{name:<10}{:>9.0}{p50:>10.2}{p99:>10.2}{p999:>10.2}{max:>10.1}{:>10}{:>9}{failed:>8}",
            row.rate, row.good, row.refused
        );
        for (code, count) in &row.codes {
            println!("{:<10}{count:>9} × {code}", "");
        }
    }
    println!();
    extras(result);
    audit(result);
}

fn extras(result: &RunResult) {
    #[allow(clippy::cast_precision_loss)]
    if let Some(cpu) = result.server_cpu_seconds {
        let good: u64 = result.operations.values().map(|row| row.good).sum();
        println!("server CPU            {:.1} µs a good answer", cpu * 1e6 / good.max(1) as f64);
    }
    println!(
        "longest silence       {:.0} ms, {:.1} s after the start",
        result.silence.seconds * 1e3,
        result.silence.from_seconds
    );
    for mark in &result.disturbances {
        println!("at {:>6.2} s           {}", mark.at_seconds, mark.what);
    }
    if let Some(seconds) = result.last_confirmed_seconds {
        println!("last confirmed order  {seconds:.2} s after the start");
    }
    for warning in &result.warnings {
        println!("warning               {warning}");
    }
    if result.interrupted {
        println!("stopped before its time");
    }
}

fn audit(result: &RunResult) {
    let audit = &result.audit;
    println!(
        "audit                 {} holds (all seats compared, {} read back), {} orders confirmed, \
         {} tickets, {} unknown",
        audit.holds, audit.holds_read_back, audit.confirmed_orders, audit.tickets, audit.unknown
    );
    if let Some(compared) = audit.payments_compared {
        println!("gateway's books       {compared} orders compared");
    }
    if audit.undecided_orders > 0 {
        println!("undecided orders      {}", audit.undecided_orders);
    }
    for what in audit.contradictions.iter().take(PRINTED_VIOLATIONS_MAX) {
        println!("  contradiction: {what}");
    }
    for violation in &audit.violations {
        println!("  {:?}: {}", violation.kind, violation.what);
    }
    let verdict = match audit.verdict.as_str() {
        "broken" => "BROKEN: what was acknowledged does not hold",
        "clean" => "every acknowledged answer stands",
        _ => "nothing was lost, but not everything went as the contract says",
    };
    println!("verdict               {verdict}");
}

/// A comparison.
pub fn comparison(comparison: &Comparison) {
    println!("request   side          /s    p50 ms    p99 ms  server CPU µs  found = granted");
    for round in &comparison.rounds {
        side(round.what, "ours", &round.ours);
        side(round.what, comparison.peer, &round.peer);
        if let Some(why) = &round.void {
            println!("          does not count: {why}");
        }
    }
    let [before, after] = comparison.flush;
    println!(
        "fdatasync p50/p99 before {} / {} µs, after {} / {} µs",
        before.p50_us, before.p99_us, after.p50_us, after.p99_us
    );
    for contest in &comparison.contests {
        for (name, ratio) in [("a second", contest.rate_ratio), ("server CPU", contest.cpu_ratio)] {
            let what = format!("ours ÷ {}, {}, {name}", comparison.peer, contest.what);
            println!("{what}: {}", spread(ratio));
        }
    }
    for warning in &comparison.warnings {
        println!("mind: {warning}");
    }
}

fn spread(ratio: Option<Spread>) -> String {
    ratio.map_or("no round counts".to_owned(), |ratio| {
        format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max)
    })
}

fn side(what: &str, name: &str, side: &Side) {
    let load = &side.load;
    let agree = match (side.holds_found, side.holds_agree) {
        (None, _) => "",
        (Some(_), true) => "yes",
        (Some(_), false) => "NO",
    };
    println!(
        "{what:<10}{name:<9}{:>8.0}{:>10.2}{:>10.2}{:>15.1}  {agree}",
        load.rate,
        milliseconds(load.p50_us),
        milliseconds(load.p99_us),
        load.cpu_us,
    );
}

/// Starts.
pub fn starts(starts: &Starts) {
    let runs: Vec<String> = starts.runs_ms.iter().map(|ms| format!("{ms:.0}")).collect();
    println!("runs, ms              {}", runs.join(" "));
    println!(
        "exec to ready         {:.0} ms ({:.0}–{:.0})",
        starts.median_ms, starts.min_ms, starts.max_ms
    );
}

/// For tables.
#[allow(clippy::cast_precision_loss)]
pub fn milliseconds(us: u64) -> f64 {
    us as f64 / 1e3
}

/// All figures that were asked for.
pub fn goals(result: &GoalsResult) {
    println!("{:<5}{:<48}{:>26}{:>11}{:>11}  result", "id", "what", "measured", "floor", "goal");
    for figure in &result.figures {
        println!("{}", goal(figure));
        for note in figure.why.iter().chain(&figure.notes) {
            println!("     {note}");
        }
        println!("     {}", figure.command);
    }
    if result.quick {
        println!("short rounds at low rates: these figures mean nothing");
    }
}

/// One figure in one line.
pub fn goal(figure: &Figure) -> String {
    let sign = figure.unit.sign();
    let measured = match figure.measured {
        None => "–".to_owned(),
        Some(one) if (one.max - one.min).abs() < f64::EPSILON => number(one.median),
        Some(all) => {
            format!("{} ({}–{})", number(all.median), number(all.min), number(all.max))
        }
    };
    let than = match figure.better {
        Better::More => "≥",
        Better::Less => "≤",
    };
    let [floor, goal] = [figure.floor, figure.goal].map(|bound| format!("{than} {bound}{sign}"));
    let missed = |by: Option<f64>| by.map(|by| format!("{:.0} %", by * 100.0));
    let [of_floor, of_goal] = [figure.floor_missed_by, figure.goal_missed_by].map(missed);
    let result = match (figure.verdict, of_floor, of_goal) {
        (Verdict::Goal, ..) => "goal reached".to_owned(),
        // Nothing is a share of zero.
        (Verdict::Floor, ..) if figure.goal == 0.0 => "floor reached; goal missed".to_owned(),
        (Verdict::Floor, _, by) => {
            format!("floor reached; goal missed by {}", by.unwrap_or_default())
        }
        (Verdict::Missed, by, _) => format!("FLOOR MISSED by {}", by.unwrap_or_default()),
        (Verdict::Void, ..) => "does not count".to_owned(),
        (Verdict::NotMeasured, ..) => "NOT MEASURED".to_owned(),
        (Verdict::Broken, ..) => "BROKEN: what was acknowledged does not hold".to_owned(),
    };
    let measured = if figure.measured.is_some() { measured + sign } else { measured };
    format!("{:<5}{:<48}{measured:>26}{floor:>11}{goal:>11}  {result}", figure.id, figure.what)
}

/// Three digits are enough.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
