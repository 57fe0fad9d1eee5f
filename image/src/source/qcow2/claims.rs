//! Every cluster of the file has one owner.

use super::Qcow2Error;

/// Clusters that a file may have: the bitmap of them takes 64 MiB.
const MAX_CLUSTERS: u64 = 512 << 20;

/// A bitmap over the clusters of the file.
#[derive(Debug)]
pub(super) struct Claims {
    cluster_bytes: u64,
    clusters: u64,
    file_bytes: u64,
    taken: Vec<u64>,
}

impl Claims {
    pub fn new(file_bytes: u64, cluster_bytes: u64) -> Result<Self, Qcow2Error> {
        let clusters = file_bytes.div_ceil(cluster_bytes);
        if clusters > MAX_CLUSTERS {
            return Err(Qcow2Error::TooManyClusters {
                got: clusters,
                limit: MAX_CLUSTERS,
            });
        }
        let words = usize::try_from(clusters.div_ceil(64)).expect("bounded above");
        Ok(Self {
            cluster_bytes,
            clusters,
            file_bytes,
            taken: vec![0; words],
        })
    }

    /// Takes the clusters that `bytes` at `offset` lie in; they must be free and in the file.
    pub fn claim(&mut self, what: &'static str, offset: u64, bytes: u64) -> Result<(), Qcow2Error> {
        if !offset.is_multiple_of(self.cluster_bytes) {
            return Err(Qcow2Error::Misaligned { what, offset });
        }
        let first = offset / self.cluster_bytes;
        let count = bytes.div_ceil(self.cluster_bytes);
        if first.checked_add(count).is_none_or(|end| end > self.clusters) {
            let expected = offset.saturating_add(bytes);
            return Err(Qcow2Error::Truncated {
                what,
                expected,
                got: self.file_bytes,
            });
        }
        for cluster in first..first + count {
            let word = &mut self.taken[usize::try_from(cluster / 64).expect("an index of the bitmap")];
            let bit = 1 << (cluster % 64);
            if *word & bit != 0 {
                return Err(Qcow2Error::Overlap {
                    what,
                    offset: cluster * self.cluster_bytes,
                });
            }
            *word |= bit;
        }
        Ok(())
    }
}
