//! Why a disk is not wiped.

use imprint_proto::agent::v1::WipeMethod;

use super::{
    firmware::{EraseError, name},
    release::ReleaseError,
    samples::Wrong,
};
use crate::target::{OpenError, WriteError};

/// A disk is not wiped.
#[derive(Debug, thiserror::Error)]
pub enum WipeFault {
    /// Somebody asked for it.
    #[error("the wipe was cancelled")]
    Cancelled,
    /// It can't be taken.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What holds it can't be stopped.
    #[error(transparent)]
    Held(#[from] ReleaseError),
    /// Another disk has its name now.
    #[error("the disk is gone: found was \"{before}\", its name now belongs to \"{now}\"")]
    Another {
        /// What it was.
        before: String,
        /// What has its name.
        now: String,
    },
    /// It refused a read, write or flush.
    #[error(transparent)]
    Disk(#[from] WriteError),
    /// Some places could not be overwritten.
    #[error("{bytes} bytes could not be overwritten, the first ones at {offset}")]
    Unwritable {
        /// The first place, in bytes.
        offset: u64,
        /// How much in all.
        bytes: u64,
        /// What the disk said of the first place.
        #[source]
        source: WriteError,
    },
    /// It did not erase itself, and nothing else can be tried.
    #[error(transparent)]
    Erase(#[from] EraseError),
    /// A sample says otherwise.
    #[error("after {} the disk still holds something at {offset}", name(*method))]
    Left {
        /// What was done before.
        method: WipeMethod,
        /// Where, in bytes.
        offset: u64,
    },
    /// A sample can't be read.
    #[error("after {} the disk cannot be read at {offset}", name(*method))]
    Unreadable {
        /// What was done before.
        method: WipeMethod,
        /// Where, in bytes.
        offset: u64,
        /// What it said.
        #[source]
        source: WriteError,
    },
    /// A system would still recognise something.
    #[error("the disk still shows {found}")]
    Signatures {
        /// Kinds of signatures.
        found: String,
    },
    /// It can't be looked at.
    #[error("the disk cannot be looked at: {cause}")]
    Look {
        /// Why.
        cause: String,
    },
    /// The policy is none.
    #[error("the task says {0} of how to wipe, which this agent does not know")]
    Policy(i32),
    /// It does not answer.
    #[error("the disk has not answered for {seconds} s")]
    Hung {
        /// For how long.
        seconds: u64,
        /// It erases itself, and may be at it still.
        by_itself: bool,
    },
    /// A fault of the agent.
    #[error("the agent has failed inside of the wipe")]
    Agent,
}

impl WipeFault {
    /// For a sample that is wrong.
    #[must_use]
    pub fn of_sample(method: WipeMethod, wrong: Wrong) -> Self {
        match wrong {
            Wrong::Content { offset } => Self::Left { method, offset },
            Wrong::Unreadable { offset, source } => Self::Unreadable {
                method,
                offset,
                source,
            },
        }
    }

    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Cancelled | Self::Erase(EraseError::Cancelled) => "wipe again when wanted",
            Self::Open(OpenError::Busy { .. }) => {
                "end what uses the disk (another wipe?), then wipe again; this disk was not touched"
            }
            Self::Open(error) => error.remedy(),
            Self::Held(error) => error.remedy(),
            Self::Another { .. } => "check the disk's seating, cable and controller, then wipe again",
            Self::Disk(_) | Self::Unreadable { .. } => {
                "look at the disk's SMART data and the kernel log; wipe again, or destroy the disk if it stays so"
            }
            Self::Unwritable { .. } => {
                "what is there may still be readable: destroy the disk, or have it erase itself (policy auto)"
            }
            Self::Erase(EraseError::Stuck { remedy, .. }) => remedy,
            Self::Erase(EraseError::Refused { .. }) => "wipe with the policy overwrite, or destroy the disk",
            Self::Left { .. } => {
                "do not trust this disk: wipe with the policy overwrite and look at the certificate, or destroy it"
            }
            Self::Signatures { .. } => "wipe again with the policy overwrite",
            Self::Look { .. } => "check that the disk is there and works; the kernel log tells more",
            Self::Policy(_) => "boot the server with a ramdisk as new as the controller",
            Self::Hung { by_itself: true, .. } => {
                "the disk may still erase itself: leave the server powered, then power-cycle it and wipe again"
            }
            Self::Hung { .. } => "power-cycle the server and look at the disk, its cable and its controller",
            Self::Agent => {
                "report this with the agent's log (journalctl -u imprint-agent on the machine's console)"
            }
        }
    }
}
