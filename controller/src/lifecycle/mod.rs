//! The life of a node as one table: which event leads from which state where.
//!
//! Pure: no clock, socket or database. Every change of a node's state in the database is one of these transitions
//! (`inventory::transit`); `docs/lifecycle.md` is generated from them and from [`crate::deploy::decide`].

use std::fmt;

use crate::inventory::NodeState;

/// What is on the disks of a node when work on it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remains {
    /// A system that has reported, or that cannot.
    System,
    /// Nothing that anybody needs.
    Nothing,
    /// Nobody can say; an operator is to look.
    Unknown,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NodeEvent {
    /// Its agent has called.
    Called,
    /// Somebody, or its hardware model, takes it into service.
    Approved,
    /// A deployment takes it.
    Deploy,
    /// A release takes it: its disks are wiped.
    Release,
    /// A rescue takes it: somebody works in its ramdisk.
    Rescue,
    /// What has taken it has ended; or its system has reported late.
    Ended(Remains),
    /// It goes out of service for good.
    Retire,
}

impl NodeEvent {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Called,
        Self::Approved,
        Self::Deploy,
        Self::Release,
        Self::Rescue,
        Self::Ended(Remains::System),
        Self::Ended(Remains::Nothing),
        Self::Ended(Remains::Unknown),
        Self::Retire,
    ];
}

impl fmt::Display for NodeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Called => "its agent calls",
            Self::Approved => "approved",
            Self::Deploy => "deployment begins",
            Self::Release => "release begins",
            Self::Rescue => "rescue begins",
            Self::Ended(Remains::System) => "ends with a system",
            Self::Ended(Remains::Nothing) => "ends with nothing",
            Self::Ended(Remains::Unknown) => "ends, nobody knows how",
            Self::Retire => "retired",
        })
    }
}

impl NodeState {
    /// Whether a deployment, a release or a rescue has the node: nothing else may take it before that has ended.
    #[must_use]
    pub fn is_taken(self) -> bool {
        matches!(self, Self::Deploying | Self::Releasing | Self::Rescue)
    }

    /// The state that an event leads to; `None` where the event is not allowed.
    #[must_use]
    pub fn after(self, event: NodeEvent) -> Option<Self> {
        use NodeEvent as E;
        Some(match (self, event) {
            (Self::Enrolled, E::Called) | (Self::Discovered | Self::Retired, E::Approved) => Self::Available,
            (state, E::Called) => state,
            (Self::Available | Self::Active | Self::Failed, E::Deploy) => Self::Deploying,
            (Self::Available | Self::Active | Self::Failed, E::Release) => Self::Releasing,
            (Self::Available | Self::Active | Self::Failed, E::Rescue) => Self::Rescue,
            (state, E::Ended(remains)) if state.is_taken() => match remains {
                Remains::System => Self::Active,
                Remains::Nothing => Self::Available,
                Remains::Unknown => Self::Failed,
            },
            // A report that comes after the deployment was given up.
            (Self::Failed, E::Ended(Remains::System)) => Self::Active,
            (Self::Failed, E::Ended(Remains::Unknown)) => Self::Failed,
            (Self::Discovered | Self::Enrolled | Self::Available | Self::Failed, E::Retire) => Self::Retired,
            _ => return None,
        })
    }
}
