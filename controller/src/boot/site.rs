//! What the boot servers share: where their files are, who decides, and what a machine is answered.

use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::facts::{self, BootAction, BootFacts};
use super::identity_initrd::{self, Identity};
use super::media::{Filled, Media, MediaError};
use super::script::Scripts;
use super::tokens::{BootTokens, PendingIdentity};
use crate::api::rest::problem::chain;
use crate::config::UefiLoader;
use imprint_hardware::model::LocalBoot;
use zeroize::Zeroizing;

/// Decides what a machine boots; an error is a sentence for its screen.
pub type Decide = Arc<dyn Fn(BootFacts) -> BoxFuture<'static, Result<BootAction, String>> + Send + Sync>;

/// What boot HTTP and TFTP serve from.
#[derive(Clone)]
pub struct BootSite {
    /// The scripts.
    pub scripts: Scripts,
    /// Folder with `vmlinuz`, `initrd.img` and `rescue.img`.
    pub ramdisk_dir: PathBuf,
    /// Folder with the iPXE files.
    pub ipxe_dir: PathBuf,
    /// What UEFI machines load first.
    pub uefi_loader: UefiLoader,
    /// Further initrds, by number.
    pub extra_initrds: Vec<PathBuf>,
    /// What agents dial.
    pub controller_url: String,
    /// The controller's CA.
    pub ca_pem: String,
    /// Public keys of manifests, hex.
    pub manifest_keys: Vec<String>,
    /// One-time tokens.
    pub tokens: BootTokens,
    /// What a machine boots.
    pub decide: Decide,
}

impl std::fmt::Debug for BootSite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BootSite")
            .field("ramdisk_dir", &self.ramdisk_dir)
            .finish_non_exhaustive()
    }
}

/// What a machine says of itself, as its boot loader sends it; empty where it does not know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'a> {
    /// The address of the NIC it boots from.
    pub mac: &'a str,
    /// SMBIOS system UUID.
    pub uuid: &'a str,
    /// SMBIOS system serial number.
    pub serial: &'a str,
    /// As iPXE spells it.
    pub platform: &'a str,
}

/// What a machine is to do, before it is put into the words of its boot loader.
#[derive(Debug)]
pub(super) enum Answer {
    /// Load kernel, ramdisk and the identity of the nonce.
    Ramdisk {
        facts: BootFacts,
        nonce: String,
        kernel_arguments: Vec<String>,
        rescue: bool,
        reason: String,
    },
    /// Leave the network boot.
    LocalDisk {
        facts: BootFacts,
        how: LocalBoot,
        reason: String,
    },
    /// Ask again a little later.
    Again { reason: String },
    /// It could not even name its address.
    Nameless { reason: String },
    /// It sent what no firmware sends.
    Hostile,
}

impl BootSite {
    /// What a machine is to do.
    pub(super) async fn answer(&self, said: Said<'_>) -> Answer {
        let values = [said.mac, said.uuid, said.serial, said.platform];
        if values.into_iter().any(facts::is_hostile) {
            tracing::warn!(?said, "refused a boot request whose values are commands");
            return Answer::Hostile;
        }
        let facts = match BootFacts::parse(said.mac, said.uuid, said.serial, said.platform) {
            Ok(facts) => facts,
            Err(error) => {
                tracing::warn!(%error, "a machine asked what to boot without a usable MAC address");
                let reason = error.to_string();
                return Answer::Nameless { reason };
            }
        };
        match (self.decide)(facts.clone()).await {
            Err(reason) => {
                tracing::error!(mac = %facts.mac, reason, "cannot decide what a machine boots");
                Answer::Again { reason }
            }
            Ok(BootAction::LocalDisk { reason, how }) => {
                tracing::info!(mac = %facts.mac, reason, "machine boots its local disk");
                Answer::LocalDisk { facts, how, reason }
            }
            Ok(BootAction::Ramdisk {
                reason,
                kernel_arguments,
                rescue,
            }) => match self.tokens.issue(&facts).await {
                Ok(issued) => {
                    tracing::info!(mac = %facts.mac, reason, "machine boots the ramdisk");
                    Answer::Ramdisk {
                        facts,
                        nonce: issued.nonce,
                        kernel_arguments,
                        rescue,
                        reason,
                    }
                }
                Err(error) => {
                    tracing::error!(mac = %facts.mac, error = &error as &dyn std::error::Error, "cannot issue a boot token");
                    let reason = "the controller cannot issue a boot token, see its log".to_owned();
                    Answer::Again { reason }
                }
            },
        }
    }

