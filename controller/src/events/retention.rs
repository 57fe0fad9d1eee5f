//! Old events go, the oldest first, and whoever reads on from before that is told.
//!
//! What is gone is always the beginning of the log, up to one id that is kept beside it. Events are deleted in small
//! transactions, so that nobody waits long for the one writer. The newest event stays in any case: new ids follow it.

use std::{sync::atomic::Ordering, time::Duration};

use jiff::{SignedDuration, Timestamp};

use super::{DatabaseError, EventLog, doing};
use crate::{
    api::rest::problem::{Problem, chain},
    app::App,
    ticks::Ticks,
};

/// How often old events are looked for.
const EVERY: Duration = Duration::from_secs(3600);
/// Events that are deleted at once.
const AT_ONCE: i64 = 500;
/// Others write in between.
const PAUSE: Duration = Duration::from_millis(20);

/// Deletes old events until the controller ends.
pub async fn run(app: App) {
    let Some(days) = app.config.events.keep_days else {
        return app.shutdown.cancelled().await;
    };
    let keep = SignedDuration::from_hours(24 * i64::from(days));
    let mut ticks = Ticks::every(EVERY, app.shutdown.clone());
    while ticks.next().await {
        let Ok(before) = app.clock.now().checked_sub(keep) else {
            continue;
        };
        loop {
            match app.events.delete_some(before, AT_ONCE).await {
                Ok(0) => break,
                Ok(_) if app.shutdown.is_cancelled() => return,
                Ok(_) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "old events could not be deleted; the next time will");
                    break;
                }
            }
        }
    }
}

impl EventLog {
    /// Reads how far the log is gone; once, before it is read.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn load_gone(&self) -> Result<(), DatabaseError> {
        let up_to: i64 = sqlx::query_scalar("SELECT up_to FROM events_gone")
            .fetch_one(&self.db)
            .await
            .map_err(doing("read which events are gone"))?;
        self.gone.store(up_to, Ordering::SeqCst);
        Ok(())
    }

    /// The id up to which events were deleted, if whoever has read up to `after` has missed some. 0 means the beginning of
    /// the log, whatever that is.
    #[must_use]
    pub fn gone_after(&self, after: i64) -> Option<i64> {
        self.missing_after(after).filter(|_| after != 0)
    }

    /// As [`EventLog::gone_after`], where 0 is a cursor as well: nothing was told yet.
    #[must_use]
    pub fn missing_after(&self, after: i64) -> Option<i64> {
        let up_to = self.gone.load(Ordering::SeqCst);
        (after < up_to).then_some(up_to)
    }

    /// As [`EventLog::gone_after`], as the answer to a caller.
    ///
    /// # Errors
    /// When events behind the cursor are gone.
    pub fn require_kept(&self, after: i64) -> Result<(), Problem> {
        self.gone_after(after).map_or(Ok(()), |up_to| Err(gone(up_to)))
    }

    /// Deletes at most so many of the oldest events, all from before this time; the answer is how many.
    ///
    /// # Errors
    /// When the database refuses it.
    pub(crate) async fn delete_some(&self, before: Timestamp, most: i64) -> Result<u64, DatabaseError> {
        // The clock may have been set: the first one that is not old ends it, whatever comes behind.
        let up_to: Option<i64> = sqlx::query_scalar(
            "WITH oldest AS (SELECT id, at FROM events WHERE id < (SELECT MAX(id) FROM events) ORDER BY id LIMIT ?1) \
             SELECT MAX(id) FROM oldest WHERE id < COALESCE((SELECT MIN(id) FROM oldest WHERE at >= ?2), ?3)",
        )
        .bind(most)
        .bind(before.as_millisecond())
        .bind(i64::MAX)
        .fetch_one(&self.db)
        .await
        .map_err(doing("look for old events"))?;
        let Some(up_to) = up_to else { return Ok(0) };
        let mut change = self.begin().await?;
        sqlx::query("UPDATE events_gone SET up_to = MAX(up_to, ?)")
            .bind(up_to)
            .execute(change.connection())
            .await
            .map_err(doing("note which events are gone"))?;
        let deleted = sqlx::query("DELETE FROM events WHERE id <= ?")
            .bind(up_to)
            .execute(change.connection())
            .await
            .map_err(doing("delete old events"))?;
        // Known before it is so: whoever finds them gone finds this.
        self.gone.fetch_max(up_to, Ordering::SeqCst);
        change.commit().await?;
        Ok(deleted.rows_affected())
    }
}

