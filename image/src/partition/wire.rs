//! The protobuf form of a partition summary, part of the manifest.

use prost::Message;

use super::{PartitionEntry, PartitionSummary, PartitionTable};
use crate::ManifestError;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartitionTableMessage {
    #[prost(enumeration = "TableKind", tag = "1")]
    table: i32,
    #[prost(string, tag = "2")]
    disk_id: String,
    #[prost(bool, tag = "3")]
    hybrid_mbr: bool,
    #[prost(message, repeated, tag = "4")]
    partitions: Vec<PartitionMessage>,
    #[prost(string, repeated, tag = "5")]
    notes: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct PartitionMessage {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(uint64, tag = "2")]
    first_byte: u64,
    #[prost(uint64, tag = "3")]
    size_bytes: u64,
    #[prost(string, tag = "4")]
    type_id: String,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(string, tag = "6")]
    unique_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum TableKind {
    Unspecified = 0,
    None = 1,
    Mbr = 2,
    Gpt = 3,
}

impl From<&PartitionSummary> for PartitionTableMessage {
    fn from(summary: &PartitionSummary) -> Self {
        let table = match summary.table {
            PartitionTable::None => TableKind::None,
            PartitionTable::Mbr => TableKind::Mbr,
            PartitionTable::Gpt => TableKind::Gpt,
        };
        let partitions = summary.partitions.iter().cloned().map(|entry| PartitionMessage {
            number: entry.number,
            first_byte: entry.first_byte,
            size_bytes: entry.size_bytes,
            type_id: entry.type_id,
            name: entry.name,
            unique_id: entry.unique_id,
        });
        Self {
            table: table.into(),
            disk_id: summary.disk_id.clone(),
            hybrid_mbr: summary.hybrid_mbr,
            partitions: partitions.collect(),
            notes: summary.notes.clone(),
        }
    }
}

impl TryFrom<PartitionTableMessage> for PartitionSummary {
    type Error = ManifestError;

    fn try_from(message: PartitionTableMessage) -> Result<Self, ManifestError> {
        let table = match message.table() {
            TableKind::None => PartitionTable::None,
            TableKind::Mbr => PartitionTable::Mbr,
            TableKind::Gpt => PartitionTable::Gpt,
            TableKind::Unspecified => {
                let got = u64::from(message.table.unsigned_abs());
                let expected = "1, 2 or 3".to_owned();
                return Err(ManifestError::Field {
                    field: "the kind of partition table",
                    got,
                    expected,
                });
            }
        };
        let partitions = message.partitions.into_iter().map(|entry| PartitionEntry {
            number: entry.number,
            first_byte: entry.first_byte,
            size_bytes: entry.size_bytes,
            type_id: entry.type_id,
            name: entry.name,
            unique_id: entry.unique_id,
        });
        Ok(Self {
            table,
            disk_id: message.disk_id,
            hybrid_mbr: message.hybrid_mbr,
            partitions: partitions.collect(),
            notes: message.notes,
        })
    }
}
