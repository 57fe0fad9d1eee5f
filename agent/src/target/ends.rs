//! Both ends of a disk: where boot code, partition tables, RAID, LVM and file-system labels live.

use super::{Target, WriteError};

/// How much is cleared at either end: a GPT with its backup, MD 1.x, DDF, LVM, LUKS and ZFS labels all lie within it.
pub const END_BYTES: u64 = 1 << 20;

/// Clears the first MiB, so that nothing boots from the disk, and flushes.
///
/// # Errors
/// When the disk doesn't confirm it.
pub fn clear_head(target: &dyn Target) -> Result<(), WriteError> {
    target.zero(0, END_BYTES.min(target.len()))?;
    target.flush()
}

/// Clears the first and the last MiB and flushes: what the last owner left at the ends (a backup GPT, a RAID member's
/// label) would else be found and assembled at the next boot.
///
/// # Errors
/// When the disk doesn't confirm it.
pub fn clear_ends(target: &dyn Target) -> Result<(), WriteError> {
    let head = END_BYTES.min(target.len());
    target.zero(0, head)?;
    let tail = target.len().saturating_sub(END_BYTES).max(head);
    if tail < target.len() {
        target.zero(tail, target.len() - tail)?;
    }
    target.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::faulty::FaultyTarget;

    #[test]
    fn both_ends_are_cleared_and_nothing_between() {
        for len in [512_u64, 1 << 20, (1 << 20) + 512, 5 << 20] {
            let target = FaultyTarget::filled(len, 0xA5);
            clear_ends(&target).unwrap();
            let bytes = target.content();
            let kept = |at: u64| at >= END_BYTES && at < len - END_BYTES.min(len);
            let right = bytes
                .iter()
                .zip(0_u64..)
                .all(|(&byte, at)| byte == if kept(at) { 0xA5 } else { 0 });
            assert!(right, "disk of {len} bytes");
            assert!(target.is_flushed());
        }
    }
}
