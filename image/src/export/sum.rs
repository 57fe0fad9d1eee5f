//! Digests of files, as `sha256sum` writes them.

use std::fmt;
use std::str::FromStr;

/// A SHA-256 digest; written as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// A digest that was computed elsewhere.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = hex::FromHexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// The content of `NAME.sha256`, for `sha256sum --check` in the folder of the file. A name with a backslash or a line
/// break is written as that program writes it.
#[must_use]
pub fn sum_line(sum: &Sha256, name: &str) -> String {
    let escaped = name
        .replace('\\', "\\\\")
        .replace('\n', "\\n")
        .replace('\r', "\\r");
    let mark = if escaped == name { "" } else { "\\" };
    format!("{mark}{sum}  {escaped}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_sha256sum() {
        let sum = Sha256::from_bytes([0xAB; 32]);
        let hex = "ab".repeat(32);
        assert_eq!(hex.parse(), Ok(sum));
        assert!("ab".parse::<Sha256>().is_err());
        assert_eq!(sum_line(&sum, "disk.raw"), format!("{hex}  disk.raw\n"));
        assert_eq!(sum_line(&sum, "a\\b\nc"), format!("\\{hex}  a\\\\b\\nc\n"));
    }
}
