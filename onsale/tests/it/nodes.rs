//! `onsale run` nodes from files of their own, and buyers that find their way between them.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{answer, eventually, free_ports, http_client, onsale, signal};

pub const ORGANIZER_KEY: &str = "osk_test_organizer_of_three_nodes";
/// Seats of a row, each row one buyer's.
const ROW_SEATS: usize = 6_000;
/// Groups of buyers that share the rows.
const GROUPS: usize = 3;
/// What a buyer's request may take with all its repeats (contract).
const BUDGET: Duration = Duration::from_secs(3);
/// What it may take at one node: one that is starting has its port before it answers there.
const ATTEMPT: Duration = Duration::from_secs(1);

/// A node with every role; killed when dropped.
pub struct Node {
    pub id: u64,
    pub config: PathBuf,
    pub data_dir: PathBuf,
    pub http: String,
    pub grpc: String,
    child: Child,
}

/// Starts three nodes that form a cluster.
pub fn start_three(dir: &Path) -> Vec<Node> {
    std::fs::write(dir.join("secret"), [7; 32]).expect("written");
    let grpc: [String; 3] = free_ports();
    let list: Vec<String> =
        grpc.iter().enumerate().map(|(at, address)| format!("{}={address}", at + 1)).collect();
    let ids = 1..;
    ids.zip(grpc).map(|(id, grpc)| Node::start(dir, id, &grpc, &list, false)).collect()
}

