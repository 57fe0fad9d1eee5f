//! The virtual CD of a server: for operators, and for networks without PXE.

use serde_json::json;
use url::Url;

use super::{BmcRecord, Power, PowerError};
use crate::{events::NewEvent, identity::Caller};

const LONGEST_URL: usize = 1000;

/// What is wrong with the address of an image.
fn check(text: &str) -> Result<(), String> {
    let url: Url = text
        .parse()
        .map_err(|_| "the address of the image is no URL".to_owned())?;
    if text.len() > LONGEST_URL || !matches!(url.scheme(), "http" | "https") {
        return Err(format!(
            "the address of the image is not like https://HOST/FILE.iso, of at most {LONGEST_URL} bytes"
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the address of the image has a password in it, which BMCs show to whoever asks".to_owned(),
        );
    }
    Ok(())
}

impl Power {
    /// Puts an image into the virtual CD of a server, or takes it out; waits until that is done.
    pub async fn set_media(&self, by: &Caller, wanted: &str, url: Option<&str>) -> Result<(), PowerError> {
        if let Some(url) = url {
            check(url).map_err(PowerError::Invalid)?;
        }
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let record: BmcRecord = self.bmc_of(&node.id).await?;
        let Some(bmc) = self.converse(&node, &record).await? else {
            return Err(PowerError::ByHand(record.by_hand(&node.name)));
        };
        let done = bmc.set_media(url).await;
        bmc.close().await;
        done?;
        let message = match url {
            Some(url) => format!("The virtual CD of node {} holds {url}.", node.name),
            None => format!("The virtual CD of node {} is empty.", node.name),
        };
        let event = NewEvent {
            kind: "node.media",
            node_id: Some(&node.id),
            deployment_id: None,
            message,
            details: json!({ "url": url }),
        };
        self.events.append_by(by.author(), event).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_come_over_http_and_without_passwords() {
        check("https://images.example.net/a.iso").unwrap();
        for bad in [
            "",
            "a.iso",
            "file:///etc/passwd",
            "nfs://host/a.iso",
            "https://u:p@host/a.iso",
        ] {
            check(bad).unwrap_err();
        }
        check(&format!("https://host/{}", "x".repeat(LONGEST_URL))).unwrap_err();
    }
}
