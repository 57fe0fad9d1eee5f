//! Tokens of callers: 256 random bits, of which only a hash is kept. This part knows what a token is good for now.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::watch;
use ulid::Ulid;
use zeroize::Zeroizing;

use super::{
    caller::{Caller, PLATFORM},
    role::{Permission, Role},
    scope::Scope,
};
use crate::{
    clock::{Clock, timestamp_from_ms},
    events::{DatabaseError, doing},
};

const PREFIX: &str = "imp_";
/// How long an open stream goes on without a look at its token, if nothing is changed by this controller.
const LOOK_AGAIN: Duration = Duration::from_secs(300);

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody has this token.
    #[error("the API token is not known here")]
    Unknown,
    /// It was good once.
    #[error("the API token expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// Somebody took it back.
    #[error("the API token was revoked at {at}")]
    Revoked {
        /// When.
        at: Timestamp,
    },
    /// Its user may not call any more.
    #[error("the user {0} is disabled")]
    Disabled(String),
    /// Its user has left the project.
    #[error("the user {0} has no role in the token's project any more")]
    Left(String),
    /// It could not be looked up.
    #[error("cannot look up the API token")]
    Database(#[from] sqlx::Error),
}

/// A token that was just made: the only time its text is known.
pub struct NewToken {
    /// Id for lists and logs.
    pub id: String,
    /// What the caller sends.
    pub secret: Zeroizing<String>,
}

impl fmt::Debug for NewToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewToken")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The tokens of all callers.
#[derive(Debug, Clone)]
pub struct ApiTokens {
    db: SqlitePool,
    clock: Clock,
    /// Rung when tokens, users or their roles have changed.
    changes: watch::Sender<u64>,
}

/// A token with what its user is now in its project.
#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    role: String,
    project_id: String,
    scopes: Option<String>,
    expires_at: Option<i64>,
    revoked_at: Option<i64>,
    user_id: Option<String>,
    user_name: Option<String>,
    disabled_at: Option<i64>,
    user_role: Option<String>,
}

macro_rules! tokens_where {
    ($condition:literal) => {
        concat!(
            "SELECT t.id, t.name, t.role, t.project_id, t.scopes, t.expires_at, t.revoked_at, t.user_id, \
             u.name AS user_name, u.disabled_at, p.role AS user_role \
             FROM api_tokens t LEFT JOIN users u ON u.id = t.user_id \
             LEFT JOIN project_users p ON p.user_id = t.user_id AND p.project_id = t.project_id WHERE ",
            $condition
        )
    };
}

impl Row {
    /// What the token is good for at this time. Pure: whatever is not certain is refused.
    fn judge(self, now_ms: i64) -> Result<Caller, TokenError> {
        if let Some(at) = self.revoked_at {
            return Err(TokenError::Revoked {
                at: timestamp_from_ms(at),
            });
        }
        if let Some(at) = self.expires_at.filter(|at| *at <= now_ms) {
            return Err(TokenError::Expired {
                at: timestamp_from_ms(at),
            });
        }
        let unknown = |_| TokenError::Unknown;
        let own: Role = self.role.parse().map_err(unknown)?;
        let (name, role) = match (&self.user_id, self.user_name) {
            (None, _) => (self.name, own),
            (Some(_), None) => return Err(TokenError::Unknown),
            (Some(_), Some(user)) => match (self.disabled_at, self.user_role) {
                (Some(_), _) => return Err(TokenError::Disabled(user)),
                (None, None) => return Err(TokenError::Left(user)),
                (None, Some(role)) => (user, own.within(role.parse().map_err(unknown)?)),
            },
        };
        if !role.exists_in(&self.project_id) {
            return Err(TokenError::Unknown);
        }
        let scopes = self
            .scopes
            .map(|text| serde_json::from_str::<Vec<Scope>>(&text))
            .transpose()
            .map_err(|_| TokenError::Unknown)?;
        let expires_at = self.expires_at.map(timestamp_from_ms);
        Ok(Caller::new(self.id, name, self.user_id, self.project_id, role).narrowed(scopes, expires_at))
    }
}

impl ApiTokens {
    /// Over the database.
    pub fn new(db: SqlitePool, clock: Clock) -> Self {
        Self {
            db,
            clock,
            changes: watch::Sender::new(0),
        }
    }

