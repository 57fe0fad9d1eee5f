//! Host names by RFC 1123.

/// Longest host name that Linux takes.
const MAX_HOSTNAME: usize = 64;

/// One label: letters, digits and hyphens, not at the ends, at most 63.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What is wrong with a host name; `None` when it is one.
#[must_use]
pub fn fault(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > MAX_HOSTNAME {
        return Some(format!(
            "it has {} characters; 1 to {MAX_HOSTNAME} are allowed",
            text.chars().count()
        ));
    }
    let bad = text.split('.').find(|label| !is_label(label))?;
    Some(format!(
        "`{bad}` is not a label of letters, digits and inner hyphens"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_1123() {
        for good in ["a", "node-1", "3com", "web.example.org", "A-b", &"x".repeat(63)] {
            assert_eq!(fault(good), None, "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a..b",
            ".a",
            "a.",
            "a_b",
            "a b",
            "ä",
            "a\n",
            &"x".repeat(65),
            &"x".repeat(64),
        ] {
            assert!(fault(bad).is_some(), "{bad:?}");
        }
    }
}
