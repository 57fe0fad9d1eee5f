//! A CD of the ramdisk in a server's virtual drive, for networks without PXE.

use super::{Bmc, PowerError, decide::Reason};
use crate::{api::rest::problem::chain, app::App, boot::media::Media, inventory::Node};

/// Why a server has no CD.
#[derive(Debug)]
pub(super) struct NoCd {
    /// For people.
    pub reason: Reason,
    /// Asking again may help.
    pub passes: bool,
}

impl From<NoCd> for PowerError {
    fn from(no: NoCd) -> Self {
        Self::NoCd {
            why: no.reason.why,
            remedy: no.reason.remedy,
        }
    }
}

impl NoCd {
    fn ours(error: &(dyn std::error::Error + 'static), remedy: &str) -> Self {
        Self {
            reason: Reason {
                why: format!("the controller has no CD of the ramdisk for it: {}", chain(error)),
                remedy: remedy.to_owned(),
            },
            passes: false,
        }
    }
}

/// Puts a CD of the ramdisk into the virtual drive, made for this server alone and worthless to others. One that was there is
/// worth nothing any more.
pub(super) async fn insert(app: &App, node: &Node, bmc: &dyn Bmc) -> Result<(), NoCd> {
    const SEE_LOG: &str = "Look at the controller's log.";
    let folder = app.config.boot.ramdisk_dir.clone();
    let built = tokio::task::spawn_blocking(move || Media::open(&folder)).await;
    match built {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(NoCd::ours(&error, error.remedy())),
        Err(error) => return Err(NoCd::ours(&error, SEE_LOG)),
    }
    let (facts, kernel_arguments) = match app.deployments.ramdisk_facts(node).await {
        Ok(known) => known,
        Err(error) => return Err(NoCd::ours(&error, SEE_LOG)),
    };
    let Some(facts) = facts else {
        return Err(NoCd {
            reason: Reason {
                why: "no network address of the server is known, which its CD is bound to".to_owned(),
                remedy: "Announce the node with the MAC address of one of its network cards.".to_owned(),
            },
            passes: false,
        });
    };
    let issued = app.boot_tokens.issue_for_media(&facts, kernel_arguments).await;
    let issued = issued.map_err(|error| NoCd::ours(&error, SEE_LOG))?;
    let base = app.config.boot.media_url.as_str().trim_end_matches('/');
    let url = format!("{base}/boot/media/{}.iso", issued.nonce);
    bmc.set_media(Some(&url)).await.map_err(|error| NoCd {
        reason: (&error).into(),
        passes: error.passes(),
    })
}
