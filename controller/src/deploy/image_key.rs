//! The key of an encrypted image that is deleted goes when the last deployment of it has ended. (It is sent with the task:
//! `plan`.)

use std::sync::atomic::Ordering;

use super::Deployments;
use crate::api::rest::problem::chain;

impl Deployments {
    /// Destroys the keys of encrypted images that are deleted and that nothing writes any more.
    pub(super) async fn destroy_image_keys(&self) {
        match self.image_keys.destroy_unused().await {
            Ok(0) => {}
            Ok(keys) => {
                self.unscrubbed.store(true, Ordering::SeqCst);
                tracing::info!(keys, "the keys of deleted encrypted images were destroyed");
            }
            Err(error) => {
                tracing::error!(error = %chain(&error), "the keys of deleted images could not be destroyed");
            }
        }
    }
}
