//! Setting a password on an installed system: sealed to one run of its plugin, signed, once, for a short time.

use std::{fmt, time::Duration};

use imprint_proto::{
    agent::v1::{GuestOrder, PasswordOrder, PasswordReset, guest_order},
    password_order::{PASSWORD_RESET, signed_bytes},
};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE,
    hpke::{Hpke as _, HpkePublicKey},
};
use serde::Serialize;
use serde_json::json;
use tokio::time::timeout;
use ulid::Ulid;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{GuestError, Guests, hub::Reachable, time};
use crate::{
    events::{Change, DatabaseError, NewEvent, doing},
    identity::{Caller, new_password},
    inventory::Node,
    words::words,
};

/// How long an order lives when nobody says otherwise, in seconds.
const DEFAULT_LIFE: u32 = 120;
/// How long a request waits for the answer of the plugin.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Orders of a node that are listed.
const LISTED: i64 = 100;

words! {
    /// How far an order is.
    ResetState, "state of a password reset", {
        /// The plugin has it, and has not answered.
        Sent => "sent",
        /// The password is set.
        Done => "done",
        /// The plugin has refused it; the password is what it was.
        Refused => "refused",
        /// Nothing was heard of it in its time: the password may be set or not.
        Expired => "expired",
    }
}

/// What is asked for.
#[derive(Clone, Default)]
pub struct NewReset {
    /// A user of the installed system.
    pub user: String,
    /// The new password; `None`: one is made.
    pub password: Option<Zeroizing<String>>,
    /// Seconds until the order is good no more; `None`: 120.
    pub life_seconds: Option<u32>,
}

impl fmt::Debug for NewReset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewReset")
            .field("user", &self.user)
            .field("life_seconds", &self.life_seconds)
            .finish_non_exhaustive()
    }
}

/// An order, without the password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PasswordResetRecord {
    /// ULID.
    pub id: String,
    /// The node.
    pub node_id: String,
    /// The deployment whose system it was meant for.
    pub deployment_id: String,
    /// Whose password.
    pub user: String,
    /// How far it is.
    pub state: ResetState,
    /// Why it was refused; else empty.
    pub reason: String,
    /// Who asked for it.
    pub requested_by: String,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when the plugin may carry it out.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When its end was known.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// The answer to whoever asked.
#[derive(Clone)]
pub struct ResetAnswer {
    /// The order.
    pub record: PasswordResetRecord,
    /// The password that was made; it is told here and nowhere else.
    pub generated: Option<Zeroizing<String>>,
}

impl fmt::Debug for ResetAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResetAnswer")
            .field("record", &self.record)
            .field("generated", &self.generated.is_some())
            .finish()
    }
}

#[derive(Debug, sqlx::FromRow)]
struct ResetRow {
    id: String,
    node_id: String,
    deployment_id: String,
    user: String,
    state: String,
    reason: String,
    requested_by: String,
    created_at: i64,
    expires_at: i64,
    ended_at: Option<i64>,
}

impl From<ResetRow> for PasswordResetRecord {
    fn from(row: ResetRow) -> Self {
        Self {
            id: row.id,
            node_id: row.node_id,
            deployment_id: row.deployment_id,
            user: row.user,
            // A word of a newer controller: nobody can say that it was done.
            state: row.state.parse().unwrap_or(ResetState::Expired),
            reason: row.reason,
            requested_by: row.requested_by,
            created_at: time(row.created_at),
            expires_at: time(row.expires_at),
            ended_at: row.ended_at.map(time),
        }
    }
}

