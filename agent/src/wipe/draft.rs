//! What an agent that is started again has to know of a wipe, one file for each disk: in RAM, gone with the next boot.
//!
//! A disk that is wiped is not wiped again. A sanitize that still runs is waited for, and then judged by what was noted and
//! planted before it. Anything else is begun anew, which is harmless.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use imprint_proto::agent::v1::WipeCertificate;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::{samples::Before, sampling::Seed};
use crate::identity::private_file;

/// One disk of one task.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Draft {
    /// The task.
    #[prost(string, tag = "1")]
    pub task_id: String,
    /// What tells the disk from every other one in this boot.
    #[prost(string, tag = "2")]
    pub identity: String,
    /// The method that was begun last.
    #[prost(int32, tag = "3")]
    pub method: i32,
    /// The seed of its samples.
    #[prost(bytes = "vec", tag = "4")]
    pub seed: Vec<u8>,
    /// What was noted, a list of units for each sample.
    #[prost(message, repeated, tag = "5")]
    pub noted: Vec<Units>,
    /// Samples that hold the pattern.
    #[prost(uint32, tag = "6")]
    pub planted: u32,
    /// So far, or for good when it says that the disk is wiped.
    #[prost(message, optional, tag = "7")]
    pub certificate: Option<WipeCertificate>,
}

/// Fingerprints of one sample.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Units {
    /// One for each unit.
    #[prost(fixed64, repeated, tag = "1")]
    pub units: Vec<u64>,
}

impl Draft {
    /// The seed, when it is one.
    #[must_use]
    pub fn seed(&self) -> Option<Seed> {
        self.seed.as_slice().try_into().ok()
    }

    /// What was noted and planted.
    #[must_use]
    pub fn before(&self) -> Before {
        Before {
            units: self.noted.iter().map(|units| units.units.clone()).collect(),
            planted: self.planted,
        }
    }

    /// Keeps what was noted and planted.
    pub fn set_before(&mut self, seed: &Seed, before: &Before) {
        self.seed = seed.to_vec();
        self.planted = before.planted;
        self.noted = before
            .units
            .iter()
            .map(|units| Units { units: units.clone() })
            .collect();
    }
}

/// Where drafts are kept.
#[derive(Debug, Clone)]
pub struct Drafts {
    folder: PathBuf,
    task_id: String,
}

impl Drafts {
    /// Of a task, in a state folder.
    #[must_use]
    pub fn of(state: &Path, task_id: &str) -> Self {
        Drafts {
            folder: state.join("wipe"),
            task_id: task_id.to_owned(),
        }
    }

    fn path(&self, identity: &str) -> PathBuf {
        let digest = Sha256::digest(identity.as_bytes());
        self.folder.join(format!("{}.bin", hex::encode(&digest[..8])))
    }

    /// That of a disk, if this task has one.
    #[must_use]
    pub fn load(&self, identity: &str) -> Option<Draft> {
        let bytes = private_file::read(&self.path(identity)).ok()??;
        let draft = Draft::decode(bytes.as_slice()).ok()?;
        (draft.task_id == self.task_id && draft.identity == identity).then_some(draft)
    }

    /// Keeps that of a disk. Without it a restarted agent begins anew, so it is no failure when it can't be kept.
    pub fn save(&self, identity: &str, mut draft: Draft) {
        draft.task_id.clone_from(&self.task_id);
        identity.clone_into(&mut draft.identity);
        let kept = private_file::make_folder(&self.folder)
            .and_then(|()| private_file::write(&self.path(identity), &draft.encode_to_vec()));
        if let Err(error) = kept {
            tracing::warn!(%error, "the state of a wipe cannot be kept; a restarted agent would begin it anew");
        }
    }

    /// All are gone; the task has ended.
    pub fn clear(&self) {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the state of a wipe cannot be removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_is_of_one_disk_and_one_task() {
        let state = tempfile::tempdir().unwrap();
        let drafts = Drafts::of(state.path(), "T1");
        assert_eq!(drafts.load("disk 1"), None);
        let before = Before {
            units: vec![vec![], vec![3, 4]],
            planted: 1,
        };
        let mut draft = Draft::default();
        draft.set_before(&[7; 32], &before);
        drafts.save("disk 1", draft);
        let kept = drafts.load("disk 1").unwrap();
        assert_eq!((kept.before(), kept.seed()), (before, Some([7; 32])));
        assert_eq!(drafts.load("disk 2"), None);
        assert_eq!(Drafts::of(state.path(), "T2").load("disk 1"), None);
        drafts.clear();
        assert_eq!(drafts.load("disk 1"), None);
        drafts.clear();
    }
}
