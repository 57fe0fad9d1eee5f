//! cloud-init's user-data, read before anything is started as cloud-init will read it: what it is (a cloud-config, a
//! script, a list of addresses, a MIME message with several of them, gzip of any), and whether that can work.
//!
//! Faults are what cloud-init would drop or stumble over; warnings are what it would ignore. Line numbers are those of the
//! part that is named before them.

mod cloud_config;
mod keys;
mod parts;
mod yaml;

pub use yaml::yaml_fault;

/// The limit of cloud-init's NoCloud source in practice, and ours.
pub const MAX_USER_DATA: usize = 64 * 1024;
/// What gzip may unpack to; more would not be looked through in a moment.
const MAX_UNPACKED: u64 = 1 << 20;
/// Findings that are told of one kind.
const MAX_TOLD: usize = 20;
/// Where cloud-init looks for the header that makes a MIME message of it.
const MIME_HEAD: usize = 4096;

/// What was found in user-data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Why it cannot be used.
    pub faults: Vec<String>,
    /// What of it cloud-init will not heed.
    pub warnings: Vec<String>,
}

impl Findings {
    fn fault(&mut self, at: &str, text: impl std::fmt::Display) {
        if self.faults.len() < MAX_TOLD {
            self.faults.push(format!("{at}{text}"));
        }
    }

    fn warning(&mut self, at: &str, text: impl std::fmt::Display) {
        if self.warnings.len() < MAX_TOLD {
            self.warnings.push(format!("{at}{text}"));
        }
    }
}

/// Looks through user-data. Nothing is fetched and nothing is run.
#[must_use]
pub fn look(data: &[u8]) -> Findings {
    let mut found = Findings::default();
    if data.len() > MAX_USER_DATA {
        let bytes = data.len();
        found.fault(
            "",
            format_args!("it has {bytes} bytes; at most {MAX_USER_DATA} are allowed"),
        );
    } else if !data.is_empty() {
        whole(data, &mut found);
    }
    found
}

fn whole(data: &[u8], found: &mut Findings) {
    let unpacked;
    let data = if parts::is_gzip(data) {
        match parts::unpack(data) {
            Ok(bytes) => {
                unpacked = bytes;
                unpacked.as_slice()
            }
            Err(fault) => return found.fault("", fault),
        }
    } else {
        data
    };
    if data.is_empty() {
        return;
    }
    let head = data[..data.len().min(MIME_HEAD)].to_ascii_lowercase();
    if head.windows(13).any(|some| some == b"mime-version:") {
        return parts::message(data, found);
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return found.fault("", "it is neither UTF-8 text nor gzip");
    };
    match parts::Kind::guess(text) {
        Some(kind) => parts::content(kind, text, "", found),
        None if text.trim_start().to_ascii_lowercase().starts_with("content-type:") => found.fault(
            "",
            "it looks like a MIME message, and cloud-init takes it for one only with the header `MIME-Version: 1.0`",
        ),
        None => found.fault(
            "",
            "line 1 does not say what it is; begin with #cloud-config, #!, #include or a MIME header",
        ),
    }
}

#[cfg(test)]
mod tests;
