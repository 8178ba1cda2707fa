//! Every kind of job against every answer of the gateway.

use std::time::Duration;

use onsale_payments::{
    checkout::{Kind, Purpose, Report, Step, Task, first, next},
    gateway::{Answer, Call, Intent, Payment, Status},
    limits::{ACTION_POLL_LATER_MS, ACTION_POLL_MS, REPEAT_AGE_MAX_MS, RETRY_MS_MAX},
};

const OLD: u64 = REPEAT_AGE_MAX_MS + 1;

fn task(kind: Kind, intent: Option<&str>) -> Task {
    Task {
        kind,
        payment: Payment {
            order_id: "ord_1".to_owned(),
            amount_minor: 1900,
            currency: "EUR".to_owned(),
            payment_method: "pm_card_visa".to_owned(),
        },
        intent: intent.map(str::to_owned),
        attempts: 0,
        age_ms: 0,
    }
}

fn intent(status: Status) -> Intent {
    Intent {
        id: "pi_1".to_owned(),
        status,
        amount_minor: 1900,
        capturable_minor: if status == Status::RequiresCapture { 1900 } else { 0 },
        received_minor: if status == Status::Succeeded { 1900 } else { 0 },
        currency: "eur".to_owned(),
        order_id: Some("ord_1".to_owned()),
        next_action_url: (status == Status::RequiresAction)
            .then(|| "https://bank.test/".to_owned()),
        last_error: None,
    }
}

fn is(status: Status) -> Answer {
    Answer::Intent(intent(status))
}

fn retrieve() -> Call {
    Call::Retrieve("pi_1".to_owned())
}

fn capture(turn: u32) -> Call {
    Call::Capture { intent: "pi_1".to_owned(), turn }
}

fn cancel(turn: u32) -> Call {
    Call::Cancel { intent: "pi_1".to_owned(), turn }
}

/// One word or call for a step, so that the table can be read.
fn shown(step: &Step) -> String {
    match step {
        Step::Call(Call::Retrieve(_), purpose) => format!("retrieve{}", why(purpose)),
        Step::Call(Call::GiveBack(_), purpose) => format!("give back{}", why(purpose)),
        Step::Call(Call::Capture { turn, .. }, purpose) => {
            format!("capture {turn}{}", why(purpose))
        }
        Step::Call(Call::Cancel { turn, .. }, purpose) => format!("cancel {turn}{}", why(purpose)),
        Step::Call(call, purpose) => format!("{}{}", call.name(), why(purpose)),
        Step::Alarm(alarm, step) => format!("ALARM {alarm}: {}", shown(step)),
        Step::Report(Report::Authorised { intent }) => format!("authorised {intent}"),
        Step::Report(Report::ActionRequired { url, .. }) => format!("action at {url}"),
        Step::Report(Report::Declined { intent, reason }) => {
            format!("declined {} {reason}", intent.as_deref().unwrap_or("-"))
        }
        Step::Report(Report::Captured) => "captured".to_owned(),
        Step::Report(Report::CaptureRefused { reason }) => format!("capture refused {reason}"),
        Step::Report(Report::Issued) => "issued".to_owned(),
        Step::Report(Report::Voided) => "voided".to_owned(),
        Step::Report(Report::Retry { .. }) => "retry".to_owned(),
    }
}

fn why(purpose: &Purpose) -> String {
    match purpose {
        Purpose::Job => String::new(),
        Purpose::Learn => " to learn".to_owned(),
        Purpose::Undo(reason) => format!(" to undo ({reason})"),
    }
}

#[test]
fn each_job_begins_with_the_call_that_may_be_repeated() {
    let table = [
        (Kind::Authorise, None, 0, "authorise"),
        (Kind::Authorise, None, OLD, "search"),
        (Kind::Authorise, Some("pi_1"), 0, "retrieve"),
        (Kind::Authorise, Some("pi_1"), OLD, "retrieve"),
        (Kind::Capture, Some("pi_1"), 0, "capture 0"),
        (Kind::Capture, Some("pi_1"), OLD, "retrieve"),
        (Kind::Capture, None, 0, "search"),
        (Kind::Void, Some("pi_1"), 0, "cancel 0"),
        (Kind::Void, Some("pi_1"), OLD, "retrieve"),
        (Kind::Void, None, 0, "authorise"),
        (Kind::Void, None, OLD, "search"),
        (Kind::Issue, None, 0, "issued"),
    ];
    for (kind, intent, age_ms, expected) in table {
        let task = Task { age_ms, ..task(kind, intent) };
        assert_eq!(shown(&first(&task)), expected, "{kind:?} {intent:?} {age_ms}");
    }
}

