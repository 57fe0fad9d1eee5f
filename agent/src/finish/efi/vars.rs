//! EFI variables as efivarfs shows them: four bytes of attributes, then the value.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use super::load_option::{LoadOption, MAX_OPTION_BYTES};
use crate::sys::inode_flags;

/// Where the kernel shows the variables.
pub const EFIVARS: &str = "/sys/firmware/efi/efivars";
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// Non-volatile, boot service and runtime access: what boot variables have.
const ATTRIBUTES: u32 = 7;

/// A variable could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VariableError {
    /// Reading.
    #[error("cannot read the EFI variable {name}")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Writing.
    #[error("the firmware does not take the EFI variable {name}")]
    Write {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Removing.
    #[error("cannot remove the EFI variable {name}")]
    Remove {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The folder of the variables is not there.
    #[error("cannot list the EFI variables in {path}")]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The variables of the global namespace.
#[derive(Debug, Clone)]
pub struct Variables {
    folder: PathBuf,
}

impl Variables {
    /// Of a folder: [`EFIVARS`], or one of a test.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-{GLOBAL}"))
    }

    /// The value of a variable; none when there is no such variable.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, VariableError> {
        let limit = MAX_OPTION_BYTES as u64 + 4;
        let read = || {
            let mut bytes = Vec::new();
            File::open(self.path(name))?
                .take(limit + 1)
                .read_to_end(&mut bytes)?;
            Ok::<_, io::Error>(bytes)
        };
        match read() {
            Ok(bytes) if bytes.len() as u64 > limit => {
                let source = io::Error::new(io::ErrorKind::InvalidData, "the value is too long to be true");
                Err(VariableError::Read {
                    name: name.into(),
                    source,
                })
            }
            // A variable without a value reads as empty.
            Ok(bytes) => Ok(bytes.get(4..).map(<[u8]>::to_vec)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(VariableError::Read {
                name: name.into(),
                source,
            }),
        }
    }

    /// Writes a variable in one go, as efivarfs wants it. An equal value is left alone: firmware wears out.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn write(&self, name: &str, value: &[u8]) -> Result<(), VariableError> {
        if self.read(name).ok().flatten().as_deref() == Some(value) {
            return Ok(());
        }
        let write = || {
            let path = self.path(name);
            make_mutable(&path)?;
            let mut bytes = ATTRIBUTES.to_le_bytes().to_vec();
            bytes.extend_from_slice(value);
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&path)?;
            let written = file.write(&bytes)?;
            if written != bytes.len() {
                return Err(io::Error::new(
                    io::ErrorKind::WriteZero,
                    format!("only {written} bytes were taken"),
                ));
            }
            if file.metadata()?.len() > bytes.len() as u64 {
                file.set_len(bytes.len() as u64)?; // never on efivarfs, which keeps the size itself
            }
            Ok(())
        };
        write().map_err(|source| VariableError::Write {
            name: name.into(),
            source,
        })
    }

    /// Removes a variable; one that is not there is fine.
    ///
    /// # Errors
    /// When the firmware refuses.
    pub fn remove(&self, name: &str) -> Result<(), VariableError> {
        let path = self.path(name);
        match make_mutable(&path).and_then(|()| fs::remove_file(&path)) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(VariableError::Remove {
                name: name.into(),
                source,
            }),
            _ => Ok(()),
        }
    }

    /// All boot entries that can be read, and the numbers of those that can't: they are left alone.
    ///
    /// # Errors
    /// When the folder can't be listed.
    pub fn boot_entries(&self) -> Result<(BTreeMap<u16, LoadOption>, Vec<u16>), VariableError> {
        let list = |source| VariableError::List {
            path: self.folder.clone(),
            source,
        };
        let (mut entries, mut broken) = (BTreeMap::new(), Vec::new());
        for entry in fs::read_dir(&self.folder).map_err(list)? {
            let name = entry.map_err(list)?.file_name();
            let Some(number) = name.to_str().and_then(boot_number) else {
                continue;
            };
            let value = self.read(&variable_name(number)).ok().flatten();
            match value.map(|value| LoadOption::decode(&value)) {
                Some(Ok(option)) => {
                    entries.insert(number, option);
                }
                _ => broken.push(number),
            }
        }
        Ok((entries, broken))
    }
}

/// "Boot0003".
#[must_use]
pub fn variable_name(number: u16) -> String {
    format!("Boot{number:04X}")
}

fn boot_number(file_name: &str) -> Option<u16> {
    let (digits, namespace) = file_name.strip_prefix("Boot")?.split_at_checked(4)?;
    let namespace = namespace.strip_prefix('-')?;
    let upper = digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'A'..=b'F'));
    (upper && namespace == GLOBAL)
        .then(|| u16::from_str_radix(digits, 16).ok())
        .flatten()
}

/// The kernel marks variables immutable so that `rm -r` breaks no machine.
fn make_mutable(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Ok(file) => inode_flags::clear_immutable(&file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finish::efi::load_option::ACTIVE;

    #[test]
    fn names_of_variables() {
        assert_eq!(boot_number(&format!("Boot00AF-{GLOBAL}")), Some(0xaf));
        for name in [
            format!("BootOrder-{GLOBAL}"),
            format!("Boot00af-{GLOBAL}"),
            "Boot0001-other".into(),
            "Boot".into(),
        ] {
            assert_eq!(boot_number(&name), None, "{name}");
        }
    }

    #[test]
    fn writes_reads_lists_and_removes() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::at(folder.path());
        assert_eq!(variables.read("BootOrder").unwrap(), None);
        let option = LoadOption {
            attributes: ACTIVE,
            description: "x".into(),
            path: vec![],
            optional: vec![],
        };
        variables.write("Boot0002", &option.encode()).unwrap();
        variables.write("Boot0003", b"\x01").unwrap();
        variables.write("BootOrder", &[2, 0, 3, 0]).unwrap();
        variables.write("BootOrder", &[2, 0]).unwrap();
        assert_eq!(
            variables.read("BootOrder").unwrap(),
            Some(vec![2, 0]),
            "a shorter value leaves no rest"
        );
        let raw = fs::read(folder.path().join(format!("BootOrder-{GLOBAL}"))).unwrap();
        assert_eq!(raw[..4], [7, 0, 0, 0]);
        let (entries, broken) = variables.boot_entries().unwrap();
        assert_eq!(
            (entries.keys().copied().collect::<Vec<_>>(), broken),
            (vec![2], vec![3])
        );
        variables.remove("Boot0002").unwrap();
        variables.remove("Boot0002").unwrap();
        assert_eq!(variables.read("Boot0002").unwrap(), None);
    }
}