impl Guests {
    /// Sends an order and waits a while for its answer; what is still `sent` then is answered later, or expires.
    ///
    /// # Errors
    /// When the plugin is not connected, or user, password or life cannot be.
    pub async fn reset_password(
        &self,
        by: &Caller,
        node: &Node,
        wanted: &NewReset,
    ) -> Result<ResetAnswer, GuestError> {
        let life = check(wanted)?;
        let reachable = self
            .hub
            .reach(&node.id)
            .ok_or_else(|| GuestError::NotConnected(node.name.clone()))?;
        let generated = match &wanted.password {
            None => Some(new_password().map_err(|_| GuestError::Seal)?),
            Some(_) => None,
        };
        let password = generated
            .as_ref()
            .or(wanted.password.as_ref())
            .ok_or(GuestError::Seal)?;
        let id = Ulid::generate().to_string();
        let now = self.clock.now();
        let expires_at = now + SignedDuration::from_secs(i64::from(life));
        let reset = self.seal(&id, node, &reachable, &wanted.user, expires_at, password)?;
        self.begin(by, node, &reachable, wanted, &id, expires_at).await?;

        let ring = self.hub.wait_for(&id);
        let order = Box::new(GuestOrder {
            message: Some(guest_order::Message::PasswordReset(reset)),
        });
        let sent = timeout(ANSWER_LIMIT, reachable.outbox.send(order)).await;
        if matches!(sent, Ok(Ok(()))) {
            // Without an answer in time the record says so: it stays `sent`.
            let _ = timeout(ANSWER_LIMIT.min(Duration::from_secs(u64::from(life))), ring).await;
            self.hub.answered(&id);
        } else {
            self.hub.answered(&id);
            let mut change = self.events.begin().await?;
            let reason = "the session ended before the order was sent";
            let now = self.clock.now_ms();
            end_reset(&mut change, &id, None, ResetState::Refused, reason, now).await?;
            change.commit().await?;
        }
        let record = self.reset(&id).await?;
        Ok(ResetAnswer { record, generated })
    }

    fn seal(
        &self,
        id: &str,
        node: &Node,
        reachable: &Reachable,
        user: &str,
        expires_at: Timestamp,
        password: &Zeroizing<String>,
    ) -> Result<PasswordReset, GuestError> {
        let key = HpkePublicKey(reachable.sealing_key.clone());
        let (encapsulated, ciphertext) = SUITE
            .seal(
                PASSWORD_RESET.as_bytes(),
                id.as_bytes(),
                password.as_bytes(),
                &key,
            )
            .map_err(|_| GuestError::Seal)?;
        let order = PasswordOrder {
            order_id: id.to_owned(),
            node_id: node.id.clone(),
            deployment_id: reachable.deployment_id.clone(),
            boot_id: reachable.boot_id.clone(),
            user: user.to_owned(),
            expires_at: Some(prost_types::Timestamp {
                seconds: expires_at.as_second(),
                nanos: 0,
            }),
            sealing_key: reachable.sealing_key.clone(),
            encapsulated_key: encapsulated.0,
            ciphertext,
        }
        .encode_to_vec();
        let signature = self.authority.sign_order(&signed_bytes(&order)).to_vec();
        Ok(PasswordReset { order, signature })
    }

    async fn begin(
        &self,
        by: &Caller,
        node: &Node,
        reachable: &Reachable,
        wanted: &NewReset,
        id: &str,
        expires_at: Timestamp,
    ) -> Result<(), DatabaseError> {
        let mut change = self.events.begin_by(by.author()).await?;
        sqlx::query(
            "INSERT INTO password_resets (id, node_id, deployment_id, user, state, requested_by, created_at, expires_at) \
             VALUES (?, ?, ?, ?, 'sent', ?, ?, ?)",
        )
        .bind(id)
        .bind(&node.id)
        .bind(&reachable.deployment_id)
        .bind(&wanted.user)
        .bind(&by.name)
        .bind(self.clock.now_ms())
        .bind(expires_at.as_millisecond())
        .execute(change.connection())
        .await
        .map_err(doing("keep the order to set a password"))?;
        change
            .append(NewEvent {
                kind: "guest.password-reset.requested",
                node_id: Some(&node.id),
                deployment_id: Some(&reachable.deployment_id),
                message: format!(
                    "A new password for user {} of {} was asked for.",
                    wanted.user, node.name
                ),
                details: json!({ "order_id": id, "user": wanted.user, "expires_at": expires_at }),
            })
            .await?;
        change.commit().await
    }

