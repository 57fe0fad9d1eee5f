//! Programs of unpacked packages.

use std::{
    env,
    fs::File,
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A folder with unpacked packages.
#[derive(Debug)]
pub struct Programs {
    root: PathBuf,
}

/// The folder, if it is there.
pub fn find() -> Option<Programs> {
    let root = env::var_os("IMPRINT_NETWORK_TOOLS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/network-tools"),
        PathBuf::from,
    );
    // Written when all is unpacked.
    if root.join("complete").exists() {
        return Some(Programs {
            root: root.canonicalize().unwrap(),
        });
    }
    assert!(
        env::var_os("CI").is_none(),
        "{} is missing; `cargo xtask network-tools` makes it",
        root.display()
    );
    eprintln!("not tried: `cargo xtask network-tools` unpacks the programs first");
    None
}

impl Programs {
    /// A file of the packages.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A program of the packages, with their libraries.
    pub fn command(&self, path: &str) -> Command {
        let mut command = Command::new(self.path(path));
        self.with_libraries(&mut command);
        command
    }

    /// Lets a program find the libraries of the packages.
    pub fn with_libraries(&self, command: &mut Command) {
        let folder = format!("{}-linux-gnu", env::consts::ARCH);
        let libraries = [self.path("usr/lib").join(&folder), self.path("lib").join(&folder)];
        command.env("LD_LIBRARY_PATH", env::join_paths(libraries).unwrap());
        command.env("LC_ALL", "C.UTF-8");
    }
}

/// A program's input.
pub fn given(text: &str) -> Stdio {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.rewind().unwrap();
    file.into()
}
