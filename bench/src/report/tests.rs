//! The report and thresholds on results made by hand.

use std::collections::BTreeMap;

use super::*;
use crate::{
    load::tally::Point,
    result::{AuditResult, Latency, Load, Machine, Mark, Operation, Silence},
    server_metrics::Stage,
};

/// A run of ten seconds with two kinds of requests and everything a report can show.
pub fn sample() -> RunResult {
    let curve = |top: u64| vec![(0.0, 400), (0.5, 1_200), (0.9, 3_000), (0.99, 9_000), (1.0, top)];
    let operation = |p99: u64| Operation {
        rate: 5_000.0,
        good: 49_950,
        lost: 50,
        codes: BTreeMap::from([("no_answer".to_owned(), 50)]),
        latency_us: Latency {
            p50: 1_200,
            p99,
            max: 2 * p99,
            curve: curve(2 * p99),
            ..Latency::default()
        },
        ..Operation::default()
    };
    let point = |second: u32| Point {
        second: f64::from(second),
        good: 5_000 + u64::from(second % 3) * 200,
        p50_us: 1_200,
        p99_us: 9_000 + u64::from(second) * 100,
        queue: u64::from(second % 4) * 10,
        in_flight: 12,
        server_cores: 1.2,
        driver_cores: 0.4,
        ..Point::default()
    };
    RunResult {
        schema: SCHEMA.to_owned(),
        scenario: "reserve".to_owned(),
        about: "hold <fresh> seats & more".to_owned(),
        command: "onsale-bench run reserve --threshold 'reserve.p99<50ms'".to_owned(),
        started_at: "2026-11-23T10:00:00Z".to_owned(),
        commit: "0123456789ab".to_owned(),
        machine: Machine { cpu: "A processor".to_owned(), cpus: 2, ..Machine::default() },
        load: Load {
            rate_per_second: Some(5_000.0),
            connections: 128,
            threads: 1,
            seconds: 10.0,
            warm_up_seconds: 2.0,
            seed: 7,
        },
        operations: BTreeMap::from([
            ("reserve".to_owned(), operation(9_000)),
            ("section".to_owned(), operation(1_000)),
        ]),
        series: (1..=12).map(point).collect(),
        silence: Silence { from_seconds: 4.0, seconds: 0.25 },
        disturbances: vec![Mark { at_seconds: 4.0, what: "kill -9 of node 1".to_owned() }],
        server_cpu_seconds: Some(9.0),
        driver_cpu_seconds: 4.0,
        server_stages: vec![Stage {
            name: "edge_request_duration{route=/v1/reserve}".to_owned(),
            count: 50_000,
            total_seconds: 90.0,
            mean_us: 1_800.0,
        }],
        last_confirmed_seconds: None,
        audit: AuditResult { verdict: "clean".to_owned(), holds: 49_950, ..AuditResult::default() },
        warnings: vec!["a warning".to_owned()],
        interrupted: false,
    }
}

#[test]
fn a_threshold_holds_or_says_what_was_measured() {
    let result = sample();
    let missed = |rule: &str| Threshold::parse(rule).expect(rule).missed(&result);
    for rule in [
        "reserve.p99<50ms",
        "reserve.p99<=9000us",
        "reserve.p50<1.3ms",
        "reserve.rate>=5000",
        "reserve.rate>4999/s",
        "reserve.failed<0.2%",
        "silence<0.5s",
        "section.max <= 2 ms",
    ] {
        assert_eq!(missed(rule), None, "{rule}");
    }
    let said = missed("reserve.p99<9ms").expect("missed");
    assert!(said.contains("reserve.p99<9ms") && said.contains("9.00 ms"), "{said}");
    assert!(missed("silence<=0.2s").is_some_and(|said| said.contains("250.00 ms")));
    assert!(missed("reserve.failed<0.1%").is_some(), "exactly at the limit is not below it");
    assert!(missed("checkout.p99<1s").is_some_and(|said| said.contains("nothing was measured")));
}

