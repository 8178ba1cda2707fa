//! Loads against small servers: one that stalls, one that sells, one that is not there.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::{
    api::Client,
    audit::Kind,
    fake_shop::{self, Fault},
    load::op::Fate,
    result::AuditResult,
    verdict::{self, Before},
};

/// Answers every request at once, but none for `stall` after the first `calm`.
async fn stalling(calm: Duration, stall: Duration) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("port");
    let authority = listener.local_addr().expect("address").to_string();
    let stalled_from = Instant::now() + calm;
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 4_096];
                while let Ok(1..) = socket.read(&mut buffer).await {
                    let now = Instant::now();
                    if now >= stalled_from && now < stalled_from + stall {
                        tokio::time::sleep_until((stalled_from + stall).into()).await;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    if socket.write_all(answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Target { authority }
}

fn stock() -> Arc<Stock> {
    let rows = serde_json::json!([{"label": "A", "seats": 60}, {"label": "B", "seats": 60}]);
    let map = serde_json::json!({"sections": [{"key": "S", "rows": rows}]});
    Arc::new(Stock::new(vec![crate::seats::EventSeats::of_map("evt_fake", &map)], false))
}

fn options(target: Target, op: Op) -> Options {
    let mut options = Options::closed(target, stock(), op, "test".to_owned());
    (options.connections, options.warm_up) = (4, Duration::ZERO);
    options.duration = Duration::from_secs(2);
    options
}

async fn played(options: Options) -> (Arc<Options>, Done) {
    let options = Arc::new(options);
    let done = run(Arc::clone(&options), Progress::Quiet, crate::never()).await;
    (options, done.expect("ran"))
}

#[tokio::test]
async fn a_server_that_stalls_shows_in_the_latencies_of_all_who_meant_to_come_meanwhile() {
    let target = stalling(Duration::from_millis(500), Duration::from_millis(600)).await;
    let mut open = options(target, Op::Event);
    open.pace = Pace::Open { rate: 500.0, arrivals: Arrivals::Even };
    let (_, done) = played(open).await;
    // 600 ms of 2 s: three in ten meant to come during the stall and waited up to 600 ms.
    let (p50, p99) = (done.latency_us(Op::Event, 0.5), done.latency_us(Op::Event, 0.99));
    assert!(p99 > 450_000, "p99 {p99} µs hides the stall");
    assert!(done.latency_us(Op::Event, 0.75) > 50_000, "a quarter waited");
    assert!(p50 < 200_000, "p50 {p50} µs: half came at other times");
    let tally = done.shared.tally();
    let (_, row) = tally.rows().next().expect("a row");
    // What a driver sees that only counts from sending: four connections, four slow answers.
    assert!(
        row.service.value_at_quantile(0.99) < p99 / 2,
        "{}",
        row.service.value_at_quantile(0.99)
    );
    assert_eq!(row.fates[Fate::Good as usize], 1_000, "every planned request was sent");
    assert!(tally.silence.length > Duration::from_millis(500), "{:?}", tally.silence);
}

#[tokio::test]
async fn requests_that_were_never_sent_count_with_the_time_they_waited() {
    let target = stalling(Duration::from_millis(200), Duration::from_secs(30)).await;
    let mut open = options(target, Op::Event);
    open.pace = Pace::Open { rate: 200.0, arrivals: Arrivals::Poisson };
    open.patience = Duration::from_millis(2_500);
    let (_, done) = played(open).await;
    let tally = done.shared.tally();
    let (_, row) = tally.rows().next().expect("a row");
    assert!(row.fates[Fate::Unsent as usize] > 200, "{:?}", row.fates);
    assert!(row.fates[Fate::Lost as usize] >= 3, "{:?}", row.fates);
    assert!(row.latency.value_at_quantile(0.9) > 1_000_000);
    assert_eq!((tally.queue, tally.in_flight), (0, 0), "nothing is left over");
}

#[tokio::test]
async fn every_seat_is_asked_for_once_and_the_load_ends_when_none_is_left() {
    let target = fake_shop::start(Fault::None).await;
    let mut closed = options(target, Op::Reserve);
    (closed.connections, closed.threads) = (7, 2);
    closed.duration = Duration::from_secs(60);
    closed.pids = vec![std::process::id()];
    let (options, done) = played(closed).await;
    assert!(done.shared.ran_out() && done.good(Op::Reserve) == 120);
    assert!(done.rate(Op::Reserve) > 10.0 && done.latency_us(Op::Reserve, 0.5) > 0);
    let ledger = options.stock.ledger();
    assert_eq!((ledger.granted, ledger.violations_count, ledger.sample().len()), (120, 0, 120));
}

#[tokio::test]
async fn a_load_stops_when_it_is_told_to() {
    let target = fake_shop::start(Fault::None).await;
    let mut open = options(target, Op::Section);
    open.duration = Duration::from_secs(3_000);
    open.pace = Pace::Open { rate: 50.0, arrivals: Arrivals::Even };
    let (stop, stopped) = watch::channel(false);
    let running = tokio::spawn(run(Arc::new(open), Progress::Quiet, stopped));
    stop.send(true).expect("somebody listens");
    let done = running.await.expect("no panic").expect("ran");
    assert!(done.interrupted && done.counted < Duration::from_secs(60));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_names_it() {
    let target = Target { authority: "127.0.0.1:1".to_owned() };
    let error = run(Arc::new(options(target, Op::Event)), Progress::Quiet, crate::never()).await;
    let error = format!("{:#}", error.err().expect("nobody there"));
    assert!(error.contains("http://127.0.0.1:1"), "{error}");
}

/// Buyers in a shop with a fault, and the audit of what they were told.
async fn sale(fault: Fault, op: Op) -> AuditResult {
    let target = fake_shop::start(fault).await;
    let mut client = Client::new(target.clone());
    let before = Before::read(&mut client, &["evt_fake".to_owned()]).await.expect("an event");
    let mut closed = options(target, op);
    closed.connections = 12;
    closed.duration = Duration::from_secs(1);
    closed.seed = 7;
    let (options, _) = played(closed).await;
    let lag = Duration::from_millis(300);
    verdict::audit(&options, &before, None, lag).await.expect("audited")
}

#[tokio::test]
async fn an_honest_shop_passes_and_sells() {
    let audit = sale(Fault::None, Op::Buy).await;
    assert!(audit.clean(), "{:?} {:?}", audit.violations, audit.contradictions);
    assert!(audit.tickets > 0 && audit.verdict == "clean", "{audit:?}");
}

#[tokio::test]
async fn a_shop_that_sells_a_seat_twice_is_found_out_by_buyers_and_by_bare_holds() {
    for op in [Op::Buy, Op::Best] {
        let audit = sale(Fault::SellsTwice, op).await;
        let oversold = audit.violations.iter().any(|found| found.kind == Kind::Oversold);
        assert!(oversold && audit.broken() && audit.verdict == "broken", "{op:?} {audit:?}");
    }
}

#[tokio::test]
async fn a_shop_that_forgets_an_order_or_a_hold_is_found_out() {
    for (fault, op) in [(Fault::ForgetsOrders, Op::Buy), (Fault::ForgetsHolds, Op::Reserve)] {
        let audit = sale(fault, op).await;
        let lost = audit.violations.iter().any(|found| found.kind == Kind::LostAcknowledgement);
        assert!(lost, "{op:?} {audit:?}");
    }
}

#[tokio::test]
async fn a_shop_that_answers_a_repeat_anew_is_found_out() {
    let audit = sale(Fault::ForgetsKeys, Op::Buy).await;
    assert!(!audit.clean(), "{audit:?}");
    assert!(audit.contradictions.iter().any(|what| what.contains("same key")));
}

#[tokio::test]
async fn the_shop_with_a_waiting_room_is_entered_through_it() {
    let audit = sale(Fault::WaitingRoom, Op::Buy).await;
    assert!(audit.clean() && audit.tickets > 0, "{audit:?}");
}

#[test]
fn a_mix_has_its_shares() {
    let mix = Mix::new(vec![(Op::Section, 3), (Op::Event, 1)]);
    let mut dice = Dice::new(1, 2);
    let events = (0..8_000).filter(|_| mix.draw(&mut dice) == Op::Event).count();
    assert!((1_800..2_200).contains(&events), "{events} of 8,000");
    assert!(mix.has(Op::Event) && !mix.has(Op::Buy));
    assert_eq!(Mix::only(Op::Best).draw(&mut dice), Op::Best);
}
