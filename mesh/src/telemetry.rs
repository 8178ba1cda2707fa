//! Owns how the process speaks to its operators: logs on stderr, metrics for Prometheus.
//!
//! Must never log a secret, a name or an address; stdout stays free for scripts.

use std::io::IsTerminal as _;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use onsale_proto::Code;
use tracing_subscriber::{EnvFilter, fmt};

use crate::Failure;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Upper bounds in seconds of every `_seconds` histogram: from a fast flush to a request's budget.
pub const SECONDS_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 3.0, 10.0,
];
/// Upper bounds of every histogram of commands and requests.
pub const COUNT_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// Upper bounds of every histogram of bytes.
pub const BYTES_BUCKETS: &[f64] =
    &[256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 16_777_216.0];

/// Starts logging; `filter` is a tracing directive, e.g. `info` or `onsale_edge=debug`.
pub fn init(format: LogFormat, filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let text = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Json => false,
        LogFormat::Text => true,
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start in one process keeps the first one's settings.
    let _ = if text { builder.try_init() } else { builder.json().try_init() };
}

/// Starts collecting metrics; the handle renders them.
///
/// # Errors
/// `internal` when metrics were started before in this process.
pub fn install_metrics() -> Result<PrometheusHandle, Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Code::Internal, format!("metrics cannot be started: {error}"))
    };
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), SECONDS_BUCKETS)
        .map_err(|error| failed(&error))?
        .set_buckets_for_metric(Matcher::Suffix("_commands".into()), COUNT_BUCKETS)
        .map_err(|error| failed(&error))?
        .set_buckets_for_metric(Matcher::Suffix("_requests".into()), COUNT_BUCKETS)
        .map_err(|error| failed(&error))?
        .set_buckets_for_metric(Matcher::Suffix("_bytes".into()), BYTES_BUCKETS)
        .map_err(|error| failed(&error))?
        .install_recorder()
        .map_err(|error| failed(&error))
}
