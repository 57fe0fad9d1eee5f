//! Sizes with units, read and written without loss.

const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1000),
    ("B", 1),
    ("", 1),
];

/// Reads `1.5TiB` or a number of bytes; the fault says what is wrong and what would be right.
pub(super) fn read(value: &str) -> Result<u64, String> {
    let fault =
        || format!("`{value}` is not a size; write a number with KB, MB, GB, TB, KiB, MiB, GiB or TiB");
    let end = value
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let unit = unit.trim();
    let known = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit));
    let factor = known.ok_or_else(fault)?.1;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') || number.ends_with('.') {
        return Err(fault());
    }
    let too_large = || format!("`{value}` is larger than any disk");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = u128::from(whole) * u128::from(factor);
    if !fraction.is_empty() {
        let digits: u128 = fraction.parse().map_err(|_| fault())?;
        let scale = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| fault())?);
        bytes += digits * u128::from(factor) / scale;
    }
    u64::try_from(bytes).map_err(|_| too_large())
}

/// A number longer than this is no easier to read with a unit.
const READABLE: u64 = 1_000_000;

/// The shortest way to write exactly that many bytes in a rule.
pub(super) fn written(bytes: u64) -> String {
    let unit = UNITS
        .iter()
        .find(|(_, factor)| *factor > 1 && bytes > 0 && bytes.is_multiple_of(*factor))
        .filter(|(_, factor)| bytes / factor < READABLE);
    match unit {
        Some((name, factor)) => format!("{}{name}", bytes / factor),
        None => bytes.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_the_same() {
        for (bytes, text) in [
            (0, "0"),
            (4096, "4KiB"),
            (512, "512"),
            (400_000_000_000, "400GB"),
            (1 << 40, "1TiB"),
            (447 << 30, "447GiB"),
            (480_103_981_056, "480103981056"),
            (u64::MAX, "18446744073709551615"),
        ] {
            assert_eq!(written(bytes), text);
            assert_eq!(read(text), Ok(bytes));
        }
    }
}