    /// The identity initrd of a nonce; `None` when it was used, replaced or has expired.
    pub(super) fn identity(&self, nonce: &str) -> Option<Result<Vec<u8>, serde_json::Error>> {
        let pending = self.tokens.pending(nonce)?;
        let built = self.archive(&pending);
        match &built {
            Ok(_) => tracing::info!(mac = %pending.facts.mac, "boot identity handed out"),
            Err(error) => tracing::error!(%error, "cannot encode a boot identity"),
        }
        Some(built.map(|archive| archive.to_vec()))
    }

    fn archive(&self, pending: &PendingIdentity) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
        identity_initrd::build(&Identity {
            version: 1,
            controller_url: &self.controller_url,
            ca_pem: &self.ca_pem,
            manifest_keys: &self.manifest_keys,
            boot_token: &pending.token,
            issued_at: pending.issued_at,
            node_hint: pending.facts.mac.as_str(),
        })
    }

    /// The CD of a nonce; `None` when it was used, replaced or has expired, or was not made for a CD.
    pub(super) fn media(&self, nonce: &str) -> Option<Result<(u64, Filled), MediaError>> {
        let pending = self.tokens.pending(nonce)?;
        let own = pending.kernel_arguments.as_ref()?;
        let made = Media::open(&self.ramdisk_dir).and_then(|media| {
            let identity = self.archive(&pending).map_err(MediaError::Identity)?;
            let script = self.scripts.grub_media(&pending.facts, own);
            Ok((media.bytes(), media.fill(&identity, &script)?))
        });
        Some(made.inspect_err(|error| {
            tracing::error!(mac = %pending.facts.mac, error = %chain(error), remedy = error.remedy(), "cannot make a CD of the ramdisk");
        }))
    }
}

/// Decides the same for every machine; and the machines that have asked.
#[cfg(test)]
pub(super) fn decide_for_test(action: Result<BootAction, String>) -> (Decide, Asked) {
    let asked = Asked::default();
    let notes = Arc::clone(&asked);
    let decide: Decide = Arc::new(move |facts| {
        notes.lock().unwrap().push(facts);
        let action = action.clone();
        Box::pin(async move { action })
    });
    (decide, asked)
}

/// What machines have said of themselves.
#[cfg(test)]
pub(super) type Asked = Arc<std::sync::Mutex<Vec<BootFacts>>>;

#[cfg(test)]
impl BootSite {
    /// A site of the folders `ramdisk` and `ipxe` below `dir`, with one further initrd, `firmware.img`.
    pub(super) fn for_test(dir: &std::path::Path, app: &crate::app::App, decide: Decide) -> Self {
        for folder in ["ramdisk", "ipxe"] {
            std::fs::create_dir(dir.join(folder)).unwrap();
        }
        let url = url::Url::parse("http://10.0.0.1:8080").unwrap();
        Self {
            scripts: Scripts::new(&url, &[], 1).unwrap(),
            ramdisk_dir: dir.join("ramdisk"),
            ipxe_dir: dir.join("ipxe"),
            uefi_loader: UefiLoader::Ipxe,
            extra_initrds: vec![dir.join("firmware.img")],
            controller_url: "https://10.0.0.1:8443".to_owned(),
            ca_pem: "the CA\n".to_owned(),
            manifest_keys: vec!["ab".repeat(32)],
            tokens: app.boot_tokens.clone(),
            decide,
        }
    }
}
