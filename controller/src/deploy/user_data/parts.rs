//! What user-data is made of: the kinds of content that cloud-init tells apart, alone or in a MIME message.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;
use mailparse::{MailHeaderMap as _, ParsedMail};
use serde_norway::Value as Document;
use url::Url;

use super::{Findings, MAX_UNPACKED, cloud_config, yaml_fault};

/// Parts of a message or an archive that are looked at.
const MAX_PARTS: usize = 256;
/// Content types whose part is unpacked first.
const PACKED: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];
const JINJA: &str = "## template: jinja";

/// What cloud-init does something with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    CloudConfig,
    Archive,
    Patch,
    Script,
    Include,
    BootHook,
    PartHandler,
    Template,
}

/// Beginnings, the longest first, as one may be the beginning of another.
const BEGINNINGS: [(&str, Kind); 9] = [
    ("#cloud-config-archive", Kind::Archive),
    ("#cloud-config-jsonp", Kind::Patch),
    (JINJA, Kind::Template),
    ("#cloud-boothook", Kind::BootHook),
    ("#cloud-config", Kind::CloudConfig),
    ("#include-once", Kind::Include),
    ("#part-handler", Kind::PartHandler),
    ("#include", Kind::Include),
    ("#!", Kind::Script),
];

const TYPES: [(&str, Kind); 12] = [
    ("text/cloud-config", Kind::CloudConfig),
    ("text/cloud-config-archive", Kind::Archive),
    ("text/cloud-config-jsonp", Kind::Patch),
    ("text/x-shellscript", Kind::Script),
    ("text/x-shellscript-per-boot", Kind::Script),
    ("text/x-shellscript-per-instance", Kind::Script),
    ("text/x-shellscript-per-once", Kind::Script),
    ("text/x-include-url", Kind::Include),
    ("text/x-include-once-url", Kind::Include),
    ("text/cloud-boothook", Kind::BootHook),
    ("text/part-handler", Kind::PartHandler),
    ("text/jinja2", Kind::Template),
];

impl Kind {
    /// By how a text begins.
    pub(super) fn guess(text: &str) -> Option<Self> {
        let text = text.trim_start();
        let begins = |beginning: &str| {
            let head = text.as_bytes().get(..beginning.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(beginning.as_bytes()))
        };
        BEGINNINGS
            .iter()
            .find(|(beginning, _)| begins(beginning))
            .map(|(_, kind)| *kind)
    }

    /// By a content type, and by how the text begins where the type says little.
    fn of(declared: &str, text: &str) -> Option<Self> {
        let known = TYPES
            .iter()
            .find(|(name, _)| *name == declared)
            .map(|(_, kind)| *kind);
        match declared {
            "" | "text/plain" | "text/x-not-multipart" => Self::guess(text),
            "text/x-shellscript" => Self::guess(text).or(known),
            _ => known,
        }
    }
}

pub(super) fn is_gzip(data: &[u8]) -> bool {
    data.starts_with(&[0x1f, 0x8b])
}

pub(super) fn unpack(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let mut reader = MultiGzDecoder::new(data).take(MAX_UNPACKED + 1);
    match reader.read_to_end(&mut unpacked) {
        Ok(bytes) if bytes as u64 > MAX_UNPACKED => Err(format!(
            "it is gzip of more than {MAX_UNPACKED} bytes, which is not looked through"
        )),
        Ok(_) => Ok(unpacked),
        Err(error) => Err(format!("it is gzip that cannot be unpacked: {error}")),
    }
}

/// A MIME message: each of its parts.
pub(super) fn message(data: &[u8], found: &mut Findings) {
    let message = match mailparse::parse_mail(data) {
        Ok(message) => message,
        Err(error) => return found.fault("", format_args!("it is no MIME message: {error}")),
    };
    let mut parts = Vec::new();
    flatten(&message, &mut parts);
    if parts.is_empty() {
        return found.fault(
            "",
            "the MIME message has no part; is its boundary that of its header?",
        );
    }
    if parts.len() > MAX_PARTS {
        return found.fault(
            "",
            format_args!("the MIME message has more than {MAX_PARTS} parts"),
        );
    }
    for (part, number) in parts.into_iter().zip(1..) {
        let at = match part.get_headers().get_first_value("Content-Disposition") {
            Some(_) => match part.get_content_disposition().params.get("filename") {
                Some(name) => format!("part {number} ({}), ", name.chars().take(40).collect::<String>()),
                None => format!("part {number}, "),
            },
            None => format!("part {number}, "),
        };
        one_part(part, &at, found);
    }
}

fn flatten<'a, 'm>(mail: &'a ParsedMail<'m>, parts: &mut Vec<&'a ParsedMail<'m>>) {
    if parts.len() > MAX_PARTS {
        return;
    }
    if mail.ctype.mimetype.starts_with("multipart/") {
        mail.subparts.iter().for_each(|part| flatten(part, parts));
    } else {
        parts.push(mail);
    }
}

