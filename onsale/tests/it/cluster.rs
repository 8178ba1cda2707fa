//! Three `onsale run` nodes from three files: a cluster without the demo around it (design D19).

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{answer, eventually, folder, free_ports, http_client, onsale};

const ORGANIZER_KEY: &str = "osk_test_organizer_of_three_nodes";

/// A node with every role; killed when dropped.
struct Node {
    config: PathBuf,
    data_dir: PathBuf,
    http: String,
    grpc: String,
    child: Child,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_a_cluster_sell_and_survive_any_one() {
    let dir = folder();
    let mut nodes = start_three(dir.path());
    let client = http_client();
    let event = create_event(&client, &nodes[0].http).await;
    for (turn, victim) in [0_usize, 1, 2].into_iter().enumerate() {
        nodes[victim].kill();
        for (place, node) in nodes.iter().enumerate().filter(|(place, _)| *place != victim) {
            let seat = format!("H-A-{}", turn * 3 + place + 1);
            hold(&client, &node.http, &event, &seat).await;
        }
        nodes[victim].restart();
        wait_until_up(&client, &nodes[victim].http, &event).await;
    }
    let (exit, status, errors) = onsale(&["cluster", "status", "--json", "--grpc", &nodes[1].grpc]);
    assert_eq!(exit, 0, "{errors}");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(3));
    assert_eq!(status["shards"].as_array().map(Vec::len), Some(5));

    // A lost disk must never look like a fresh one.
    nodes[2].kill();
    std::fs::remove_dir_all(&nodes[2].data_dir).expect("emptied");
    let config = nodes[2].config.display().to_string();
    let (exit, _, errors) = onsale(&["run", "--config", &config]);
    assert_eq!(exit, 4, "{errors}");
    assert!(errors.contains("onsale cluster"), "the error names the command: {errors}");
    hold(&client, &nodes[0].http, &event, "H-B-1").await;
}

fn start_three(dir: &Path) -> Vec<Node> {
    let secret = dir.join("secret");
    std::fs::write(&secret, [7; 32]).expect("written");
    let grpc: [String; 3] = free_ports();
    let http: [String; 3] = free_ports();
    let list: Vec<String> = grpc
        .iter()
        .enumerate()
        .map(|(place, address)| format!("{}={address}", place + 1))
        .collect();
    (0..3)
        .map(|place| {
            let data_dir = dir.join(format!("data-{}", place + 1));
            let config = dir.join(format!("node-{}.toml", place + 1));
            let text = format!(
                "[node]\nid = {}\ndata_dir = {data_dir:?}\ngrpc_listen = {:?}\n\
                 ops_listen = \"127.0.0.1:0\"\n[cluster]\nname = \"three\"\nnodes = {list:?}\n\
                 secret_file = {secret:?}\n[edge]\nlisten = {:?}\nrate_per_second = 0\n\
                 [payments]\ngateway_url = \"http://127.0.0.1:9\"\ngateway_key = \"sk_test_none\"\n\
                 webhook_secret = \"whsec_nobody_signs_here\"\nsigning_key_file = {:?}\n\
                 [keys]\norganizer = \"{ORGANIZER_KEY}\"\n[log]\nfilter = \"warn\"\n",
                place + 1,
                grpc[place],
                http[place],
                dir.join("signing-key"),
            );
            std::fs::write(&config, text).expect("written");
            let child = spawn(&config);
            let (http, grpc) = (format!("http://{}", http[place]), grpc[place].clone());
            Node { config, data_dir, http, grpc, child }
        })
        .collect()
}

fn spawn(config: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["run", "--config"])
        .arg(config)
        .stdout(Stdio::null())
        .spawn()
        .expect("the binary starts")
}

impl Node {
    fn kill(&mut self) {
        self.child.kill().expect("killed");
        self.child.wait().expect("ended");
    }

    fn restart(&mut self) {
        self.child = spawn(&self.config);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn create_event(client: &reqwest::Client, url: &str) -> String {
    let body = json!({
        "name": "Hall", "venue": "Hall", "starts_at": "2031-01-01T20:00:00Z", "currency": "EUR",
        "categories": [{"key": "A", "name": "All", "price_minor": 1000}],
        "sections": [{"key": "H", "category": "A", "row_count": 4, "seats_per_row": 20}],
    });
    let mut event = String::new();
    eventually("the cluster creates an event", async || {
        let request = client.post(format!("{url}/v1/events")).bearer_auth(ORGANIZER_KEY);
        let request = request.header("Idempotency-Key", "one-event").json(&body);
        match answer(request).await {
            Ok(created) if created.status == 201 => {
                event = created.json()["event_id"].as_str().expect("an id").to_owned();
                true
            }
            _ => false,
        }
    })
    .await;
    event
}

async fn hold(client: &reqwest::Client, url: &str, event: &str, seat: &str) {
    let body = json!({"event_id": event, "seat_ids": [seat]});
    eventually("the seat is held", async || {
        let request = client.post(format!("{url}/v1/reserve")).json(&body);
        let request = request.header("Idempotency-Key", format!("seat-{seat}"));
        answer(request).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}

async fn wait_until_up(client: &reqwest::Client, url: &str, event: &str) {
    eventually("the node serves again", async || {
        let request = client.request(Method::GET, format!("{url}/v1/events/{event}/availability"));
        answer(request).await.is_ok_and(|answer| answer.status == 200)
    })
    .await;
}
