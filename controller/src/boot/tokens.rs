//! Boot tokens: the one-time secrets by which a machine in the ramdisk proves that this controller booted it.
//!
//! A token is made when `node.ipxe` is answered with the ramdisk, or a BMC is given a CD of it ([`BootTokens::issue_for_media`]), handed out inside the identity initrd under a nonce
//! that only that script names, and exchanged once, over TLS, for a certificate. It is bound to the MAC address of the
//! boot NIC and, where the firmware gives one, to the SMBIOS UUID. Once spent it belongs to the public key it was spent
//! for: an agent whose answer was lost asks again with the same key and is answered again. The database keeps its digest only; the plain
//! token waits in memory until it expires, so after a restart of the controller a machine in mid-boot asks anew
//! (the boot script does that by itself).

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use sqlx::{Row, SqliteConnection, SqlitePool};
use ulid::Ulid;
use zeroize::Zeroizing;

use super::facts::{BootFacts, same_uuid};
use crate::clock::Clock;
use crate::config::Config;
use crate::db::Writer;
use crate::identity::KeyDigest;
use imprint_proto::agent::v1::Fingerprint;

/// Bytes of randomness in a token and in a nonce.
const SECRET_BYTES: usize = 32;

/// How long spent and expired tokens are remembered, so that a second use is told apart from an unknown token.
const REMEMBER: SignedDuration = SignedDuration::from_hours(24 * 30);

/// How long the key that spent a token may ask again: as long as the certificate it got is good.
const REPEAT: SignedDuration = SignedDuration::from_hours(24);

/// Issues and redeems boot tokens. Cheap to clone.
#[derive(Clone)]
pub struct BootTokens {
    db: SqlitePool,
    writer: Writer,
    clock: Clock,
    lifetime: SignedDuration,
    /// Of a token on a CD: a server may take its time to read it.
    media_lifetime: SignedDuration,
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
}

/// A token whose identity initrd may still be fetched.
struct Waiting {
    token: Zeroizing<String>,
    facts: BootFacts,
    /// On a CD: what its script is to say. `None`: the script came before the token.
    kernel_arguments: Option<Vec<String>>,
    issued_at: Timestamp,
    expires_at: Timestamp,
}

/// A token that was just made.
pub struct IssuedToken {
    /// Names the identity initrd: `/boot/identity/{nonce}`.
    pub nonce: String,
    /// The secret itself.
    pub token: Zeroizing<String>,
}

/// What the identity initrd of a live nonce is made from.
pub struct PendingIdentity {
    /// The secret itself.
    pub token: Zeroizing<String>,
    /// The machine it was made for.
    pub facts: BootFacts,
    /// When it was made.
    pub issued_at: Timestamp,
    /// On a CD: what the kernel of this server needs besides.
    pub kernel_arguments: Option<Vec<String>>,
}

/// A token that was accepted; no other key can use it from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redeemed {
    /// Id of the token, for events.
    pub token_id: String,
    /// The NIC the machine booted from.
    pub mac: String,
    /// When the token was made.
    pub issued_at: Timestamp,
}

/// Why a token was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    /// No such token was ever issued, or it was long ago.
    #[error("the boot token is unknown; restart the machine so that it gets a new one")]
    Unknown,
    /// It was not used in time.
    #[error("the boot token expired at {expired_at}; restart the machine so that it gets a new one")]
    Expired {
        /// Id of the token.
        token_id: String,
        /// The NIC it was made for.
        mac: String,
        /// End of its life.
        expired_at: Timestamp,
    },
    /// The same machine was given a newer one since.
    #[error("the boot token was replaced by a newer one at {superseded_at}; restart the machine")]
    Superseded {
        /// Id of the token.
        token_id: String,
        /// The NIC it was made for.
        mac: String,
        /// When the newer one was made.
        superseded_at: Timestamp,
    },
    /// It was used before: somebody has a copy of it.
    #[error(
        "the boot token of {mac} was already used at {spent_at}; it may have been copied, check the boot network"
    )]
    Spent {
        /// Id of the token.
        token_id: String,
        /// The NIC it was made for.
        mac: String,
        /// When it was used first.
        spent_at: Timestamp,
    },
    /// Another machine than the one it was made for shows it.
    #[error("the boot token was made for the machine with {expected}, not for this one ({got})")]
    WrongMachine {
        /// Id of the token.
        token_id: String,
        /// The NIC it was made for.
        mac: String,
        /// What the token is bound to.
        expected: String,
        /// What was shown.
        got: String,
    },
    /// The database did not answer.
    #[error("cannot check the boot token in the database")]
    Database(#[from] sqlx::Error),
}

