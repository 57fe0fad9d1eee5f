//! Projects, users and tokens as a whole: what their parts have in common.

use sqlx::SqliteConnection;
use ulid::Ulid;

use super::{
    tenant_error::{TenantError, Thing},
    tokens::ApiTokens,
};
use crate::{
    clock::Clock,
    config::TokenConfig,
    events::{Change, EventLog, doing},
};

/// All projects, users and tokens; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tenants {
    pub(super) db: sqlx::SqlitePool,
    pub(super) clock: Clock,
    pub(super) events: EventLog,
    pub(super) tokens: ApiTokens,
    pub(super) config: TokenConfig,
}

impl Tenants {
    /// Over the database.
    #[must_use]
    pub fn new(
        db: sqlx::SqlitePool,
        clock: Clock,
        events: EventLog,
        tokens: ApiTokens,
        config: TokenConfig,
    ) -> Self {
        Self {
            db,
            clock,
            events,
            tokens,
            config,
        }
    }

    /// Commits a change after which some tokens may be good no longer: refused when that would be those of all admins;
    /// else whoever holds a stream open is looked at again.
    pub(super) async fn commit_access(&self, mut change: Change) -> Result<(), TenantError> {
        if !super::tokens::admin_remains(change.connection(), self.clock.now_ms()).await? {
            return Err(TenantError::LastAdmin);
        }
        change.commit().await?;
        self.tokens.access_changed();
        Ok(())
    }
}

/// A page of anything, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The cursor of the next page; `None` on the last one.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of one item more than fits, if there is another page.
    pub(super) fn cut(mut items: Vec<T>, limit: i64, id: impl Fn(&T) -> &str) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        items.truncate(limit);
        let next = items.last().filter(|_| more).map(|last| id(last).to_owned());
        Self { items, next }
    }
}

/// 100 when nothing is said, 1,000 at most.
pub(super) fn page_limit(page_size: u32) -> i64 {
    match page_size {
        0 => 100,
        size => i64::from(size.min(1000)),
    }
}

/// The id that a page begins after.
pub(super) fn page_start(page_token: Option<&str>) -> Result<String, TenantError> {
    match page_token.filter(|token| !token.is_empty()) {
        None => Ok(String::new()),
        Some(token) => match token.parse::<Ulid>() {
            Ok(id) => Ok(id.to_string()),
            Err(_) => Err(TenantError::BadPageToken(clipped(token))),
        },
    }
}

/// What somebody typed, short enough for a message.
pub(super) fn clipped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// A name that nobody can take for an id.
pub(super) fn check_name(what: Thing, name: &str) -> Result<(), TenantError> {
    let alphanumeric = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let (first, last) = (name.chars().next(), name.chars().next_back());
    let fits = match what {
        Thing::Project => {
            name.len() <= 63
                && alphanumeric(first)
                && alphanumeric(last)
                && name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        }
        Thing::User => {
            name.len() <= 64
                && alphanumeric(first)
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "._-@".contains(c))
        }
        Thing::Token => {
            (1..=64).contains(&name.chars().count())
                && name.trim() == name
                && !name.chars().any(char::is_control)
        }
    };
    if fits && name.parse::<Ulid>().is_err() {
        return Ok(());
    }
    Err(TenantError::BadName {
        what,
        given: clipped(name),
    })
}

/// Refuses a name that another row of the table has, without regard to case.
pub(super) async fn check_free(
    connection: &mut SqliteConnection,
    what: Thing,
    name: &str,
) -> Result<(), TenantError> {
    let sql = match what {
        Thing::Project => "SELECT EXISTS (SELECT 1 FROM projects WHERE name = ?)",
        Thing::User => "SELECT EXISTS (SELECT 1 FROM users WHERE name = ?)",
        Thing::Token => return Ok(()),
    };
    let taken: bool = sqlx::query_scalar(sql)
        .bind(name)
        .fetch_one(connection)
        .await
        .map_err(doing("look for the name"))?;
    if taken {
        return Err(TenantError::Taken {
            what,
            name: name.to_owned(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_and_no_ids() {
        let long = "a".repeat(65);
        let id = "01JD3Y6N9M1V9S1M6V1M3B3W5T";
        for (what, good, bad) in [
            (
                Thing::Project,
                &["web", "a", "team-7", "0x"][..],
                &[
                    "",
                    "Web",
                    "-a",
                    "a-",
                    "a b",
                    "a_b",
                    "ä",
                    &long,
                    "01jd3y6n9m1v9s1m6v1m3b3w5t",
                ][..],
            ),
            (
                Thing::User,
                &["alice", "Bob.Smith", "ops@example.net"],
                &["", ".a", "a b", "a/b", "ä", &long, id, "a\n"],
            ),
            (
                Thing::Token,
                &["ci", "nightly import", "für CI"],
                &["", " ci", "a\u{1b}[0m", &long, id],
            ),
        ] {
            for name in good {
                assert!(check_name(what, name).is_ok(), "{what} {name}");
            }
            for name in bad {
                assert!(check_name(what, name).is_err(), "{what} {name:?}");
            }
        }
    }

    #[test]
    fn pages_are_cut_where_they_end() {
        let page = |n: usize| Page::cut(vec!["x".to_owned(); n], 2, |x| x);
        assert_eq!((page(2).items.len(), page(2).next), (2, None));
        assert_eq!((page(3).items.len(), page(3).next), (2, Some("x".to_owned())));
        assert!(page_start(Some("x' OR 1")).is_err());
        assert_eq!((page_limit(0), page_limit(5000)), (100, 1000));
    }
}
