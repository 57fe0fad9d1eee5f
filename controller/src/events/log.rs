//! Writing and reading the table of events.

use std::sync::{Arc, Mutex, atomic::AtomicI64};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, Transaction, sqlite::SqliteRow};
use tokio::sync::watch;
use utoipa::ToSchema;

use super::progress::ProgressBoard;
use crate::{clock::Clock, db::Writer};

/// The database refused an operation.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} in the database")]
pub struct DatabaseError {
    /// What was tried, as in "cannot …".
    pub operation: &'static str,
    /// What the database said.
    #[source]
    pub source: sqlx::Error,
}

/// Names the operation that a database error broke: `.map_err(doing("read the node"))`.
pub fn doing(operation: &'static str) -> impl FnOnce(sqlx::Error) -> DatabaseError {
    move |source| {
        crate::metrics::database_error();
        DatabaseError { operation, source }
    }
}

/// Something that happened, kept for as long as the configuration says.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// Counts up over all nodes; the cursor of lists and streams.
    pub id: i64,
    /// When it was written.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What kind of thing happened: `node.discovered`, `deployment.step.finished`, `alarm.boot-token-reused`, …
    pub kind: String,
    /// The node it is about.
    pub node_id: Option<String>,
    /// The deployment it is about.
    pub deployment_id: Option<String>,
    /// Whose it is: of the node, else of whoever did it; null: only operators see it.
    pub project_id: Option<String>,
    /// Who did it: a user, or a token of no user; null: the controller, or a machine.
    pub actor: Option<String>,
    /// One sentence for an operator.
    pub message: String,
    /// Further facts as an object.
    #[schema(value_type = Object)]
    pub details: Value,
}

/// Who makes a change, and for which project. The default: the controller itself, for nobody in particular.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Author {
    /// As in [`Event::actor`].
    pub actor: Option<String>,
    /// Whose the events are that are not about a node.
    pub project_id: Option<String>,
}

impl Author {
    /// The same one, with events of another project.
    #[must_use]
    pub fn in_project(self, project_id: &str) -> Self {
        Self {
            project_id: Some(project_id.to_owned()),
            ..self
        }
    }
}

/// An event that is still to be written.
#[derive(Debug, Clone)]
pub struct NewEvent<'a> {
    /// As in [`Event::kind`].
    pub kind: &'a str,
    /// As in [`Event::node_id`].
    pub node_id: Option<&'a str>,
    /// As in [`Event::deployment_id`].
    pub deployment_id: Option<&'a str>,
    /// As in [`Event::message`].
    pub message: String,
    /// As in [`Event::details`]; anything but an object is kept as `{}`.
    pub details: Value,
}

/// Which events to list.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Only events with a greater id.
    pub after: i64,
    /// Only events with a smaller id.
    pub before: Option<i64>,
    /// The newest first, and so on backwards.
    pub newest_first: bool,
    /// Only events of this node.
    pub node_id: Option<String>,
    /// Only events of this project.
    pub project_id: Option<String>,
    /// At most this many; 100 when 0, 1,000 at most.
    pub page_size: u32,
}

/// A page of events, in the order of the query.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The events.
    pub items: Vec<Event>,
    /// The cursor of the next page (the next `after`, or the next `before` when the newest come first); `None` on the
    /// last one.
    pub next: Option<i64>,
    /// Events behind `after` are missing since they were too old: all up to this id.
    pub gone: Option<i64>,
}

/// The log; cheap to clone.
#[derive(Debug, Clone)]
pub struct EventLog {
    pub(super) db: SqlitePool,
    writer: Writer,
    clock: Clock,
    /// Rung when events were written.
    pub(super) bell: watch::Sender<u64>,
    /// Rung when figures came in, which are in memory: nobody has to look into the table for them.
    pub(super) figures: watch::Sender<u64>,
    pub(super) board: Arc<Mutex<ProgressBoard>>,
    /// Events up to this id were deleted, or are about to be.
    pub(super) gone: Arc<AtomicI64>,
}