/// A token could not be made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The system has no randomness.
    #[error("cannot get random bytes from the system")]
    Random(#[from] getrandom::Error),
    /// The database did not answer.
    #[error("cannot store the boot token in the database")]
    Database(#[from] sqlx::Error),
}

impl BootTokens {
    /// Tokens kept in `db`, which the writer is beside, each good for the configured time.
    pub fn new(db: SqlitePool, writer: Writer, clock: Clock, config: &Config) -> Self {
        let seconds = i64::try_from(config.timeouts.boot_token_seconds).unwrap_or(i64::from(u32::MAX));
        let lifetime = SignedDuration::from_secs(seconds);
        let boot = i64::try_from(config.timeouts.boot_seconds).unwrap_or(i64::from(u32::MAX));
        Self {
            db,
            writer,
            clock,
            lifetime,
            media_lifetime: lifetime.max(SignedDuration::from_secs(boot)),
            waiting: Arc::default(),
        }
    }

    /// Makes a token for the machine and invalidates the unused ones it had.
    pub async fn issue(&self, facts: &BootFacts) -> Result<IssuedToken, IssueError> {
        self.make(facts, None, self.lifetime).await
    }

    /// The same for a CD of the ramdisk, good for as long as a deployment waits for its server.
    pub async fn issue_for_media(
        &self,
        facts: &BootFacts,
        kernel_arguments: Vec<String>,
    ) -> Result<IssuedToken, IssueError> {
        self.make(facts, Some(kernel_arguments), self.media_lifetime)
            .await
    }

    async fn make(
        &self,
        facts: &BootFacts,
        kernel_arguments: Option<Vec<String>>,
        lifetime: SignedDuration,
    ) -> Result<IssuedToken, IssueError> {
        let token = Zeroizing::new(random_hex()?);
        let nonce = random_hex()?;
        let now = self.clock.now();
        let expires_at = now.checked_add(lifetime).unwrap_or(Timestamp::MAX);
        let forget = now
            .checked_sub(REMEMBER)
            .unwrap_or(Timestamp::MIN)
            .as_millisecond();
        let mut tx = self.writer.begin().await?;
        sqlx::query(
            "UPDATE boot_tokens SET superseded_at = ? WHERE mac = ? AND spent_at IS NULL AND superseded_at IS NULL",
        )
        .bind(now.as_millisecond())
        .bind(facts.mac.as_str())
        .execute(&mut *tx)
        .await?;
        sqlx::query("DELETE FROM boot_tokens WHERE expires_at < ?")
            .bind(forget)
            .execute(&mut *tx)
            .await?;
        sqlx::query(
            "INSERT INTO boot_tokens (id, token_hash, mac, smbios_uuid, issued_at, expires_at) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(Ulid::generate().to_string())
        .bind(hash(&token))
        .bind(facts.mac.as_str())
        .bind(facts.smbios_uuid.as_deref())
        .bind(now.as_millisecond())
        .bind(expires_at.as_millisecond())
        .execute(&mut *tx)
        .await?;
        self.writer.commit(tx, || {}).await?;
        let pending = Waiting {
            token: token.clone(),
            facts: facts.clone(),
            kernel_arguments,
            issued_at: now,
            expires_at,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, w| w.expires_at > now && w.facts.mac != facts.mac);
        waiting.insert(nonce.clone(), pending);
        Ok(IssuedToken { nonce, token })
    }

    /// What the identity initrd of `nonce` says; `None` when there is no such nonce or it is no longer good.
    ///
    /// It may be read several times: a boot loader whose download broke asks again.
    pub fn pending(&self, nonce: &str) -> Option<PendingIdentity> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.get(nonce).filter(|w| w.expires_at > self.clock.now())?;
        Some(PendingIdentity {
            token: found.token.clone(),
            facts: found.facts.clone(),
            issued_at: found.issued_at,
            kernel_arguments: found.kernel_arguments.clone(),
        })
    }

    /// Whether [`BootTokens::redeem`] would accept the token. Reads only: whoever has no token costs no write.
    pub async fn check(
        &self,
        token: &str,
        machine: &Fingerprint,
        key: &KeyDigest,
    ) -> Result<(), RedeemError> {
        let mut connection = self.db.acquire().await?;
        self.judge(&mut connection, token, machine, key).await.map(drop)
    }

    /// Accepts a token from the machine it was made for, for one public key, within a write transaction of the caller.
    pub async fn redeem(
        &self,
        connection: &mut SqliteConnection,
        token: &str,
        machine: &Fingerprint,
        key: &KeyDigest,
    ) -> Result<Redeemed, RedeemError> {
        let redeemed = self.judge(&mut *connection, token, machine, key).await?;
        sqlx::query(
            "UPDATE boot_tokens SET spent_at = ?, spent_by = ? WHERE token_hash = ? AND spent_at IS NULL",
        )
        .bind(self.clock.now_ms())
        .bind(key.0.as_slice())
        .bind(hash(token))
        .execute(connection)
        .await?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, w| w.token.as_str() != token);
        Ok(redeemed)
    }

    /// Redeems with a key that nobody else has.
    #[cfg(test)]
    pub(crate) async fn redeem_by_anybody(
        &self,
        token: &str,
        machine: &Fingerprint,
    ) -> Result<Redeemed, RedeemError> {
        let mut key = KeyDigest([0; 32]);
        getrandom::fill(&mut key.0).expect("the system has random bytes");
        self.redeem_by(token, machine, &key).await
    }

    #[cfg(test)]
    async fn redeem_by(
        &self,
        token: &str,
        machine: &Fingerprint,
        key: &KeyDigest,
    ) -> Result<Redeemed, RedeemError> {
        let mut tx = self.writer.begin().await?;
        let redeemed = self.redeem(&mut tx, token, machine, key).await?;
        self.writer.commit(tx, || {}).await?;
        Ok(redeemed)
    }

    async fn judge(
        &self,
        connection: &mut SqliteConnection,
        token: &str,
        machine: &Fingerprint,
        key: &KeyDigest,
    ) -> Result<Redeemed, RedeemError> {
        let now = self.clock.now();
        let row = sqlx::query(
            "SELECT id, mac, smbios_uuid, issued_at, expires_at, spent_at, spent_by, superseded_at FROM boot_tokens \
             WHERE token_hash = ?",
        )
        .bind(hash(token))
        .fetch_optional(connection)
        .await?
        .ok_or(RedeemError::Unknown)?;
        let token_id: String = row.try_get("id")?;
        let mac: String = row.try_get("mac")?;
        let uuid: Option<String> = row.try_get("smbios_uuid")?;
        let spent_by: Option<Vec<u8>> = row.try_get("spent_by")?;
        let expired_at = time(row.try_get("expires_at")?).unwrap_or(Timestamp::MIN);
        if let Some(spent_at) = time(row.try_get("spent_at")?) {
            let again =
                spent_by.as_deref() == Some(key.0.as_slice()) && now.duration_since(spent_at) < REPEAT;
            if !again {
                return Err(RedeemError::Spent {
                    token_id,
                    mac,
                    spent_at,
                });
            }
        } else if let Some(superseded_at) = time(row.try_get("superseded_at")?) {
            return Err(RedeemError::Superseded {
                token_id,
                mac,
                superseded_at,
            });
        } else if expired_at <= now {
            return Err(RedeemError::Expired {
                token_id,
                mac,
                expired_at,
            });
        }
        if let Some((expected, got)) = mismatch(&mac, uuid.as_deref(), machine) {
            return Err(RedeemError::WrongMachine {
                token_id,
                mac,
                expected,
                got,
            });
        }
        Ok(Redeemed {
            token_id,
            mac,
            issued_at: time(row.try_get("issued_at")?).unwrap_or(now),
        })
    }
}

