//! Owns the edge's settings and what may stand in them.
//!
//! Must never hold a secret: the cluster's secret is handed over beside it.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

/// The edge's settings. Times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Requests a second from one address; absent or 0 is no limit.
    pub rate_per_second: Option<u32>,
    /// Open connections in all.
    pub connections_max: u32,
    /// Open connections from one address; absent or 0 is no limit.
    pub connections_per_address_max: Option<u32>,
    /// Open availability streams.
    pub streams_max: u32,
    /// Cookies are only sent over https. Set it wherever buyers come over https.
    pub secure_cookies: bool,
    /// Proxies whose `X-Forwarded-For` is believed: addresses or networks (`10.0.0.0/8`).
    pub trusted_proxies: Vec<String>,
    /// A new connection has to say something within this time.
    pub first_byte_ms: u64,
    /// A request's headers have to be complete within this time.
    pub header_ms: u64,
    /// A request's body has to be complete within this time.
    pub body_ms: u64,
    /// A connection may be idle for so long between requests.
    pub idle_ms: u64,
    /// A client that takes nothing of its answer for so long is cut off.
    pub write_stall_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            rate_per_second: Some(300),
            connections_max: 20_000,
            connections_per_address_max: Some(4_096),
            streams_max: 10_000,
            secure_cookies: false,
            trusted_proxies: Vec::new(),
            first_byte_ms: 5_000,
            header_ms: 10_000,
            body_ms: 10_000,
            idle_ms: 75_000,
            write_stall_ms: 20_000,
        }
    }
}

impl Config {
    /// All that is wrong with it, one sentence each; empty when it can be used.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.connections_max == 0 {
            wrong.push("connections_max must be at least 1".to_owned());
        }
        if self.streams_max == 0 {
            wrong.push("streams_max must be at least 1".to_owned());
        }
        for (name, value) in [
            ("first_byte_ms", self.first_byte_ms),
            ("header_ms", self.header_ms),
            ("body_ms", self.body_ms),
            ("idle_ms", self.idle_ms),
            ("write_stall_ms", self.write_stall_ms),
        ] {
            if !(20..=3_600_000).contains(&value) {
                wrong.push(format!("{name} must be 20 to 3,600,000, not {value}"));
            }
        }
        for proxy in &self.trusted_proxies {
            if Network::parse(proxy).is_none() {
                wrong.push(format!(
                    "trusted_proxies: {proxy:?} is neither an address nor a network like 10.0.0.0/8"
                ));
            }
        }
        wrong
    }

    /// How often overdue connections are looked for.
    pub(crate) fn sweep_interval(&self) -> Duration {
        let shortest = self
            .first_byte_ms
            .min(self.header_ms)
            .min(self.body_ms)
            .min(self.idle_ms)
            .min(self.write_stall_ms);
        Duration::from_millis((shortest / 4).clamp(5, 500))
    }

    pub(crate) fn proxies(&self) -> Vec<Network> {
        self.trusted_proxies.iter().filter_map(|text| Network::parse(text)).collect()
    }
}

/// Addresses with a common beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Network> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse().ok()?;
        let bits_max = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(bits_max);
        (bits <= bits_max).then_some(Network { base, bits })
    }

    pub(crate) fn contains(self, address: IpAddr) -> bool {
        let same = |base: u128, other: u128, width: u32| {
            let shift = width - u32::from(self.bits);
            shift >= 128 || (base ^ other) >> shift == 0
        };
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(other)) => {
                same(u32::from(base).into(), u32::from(other).into(), 32)
            }
            (IpAddr::V6(base), IpAddr::V6(other)) => same(base.into(), other.into(), 128),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_can_be_used_and_every_fault_is_named_at_once() {
        assert_eq!(Config::default().check(), Vec::<String>::new());
        let wrong = Config {
            connections_max: 0,
            header_ms: 0,
            trusted_proxies: vec!["everyone".into(), "10.0.0.0/33".into(), "::1".into()],
            ..Config::default()
        };
        assert_eq!(wrong.check().len(), 4, "{:?}", wrong.check());
    }

    #[test]
    fn a_network_holds_its_own_and_nobody_else() {
        let network = Network::parse("10.1.0.0/16").expect("a network");
        assert!(network.contains(IpAddr::from([10, 1, 255, 1])));
        assert!(!network.contains(IpAddr::from([10, 2, 0, 1])));
        let all = Network::parse("0.0.0.0/0").expect("a network");
        assert!(all.contains(IpAddr::from([1, 2, 3, 4])));
        assert!(!all.contains("::1".parse().expect("an address")));
        let one = Network::parse("2001:db8::1").expect("an address");
        assert!(!one.contains("2001:db8::2".parse().expect("an address")));
    }
}
