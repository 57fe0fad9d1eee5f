//! Who a guest plugin is: a certificate for the deployment that it has reported.

use serde_json::json;

use super::{GuestError, Guests, row};
use crate::{
    events::{NewEvent, doing},
    identity::{Authority, GuestId},
};

/// What a first-boot report is answered with.
#[derive(Debug, Clone, Default)]
pub struct Adopted {
    /// The node.
    pub node_id: String,
    /// DER, the leaf first; empty when none is given.
    pub chain_der: Vec<Vec<u8>>,
}

impl Guests {
    /// A certificate for a system whose report was taken just now, or earlier with the same key: its sender has shown the
    /// token of the deployment.
    ///
    /// # Errors
    /// When the request cannot be used, or the database does not answer.
    pub async fn adopt(&self, deployment_id: &str, csr_der: &[u8]) -> Result<Adopted, GuestError> {
        let key = Authority::key_of_request(csr_der)?;
        let mut change = self.events.begin().await?;
        let node_id: Option<String> = sqlx::query_scalar("SELECT node_id FROM deployments WHERE id = ?")
            .bind(deployment_id)
            .fetch_optional(change.connection())
            .await
            .map_err(doing("read the deployment"))?;
        let node_id = node_id.ok_or(GuestError::Gone)?;
        match row(change.connection(), &node_id).await? {
            Some(row) if row.deployment_id == deployment_id && row.key_digest != key.0 => {
                change
                    .append(NewEvent {
                        kind: "alarm.guest-key-changed",
                        node_id: Some(&node_id),
                        deployment_id: Some(deployment_id),
                        message: "A first-boot report came again with another key; it was given no certificate.".to_owned(),
                        details: json!({
                            "remedy": "If nobody has restored or copied this system's disk, look for whoever has its report token.",
                        }),
                    })
                    .await?;
                change.commit().await?;
                return Ok(Adopted {
                    node_id,
                    chain_der: Vec::new(),
                });
            }
            Some(row) if row.deployment_id == deployment_id => {}
            _ => {
                sqlx::query(
                    "INSERT OR REPLACE INTO guests (node_id, deployment_id, key_digest, created_at) VALUES (?, ?, ?, ?)",
                )
                .bind(&node_id)
                .bind(deployment_id)
                .bind(key.0.as_slice())
                .bind(self.clock.now_ms())
                .execute(change.connection())
                .await
                .map_err(doing("keep the guest plugin"))?;
                // The system before this one, should it still run somewhere.
                self.hub.end(&node_id);
            }
        }
        let guest = GuestId {
            node_id,
            deployment_id: deployment_id.to_owned(),
        };
        let chain_der = self.authority.issue_guest_certificate(csr_der, &guest)?;
        change.commit().await?;
        Ok(Adopted {
            node_id: guest.node_id,
            chain_der,
        })
    }

    /// A new certificate for the same key: DER, the leaf first.
    ///
    /// # Errors
    /// When the system is not on its node any more, or the key is another one.
    pub async fn renew(&self, guest: &GuestId, csr_der: &[u8]) -> Result<Vec<Vec<u8>>, GuestError> {
        let key = Authority::key_of_request(csr_der)?;
        let row = self.current(guest).await?;
        if row.key_digest != key.0 {
            return Err(GuestError::Gone);
        }
        Ok(self.authority.issue_guest_certificate(csr_der, guest)?)
    }

    /// The row of this certificate's system.
    pub(super) async fn current(&self, guest: &GuestId) -> Result<super::Row, GuestError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the guest plugin"))?;
        let row = row(&mut connection, &guest.node_id).await?;
        row.filter(|row| row.deployment_id == guest.deployment_id)
            .ok_or(GuestError::Gone)
    }
}
