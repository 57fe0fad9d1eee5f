//! What a write took, and how much each part of the path had to do.

use std::{fs, time::Duration};

use nix::time::{ClockId, clock_gettime};

use super::{progress::Limit, stage::Writer};

/// What a write took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WriteFigures {
    /// Bytes received.
    pub bytes_fetched: u64,
    /// Bytes of data written.
    pub bytes_written: u64,
    /// Bytes made zero.
    pub bytes_zeroed: u64,
    /// From the first check to the last flush.
    pub duration: Duration,
    /// Requests that were made again.
    pub retries: u32,
    /// Chunks that an earlier run of the agent had written.
    pub chunks_resumed: u64,
    /// Chunks that were fetched by this run.
    pub chunks_fetched: u64,
    /// Chunks that the disk held already: read and proven, neither fetched nor written.
    pub chunks_kept: u64,
    /// Bytes that would have been received for them.
    pub bytes_saved: u64,
    /// Time of all cores that the process spent meanwhile, the kernel's work for it included.
    pub cpu: Duration,
    /// The most memory that the process has held since it began.
    pub peak_memory_bytes: u64,
    /// What wrote to the disk.
    pub writer: Writer,
    /// Requests in flight, at most.
    pub connections: u32,
    /// What limited the write as a whole.
    pub limited_by: Option<Limit>,
    /// The parts of the path, over the whole write.
    pub loads: Loads,
}

/// How much one part of the path had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// The share of the time in which it worked, or could not because of itself.
    pub busy_percent: u8,
    /// What it moved.
    pub bytes_per_second: u64,
}

/// How much each part of the path had to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loads {
    /// Bytes as they come from the stores; busy while requests are under way and not held up by a lack of memory.
    pub network: Load,
    /// Bytes after decoding; busy as far as the threads that decode are at work.
    pub cpu: Load,
    /// Bytes of data; busy while an operation of the disk is under way.
    pub disk: Load,
    /// Bytes made zero; busy while zeroes are being made.
    pub zeroes: Load,
}

impl Loads {
    /// A part of the path and its rate in words, for a part that limits: "network 940 Mbit/s", "disk 410 MB/s", "CPU".
    #[must_use]
    pub fn words(&self, limit: Limit) -> String {
        match limit {
            Limit::Network => {
                let bits = self.network.bytes_per_second.saturating_mul(8);
                match bits {
                    0 => "network".to_owned(),
                    1..10_000_000_000 => format!("network {} Mbit/s", bits / 1_000_000),
                    _ => format!("network {} Gbit/s", bits / 1_000_000_000),
                }
            }
            Limit::Cpu => "CPU".to_owned(),
            Limit::Disk => {
                let (data, zeroes) = (self.disk.bytes_per_second, self.zeroes.bytes_per_second);
                if data == 0 && zeroes == 0 {
                    "disk".to_owned()
                } else if data == 0 {
                    format!("disk, zeroing {} MB/s", zeroes / 1_000_000)
                } else {
                    format!("disk {} MB/s", data / 1_000_000)
                }
            }
        }
    }
}

/// Time of all cores that this process has spent.
pub(super) fn process_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The most memory that this process has held.
pub(super) fn process_peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    peak_memory(&status).unwrap_or(0)
}

fn peak_memory(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_limits_is_said_in_the_units_of_its_trade() {
        let loads = |network, disk, zeroes| {
            let load = |bytes_per_second| Load {
                busy_percent: 0,
                bytes_per_second,
            };
            Loads {
                network: load(network),
                cpu: load(0),
                disk: load(disk),
                zeroes: load(zeroes),
            }
        };
        let table = [
            (loads(117_500_000, 0, 0), Limit::Network, "network 940 Mbit/s"),
            (loads(2_500_000_000, 0, 0), Limit::Network, "network 20 Gbit/s"),
            (loads(0, 0, 0), Limit::Network, "network"),
            (loads(1, 410_900_000, 7), Limit::Disk, "disk 410 MB/s"),
            (loads(1, 0, 1_200_000_000), Limit::Disk, "disk, zeroing 1200 MB/s"),
            (loads(0, 0, 0), Limit::Disk, "disk"),
            (loads(1, 2, 3), Limit::Cpu, "CPU"),
        ];
        for (loads, limit, words) in table {
            assert_eq!(loads.words(limit), words);
        }
    }

    #[test]
    fn the_process_knows_what_it_took() {
        assert!(process_cpu() > Duration::ZERO);
        assert!(process_peak_memory() > 1 << 20);
        assert_eq!(
            peak_memory("VmPeak:\t  9 kB\nVmHWM:\t    1524 kB\n"),
            Some(1524 << 10)
        );
        assert_eq!(peak_memory("VmHWM: 12"), None);
    }
}
