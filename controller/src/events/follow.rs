//! Following the log live, from any cursor on.

use std::collections::VecDeque;

use futures::{Stream, stream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{DatabaseError, Event, EventLog, EventQuery, NodeProgress};

/// What a follower is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Live {
    /// A durable event, in the order of ids and without gaps.
    Event(Event),
    /// The newest figures of a node; older ones may have been left out.
    Progress(NodeProgress),
    /// Events up to this id were deleted before they were told. What is told next is behind it.
    Gone(i64),
}

struct Follower {
    log: EventLog,
    bell: watch::Receiver<u64>,
    figures: watch::Receiver<u64>,
    /// Events may have been written since the table was read last.
    behind: bool,
    stop: CancellationToken,
    query: EventQuery,
    arrival: u64,
    ready: VecDeque<Live>,
}

impl EventLog {
    /// Rung after each change with events.
    #[must_use]
    pub fn bell(&self) -> watch::Receiver<u64> {
        self.bell.subscribe()
    }

    /// All events after the query's cursor, then live ones as they happen, until `stop`.
    ///
    /// The stream ends after an error of the database.
    pub fn follow(
        &self,
        query: EventQuery,
        stop: CancellationToken,
    ) -> impl Stream<Item = Result<Live, DatabaseError>> + Send + use<> {
        let follower = Follower {
            log: self.clone(),
            bell: self.bell.subscribe(),
            figures: self.figures.subscribe(),
            behind: true,
            stop,
            query: EventQuery {
                page_size: 500,
                before: None,
                newest_first: false,
                ..query
            },
            arrival: 0,
            ready: VecDeque::new(),
        };
        stream::unfold(Some(follower), |follower| async {
            let mut follower = follower?;
            match follower.next().await {
                Ok(Some(live)) => Some((Ok(live), Some(follower))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
    }
}

impl Follower {
    async fn next(&mut self) -> Result<Option<Live>, DatabaseError> {
        loop {
            if let Some(live) = self.ready.pop_front() {
                return Ok(Some(live));
            }
            if self.stop.is_cancelled() {
                return Ok(None);
            }
            if self.behind {
                // Marked before reading: what is committed after the read rings the bell once more.
                self.bell.borrow_and_update();
                self.behind = self.read_events().await?;
            }
            self.figures.borrow_and_update();
            self.read_figures();
            if !self.ready.is_empty() || self.behind {
                continue;
            }
            let changed = tokio::select! {
                () = self.stop.cancelled() => return Ok(None),
                changed = self.bell.changed() => changed.map(|()| self.behind = true),
                changed = self.figures.changed() => changed,
            };
            if changed.is_err() {
                return Ok(None);
            }
        }
    }

    /// Reads a page; true when there is more.
    async fn read_events(&mut self) -> Result<bool, DatabaseError> {
        let page = self.log.list(&self.query).await?;
        if let Some(up_to) = page.gone {
            self.query.after = up_to;
            self.ready.push_back(Live::Gone(up_to));
            return Ok(true);
        }
        if let Some(last) = page.items.last() {
            self.query.after = last.id;
        }
        self.ready.extend(page.items.into_iter().map(Live::Event));
        Ok(page.next.is_some())
    }

    fn read_figures(&mut self) {
        let (arrival, fresh) = self
            .log
            .board
            .lock()
            .expect("no code panics while it holds the progress board")
            .since(self.arrival);
        self.arrival = arrival;
        let query = &self.query;
        let wanted = |progress: &NodeProgress| {
            let is = |asked: &Option<String>, has: &str| asked.as_deref().is_none_or(|asked| asked == has);
            is(&query.node_id, &progress.node_id) && is(&query.project_id, &progress.project_id)
        };
        self.ready
            .extend(fresh.into_iter().filter(wanted).map(Live::Progress));
    }
}
