//! What a disk can do to erase itself, whatever its bus is.

use std::fmt;

use imprint_proto::agent::v1::{WipeMethod, WipePassedOver};

use super::control::Control;

/// Methods that a disk offers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Offers {
    /// The best first.
    pub methods: Vec<WipeMethod>,
    /// What it does not offer, or what must not be used, and why; the best first.
    pub passed_over: Vec<WipePassedOver>,
}

impl Offers {
    /// One more, or why not.
    pub fn judge(&mut self, method: WipeMethod, against: Option<&str>) {
        match against {
            None => self.methods.push(method),
            Some(reason) => self.passed_over.push(passed_over(method, reason)),
        }
    }
}

/// A method that is not used.
#[must_use]
pub fn passed_over(method: WipeMethod, reason: &str) -> WipePassedOver {
    WipePassedOver {
        method: method.into(),
        reason: reason.to_owned(),
    }
}

/// The disk has not erased itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EraseError {
    /// It can still be written, so another method can be tried.
    #[error("{cause}")]
    Refused {
        /// What it said.
        cause: String,
    },
    /// Nothing else can be tried.
    #[error("{cause}")]
    Stuck {
        /// What it said.
        cause: String,
        /// What an operator can do.
        remedy: &'static str,
    },
    /// Somebody asked for it. The disk may go on by itself.
    #[error("cancelled while the disk erased itself; it goes on and takes no other command until it is done")]
    Cancelled,
}

impl EraseError {
    pub(super) fn refused(cause: impl Into<String>) -> Self {
        Self::Refused { cause: cause.into() }
    }
}

/// A disk that may be able to erase itself.
pub trait Firmware: Send + Sync + fmt::Debug {
    /// Waits for the end of an erasure that somebody began before, which keeps the disk from everything else. The answer is
    /// what it was, if one was running and has succeeded.
    ///
    /// # Errors
    /// When it does not come to an end.
    fn settle(&self, control: &Control) -> Result<Option<WipeMethod>, EraseError>;

    /// What it offers now.
    fn offers(&self, control: &Control) -> Offers;

    /// Has it erase itself and waits for that.
    ///
    /// # Errors
    /// When it does not, or says that it has failed.
    fn erase(&self, method: WipeMethod, control: &Control) -> Result<(), EraseError>;
}

/// The words for a method.
#[must_use]
pub fn name(method: WipeMethod) -> &'static str {
    match method {
        WipeMethod::Unspecified => "nothing",
        WipeMethod::Quick => "signatures and ends",
        WipeMethod::ZeroCommand => "zeroes by command",
        WipeMethod::Overwrite => "overwrite",
        WipeMethod::AtaSecureErase => "ATA secure erase",
        WipeMethod::AtaEnhancedSecureErase => "ATA enhanced secure erase",
        WipeMethod::NvmeFormatCrypto => "NVMe format, crypto erase",
        WipeMethod::NvmeFormat => "NVMe format, user data erase",
        WipeMethod::NvmeSanitizeCrypto => "NVMe sanitize, crypto erase",
        WipeMethod::NvmeSanitizeBlock => "NVMe sanitize, block erase",
    }
}
