//! What comes of comparing an image with a server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::words;

words! {
    /// Whether an image can be deployed to a server.
    Verdict, {
        /// Nothing is against it.
        Fits => "fits",
        /// Nothing known is against it, but something is not shown: it needs an explicit, recorded permission.
        Unverified => "unverified",
        /// It cannot work, or must not be done.
        Refused => "refused",
    }
}

/// One requirement that is not met, or one thing to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// Stable, for programs: "driver-missing".
    pub code: String,
    /// For people.
    pub text: String,
    /// What can be done.
    pub remedy: String,
    /// The fact of the image that it is about: "boot_modes=bios".
    pub image_fact: String,
    /// The fact of the node that it is about: "firmware.mode=uefi".
    pub node_fact: String,
}

/// Whether one image fits one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// The worst of the reasons.
    pub verdict: Verdict,
    /// The requirements that are not met, in the order of the table of checks.
    pub reasons: Vec<Reason>,
    /// What should be known and is no obstacle, in the same order.
    pub notes: Vec<Reason>,
}
