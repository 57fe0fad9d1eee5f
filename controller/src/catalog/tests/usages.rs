//! What is to be paid for: nothing is lost between two records, nothing counts twice.

use jiff::SignedDuration;

use super::*;
use crate::{
    app::App,
    clock::{Clock, timestamp_from_ms},
    config::Config,
    identity::{Caller, Role, Viewer},
    testing::{made, project},
};

const HOUR: i64 = 3600 * 1000;
const DAY: i64 = 24 * HOUR;
/// 20,000 days after 1970, at noon.
const NOON: i64 = 20_000 * DAY + 12 * HOUR;

async fn at_noon(dir: &tempfile::TempDir) -> (App, Clock) {
    let clock = Clock::fake(timestamp_from_ms(NOON));
    let app = App::for_test_with(Config::loopback(dir.path()), clock.clone()).await;
    (app, clock)
}

fn pass(clock: &Clock, hours: i64) {
    clock.advance(SignedDuration::from_hours(hours));
}

/// (image, begin, end, logical, deduplicated) of all that is written down and that is still open, in hours from noon.
async fn spans(app: &App, now: i64) -> Vec<(String, i64, i64, i64, i64)> {
    sqlx::query_as(
        "SELECT image_id, (begins_at - ?1) / ?2, (ends_at - ?1) / ?2, logical_bytes, deduplicated_bytes FROM usage_records
             WHERE kind = 'storage'
         UNION ALL SELECT image_id, (since - ?1) / ?2, (?3 - ?1) / ?2, logical_bytes, deduplicated_bytes FROM storage_meters
         ORDER BY 1, 2",
    )
    .bind(NOON)
    .bind(HOUR)
    .bind(now)
    .fetch_all(&app.db)
    .await
    .unwrap()
}

/// Whether an image's spans follow one another without gap.
fn joined(spans: &[(String, i64, i64, i64, i64)], image: &str, from: i64, to: i64) {
    let mut at = from;
    for (_, begins, ends, ..) in spans.iter().filter(|span| span.0 == image) {
        assert_eq!(*begins, at, "{spans:#?}");
        at = *ends;
    }
    assert_eq!(at, to, "{spans:#?}");
}

#[tokio::test]
async fn row_47_storage_is_counted_to_the_byte_and_shared_where_it_is_stored_once() {
    let dir = tempfile::tempdir().unwrap();
    let (app, clock) = at_noon(&dir).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    let (by_a, by_b) = (
        Caller::for_test(&a, Role::Member),
        Caller::for_test(&b, Role::Member),
    );
    let one = made(&app, &by_a, &ImageSpec::named("one"), &[1; 8192]).await;
    let pack: i64 = sqlx::query_scalar("SELECT sum(bytes) FROM manifest_packs")
        .fetch_one(&app.db)
        .await
        .unwrap();
    assert!(pack > 0);
    pass(&clock, 2);
    // The same content, for another project: the same packs here, so that there is something to share.
    let two = made(&app, &by_b, &ImageSpec::named("two"), &[1; 8192]).await;
    pass(&clock, 3);
    let three = made(&app, &by_b, &ImageSpec::named("three"), &[1; 8192]).await;
    pass(&clock, 1);
    app.catalog.delete(&by_b, "two").await.unwrap();
    pass(&clock, 10);
    assert_eq!(app.catalog.close_day().await.unwrap(), 2);
    assert_eq!(
        app.catalog.close_day().await.unwrap(),
        0,
        "the day is closed once"
    );
    pass(&clock, 8);
    app.catalog.delete(&by_a, "one").await.unwrap();
    pass(&clock, 100);

    let now = NOON + 124 * HOUR;
    assert_eq!(clock.now_ms(), now);
    let spans = spans(&app, now).await;
    joined(&spans, &one.id, 0, 24);
    joined(&spans, &two.id, 2, 6);
    joined(&spans, &three.id, 5, 124);
    assert!(
        spans.iter().any(|span| span.1 == 12 || span.2 == 12),
        "midnight ends a span: {spans:#?}"
    );
    // In every hour the parts are what is stored, to the byte.
    for hour in 0..124 {
        let parts: Vec<i64> = spans
            .iter()
            .filter(|span| span.1 <= hour && hour < span.2)
            .map(|span| span.4)
            .collect();
        assert_eq!(parts.iter().sum::<i64>(), pack, "hour {hour}: {spans:#?}");
        assert!(parts.iter().max().unwrap() - parts.iter().min().unwrap() <= 1);
    }
    for span in &spans {
        assert_eq!(span.3, i64::try_from(one.stored_bytes).unwrap());
    }

    // The sums are those of the records, also where a span is cut by the question or has not ended.
    let ask = async |viewer: &Viewer, from: i64, to: i64| {
        let query = UsageQuery {
            from: Some(timestamp_from_ms(NOON + from * HOUR)),
            to: Some(timestamp_from_ms(NOON + to * HOUR)),
            ..UsageQuery::default()
        };
        app.catalog.usage(viewer, &query).await.unwrap()
    };
    let gib_hours = |bytes: i64, hours: i64| {
        let micro = u128::try_from(bytes * hours).unwrap() * 1_000_000 / (1 << 30);
        format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000)
    };
    let all = ask(&Viewer::All, 0, 124).await;
    assert_eq!(all.deduplicated_gib_hours, gib_hours(pack, 124));
    assert_eq!(
        all.items
            .iter()
            .map(|line| line.image_name.as_str())
            .collect::<std::collections::BTreeSet<_>>(),
        std::collections::BTreeSet::from(["one", "two", "three"]),
        "also deleted ones have their names"
    );
    assert_eq!(
        ask(&Viewer::All, 3, 4).await.deduplicated_gib_hours,
        gib_hours(pack, 1)
    );
    let of_b = ask(&Viewer::Project(b.clone()), 0, 124).await;
    assert!(of_b.items.iter().all(|line| line.project_id == b) && of_b.items.len() == 2);
    let logical = i64::try_from(one.stored_bytes).unwrap();
    assert_eq!(of_b.logical_gib_hours, gib_hours(logical, 4 + 119));
    assert!(matches!(
        app.catalog
            .usage(
                &Viewer::All,
                &UsageQuery {
                    from: Some(clock.now()),
                    to: Some(timestamp_from_ms(0)),
                    ..UsageQuery::default()
                }
            )
            .await,
        Err(TermsError::Backwards)
    ));
}