impl EventLog {
    /// A log over the database.
    #[must_use]
    pub fn new(db: SqlitePool, clock: Clock) -> Self {
        Self {
            writer: Writer::beside(&db),
            db,
            clock,
            bell: watch::Sender::new(0),
            figures: watch::Sender::new(0),
            board: Arc::default(),
            gone: Arc::default(),
        }
    }

    /// Opens a write transaction of the controller itself whose events become visible, and wake followers, with its
    /// commit.
    pub async fn begin(&self) -> Result<Change, DatabaseError> {
        self.begin_by(Author::default()).await
    }

    /// As [`EventLog::begin`], for somebody: the events name him.
    pub async fn begin_by(&self, author: Author) -> Result<Change, DatabaseError> {
        let tx = self.writer.begin().await.map_err(doing("begin a change"))?;
        Ok(Change {
            tx,
            log: self.clone(),
            author,
            tells: false,
        })
    }

    /// Writes one event of the controller itself on its own.
    pub async fn append(&self, event: NewEvent<'_>) -> Result<Event, DatabaseError> {
        self.append_by(Author::default(), event).await
    }

    /// Writes one event of somebody on its own.
    pub async fn append_by(&self, author: Author, event: NewEvent<'_>) -> Result<Event, DatabaseError> {
        let mut change = self.begin_by(author).await?;
        let event = change.append(event).await?;
        change.commit().await?;
        Ok(event)
    }

    async fn append_in(
        &self,
        connection: &mut SqliteConnection,
        author: &Author,
        event: NewEvent<'_>,
    ) -> Result<Event, DatabaseError> {
        let at = self.clock.now();
        let details = if event.details.is_object() {
            event.details
        } else {
            Value::Object(serde_json::Map::new())
        };
        // What happens to a machine is its project's, whoever did it.
        let (id, project_id): (i64, Option<String>) = sqlx::query_as(
            "INSERT INTO events (at, kind, node_id, deployment_id, message, details, actor, project_id) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, COALESCE((SELECT project_id FROM nodes WHERE id = ?3), ?8)) \
             RETURNING id, project_id",
        )
        .bind(at.as_millisecond())
        .bind(event.kind)
        .bind(event.node_id)
        .bind(event.deployment_id)
        .bind(&event.message)
        .bind(details.to_string())
        .bind(&author.actor)
        .bind(&author.project_id)
        .fetch_one(connection)
        .await
        .map_err(doing("append an event"))?;
        tracing::debug!(event.kind = event.kind, node.id = event.node_id, message = %event.message, "event");
        Ok(Event {
            id,
            at,
            kind: event.kind.to_owned(),
            node_id: event.node_id.map(ToOwned::to_owned),
            deployment_id: event.deployment_id.map(ToOwned::to_owned),
            project_id,
            actor: author.actor.clone(),
            message: event.message,
            details,
        })
    }

    /// What changes go through.
    #[must_use]
    pub fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Returns once all that can be read now would survive a loss of power: for those who promise something on the strength
    /// of it.
    ///
    /// # Errors
    /// When that is not certain.
    pub async fn settled(&self) -> Result<(), DatabaseError> {
        self.writer
            .settled()
            .await
            .map_err(doing("make certain of what was read"))
    }

    /// Closes the connection that changes go through.
    pub async fn close(&self) {
        self.writer.close().await;
    }

