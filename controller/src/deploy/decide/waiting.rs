//! What a deployment waits for.

use std::fmt;

use crate::deploy::state::Step;

/// What a deployment waits for, as a sentence for operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// So many of its batch are before it.
    Turn(u32),
    /// Its node is in maintenance, in which nothing is begun.
    Maintenance,
    /// The machine is to be powered on.
    Power,
    /// The same, with what people have to know.
    PowerByHand(String),
    /// Its BMC is to have the machine boot the ramdisk; what that waits for.
    PowerByBmc(String),
    /// Its BMC has switched the machine on, which is to ask for the ramdisk; what is worth knowing of it.
    NetworkBoot(String),
    /// Its BMC has not switched the machine on.
    PowerFailed {
        /// Why.
        why: String,
        /// What can be done.
        remedy: String,
        /// Whether it is asked again.
        again: bool,
    },
    /// The machine has power; the agent is to call.
    AgentCall,
    /// A card is to show the volume; in the volume's own words.
    Volume(String),
    /// The agent is to say that it holds the task, as the database is older than the world.
    Restored,
    /// The agent is to give up an older task.
    OlderTask,
    /// The agent is to say that it has taken the task.
    Acceptance,
    /// The agent works on a step.
    Work(Step),
    /// Somebody works in the ramdisk, until he ends it or its time is over.
    Rescue,
    /// The same, while the agent's session is gone.
    RescueAlone,
    /// The agent's session is gone in the middle of the work.
    AgentReturn(Step),
    /// The agent is to confirm the cancellation.
    CancelConfirmation,
    /// The installed system is to report.
    FirstBootReport,
    /// The installed system is up; its cloud-init is to end.
    CloudInit,
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Turn(0) => f.write_str("waits for its turn in its batch: it is the next"),
            Self::Turn(before) => write!(f, "waits for its turn in its batch: {before} are before it"),
            Self::Maintenance => f.write_str(
                "waits for the maintenance of its node to end (imprint node maintenance NODE --end), and for its turn in its batch",
            ),
            Self::Power => f.write_str(
                "waits for the server to boot the ramdisk from the network: power it on or restart it",
            ),
            Self::PowerByHand(instructions) => write!(
                f,
                "waits for the server to boot the ramdisk from the network: power it on or restart it by hand ({instructions})"
            ),
            Self::PowerByBmc(why) => {
                write!(
                    f,
                    "the server's BMC is to have it boot the ramdisk: {why}"
                )
            }
            Self::NetworkBoot(note) if note.is_empty() => {
                f.write_str("the BMC has switched the server on; waits for it to ask for the ramdisk")
            }
            Self::NetworkBoot(note) => write!(
                f,
                "the BMC has switched the server on; waits for it to ask for the ramdisk ({note})"
            ),
            Self::PowerFailed { why, remedy, again } => {
                let then = if *again {
                    "It is asked again; meanwhile power the server on or restart it by hand, if you can"
                } else {
                    "Power the server on or restart it by hand"
                };
                write!(
                    f,
                    "the server's BMC has not switched it on: {why}. {remedy} {then}"
                )
            }
            Self::AgentCall => {
                f.write_str("the server has asked for the ramdisk; waits for the agent in it to call")
            }
            Self::Volume(why) => write!(f, "waits for the volume to be shown to the server: {why}"),
            Self::Restored => f.write_str(
                "the controller was restored from a backup or an older copy; nothing is sent until the agent says that it holds this task, or an operator confirms the node",
            ),
            Self::OlderTask => {
                f.write_str("waits for the agent to give up the task of an earlier deployment")
            }
            Self::Acceptance => f.write_str("the task was sent; waits for the agent to take it"),
            Self::Work(step) => write!(f, "the agent {} (step {step})", step.doing()),
            Self::Rescue => {
                f.write_str("somebody works in the ramdisk; ends when he says so, or by its deadline")
            }
            Self::RescueAlone => f.write_str(
                "the agent is not connected; the rescue goes on without, until its deadline, or begins anew when the server has booted its ramdisk again",
            ),
            Self::AgentReturn(step) => {
                write!(
                    f,
                    "the agent is not connected; it goes on by itself with step {step} and is expected to call again"
                )
            }
            Self::CancelConfirmation => {
                f.write_str("waits for the agent to stop and to confirm the cancellation")
            }
            Self::FirstBootReport => {
                f.write_str("the image is on the disk; waits for the installed system to start and to report")
            }
            Self::CloudInit => f.write_str("the installed system is up; waits for its cloud-init to end"),
        }
    }
}
