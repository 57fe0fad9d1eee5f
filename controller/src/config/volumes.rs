//! `[volumes]`: the back-end of volumes that this controller has itself.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::{Table, Value};

use super::{problems::ConfigProblem, read::AbsolutePath, table::Keys};

const SECTION: &str = "volumes";
const EXAMPLE: &str = "\"10.0.9.1:10809\"";

/// The back-end of volumes that this controller has itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumesConfig {
    /// Where the storage network reaches the volumes, over NBD.
    pub listen: SocketAddr,
    /// The folder that holds them.
    pub folder: PathBuf,
}

/// The section as it was written.
#[derive(Debug)]
pub(super) struct WrittenVolumes {
    listen: SocketAddr,
    folder: Option<PathBuf>,
}

impl WrittenVolumes {
    pub(super) fn complete(self, data_dir: &Path) -> VolumesConfig {
        VolumesConfig {
            listen: self.listen,
            folder: self.folder.unwrap_or_else(|| data_dir.join("volumes")),
        }
    }
}

/// Without the section there is no back-end.
pub(super) fn read(section: Option<Value>, problems: &mut Vec<ConfigProblem>) -> Option<WrittenVolumes> {
    let table = match section? {
        Value::Table(table) => table,
        other => {
            let cause = format!("is {}, not a table", other.type_str());
            let remedy = format!("Write it as a section: [{SECTION}].");
            Keys::new("", Table::new(), problems).note(SECTION, cause, remedy);
            return None;
        }
    };
    let mut keys = Keys::new(SECTION, table, problems);
    let listen: Option<SocketAddr> = keys.text("listen", EXAMPLE);
    let folder = keys
        .text("folder", "\"/var/lib/imprint/volumes\"")
        .map(|AbsolutePath(path)| path);
    let remedy = format!("Give an address of this host in the storage network, with a port: {EXAMPLE}.");
    match listen {
        None if !keys.has_problem("listen") => {
            keys.note("listen", "is not set, and has no default", remedy);
        }
        Some(address) if address.port() == 0 => keys.note("listen", format!("{address} has no port"), remedy),
        // Whoever reaches it reads and writes all volumes.
        Some(address) if address.ip().is_unspecified() || address.ip().is_multicast() => {
            let cause = format!("{address} would open all volumes to every network, or to none");
            keys.note("listen", cause, remedy);
        }
        _ => {}
    }
    keys.finish();
    Some(WrittenVolumes {
        listen: listen?,
        folder,
    })
}