#[tokio::test]
async fn what_was_missed_is_measured_from_the_next_start_on() {
    let dir = tempfile::tempdir().unwrap();
    let (app, clock) = at_noon(&dir).await;
    let by = Caller::for_test(&project(&app, "a").await, Role::Member);
    let image = made(&app, &by, &ImageSpec::named("x"), &[1; 4096]).await;
    // A release without meters left no trace of this one, and one went without a word.
    sqlx::query("DELETE FROM storage_meters")
        .execute(&app.db)
        .await
        .unwrap();
    sqlx::query("INSERT INTO storage_meters VALUES ('gone', 'a', ?, 7, 7)")
        .bind(NOON)
        .execute(&app.db)
        .await
        .unwrap();
    pass(&clock, 1);
    app.catalog.settle_usage().await.unwrap();
    pass(&clock, 1);
    let spans = spans(&app, clock.now_ms()).await;
    joined(&spans, "gone", 0, 1);
    joined(&spans, &image.id, 1, 2);
}

#[tokio::test]
async fn records_come_in_pages_and_never_change_their_number() {
    let dir = tempfile::tempdir().unwrap();
    let (app, clock) = at_noon(&dir).await;
    let (a, b) = (project(&app, "a").await, project(&app, "b").await);
    for (n, project) in [&a, &b, &a].into_iter().enumerate() {
        let by = Caller::for_test(project, Role::Member);
        made(
            &app,
            &by,
            &ImageSpec::named(format!("x{n}")),
            &[n as u8 + 1; 4096],
        )
        .await;
    }
    pass(&clock, 24);
    app.catalog.close_day().await.unwrap();
    let mut query = UsageQuery {
        page_size: 1,
        ..UsageQuery::default()
    };
    let viewer = Viewer::Project(a.clone());
    let first = app.catalog.usage_records(&viewer, &query).await.unwrap();
    query.page_token = first.next_page_token.clone();
    let second = app.catalog.usage_records(&viewer, &query).await.unwrap();
    assert_eq!(
        (first.items.len(), second.items.len(), second.next_page_token),
        (1, 1, None)
    );
    assert!(first.items[0].id < second.items[0].id);
    for record in [&first.items[0], &second.items[0]] {
        assert_eq!(
            (record.kind, record.project_id.as_str()),
            (UsageKind::Storage, a.as_str())
        );
        assert_eq!(record.ends_at.as_millisecond(), NOON + 12 * HOUR);
    }
    query.page_token = Some("x".to_owned());
    assert!(app.catalog.usage_records(&viewer, &query).await.is_err());
}
