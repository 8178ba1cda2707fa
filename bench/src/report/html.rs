//! Owns the page of a run. Everything is in the file: style, charts, figures.
//!
//! Must never refer to anything outside itself.

use std::fmt::Write as _;

use super::{
    Threshold,
    svg::{Chart, Line, escape},
};
use crate::result::RunResult;

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(result: &RunResult, thresholds: &[Threshold]) -> String {
    let mut out = String::with_capacity(64 << 10);
    let name = escape(&result.scenario);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{name} · onsale-bench</title><style>{STYLE}</style></head><body><main>\
         <h1>{name}</h1><p class=\"about\">{}</p>",
        escape(&result.about)
    );
    tiles(result, &mut out);
    rules(result, thresholds, &mut out);
    warnings(result, &mut out);
    out.push_str("<h2>Latency</h2>");
    out.push_str(&latency(result).draw());
    operations(result, &mut out);
    out.push_str("<h2>Over time</h2>");
    for chart in over_time(result) {
        out.push_str(&chart.draw());
    }
    stages(result, &mut out);
    audit(result, &mut out);
    origin(result, &mut out);
    out.push_str("</main></body></html>\n");
    out
}

fn tiles(result: &RunResult, out: &mut String) {
    let main = result.operations.iter().max_by(|a, b| a.1.rate.total_cmp(&b.1.rate));
    let (word, class) = match result.audit.verdict.as_str() {
        "clean" => ("every acknowledged answer stands", "good"),
        "broken" => ("BROKEN", "bad"),
        other => (other, "bad"),
    };
    out.push_str("<dl class=\"tiles\">");
    let mut tile = |name: &str, class: &str, value: &str| {
        let _ = write!(
            out,
            "<div><dt>{}</dt><dd class=\"{class}\">{}</dd></div>",
            escape(name),
            escape(value)
        );
    };
    tile("audit", class, word);
    if let Some((name, row)) = main {
        tile(&format!("{name} a second"), "", &count(row.rate));
        tile(&format!("{name} p50"), "", &milliseconds(row.latency_us.p50));
        tile(&format!("{name} p99"), "", &milliseconds(row.latency_us.p99));
    }
    if !result.disturbances.is_empty() {
        let silence = format!("{:.0} ms", result.silence.seconds * 1e3);
        tile("longest silence", "", &silence);
    }
    if let Some(seconds) = result.last_confirmed_seconds {
        tile("last confirmed order after", "", &format!("{seconds:.2} s"));
    }
    out.push_str("</dl>");
}

fn rules(result: &RunResult, thresholds: &[Threshold], out: &mut String) {
    if thresholds.is_empty() {
        return;
    }
    out.push_str("<h2>Thresholds</h2><ul>");
    for rule in thresholds {
        let _ = match rule.missed(result) {
            None => write!(out, "<li class=\"good\">held: {}</li>", escape(&rule.text)),
            Some(said) => write!(out, "<li class=\"bad\">missed: {}</li>", escape(&said)),
        };
    }
    out.push_str("</ul>");
}

fn warnings(result: &RunResult, out: &mut String) {
    let mut all = result.warnings.clone();
    if result.interrupted {
        all.push("stopped before its time".to_owned());
    }
    if all.is_empty() {
        return;
    }
    out.push_str("<h2>Before you believe it</h2><ul>");
    for warning in &all {
        let _ = write!(out, "<li>{}</li>", escape(warning));
    }
    out.push_str("</ul>");
}

/// Percentiles on a scale where each nine has the same width.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile.min(0.999_99)).log10()
}

fn latency(result: &RunResult) -> Chart<'static> {
    let mut rows: Vec<_> = result.operations.iter().filter(|(_, row)| row.good > 0).collect();
    rows.sort_by_key(|(_, row)| std::cmp::Reverse(row.good));
    #[allow(clippy::cast_precision_loss)]
    let line = |name: &str, curve: &[(f64, u64)]| Line {
        name: name.to_owned(),
        points: curve.iter().map(|(at, us)| (nines(*at), (*us).max(1) as f64)).collect(),
    };
    let lines: Vec<Line> =
        rows.iter().take(6).map(|(name, row)| line(name, &row.latency_us.curve)).collect();
    let said: Vec<String> = rows
        .iter()
        .map(|(name, row)| {
            let latency = &row.latency_us;
            let [p50, p99, max] = [latency.p50, latency.p99, latency.max].map(milliseconds);
            format!("{name}: p50 {p50}, p99 {p99}, greatest {max}")
        })
        .collect();
    let tick = |quantile: f64, text: &str| (nines(quantile), text.to_owned());
    Chart {
        id: "latency",
        title: "Latency by percentile",
        description: said.join("; "),
        lines,
        x_ticks: vec![
            tick(0.0, "0"),
            tick(0.5, "50 %"),
            tick(0.9, "90 %"),
            tick(0.99, "99 %"),
            tick(0.999, "99.9 %"),
            tick(0.9999, "99.99 %"),
            tick(0.999_99, "100 %"),
        ],
        x_label: "share of requests, from the intended time to the answer",
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        y_text: |us| milliseconds(us as u64),
        log: true,
        marks: Vec::new(),
    }
}

