//! BMCs are made known, found and forgotten.

use serde_json::json;
use zeroize::Zeroizing;

use super::{
    BmcKind, BmcRecord, Power, PowerError,
    check::NewBmc,
    record::load,
    secret::{self, For, Sealed},
};
use crate::{
    db,
    events::{NewEvent, doing},
    identity::{Caller, Viewer},
    inventory::Node,
};

/// What can be asked of a password that is not given.
fn kept(old: Option<BmcRecord>, new: &NewBmc) -> Option<Sealed> {
    let old = old?;
    let same = (old.kind, &old.address, &old.user) == (new.kind, &new.address, &new.user);
    old.sealed.filter(|_| same)
}

impl Power {
    /// Says where the BMC of a node is, or that it is powered by hand.
    pub async fn set_bmc(&self, by: &Caller, wanted: &str, new: NewBmc) -> Result<BmcRecord, PowerError> {
        let new = new.checked().map_err(PowerError::Invalid)?;
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let sealed = match &new.password {
            Some(password) => Some(self.seal(&node, &new, password).await?),
            None => None,
        };
        let quirks =
            serde_json::to_string(&new.quirks).map_err(|error| PowerError::Invalid(error.to_string()))?;
        let mut change = self.events.begin_by(by.author()).await?;
        let sealed = match sealed {
            Some(sealed) => Some(sealed),
            None if new.kind == BmcKind::Manual => None,
            None => {
                let kept = kept(load(change.connection(), &node.id).await?, &new);
                Some(kept.ok_or(PowerError::NoPassword)?)
            }
        };
        sqlx::query(
            "INSERT OR REPLACE INTO bmcs (node_id, kind, address, user_name, sealed, wrapped_key, wrapped_by, system, fingerprint, \
             ca_pem, boot, serial_over_lan, instructions, quirks, set_by, set_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&node.id)
        .bind(new.kind.as_str())
        .bind(&new.address)
        .bind(&new.user)
        .bind(sealed.as_ref().map(|sealed| &sealed.bytes))
        .bind(sealed.as_ref().map(|sealed| &sealed.key.bytes))
        .bind(sealed.as_ref().map(|sealed| &sealed.key.by))
        .bind(&new.system)
        .bind(&new.fingerprint)
        .bind(&new.ca_pem)
        .bind(new.boot.unwrap_or(super::BootTarget::Pxe).as_str())
        .bind(new.serial_over_lan)
        .bind(&new.instructions)
        .bind(quirks)
        .bind(&by.name)
        .bind(self.clock.now_ms())
        .execute(change.connection())
        .await
        .map_err(doing("keep the BMC of the node"))?;
        let message = match new.kind {
            BmcKind::Manual => format!("Node {} is powered by hand.", node.name),
            kind => format!(
                "The BMC of node {} is at {} ({kind}, user {}).",
                node.name, new.address, new.user
            ),
        };
        change
            .append(NewEvent {
                kind: "node.bmc",
                node_id: Some(&node.id),
                deployment_id: None,
                message,
                details: json!({
                    "kind": new.kind, "address": new.address, "user": new.user, "fingerprint": new.fingerprint,
                    "own_ca": new.ca_pem.is_some(), "plain_http": new.plain_http,
                }),
            })
            .await?;
        let record = load(change.connection(), &node.id).await?;
        change.commit().await?;
        self.empty_log().await;
        self.bell.notify_one();
        Ok(record.unwrap_or_else(BmcRecord::none))
    }

    async fn seal(
        &self,
        node: &Node,
        new: &NewBmc,
        password: &Zeroizing<String>,
    ) -> Result<Sealed, PowerError> {
        let what = For {
            node_id: &node.id,
            kind: new.kind,
            address: &new.address,
            user: &new.user,
        };
        Ok(secret::seal(&self.keys, what, password).await?)
    }

    /// What is kept of the BMC of a node that the viewer may see.
    pub async fn bmc(&self, viewer: &Viewer, wanted: &str) -> Result<BmcRecord, PowerError> {
        let node = self.nodes.find(viewer, wanted).await?;
        self.bmc_of(&node.id).await
    }

    pub(super) async fn bmc_of(&self, node_id: &str) -> Result<BmcRecord, PowerError> {
        let mut connection = self
            .db
            .acquire()
            .await
            .map_err(doing("read the BMC of the node"))?;
        let found = load(&mut connection, node_id).await?;
        Ok(found.unwrap_or_else(BmcRecord::none))
    }

    /// Forgets the BMC of a node, with its password; tells what it was.
    pub async fn forget_bmc(&self, by: &Caller, wanted: &str) -> Result<BmcRecord, PowerError> {
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let Some(record) = load(change.connection(), &node.id).await? else {
            return Ok(BmcRecord::none());
        };
        sqlx::query("DELETE FROM bmcs WHERE node_id = ?")
            .bind(&node.id)
            .execute(change.connection())
            .await
            .map_err(doing("forget the BMC of the node"))?;
        change
            .append(NewEvent {
                kind: "node.bmc",
                node_id: Some(&node.id),
                deployment_id: None,
                message: format!(
                    "The BMC of node {} was forgotten; it is powered by hand.",
                    node.name
                ),
                details: json!({ "kind": BmcKind::Manual }),
            })
            .await?;
        change.commit().await?;
        self.empty_log().await;
        self.bell.notify_one();
        Ok(record)
    }

    /// A password that was replaced is not left in the database's log.
    async fn empty_log(&self) {
        match db::empty_log(&self.db).await {
            Ok(true) => {}
            Ok(false) => tracing::debug!("the database's log is emptied later, with the next change"),
            Err(error) => tracing::warn!(%error, "the database's log could not be emptied"),
        }
    }
}
