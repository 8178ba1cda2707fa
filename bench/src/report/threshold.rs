//! Owns thresholds: `reserve.p99<50ms`, `reserve.rate>=5000`, `silence<1.5s`.

use crate::result::RunResult;

/// A rule that a run has to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// As it was written.
    pub text: String,
    measure: Measure,
    comparison: Comparison,
    limit: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Measure {
    Silence,
    Of { operation: String, field: Field },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Field {
    P50,
    P90,
    P99,
    P999,
    Max,
    Rate,
    /// Share of requests that did not end as they should.
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Threshold {
    /// Of its text.
    ///
    /// # Errors
    /// A sentence that says what is wrong, with an example.
    pub fn parse(text: &str) -> Result<Threshold, String> {
        let wrong = |what: &str| {
            format!(
                "threshold '{text}': {what}; e.g. reserve.p99<50ms, reserve.rate>=5000, \
                 reserve.failed<0.1%, silence<1.5s"
            )
        };
        let at = text.find(['<', '>']).ok_or_else(|| wrong("has no < or >"))?;
        let (name, rest) = text.split_at(at);
        let (comparison, value) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Comparison::AtMost, &rest[2..]),
            [b'>', b'=', ..] => (Comparison::AtLeast, &rest[2..]),
            [b'<', ..] => (Comparison::Below, &rest[1..]),
            _ => (Comparison::Above, &rest[1..]),
        };
        let measure = match name.trim() {
            "silence" => Measure::Silence,
            name => {
                let (operation, field) =
                    name.split_once('.').ok_or_else(|| wrong("names no operation.measure"))?;
                let known = crate::load::op::Op::ALL.iter().any(|op| op.name() == operation);
                if !known {
                    return Err(wrong(&format!("there is no operation {operation}")));
                }
                let field = field_of(field)
                    .ok_or_else(|| wrong(&format!("there is no measure {field}")))?;
                Measure::Of { operation: operation.to_owned(), field }
            }
        };
        let limit = limit(value.trim(), &measure).ok_or_else(|| wrong("has no such value"))?;
        Ok(Threshold { text: text.to_owned(), measure, comparison, limit })
    }

    /// What was measured, if the run does not hold it.
    pub fn missed(&self, result: &RunResult) -> Option<String> {
        let Some(value) = self.value(result) else {
            return Some(format!("{} (nothing was measured)", self.text));
        };
        let holds = match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
        };
        (!holds).then(|| format!("{} (measured {})", self.text, self.say(value)))
    }

    fn value(&self, result: &RunResult) -> Option<f64> {
        let Measure::Of { operation, field } = &self.measure else {
            return Some(result.silence.seconds * 1e6);
        };
        let row = result.operations.get(operation)?;
        #[allow(clippy::cast_precision_loss)]
        let us = |us: u64| Some(us as f64);
        match field {
            Field::P50 => us(row.latency_us.p50),
            Field::P90 => us(row.latency_us.p90),
            Field::P99 => us(row.latency_us.p99),
            Field::P999 => us(row.latency_us.p999),
            Field::Max => us(row.latency_us.max),
            Field::Rate => Some(row.rate),
            Field::Failed => Some(row.failed_share()),
        }
    }

    fn say(&self, value: f64) -> String {
        match &self.measure {
            Measure::Of { field: Field::Rate, .. } => format!("{value:.0}/s"),
            Measure::Of { field: Field::Failed, .. } => format!("{:.3} %", value * 100.0),
            _ if value >= 1e6 => format!("{:.2} s", value / 1e6),
            _ => format!("{:.2} ms", value / 1e3),
        }
    }
}

fn field_of(name: &str) -> Option<Field> {
    Some(match name {
        "p50" => Field::P50,
        "p90" => Field::P90,
        "p99" => Field::P99,
        "p999" | "p99.9" => Field::P999,
        "max" => Field::Max,
        "rate" => Field::Rate,
        "failed" => Field::Failed,
        _ => return None,
    })
}

/// Microseconds, a rate, or a share.
fn limit(text: &str, measure: &Measure) -> Option<f64> {
    let units: &[(&str, f64)] = match measure {
        Measure::Of { field: Field::Rate, .. } => &[("/s", 1.0), ("", 1.0)],
        Measure::Of { field: Field::Failed, .. } => &[("%", 0.01), ("", 1.0)],
        _ => &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)],
    };
    let (number, factor) =
        units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))?;
    let number: f64 = number.trim().parse().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number * factor)
}
