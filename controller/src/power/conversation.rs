//! From what is kept of a BMC to somebody who can be asked.

use url::Url;
use zeroize::Zeroizing;

use super::{
    Bmc, BmcError, BmcKind, BmcQuirks, BmcRecord, Power, PowerError,
    ipmi::{self, Ipmi},
    quirks::known,
    redfish::{Access, Redfish, Trust, WantedSystem, parse_fingerprint},
    secret::{self, For},
};
use crate::{events::doing, inventory::Node};

impl BmcRecord {
    /// What an operator says, and what is known of the vendor and model that it named the last time.
    pub(super) fn all_quirks(&self) -> BmcQuirks {
        self.quirks.or(&known(&self.vendor, &self.model))
    }

    fn trust(&self) -> Result<Trust, BmcError> {
        Ok(match (&self.fingerprint, &self.ca_pem) {
            (Some(digits), _) => Trust::Fingerprint(
                parse_fingerprint(digits)
                    .ok_or_else(|| BmcError::Setup(format!("`{digits}` is no fingerprint")))?,
            ),
            (None, Some(pem)) => Trust::Ca(pem.clone()),
            (None, None) => Trust::Host,
        })
    }
}

impl Power {
    /// Opens a conversation. Nothing is sent yet. None: the node is powered by hand.
    pub(super) async fn converse(
        &self,
        node: &Node,
        record: &BmcRecord,
    ) -> Result<Option<Box<dyn Bmc>>, BmcError> {
        if record.kind == BmcKind::Manual {
            return Ok(None);
        }
        let password = self.password(node, record).await?;
        let (user, quirks) = (record.user.clone(), record.all_quirks());
        if record.kind == BmcKind::Ipmi {
            let (host, port) = ipmi::place(&record.address)
                .ok_or_else(|| BmcError::Setup(format!("`{}` is no address", record.address)))?;
            let uefi = match self.nodes.inventory(&node.id).await {
                Ok(inventory) => inventory.is_some_and(|seen| seen.firmware.mode == "uefi"),
                Err(error) => return Err(BmcError::Setup(error.to_string())),
            };
            return Ok(Some(Box::new(Ipmi {
                host,
                port,
                user,
                password,
                uefi,
                quirks,
            })));
        }
        let access = Access {
            address: record.address.clone(),
            user,
            password,
            trust: record.trust()?,
        };
        let wanted = WantedSystem {
            named: record.system.clone(),
            uuid: node.smbios_uuid.clone(),
            serial: node.serial.clone(),
            any: quirks.other_identity == Some(true),
        };
        Ok(Some(Box::new(Redfish::new(access, wanted, quirks)?)))
    }

    async fn password(&self, node: &Node, record: &BmcRecord) -> Result<Zeroizing<String>, BmcError> {
        let what = For {
            node_id: &node.id,
            kind: record.kind,
            address: &record.address,
            user: &record.user,
        };
        let missing = || BmcError::Secret("none is kept".to_owned());
        let sealed = record.sealed.as_ref().ok_or_else(missing)?;
        secret::open(&self.keys, what, sealed).await
    }

    /// The BMC as somebody who serves a serial console, which is IPMI's, whatever else it speaks.
    pub(super) async fn console_of(&self, node: &Node, record: &BmcRecord) -> Result<Ipmi, BmcError> {
        let no_address = || BmcError::Setup(format!("`{}` is no address", record.address));
        let (host, port) = match record.kind {
            BmcKind::Ipmi => ipmi::place(&record.address).ok_or_else(no_address)?,
            BmcKind::Redfish => {
                let url: Url = record.address.parse().map_err(|_| no_address())?;
                let host = url.host_str().ok_or_else(no_address)?;
                (host.trim_matches(['[', ']']).to_owned(), ipmi::PORT)
            }
            BmcKind::Manual => return Err(BmcError::Setup("the server is powered by hand".to_owned())),
        };
        let password = self.password(node, record).await?;
        if password.len() > ipmi::LONGEST_PASSWORD {
            let longest = ipmi::LONGEST_PASSWORD;
            return Err(BmcError::Setup(format!(
                "the password is longer than the {longest} bytes that IPMI has room for"
            )));
        }
        Ok(Ipmi {
            host,
            port,
            user: record.user.clone(),
            password,
            uefi: false,
            quirks: record.all_quirks(),
        })
    }

    /// What a BMC calls its server decides about its quirks.
    pub(super) async fn note_model(
        &self,
        node_id: &str,
        vendor: &str,
        model: &str,
    ) -> Result<(), PowerError> {
        sqlx::query(
            "UPDATE bmcs SET vendor = ?1, model = ?2 WHERE node_id = ?3 AND (vendor, model) <> (?1, ?2)",
        )
        .bind(vendor)
        .bind(model)
        .bind(node_id)
        .execute(&self.db)
        .await
        .map_err(doing("keep what the BMC manages"))?;
        Ok(())
    }
}