/// Events behind a cursor are gone.
pub fn gone(up_to: i64) -> Problem {
    Problem::new(
        http::StatusCode::GONE,
        "events-gone",
        "Events were deleted behind the cursor",
        format!(
            "Events up to {up_to} were deleted since they were too old: some behind the cursor cannot be told any more."
        ),
        format!(
            "Read the present state (nodes, deployments, images) anew, then go on after {up_to}, the first event that is \
             kept; [events] keep_days of the controller's configuration says how long events stay."
        ),
    )
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use imprint_proto::v1::{ListEventsRequest, WatchEventsRequest, events_client::EventsClient};
    use serde_json::json;
    use tokio_util::sync::CancellationToken;
    use tonic::{Code, Request};

    use super::*;
    use crate::{
        clock::Clock,
        config::Config,
        events::{EventQuery, Live, NewEvent},
        testing::{TestServer, problem},
    };

    async fn write(app: &App, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let event = NewEvent {
                kind: "test.written",
                node_id: None,
                deployment_id: None,
                message: String::new(),
                details: json!({}),
            };
            ids.push(app.events.append(event).await.unwrap().id);
        }
        ids
    }

    async fn kept(app: &App) -> Vec<i64> {
        let page = app
            .events
            .list(&EventQuery {
                page_size: 1000,
                ..EventQuery::default()
            })
            .await;
        page.unwrap().items.into_iter().map(|event| event.id).collect()
    }

    async fn aged(dir: &std::path::Path) -> (App, Vec<i64>, Vec<i64>) {
        let clock = Clock::fake(Timestamp::now());
        let app = App::for_test_with(Config::loopback(dir), clock.clone()).await;
        let old = write(&app, 5).await;
        clock.advance(SignedDuration::from_hours(48));
        let young = write(&app, 3).await;
        (app, old, young)
    }

    fn a_day_ago(app: &App) -> Timestamp {
        app.clock.now() - SignedDuration::from_hours(24)
    }

    #[tokio::test]
    async fn the_old_go_in_small_parts_and_the_newest_never() {
        let dir = tempfile::tempdir().unwrap();
        let (app, old, young) = aged(dir.path()).await;
        let before = kept(&app).await;
        let first: Vec<i64> = before.iter().copied().filter(|id| id <= &old[4]).collect();
        assert_eq!(app.events.delete_some(a_day_ago(&app), 2).await.unwrap(), 2);
        assert_eq!(kept(&app).await, before[2..]);
        let mut deleted = 2;
        loop {
            match app.events.delete_some(a_day_ago(&app), 2).await.unwrap() {
                0 => break,
                count => deleted += count,
            }
        }
        assert_eq!((deleted, kept(&app).await), (first.len() as u64, young.clone()));
        assert_eq!(app.events.gone_after(old[3]), Some(old[4]));
        assert_eq!(
            (app.events.gone_after(old[4]), app.events.gone_after(0)),
            (None, None)
        );

        let much_later = app.clock.now() + SignedDuration::from_hours(1000);
        while app.events.delete_some(much_later, 500).await.unwrap() > 0 {}
        assert_eq!(kept(&app).await, [young[2]]);
        assert_eq!(app.events.newest().await.unwrap(), young[2]);
        assert_eq!(write(&app, 1).await, [young[2] + 1], "no number comes twice");

        let config = app.config.clone();
        app.close().await;
        let app = App::open(config, Clock::system()).await.unwrap();
        assert_eq!(app.events.gone_after(1), Some(young[1]), "kept over a restart");
    }

    #[tokio::test]
    async fn a_clock_that_was_wrong_deletes_nothing_that_is_young() {
        let dir = tempfile::tempdir().unwrap();
        let (app, old, young) = aged(dir.path()).await;
        app.clock.advance(SignedDuration::from_hours(-24 * 365));
        let seemingly_old = write(&app, 1).await;
        app.clock.advance(SignedDuration::from_hours(24 * 365));
        let last = write(&app, 1).await;
        while app.events.delete_some(a_day_ago(&app), 500).await.unwrap() > 0 {}
        assert_eq!(kept(&app).await, [&young[..], &seemingly_old, &last].concat());
        assert_eq!(app.events.gone_after(1), Some(old[4]));
    }

    #[tokio::test]
    async fn cursors_from_before_are_answered_clearly() {
        let dir = tempfile::tempdir().unwrap();
        let (app, old, young) = aged(dir.path()).await;
        while app.events.delete_some(a_day_ago(&app), 500).await.unwrap() > 0 {}
        let server = TestServer::serve(app).await;
        let get = async |path: String| server.client().get(server.url(&path)).send().await.unwrap();
        for path in [
            format!("/v1/events?after={}", old[0]),
            format!("/v1/events?page_token={}", old[0]),
            format!("/v1/events?order=desc&after={}", old[0]),
            format!("/v1/events/stream?after={}", old[3]),
        ] {
            let (status, kind, remedy) = problem(get(path.clone()).await).await;
            assert_eq!((status, kind.as_str()), (410, "events-gone"), "{path}");
            assert!(remedy.contains(&format!("after {}", old[4])), "{remedy}");
        }
        let last_seen = server
            .client()
            .get(server.url("/v1/events/stream"))
            .header("Last-Event-ID", old[0].to_string());
        assert_eq!(last_seen.send().await.unwrap().status(), 410);
        for path in [
            "/v1/events".to_owned(),
            "/v1/events?after=0".to_owned(),
            "/v1/events?order=desc".to_owned(),
            format!("/v1/events?after={}", old[4]),
        ] {
            let page: serde_json::Value = get(path.clone()).await.json().await.unwrap();
            assert_eq!(page["items"].as_array().unwrap().len(), young.len(), "{path}");
        }

        let mut client = EventsClient::new(server.channel().await);
        fn with<T>(server: &TestServer, message: T) -> Request<T> {
            let mut request = Request::new(message);
            let token = format!("Bearer {}", server.token).parse().unwrap();
            request.metadata_mut().insert("authorization", token);
            request
        }
        let list = ListEventsRequest {
            page_token: old[0].to_string(),
            ..ListEventsRequest::default()
        };
        let refused = client.list_events(with(&server, list)).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
        let watch = WatchEventsRequest {
            after_id: old[0],
            ..WatchEventsRequest::default()
        };
        let refused = client.watch_events(with(&server, watch)).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange);
    }

    #[tokio::test]
    async fn a_follower_that_is_too_slow_hears_of_the_gap() {
        let dir = tempfile::tempdir().unwrap();
        let (app, old, _) = aged(dir.path()).await;
        let query = EventQuery {
            after: old[0],
            ..EventQuery::default()
        };
        let mut live = Box::pin(app.events.follow(query, CancellationToken::new()));
        while app.events.delete_some(a_day_ago(&app), 500).await.unwrap() > 0 {}
        assert_eq!(live.next().await.unwrap().unwrap(), Live::Gone(old[4]));
        let Live::Event(next) = live.next().await.unwrap().unwrap() else {
            panic!("the first event that is kept")
        };
        assert_eq!(next.id, old[4] + 1);
    }
}
