use super::*;

const ID: &str = "01JD3Y6N9M1V9S1M6V1M3B3W5T";

fn logs(dir: &std::path::Path, config: LogConfig) -> Logs {
    let mut all = Config::loopback(dir);
    all.logs = config;
    Logs::new(&all, Clock::fake(Timestamp::UNIX_EPOCH))
}

fn batch(run: &str, first: u64, texts: &[&str]) -> LogBatch {
    let line = |text: &&str| LogLine {
        at: Some(prost_types::Timestamp {
            seconds: 1_700_000_000,
            nanos: 5_000_000,
        }),
        level: LogLevel::Warn as i32,
        source: LogSource::Kernel as i32,
        text: (*text).to_owned(),
    };
    LogBatch {
        run: run.to_owned(),
        task_id: String::new(),
        first,
        lines: texts.iter().map(line).collect(),
        left_out: 0,
    }
}

/// What a log says, without times and sources.
fn said(logs: &Logs) -> Vec<String> {
    let all = logs.read(ID, Part::All).unwrap();
    let text = |line: &str| match line.split_once("kernel: ") {
        Some((_, text)) => text.to_owned(),
        None => line.to_owned(),
    };
    all.text.lines().map(text).collect()
}

#[test]
fn lines_are_taken_once_and_what_is_missing_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), LogConfig::default());
    logs.take(ID, &batch("a", 1, &["one", "two"]));
    assert_eq!(
        logs.read(ID, Part::All).unwrap().text.lines().next().unwrap(),
        "2023-11-14T22:13:20.005Z warn  kernel: one"
    );
    // Sent again after a lost connection, with one more.
    logs.take(ID, &batch("a", 1, &["one", "two", "three"]));
    logs.take(ID, &batch("a", 2, &["two"]));
    // Another agent, after a restart of the machine.
    logs.take(ID, &batch("b", 1, &["four\u{1b}[31m\n"]));
    logs.take(
        ID,
        &LogBatch {
            left_out: 7,
            ..batch("b", 9, &["five"])
        },
    );
    // It was told already that these are missing.
    logs.take(
        ID,
        &LogBatch {
            left_out: 7,
            ..batch("b", 9, &["five", "six"])
        },
    );
    let missing = |count: u64| format!("# up to {count} lines are missing here: there was no room for them");
    assert_eq!(
        said(&logs),
        ["one", "two", "three", "four[31m", &missing(7), "five", "six"]
    );
    logs.take(
        ID,
        &LogBatch {
            left_out: 3,
            ..batch("b", 14, &[])
        },
    );
    logs.flush();
    assert_eq!(said(&logs).last(), Some(&missing(3)));
    assert_eq!(logs.waiting().bytes, 0);
}

#[test]
fn an_agent_that_never_ends_fills_neither_memory_nor_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig {
        deployment_bytes: 100_000,
        ..LogConfig::default()
    };
    let logs = logs(dir.path(), config);
    let text = "x".repeat(100_000);
    let mut first = 1;
    for round in 0..20 {
        for _ in 0..40 {
            let lines = vec![text.as_str(); 50];
            logs.take(ID, &batch("a", first, &lines));
            first += 50;
        }
        let waiting = logs.waiting().of[ID].text.len();
        assert!(
            waiting <= MOST_WAITING && waiting > MOST_WAITING / 2,
            "{round}: {waiting}"
        );
        logs.flush();
    }
    let length = std::fs::metadata(logs.path(ID)).unwrap().len();
    assert!(length <= 100_000, "{length}");
    let kept = said(&logs);
    assert!(kept[0].starts_with("# "), "{}", &kept[0][..60]);
    assert!(kept.iter().skip(1).any(|line| line.starts_with("# up to ")));
    let lines = vec!["short"; MOST_LINES + 5];
    logs.take(ID, &batch("c", 1, &lines));
    logs.read(ID, Part::All).unwrap();
    assert!(said(&logs).last().unwrap().starts_with("# up to 5 lines"));
}

#[test]
fn all_together_have_a_bound_and_quiet_ones_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), LogConfig::default());
    let text = "x".repeat(4000);
    let lines = vec![text.as_str(); 60];
    for number in 0..400 {
        logs.take(&format!("D{number}"), &batch("a", 1, &lines));
    }
    assert!(logs.waiting().bytes <= MOST_WAITING_IN_ALL);
    let last = logs.read("D399", Part::All).unwrap();
    assert!(last.text.starts_with("# up to 60 lines"), "{}", last.text);
    logs.flush();
    assert_eq!(logs.waiting().bytes, 0);
    assert_eq!(logs.waiting().of.len(), 400);
    logs.0.clock.advance(FORGET_AFTER + SignedDuration::from_secs(1));
    logs.flush();
    assert_eq!(logs.waiting().of.len(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_costs_the_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let logs = logs(dir.path(), LogConfig::default());
    std::fs::write(dir.path().join("logs"), "a file in the way").unwrap();
    logs.take(ID, &batch("a", 1, &["lost"]));
    logs.flush();
    assert_eq!(logs.waiting().bytes, 0);
    std::fs::remove_file(dir.path().join("logs")).unwrap();
    logs.take(ID, &batch("a", 2, &["kept"]));
    assert_eq!(said(&logs), ["kept"]);
}