fn over_time(result: &RunResult) -> Vec<Chart<'static>> {
    let series = &result.series;
    let line = |name: &str, of: &dyn Fn(usize) -> f64| Line {
        name: name.to_owned(),
        points: (0..series.len()).map(|place| (series[place].second, of(place))).collect(),
    };
    #[allow(clippy::cast_precision_loss)]
    let of = |value: u64| value as f64;
    let ticks = seconds_ticks(series.last().map_or(0.0, |point| point.second));
    let marks: Vec<(f64, String)> =
        result.disturbances.iter().map(|mark| (mark.at_seconds, mark.what.clone())).collect();
    let peak = series.iter().map(|point| point.good).max().unwrap_or(0);
    let queue = series.iter().map(|point| point.queue).max().unwrap_or(0);
    let chart = |id, title, description: String, lines, y_text, log| Chart {
        id,
        title,
        description,
        lines,
        x_ticks: ticks.clone(),
        x_label: "seconds",
        y_text,
        log,
        marks: marks.clone(),
    };
    vec![
        chart(
            "rate",
            "Answers a second",
            format!("Good answers a second, at most {peak}."),
            vec![
                line("good answers a second", &|n| of(series[n].good)),
                line("refused", &|n| of(series[n].refused)),
                line("failed", &|n| of(series[n].failed)),
            ],
            count,
            false,
        ),
        chart(
            "wait",
            "Latency over time",
            "Median and 99th percentile of each second.".to_owned(),
            vec![
                line("p50", &|n| of(series[n].p50_us.max(1))),
                line("p99", &|n| of(series[n].p99_us.max(1))),
            ],
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            |us| milliseconds(us as u64),
            true,
        ),
        chart(
            "queue",
            "Queue",
            format!("Requests waiting for a connection, at most {queue}, and on the wire."),
            vec![
                line("waiting for a connection", &|n| of(series[n].queue)),
                line("on the wire", &|n| of(series[n].in_flight)),
            ],
            count,
            false,
        ),
        chart(
            "cpu",
            "Processor time",
            "Cores used by the servers and by the driver.".to_owned(),
            vec![
                line("servers, cores", &|n| series[n].server_cores),
                line("driver, cores", &|n| series[n].driver_cores),
            ],
            |cores| format!("{cores:.2}"),
            false,
        ),
    ]
}

/// Whole seconds, a dozen at most.
fn seconds_ticks(end: f64) -> Vec<(f64, String)> {
    let step = [1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0]
        .into_iter()
        .find(|step| end / step <= 12.0)
        .unwrap_or(600.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ticks = (0..=(end / step) as u32)
        .map(|tick| (f64::from(tick) * step, format!("{}", f64::from(tick) * step)))
        .collect();
    ticks
}

fn operations(result: &RunResult, out: &mut String) {
    out.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>request</th><th>a second</th><th>p50</th>\
         <th>p90</th><th>p99</th><th>p99.9</th><th>max</th><th>good</th><th>refused</th>\
         <th>failed</th></tr></thead><tbody>",
    );
    for (name, row) in &result.operations {
        let latency = &row.latency_us;
        let times = [latency.p50, latency.p90, latency.p99, latency.p999, latency.max];
        let _ = write!(out, "<tr><td>{}</td><td>{}</td>", escape(name), count(row.rate));
        for time in times {
            let _ = write!(out, "<td>{}</td>", milliseconds(time));
        }
        let share = row.failed_share() * 100.0;
        let _ = write!(
            out,
            "<td>{}</td><td>{}</td><td>{share:.2} %</td></tr>",
            grouped(row.good),
            grouped(row.refused)
        );
    }
    out.push_str("</tbody></table></div>");
    let codes: Vec<String> = result
        .operations
        .iter()
        .flat_map(|(name, row)| {
            row.codes.iter().map(move |(code, n)| format!("{n} × {name} {code}"))
        })
        .collect();
    if !codes.is_empty() {
        let _ = write!(out, "<p>Answers that were not good: {}.</p>", escape(&codes.join(", ")));
    }
}

