//! Owns the role's settings and what makes sense among them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::limits::{JOBS_PER_SHARD_DEFAULT, JOBS_PER_SHARD_MAX, LEASE, LEASE_MARGIN};

/// Settings of the payments role.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The gateway's address: `https://api.stripe.com`, or a sandbox.
    pub gateway_url: String,
    /// The gateway's secret key.
    pub gateway_key: String,
    /// Signs the gateway's webhooks; without, webhooks are refused and polling does their work.
    pub webhook_secret: String,
    /// Calls a second to the gateway by this worker; without, as many as there are.
    pub gateway_rate_max: Option<u32>,
    /// Where buyers come back to after confirming with their bank; `{order_id}` becomes the
    /// order's id. Part of the request to the gateway: the same on all workers.
    pub return_url: String,
    /// Where the role's files lie.
    pub data_dir: PathBuf,
    /// The ticket-signing key, 32 bytes, made when missing; without, a file in `data_dir`.
    pub signing_key_file: Option<PathBuf>,
    /// Jobs of one shard in this worker's hands at once.
    pub jobs_per_shard: u32,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            gateway_url: String::new(),
            gateway_key: String::new(),
            webhook_secret: String::new(),
            gateway_rate_max: Some(25),
            return_url: "http://127.0.0.1:8080/orders/{order_id}".to_owned(),
            data_dir: PathBuf::from("data/payments"),
            signing_key_file: None,
            jobs_per_shard: JOBS_PER_SHARD_DEFAULT,
        }
    }
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("gateway_url", &self.gateway_url)
            .field("gateway_rate_max", &self.gateway_rate_max)
            .field("return_url", &self.return_url)
            .field("data_dir", &self.data_dir)
            .field("signing_key_file", &self.signing_key_file)
            .field("jobs_per_shard", &self.jobs_per_shard)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// Everything that is wrong, one sentence each.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let mut say = |bad: bool, sentence: &str| {
            if bad {
                wrong.push(sentence.to_owned());
            }
        };
        let url = reqwest::Url::parse(&self.gateway_url);
        let web = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        say(!web, "gateway_url must be an http:// or https:// address");
        say(
            self.gateway_url.starts_with("http://api.stripe.com"),
            "gateway_url must be https:// for the real gateway",
        );
        let header = self.gateway_key.bytes().all(|byte| byte.is_ascii_graphic());
        say(self.gateway_key.is_empty() || !header, "gateway_key must be the gateway's secret key");
        say(
            !self.webhook_secret.is_empty() && self.webhook_secret.len() < 16,
            "webhook_secret must have at least 16 characters",
        );
        say(self.gateway_rate_max == Some(0), "gateway_rate_max must be at least 1");
        let url = reqwest::Url::parse(&self.return_url.replace("{order_id}", "ord_0"));
        let web = url.is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        say(!web, "return_url must be an http:// or https:// address");
        say(
            !(1..=JOBS_PER_SHARD_MAX).contains(&self.jobs_per_shard),
            "jobs_per_shard must be between 1 and 4096",
        );
        wrong
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        let named = self.signing_key_file.clone();
        named.unwrap_or_else(|| Path::new(&self.data_dir).join("ticket_signing.key"))
    }

    /// No more jobs in hand than the rate can serve within a lease, at three calls a job.
    pub(crate) fn jobs_max(&self, shards: u32) -> usize {
        let wanted = self.jobs_per_shard.clamp(1, JOBS_PER_SHARD_MAX);
        let jobs = match self.gateway_rate_max {
            None => wanted,
            Some(rate) => {
                let seconds = u32::try_from((LEASE - LEASE_MARGIN).as_secs()).unwrap_or(1);
                let served = rate.saturating_mul(seconds) / 3 / shards.max(1);
                wanted.min(served.max(1))
            }
        };
        usize::try_from(jobs).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_wrong_is_said_at_once_and_secrets_are_not() {
        let config = Config {
            gateway_key: "sk_test_secret".to_owned(),
            webhook_secret: "short".to_owned(),
            gateway_rate_max: Some(0),
            jobs_per_shard: 0,
            ..Config::default()
        };
        assert_eq!(config.check().len(), 4, "{:?}", config.check());
        let shown = format!("{config:?}");
        assert!(!shown.contains("sk_test_secret") && !shown.contains("short"));
    }

    #[test]
    fn a_slow_gateway_bounds_the_jobs_in_hand() {
        let mut config = Config::default();
        assert_eq!(config.jobs_max(4), 52);
        config.gateway_rate_max = None;
        assert_eq!(config.jobs_max(4), 128);
        config.gateway_rate_max = Some(1);
        assert_eq!(config.jobs_max(100), 1);
    }
}
