use futures::StreamExt;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::app::App;

fn event(message: &str, node: Option<&'static str>) -> NewEvent<'static> {
    NewEvent {
        kind: "test.happened",
        node_id: node,
        deployment_id: None,
        message: message.to_owned(),
        details: json!({ "n": 1 }),
    }
}

fn figures(node: &str, done: u64) -> NodeProgress {
    NodeProgress {
        node_id: node.to_owned(),
        deployment_id: "d".to_owned(),
        project_id: "p".to_owned(),
        progress: Progress {
            step: "write".to_owned(),
            bytes_done: done,
            bytes_total: 100,
            bytes_fetched: done,
            bytes_to_fetch: 100,
            bytes_written: done,
            data_bytes_per_second: 0,
            eta_seconds: None,
            retries: 0,
            limited_by: String::new(),
            limiting: String::new(),
            stalled: String::new(),
            loads: Default::default(),
            chunks_kept: 0,
        },
    }
}

#[tokio::test]
async fn an_event_exists_only_with_its_change() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut change = app.events.begin().await.unwrap();
    change.append(event("lost", None)).await.unwrap();
    drop(change);
    let kept = app.events.append(event("kept", None)).await.unwrap();
    let page = app.events.list(&EventQuery::default()).await.unwrap();
    let messages: Vec<_> = page.items.iter().map(|event| event.message.as_str()).collect();
    assert_eq!(messages.last(), Some(&"kept"));
    assert!(!messages.contains(&"lost"));
    assert_eq!(page.items.last(), Some(&kept));
    let changed = sqlx::query("UPDATE events SET message = 'other'")
        .execute(&app.db)
        .await;
    assert!(changed.unwrap_err().to_string().contains("append-only"));
}

#[tokio::test]
async fn lists_go_by_cursor_and_node() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let start = app.events.newest().await.unwrap();
    for n in 0..5 {
        app.events
            .append(event(&n.to_string(), (n % 2 == 0).then_some("even")))
            .await
            .unwrap();
    }
    let mut query = EventQuery {
        after: start,
        page_size: 2,
        ..EventQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = app.events.list(&query).await.unwrap();
        seen.extend(page.items.into_iter().map(|event| event.message));
        let Some(next) = page.next else { break };
        query.after = next;
    }
    assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    let even = EventQuery {
        after: start,
        node_id: Some("even".to_owned()),
        ..EventQuery::default()
    };
    assert_eq!(app.events.list(&even).await.unwrap().items.len(), 3);

    let mut newest = EventQuery {
        after: start,
        newest_first: true,
        page_size: 2,
        ..EventQuery::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = app.events.list(&newest).await.unwrap();
        seen.extend(page.items.into_iter().map(|event| event.message));
        newest.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["4", "3", "2", "1", "0"]);
}

#[tokio::test]
async fn only_events_send_followers_to_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let after = app.events.newest().await.unwrap();
    let query = EventQuery {
        after,
        ..EventQuery::default()
    };
    let mut live = Box::pin(app.events.follow(query, CancellationToken::new()));
    app.events.progress(figures("a", 1));
    assert_eq!(
        live.next().await.unwrap().unwrap(),
        Live::Progress(figures("a", 1))
    );
    // Without events: neither a change that tells nothing nor progress is a reason to read.
    let mut change = app.events.begin().await.unwrap();
    sqlx::query("DELETE FROM images")
        .execute(change.connection())
        .await
        .unwrap();
    change.commit().await.unwrap();
    app.db.close().await;
    app.events.progress(figures("a", 2));
    assert_eq!(
        live.next().await.unwrap().unwrap(),
        Live::Progress(figures("a", 2))
    );
}

