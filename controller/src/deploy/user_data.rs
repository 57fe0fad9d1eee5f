//! cloud-init's user-data, checked before anything is started.

use serde_norway::Value;

/// The limit of cloud-init's NoCloud source in practice, and ours.
pub const MAX_USER_DATA: usize = 64 * 1024;

/// First lines that cloud-init knows.
const HEADERS: [&str; 9] = [
    "#cloud-config",
    "#!",
    "#include",
    "#cloud-boothook",
    "#part-handler",
    "## template: jinja",
    "content-type:",
    "mime-version:",
    "#upstart-job",
];

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// What is wrong with user-data; `None` when cloud-init will read it.
#[must_use]
pub fn fault(data: &[u8]) -> Option<String> {
    if data.is_empty() {
        return None;
    }
    if data.len() > MAX_USER_DATA {
        return Some(format!(
            "it has {} bytes; at most {MAX_USER_DATA} are allowed",
            data.len()
        ));
    }
    if data.starts_with(&GZIP) {
        return None;
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return Some("it is neither UTF-8 text nor gzip".to_owned());
    };
    let first = text.lines().next().unwrap_or_default().trim_end();
    let lower = first.to_ascii_lowercase();
    if !HEADERS.iter().any(|header| lower.starts_with(header)) {
        return Some(
            "line 1 does not say what it is; begin with #cloud-config, #!, #include or a MIME header"
                .to_owned(),
        );
    }
    // `#cloud-config-archive` is a list and `#cloud-config-jsonp` a patch: only the plain one is a mapping.
    if first.trim() == "#cloud-config" {
        cloud_config(text)
    } else {
        None
    }
}

fn cloud_config(text: &str) -> Option<String> {
    match serde_norway::from_str::<Value>(text) {
        Ok(Value::Mapping(_)) => None,
        Ok(Value::Null) => Some("the #cloud-config says nothing".to_owned()),
        Ok(_) => Some("the #cloud-config is not a mapping of keys to values".to_owned()),
        Err(error) => Some(yaml_fault(&error)),
    }
}

/// The fault of a YAML document, with its line first.
#[must_use]
pub fn yaml_fault(error: &serde_norway::Error) -> String {
    match error.location() {
        Some(place) => format!("line {}, column {}: {error}", place.line(), place.column()),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cloud_init_reads_is_taken() {
        for good in [
            "",
            "#cloud-config\nusers:\n  - name: a\n",
            "#!/bin/sh\necho : [\n",
            "#include\nhttps://example.org/x\n",
            "Content-Type: multipart/mixed; boundary=\"x\"\n\n",
            "MIME-Version: 1.0\n",
            "## template: jinja\n#cloud-config\nx: {{ y }}\n",
            "#cloud-config-archive\n- type: text/plain\n",
        ] {
            assert_eq!(fault(good.as_bytes()), None, "{good}");
        }
        assert_eq!(fault(&[0x1f, 0x8b, 8, 0, 255]), None);
        let mut large = b"#!/bin/sh\n".to_vec();
        large.resize(MAX_USER_DATA, b'#');
        assert_eq!(fault(&large), None);
    }

    #[test]
    fn what_it_would_drop_is_refused_with_the_line() {
        let mut large = b"#!/bin/sh\n".to_vec();
        large.resize(MAX_USER_DATA + 1, b'#');
        for (bad, part) in [
            (b"users: []\n".to_vec(), "line 1 does not say"),
            (b" #cloud-config\n".to_vec(), "line 1 does not say"),
            (b"#cloud-config\n- a\n".to_vec(), "not a mapping"),
            (b"#cloud-config\n".to_vec(), "says nothing"),
            (b"#cloud-config\nusers:\n  - name: [a\nb: c\n".to_vec(), "line 4"),
            (b"#cloud-config\na: 1\n\tb: 2\n".to_vec(), "line 3"),
            (b"#cloud-config\na: 1\nb:\n  c: 1\n  c: 2\n".to_vec(), "duplicate"),
            (vec![0xff, 0xfe], "neither UTF-8"),
            (large, "65537 bytes"),
        ] {
            let fault = fault(&bad).unwrap();
            assert!(fault.contains(part), "{fault} should contain {part}");
        }
    }
}