/// What does not fit between a token and the machine that shows it, as (expected, got).
fn mismatch(mac: &str, uuid: Option<&str>, machine: &Fingerprint) -> Option<(String, String)> {
    if !machine.macs.iter().any(|m| m.eq_ignore_ascii_case(mac)) {
        let got = if machine.macs.is_empty() {
            "none".to_owned()
        } else {
            machine.macs.join(", ")
        };
        return Some((format!("MAC address {mac}"), format!("MAC addresses {got}")));
    }
    match uuid {
        Some(uuid) if !machine.smbios_uuid.is_empty() && !same_uuid(uuid, &machine.smbios_uuid) => Some((
            format!("SMBIOS UUID {uuid}"),
            format!("SMBIOS UUID {}", machine.smbios_uuid),
        )),
        _ => None,
    }
}

fn hash(token: &str) -> Vec<u8> {
    blake3::hash(token.as_bytes()).as_bytes().to_vec()
}

fn time(milliseconds: Option<i64>) -> Option<Timestamp> {
    milliseconds.and_then(|ms| Timestamp::from_millisecond(ms).ok())
}

fn random_hex() -> Result<String, getrandom::Error> {
    let mut bytes = Zeroizing::new([0u8; SECRET_BYTES]);
    getrandom::fill(bytes.as_mut())?;
    Ok(hex::encode(bytes.as_ref()))
}

impl fmt::Debug for BootTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BootTokens")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").finish_non_exhaustive()
    }
}

impl fmt::Debug for PendingIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingIdentity")
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