fn stages(result: &RunResult, out: &mut String) {
    if result.server_stages.is_empty() {
        return;
    }
    out.push_str(
        "<h2>Where the time went</h2><p>The servers' own histograms over the run; stages overlap \
         and contain each other.</p><div class=\"scroll\"><table><thead><tr><th>stage</th>\
         <th>how often</th><th>mean</th><th>together</th><th></th></tr></thead><tbody>",
    );
    let most = result.server_stages.iter().map(|stage| stage.total_seconds).fold(1e-9, f64::max);
    for stage in &result.server_stages {
        let share = (stage.total_seconds / most * 100.0).clamp(0.0, 100.0);
        let _ = write!(
            out,
            "<tr><td class=\"wrap\">{}</td><td>{}</td><td>{:.0} µs</td><td>{:.2} s</td>\
             <td><span class=\"meter\" aria-hidden=\"true\"><span style=\"width:{share:.0}%\">\
             </span></span></td></tr>",
            escape(&stage.name),
            grouped(stage.count),
            stage.mean_us,
            stage.total_seconds
        );
    }
    out.push_str("</tbody></table></div>");
}

fn audit(result: &RunResult, out: &mut String) {
    let audit = &result.audit;
    let payments = audit.payments_compared.map_or("not reached".to_owned(), grouped);
    out.push_str("<h2>Audit from outside</h2><dl class=\"tiles\">");
    for (name, value) in [
        ("holds acknowledged", grouped(audit.holds)),
        ("read back one by one", grouped(audit.holds_read_back)),
        ("orders confirmed", grouped(audit.confirmed_orders)),
        ("payments compared", payments),
        ("outcome unknown", grouped(audit.unknown)),
        ("violations", grouped(audit.violations_count)),
    ] {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    out.push_str("</dl><ul>");
    for violation in &audit.violations {
        let _ = write!(out, "<li class=\"bad\">{}</li>", escape(&violation.what));
    }
    for what in &audit.contradictions {
        let _ = write!(out, "<li>{}</li>", escape(what));
    }
    out.push_str("</ul>");
}

fn origin(result: &RunResult, out: &mut String) {
    let (load, machine) = (&result.load, &result.machine);
    let pace = load.rate_per_second.map_or_else(
        || "closed loop: each connection sends when it has its answer".to_owned(),
        |rate| format!("open loop, {} planned a second", count(rate)),
    );
    #[allow(clippy::cast_precision_loss)]
    let memory = machine.memory_bytes as f64 / f64::from(1 << 30);
    let flush = machine.flush.map_or(String::new(), |flush| {
        format!(", a flush of 4 KiB {} / {} µs (p50 / p99)", flush.p50_us, flush.p99_us)
    });
    out.push_str("<h2>How it was made</h2><div class=\"scroll\"><table><tbody>");
    for (name, value) in [
        ("command", result.command.clone()),
        ("started", result.started_at.clone()),
        ("commit", result.commit.clone()),
        (
            "machine",
            format!(
                "{} × {}, {memory:.0} GiB, Linux {}{flush}",
                machine.cpus, machine.cpu, machine.kernel
            ),
        ),
        (
            "load",
            format!("{pace}; {} connections, {} driver threads", load.connections, load.threads),
        ),
        ("time", format!("{:.1} s counted after {:.1} s", load.seconds, load.warm_up_seconds)),
        ("seed", load.seed.to_string()),
    ] {
        let _ = write!(
            out,
            "<tr><td>{name}</td><td class=\"wrap\" style=\"text-align:left\">\
             <code>{}</code></td></tr>",
            escape(&value)
        );
    }
    out.push_str("</tbody></table></div>");
}

#[allow(clippy::cast_precision_loss)]
fn milliseconds(us: u64) -> String {
    let ms = us as f64 / 1e3;
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{ms:.2} ms"),
        10_000..100_000 => format!("{ms:.1} ms"),
        100_000..10_000_000 => format!("{ms:.0} ms"),
        _ => format!("{:.0} s", ms / 1e3),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn count(value: f64) -> String {
    if value < 10.0 && value.fract() > 0.0 {
        return format!("{value:.1}");
    }
    grouped(value.round().max(0.0) as u64)
}

/// Thousands apart.
fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}
