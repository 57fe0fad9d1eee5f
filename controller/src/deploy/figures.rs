//! What an agent says of the speed of its work, as it is kept.

use imprint_proto::agent::v1 as wire;

use super::{intake::clip, record::WriteFigures};
use crate::events::{Load, Loads};

/// Figures of a write.
pub(super) fn figures(figures: &wire::WriteFigures) -> WriteFigures {
    WriteFigures {
        bytes_fetched: figures.bytes_fetched,
        bytes_written: figures.bytes_written,
        bytes_zeroed: figures.bytes_zeroed,
        duration_ms: figures.duration_ms,
        retries: figures.retries,
        chunks_resumed: figures.chunks_resumed,
        chunks_fetched: figures.chunks_fetched,
        chunks_kept: figures.chunks_kept,
        bytes_saved: figures.bytes_saved,
        cpu_ms: figures.cpu_ms,
        peak_memory_bytes: figures.peak_memory_bytes,
        writer: clip(&figures.writer),
        connections: figures.connections,
        limiting: clip(&figures.limiting),
        loads: figures.loads.map(loads).unwrap_or_default(),
    }
}

/// How busy each part is.
pub(super) fn loads(loads: wire::Loads) -> Loads {
    let load = |load: Option<wire::Load>| {
        load.map(|load| Load {
            busy_percent: load.busy_percent.min(100),
            bytes_per_second: load.bytes_per_second,
        })
        .unwrap_or_default()
    };
    Loads {
        network: load(loads.network),
        cpu: load(loads.cpu),
        disk: load(loads.disk),
        zeroes: load(loads.zeroes),
    }
}
