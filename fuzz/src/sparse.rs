//! Files that are nearly all zeros, as inputs that are short.
//!
//! A folded file is its length, four bytes, then runs: a place, four bytes, a length, two bytes, and so many bytes.
//! All numbers are little-endian. Whatever bytes are unfolded, a file comes out.

/// Longest file that is unfolded.
const MAX_BYTES: usize = 16 << 20;
/// Zeros in the middle of a run that cost less than a new run.
const GAP_BYTES: usize = 6;

/// Writes a file as its length and runs.
#[must_use]
pub fn fold(file: &[u8]) -> Vec<u8> {
    let len = u32::try_from(file.len()).expect("seeds are short files");
    let mut folded = len.to_le_bytes().to_vec();
    let mut at = 0;
    while let Some(skip) = file[at..].iter().position(|byte| *byte != 0) {
        let begin = at + skip;
        let mut end = begin;
        while let Some(gap) = file[end..].iter().position(|byte| *byte != 0)
            && gap <= GAP_BYTES
            && end - begin + gap < usize::from(u16::MAX)
        {
            end += gap + 1;
        }
        let place = u32::try_from(begin).expect("a place in a short file");
        let bytes = u16::try_from(end - begin).expect("bounded above");
        folded.extend(place.to_le_bytes());
        folded.extend(bytes.to_le_bytes());
        folded.extend(&file[begin..end]);
        at = end;
    }
    folded
}

/// The file that was folded.
#[must_use]
pub fn unfold(folded: &[u8]) -> Vec<u8> {
    let Some((len, mut rest)) = folded.split_first_chunk::<4>() else {
        return Vec::new();
    };
    let mut file = vec![0; (u32::from_le_bytes(*len) as usize).min(MAX_BYTES)];
    while let Some((place, more)) = rest.split_first_chunk::<4>()
        && let Some((bytes, more)) = more.split_first_chunk::<2>()
    {
        let (run, more) = more.split_at(more.len().min(u16::from_le_bytes(*bytes).into()));
        let to = file
            .get_mut(u32::from_le_bytes(*place) as usize..)
            .unwrap_or_default();
        let now = run.len().min(to.len());
        to[..now].copy_from_slice(&run[..now]);
        rest = more;
    }
    file
}

/// Makes the checksums of a VHD right.
pub fn seal_vhd(file: &mut [u8]) {
    let sum = |structure: &mut [u8], at: usize| {
        structure[at..at + 4].fill(0);
        let sum = structure.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        structure[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
    };
    let Some(end) = file.len().checked_sub(512) else {
        return;
    };
    sum(&mut file[end..], 64);
    if file.len() > 2048 && file.starts_with(b"conectix") {
        sum(&mut file[..512], 64);
        sum(&mut file[512..1536], 36);
    }
}

/// Makes the checksums of a VHDX right, of the first copy of each structure.
pub fn seal_vhdx(file: &mut [u8]) {
    for (at, bytes) in [(64 << 10, 4 << 10), (192 << 10, 64 << 10)] {
        if let Some(structure) = file.get_mut(at..at + bytes) {
            structure[4..8].fill(0);
            let sum = crc32c(structure).to_le_bytes();
            structure[4..8].copy_from_slice(&sum);
        }
    }
}

/// CRC-32C, a bit at a time.
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82F6_3B78 & 0u32.wrapping_sub(sum & 1))
        })
    })
}
