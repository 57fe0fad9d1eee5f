//! How much a disk takes with one request.

use std::{fs, num::NonZeroUsize, path::Path};

use super::rotation;

/// Pages of buffers need not lie side by side in memory: each is a segment of its own.
const PAGE_BYTES: usize = 4096;
/// Requests are cut at multiples of this, which suits every sector and stripe in use.
const STEP_BYTES: usize = 64 << 10;

/// The largest write from pages that are scattered in memory which the block device `device` takes as one request, if
/// the kernel tells. It cuts larger ones, and for that it has to wait, so a ring hands them to a thread.
pub(super) fn largest(device: u64) -> Option<NonZeroUsize> {
    largest_by(&rotation::disk_folder(device))
}

fn largest_by(disk: &Path) -> Option<NonZeroUsize> {
    let number = |name: &str| {
        let text = fs::read_to_string(disk.join("queue").join(name)).ok()?;
        text.trim().parse::<usize>().ok()
    };
    let by_size = number("max_sectors_kb")?.checked_mul(1024)?;
    let by_segments = number("max_segments")?.checked_mul(PAGE_BYTES)?;
    let least = by_size.min(by_segments);
    let whole_steps = least - least % STEP_BYTES;
    NonZeroUsize::new(if whole_steps > 0 {
        whole_steps
    } else {
        least - least % PAGE_BYTES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_and_segments_bound_a_request() {
        let table = [
            ("1280", "128", Some(512 << 10)),
            ("512", "127", Some(448 << 10)),
            ("128", "33", Some(128 << 10)),
            ("1280", "8", Some(32 << 10)),
            ("3", "128", None),
            ("1280", "none", None),
        ];
        for (size, segments, expected) in table {
            let dir = tempfile::tempdir().unwrap();
            fs::create_dir(dir.path().join("queue")).unwrap();
            fs::write(dir.path().join("queue/max_sectors_kb"), format!("{size}\n")).unwrap();
            fs::write(dir.path().join("queue/max_segments"), format!("{segments}\n")).unwrap();
            assert_eq!(
                largest_by(dir.path()).map(NonZeroUsize::get),
                expected,
                "{size} {segments}"
            );
        }
        assert_eq!(largest_by(Path::new("/nowhere")), None);
    }
}
