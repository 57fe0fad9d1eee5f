//! Loop devices for tests.

use std::{fs, process::Command};

/// A loop device over a file full of 0xA5; detached at the end.
pub(crate) struct Loop {
    pub(crate) path: String,
    pub(crate) file: tempfile::NamedTempFile,
}

impl Loop {
    pub(crate) fn new(len: usize, sector: u32) -> Self {
        Self::with(len, sector, &[])
    }

    pub(crate) fn with(len: usize, sector: u32, flags: &[&str]) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![0xA5; len]).unwrap();
        let made = Command::new("losetup")
            .args(["--find", "--show", "--sector-size", &sector.to_string()])
            .args(flags)
            .arg(file.path())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "losetup: {}",
            String::from_utf8_lossy(&made.stderr)
        );
        Loop {
            path: String::from_utf8(made.stdout).unwrap().trim().to_owned(),
            file,
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        Command::new("losetup")
            .args(["--detach", &self.path])
            .status()
            .unwrap();
    }
}
