//! The virtual CD of a server: for operators, and for networks without PXE.

use serde_json::json;
use url::Url;

use super::{BmcRecord, PowerError, cd};
use crate::{app::App, events::NewEvent, identity::Caller};

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

/// What is to be in the virtual CD of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media<'a> {
    /// Nothing.
    Nothing,
    /// An image, by its http(s)://… as the BMC reaches it.
    Image(&'a str),
    /// The ramdisk, made for this server.
    Ramdisk,
}

impl<'a> Media<'a> {
    /// As callers say it.
    ///
    /// # Errors
    /// When both are wanted.
    pub fn of(image: Option<&'a str>, ramdisk: bool) -> Result<Self, PowerError> {
        match (image, ramdisk) {
            (None, false) => Ok(Self::Nothing),
            (Some(url), false) => Ok(Self::Image(url)),
            (None, true) => Ok(Self::Ramdisk),
            (Some(_), true) => Err(PowerError::Invalid(
                "a drive takes an image or the ramdisk, not both".to_owned(),
            )),
        }
    }
}

/// Changes what is in the virtual CD of a server; waits until that is done.
///
/// # Errors
/// When it has no BMC, or the BMC does not do it.
pub async fn set_media(app: &App, by: &Caller, wanted: &str, media: Media<'_>) -> Result<(), PowerError> {
    if let Media::Image(url) = media {
        check(url).map_err(PowerError::Invalid)?;
    }
    let power = &app.power;
    let node = power.nodes.find(&by.viewer(), wanted).await?;
    let record: BmcRecord = power.bmc_of(&node.id).await?;
    let Some(bmc) = power.converse(&node, &record).await? else {
        return Err(PowerError::ByHand(record.by_hand(&node.name)));
    };
    let done = match media {
        Media::Nothing => bmc.set_media(None).await.map_err(PowerError::from),
        Media::Image(url) => bmc.set_media(Some(url)).await.map_err(PowerError::from),
        Media::Ramdisk => cd::insert(app, &node, bmc.as_ref())
            .await
            .map_err(PowerError::from),
    };
    bmc.close().await;
    done?;
    let (message, url) = match media {
        Media::Nothing => (format!("The virtual CD of node {} is empty.", node.name), None),
        Media::Image(url) => (
            format!("The virtual CD of node {} holds {url}.", node.name),
            Some(url),
        ),
        // Its address is as secret as what is on it.
        Media::Ramdisk => (
            format!("The virtual CD of node {} holds the ramdisk.", node.name),
            None,
        ),
    };
    let event = NewEvent {
        kind: "node.media",
        node_id: Some(&node.id),
        deployment_id: None,
        message,
        details: json!({ "url": url, "ramdisk": media == Media::Ramdisk }),
    };
    power.events.append_by(by.author(), event).await?;
    Ok(())
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
