//! The steps on whatever system a disk holds: one whose files can be edited, or one that is closed. A closed one is taken
//! only where the plan allows it.

use imprint_proto::agent::v1::FinishPlan;

use super::{
    Done, FinishError, Places, WrittenDisk, boot_entry, closed, efi, guest,
    guest::Traces,
    layout::{System, find_system},
    partitions,
    profile::Profile,
    seed, write_entry,
};

impl System {
    /// Settles the table, and grows the root or makes the partition for the seed.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn prepare(
        places: &Places,
        disk: &WrittenDisk,
        plan: &FinishPlan,
    ) -> Result<(Self, Done), FinishError> {
        match partitions(places, disk, plan) {
            Ok((layout, done)) => Ok((Self::Open(Box::new(layout)), done)),
            Err(FinishError::NoRoot { .. }) if plan.seed_partition => {
                let (closed, done) = closed::partitions(places, disk, plan)?;
                Ok((Self::Closed(closed), done))
            }
            Err(error) => Err(error),
        }
    }

    /// What an earlier agent has prepared.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn find(places: &Places, disk: &WrittenDisk, plan: &FinishPlan) -> Result<Self, FinishError> {
        match find_system(places, disk)? {
            Self::Closed(closed) if !plan.seed_partition => Err(FinishError::NoRoot { seen: closed.seen }),
            found => Ok(found),
        }
    }

    /// Writes the seed, and what belongs to it.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn seed(&self, places: &Places, disk: &WrittenDisk, plan: &FinishPlan) -> Result<Done, FinishError> {
        match self {
            Self::Open(layout) => seed(places, layout, plan),
            Self::Closed(found) => closed::write_seed(places, disk, found, plan),
        }
    }

    /// Installs the guest plugin and the traces, where they have a place.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn guest(&self, places: &Places, plan: &FinishPlan, traces: &Traces) -> Result<Done, FinishError> {
        match self {
            Self::Open(layout) => guest(places, layout, plan, traces),
            Self::Closed(_) => Ok(Done {
                detail: "the root cannot be written: there is no guest plugin, and the system will not report its first boot"
                    .to_owned(),
                notes: Vec::new(),
            }),
        }
    }

    /// Writes the firmware's boot entry.
    ///
    /// # Errors
    /// See [`FinishError`].
    pub fn boot_entry(
        &self,
        places: &Places,
        disk: &WrittenDisk,
        plan: &FinishPlan,
        formerly_here: &[efi::PartitionSignature],
    ) -> Result<(String, Done), FinishError> {
        match self {
            Self::Open(layout) => boot_entry(places, disk, layout, plan, formerly_here),
            Self::Closed(closed) => {
                let found = (&closed.table, closed.esp.as_ref(), &Profile::default());
                write_entry(places, disk, found, plan, formerly_here)
            }
        }
    }

    /// Whether it will report its first boot.
    #[must_use]
    pub fn reports(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}
