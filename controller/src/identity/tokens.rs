//! Tokens of callers: 256 random bits, of which only a hash is kept.

use std::fmt;

use jiff::Timestamp;
use sqlx::SqlitePool;
use ulid::Ulid;
use zeroize::Zeroizing;

use super::{Caller, Role};
use crate::clock::{Clock, timestamp_from_ms};

const PREFIX: &str = "imp_";

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Nobody has this token.
    #[error("the API token is not known")]
    Unknown,
    /// It was good once.
    #[error("the API token expired at {at}")]
    Expired {
        /// When.
        at: Timestamp,
    },
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
}

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    role: String,
    expires_at: Option<i64>,
    user_id: Option<String>,
    project_id: String,
}

impl ApiTokens {
    /// Over the database.
    pub fn new(db: SqlitePool, clock: Clock) -> Self {
        Self { db, clock }
    }

    /// Who sent this token. The lookup is by hash, so its time tells nothing about how near a guess came.
    pub async fn check(&self, token: &str) -> Result<Caller, TokenError> {
        let row: Option<Row> =
            sqlx::query_as("SELECT id, name, role, expires_at, user_id, project_id FROM api_tokens WHERE token_hash = ? AND revoked_at IS NULL")
                .bind(hash(token))
                .fetch_optional(&self.db)
                .await?;
        let row = row.ok_or(TokenError::Unknown)?;
        if let Some(at) = row.expires_at.filter(|at| *at <= self.clock.now_ms()) {
            return Err(TokenError::Expired {
                at: timestamp_from_ms(at),
            });
        }
        let role = row.role.parse().map_err(|_| TokenError::Unknown)?;
        Ok(Caller {
            token_id: row.id,
            name: row.name,
            user_id: row.user_id,
            project_id: row.project_id,
            role,
        })
    }

    /// Makes a token.
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

/// A fresh token.
pub(crate) fn generate() -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut()).expect("the kernel's random source answers once the machine is up");
    Zeroizing::new(format!("{PREFIX}{}", hex::encode(&bytes)))
}

fn hash(token: &str) -> Vec<u8> {
    blake3::hash(token.as_bytes()).as_bytes().to_vec()
}
