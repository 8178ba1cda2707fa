//! Replicas as processes of their own, killed with -9 while people buy.

use std::{
    collections::BTreeSet,
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    purchase::captured,
    support::{Demo, answer, eventually, folder, onsale, runs, signal},
};

const WORKERS: usize = 12;
/// Answers before the first kill, and again before the second.
const ANSWERS: usize = 250;

/// What a worker asked and what it was answered, if at all.
struct Asked {
    key: String,
    body: Value,
    /// The reserve's answer.
    held: Option<String>,
    /// The checkout's answer, and whether one was sent.
    order: Option<Value>,
    checkout_sent: bool,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_of_one_and_then_of_all_loses_nothing_acknowledged() {
    let dir = folder();
    let arguments = ["--processes", "--no-respawn", "--no-limits"];
    let mut demo = Demo::start(dir.path(), &arguments);
    let asked = {
        let answers = Arc::new(AtomicUsize::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let target = Arc::new((demo.url.clone(), demo.client.clone()));
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| {
                let (target, answers) = (Arc::clone(&target), Arc::clone(&answers));
                tokio::spawn(work(target, worker, answers, Arc::clone(&stop)))
            })
            .collect();
        let enough = async |count| {
            eventually("enough is answered", async || answers.load(Ordering::Relaxed) >= count)
                .await;
        };
        enough(ANSWERS).await;
        kill_replica(&demo, 1);
        enough(answers.load(Ordering::Relaxed) + ANSWERS).await;
        let replicas = pids(&demo);
        assert_eq!(replicas.len(), 2, "the first replica stays dead");
        for pid in &replicas {
            signal(*pid, "KILL");
        }
        demo.kill();
        stop.store(true, Ordering::Relaxed);
        let mut asked = Vec::new();
        for worker in workers {
            asked.extend(worker.await.expect("the worker ends"));
        }
        asked
    };
    assert!(asked.iter().filter(|asked| asked.held.is_some()).count() > ANSWERS / 2);

    let demo = Demo::start(dir.path(), &arguments);
    let mut orders = BTreeSet::new();
    let mut seats = BTreeSet::new();
    for asked in &asked {
        stands(&demo, asked, &mut seats, &mut orders).await;
    }
    assert!(!orders.is_empty());
    every_order_is_paid_once(&demo, &orders).await;
    assert_eq!(demo.terminate(), 0);
    let nodes = node_dirs(dir.path());
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "{report}");
}

/// What was acknowledged is answered again; what was not is one hold or order after a repeat.
async fn stands(
    demo: &Demo,
    asked: &Asked,
    seats: &mut BTreeSet<String>,
    orders: &mut BTreeSet<String>,
) {
    let again = demo.reserve(&asked.key, &asked.body).await.expect("an answer");
    if let Some(held) = &asked.held {
        assert_eq!(&again.text, held, "{} was acknowledged", asked.key);
    }
    if again.status != 200 {
        assert_eq!(again.code(), "seat_unavailable", "{}", again.text);
        return;
    }
    let hold = again.json();
    let seat = hold["seats"][0]["seat_id"].as_str().expect("a seat").to_owned();
    assert!(seats.insert(seat.clone()), "{seat} is held twice");
    if !asked.checkout_sent {
        return;
    }
    let order =
        demo.checkout(&pay_key(&asked.key), &hold, "pm_card_visa").await.expect("an answer");
    assert_eq!(order.status, 202, "{}", order.text);
    if let Some(acknowledged) = &asked.order {
        assert_eq!(&order.json(), acknowledged, "{} was acknowledged", asked.key);
    }
    let confirmed = demo.order_until(&order.json(), |order| order["status"] == "confirmed").await;
    assert_eq!(confirmed["tickets"].as_array().map(Vec::len), Some(1));
    orders.insert(order.json()["order_id"].as_str().expect("an id").to_owned());
}

async fn every_order_is_paid_once(demo: &Demo, orders: &BTreeSet<String>) {
    eventually("captures = orders", async || captured(demo).await.len() >= orders.len()).await;
    let paid: Vec<String> = captured(demo)
        .await
        .iter()
        .map(|intent| intent["metadata"]["order_id"].as_str().expect("an order").to_owned())
        .collect();
    let unique: BTreeSet<String> = paid.iter().cloned().collect();
    assert_eq!(unique.len(), paid.len(), "an order is captured twice");
    assert_eq!(&unique, orders, "the sandbox's books are the tickets");
}

/// Reserves seats of its own, each under its own key; checks out every third.
async fn work(
    target: Arc<(String, reqwest::Client)>,
    worker: usize,
    answers: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
) -> Vec<Asked> {
    let (url, client) = &*target;
    let mut all = Vec::new();
    for turn in 0..1_000 {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let seat = format!("{}-{}-{}", 101 + worker, row(turn / 40), turn % 40 + 1);
        let key = format!("kill-{worker}-{turn}");
        let body = json!({"event_id": "evt_arena", "seat_ids": [seat]});
        let mut asked = Asked {
            key: key.clone(),
            body: body.clone(),
            held: None,
            order: None,
            checkout_sent: false,
        };
        let request = client.post(format!("{url}/v1/reserve")).header("Idempotency-Key", &key);
        if let Ok(held) = answer(request.json(&body)).await
            && held.status == 200
        {
            answers.fetch_add(1, Ordering::Relaxed);
            let hold = held.json();
            asked.held = Some(held.text);
            if turn % 3 == 0 {
                asked.checkout_sent = true;
                asked.order = pay(url, client, &pay_key(&key), &hold).await;
            }
        }
        all.push(asked);
    }
    all
}