/// What the first call of each job comes to, by the state in the answer.
#[test]
fn every_state_of_a_payment_has_its_meaning_for_every_job() {
    use Status::*;
    let table = [
        (RequiresCapture, "authorised pi_1", "retry", "cancel 0"),
        (Succeeded, "authorised pi_1", "captured", "ALARM taken_unasked: give back"),
        (
            RequiresAction,
            "action at https://bank.test/",
            "cancel 1 to undo (authentication_required)",
            "cancel 0",
        ),
        (
            RequiresPaymentMethod,
            "declined pi_1 card_declined",
            "cancel 1 to undo (card_declined)",
            "cancel 0",
        ),
        (RequiresConfirmation, "retry", "cancel 1 to undo (not_confirmed)", "cancel 0"),
        (Processing, "retry", "retry", "retry"),
        (Canceled, "declined pi_1 canceled", "capture refused canceled", "voided"),
    ];
    for (status, authorised, captured, voided) in table {
        let jobs = [
            (task(Kind::Authorise, None), Call::Authorise, authorised),
            (task(Kind::Authorise, Some("pi_1")), retrieve(), authorised),
            (task(Kind::Capture, Some("pi_1")), capture(0), captured),
            (task(Kind::Void, None), Call::Authorise, voided),
            (task(Kind::Void, None), Call::Search, voided),
        ];
        for (task, call, expected) in jobs {
            let step = next(&task, &call, &Purpose::Job, &is(status));
            assert_eq!(shown(&step), expected, "{:?} {call:?} {status:?}", task.kind);
        }
    }
    let void = task(Kind::Void, Some("pi_1"));
    for (status, expected) in [
        (Canceled, "voided"),
        (Succeeded, "ALARM taken_unasked: give back"),
        (RequiresCapture, "retry"),
        (RequiresAction, "retry"),
    ] {
        let step = next(&void, &cancel(0), &Purpose::Job, &is(status));
        assert_eq!(shown(&step), expected, "cancelling answered {status:?}");
    }
}

#[test]
fn every_other_answer_has_its_meaning_for_every_job() {
    let declined =
        Answer::Declined { intent: Some("pi_1".to_owned()), reason: "no_funds".to_owned() };
    let refused = Answer::Refused { reason: "bad_method".to_owned() };
    let unknown = Answer::Unknown { retry_after: None };
    let calls = [
        (task(Kind::Authorise, None), Call::Authorise),
        (task(Kind::Authorise, Some("pi_1")), retrieve()),
        (task(Kind::Capture, Some("pi_1")), capture(0)),
        (task(Kind::Void, None), Call::Authorise),
        (task(Kind::Void, Some("pi_1")), cancel(0)),
    ];
    let table: [(&Answer, [&str; 5]); 6] = [
        (&unknown, ["retry"; 5]),
        (
            &declined,
            [
                "declined pi_1 no_funds",
                "ALARM call_refused: retry",
                "retrieve to undo (no_funds)",
                "voided",
                "retrieve to learn",
            ],
        ),
        (
            &refused,
            [
                "declined - bad_method",
                "ALARM call_refused: retry",
                "retrieve to undo (bad_method)",
                "voided",
                "retrieve to learn",
            ],
        ),
        (
            &Answer::KeySpent,
            [
                "search to learn",
                "retry",
                "retrieve to learn",
                "search to learn",
                "retrieve to learn",
            ],
        ),
        (
            &Answer::NotFound,
            [
                "declined - resource_missing",
                "ALARM payment_not_found: retry",
                "ALARM payment_not_found: retry",
                "voided",
                "ALARM payment_not_found: retry",
            ],
        ),
        (&Answer::GivenBack, ["retry", "retry", "retry", "voided", "voided"]),
    ];
    for (answer, expected) in table {
        for ((task, call), expected) in calls.iter().zip(expected) {
            let step = next(task, call, &Purpose::Job, answer);
            assert_eq!(shown(&step), expected, "{:?} {call:?} {answer:?}", task.kind);
        }
    }
}

#[test]
fn only_age_turns_not_found_into_is_not() {
    let table = [
        (Kind::Authorise, "declined - payment_not_found"),
        (Kind::Capture, "capture refused payment_not_found"),
        (Kind::Void, "voided"),
    ];
    for (kind, expected) in table {
        let young = task(kind, None);
        let step = next(&young, &Call::Search, &Purpose::Learn, &Answer::NotFound);
        assert_eq!(shown(&step), "retry", "{kind:?}");
        let old = Task { age_ms: OLD, ..young };
        let step = next(&old, &Call::Search, &Purpose::Job, &Answer::NotFound);
        assert_eq!(shown(&step), format!("ALARM payment_not_found: {expected}"), "{kind:?}");
    }
}

