//! The virtual CD.

use http::Method;
use serde_json::{Value, json};

use super::{
    Redfish,
    answer::{Answer, link, links, texts},
};
use crate::power::BmcError;

/// A drive that takes images of CDs.
struct Drive {
    path: String,
    is: Answer,
}

fn takes_cds(drive: &Value) -> bool {
    texts(&drive["MediaTypes"])
        .iter()
        .any(|kind| matches!(kind.as_str(), "CD" | "DVD"))
}

impl Redfish {
    /// At the system, as newer services have it, or at its manager.
    async fn cd(&self) -> Result<Drive, BmcError> {
        let system = self.system().await?.body;
        let mut places = vec![link(&system["VirtualMedia"])];
        for manager in links(&system["Links"]["ManagedBy"]) {
            places.push(link(&self.client.get(&manager).await?.body["VirtualMedia"]));
        }
        for place in places.into_iter().flatten() {
            for path in links(&self.client.get(&place).await?.body["Members"]) {
                let is = self.client.get(&path).await?;
                if takes_cds(&is.body) {
                    return Ok(Drive { path, is });
                }
            }
        }
        Err(BmcError::Lacks {
            address: self.client.address().to_owned(),
            what: "virtual CD",
        })
    }

    pub(super) async fn change_media(&self, url: Option<&str>) -> Result<(), BmcError> {
        let drive = self.cd().await?;
        let inside = drive.is.body["Image"].as_str().filter(|image| !image.is_empty());
        if inside == url {
            return Ok(());
        }
        if inside.is_some() && url.is_some() {
            // Most do not change a CD that is inside.
            self.use_drive(&drive, None).await?;
        }
        self.use_drive(&drive, url).await
    }

    async fn use_drive(&self, drive: &Drive, url: Option<&str>) -> Result<(), BmcError> {
        let actions = &drive.is.body["Actions"];
        let (action, body) = match url {
            Some(url) => (
                "#VirtualMedia.InsertMedia",
                json!({ "Image": url, "Inserted": true, "WriteProtected": true }),
            ),
            None => ("#VirtualMedia.EjectMedia", json!({})),
        };
        let answer = match actions[action]["target"].as_str() {
            Some(target) => self.client.post(target, &body).await?,
            None => {
                let body = json!({ "Image": url, "Inserted": url.is_some() });
                let etag = drive.is.etag().filter(|_| self.said.no_if_match != Some(true));
                self.client
                    .ask(Method::PATCH, &drive.path, Some(&body), etag.as_deref())
                    .await?
            }
        };
        self.client.completed(answer, self.patience).await.map(drop)
    }
}
