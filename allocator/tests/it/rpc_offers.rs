//! Ticket types and codes in the unary `Hold`, in public strings.

use onsale_mesh::Failure;
use onsale_proto::{Code, allocator as pb, catalog::EventDocument};
use pb::{allocator_service_client::AllocatorServiceClient, outcome::Result as Answer};
use prost::Message as _;
use tonic::transport::Channel;

use crate::{
    cluster_support::{Cluster, patient, run, secret},
    rpc_document::offer,
};

const EVENT: &str = "evt_offer";

struct BoxOffice {
    api: AllocatorServiceClient<Channel>,
}

fn of(ticket_type: &str, quantity: u32) -> pb::TypeQuantity {
    pb::TypeQuantity { r#type: ticket_type.into(), quantity }
}

fn wish(quantity: u32, types: &[pb::TypeQuantity]) -> pb::HoldWish {
    let section = "101".into();
    pb::HoldWish { quantity, section, types: types.to_vec(), ..pb::HoldWish::default() }
}

impl BoxOffice {
    async fn hold(
        &mut self,
        key: &str,
        wishes: &[pb::HoldWish],
        code: &str,
    ) -> Result<Vec<(String, u64)>, Failure> {
        let request = pb::HoldRequest {
            event_id: EVENT.into(),
            idempotency_key: key.into(),
            buyer: "somebody".into(),
            wishes: wishes.to_vec(),
            code: code.into(),
            ..pb::HoldRequest::default()
        };
        let held = self.api.hold(request).await.map_err(Failure::from)?;
        let seats = held.into_inner().hold.expect("a hold").seats;
        Ok(seats.into_iter().map(|seat| (seat.ticket_type, seat.price_minor)).collect())
    }

    async fn refusal(&mut self, key: &str, wishes: &[pb::HoldWish], code: &str) -> (Code, String) {
        let refused = self.hold(key, wishes, code).await.expect_err("refused");
        assert!(code.is_empty() || !refused.detail.contains(code.trim()), "{refused}");
        (refused.code, refused.field)
    }
}

fn owned(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
    expected.iter().map(|&(key, price)| (key.to_owned(), price)).collect()
}

async fn types_are_dealt_in_the_order_asked(desk: &mut BoxOffice) {
    let mixed = [wish(2, &[of("child", 1), of("adult", 1)]), wish(1, &[])];
    let held = desk.hold("mixed", &mixed, "").await.expect("held");
    assert_eq!(held, owned(&[("child", 1_000), ("adult", 8_000), ("adult", 8_000)]));
    let again = desk.hold("mixed", &mixed, "").await.expect("told again");
    assert_eq!(again, held);
    let other = [wish(2, &[of("adult", 1), of("child", 1)]), wish(1, &[])];
    assert_eq!(desk.refusal("mixed", &other, "").await.0, Code::IdempotencyKeyReused);
    let plain = desk.hold("plain", &[wish(1, &[])], "").await.expect("held");
    assert_eq!(plain, owned(&[("adult", 9_500)]), "of the first type where none is said");
}

async fn types_that_do_not_fit_are_refused_with_their_field(desk: &mut BoxOffice) {
    let invalid = |field: &str| (Code::InvalidRequest, field.to_owned());
    for types in [vec![of("adult", 1)], vec![of("adult", 3)], vec![of("adult", u32::MAX)]] {
        let refused = desk.refusal("count", &[wish(1, &[]), wish(2, &types)], "").await;
        assert_eq!(refused, invalid("wishes/1/types"));
    }
    let refused = desk.refusal("unknown", &[wish(2, &[of("adult", 1), of("dog", 1)])], "").await;
    assert_eq!(refused, invalid("wishes/0/types/1/type"));
    let endless = pb::HoldWish { companions: u32::MAX, ..wish(u32::MAX, &[of("adult", 1)]) };
    assert_eq!(desk.refusal("endless", &[endless], "").await, invalid("wishes/0/types"));
}

async fn a_code_is_used_once_in_any_spelling(desk: &mut BoxOffice) {
    let one = [wish(1, &[])];
    assert_eq!(desk.refusal("nobody", &one, "nobodys").await.0, Code::CodeInvalid);
    assert_eq!(desk.refusal("long", &one, &"x".repeat(65)).await.1, "code");
    let held = desk.hold("half", &one, " half-1 ").await.expect("held");
    assert_eq!(held, owned(&[("adult", 4_750)]));
    assert_eq!(desk.hold("half", &one, "HALF-1").await.expect("told again"), held);
    assert_eq!(desk.refusal("half", &one, "").await.0, Code::IdempotencyKeyReused);
    assert_eq!(desk.refusal("spent", &one, "HALF-1").await.0, Code::CodeUsedUp);
}

#[test]
fn a_unary_hold_says_types_and_brings_a_code() {
    let cluster = Cluster::formed(3, 2);
    run(async {
        let client = cluster.client();
        let content = EventDocument { event_no: 0, revision: 0, ..offer() };
        let document = content.encode_to_vec().into();
        let request = pb::CreateEventRequest { document, idempotency: None };
        let created = client.create_event(request, patient()).await.expect("created");
        let event = EventDocument::decode(created.document).expect("a document");
        let effect = Some(pb::code_terms::Effect::PercentOff(50));
        let terms =
            pb::CodeTerms { label: "half".into(), effect, uses_max: 1, ..Default::default() };
        let hash = secret().code_hash(EVENT, "HALF-1").to_be_bytes().to_vec().into();
        let put = pb::PutCodesRequest {
            shard: event.shard,
            event_no: event.event_no,
            idempotency: Some(pb::Idempotency {
                key: vec![7; 16].into(),
                request: 7,
                buyer: 5,
                buyer_is_new: false,
            }),
            batches: vec![pb::CodeBatch { terms: Some(terms), hashes: vec![hash] }],
        };
        let put = client.put_codes(put, patient()).await.expect("an answer");
        assert!(matches!(put.result, Some(Answer::CodesPut(_))), "{put:?}");

        let address = cluster.configs[0].nodes[0].grpc.clone();
        let address = onsale_mesh::channel::connect(&address).expect("an address");
        let mut desk = BoxOffice { api: AllocatorServiceClient::new(address) };
        types_are_dealt_in_the_order_asked(&mut desk).await;
        types_that_do_not_fit_are_refused_with_their_field(&mut desk).await;
        a_code_is_used_once_in_any_spelling(&mut desk).await;
    });
}