#[test]
fn a_refused_capture_ends_with_nothing_reserved() {
    let task = task(Kind::Capture, Some("pi_1"));
    let undo = Purpose::Undo("expired".to_owned());
    let table = [
        (retrieve(), Status::RequiresCapture, "cancel 1 to undo (expired)"),
        (retrieve(), Status::Canceled, "capture refused expired"),
        (retrieve(), Status::Succeeded, "captured"),
        (cancel(1), Status::Canceled, "capture refused expired"),
        (cancel(1), Status::Succeeded, "captured"),
        (cancel(1), Status::RequiresCapture, "retry"),
    ];
    for (call, status, expected) in table {
        assert_eq!(shown(&next(&task, &call, &undo, &is(status))), expected, "{call:?} {status:?}");
    }
    // A key that is spent on an error of the gateway: the state decides, a fresh key takes.
    let step = next(&task, &retrieve(), &Purpose::Learn, &is(Status::RequiresCapture));
    assert_eq!(shown(&step), "capture 1");
    let void = Task { kind: Kind::Void, attempts: 4, ..task };
    let step = next(&void, &retrieve(), &Purpose::Learn, &is(Status::RequiresCapture));
    assert_eq!(shown(&step), "cancel 5");
}

#[test]
fn another_price_is_an_alarm_and_is_undone_before_no_is_said() {
    let wrong: [fn(&mut Intent); 3] = [
        |intent| intent.amount_minor = 1,
        |intent| intent.currency = "usd".to_owned(),
        |intent| intent.capturable_minor = 1899,
    ];
    for spoil in wrong {
        let mut odd = intent(Status::RequiresCapture);
        spoil(&mut odd);
        let job = task(Kind::Authorise, None);
        let step = next(&job, &Call::Authorise, &Purpose::Job, &Answer::Intent(odd));
        assert_eq!(shown(&step), "ALARM price_differs: cancel 1 to undo (gateway_mismatch)");
        let undo = Purpose::Undo("gateway_mismatch".to_owned());
        let step = next(&job, &cancel(1), &undo, &is(Status::Canceled));
        assert_eq!(shown(&step), "declined - gateway_mismatch");
        let step = next(&job, &cancel(1), &undo, &is(Status::Succeeded));
        assert_eq!(shown(&step), "ALARM taken_unasked: give back to undo (gateway_mismatch)");
        let back = Call::GiveBack("pi_1".to_owned());
        let step = next(&job, &back, &undo, &Answer::GivenBack);
        assert_eq!(shown(&step), "declined - gateway_mismatch");
    }
    let mut less = intent(Status::Succeeded);
    less.received_minor = 1899;
    let job = task(Kind::Capture, Some("pi_1"));
    let step = next(&job, &capture(0), &Purpose::Job, &Answer::Intent(less));
    assert_eq!(shown(&step), "ALARM taken_differs: retry");
}

#[test]
fn another_orders_payment_is_never_touched() {
    let mut foreign = intent(Status::RequiresCapture);
    foreign.order_id = Some("ord_2".to_owned());
    let mut other = intent(Status::RequiresCapture);
    other.id = "pi_2".to_owned();
    for answer in [foreign, other] {
        for kind in [Kind::Authorise, Kind::Capture, Kind::Void] {
            let job = task(kind, Some("pi_1"));
            let step = next(&job, &retrieve(), &Purpose::Job, &Answer::Intent(answer.clone()));
            assert_eq!(shown(&step), "ALARM foreign_payment: retry", "{kind:?}");
        }
    }
}

#[test]
fn pauses_grow_are_bounded_and_honour_the_gateways_wish() {
    let pause = |attempts, retry_after: Option<Duration>| {
        let job = Task { attempts, ..task(Kind::Authorise, None) };
        let answer = Answer::Unknown { retry_after };
        match next(&job, &Call::Authorise, &Purpose::Job, &answer) {
            Step::Report(Report::Retry { after_ms }) => after_ms,
            step => panic!("{step:?}"),
        }
    };
    assert!((150..=200).contains(&pause(0, None)));
    assert!((4_800..=6_400).contains(&pause(5, None)));
    for attempts in [20, 1_000, u32::MAX] {
        assert!((22_500..=RETRY_MS_MAX).contains(&pause(attempts, None)));
    }
    assert_eq!(pause(0, Some(Duration::from_secs(7))), 7_000);
    assert_eq!(pause(0, Some(Duration::from_secs(1 << 40))), RETRY_MS_MAX);
    let poll = |attempts| {
        let job = Task { attempts, ..task(Kind::Authorise, Some("pi_1")) };
        match next(&job, &retrieve(), &Purpose::Job, &is(Status::RequiresAction)) {
            Step::Report(Report::ActionRequired { poll_after_ms, .. }) => poll_after_ms,
            step => panic!("{step:?}"),
        }
    };
    assert_eq!((poll(0), poll(500)), (ACTION_POLL_MS, ACTION_POLL_LATER_MS));
}
