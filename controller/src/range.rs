//! The Range header (RFC 9110): one range of bytes. Anything else is ignored, as the standard allows.

/// What to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Range {
    Whole,
    Part(std::ops::Range<u64>),
}

/// The range begins behind the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsatisfiable;

pub(crate) fn read(header: Option<&str>, size: u64) -> Result<Range, Unsatisfiable> {
    let spec = header
        .and_then(|h| h.trim().strip_prefix("bytes="))
        .map(str::trim);
    let Some((first, last)) = spec.filter(|s| !s.contains(',')).and_then(|s| s.split_once('-')) else {
        return Ok(Range::Whole);
    };
    let part = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..last.saturating_add(1).min(size),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(suffix)) if first.is_empty() => size.saturating_sub(suffix)..size,
        _ => return Ok(Range::Whole),
    };
    if part.start >= size || part.is_empty() {
        Err(Unsatisfiable)
    } else {
        Ok(Range::Part(part))
    }
}

fn number(text: &str) -> Option<u64> {
    // `u64::from_str` would take a plus sign.
    text.bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        let part = |range| Ok(Range::Part(range));
        for (header, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=0-99", part(0..100)),
            ("bytes=10-19", part(10..20)),
            ("bytes=90-500", part(90..100)),
            ("bytes=99-", part(99..100)),
            ("bytes=-10", part(90..100)),
            ("bytes=-500", part(0..100)),
            ("bytes=100-", Err(Unsatisfiable)),
            ("bytes=100-200", Err(Unsatisfiable)),
            ("bytes=-0", Err(Unsatisfiable)),
            ("bytes=5-4", Ok(Range::Whole)),
            ("bytes=0-1,5-6", Ok(Range::Whole)),
            ("bytes=+1-2", Ok(Range::Whole)),
            ("bytes=a-b", Ok(Range::Whole)),
            ("bytes=-", Ok(Range::Whole)),
            ("lines=0-1", Ok(Range::Whole)),
            ("bytes=0-18446744073709551615", part(0..100)),
            ("bytes=99999999999999999999-", Ok(Range::Whole)),
        ] {
            assert_eq!(read(Some(header), 100), expected, "{header}");
        }
        assert_eq!(read(None, 100), Ok(Range::Whole));
        assert_eq!(read(Some("bytes=0-"), 0), Err(Unsatisfiable));
    }
}
