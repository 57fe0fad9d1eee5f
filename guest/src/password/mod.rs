//! Setting a password by order of the controller: once, for this boot of this system, for a short time.
//!
//! [`Orders`] decides whether an order may be carried out; [`shadow`] carries it out; [`hash`] knows the hashes.

pub mod hash;
mod order;
pub mod shadow;

pub use order::{Opened, Orders, Refusal, Standing};

use std::path::Path;

/// Carries out an opened order below `root`.
///
/// # Errors
/// When there is no such user, or the files cannot be read or replaced; nothing has changed then.
pub fn set(root: &Path, opened: &Opened, days_since_epoch: u64) -> Result<(), shadow::ShadowError> {
    let method = hash::Method::of(root);
    let hashed = method.hash(&opened.password)?;
    shadow::set(root, &opened.user, &hashed, days_since_epoch)
}
