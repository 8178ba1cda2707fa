//! Owns the typed form of the settings and what must be true of them together.
//!
//! Must never accept what only fails later: addresses, numbers and ranges are checked here.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use onsale_mesh::{Node, telemetry::LogFormat};
use toml::Value;

use super::layers::Layers;

/// The settings of one node.
#[derive(Clone, Debug)]
pub struct Settings {
    pub node: u64,
    pub data_dir: PathBuf,
    pub grpc_listen: SocketAddr,
    pub ops_listen: SocketAddr,
    pub cluster: String,
    pub nodes: Vec<Node>,
    pub join: bool,
    pub shards: u32,
    pub secret_file: PathBuf,
    pub log_segment_bytes: u64,
    pub snapshot_entries: u64,
    pub edge_listen: SocketAddr,
    pub public_url: String,
    pub rate_per_second: Option<u32>,
    pub connections_max: u32,
    pub connections_per_address_max: Option<u32>,
    pub trusted_proxies: Vec<String>,
    pub catalog: Option<String>,
    pub payments: Option<String>,
    pub gateway_url: String,
    pub gateway_key: String,
    pub webhook_secret: String,
    pub gateway_rate_max: Option<u32>,
    pub signing_key_file: PathBuf,
    pub keys: Keys,
    pub log_format: LogFormat,
    pub log_filter: String,
}

