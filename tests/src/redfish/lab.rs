//! The BMC of a lab's server: it is plugged in with the server, and speaks with the controller until the lab ends.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::oddities::Oddities;
use super::qemu::{Qemu, TARGETS};
use super::{Identity, Served, Service, serve};

/// The first server's BMC listens there, the next one's at the next.
const FIRST_PORT: u16 = 8443 + 1000;

/// A BMC that serves beside the lab's own work.
#[derive(Debug)]
pub struct LabBmc {
    /// Where, and what it is.
    pub served: Served,
    // Ends after what it serves.
    _runtime: Runtime,
}

/// A server's QMP for its BMC alone.
pub fn socket(folder: &Path, server: &str) -> PathBuf {
    folder.join(format!("{server}.redfish.qmp"))
}

impl LabBmc {
    /// Starts the BMC of the lab's server with this number.
    pub fn start(number: usize, qemu: Qemu, identity: Identity) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("cannot start the runtime of a BMC")?;
        let port = u16::try_from(number.saturating_sub(1)).ok();
        let port = port.and_then(|number| FIRST_PORT.checked_add(number));
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port.context("too many servers")?));
        let oddities = Oddities {
            targets: Some(TARGETS.to_vec()),
            ..Oddities::default()
        };
        let service = Service::of(qemu, identity, oddities);
        let served = runtime.block_on(serve(service, listen))?;
        Ok(Self {
            served,
            _runtime: runtime,
        })
    }
}
