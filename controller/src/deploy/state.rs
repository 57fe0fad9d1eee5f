//! The typed states of a deployment.

use std::fmt;
use std::str::FromStr;

use imprint_proto::agent::v1 as wire;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A word in the database that this version does not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {what}")]
pub struct UnknownWord {
    what: &'static str,
    word: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal, { $($(#[$vdoc:meta])* $variant:ident => $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+
        }

        impl $name {
            /// All of them, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As APIs and the database spell it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { what: $what, word: text.to_owned() }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// How a deployment stands, for callers.
    DeploymentState, "state of deployments", {
        /// It goes on.
        Running => "running",
        /// The installed system has reported, or the data disk is written.
        Succeeded => "succeeded",
        /// It ended without.
        Failed => "failed",
        /// Somebody stopped it.
        Cancelled => "cancelled",
    }
}

words! {
    /// Where a running deployment is, for the reconciler.
    Phase, "phase", {
        /// The agent has not called yet.
        AwaitAgent => "await-agent",
        /// The agent has, or is to have, the task.
        AgentWorks => "agent-works",
        /// The disk is written and released; the installed system is to report.
        AwaitReport => "await-report",
        /// It is over.
        Ended => "ended",
    }
}

words! {
    /// What is known of the disk.
    DiskState, "state of a disk", {
        /// Nothing was written.
        Untouched => "untouched",
        /// Writing has begun; the head is withheld, so it cannot boot.
        Writing => "writing",
        /// Writing was given up, and the head is cleared.
        Cleared => "cleared",
        /// All is verified and released.
        Written => "written",
    }
}

words! {
    /// How a step stands.
    StepState, "state of a step", {
        /// It goes on.
        Running => "running",
        /// It goes on after a fault.
        Retrying => "retrying",
        /// It is done.
        Finished => "finished",
        /// It ended the deployment.
        Failed => "failed",
    }
}

words! {
    /// The visible steps, in their order.
    Step, "step", {
        /// Waits until the machine has power.
        Power => "power",
        /// Waits until the agent has called from the ramdisk.
        Boot => "boot",
        /// The agent takes the one disk that the rule names.
        ClaimDisk => "claim_disk",
        /// A volume is presented.
        AttachVolume => "attach_volume",
        /// The image is streamed, verified and written.
        Write => "write",
        /// The partition table is settled and grown.
        Partitions => "partitions",
        /// Machine identity and cloud-init seed.
        Seed => "seed",
        /// The guest plugin.
        Guest => "guest",
        /// The firmware's boot entry.
        BootEntry => "boot_entry",
        /// All is flushed; the machine restarts.
        Reboot => "reboot",
        /// The installed system is to report.
        FirstBootReport => "first_boot_report",
    }
}

impl Step {
    /// The step of the wire; `None` for one that this version does not know.
    #[must_use]
    pub fn of_wire(step: wire::Step) -> Option<Self> {
        Some(match step {
            wire::Step::Unspecified => return None,
            wire::Step::Power => Self::Power,
            wire::Step::Boot => Self::Boot,
            wire::Step::ClaimDisk => Self::ClaimDisk,
            wire::Step::AttachVolume => Self::AttachVolume,
            wire::Step::Write => Self::Write,
            wire::Step::Partitions => Self::Partitions,
            wire::Step::Seed => Self::Seed,
            wire::Step::Guest => Self::Guest,
            wire::Step::BootEntry => Self::BootEntry,
            wire::Step::Reboot => Self::Reboot,
            wire::Step::FirstBootReport => Self::FirstBootReport,
        })
    }

    /// Its place in the list of steps.
    #[must_use]
    pub fn position(self) -> i64 {
        (0..)
            .zip(Self::ALL)
            .find(|(_, step)| **step == self)
            .map_or(0, |(position, _)| position)
    }

    /// What happens in it, as the end of "The agent …".
    #[must_use]
    pub fn doing(self) -> &'static str {
        match self {
            Self::Power | Self::Boot => "prepares the task",
            Self::ClaimDisk => "looks for the disk",
            Self::AttachVolume => "waits for the volume",
            Self::Write => "writes the image",
            Self::Partitions => "settles the partition table",
            Self::Seed => "writes the cloud-init seed",
            Self::Guest => "installs the guest plugin",
            Self::BootEntry => "writes the boot entry",
            Self::Reboot => "restarts the machine",
            Self::FirstBootReport => "has done its part",
        }
    }
}
