//! Names of interfaces.

use std::{fmt, str::FromStr};

/// Longest name that the kernel takes (`IFNAMSIZ` less the closing zero).
pub const MAX_NAME: usize = 15;

/// The name of an interface: 1 to 15 letters, digits, `.`, `_` and `-`, and none that the kernel or a renderer keeps
/// for itself. Safe in file names, shell words and every configuration format.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkName(String);

/// The text cannot name an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Empty, or too long.
    #[error("a name of an interface has 1 to 15 characters")]
    Length,
    /// Not a letter, digit, `.`, `_` or `-`; or a first character that is no letter or digit.
    #[error(
        "a name of an interface begins with a letter or digit and has only letters, digits, `.`, `_` and `-`"
    )]
    Character,
    /// `lo`, `all`, `default` and the like.
    #[error("the name is kept for something else")]
    Reserved,
}

impl LinkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for LinkName {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(BadName::Length);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !text.bytes().all(plain) || !text.as_bytes()[0].is_ascii_alphanumeric() {
            return Err(BadName::Character);
        }
        // The kernel's own, those of its sysctl tree, and wicked's and ifupdown's.
        if ["lo", "all", "default", "none", "bonding_masters"].contains(&text) {
            return Err(BadName::Reserved);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LinkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in [
            "eth0",
            "enp1s0f1np1",
            "bond0.100",
            "a",
            "br-lan",
            "tap1a81968a-79",
        ] {
            assert!(good.parse::<LinkName>().is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", BadName::Length),
            ("enp129s0f1np1v15", BadName::Length),
            ("..", BadName::Character),
            ("eth0:1", BadName::Character),
            ("a/b", BadName::Character),
            ("a b", BadName::Character),
            ("-a", BadName::Character),
            ("lo", BadName::Reserved),
        ] {
            assert_eq!(bad.parse::<LinkName>(), Err(why), "{bad}");
        }
    }
}
