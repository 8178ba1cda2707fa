//! What a body may say of codes.

use serde_json::json;

use super::*;
use crate::event_view::tests::document;

fn read_body(body: &Value) -> Result<Batches, Vec<String>> {
    let view = EventView::new(document());
    let mut faults = Faults::default();
    let batches = read(&view, body, |nth| format!("MADE{nth}"), &mut faults);
    let faults = faults.into_errors();
    if faults.is_empty() {
        return Ok(batches);
    }
    Err(faults.into_iter().map(|fault| fault.pointer).collect())
}

#[test]
fn codes_that_are_good_for_the_same_are_one_batch_in_one_spelling() {
    let fans = json!({"label": "fans", "kind": "presale", "uses_max": 3});
    let mut listed =
        [fans.clone(), json!({"label": "x", "kind": "voucher", "price_minor": 0}), fans];
    for (one, code) in listed.iter_mut().zip(["Fan-1", "half", "FAN_2"]) {
        one["code"] = json!(code);
    }
    let batches = read_body(&json!({"codes": listed})).expect("good");
    let codes: Vec<_> = batches.iter().map(|(_, codes)| codes.clone()).collect();
    assert_eq!(codes, [vec!["FAN-1".to_owned(), "FAN_2".to_owned()], vec!["HALF".to_owned()]]);
    let made = json!({"generate": {"count": 2, "prefix": "vip-"}, "label": "v",
        "kind": "voucher", "percent_off": 100, "categories": ["GA"]});
    let batches = read_body(&made).expect("good");
    assert_eq!(batches[0].1, ["VIP-MADE0", "VIP-MADE1"]);
    assert_eq!((batches[0].0.uses_max, batches[0].0.categories.len()), (1, 1));
}

#[test]
fn what_makes_no_sense_is_named() {
    let with = |more: Value| {
        let mut one = json!({"code": "FANS", "label": "fans", "kind": "voucher", "percent_off": 5});
        for (name, value) in more.as_object().expect("an object") {
            one[name] = value.clone();
        }
        json!({"codes": [one]})
    };
    for (body, pointer) in [
        (json!([]), ""),
        (json!({}), "/codes"),
        (json!({"codes": []}), "/codes"),
        (json!({"codes": ["FANS"]}), "/codes/0"),
        (json!({"codes": [{"label": "a", "kind": "presale"}]}), "/codes/0/code"),
        (with(json!({"code": "abc"})), "/codes/0/code"),
        (with(json!({"code": "a b c d"})), "/codes/0/code"),
        (with(json!({"code": "ä€ßö"})), "/codes/0/code"),
        (with(json!({"label": ""})), "/codes/0/label"),
        (with(json!({"label": "ä".repeat(33)})), "/codes/0/label"),
        (with(json!({"kind": "gift"})), "/codes/0/kind"),
        (with(json!({"kind": "presale"})), "/codes/0/kind"),
        (with(json!({"percent_off": 0})), "/codes/0/percent_off"),
        (with(json!({"percent_off": 101})), "/codes/0/percent_off"),
        (with(json!({"percent_off": 2.5})), "/codes/0/percent_off"),
        (with(json!({"price_minor": 1})), "/codes/0/price_minor"),
        (with(json!({"uses_max": 0})), "/codes/0/uses_max"),
        (with(json!({"valid_from": "soon"})), "/codes/0/valid_from"),
        (
            with(json!({"valid_from": "2031-01-01T00:00:00Z",
                "valid_until": "2031-01-01T00:00:00Z"})),
            "/codes/0/valid_until",
        ),
        (with(json!({"categories": []})), "/codes/0/categories"),
        (with(json!({"categories": ["NONE"]})), "/codes/0/categories/0"),
        (with(json!({"note": "x"})), "/codes/0/note"),
        (json!({"codes": [], "generate": {"count": 1}, "label": "a", "kind": "presale"}), "/codes"),
        (json!({"generate": {"count": 1}, "kind": "presale"}), "/label"),
        (json!({"generate": {"count": 0}, "label": "a", "kind": "presale"}), "/generate/count"),
        (
            json!({"generate": {"count": 10_001}, "label": "a", "kind": "presale"}),
            "/generate/count",
        ),
        (
            json!({"generate": {"count": 1, "prefix": "a b"}, "label": "a", "kind": "presale"}),
            "/generate/prefix",
        ),
        (json!({"generate": {"count": 1}, "label": "a", "kind": "voucher"}), "/percent_off"),
    ] {
        assert_eq!(read_body(&body), Err(vec![pointer.to_owned()]), "{body}");
    }
    let one = |code: &str| json!({"code": code, "label": "fans", "kind": "presale"});
    let twice = json!({"codes": [one("FANS"), one("fans")]});
    assert_eq!(read_body(&twice), Err(vec!["/codes/1/code".to_owned()]));
}
