//! One at a time works on a volume.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

/// Volumes that somebody works on.
pub(super) type Busy = Arc<Mutex<HashSet<String>>>;

/// The right to work on a volume, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim(Busy, String);

impl Claim {
    /// `None`: somebody else has it.
    pub fn of(busy: &Busy, id: &str) -> Option<Self> {
        let mut claimed = busy.lock().unwrap_or_else(PoisonError::into_inner);
        claimed
            .insert(id.to_owned())
            .then(|| Self(Arc::clone(busy), id.to_owned()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.remove(&self.1);
    }
}