    /// Who sent this token. The lookup is by hash, so its time tells nothing about how near a guess came.
    pub async fn check(&self, token: &str) -> Result<Caller, TokenError> {
        let row: Option<Row> = sqlx::query_as(tokens_where!("t.token_hash = ?"))
            .bind(hash(token))
            .fetch_optional(&self.db)
            .await?;
        row.ok_or(TokenError::Unknown)?.judge(self.clock.now_ms())
    }

    /// Waits until the caller is no longer who he was: the token was revoked or expired, its user was disabled or has
    /// another role. What is sent without an end ends then.
    pub async fn lapse(&self, caller: Caller) {
        let mut changes = self.changes.subscribe();
        loop {
            // Marked before the look: what changes after it rings once more.
            changes.borrow_and_update();
            match self.again(&caller).await {
                Ok(now) if now == caller => {}
                Ok(_) => return,
                Err(TokenError::Database(error)) => {
                    tracing::warn!(%error, "cannot look up the token of an open stream");
                }
                Err(_) => return,
            }
            let left = caller.expires_at.map_or(LOOK_AGAIN, |at| {
                let left = at.duration_since(self.clock.now());
                Duration::try_from(left).unwrap_or(Duration::ZERO).min(LOOK_AGAIN)
            });
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(left) => {}
            }
        }
    }

    async fn again(&self, caller: &Caller) -> Result<Caller, TokenError> {
        let row: Option<Row> = sqlx::query_as(tokens_where!("t.id = ?"))
            .bind(&caller.token_id)
            .fetch_optional(&self.db)
            .await?;
        row.ok_or(TokenError::Unknown)?.judge(self.clock.now_ms())
    }

    /// Has the tokens of all open streams looked at again.
    pub(super) fn access_changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Makes a token of nobody, at the console: in the project `platform`, without scopes.
    pub async fn create(
        &self,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<NewToken, TokenError> {
        let secret = generate();
        let id = self.keep(&secret, name, role, expires_at).await?;
        Ok(NewToken { id, secret })
    }

    /// Whether any token was ever made.
    pub(crate) async fn any(&self) -> Result<bool, TokenError> {
        Ok(sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM api_tokens)")
            .fetch_one(&self.db)
            .await?)
    }

    /// Whether anybody can manage the controller with a token.
    pub(crate) async fn any_admin(&self) -> Result<bool, TokenError> {
        let mut connection = self.db.acquire().await?;
        Ok(admins(&mut connection, self.clock.now_ms()).await?)
    }

    /// Keeps the hash of a token; a second time changes nothing.
    pub(crate) async fn keep(
        &self,
        secret: &str,
        name: &str,
        role: Role,
        expires_at: Option<Timestamp>,
    ) -> Result<String, TokenError> {
        let id = Ulid::generate().to_string();
        sqlx::query(
            "INSERT INTO api_tokens (id, name, token_hash, role, created_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (token_hash) DO NOTHING",
        )
        .bind(&id)
        .bind(name)
        .bind(hash(secret))
        .bind(role.as_str())
        .bind(self.clock.now_ms())
        .bind(expires_at.map(|at| at.as_millisecond()))
        .execute(&self.db)
        .await?;
        Ok(id)
    }
}

/// Whether there is a token with which everything can be managed.
pub(super) async fn admin_remains(
    connection: &mut SqliteConnection,
    now_ms: i64,
) -> Result<bool, DatabaseError> {
    admins(connection, now_ms)
        .await
        .map_err(doing("look for the tokens of admins"))
}

async fn admins(connection: &mut SqliteConnection, now_ms: i64) -> Result<bool, sqlx::Error> {
    let rows: Vec<Row> = sqlx::query_as(tokens_where!(
        "t.role = 'admin' AND t.project_id = ? AND t.revoked_at IS NULL"
    ))
    .bind(PLATFORM)
    .fetch_all(connection)
    .await?;
    let manages = |caller: Caller| caller.may(Permission::ManageTenants);
    Ok(rows.into_iter().any(|row| row.judge(now_ms).is_ok_and(manages)))
}

/// A fresh token.
pub(crate) fn generate() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).expect("the kernel's random source answers once the machine is up");
    Zeroizing::new(format!("{PREFIX}{}", hex::encode(&bytes)))
}

/// What is kept of a token.
pub(super) fn hash(token: &str) -> Vec<u8> {
    blake3::hash(token.as_bytes()).as_bytes().to_vec()
}
