//! Disks that are made up, and how they are written.
//!
//! A few nodes write with the engine of the agent, onto a sparse file, and what is in it is compared with the image. All
//! others have a disk that keeps nothing, and their figures rise as those of a write do: the engine takes threads and tens
//! of megabytes for each write, of which one process has not thousands.

use std::{num::NonZeroU32, path::Path, time::Duration};

use imprint_agent::{
    stream::{FailureKind, Limit, Load, Loads, WriteFailure, WriteFigures, WriteProgress, WriteRequest},
    target::{AlignedBuf, DeviceId, Target, WriteError, Zeroed},
};
use tokio::{
    sync::watch,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

/// How often figures rise.
const FIGURES_EVERY: Duration = Duration::from_millis(250);

/// A disk that takes everything and keeps nothing.
#[derive(Debug)]
pub struct Hollow {
    id: DeviceId,
    len: u64,
}

impl Hollow {
    /// Of a size.
    #[must_use]
    pub fn of(path: &Path, len: u64) -> Self {
        Self {
            id: DeviceId::of(path),
            len,
        }
    }
}

impl Target for Hollow {
    fn id(&self) -> &DeviceId {
        &self.id
    }

    fn identity(&self) -> String {
        format!("made up {}", self.id)
    }

    fn logical_block(&self) -> NonZeroU32 {
        NonZeroU32::new(512).expect("512 is not 0")
    }

    fn len(&self) -> u64 {
        self.len
    }

    fn write_at(&self, _buffer: &AlignedBuf, _offset: u64) -> Result<(), WriteError> {
        Ok(())
    }

    fn read_at(&self, buffer: &mut AlignedBuf, _offset: u64) -> Result<(), WriteError> {
        buffer.fill(0);
        Ok(())
    }

    fn zero(&self, _offset: u64, _len: u64) -> Result<Zeroed, WriteError> {
        Ok(Zeroed::ByCommand)
    }

    fn flush(&self) -> Result<(), WriteError> {
        Ok(())
    }

    fn reread_partitions(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// Reports a write that takes `takes`, and writes nothing. Calls `passes` with each percentage.
///
/// # Errors
/// When it is cancelled.
pub async fn pace(
    request: &WriteRequest,
    takes: Duration,
    progress: &watch::Sender<WriteProgress>,
    cancel: &CancellationToken,
    passes: impl Fn(u8) + Send,
) -> Result<WriteFigures, WriteFailure> {
    let total = request.manifest.disk_size_bytes;
    let data = request.manifest.chunks.len() as u64 * u64::from(request.manifest.chunk_bytes);
    let (data, began) = (data.min(total), Instant::now());
    let rate = |bytes: u64| bytes * 1000 / u64::try_from(takes.as_millis()).unwrap_or(u64::MAX).max(1);
    let loads = Loads {
        network: Load {
            busy_percent: 97,
            bytes_per_second: rate(data),
        },
        disk: Load {
            busy_percent: 40,
            bytes_per_second: rate(data),
        },
        ..Loads::default()
    };
    let mut tick = interval(FIGURES_EVERY);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return Err(cancelled()),
            _ = tick.tick() => {}
        }
        let spent = began.elapsed().min(takes);
        let percent = (spent.as_secs_f64() / takes.as_secs_f64().max(0.001) * 100.0).min(100.0);
        let part = |bytes: u64| (bytes as f64 * percent / 100.0) as u64;
        progress.send_replace(WriteProgress {
            bytes_done: part(total),
            bytes_total: total,
            bytes_fetched: part(data),
            bytes_to_fetch: data,
            bytes_written: part(data),
            data_bytes_per_second: rate(data),
            eta_seconds: u32::try_from((takes - spent).as_secs()).ok(),
            limited_by: Some(Limit::Network),
            loads,
            ..WriteProgress::default()
        });
        passes(percent as u8);
        if spent == takes {
            return Ok(WriteFigures {
                bytes_fetched: data,
                bytes_written: data,
                bytes_zeroed: total - data,
                duration: takes,
                chunks_fetched: request.manifest.chunks.len() as u64,
                connections: 1,
                limited_by: Some(Limit::Network),
                loads,
                ..WriteFigures::default()
            });
        }
    }
}

fn cancelled() -> WriteFailure {
    WriteFailure {
        kind: FailureKind::Cancelled,
        cause: "the write was cancelled".to_owned(),
        remedy: "deploy again when wanted".to_owned(),
        touched: true,
        head_cleared: false,
        retryable: true,
    }
}

/// What is on the disk is not what was written.
#[must_use]
pub fn contradicts(cause: String) -> WriteFailure {
    WriteFailure {
        kind: FailureKind::ReadBack,
        cause,
        remedy: "report this as a fault of the agent".to_owned(),
        touched: true,
        head_cleared: false,
        retryable: false,
    }
}
