//! The network as it was given, kept in the installed system: what it is compared with, and restored from.
//!
//! The text is JSON in a frame with its digest, so that a damaged copy is told from a good one. The agent writes it in two
//! places; the guest plugin takes the first that is whole.

use serde_json::{Map, Value, json};
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
        match (&self.accepted, self.system) {
            (Some(files), _) => files.clone(),
            (None, Some(system)) => render(&self.network, system).files,
            (None, None) => Vec::new(),
        }
    }

    /// As text.
    #[must_use]
    pub fn to_text(&self) -> String {
        let network = render(&self.network, Format::CloudInit).files;
        let accepted = self.accepted.as_ref().map(|files| {
            let file = |file: &File| json!({"path": file.path, "mode": file.mode, "content": file.content});
            files.iter().map(file).collect::<Vec<Value>>()
        });
        let state = json!({
            "version": VERSION,
            "system": self.system.map(Format::word),
            "network": network.first().map(|file| file.content.as_str()),
            "accepted": accepted,
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
            Some(Value::Array(files)) => {
                let files: Option<Vec<File>> = files.iter().map(|file| accepted(file.as_object()?)).collect();
                Some(files.ok_or(form("an accepted file"))?)
            }
            Some(_) => return Err(form("accepted files")),
        };
        Ok(Self {
            network,
            system,
            accepted,
        })
    }
}

fn accepted(file: &Map<String, Value>) -> Option<File> {
    Some(File {
        path: file.get("path")?.as_str()?.to_owned(),
        mode: u32::try_from(file.get("mode")?.as_u64()?).ok()? & 0o7777,
        content: file.get("content")?.as_str()?.to_owned(),
    })
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
        };
        assert_eq!(Kept::from_text(&kept.to_text()).as_ref(), Ok(&kept));
        assert_eq!(kept.files(), render(&kept.network, Format::Networkd).files);
        let file = File {
            path: "etc/a".into(),
            mode: 0o600,
            content: "x\n".into(),
        };
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
