//! Channels over the wire: set aside by name, bought through with the secret, listed and dropped.

use onsale_mesh::ShardClient;
use onsale_proto::{Code, allocator as pb, catalog::EventDocument};
use pb::{allocator_service_client::AllocatorServiceClient, outcome::Result as Answer};
use tonic::{Request, Status, transport::Channel};

use crate::{
    cluster_support::{Cluster, patient, run, secret},
    rpc_calls::create,
};

const EVENT: &str = "evt_aside";

fn staff_key(no: u8) -> Option<pb::Idempotency> {
    let key = vec![no; 16].into();
    Some(pb::Idempotency { key, request: no.into(), buyer: 5, buyer_is_new: false })
}

fn put(event: &EventDocument, no: u8, seats: Vec<u32>) -> pb::PutChannelRequest {
    let hash = secret().channel_key_hash(EVENT, "fans", "open-sesame");
    pb::PutChannelRequest {
        shard: event.shard,
        event_no: event.event_no,
        idempotency: staff_key(no),
        key: "fans".into(),
        key_hash: hash.to_vec().into(),
        seats,
        general_too: true,
        ..pb::PutChannelRequest::default()
    }
}

async fn hold(
    api: &mut AllocatorServiceClient<Channel>,
    seat: &str,
    (channel, channel_key): (&str, &str),
) -> Result<Vec<String>, Code> {
    let wish = pb::HoldWish { seat_ids: vec![seat.into()], ..pb::HoldWish::default() };
    let request = Request::new(pb::HoldRequest {
        event_id: EVENT.into(),
        idempotency_key: format!("{seat}-{channel}-{channel_key}"),
        buyer: "somebody".into(),
        wishes: vec![wish],
        channel: channel.into(),
        channel_key: channel_key.into(),
        code: String::new(),
    });
    let held = api.hold(request).await.map_err(|status: Status| Code::from_status(&status))?;
    let seats = held.into_inner().hold.expect("a hold").seats;
    Ok(seats.into_iter().map(|seat| seat.seat_id).collect())
}

async fn listed(client: &ShardClient, event: &EventDocument) -> Vec<pb::Channel> {
    let message = pb::ListChannelsRequest { shard: event.shard, event_no: event.event_no };
    client.list_channels(message, patient()).await.expect("a list").channels
}

#[test]
fn a_channel_is_put_bought_through_listed_and_dropped() {
    let cluster = Cluster::formed(3, 2);
    run(async {
        let client = cluster.client();
        let event = create(&client, EVENT).await;
        let done = client.put_channel(put(&event, 1, vec![0, 1]), patient()).await.expect("put");
        assert!(matches!(done.result, Some(Answer::Done(_))) && !done.replayed, "{done:?}");
        let again = client.put_channel(put(&event, 1, vec![0, 1]), patient()).await.expect("put");
        assert!(again.replayed);
        let unsorted = client.put_channel(put(&event, 2, vec![1, 0]), patient()).await;
        let Some(Answer::Rejected(refused)) = unsorted.expect("an answer").result else {
            panic!("seats in no order")
        };
        assert_eq!((refused.code.as_str(), refused.field.as_str()), ("invalid_request", "seats"));

        let address = cluster.configs[0].nodes[0].grpc.clone();
        let address = onsale_mesh::channel::connect(&address).expect("an address");
        let mut api = AllocatorServiceClient::new(address);
        let (first, other) = ("101-A-1", "101-A-3");
        assert_eq!(hold(&mut api, first, ("", "")).await, Err(Code::SeatUnavailable));
        assert_eq!(hold(&mut api, first, ("fans", "")).await, Err(Code::ChannelForbidden));
        let wrong = hold(&mut api, first, ("fans", "open-barley")).await;
        assert_eq!(wrong, Err(Code::ChannelForbidden));
        let through = ("fans", "open-sesame");
        assert_eq!(hold(&mut api, first, through).await, Ok(vec![first.to_owned()]));
        assert_eq!(hold(&mut api, other, through).await, Ok(vec![other.to_owned()]));

        let channels = listed(&client, &event).await;
        let [only] = channels.as_slice() else { panic!("{channels:?}") };
        assert_eq!((only.key.as_str(), &only.seats[..]), ("fans", &[0, 1][..]));
        assert_eq!((only.available, only.taken, only.has_secret), (1, 2, true));
        let drop = pb::DropChannelRequest {
            shard: event.shard,
            event_no: event.event_no,
            idempotency: staff_key(3),
            key: "fans".into(),
        };
        let done = client.drop_channel(drop, patient()).await.expect("dropped");
        assert!(matches!(done.result, Some(Answer::Done(_))), "{done:?}");
        assert_eq!(listed(&client, &event).await, []);
        assert_eq!(hold(&mut api, "101-A-2", ("", "")).await, Ok(vec!["101-A-2".to_owned()]));
    });
}