    /// One order.
    async fn reset(&self, id: &str) -> Result<PasswordResetRecord, DatabaseError> {
        let row: ResetRow = sqlx::query_as("SELECT * FROM password_resets WHERE id = ?")
            .bind(id)
            .fetch_one(&self.db)
            .await
            .map_err(doing("read the order"))?;
        Ok(row.into())
    }

    /// The last orders of a node, the newest first; at most 100.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn resets(&self, node_id: &str) -> Result<Vec<PasswordResetRecord>, DatabaseError> {
        let rows: Vec<ResetRow> =
            sqlx::query_as("SELECT * FROM password_resets WHERE node_id = ? ORDER BY id DESC LIMIT ?")
                .bind(node_id)
                .bind(LISTED)
                .fetch_all(&self.db)
                .await
                .map_err(doing("read the orders of a node"))?;
        Ok(rows.into_iter().map(Into::into).collect())
    }

    /// Ends the orders whose time is over, also those of a controller that was restarted.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn expire(&self) -> Result<(), DatabaseError> {
        let now = self.clock.now_ms();
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT id FROM password_resets WHERE state = 'sent' AND expires_at <= ? LIMIT 1000",
        )
        .bind(now)
        .fetch_all(&self.db)
        .await
        .map_err(doing("look for orders whose time is over"))?;
        for id in ids {
            let mut change = self.events.begin().await?;
            let reason = "no answer in its time: the password may be set or not";
            if end_reset(&mut change, &id, None, ResetState::Expired, reason, now).await? {
                change.commit().await?;
            }
        }
        Ok(())
    }
}

/// Writes the one end of an order, with its event; false when it has ended already, or is another node's.
pub(super) async fn end_reset(
    change: &mut Change,
    id: &str,
    of_node: Option<&str>,
    state: ResetState,
    reason: &str,
    now_ms: i64,
) -> Result<bool, DatabaseError> {
    let row: Option<ResetRow> = sqlx::query_as(
        "UPDATE password_resets SET state = ?1, reason = ?2, ended_at = ?3 \
         WHERE id = ?4 AND state = 'sent' AND (?5 IS NULL OR node_id = ?5) RETURNING *",
    )
    .bind(state.as_str())
    .bind(reason)
    .bind(now_ms)
    .bind(id)
    .bind(of_node)
    .fetch_optional(change.connection())
    .await
    .map_err(doing("keep the end of an order"))?;
    let Some(row) = row else { return Ok(false) };
    let message = match state {
        ResetState::Done => format!("The password of user {} was set.", row.user),
        _ => format!("The password of user {} was not set: {reason}.", row.user),
    };
    change
        .append(NewEvent {
            kind: &format!("guest.password-reset.{}", state.as_str()),
            node_id: Some(&row.node_id),
            deployment_id: Some(&row.deployment_id),
            message,
            details: json!({ "order_id": row.id, "user": row.user, "requested_by": row.requested_by }),
        })
        .await?;
    Ok(true)
}

fn check(wanted: &NewReset) -> Result<u32, GuestError> {
    let user = &wanted.user;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '$');
    if user.is_empty() || user.len() > 32 || user.starts_with('-') || !user.chars().all(fits) {
        return Err(GuestError::User(user.chars().take(64).collect()));
    }
    if let Some(password) = &wanted.password {
        let length = password.chars().count();
        if !(8..=256).contains(&length) {
            return Err(GuestError::Password(format!("{length} characters")));
        }
        if password.chars().any(char::is_control) {
            return Err(GuestError::Password(
                "a line end or another control character".to_owned(),
            ));
        }
    }
    match wanted.life_seconds.unwrap_or(DEFAULT_LIFE) {
        life @ 10..=900 => Ok(life),
        other => Err(GuestError::Life(other)),
    }
}
