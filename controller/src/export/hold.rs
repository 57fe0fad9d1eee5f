//! What an export reads stays in the store until the export has ended, also when the image is deleted meanwhile.

use tokio::runtime::Handle;

use super::{ExportFault, OpenedDisk};
use crate::catalog::Catalog;

/// Holds the content of an image. Dropped, it lets it go; [`Hold::end`] waits until that is done.
#[derive(Debug)]
pub(super) struct Hold {
    catalog: Catalog,
    holder: String,
    ended: bool,
}

impl Hold {
    /// Of the disk's image, for a holder of this name. Refused when the image is gone.
    pub(super) async fn of(catalog: &Catalog, holder: &str, disk: &OpenedDisk) -> Result<Self, ExportFault> {
        // Made before there is anything to let go, so that nothing stays held when nobody waits for us any more.
        let hold = Self {
            catalog: catalog.clone(),
            holder: holder.to_owned(),
            ended: false,
        };
        if catalog.hold(holder, &disk.image_id).await? {
            Ok(hold)
        } else {
            Err(ExportFault::Gone {
                image: disk.image.clone(),
            })
        }
    }

    /// Lets it go.
    pub(super) async fn end(mut self) {
        self.ended = true;
        let_go(&self.catalog, &self.holder).await;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Ok(runtime) = Handle::try_current() else {
            // The controller ends, and the next one lets all go that its exports held.
            return;
        };
        if !self.ended {
            let (catalog, holder) = (self.catalog.clone(), std::mem::take(&mut self.holder));
            runtime.spawn(async move { let_go(&catalog, &holder).await });
        }
    }
}

async fn let_go(catalog: &Catalog, holder: &str) {
    if let Err(error) = catalog.forget_pending(holder).await {
        let error = &error as &(dyn std::error::Error + 'static);
        tracing::warn!(
            error,
            "what an export has read stays in the store until the next start"
        );
    }
}
