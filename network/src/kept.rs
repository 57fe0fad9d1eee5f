//! The network as it was given, kept in the installed system: what it is compared with, and restored from.
//!
//! The text is JSON in a frame with its digest, so that a damaged copy is told from a good one. The agent writes it in two
//! places; the guest plugin takes the first that is whole.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{
    model::Network,
    read,
    render::{File, Format, render},
};

/// Where the two copies lie, from the root of the system.
pub const PLACES: [&str; 2] = ["etc/imprint/network.json", "var/lib/imprint/network.json"];

/// Longest text of it, bytes.
pub const MAX_KEPT: usize = 4 << 20;

const VERSION: u64 = 1;

/// A network as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What was given.
    pub network: Network,
    /// Whose files were written; unset where cloud-init wrote them.
    pub system: Option<Format>,
    /// Files that an operator accepted in place of those written at first. The network as it was given counts no more then.
    pub accepted: Option<Vec<File>>,
    /// What the system was like when all was right for the first time.
    pub learned: Option<Learned>,
}

/// A system whose network was right: what is not in the network data, and belongs to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Learned {
    /// Its network files, where others than Imprint wrote them; empty where they are those of the network.
    pub files: Vec<File>,
    /// Links that make its network services start.
    pub services: Vec<ServiceLink>,
    /// It had a default route, whoever gave it.
    pub default_ipv4: bool,
    /// The same for IPv6.
    pub default_ipv6: bool,
}

/// A symbolic link of systemd.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceLink {
    /// From the root, without the first slash.
    pub path: String,
    /// Where it leads.
    pub target: String,
}

/// The text is not a network that was kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKept {
    /// Not in the form that was written.
    #[error("it is not what was written: {0}")]
    Form(&'static str),
    /// The digest is another.
    #[error("it was changed: its digest does not fit")]
    Digest,
    /// Of another version of Imprint.
    #[error("it was written by another version")]
    Version,
}

impl Kept {
    /// The files as they are to be: accepted ones, else those of the network.
    #[must_use]
    pub fn files(&self) -> Vec<File> {
        if let Some(files) = &self.accepted {
            return files.clone();
        }
        match (&self.learned, self.system) {
            (Some(learned), _) if !learned.files.is_empty() => learned.files.clone(),
            (_, Some(system)) => render(&self.network, system).files,
            (_, None) => Vec::new(),
        }
    }

    /// The network as the system is to have it: one whose files know interfaces by name only has them called so.
    #[must_use]
    pub fn expected(&self) -> Network {
        let ours = self
            .learned
            .as_ref()
            .is_none_or(|learned| learned.files.is_empty());
        match self.system {
            Some(Format::Ifupdown | Format::Ifcfg | Format::Wicked) if ours => self.network.renamed(|_| true),
            _ => self.network.clone(),
        }
    }

    /// As text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let network = render(&self.network, Format::CloudInit).files;
        let accepted = self.accepted.as_deref().map(files_to_json);
        let learned = self.learned.as_ref().map(Learned::to_json);
        let state = json!({
            "version": VERSION,
            "system": self.system.map(Format::word),
            "network": network.first().map(|file| file.content.as_str()),
            "accepted": accepted,
            "learned": learned,
        });
        // Keys of serde's maps are sorted: the same state has the same digest.
        let digest = digest(&state);
        format!("{:#}\n", json!({"digest": digest, "state": state}))
    }

    /// From its text.
    ///
    /// # Errors
    /// When it is damaged, or of another version.
    pub fn from_text(text: &str) -> Result<Self, BadKept> {
        let form = |what: &'static str| BadKept::Form(what);
        let document: Value = serde_json::from_str(text).map_err(|_| form("no JSON"))?;
        let state = document.get("state").ok_or(form("no state"))?;
        if document.get("digest").and_then(Value::as_str) != Some(digest(state).as_str()) {
            return Err(BadKept::Digest);
        }
        let state = state.as_object().ok_or(form("no state"))?;
        if state.get("version").and_then(Value::as_u64) != Some(VERSION) {
            return Err(BadKept::Version);
        }
        let system = match state.get("system").and_then(Value::as_str) {
            Some(word) => Some(Format::from_word(word).ok_or(BadKept::Version)?),
            None => None,
        };
        let network = state.get("network").and_then(Value::as_str).unwrap_or_default();
        let network = read(network.as_bytes()).map_err(|_| BadKept::Version)?.network;
        let accepted = match state.get("accepted") {
            None | Some(Value::Null) => None,
            Some(files) => Some(files_from_json(files).ok_or(form("accepted files"))?),
        };
        let learned = match state.get("learned") {
            None | Some(Value::Null) => None,
            Some(learned) => Some(Learned::from_json(learned).ok_or(form("what was learned"))?),
        };
        Ok(Self {
            network,
            system,
            accepted,
            learned,
        })
    }
}

