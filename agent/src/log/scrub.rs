//! What a line must not show: the last guard, behind the rule that no secret is logged.

use std::borrow::Cow;

/// Longest line, in bytes.
pub(super) const MOST_LINE: usize = 4 << 10;
const CUT: &str = "…";

/// One line of bounded length: no control characters, none of the secrets, no query or user in a URL, no bearer token.
pub(super) fn line(text: &str, secrets: &[String]) -> String {
    let mut text = Cow::Borrowed(text);
    for secret in secrets {
        if text.contains(secret.as_str()) {
            text = Cow::Owned(text.replace(secret.as_str(), CUT));
        }
    }
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = bearer(&urls(&text)).chars().map(plain).collect();
    if line.len() > MOST_LINE {
        let end = line.floor_char_boundary(MOST_LINE - CUT.len());
        line.truncate(end);
        line.push_str(CUT);
    }
    line
}

/// Signed URLs have their signature in the query.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || "\"'<>`".contains(c);
        let (url, behind) = after.split_at(after.find(ends).unwrap_or(after.len()));
        let (address, query) = url.split_at(url.find(['?', '#']).unwrap_or(url.len()));
        let host = address.find('/').unwrap_or(address.len());
        match address[..host].rfind('@') {
            Some(user) => out.extend([CUT, &address[user..]]),
            None => out.push_str(address),
        }
        if !query.is_empty() {
            out.extend([&query[..1], CUT]);
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

fn bearer(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find("bearer ") {
        let (before, after) = rest.split_at(at + "bearer ".len());
        let token = after.find(char::is_whitespace).unwrap_or(after.len());
        out.extend([before, CUT]);
        rest = &after[token..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_never_pass() {
        let secrets = ["s3cr3t-token".to_owned()];
        for (text, shown) in [
            ("nothing to hide", "nothing to hide"),
            ("a s3cr3t-token b s3cr3t-token", "a … b …"),
            (
                "GET https://store.example/a/b?X-Amz-Signature=abc&x=1: 403",
                "GET https://store.example/a/b?… 403",
            ),
            (
                "url (https://user:pass@[::1]:8443/p#frag) failed",
                "url (https://…@[::1]:8443/p#… failed",
            ),
            (
                "Authorization: Bearer abc.def next",
                "Authorization: Bearer … next",
            ),
            ("two\nlines\u{1b}[31m", "two lines [31m"),
            ("https://", "https://"),
        ] {
            assert_eq!(line(text, &secrets), shown, "{text}");
        }
    }

    #[test]
    fn a_line_has_its_length_whatever_it_is_made_of() {
        for sign in ["a", "é", "\u{1F600}", "\n"] {
            let line = line(&sign.repeat(9000), &[]);
            assert!(
                line.len() <= MOST_LINE && line.len() > MOST_LINE - 8,
                "{}",
                line.len()
            );
        }
    }
}
