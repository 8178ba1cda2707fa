//! Owns how results look to people. Scripts take `--json`.

use crate::{
    compare::{Comparison, Side},
    flash_sale,
    limits::PRINTED_VIOLATIONS_MAX,
    reserve,
    start::Starts,
};

/// A sale and its audit.
pub fn sale(report: &flash_sale::Report) {
    println!("event                 {}", report.event_id);
    println!("buyers at once        {}", report.buyers);
    println!("seconds               {:.1}", report.seconds);
    println!(
        "requests              {} ({} without an answer and {} \"try again\", all repeated)",
        report.requests, report.broken_attempts, report.retried_attempts
    );
    println!("holds granted         {}", report.holds);
    println!("  released            {}", report.released);
    println!("orders confirmed      {}", report.confirmed_orders);
    println!("tickets               {}", report.tickets);
    println!("never answered        {}", report.unknown);
    for (code, count) in &report.refusals {
        println!("refused               {count} × {code}");
    }
    println!("seed                  {}", report.seed);
    println!("orders undecided      {}", report.undecided_orders);
    println!("contradictions        {}", report.contradictions.len());
    println!(
        "violations            {} ({} of them oversells)",
        report.violations.len(),
        report.oversold()
    );
    for what in report.contradictions.iter().take(PRINTED_VIOLATIONS_MAX) {
        println!("  contradiction: {what}");
    }
    for violation in report.violations.iter().take(PRINTED_VIOLATIONS_MAX) {
        println!("  {:?}: {}", violation.kind, violation.what);
    }
    let verdict = match (report.broken(), report.clean()) {
        (true, _) => "BROKEN: what was acknowledged does not hold",
        (false, true) => "every acknowledged answer stands",
        (false, false) => "nothing was lost, but not everything went as the contract says",
    };
    println!("audit                 {verdict}");
}

/// A load.
pub fn load(report: &reserve::Report) {
    println!("connections           {}", report.connections);
    println!("seconds               {:.2}", report.seconds);
    println!("holds a second        {:.0}", report.rate);
    let [p50, p99, p999] = [report.p50_us, report.p99_us, report.p999_us].map(milliseconds);
    println!("latency p50/p99/p99.9 {p50:.2} / {p99:.2} / {p999:.2} ms");
    if let Some(cpu) = report.server_cpu_us_per_op {
        println!("server CPU per hold   {cpu:.1} µs");
    }
    println!("granted in all        {}", report.granted);
    println!("without an answer     {}", report.unknown);
    for (status, count) in &report.refused {
        println!("answered {status}          {count}");
    }
    if report.refused.contains_key(&429) {
        println!("429: run the demo with --no-limits for a load test");
    }
    if report.ran_out {
        println!("all seats were used up before the time was: give --seats");
    }
}

/// A comparison.
pub fn comparison(comparison: &Comparison) {
    println!("round  side    holds/s   p50 ms   p99 ms   CPU µs/hold   found = granted");
    for (number, round) in (1..).zip(&comparison.rounds) {
        side(number, "ours", &round.ours);
        side(number, comparison.peer, &round.peer);
        if let Some(why) = &round.void {
            println!("{number:>5}  does not count: {why}");
        }
    }
    let [before, after] = comparison.flush;
    println!(
        "fdatasync p50/p99 before {} / {} µs, after {} / {} µs",
        before.p50_us, before.p99_us, after.p50_us, after.p99_us
    );
    for (name, ratio) in
        [("holds a second", comparison.rate_ratio), ("server CPU per hold", comparison.cpu_ratio)]
    {
        match ratio {
            Some(ratio) => println!(
                "ours ÷ {}, {name}: {:.2} ({:.2}–{:.2})",
                comparison.peer, ratio.median, ratio.min, ratio.max
            ),
            None => println!("ours ÷ {}, {name}: no round counts", comparison.peer),
        }
    }
}

fn side(number: u32, name: &str, side: &Side) {
    let load = &side.load;
    println!(
        "{number:>5}  {name:<6} {:>8.0} {:>8.2} {:>8.2} {:>13.1}   {}",
        load.rate,
        milliseconds(load.p50_us),
        milliseconds(load.p99_us),
        load.server_cpu_us_per_op.unwrap_or(f64::NAN),
        if side.holds_agree { "yes" } else { "NO" },
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

#[allow(clippy::cast_precision_loss)]
fn milliseconds(us: u64) -> f64 {
    us as f64 / 1e3
}