/// A key's scope is the event, so the checkout's is not the hold's.
fn pay_key(key: &str) -> String {
    format!("{key}-pay")
}

async fn pay(url: &str, client: &reqwest::Client, key: &str, hold: &Value) -> Option<Value> {
    let body = json!({
        "hold_id": hold["hold_id"], "hold_token": hold["hold_token"],
        "contact": {"name": "A Buyer", "email": format!("{key}@example.org")},
        "payment_method": "pm_card_visa",
    });
    let request = client.post(format!("{url}/v1/checkout")).header("Idempotency-Key", key);
    let order = answer(request.json(&body)).await.ok()?;
    (order.status == 202).then(|| order.json())
}

fn row(number: usize) -> char {
    char::from(b'A' + u8::try_from(number).expect("a row"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_byte_stops_its_node_and_no_other() {
    let dir = folder();
    let arguments = ["--processes", "--no-respawn", "--no-limits"];
    let demo = Demo::start(dir.path(), &arguments);
    for turn in 0..200 {
        let seat = format!("120-{}-{}", row(turn / 40), turn % 40 + 1);
        let body = json!({"event_id": "evt_arena", "seat_ids": [seat]});
        let held = demo.reserve(&format!("flip-{turn}"), &body).await.expect("an answer");
        assert_eq!(held.status, 200, "{}", held.text);
    }
    assert_eq!(demo.terminate(), 0);
    let nodes = node_dirs(dir.path());
    let (segment, offset) = flip_a_byte(Path::new(&nodes[1]));
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 5, "{report}");
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    assert!(report.contains(&name) && report.contains("offset"), "{offset}: {report}");
    assert!(report.contains("replica"), "the report says what to do: {report}");

    let demo = Demo::start(dir.path(), &arguments);
    eventually("the damaged node refuses to start", async || pids(&demo).len() == 2).await;
    let body = json!({"event_id": "evt_arena", "seat_ids": ["119-A-1"]});
    let held = demo.reserve("after-damage", &body).await.expect("an answer");
    assert_eq!(held.status, 200, "the others go on: {}", held.text);
}

/// Flips one byte in the middle of what is written of the newest large log file.
fn flip_a_byte(node: &Path) -> (PathBuf, u64) {
    let mut files = Vec::new();
    collect_files(node, &mut files);
    let log = |path: &&PathBuf| path.components().any(|part| part.as_os_str() == "log");
    let segment = files.iter().filter(log).filter(|path| path.metadata().unwrap().len() > 65_536);
    let segment = segment.min().expect("a log file").clone();
    let mut file = std::fs::OpenOptions::new().read(true).write(true).open(&segment).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    let written = content.iter().rposition(|byte| *byte != 0).expect("something is written");
    let middle = (written / 2..written).find(|place| content[*place] != 0).unwrap();
    file.seek(SeekFrom::Start(middle as u64)).unwrap();
    file.write_all(&[content[middle] ^ 0x10]).unwrap();
    file.sync_all().unwrap();
    (segment, middle as u64)
}

fn collect_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_files(&path, files);
        } else {
            files.push(path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_ends_with_its_parent_and_comes_back_when_it_alone_dies() {
    let dir = folder();
    let mut demo = Demo::start(dir.path(), &["--processes", "--empty"]);
    let before = pids(&demo);
    assert_eq!(before.len(), 3);
    kill_replica(&demo, 2);
    eventually("the replica is started again", async || {
        let now = pids(&demo);
        now.len() == 3 && now != before
    })
    .await;
    let replicas = pids(&demo);
    demo.kill();
    eventually("no replica outlives its parent", async || !replicas.iter().any(|pid| runs(*pid)))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_a_folder_is_refused() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--processes", "--empty"]);
    let path = dir.path().display().to_string();
    let elsewhere = ["--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"];
    let second = ["demo", "--data-dir", &path, "--grpc-listen", "127.0.0.1:0"];
    let (exit, _, errors) = onsale(&[&second[..], &elsewhere[..]].concat());
    assert_eq!(exit, 4, "{errors}");
    let config = dir.path().join("node-1.toml").display().to_string();
    let text = std::fs::read_to_string(&config).expect("the replica's file");
    let other = dir.path().join("again.toml");
    let port = demo.processes()[0]["grpc"].as_str().expect("an address").to_owned();
    let text = text.replace(&format!("grpc_listen = \"{port}\""), "grpc_listen = \"127.0.0.1:0\"");
    std::fs::write(&other, text).expect("written");
    let other = other.display().to_string();
    let (exit, _, errors) = onsale(&["run", "--config", &other, "--role", "allocator"]);
    assert_eq!(exit, 4, "{errors}");
    let held = answer(demo.request(Method::GET, "/v1/events")).await.expect("an answer");
    assert_eq!(held.status, 200, "the first one goes on");
}

fn kill_replica(demo: &Demo, node: u64) {
    let all = demo.processes();
    let replica = all.iter().find(|replica| replica["node"] == node).expect("the replica");
    signal(u32::try_from(replica["pid"].as_u64().expect("a pid")).expect("a pid"), "KILL");
}

fn pids(demo: &Demo) -> Vec<u32> {
    demo.processes()
        .iter()
        .map(|replica| u32::try_from(replica["pid"].as_u64().expect("a pid")).expect("a pid"))
        .filter(|pid| runs(*pid))
        .collect()
}

fn node_dirs(dir: &Path) -> Vec<String> {
    (1..=3).map(|node| dir.join(format!("node-{node}")).display().to_string()).collect()
}
