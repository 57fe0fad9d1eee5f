//! The typed states of a deployment.

use imprint_proto::agent::v1 as wire;

use crate::{lifecycle::NodeEvent, words::words};

words! {
    /// How a deployment stands, for callers.
    DeploymentState, "state of deployments", {
        /// It goes on.
        Running => "running",
        /// The installed system has reported, or is one that cannot; or the data disk is written.
        Succeeded => "succeeded",
        /// It ended without.
        Failed => "failed",
        /// Somebody stopped it.
        Cancelled => "cancelled",
    }
}

words! {
    /// What has taken a node.
    Purpose, "purpose of a deployment", {
        /// An image is put onto it.
        Install => "install",
        /// Its disks are wiped: it is nobody's afterwards.
        Release => "release",
        /// Somebody works in its ramdisk.
        Rescue => "rescue",
    }
}

impl Purpose {
    /// The event that takes the node.
    #[must_use]
    pub fn takes(self) -> NodeEvent {
        match self {
            Self::Install => NodeEvent::Deploy,
            Self::Release => NodeEvent::Release,
            Self::Rescue => NodeEvent::Rescue,
        }
    }

    /// What an operator does after a failure: the end of "Mend it, then …".
    #[must_use]
    pub fn again(self) -> &'static str {
        match self {
            Self::Install => "deploy again",
            Self::Release => "release it again",
            Self::Rescue => "ask for the rescue again",
        }
    }

    /// As sentences have it: "the release".
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::Install => "deployment",
            Self::Release => "release",
            Self::Rescue => "rescue",
        }
    }
}

words! {
    /// Where a running deployment is, for the reconciler.
    Phase, "phase", {
        /// Its turn in its batch has not come.
        Queued => "queued",
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
        /// It was wiped, and that was proven.
        Wiped => "wiped",
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
        /// A volume is presented.
        AttachVolume => "attach_volume",
        /// The agent takes the one disk that the rule names.
        ClaimDisk => "claim_disk",
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
        /// Disks are made unreadable, and that is proven.
        Wipe => "wipe",
        /// Somebody is let in by ssh.
        Rescue => "rescue",
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
            wire::Step::Wipe => Self::Wipe,
            wire::Step::Rescue => Self::Rescue,
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
            Self::Wipe => "wipes the disks",
            Self::Rescue => "lets somebody in by ssh",
        }
    }
}
