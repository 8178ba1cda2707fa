//! The leader of an event's shard is killed with -9 as the time of an allotment comes.

use onsale_proto::time;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Demo, answer, eventually, folder, onsale, signal};

const EVENT: &str = "evt_arena";
/// From the order to release until the release.
const LEAD_MS: u64 = 3_000;

struct Round<'a> {
    demo: &'a Demo,
    organizer: String,
    section: u32,
}

impl Round<'_> {
    fn seat(&self, number: u32) -> String {
        format!("{}-A-{number}", self.section)
    }

    fn path(&self) -> String {
        format!("/v1/events/{EVENT}/channels/late-{}", self.section)
    }

    async fn channel(&self) -> Value {
        let request = self.demo.request(Method::GET, &self.path()).bearer_auth(&self.organizer);
        answer(request).await.expect("an answer").json()
    }

    async fn reserve(&self, key: &str, seats: &[u32], through: bool) -> (u16, String) {
        let seats: Vec<String> = seats.iter().map(|&number| self.seat(number)).collect();
        let mut body = json!({"event_id": EVENT, "seat_ids": seats});
        if through {
            body["channel"] = json!(format!("late-{}", self.section));
        }
        let key = format!("{key}-{}", self.section);
        let held = self.demo.reserve(&key, &body).await.expect("an answer");
        (held.status, held.text)
    }

    /// The process that leads the event's shard, and how many replicas run.
    fn leader(&self, shard: &Value) -> Option<(u32, usize)> {
        let processes = self.demo.processes();
        let grpc = processes.first()?["grpc"].as_str()?.to_owned();
        let (exit, status, _) = onsale(&["cluster", "status", "--json", "--grpc", &grpc]);
        let status: Value = (exit == 0).then(|| serde_json::from_str(&status).ok())??;
        let shards = status["shards"].as_array()?;
        let leader = shards.iter().find(|one| one["shard"] == *shard)?["leader"].clone();
        let leads = processes.iter().find(|one| one["node"] == leader)?;
        let alive = status["nodes"].as_array()?.iter().filter(|one| one["alive"] == true).count();
        Some((u32::try_from(leads["pid"].as_u64()?).ok()?, alive))
    }

    /// Seats 1 to 10 are set aside; of them 1 and 2 are held through the channel, 3 is sold. The
    /// leader dies so long before or after the time of the rest.
    async fn play(&self, shift_ms: i64) {
        let shard = self.demo.get(&format!("/v1/events/{EVENT}")).await.json()["shard"].clone();
        let mut leader = None;
        eventually("all replicas run", async || {
            leader = self.leader(&shard);
            leader.is_some_and(|(_, alive)| alive == 3)
        })
        .await;
        let (leader, _) = leader.expect("a leader");
        let release_at = time::now_ms() + LEAD_MS;
        let seats: Vec<String> = (1..=10).map(|number| self.seat(number)).collect();
        let body = json!({"seat_ids": seats, "release_at": time::to_rfc3339(release_at)});
        let put = self.demo.request(Method::PUT, &self.path()).bearer_auth(&self.organizer);
        let put = put.header("Idempotency-Key", format!("put-{}", self.section)).json(&body);
        let put = answer(put).await.expect("an answer");
        assert_eq!(put.status, 200, "{}", put.text);
        let held = self.reserve("held", &[1, 2], true).await;
        let sold = self.reserve("sold", &[3], true).await;
        assert_eq!((held.0, sold.0), (200, 200), "{} {}", held.1, sold.1);
        let hold: Value = serde_json::from_str(&sold.1).expect("JSON");
        let key = format!("pay-{}", self.section);
        let order = self.demo.checkout(&key, &hold, "pm_card_visa").await.expect("one").json();
        assert_eq!(self.reserve("early", &[4], false).await.0, 409, "it is still set aside");

        let moment = release_at.saturating_add_signed(shift_ms);
        eventually("the moment has come", async || time::now_ms() >= moment).await;
        signal(leader, "KILL");
        self.is_released_once(&held.1, &order).await;
    }

    async fn is_released_once(&self, held: &str, order: &Value) {
        eventually("what is unsold is everybody's", async || {
            let (status, _) = self.reserve("rest", &(4..=10).collect::<Vec<_>>(), false).await;
            status == 200
        })
        .await;
        for number in 1..=10 {
            let (status, text) = self.reserve(&format!("again-{number}"), &[number], false).await;
            assert_eq!(status, 409, "seat {number} is somebody's: {text}");
        }
        let told_again = self.reserve("held", &[1, 2], true).await;
        assert_eq!(told_again, (200, held.to_owned()), "what was held before stands");
        let order = self.demo.order_until(order, |order| order["status"] == "confirmed").await;
        assert_eq!(order["tickets"][0]["seat_id"], self.seat(3).as_str());
        let channel = self.channel().await;
        assert_eq!((&channel["seat_ids"], &channel["available"]), (&json!([]), &json!(0)));
        let counts = ["taken", "held", "sold"].map(|name| channel[name].as_u64());
        assert_eq!(counts, [3, 2, 1].map(Some), "{channel}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allotment_is_released_once_though_the_leader_dies_at_its_time() {
    let dir = folder();
    let demo = Demo::start(dir.path(), &["--processes", "--no-limits"]);
    let organizer = demo.credentials()["organizer_key"].as_str().expect("a key").to_owned();
    for (section, shift_ms) in [(110, -40), (111, 0), (112, 120)] {
        let round = Round { demo: &demo, organizer: organizer.clone(), section };
        round.play(shift_ms).await;
    }
    assert_eq!(demo.terminate(), 0);
    let nodes: Vec<String> =
        (1..=3).map(|node| dir.path().join(format!("node-{node}")).display().to_string()).collect();
    let (exit, report, _) = onsale(&["verify", &nodes[0], &nodes[1], &nodes[2]]);
    assert_eq!(exit, 0, "one chain on all: {report}");
}