#[tokio::test]
async fn a_follower_catches_up_and_then_sees_everything_once() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let start = app.events.newest().await.unwrap();
    for n in 0..3 {
        app.events.append(event(&n.to_string(), None)).await.unwrap();
    }
    let stop = CancellationToken::new();
    let query = EventQuery {
        after: start + 1,
        ..EventQuery::default()
    };
    let mut live = Box::pin(app.events.follow(query, stop.clone()));
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let events = app.events.clone();
            tokio::spawn(async move {
                for _ in 0..25 {
                    events.append(event("more", None)).await.unwrap();
                }
            })
        })
        .collect();
    let mut ids = Vec::new();
    while ids.len() < 102 {
        let next = tokio::time::timeout(std::time::Duration::from_secs(10), live.next()).await;
        match next.expect("no event is left out").unwrap().unwrap() {
            Live::Event(event) => ids.push(event.id),
            Live::Gone(up_to) => panic!("nothing is deleted, and {up_to} is gone"),
            Live::Progress(_) => panic!("there is no progress"),
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
    let expected: Vec<i64> = (start + 2..start + 104).collect();
    assert_eq!(ids, expected);
    stop.cancel();
    assert!(live.next().await.is_none());
}

#[tokio::test]
async fn of_progress_only_the_newest_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let after = app.events.newest().await.unwrap();
    let query = EventQuery {
        after,
        node_id: Some("a".to_owned()),
        ..EventQuery::default()
    };
    let mut live = Box::pin(app.events.follow(query, CancellationToken::new()));
    for done in 1..=50 {
        app.events.progress(figures("a", done));
        app.events.progress(figures("b", done));
    }
    assert_eq!(
        live.next().await.unwrap().unwrap(),
        Live::Progress(figures("a", 50))
    );
    app.events.progress(figures("a", 51));
    assert_eq!(
        live.next().await.unwrap().unwrap(),
        Live::Progress(figures("a", 51))
    );
    assert_eq!(app.events.progress_of("a", "d").unwrap().bytes_done, 51);
    assert_eq!(app.events.progress_of("a", "other"), None);
    app.events.forget_progress("a");
    assert_eq!(app.events.progress_of("a", "d"), None);
}

#[tokio::test]
async fn a_follower_of_a_project_hears_of_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let after = app.events.newest().await.unwrap();
    let of = |project: &str| Author {
        actor: Some("alice".to_owned()),
        project_id: Some(project.to_owned()),
    };
    let query = EventQuery {
        after,
        project_id: Some("p".to_owned()),
        ..EventQuery::default()
    };
    let mut live = Box::pin(app.events.follow(query, CancellationToken::new()));
    let foreign = NodeProgress {
        project_id: "q".to_owned(),
        ..figures("b", 1)
    };
    app.events.append(event("nobody's", None)).await.unwrap();
    app.events
        .append_by(of("q"), event("theirs", None))
        .await
        .unwrap();
    let own = app.events.append_by(of("p"), event("own", None)).await.unwrap();
    app.events.progress(foreign);
    app.events.progress(figures("a", 1));
    assert_eq!(own.actor.as_deref(), Some("alice"));
    assert_eq!(live.next().await.unwrap().unwrap(), Live::Event(own));
    assert_eq!(
        live.next().await.unwrap().unwrap(),
        Live::Progress(figures("a", 1))
    );
    let shown = serde_json::to_value(figures("a", 1)).unwrap();
    assert_eq!(shown.get("project_id"), None, "what is told stays as it was");
}

#[tokio::test]
async fn what_happens_to_a_node_is_its_projects_whoever_did_it() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    sqlx::query(
        "INSERT INTO nodes (id, name, state, created_at, project_id) VALUES ('n', 'n', 'available', 0, 'p')",
    )
    .execute(&app.db)
    .await
    .unwrap();
    let operator = Author {
        actor: Some("bob".to_owned()),
        project_id: Some("platform".to_owned()),
    };
    let of_node = app
        .events
        .append_by(operator.clone(), event("x", Some("n")))
        .await
        .unwrap();
    assert_eq!(
        (of_node.project_id.as_deref(), of_node.actor.as_deref()),
        (Some("p"), Some("bob"))
    );
    let by_machine = app.events.append(event("x", Some("n"))).await.unwrap();
    assert_eq!(
        (by_machine.project_id.as_deref(), by_machine.actor),
        (Some("p"), None)
    );
    let of_nothing = app.events.append_by(operator, event("x", None)).await.unwrap();
    assert_eq!(of_nothing.project_id.as_deref(), Some("platform"));
}

#[tokio::test]
async fn a_change_whose_caller_has_gone_still_wakes_followers() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let mut bell = app.events.bell();
    bell.borrow_and_update();
    let mut change = app.events.begin().await.unwrap();
    let written = change.append(event("kept", None)).await.unwrap();
    let mut commit = Box::pin(change.commit());
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    tokio::time::timeout(std::time::Duration::from_secs(60), bell.changed())
        .await
        .unwrap()
        .unwrap();
    let page = app.events.list(&EventQuery::default()).await.unwrap();
    assert_eq!(page.items.last(), Some(&written));
}
