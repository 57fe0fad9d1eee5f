//! Files of sections and keys: systemd's and NetworkManager's.

use super::HEADER;

/// Such a file, as far as it is written. Sections without keys are left out.
#[derive(Debug)]
pub(super) struct Ini {
    out: String,
    section: String,
}

impl Ini {
    pub(super) fn new() -> Self {
        Self {
            out: HEADER.to_owned(),
            section: String::new(),
        }
    }

    /// Begins a section.
    pub(super) fn section(&mut self, name: &str) {
        self.section = format!("\n[{name}]\n");
    }

    /// Writes a key.
    pub(super) fn key(&mut self, key: &str, value: impl std::fmt::Display) {
        let head = std::mem::take(&mut self.section);
        self.out.push_str(&head);
        self.out.push_str(&format!("{key}={value}\n"));
    }

    /// Writes a key if it has a value.
    pub(super) fn maybe(&mut self, key: &str, value: Option<impl std::fmt::Display>) {
        if let Some(value) = value {
            self.key(key, value);
        }
    }

    /// Writes a key of yes and no if it was said.
    pub(super) fn flag(&mut self, key: &str, value: Option<bool>) {
        self.maybe(key, value.map(|value| if value { "yes" } else { "no" }));
    }

    /// The file's text.
    pub(super) fn text(self) -> String {
        self.out
    }
}
