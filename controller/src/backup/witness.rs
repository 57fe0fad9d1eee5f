//! A file beside the database that says how far the database was: a database that was put back by copying is known by it.
//!
//! `restore` marks a database that is older than the world. Whoever copies `imprint.db` back, or rolls back the volume that
//! it is on, marks nothing, and a deployment that was running in it would write a server that is in service by now. So the
//! controller keeps in `witness` which database this is and the highest number that an event was given, at most once a
//! second while there are events, and when it ends. At the start a database that does not come up to it is marked as a
//! restored one is, before anything is done that it says.
//!
//! The file only claims what would survive a loss of power: changes are flushed before they are acknowledged (`db::writer`),
//! and the file is written after [`EventLog::settled`]. So it lags behind the database, by a second or so after a kill, and
//! is never ahead of it, unless the disk loses what it has confirmed: then the holds are right. Where it is missing
//! (`init`, `restore`, a version that did not write it) it is made, and nothing is concluded. What cannot be read as a witness
//! bears nothing out: an operator who has put back the whole folder, file and all, writes anything else into it, and
//! has the controller treat the database as what it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::SqlitePool;
use tokio::sync::Mutex;

use super::{
    hold::HoldReason,
    mark::{Older, mark},
};
use crate::{
    api::rest::problem::chain,
    app::App,
    clock::Clock,
    db::{self, DbError},
    events::{EventLog, doing},
    identity::write_whole,
    setup::OpenError,
};

/// Name of the file in the data folder.
pub const WITNESS: &str = "witness";

/// How often it is written at most.
const EVERY: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
/// No event gets as high a number: whatever says so was not written here.
const MAX_EVENT: i64 = 1 << 52;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    /// Of the database.
    generation: String,
    /// The highest number that an event was given.
    event: i64,
}

impl Claim {
    fn parse(text: &str) -> Option<Self> {
        let (generation, event) = text.trim_end().split_once(' ')?;
        let event = event.parse::<i64>().ok()?;
        (0..MAX_EVENT).contains(&event).then(|| Self {
            generation: generation.to_owned(),
            event,
        })
    }

    fn text(&self) -> String {
        format!("{} {}\n", self.generation, self.event)
    }

    /// Whether a database comes up to it.
    fn is_borne_out(&self, generation: &str, last_event: i64) -> bool {
        self.generation == generation && self.event <= last_event
    }
}

/// The file of a running controller; cheap to clone.
#[derive(Debug, Clone)]
pub struct Witness {
    path: PathBuf,
    generation: String,
    events: EventLog,
    /// The number that it says by now.
    written: Arc<Mutex<Option<i64>>>,
}

