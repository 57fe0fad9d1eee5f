//! How texts and PCI ids are compared.

use std::{fmt, str::FromStr};

/// A text with `*` for anything, anywhere. Compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPattern(String);

impl TextPattern {
    /// From text as an operator wrote it.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.trim().to_lowercase())
    }

    /// Whether it describes this text. An unknown (empty) text is described by nothing.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let text = text.trim().to_lowercase();
        if text.is_empty() {
            return false;
        }
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = text.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            match rest.find(piece) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for TextPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `15b3:1017`, or `15b3:*` for all devices of a vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciPattern {
    vendor: String,
    device: Option<String>,
}

impl PciPattern {
    /// Whether it describes this device; both are four hexadecimal digits.
    #[must_use]
    pub fn matches(&self, vendor: &str, device: &str) -> bool {
        self.vendor.eq_ignore_ascii_case(vendor)
            && self
                .device
                .as_ref()
                .is_none_or(|wanted| wanted.eq_ignore_ascii_case(device))
    }

    /// As [`PciPattern::matches`], of `15b3:1017`.
    #[must_use]
    pub fn matches_id(&self, id: &str) -> bool {
        id.split_once(':')
            .is_some_and(|(vendor, device)| self.matches(vendor, device))
    }
}

impl fmt::Display for PciPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.vendor, self.device.as_deref().unwrap_or("*"))
    }
}

impl FromStr for PciPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "is not `VENDOR:DEVICE` in four hexadecimal digits each, or `VENDOR:*`";
        let (vendor, device) = text.trim().split_once(':').ok_or(FORM)?;
        let four = |text: &str| text.len() == 4 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !four(vendor) || !(device == "*" || four(device)) {
            return Err(FORM);
        }
        Ok(Self {
            vendor: vendor.to_ascii_lowercase(),
            device: (device != "*").then(|| device.to_ascii_lowercase()),
        })
    }
}