impl Node {
    /// Writes the node's file and starts it.
    pub fn start(dir: &Path, id: u64, grpc: &str, list: &[String], join: bool) -> Node {
        let [http] = free_ports();
        let data_dir = dir.join(format!("data-{id}"));
        let config = dir.join(format!("node-{id}.toml"));
        let text = format!(
            "[node]\nid = {id}\ndata_dir = {data_dir:?}\ngrpc_listen = {grpc:?}\n\
             ops_listen = \"127.0.0.1:0\"\n[cluster]\nname = \"three\"\nnodes = {list:?}\n\
             join = {join}\nsecret_file = {:?}\n[edge]\nlisten = {http:?}\nrate_per_second = 0\n\
             [payments]\ngateway_url = \"http://127.0.0.1:9\"\ngateway_key = \"sk_test_none\"\n\
             webhook_secret = \"whsec_nobody_signs_here\"\nsigning_key_file = {:?}\n\
             [keys]\norganizer = \"{ORGANIZER_KEY}\"\n[log]\nfilter = \"warn\"\n",
            dir.join("secret"),
            dir.join("signing-key"),
        );
        std::fs::write(&config, text).expect("written");
        let child = spawn(&config);
        let grpc = grpc.to_owned();
        Node { id, config, data_dir, http: format!("http://{http}"), grpc, child }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    /// SIGTERM, then the exit code; panics after 10 s.
    pub async fn stop(&mut self) -> i32 {
        signal(self.child.id(), "TERM");
        let told_at = Instant::now();
        let mut code = None;
        eventually("the node ends", async || {
            assert!(told_at.elapsed() < Duration::from_secs(10), "does not stop within 10 s");
            code = self.child.try_wait().expect("can be asked").map(|status| status.code());
            code.is_some()
        })
        .await;
        code.flatten().unwrap_or(-1)
    }

    pub fn restart(&mut self) {
        self.child = spawn(&self.config);
    }

    /// `onsale cluster status --json` as this node sees it.
    pub fn status(&self) -> Option<Value> {
        let (exit, status, _) = onsale(&["cluster", "status", "--json", "--grpc", &self.grpc]);
        (exit == 0).then(|| serde_json::from_str(&status).expect("JSON"))
    }

    /// Waits until this node sees every shard with a leader and all replicas near it.
    pub async fn wait_whole(&self) {
        eventually("the cluster is whole", async || {
            let Some(status) = self.status() else { return false };
            let shards = status["shards"].as_array().cloned().unwrap_or_default();
            !shards.is_empty()
                && shards.iter().all(|shard| {
                    let replicas = shard["replicas"].as_array().cloned().unwrap_or_default();
                    shard["leader"].as_u64().is_some()
                        && replicas.iter().all(|replica| {
                            replica["role"] != "unknown"
                                && replica["lag"].as_u64().is_some_and(|lag| lag < 100)
                        })
                })
        })
        .await;
    }

    /// Who leads the shard.
    pub async fn leader_of(&self, shard: u64) -> u64 {
        let mut leader = 0;
        eventually("the shard has a leader", async || {
            let status = self.status().unwrap_or_default();
            let shards = status["shards"].as_array().cloned().unwrap_or_default();
            let found = shards.iter().find(|it| it["shard"] == shard);
            leader = found.and_then(|it| it["leader"].as_u64()).unwrap_or(0);
            leader > 0
        })
        .await;
        leader
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(config: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["run", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

/// Creates an event of one hall; its id and its shard.
pub async fn create_event(client: &reqwest::Client, url: &str, rows: u32) -> (String, u64) {
    let body = json!({
        "name": "Hall", "venue": "Hall", "starts_at": "2031-01-01T20:00:00Z", "currency": "EUR",
        "categories": [{"key": "A", "name": "All", "price_minor": 1000}],
        "sections": [{"key": "H", "category": "A", "row_count": rows, "seats_per_row": ROW_SEATS}],
    });
    let mut event = (String::new(), 0);
    eventually("the cluster creates an event", async || {
        let request = client.post(format!("{url}/v1/events")).bearer_auth(ORGANIZER_KEY);
        let request = request.header("Idempotency-Key", "one-event").json(&body);
        match answer(request).await {
            Ok(created) if created.status == 201 => {
                let created = created.json();
                let id = created["event_id"].as_str().expect("an id").to_owned();
                event = (id, created["shard"].as_u64().expect("a shard"));
                true
            }
            _ => false,
        }
    })
    .await;
    event
}

/// Holds a seat, however long it takes.
pub async fn hold(client: &reqwest::Client, url: &str, event: &str, seat: &str) {
    let body = json!({"event_id": event, "seat_ids": [seat]});
    eventually("the seat is held", async || {
        let request = client.post(format!("{url}/v1/reserve")).json(&body);
        let request = request.header("Idempotency-Key", format!("seat-{seat}"));
        answer(request).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

pub async fn wait_until_up(client: &reqwest::Client, url: &str, event: &str) {
    eventually("the node serves again", async || {
        let request = client.request(Method::GET, format!("{url}/v1/events/{event}/availability"));
        answer(request).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

/// People who hold one seat after the other and repeat what was not answered, at another node,
/// under the same key, for as long as a request may take.
pub struct Buyers {
    stop: Arc<AtomicBool>,
    held: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Tally>>,
}

/// How it went.
#[derive(Default, Debug)]
pub struct Tally {
    pub asked: usize,
    pub failed: Vec<String>,
    /// The longest time between two answers.
    pub gap: Duration,
}

impl Buyers {
    /// Those of another `group` take other seats.
    pub fn start(urls: &[String], event: &str, group: usize, count: usize) -> Buyers {
        let (stop, held) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let tasks = (0..count)
            .map(|row| {
                let mut urls = urls.to_vec();
                let first = row % urls.len();
                urls.rotate_left(first);
                let (event, stop, held) = (event.to_owned(), stop.clone(), held.clone());
                tokio::spawn(buy(urls, event, (group, row), stop, held))
            })
            .collect();
        Buyers { stop, held, tasks }
    }

    /// Waits until some more seats are held.
    pub async fn go_on(&self, more: u64) {
        let from = self.held.load(Ordering::Relaxed);
        let held = async || self.held.load(Ordering::Relaxed) >= from + more;
        eventually("buyers go on", held).await;
    }

    pub async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in self.tasks {
            let one = task.await.expect("a buyer ends");
            all.asked += one.asked;
            all.failed.extend(one.failed);
            all.gap = all.gap.max(one.gap);
        }
        all
    }
}

/// A buyer's seats are its own: refusals are failures.
async fn buy(
    urls: Vec<String>,
    event: String,
    (group, row): (usize, usize),
    stop: Arc<AtomicBool>,
    held: Arc<AtomicU64>,
) -> Tally {
    let client = http_client();
    let mut tally = Tally::default();
    let mut answered_at = Instant::now();
    let mut node = 0;
    let first = group * ROW_SEATS / GROUPS;
    for turn in first..first + ROW_SEATS / GROUPS {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let seat = format!("H-{}-{}", row_label(row), turn + 1);
        let body = json!({"event_id": event, "seat_ids": [seat]});
        let until = Instant::now() + BUDGET;
        let mut last = String::new();
        let is_held = loop {
            let request = client.post(format!("{}/v1/reserve", urls[node])).json(&body);
            let request = request.header("Idempotency-Key", format!("buyer-{row}-{turn}"));
            let left = until.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left.min(ATTEMPT), answer(request)).await {
                Ok(Ok(told)) if told.status == 200 => break true,
                Ok(Ok(told)) => last = told.text,
                Ok(Err(error)) => last = format!("{error:?}"),
                Err(_) => {}
            }
            if left.is_zero() {
                break false;
            }
            node = (node + 1) % urls.len();
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        tally.asked += 1;
        tally.gap = tally.gap.max(answered_at.elapsed());
        answered_at = Instant::now();
        if is_held {
            held.fetch_add(1, Ordering::Relaxed);
        } else {
            tally.failed.push(format!("{seat}: {last}"));
        }
    }
    tally
}

fn row_label(row: usize) -> char {
    char::from(b'A' + u8::try_from(row).expect("a row"))
}
