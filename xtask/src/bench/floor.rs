//! The floor: what the slowest part alone takes, and what all parts together take of the processors.

use super::report::median;
use super::session::Run;

/// Seconds of each part, medians of the session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Floor {
    /// Raw direct write of the image's data.
    pub disk: f64,
    /// The same, with all holes zeroed: on a used disk nobody is exact in less.
    pub exact: f64,
    /// Transfer of the artifact to nowhere.
    pub network: f64,
    /// Decompression of all frames on all cores.
    pub decode: f64,
    /// BLAKE3 of all data on all cores.
    pub hash: f64,
    /// Processor seconds of all four, server and client, divided by the cores.
    pub processors: f64,
}

impl Floor {
    /// From the runs of a session; nothing if one part was not run.
    pub fn of(runs: &[Run], cores: usize) -> Option<Self> {
        let of = |name: &str, value: &dyn Fn(&super::session::Done) -> Option<f64>| -> Option<f64> {
            let values: Vec<f64> = runs
                .iter()
                .filter(|run| run.contender.name == name)
                .filter_map(Run::done)
                .filter_map(value)
                .collect();
            median(&values)
        };
        let said = |name: &str, field: &str| of(name, &|done| done.measured.said.as_ref()?[field].as_f64());
        let cores = cores as f64;
        let disk = said("floor-disk", "seconds")?;
        let exact = said("floor-exact", "seconds")?;
        let decode = said("floor-cpu", "decode_seconds")?;
        let hash = said("floor-cpu", "hash_plain_seconds")?;
        let frames = said("floor-cpu", "hash_frames_seconds")?;
        let network = of("floor-net", &|done| Some(done.measured.wall))?;
        let transfer = of("floor-net", &|done| {
            Some(done.measured.cpu.total() + done.measured.server_cpu.total())
        })?;
        let write = of("floor-disk", &|done| Some(done.measured.cpu.total()))?;
        Some(Self {
            disk,
            exact,
            network,
            decode,
            hash,
            processors: decode + frames + (transfer + write) / cores,
        })
    }

    /// The slowest of the four, and which it is.
    pub fn slowest(&self) -> (f64, &'static str) {
        [
            (self.disk, "disk"),
            (self.network, "network"),
            (self.decode, "decompression"),
            (self.hash, "hashing"),
        ]
        .into_iter()
        .fold(
            (0.0, "nothing"),
            |slowest, part| {
                if part.0 > slowest.0 { part } else { slowest }
            },
        )
    }

    /// The slowest part, the disk with all holes zeroed, or the time that the processors need for all parts together:
    /// whichever is most.
    pub fn reachable(&self) -> f64 {
        self.slowest().0.max(self.exact).max(self.processors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_part_decides() {
        let floor = Floor {
            disk: 1.3,
            exact: 2.1,
            network: 0.6,
            decode: 1.5,
            hash: 0.3,
            processors: 2.6,
        };
        assert_eq!(floor.slowest(), (1.5, "decompression"));
        assert!((floor.reachable() - 2.6).abs() < 1e-9);
    }
}