/// API keys to install at start, by role; empty ones are not installed.
#[derive(Clone, Default)]
pub struct Keys(pub Vec<(&'static str, String)>);

impl Settings {
    /// Types and checks the values.
    ///
    /// # Errors
    /// Everything that is wrong, a line each.
    pub fn from_layers(layers: &Layers) -> Result<Settings, String> {
        let mut reader = Reader { layers, errors: layers.errors.clone() };
        let settings = Settings::read(&mut reader);
        let ids: Vec<u64> = settings.nodes.iter().map(|node| node.id).collect();
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        let mut wrong = reader.errors;
        if unique.len() != ids.len() {
            wrong.push("cluster.nodes: a number stands twice".to_owned());
        }
        if ids.len().is_multiple_of(2) && !settings.join {
            wrong.push("cluster.nodes: a majority needs an odd number of nodes".to_owned());
        }
        if settings.public_url.ends_with('/') {
            wrong.push("edge.public_url: no slash at the end".to_owned());
        }
        if wrong.is_empty() { Ok(settings) } else { Err(wrong.join("\n")) }
    }

    fn read(reader: &mut Reader<'_>) -> Settings {
        let edge_listen: SocketAddr = reader.parsed("edge.listen", UNSPECIFIED);
        let public_url = match reader.text("edge.public_url") {
            url if url.is_empty() => format!("http://{edge_listen}"),
            url => url,
        };
        Settings {
            node: reader.number("node.id", 1, 1 << 32),
            data_dir: reader.text("node.data_dir").into(),
            grpc_listen: reader.parsed("node.grpc_listen", UNSPECIFIED),
            ops_listen: reader.parsed("node.ops_listen", UNSPECIFIED),
            cluster: reader.text("cluster.name"),
            nodes: reader.nodes("cluster.nodes"),
            join: reader.flag("cluster.join"),
            shards: u32::try_from(reader.number("cluster.shards", 1, 256)).unwrap_or(1),
            secret_file: reader.text("cluster.secret_file").into(),
            log_segment_bytes: reader.number("allocator.log_segment_bytes", 10 << 20, 1 << 30),
            snapshot_entries: reader.number("allocator.snapshot_entries", 100, 100_000_000),
            edge_listen,
            public_url,
            rate_per_second: reader.limit("edge.rate_per_second"),
            connections_max: reader.limit("edge.connections_max").unwrap_or(u32::MAX),
            connections_per_address_max: reader.limit("edge.connections_per_address_max"),
            trusted_proxies: reader.texts("edge.trusted_proxies"),
            catalog: reader.optional("edge.catalog"),
            payments: reader.optional("edge.payments"),
            gateway_url: reader.text("payments.gateway_url"),
            gateway_key: reader.text("payments.gateway_key"),
            webhook_secret: reader.text("payments.webhook_secret"),
            gateway_rate_max: reader.limit("payments.gateway_rate_max"),
            signing_key_file: reader.text("payments.signing_key_file").into(),
            keys: reader.keys(),
            log_format: reader.log_format(),
            log_filter: reader.text("log.filter"),
        }
    }
}

const UNSPECIFIED: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Takes values out by type and notes what is wrong on the way.
struct Reader<'a> {
    layers: &'a Layers,
    errors: Vec<String>,
}

impl Reader<'_> {
    fn text(&mut self, path: &str) -> String {
        self.layers.value(path).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    fn flag(&mut self, path: &str) -> bool {
        self.layers.value(path).and_then(Value::as_bool).unwrap_or_default()
    }

    fn optional(&mut self, path: &str) -> Option<String> {
        Some(self.text(path)).filter(|text| !text.is_empty())
    }

    fn parsed<T: FromStr>(&mut self, path: &str, otherwise: T) -> T {
        let text = self.text(path);
        text.parse().unwrap_or_else(|_| {
            self.errors.push(format!("{path}: \"{text}\" is not an address like 127.0.0.1:8080"));
            otherwise
        })
    }

    fn number(&mut self, path: &str, min: u64, max: u64) -> u64 {
        let value = self.layers.value(path).and_then(Value::as_integer).unwrap_or_default();
        match u64::try_from(value) {
            Ok(number) if (min..=max).contains(&number) => number,
            _ => {
                self.errors.push(format!("{path}: {value} is not between {min} and {max}"));
                min
            }
        }
    }

    fn limit(&mut self, path: &str) -> Option<u32> {
        u32::try_from(self.number(path, 0, u64::from(u32::MAX))).ok().filter(|limit| *limit > 0)
    }

    fn texts(&mut self, path: &str) -> Vec<String> {
        let list = self.layers.value(path).and_then(Value::as_array).cloned().unwrap_or_default();
        list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    }

    fn nodes(&mut self, path: &str) -> Vec<Node> {
        let list = self.layers.value(path).and_then(Value::as_array).cloned().unwrap_or_default();
        let mut nodes = Vec::new();
        for entry in list {
            let node = entry.as_str().and_then(|text| {
                let (id, grpc) = text.split_once('=')?;
                let id = id.trim().parse().ok().filter(|id| *id > 0)?;
                Some(Node { id, grpc: grpc.trim().to_owned() })
            });
            match node {
                Some(node) => nodes.push(node),
                None => self.errors.push(format!("{path}: {entry} is not \"number=host:port\"")),
            }
        }
        nodes
    }

    fn keys(&mut self) -> Keys {
        let mut keys = Vec::new();
        for role in ["organizer", "support", "finance", "operator"] {
            let path = format!("keys.{role}");
            match self.text(&path) {
                key if key.is_empty() => {}
                key if key.len() < 20 => {
                    self.errors.push(format!("{path}: a key has at least 20 characters"));
                }
                key => keys.push((role, key)),
            }
        }
        Keys(keys)
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("log.format").as_str() {
            "auto" => LogFormat::Auto,
            "json" => LogFormat::Json,
            "text" => LogFormat::Text,
            other => {
                self.errors.push(format!("log.format: \"{other}\" is not auto, json or text"));
                LogFormat::Auto
            }
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keys({} redacted)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, environment: &[(&str, &str)]) -> Result<Settings, String> {
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_layers(&Layers::over_defaults("file", text, environment))
    }

    #[test]
    fn the_template_is_a_file_that_changes_nothing() {
        let template = crate::config::template();
        let settings = settings(&template, &[]).expect("the template is valid");
        assert_eq!(settings.shards, 4);
    }

    #[test]
    fn the_environment_lies_over_the_file() {
        let environment = [("ONSALE_EDGE__LISTEN", "127.0.0.1:9999"), ("ONSALE_NODE__ID", "7")];
        let settings = settings("[edge]\nlisten = \"127.0.0.1:1\"\n", &environment).expect("valid");
        assert_eq!(settings.edge_listen.port(), 9999);
        assert_eq!(settings.node, 7);
    }

    #[test]
    fn every_mistake_is_said_at_once() {
        let text = "[edge]\nlissen = \"x\"\nconnections_max = \"many\"\n[nodes]\nid = 1\n";
        let errors = settings(text, &[]).expect_err("three mistakes");
        assert_eq!(errors.lines().count(), 3, "{errors}");
        let text = "[edge]\nlissen = \"x\"\n[cluster]\nshards = 0\n[nodes]\nid = 1\n";
        let errors = settings(text, &[]).expect_err("unknown names and a bad value together");
        assert_eq!(errors.lines().count(), 3, "{errors}");
        let text = "[edge]\nlisten = \"x\"\n[cluster]\nnodes = [\"1=a:1\", \"1=b:1\"]\n";
        let errors = settings(text, &[]).expect_err("three mistakes");
        assert_eq!(errors.lines().count(), 3, "{errors}");
    }

    #[test]
    fn secrets_are_not_printed() {
        let text = "[payments]\ngateway_key = \"sk_live_canary\"\n";
        let layers = Layers::over_defaults("file", text, std::iter::empty());
        assert!(!layers.to_string().contains("canary"));
        assert!(!layers.to_json().to_string().contains("canary"));
        let settings = Settings::from_layers(&layers).expect("valid");
        assert_eq!(settings.gateway_key, "sk_live_canary");
    }
}