#[test]
fn a_wrong_threshold_is_refused_with_an_example() {
    for rule in [
        "",
        "reserve.p99",
        "reserve.p99<",
        "reserve.p99<50",
        "reserve.p99<-1ms",
        "reserve<1ms",
        "fly.p99<1ms",
        "reserve.p98<1ms",
        "reserve.rate>5ms",
        "reserve.p99<NaNms",
        "p99<1ms",
        "silence<1",
        "reserve.p99<infs",
    ] {
        let error = Threshold::parse(rule).expect_err(rule);
        assert!(error.contains("e.g. reserve.p99<50ms"), "{error}");
    }
}

#[test]
fn the_page_needs_nothing_from_anywhere() {
    let rules = [Threshold::parse("reserve.p99<1ms").expect("a rule")];
    let page = html::page(&sample(), &rules);
    for word in ["http://", "https://", "src=", "href=", "<script", "<link", "@import", "url("] {
        // The namespace of SVG is a name, not an address that anything is read from.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("hold &lt;fresh&gt; seats &amp; more"), "text is text");
    assert!(page.contains("prefers-color-scheme: dark"));
    let charts = page.matches("<svg").count();
    assert!(charts >= 3, "{charts} charts");
    assert_eq!(page.matches("role=\"img\" aria-labelledby=").count(), charts, "each has a name");
    let figures = page.matches("<figure>").count();
    assert!(figures >= 3 && figures == page.matches("<figure><h3>").count(), "and shows it");
    assert!(page.contains("missed") && page.contains("kill -9 of node 1"));
}

#[test]
fn a_page_is_made_of_a_run_in_which_nothing_happened() {
    let mut empty = sample();
    (empty.operations, empty.series) = (BTreeMap::new(), Vec::new());
    (empty.server_stages, empty.disturbances) = (Vec::new(), Vec::new());
    let page = html::page(&empty, &[]);
    assert!(page.contains("</html>") && !page.contains("NaN") && !page.contains("inf"));
}

#[test]
fn a_run_is_read_back_as_it_was_written_and_nothing_else_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("run.html");
    write(&sample(), &[], &path).expect("written");
    let again = read(&path.with_extension("json")).expect("read");
    let text = |run: &RunResult| serde_json::to_value(run).expect("JSON");
    assert_eq!(text(&again), text(&sample()));
    std::fs::write(&path, "{\"schema\":\"other/1\"}").expect("written");
    assert_eq!(crate::exit::of(&read(&path).expect_err("another form")), Exit::Usage);
    let gone = read(&folder.path().join("gone.json")).expect_err("nothing there");
    assert_eq!(crate::exit::of(&gone), Exit::NotFound);
}

#[test]
fn every_field_of_the_json_stands_in_the_readme() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("bench/README.md");
    let mut missing = Vec::new();
    let value = serde_json::to_value(sample()).expect("JSON");
    let named = ["operations"];
    fn walk(value: &serde_json::Value, at: &str, named: &[&str], found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, value) in fields {
                    let path = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
                    let last = at.rsplit('.').next().unwrap_or_default();
                    if last == "codes" {
                        continue;
                    }
                    // Names of operations are data, not fields.
                    let path = if named.contains(&at) { format!("{at}.*") } else { path };
                    found.push(path.clone());
                    walk(value, &path, named, found);
                }
            }
            serde_json::Value::Array(items) => {
                if let Some(item @ serde_json::Value::Object(_)) = items.first() {
                    walk(item, &format!("{at}[]"), named, found);
                }
            }
            _ => {}
        }
    }
    let mut fields = Vec::new();
    walk(&value, "", &named, &mut fields);
    for field in fields {
        // Latency has the same fields twice; they are described once.
        let field = field.replace("service_us.", "latency_us.");
        if !readme.contains(&format!("`{field}`")) && !missing.contains(&field) {
            missing.push(field);
        }
    }
    assert!(missing.is_empty(), "bench/README.md lacks {missing:#?}");
}
