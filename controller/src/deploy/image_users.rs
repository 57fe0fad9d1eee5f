//! What becomes of users that the image brings.

use crate::words::words;

/// The image's property that says it for deployments that do not.
pub(super) const PROPERTY: &str = "image_users";

words! {
    /// What becomes of users that the image brings: its builder's, or those of the machine that it was made of.
    ImageUsers, "policy for the users of an image", {
        /// They stay as they are.
        Keep => "keep",
        /// Their `authorized_keys` go.
        RemoveKeys => "remove-keys",
        /// Their passwords are locked.
        LockPasswords => "lock-passwords",
        /// Both.
        RemoveAccess => "remove-access",
    }
}

impl ImageUsers {
    /// Whether keys go.
    pub(super) fn removes_keys(self) -> bool {
        matches!(self, Self::RemoveKeys | Self::RemoveAccess)
    }

    /// Whether passwords are locked.
    pub(super) fn locks_passwords(self) -> bool {
        matches!(self, Self::LockPasswords | Self::RemoveAccess)
    }
}
