//! The Range header (RFC 9110): one range of bytes. Anything else is ignored, as the standard allows.

use std::ops;

use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// The bytes of something that are sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub bytes: ops::Range<u64>,
    /// Not all of it, because a range was asked for.
    pub is_part: bool,
    size: u64,
}

/// The range begins behind the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outside {
    pub size: u64,
}

/// The range that is asked for.
pub(crate) fn asked(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::RANGE)?.to_str().ok()
}

/// What is sent of something of this size.
pub(crate) fn read(asked: Option<&str>, size: u64) -> Result<Sent, Outside> {
    let Some(bytes) = asked.and_then(|text| part(text, size)) else {
        return Ok(Sent {
            bytes: 0..size,
            is_part: false,
            size,
        });
    };
    if bytes.start >= size || bytes.is_empty() {
        return Err(Outside { size });
    }
    Ok(Sent {
        bytes,
        is_part: true,
        size,
    })
}

impl Sent {
    /// Status, length and range of the answer that has these bytes.
    pub(crate) fn describe(&self, response: &mut Response) {
        let ops::Range { start, end } = self.bytes;
        let headers = response.headers_mut();
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        headers.insert(header::CONTENT_LENGTH, (end - start).into());
        if self.is_part {
            let last = end.saturating_sub(1);
            put_range(response, &format!("bytes {start}-{last}/{}", self.size));
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
    }
}

impl Outside {
    /// Status and range of the answer that says so.
    pub(crate) fn describe(&self, response: &mut Response) {
        *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
        put_range(response, &format!("bytes */{}", self.size));
    }
}

fn put_range(response: &mut Response, range: &str) {
    if let Ok(value) = HeaderValue::from_str(range) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
}

/// None: no range that is understood.
fn part(asked: &str, size: u64) -> Option<ops::Range<u64>> {
    let spec = asked.trim().strip_prefix("bytes=")?.trim();
    let (first, last) = spec.split_once('-').filter(|_| !spec.contains(','))?;
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Some(first..last.saturating_add(1).min(size)),
        (Some(first), None) if last.is_empty() => Some(first..size),
        (None, Some(suffix)) if first.is_empty() => Some(size.saturating_sub(suffix)..size),
        _ => None,
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
        let part = |bytes| {
            Ok(Sent {
                bytes,
                is_part: true,
                size: 100,
            })
        };
        let whole = || {
            Ok(Sent {
                bytes: 0..100,
                is_part: false,
                size: 100,
            })
        };
        let outside = || Err(Outside { size: 100 });
        for (header, expected) in [
            ("bytes=0-0", part(0..1)),
            ("bytes=0-99", part(0..100)),
            ("bytes=10-19", part(10..20)),
            ("bytes=90-500", part(90..100)),
            ("bytes=99-", part(99..100)),
            ("bytes=-10", part(90..100)),
            ("bytes=-500", part(0..100)),
            ("bytes=100-", outside()),
            ("bytes=100-200", outside()),
            ("bytes=-0", outside()),
            ("bytes=5-4", whole()),
            ("bytes=0-1,5-6", whole()),
            ("bytes=+1-2", whole()),
            ("bytes=a-b", whole()),
            ("bytes=-", whole()),
            ("lines=0-1", whole()),
            ("bytes=0-18446744073709551615", part(0..100)),
            ("bytes=99999999999999999999-", whole()),
        ] {
            assert_eq!(read(Some(header), 100), expected, "{header}");
        }
        assert_eq!(read(None, 100), whole());
        assert_eq!(read(Some("bytes=0-"), 0), Err(Outside { size: 0 }));
    }

    #[test]
    fn answers_say_what_they_have() {
        let said = |response: &Response, name| {
            response
                .headers()
                .get(name)
                .map(|v| v.to_str().unwrap().to_owned())
        };
        for (header, status, length, range) in [
            (None, 200, Some("100"), None),
            (Some("bytes=10-19"), 206, Some("10"), Some("bytes 10-19/100")),
            (Some("bytes=100-"), 416, None, Some("bytes */100")),
        ] {
            let mut response = Response::default();
            match read(header, 100) {
                Ok(sent) => sent.describe(&mut response),
                Err(outside) => outside.describe(&mut response),
            }
            assert_eq!(response.status().as_u16(), status, "{header:?}");
            assert_eq!(said(&response, header::CONTENT_LENGTH).as_deref(), length);
            assert_eq!(said(&response, header::CONTENT_RANGE).as_deref(), range);
        }
        let mut empty = Response::default();
        read(None, 0).unwrap().describe(&mut empty);
        assert_eq!(
            (
                empty.status().as_u16(),
                said(&empty, header::CONTENT_LENGTH).as_deref()
            ),
            (200, Some("0"))
        );
    }
}