impl Witness {
    /// Holds the database against the file, marks the database when it is older, and has the file say what is so now. To be
    /// called before anything else writes to the database.
    pub(crate) async fn open(
        data_dir: &Path,
        db: &SqlitePool,
        events: &EventLog,
        clock: &Clock,
    ) -> Result<Self, OpenError> {
        let path = data_dir.join(WITNESS);
        let generation: String = sqlx::query_scalar("SELECT generation FROM witness")
            .fetch_one(db)
            .await
            .map_err(doing("read which database this is"))?;
        match fs::read(&path) {
            Ok(bytes) => {
                let claim = Claim::parse(&String::from_utf8_lossy(&bytes));
                let last_event = events.last_number().await?;
                let is_borne_out = claim
                    .as_ref()
                    .is_some_and(|claim| claim.is_borne_out(&generation, last_event));
                if !is_borne_out {
                    require_intact(data_dir, db).await?;
                    let claimed = claim.map_or(0, |claim| claim.event);
                    mark_copy(db, events, clock, claimed, last_event).await?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(OpenError::Folder { path, source }),
        }
        let witness = Self {
            path,
            generation,
            events: events.clone(),
            written: Arc::default(),
        };
        witness.keep().await?;
        Ok(witness)
    }

    /// Has the file say how far the database is now.
    ///
    /// # Errors
    /// When it cannot be written, or the database does not answer. Then it says less, which does no harm.
    pub async fn keep(&self) -> Result<(), OpenError> {
        let mut written = self.written.lock().await;
        let event = self.events.last_number().await?;
        if *written == Some(event) {
            return Ok(());
        }
        let (path, claim) = (
            self.path.clone(),
            Claim {
                generation: self.generation.clone(),
                event,
            },
        );
        let work = tokio::task::spawn_blocking(move || write_whole(&path, 0o600, claim.text().as_bytes()));
        let done = work.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        done.map_err(|source| OpenError::Folder {
            path: self.path.clone(),
            source,
        })?;
        *written = Some(event);
        Ok(())
    }
}

/// Keeps the file up with the events until the controller ends; [`App::close`] does it for the last time.
pub async fn run(app: App) {
    let mut bell = app.events.bell();
    loop {
        let kept = app.witness.keep().await;
        if let Err(error) = &kept {
            tracing::warn!(error = %chain(error), "the witness of the database was not written; it is tried again");
        }
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if kept.is_err() {
            continue;
        }
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            // It is never closed: the app has it.
            _ = bell.changed() => {}
        }
    }
}

/// Marks a database that was put back.
async fn mark_copy(
    db: &SqlitePool,
    events: &EventLog,
    clock: &Clock,
    claimed: i64,
    last_event: i64,
) -> Result<(), OpenError> {
    let told_at: Option<i64> = sqlx::query_scalar("SELECT at FROM events ORDER BY id DESC LIMIT 1")
        .fetch_optional(db)
        .await
        .map_err(doing("read when the newest event was"))?;
    let now = clock.now_ms();
    let older = Older {
        reason: HoldReason::Copied,
        taken_at_ms: told_at.unwrap_or(now),
        newest_event: last_event,
        seen_event: claimed,
    };
    let marked = mark(events, &older, now).await?;
    tracing::warn!(
        newest.event = last_event,
        witness.event = claimed,
        nodes = marked.nodes,
        deployments = marked.deployments,
        "the database is older than what this controller had written: a copy was put back, and all nodes are on hold"
    );
    Ok(())
}

/// Refuses a copy that was made while somebody wrote.
async fn require_intact(data_dir: &Path, pool: &SqlitePool) -> Result<(), OpenError> {
    let damage = db::damage(pool)
        .await
        .map_err(doing("check a copy that was put back"))?;
    match damage {
        None => Ok(()),
        Some(source) => Err(DbError::Damaged {
            path: data_dir.join(db::FILE_NAME),
            source,
        }
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::NewEvent;

    #[test]
    fn only_a_database_that_comes_up_to_it_bears_it_out() {
        let claim = Claim {
            generation: "a1".to_owned(),
            event: 7,
        };
        assert_eq!(Claim::parse(&claim.text()), Some(claim.clone()));
        for (generation, event, expected) in [
            ("a1", 7, true),
            ("a1", 8, true),
            ("a1", 6, false),
            ("b2", 8, false),
            ("b2", 6, false),
        ] {
            assert_eq!(
                claim.is_borne_out(generation, event),
                expected,
                "{generation} {event}"
            );
        }
        for foreign in [
            "",
            "restored\n",
            "a1 \n",
            "a1 -1\n",
            "a1 7 8\n",
            "a1 9223372036854775807\n",
        ] {
            assert_eq!(Claim::parse(foreign), None, "{foreign:?}");
        }
    }

    #[tokio::test]
    async fn it_follows_the_events() {
        let dir = tempfile::tempdir().unwrap();
        let app = App::for_test(dir.path()).await;
        let said = || {
            let text = fs::read_to_string(dir.path().join(WITNESS)).unwrap();
            Claim::parse(&text).unwrap().event
        };
        let running = tokio::spawn(run(app.clone()));
        for _ in 0..3 {
            let event = NewEvent {
                kind: "test.told",
                node_id: None,
                deployment_id: None,
                message: String::new(),
                details: serde_json::json!({}),
            };
            let told = app.events.append(event).await.unwrap().id;
            for _ in 0..500 {
                if said() == told {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(said(), told);
        }
        app.shutdown.cancel();
        running.await.unwrap();
    }
}