fn one_part(part: &ParsedMail<'_>, at: &str, found: &mut Findings) {
    let mut declared = part.ctype.mimetype.to_ascii_lowercase();
    let mut data = match part.get_body_raw() {
        Ok(data) => data,
        Err(error) => return found.fault(at, format_args!("its encoding cannot be read: {error}")),
    };
    if PACKED.contains(&declared.as_str()) {
        match unpack(&data) {
            Ok(unpacked) => data = unpacked,
            Err(fault) => return found.fault(at, fault),
        }
        declared.clear();
    }
    let Ok(text) = std::str::from_utf8(&data) else {
        return found.warning(
            at,
            format_args!("it is {declared} and not text; cloud-init ignores it"),
        );
    };
    typed(&declared, text, at, found);
}

fn typed(declared: &str, text: &str, at: &str, found: &mut Findings) {
    match Kind::of(declared, text) {
        Some(kind) => content(kind, text, at, found),
        None => {
            let declared: String = declared.chars().take(60).collect();
            found.warning(
                at,
                format_args!("its content type `{declared}` is none that cloud-init handles; it is ignored"),
            );
        }
    }
}

/// One content of a known kind.
pub(super) fn content(kind: Kind, text: &str, at: &str, found: &mut Findings) {
    match kind {
        Kind::CloudConfig => cloud_config::look(text, at, found),
        Kind::Archive => archive(text, at, found),
        Kind::Patch => patch(text, at, found),
        Kind::Script if !text.trim_start().starts_with("#!") => {
            found.fault(at, "line 1: a script begins with `#!` and its interpreter");
        }
        Kind::Include => include(text, at, found),
        Kind::Template => template(text, at, found),
        Kind::Script | Kind::BootHook | Kind::PartHandler => {}
    }
}

/// A list of contents in YAML.
fn archive(text: &str, at: &str, found: &mut Findings) {
    let entries = match serde_norway::from_str::<Document>(text) {
        Ok(Document::Sequence(entries)) => entries,
        Ok(_) => return found.fault(at, "the #cloud-config-archive is not a list"),
        Err(error) => return found.fault(at, yaml_fault(&error)),
    };
    for (entry, number) in entries.iter().take(MAX_PARTS).zip(1..) {
        let at = format!("{at}entry {number}, ");
        let (declared, text) = match entry {
            Document::String(text) => ("", text.as_str()),
            Document::Mapping(_) => {
                let value = |key: &str| entry.get(key).and_then(Document::as_str);
                (
                    value("type").unwrap_or_default(),
                    value("content").unwrap_or_default(),
                )
            }
            _ => {
                found.warning(&at, "it is neither a text nor a mapping; cloud-init ignores it");
                continue;
            }
        };
        match (declared, Kind::guess(text)) {
            // What does not say what it is is taken for a cloud-config here.
            ("", guessed) => content(guessed.unwrap_or(Kind::CloudConfig), text, &at, found),
            // An archive in an archive is left alone by cloud-init too.
            ("text/cloud-config-archive", _) => {
                found.warning(&at, "it is an archive in an archive; cloud-init ignores it");
            }
            (declared, _) => typed(declared, text, &at, found),
        }
    }
}

fn patch(text: &str, at: &str, found: &mut Findings) {
    match serde_norway::from_str::<Document>(text) {
        Ok(Document::Sequence(_)) => {}
        Ok(_) => found.fault(at, "the #cloud-config-jsonp is not a list of operations"),
        Err(error) => found.fault(at, yaml_fault(&error)),
    }
}

/// Addresses, one a line.
fn include(text: &str, at: &str, found: &mut Findings) {
    let mut any = false;
    for (line, number) in text.lines().zip(1..) {
        let lower = line.to_ascii_lowercase();
        let rest = ["#include-once", "#include"]
            .into_iter()
            .find_map(|word| lower.starts_with(word).then(|| line[word.len()..].trim()));
        let address = rest.unwrap_or(line).trim();
        if address.is_empty() || address.starts_with('#') {
            continue;
        }
        any = true;
        let good =
            Url::parse(address).is_ok_and(|url| ["http", "https", "file", "ftp"].contains(&url.scheme()));
        if !good {
            let shown: String = address.chars().take(60).collect();
            found.fault(
                at,
                format_args!("line {number}: `{shown}` is not an address (https://…)"),
            );
        }
    }
    if !any {
        found.warning(at, "the #include names no address; it does nothing");
    }
}

/// A template is only known when it is filled in; what it makes is told by its second line.
fn template(text: &str, at: &str, found: &mut Findings) {
    let body = text.trim_start().split_once('\n').map_or("", |(_, body)| body);
    let first = body.trim_start();
    match Kind::guess(first) {
        Some(Kind::CloudConfig | Kind::Script | Kind::BootHook) => {}
        None if first.starts_with("{{") || first.starts_with("{%") || first.starts_with("{#") => {}
        _ => found.fault(
            at,
            "line 2 of the template does not say what it makes; continue with #cloud-config or #!",
        ),
    }
}