    /// Wakes all followers: there are new events.
    fn ring(&self) {
        self.bell.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// The id of the newest event, 0 when there is none.
    pub async fn newest(&self) -> Result<i64, DatabaseError> {
        let newest = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM events")
            .fetch_one(&self.db)
            .await
            .map_err(doing("read the newest event"))?;
        self.settled().await?;
        Ok(newest)
    }

    /// The highest number that an event was given, whether or not that event is still there; 0 when there was none.
    pub(crate) async fn last_number(&self) -> Result<i64, DatabaseError> {
        let last =
            sqlx::query_scalar("SELECT COALESCE(MAX(seq), 0) FROM sqlite_sequence WHERE name = 'events'")
                .fetch_one(&self.db)
                .await
                .map_err(doing("read the number of the newest event"))?;
        self.settled().await?;
        Ok(last)
    }

    /// A page of events from the cursor on.
    pub async fn list(&self, query: &EventQuery) -> Result<EventPage, DatabaseError> {
        let limit = match query.page_size {
            0 => 100,
            size => i64::from(size.min(1000)),
        };
        let mut sql = QueryBuilder::<Sqlite>::new("SELECT * FROM events WHERE id > ");
        sql.push_bind(query.after);
        if let Some(node_id) = &query.node_id {
            sql.push(" AND node_id = ").push_bind(node_id);
        }
        if let Some(project_id) = &query.project_id {
            sql.push(" AND project_id = ").push_bind(project_id);
        }
        if let Some(before) = query.before {
            sql.push(" AND id < ").push_bind(before);
        }
        let order = if query.newest_first {
            " ORDER BY id DESC LIMIT "
        } else {
            " ORDER BY id LIMIT "
        };
        sql.push(order).push_bind(limit + 1);
        let rows = sql
            .build()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list events"))?;
        // A cursor is for good: no other event may get the number of one that was handed out.
        self.settled().await?;
        let mut items = rows
            .iter()
            .map(event_of)
            .collect::<Result<Vec<_>, _>>()
            .map_err(doing("read an event"))?;
        let more = items.len() as i64 > limit;
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        let next = if more {
            items.last().map(|event| event.id)
        } else {
            None
        };
        // Asked after the rows: what was missing among them was known to go before it went.
        let gone = self.gone_after(query.after);
        Ok(EventPage { items, next, gone })
    }
}

fn event_of(row: &SqliteRow) -> Result<Event, sqlx::Error> {
    let at: i64 = row.try_get("at")?;
    let details: String = row.try_get("details")?;
    Ok(Event {
        id: row.try_get("id")?,
        at: Timestamp::from_millisecond(at).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
        kind: row.try_get("kind")?,
        node_id: row.try_get("node_id")?,
        deployment_id: row.try_get("deployment_id")?,
        project_id: row.try_get("project_id")?,
        actor: row.try_get("actor")?,
        message: row.try_get("message")?,
        details: serde_json::from_str(&details).map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
    })
}

/// A write transaction with the events that tell it.
#[derive(Debug)]
pub struct Change {
    tx: Transaction<'static, Sqlite>,
    log: EventLog,
    author: Author,
    tells: bool,
}

impl Change {
    /// The connection of the transaction.
    pub fn connection(&mut self) -> &mut SqliteConnection {
        &mut self.tx
    }

    /// From here on the events that are not about a node are this project's.
    pub fn about_project(&mut self, project_id: &str) {
        self.author.project_id = Some(project_id.to_owned());
    }

    /// Writes an event; it exists once the change is committed.
    pub async fn append(&mut self, event: NewEvent<'_>) -> Result<Event, DatabaseError> {
        self.tells = true;
        let log = self.log.clone();
        log.append_in(&mut self.tx, &self.author, event).await
    }

    /// Makes the change and its events durable, then wakes the followers if there are any events. Whoever stops to wait for
    /// it stops nothing.
    ///
    /// # Errors
    /// When it is not certain that the change is kept. It may be there all the same.
    pub async fn commit(self) -> Result<(), DatabaseError> {
        #[cfg(test)]
        crate::testing::crash::here()?;
        let Self { tx, log, tells, .. } = self;
        let writer = log.writer.clone();
        let wake = move || {
            if tells {
                log.ring();
            }
        };
        writer.commit(tx, wake).await.map_err(doing("commit a change"))?;
        #[cfg(test)]
        crate::testing::crash::here()?;
        Ok(())
    }
}
