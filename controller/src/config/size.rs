//! Sizes as operators write them: "512MiB", "2TB", "4096".

use std::str::FromStr;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number
            .parse()
            .map_err(|_| "it does not begin with a whole number")?;
        let unit = unit.trim();
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, factor)| factor)
            .ok_or("its unit is none of KiB, MiB, GiB, TiB, kB, MB, GB and TB")?;
        number
            .checked_mul(*factor)
            .map(Self)
            .ok_or("it is more than anything holds")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units_or_are_bytes() {
        for (text, bytes) in [
            ("4096", Some(4096)),
            ("512MiB", Some(512 << 20)),
            ("2 TiB", Some(2 << 40)),
            ("1TB", Some(1_000_000_000_000)),
            ("0", Some(0)),
            ("", None),
            ("GiB", None),
            ("1.5GiB", None),
            ("1gib", None),
            ("-1", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(text.parse::<Size>().ok().map(|size| size.0), bytes, "{text:?}");
        }
    }
}
