//! Why a volume is not presented.

use super::PciFunction;

/// What goes wrong between controller and card.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Not an address.
    #[error("`{address}` is not the address of a card")]
    Address {
        /// What was given.
        address: String,
    },
    /// It was asked again and again.
    #[error("the card at {address} does not answer {call}: {said}")]
    Silent {
        /// The card.
        address: String,
        /// Name of the call.
        call: &'static str,
        /// What the last try came to.
        said: String,
    },
    /// The card says no.
    #[error("the card at {address} refuses {call} ({code:?}): {said}")]
    Refused {
        /// The card.
        address: String,
        /// Name of the call.
        call: &'static str,
        /// Its reason, as gRPC spells it.
        code: tonic::Code,
        /// Its reason in words.
        said: String,
    },
    /// The card can do less than is needed.
    #[error("the card at {address} has no {call}")]
    Unknown {
        /// The card.
        address: String,
        /// Name of the call.
        call: &'static str,
    },
    /// The name is taken by something else.
    #[error("the card at {address} has {name} already, and not as it was asked for at {function}")]
    Different {
        /// The card.
        address: String,
        /// The card's name for it.
        name: String,
        /// Where it was to be.
        function: PciFunction,
    },
    /// The storage system was not reached by the card, or has no such volume.
    #[error(
        "the card at {address} has not found namespace {namespace} of {subsystem} within {waited_s} s; it has {found}"
    )]
    NoNamespace {
        /// The card.
        address: String,
        /// NQN of the storage system.
        subsystem: String,
        /// Number of the namespace.
        namespace: u32,
        /// How long was waited.
        waited_s: u64,
        /// What it has found.
        found: String,
    },
    /// The volume is none that a card shows.
    #[error("the card at {address} cannot show a disk that is presented already")]
    Elsewhere {
        /// The card.
        address: String,
    },
    /// An answer without an end, or without what it must have.
    #[error("the card at {address} answers {call} with {what}")]
    Strange {
        /// The card.
        address: String,
        /// Name of the call.
        call: &'static str,
        /// What is strange.
        what: String,
    },
    /// It failed, and so did taking back what was done of it.
    #[error("{why}; what was made of it is still on the card: {left}")]
    LeftBehind {
        /// Why it failed.
        why: Box<ProviderError>,
        /// Why it is still there.
        left: Box<ProviderError>,
    },
}

impl ProviderError {
    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        use tonic::Code;
        match self {
            Self::Address { .. } => "Give it as HOST:PORT.",
            Self::Silent { .. } => {
                "Check that the card is powered, that its service runs and that the controller reaches the address."
            }
            Self::Refused { code, .. } => match code {
                Code::Unauthenticated | Code::PermissionDenied => "Let the controller use the card.",
                Code::ResourceExhausted => "Detach volumes that are not needed from this card.",
                Code::Aborted => {
                    "Let the server release the disk: unmount it, or restart the server, then try again."
                }
                _ => "Change what the card names: another function, another volume, or its storage.",
            },
            Self::Unknown { .. } => {
                "Update the card's software, or use a backing that the card knows by name."
            }
            Self::Different { .. } => "Detach the volume, then attach it again.",
            Self::NoNamespace { .. } => {
                "Check address, subsystem and namespace of the volume, and that the storage system lets the card in."
            }
            Self::Elsewhere { .. } => {
                "Use it as it is, or make it known with the storage that the card is to reach."
            }
            Self::Strange { .. } => {
                "Check that the address is that of a card with OPI's storage API; update its software."
            }
            Self::LeftBehind { .. } => "Detach the volume as soon as the card answers.",
        }
    }

    /// Whether it can go better later, without anything being changed.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Silent { .. } | Self::NoNamespace { .. } => true,
            // The server holds the disk.
            Self::Refused { code, .. } => *code == tonic::Code::Aborted,
            Self::LeftBehind { why, .. } => why.passes(),
            Self::Address { .. }
            | Self::Unknown { .. }
            | Self::Different { .. }
            | Self::Elsewhere { .. }
            | Self::Strange { .. } => false,
        }
    }
}
