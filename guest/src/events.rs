//! What happened to this system, kept until the controller has it: one file for each event below
//! `/var/lib/imprint/events`. Whoever has something to tell writes a file; the session sends them in order and removes what
//! is acknowledged. Bounded: when nobody takes them, the oldest stay and what comes later is counted only.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use imprint_proto::agent::v1::GuestEvent;
use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::file;

/// Where the events lie, below the root.
pub const FOLDER: &str = "var/lib/imprint/events";

/// Events that are kept; a system that is alone for weeks must not fill its disk.
const MAX_EVENTS: usize = 256;
const MAX_FILE: u64 = 64 << 10;
const MAX_MESSAGE: usize = 500;
const MAX_DIFF: usize = 16 << 10;

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Words with hyphens and dots: "network.restored".
    pub kind: String,
    /// One sentence for an operator.
    pub message: String,
    /// Lines of a diff; may be empty.
    #[serde(default)]
    pub diff: String,
}

/// The events of one system.
#[derive(Debug, Clone)]
pub struct Spool {
    folder: PathBuf,
}

impl Spool {
    /// The events of the system below `root`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            folder: root.join(FOLDER),
        }
    }

    /// Keeps an event. False: so many wait that this one is not kept.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, event: &Event) -> io::Result<bool> {
        fs::create_dir_all(&self.folder)?;
        let waiting = self.names()?;
        if waiting.len() >= MAX_EVENTS {
            return Ok(false);
        }
        // Ids rise, also after the clock was set back.
        let mut id = Ulid::from_datetime(SystemTime::now());
        if let Some(last) = waiting.last()
            && id <= *last
        {
            id = last.increment().unwrap_or(id);
        }
        let event = Event {
            kind: event.kind.clone(),
            message: clip(&event.message, MAX_MESSAGE),
            diff: clip(&event.diff, MAX_DIFF),
        };
        let text = serde_json::to_vec(&event)?;
        file::write_secret(&self.folder.join(format!("{id}.json")), &text)?;
        Ok(true)
    }

    /// The oldest event with a later id than `after`. What cannot be read is removed: it would stand in the way of all
    /// others for ever.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn next(&self, after: Option<Ulid>) -> io::Result<Option<(Ulid, GuestEvent)>> {
        for id in self.names()? {
            if after.is_some_and(|after| id <= after) {
                continue;
            }
            let path = self.folder.join(format!("{id}.json"));
            let event = file::read_bounded(&path, MAX_FILE)
                .and_then(|bytes| Ok(serde_json::from_slice::<Event>(&bytes)?));
            match event {
                Ok(event) => return Ok(Some((id, wire(id, event)))),
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "an event that cannot be read is removed");
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(None)
    }

    /// The id of the last event that was kept; none when there is none, or they cannot be listed.
    #[must_use]
    pub fn newest(&self) -> Option<Ulid> {
        self.names().ok()?.last().copied()
    }

    /// Removes the events up to this id: the controller has them.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn forget(&self, up_to: Ulid) -> io::Result<()> {
        for id in self.names()?.into_iter().take_while(|id| *id <= up_to) {
            match fs::remove_file(self.folder.join(format!("{id}.json"))) {
                Err(gone) if gone.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    fn names(&self) -> io::Result<Vec<Ulid>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
            ids.extend(id.and_then(|id| id.parse::<Ulid>().ok()));
        }
        ids.sort_unstable();
        Ok(ids)
    }
}

fn wire(id: Ulid, event: Event) -> GuestEvent {
    let ms = id.timestamp_ms();
    GuestEvent {
        id: id.to_string(),
        kind: event.kind,
        at: Some(prost_types::Timestamp {
            seconds: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
            nanos: i32::try_from(ms % 1000 * 1_000_000).unwrap_or(0),
        }),
        message: event.message,
        diff: event.diff,
    }
}

fn clip(text: &str, bytes: usize) -> String {
    text[..text.floor_char_boundary(bytes)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event {
            kind: "network.restored".into(),
            message: text.into(),
            diff: "-a\n+b".into(),
        }
    }

    #[test]
    fn events_are_sent_in_order_and_kept_until_acknowledged() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::below(root.path());
        assert_eq!(spool.next(None).unwrap(), None);
        for text in ["one", "two", "three"] {
            assert!(spool.put(&event(text)).unwrap());
        }
        let (first, told) = spool.next(None).unwrap().unwrap();
        assert_eq!((told.message.as_str(), told.diff.as_str()), ("one", "-a\n+b"));
        let (second, told) = spool.next(Some(first)).unwrap().unwrap();
        assert_eq!(told.message, "two");
        // Not acknowledged yet: told again after a reconnect.
        assert_eq!(spool.next(None).unwrap().unwrap().0, first);
        assert!(spool.newest() > Some(second));
        spool.forget(second).unwrap();
        let (third, told) = spool.next(None).unwrap().unwrap();
        assert_eq!(told.message, "three");
        spool.forget(third).unwrap();
        assert_eq!(spool.next(None).unwrap(), None);
    }

    #[test]
    fn the_spool_is_bounded_and_survives_damage() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::below(root.path());
        spool.put(&event(&"ä".repeat(600))).unwrap();
        let (id, told) = spool.next(None).unwrap().unwrap();
        assert_eq!(told.message.chars().count(), 250);
        fs::write(spool.folder.join(format!("{id}.json")), "{").unwrap();
        fs::write(spool.folder.join("note.txt"), "not an event").unwrap();
        assert_eq!(spool.next(None).unwrap(), None);
        let kept = (0..300).filter(|_| spool.put(&event("x")).unwrap()).count();
        assert_eq!(kept, MAX_EVENTS);
    }
}
