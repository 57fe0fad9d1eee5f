//! A rescue: somebody is let into the ramdisk by ssh.
//!
//! The ordinary ramdisk has neither ssh server nor shell. A machine that is rescued is given a second initrd with both
//! ([`Place::is_loaded`]). [`server`] starts Dropbear with a host key of this boot, in a control group of its own: so it goes on
//! when the agent is restarted, and ends with all that was started in its sessions. [`password`] lets the one-time
//! password in once; root's login shell is this program, too ([`shell`]), which takes care of that before it becomes a shell.

use std::path::{Path, PathBuf};

pub mod log;
pub mod mounts;
pub mod password;
pub mod server;
pub mod shell;

/// What the kernel is told by the boot script of a machine that is rescued.
const ARGUMENT: &str = "imprint.rescue";

/// Where everything of a rescue is.
#[derive(Debug, Clone)]
pub struct Place {
    /// `/`, or a tree of a test.
    pub root: PathBuf,
    /// In the state folder: key, log and books.
    pub folder: PathBuf,
}

impl Place {
    /// Below a root folder, with the agent's state folder.
    #[must_use]
    pub fn below(root: &Path, state: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
            folder: state.join("rescue"),
        }
    }

    /// Whether this ramdisk has the part for rescues.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.root.join(crate::selfcheck::RESCUE_LIST).exists()
    }

    /// Whether the boot script has asked for that part.
    #[must_use]
    pub fn is_asked_for(&self) -> bool {
        crate::inventory::kernel_was_told(&self.root, ARGUMENT)
    }

    /// What the ssh server says.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Seconds since the machine was started: no clock that somebody sets.
    #[must_use]
    pub fn uptime_seconds(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.root.join("proc/uptime")).ok()?;
        text.split('.').next()?.trim().parse().ok()
    }
}