impl Learned {
    fn to_json(&self) -> Value {
        let link = |link: &ServiceLink| json!({"path": link.path, "target": link.target});
        json!({
            "files": files_to_json(&self.files),
            "services": self.services.iter().map(link).collect::<Vec<Value>>(),
            "default_ipv4": self.default_ipv4,
            "default_ipv6": self.default_ipv6,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let link = |link: &Value| {
            Some(ServiceLink {
                path: link["path"].as_str()?.to_owned(),
                target: link["target"].as_str()?.to_owned(),
            })
        };
        Some(Self {
            files: files_from_json(&value["files"])?,
            services: value["services"]
                .as_array()?
                .iter()
                .map(link)
                .collect::<Option<_>>()?,
            default_ipv4: value["default_ipv4"].as_bool()?,
            default_ipv6: value["default_ipv6"].as_bool()?,
        })
    }
}

fn files_to_json(files: &[File]) -> Vec<Value> {
    let file = |file: &File| json!({"path": file.path, "mode": file.mode, "content": file.content});
    files.iter().map(file).collect()
}

fn files_from_json(files: &Value) -> Option<Vec<File>> {
    let file = |file: &Value| {
        Some(File {
            path: file["path"].as_str()?.to_owned(),
            mode: u32::try_from(file["mode"].as_u64()?).ok()? & 0o7777,
            content: file["content"].as_str()?.to_owned(),
        })
    };
    files.as_array()?.iter().map(file).collect()
}

fn digest(state: &Value) -> String {
    let digest = Sha256::digest(state.to_string().as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_and_tells_damage() {
        let text = "version: 2\nbonds: {b: {interfaces: [x, y], parameters: {mode: 802.3ad}, dhcp4: true}}\n";
        let mut kept = Kept {
            network: read(text.as_bytes()).unwrap().network,
            system: Some(Format::Networkd),
            accepted: None,
            learned: None,
        };
        assert_eq!(Kept::from_text(&kept.to_text()).as_ref(), Ok(&kept));
        assert_eq!(kept.files(), render(&kept.network, Format::Networkd).files);
        let file = File {
            path: "etc/a".into(),
            mode: 0o600,
            content: "x\n".into(),
        };
        kept.learned = Some(Learned {
            files: vec![file.clone()],
            services: vec![ServiceLink {
                path: "etc/systemd/system/a.wants/b.service".into(),
                target: "/lib/systemd/system/b.service".into(),
            }],
            default_ipv4: true,
            default_ipv6: false,
        });
        assert_eq!(Kept::from_text(&kept.to_text()).as_ref(), Ok(&kept));
        assert_eq!(kept.files(), std::slice::from_ref(&file));
        kept.accepted = Some(vec![file.clone()]);
        let text = kept.to_text();
        assert_eq!(Kept::from_text(&text).as_ref(), Ok(&kept));
        assert_eq!(kept.files(), [file]);
        assert_eq!(
            Kept::from_text(&text.replace("802.3ad", "broadcast")),
            Err(BadKept::Digest)
        );
        for cut in 0..text.len() {
            if let Some(part) = text.get(..cut).filter(|part| part.trim_end() != text.trim_end()) {
                assert!(Kept::from_text(part).is_err());
            }
        }
    }
}
