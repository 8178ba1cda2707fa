//! What becomes of figures, without measuring anything.

use super::*;

fn setting(folder: &Path) -> Setting {
    let gone = folder.join("not-built");
    Setting {
        onsale: gone.clone(),
        fronts: gone.clone(),
        apply_bench: gone,
        work_dir: folder.join("work"),
        rounds: 1,
        threads: 1,
        quick: true,
    }
}

fn of(id: &str) -> &'static Goal {
    GOALS.iter().find(|goal| goal.id == id).expect("a goal")
}

fn judged(id: &str, value: f64) -> Figure {
    figure(of(id), &Ok(vec![Found::one(of(id).id, value)]), 0.0, false)
}

#[test]
fn a_figure_is_held_against_floor_and_goal_in_the_direction_that_is_better() {
    for (id, value, verdict) in [
        ("P1", 2.0, Verdict::Goal),
        ("P1", 1.99, Verdict::Floor),
        ("P1", 0.5, Verdict::Missed),
        ("P1", f64::NAN, Verdict::Missed),
        ("P14", 2.5, Verdict::Goal),
        ("P14", 2.6, Verdict::Floor),
        ("P14", 6.1, Verdict::Missed),
        ("T3", 0.0, Verdict::Goal),
        ("T3", 0.01, Verdict::Floor),
        ("T3", 0.2, Verdict::Missed),
    ] {
        assert_eq!(judged(id, value).verdict, verdict, "{id} {value}");
    }
    let missed = judged("P1", 0.5);
    assert_eq!((missed.floor_missed_by, missed.goal_missed_by), (Some(0.5), Some(0.75)));
    let slow = judged("P14", 12.0);
    assert_eq!(slow.floor_missed_by, Some(1.0), "twice the floor");
    assert_eq!(judged("T3", 0.2).goal_missed_by, Some(0.2), "nothing is a share of zero");
}

#[test]
fn a_figure_that_does_not_count_or_is_broken_is_never_shown_as_reached() {
    let mut found = Found::one("P1", 9.0);
    found.void = Some("the host was away".to_owned());
    let void = figure(of("P1"), &Ok(vec![found.clone()]), 0.0, false);
    assert_eq!(void.verdict, Verdict::Void);
    assert_eq!(void.why.as_deref(), Some("the host was away"));
    found.broken = true;
    let broken = figure(of("P1"), &Ok(vec![found]), 0.0, false);
    assert_eq!(broken.verdict, Verdict::Broken);
    let silent = figure(of("P1"), &Ok(Vec::new()), 0.0, false);
    assert_eq!(silent.verdict, Verdict::NotMeasured);
}

#[test]
fn each_goal_has_an_id_of_its_own_and_a_floor_below_its_goal() {
    for (place, goal) in GOALS.iter().enumerate() {
        assert!(GOALS[..place].iter().all(|other| other.id != goal.id), "{}", goal.id);
        let apart = missed_by(goal.better, goal.floor, goal.goal);
        assert!(apart.is_some(), "{}: the floor reaches the goal", goal.id);
    }
}

#[test]
fn figures_are_asked_for_by_id_and_an_unknown_one_is_a_usage_error_that_names_all() {
    let ids = |words: &[&str]| -> Vec<&str> {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        asked(&words).expect("known").iter().map(|goal| goal.id).collect()
    };
    assert_eq!(ids(&[]).len(), GOALS.len());
    assert_eq!(ids(&["p19", "P1"]), ["P1", "P19"], "in the order of the goals");
    assert_eq!(ids(&["P16"]), ["P16", "P16b"]);
    assert_eq!(ids(&["P16b"]), ["P16b"]);
    let error = asked(&["P99".to_owned()]).expect_err("unknown");
    assert_eq!(exit::of(&error), Exit::Usage);
    assert!(error.to_string().contains("P1 ") && error.to_string().contains("T3"), "{error}");
}

#[tokio::test]
async fn a_figure_that_cannot_be_measured_says_why_and_does_not_keep_the_others_from_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().join("goals.json");
    let all = asked(&["P9", "P13", "P14", "T2"].map(str::to_owned)).expect("known");
    let result = run(&all, &setting(folder.path()), Some(&out)).await.expect("ran");
    let ids: Vec<&str> = result.figures.iter().map(|figure| figure.id).collect();
    assert_eq!(ids, ["P9", "P13", "P14", "T2"]);
    for figure in &result.figures {
        assert_eq!(figure.verdict, Verdict::NotMeasured, "{}", figure.id);
        let why = figure.why.as_deref().unwrap_or_default();
        assert!(why.contains("cargo build --release"), "{}: {why}", figure.id);
    }
    assert_eq!(result.exit(), Exit::Failed);
    let text = std::fs::read(&out).expect("written");
    let written: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
    assert_eq!(written["schema"], SCHEMA);
    assert_eq!(written["figures"].as_array().map(Vec::len), Some(4));
}

#[test]
fn a_missed_floor_fails_the_command_unless_the_rounds_were_short() {
    let result = |verdict, quick| {
        let mut figure = judged("P1", 1.5);
        figure.verdict = verdict;
        let (command, started_at, commit) = <(String, String, String)>::default();
        let machine = Machine::default();
        let figures = vec![figure];
        GoalsResult { schema: SCHEMA, command, started_at, commit, machine, quick, figures }.exit()
    };
    assert_eq!(result(Verdict::Floor, false), Exit::Done);
    assert_eq!(result(Verdict::Missed, false), Exit::Failed);
    assert_eq!(result(Verdict::Missed, true), Exit::Done);
    assert_eq!(result(Verdict::NotMeasured, true), Exit::Failed);
    assert_eq!(result(Verdict::Broken, true), Exit::Broken);
}

#[test]
fn the_readme_has_a_line_with_the_command_of_each_figure_and_every_field_of_the_json() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).expect("bench/README.md");
    for goal in GOALS {
        let id = goal.id.trim_end_matches('b');
        let line = readme.lines().find(|line| {
            let ids = line.strip_prefix("| ").and_then(|rest| rest.split_once(" |"));
            ids.is_some_and(|(ids, _)| ids.split(", ").any(|other| other == id))
        });
        let line = line.unwrap_or_else(|| panic!("no line for {id}"));
        assert!(line.contains(goal.command), "{id}: {} is not in {line}", goal.command);
    }
    let mut figure = judged("P1", 1.5);
    figure.why = Some(String::new());
    let figure = serde_json::to_value(figure).expect("JSON");
    for name in figure.as_object().expect("an object").keys() {
        assert!(readme.contains(&format!("`figures[].{name}`")), "figures[].{name}");
    }
}
