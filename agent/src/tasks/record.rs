//! What a restarted agent has to know about the task that it goes on with. In RAM, for root alone: the task holds
//! user-data and the report token.

use std::{
    io,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::{Disk, Step, Task, WriteFigures};
use prost::Message as _;

use crate::{
    finish::efi::{
        HardDrive, PartitionSignature,
        device_path::{self, Node},
    },
    identity::private_file,
};

/// A task and how far it is.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Record {
    /// The task as it came; without its kind once it has ended, so that its secrets are gone.
    #[prost(message, optional, tag = "1")]
    pub task: Option<Task>,
    /// RFC 3339.
    #[prost(string, tag = "2")]
    pub started_at: String,
    /// The disk that was claimed.
    #[prost(message, optional, tag = "3")]
    pub disk: Option<Disk>,
    /// Steps that are done.
    #[prost(message, repeated, tag = "4")]
    pub finished: Vec<FinishedStep>,
    /// What the write took.
    #[prost(message, optional, tag = "5")]
    pub figures: Option<WriteFigures>,
    /// The boot entry as read back.
    #[prost(string, tag = "6")]
    pub boot_entry: String,
    /// Partitions that the disk had before it was written, as device paths.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub former: Vec<Vec<u8>>,
    /// The write is done; the disk can boot, or will with the end of its last step.
    #[prost(bool, tag = "8")]
    pub written: bool,
    /// The outcome is in the outbox.
    #[prost(bool, tag = "9")]
    pub ended: bool,
    /// The outcome was a success with a restart, or the loss of power, at its end.
    #[prost(bool, tag = "10")]
    pub restart: bool,
    /// The write has begun: whatever is on the disk, a failure from here on has to clear its head.
    #[prost(bool, tag = "11")]
    pub touched: bool,
    /// What tells the claimed disk from every other one in this boot, also from a later one of the same name.
    #[prost(string, tag = "12")]
    pub identity: String,
    /// The step that writes user-data has begun: they may be on the disk, finished or not.
    #[prost(bool, tag = "13")]
    pub seeded: bool,
    /// What was on the disk before stays, whatever comes of the task.
    #[prost(bool, tag = "14")]
    pub kept: bool,
    /// At its end the machine does not restart but loses power.
    #[prost(bool, tag = "15")]
    pub power_off: bool,
    /// Nothing that the controller says keeps the machine from that: it was asked for.
    #[prost(bool, tag = "16")]
    pub leaves_anyway: bool,
}

/// A step that is done.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct FinishedStep {
    /// Which.
    #[prost(enumeration = "Step", tag = "1")]
    pub step: i32,
    /// How long it took.
    #[prost(double, tag = "2")]
    pub seconds: f64,
}

impl Record {
    /// The id of its task.
    #[must_use]
    pub fn task_id(&self) -> &str {
        self.task.as_ref().map_or("", |task| &task.task_id)
    }

    /// Whether there is something on the disk that must not stay there when the task fails.
    #[must_use]
    pub fn leaves_traces(&self) -> bool {
        self.touched || self.seeded
    }

    /// Whether a step is done.
    #[must_use]
    pub fn is_finished(&self, step: Step) -> bool {
        self.finished.iter().any(|finished| finished.step() == step)
    }

    /// Keeps what boot entries may have named on the disk before it is written.
    pub fn set_former(&mut self, signatures: &[PartitionSignature]) {
        let path = |signature: &PartitionSignature| {
            let drive = HardDrive {
                partition_number: 0,
                start_lba: 0,
                size_lba: 0,
                signature: *signature,
            };
            device_path::encode(&[Node::HardDrive(drive)])
        };
        self.former = signatures.iter().map(path).collect();
    }

    /// What boot entries may have named on the disk before it was written.
    #[must_use]
    pub fn former(&self) -> Vec<PartitionSignature> {
        let nodes = self
            .former
            .iter()
            .filter_map(|path| device_path::decode(path).ok());
        nodes
            .filter_map(|nodes| device_path::hard_drive(&nodes).map(|drive| drive.signature))
            .collect()
    }
}

/// Where the record is kept.
#[derive(Debug, Clone)]
pub struct RecordFile(PathBuf);

impl RecordFile {
    /// In a state folder.
    #[must_use]
    pub fn of(state: &Path) -> Self {
        Self(state.join("task.bin"))
    }

    /// The kept record.
    ///
    /// # Errors
    /// When the file is there and can't be read.
    pub fn load(&self) -> io::Result<Option<Record>> {
        let decode = |bytes: Vec<u8>| {
            Record::decode(bytes.as_slice())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        };
        private_file::read(&self.0)?.map(decode).transpose()
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        private_file::write(&self.0, &record.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_a_restart() {
        let state = tempfile::tempdir().unwrap();
        let file = RecordFile::of(state.path());
        assert_eq!(file.load().unwrap(), None);
        let mut record = Record {
            task: Some(Task {
                task_id: "T".into(),
                kind: None,
            }),
            finished: vec![FinishedStep {
                step: Step::Write as i32,
                seconds: 1.5,
            }],
            written: true,
            touched: true,
            identity: "block 8:0 disk 3".into(),
            ..Record::default()
        };
        let signatures = [
            PartitionSignature::Gpt([7; 16]),
            PartitionSignature::Mbr([1, 2, 3, 4]),
        ];
        record.set_former(&signatures);
        file.save(&record).unwrap();
        let kept = file.load().unwrap().unwrap();
        assert_eq!(kept, record);
        assert_eq!(kept.former(), signatures);
        assert!(kept.is_finished(Step::Write) && !kept.is_finished(Step::Seed));
        std::fs::write(state.path().join("task.bin"), b"\xff").unwrap();
        assert!(file.load().is_err());
    }
}
