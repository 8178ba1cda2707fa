//! The sandbox as a process of its own, killed without warning.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use onsale_payments::sandbox;
use tokio_util::sync::CancellationToken;

use crate::support::{Client, KEY};

const FOLDER: &str = "SANDBOX_TEST_FOLDER";

/// Not a test: what the killed process runs. Without the folder there is nothing to do.
#[test]
fn serves_when_asked_to() {
    let Ok(folder) = std::env::var(FOLDER) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        println!("\nlistens {}", listener.local_addr().unwrap());
        let config = sandbox::Config {
            gateway_key: KEY.to_owned(),
            data_dir: Some(folder.into()),
            ..sandbox::Config::default()
        };
        sandbox::run(config, listener, CancellationToken::new()).await.unwrap();
    });
}

fn start(folder: &std::path::Path) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::serves_when_asked_to", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("listens ")?.to_owned()))
        .expect("the child listens");
    (child, format!("http://{address}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_kill_9_and_a_repeat_pays_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut answered: Vec<(String, String)> = Vec::new();
    for round in 0..3_usize {
        let (mut child, url) = start(folder.path());
        let client = Client::new(&url);
        for (key, id) in &answered {
            let again = pay(&client, key).await.expect("it is up");
            assert_eq!(&again, id, "{key} is the same payment after the kill");
        }
        let mut paying = tokio::task::JoinSet::new();
        for buyer in 0..8 {
            let client = client.clone();
            paying.spawn(async move {
                let mut paid = Vec::new();
                for number in 0.. {
                    let key = format!("k-{round}-{buyer}-{number}");
                    match pay(&client, &key).await {
                        Some(id) => paid.push((key, id)),
                        None => return (paid, key),
                    }
                }
                unreachable!("it ends with the kill")
            });
        }
        crate::support::until("some were paid", || async {
            client_count(&client).await >= (round + 1) * 40
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(done) = paying.join_next().await {
            let (paid, unanswered) = done.unwrap();
            answered.extend(paid);
            // Without an answer it is repeated under its key, on the next process.
            let (mut child, url) = start(folder.path());
            let client = Client::new(&url);
            let id = pay(&client, &unanswered).await.expect("it is up");
            answered.push((unanswered, id));
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
    let (mut child, url) = start(folder.path());
    let client = Client::new(&url);
    let books = client.get("/sandbox/books").await.json();
    let rows = books["payment_intents"].as_array().unwrap();
    assert_eq!(rows.len(), answered.len(), "one payment for each key, and none besides");
    let taken = books["currencies"]["eur"]["captured_minor"].as_u64().unwrap();
    assert_eq!(taken, 100 * u64::try_from(answered.len()).unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn client_count(client: &Client) -> usize {
    let books = client.get("/sandbox/books").await.json();
    books["payment_intents"].as_array().unwrap().len()
}

/// The payment's id, or `None` when the process is gone.
async fn pay(client: &Client, key: &str) -> Option<String> {
    let form = [
        ("amount", "100"),
        ("currency", "eur"),
        ("payment_method", "pm_card_visa"),
        ("confirm", "true"),
        ("metadata[order_id]", key),
    ];
    let answer = client.try_post_with(key, "/v1/payment_intents", &form).await?;
    assert_eq!(answer.status, 200, "{}", answer.text);
    Some(answer.id())
}
