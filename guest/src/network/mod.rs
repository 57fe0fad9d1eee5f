//! `imprint-guest network`: what the network of this machine is to be, what differs, and the way back.
//!
//! - [`state`]: the network as it was given, in two copies with a digest; a damaged one is written again from the other.
//! - [`files`]: the system's files, held against what was written, put back, or accepted as they are.
//! - [`kernel`]: links, addresses and routes by netlink.
//! - [`bring_up`]: what the system is told so that it reads its files again; [`keyfiles`]: what NetworkManager calls them.
//! - [`services`]: whether what brings the network up starts by itself.
//! - [`learn`]: what the system was like when all was right.
//! - [`reach`]: whether gateway and controller answer.
//! - [`guard`] decides when what differs is put back; [`watch`] looks and does it; [`at_boot`] does it before the network
//!   is started.
//!
//! Nothing waits for the controller.

pub mod at_boot;
pub mod bring_up;
pub mod files;
pub mod guard;
pub mod kernel;
pub mod keyfiles;
pub mod learn;
pub mod reach;
pub mod services;
pub mod state;
mod turn;
pub mod watch;

use std::path::Path;

use imprint_network::{
    compare::{Difference, Kernel as KernelState, compare, obstacles},
    kept::Kept,
};

use bring_up::{Behind, How};

use files::{Change, FilesError};
use kernel::KernelError;
use state::StateError;

/// A command could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// What was given is not known.
    #[error("it is not known what the network is to be")]
    State(#[from] StateError),
    /// The system's files.
    #[error("the network's files cannot be used")]
    Files(#[from] FilesError),
    /// The links of services.
    #[error("the network's services cannot be looked at")]
    Services(#[from] services::ServicesError),
    /// The kernel does not tell.
    #[error("the kernel does not tell what it has")]
    Kernel(#[from] KernelError),
    /// cloud-init wrote the files.
    #[error("cloud-init wrote this system's network files; their first content is not known here")]
    NotOurs,
    /// What was put back at boot.
    #[error("what was put back cannot be noted")]
    Note(#[source] std::io::Error),
    /// Who brings the network up.
    #[error("it cannot be seen to that only one brings the network up")]
    Lock(#[source] std::io::Error),
    /// A program of the system.
    #[error("the network could not be brought up")]
    BringUp(#[from] bring_up::BringUpError),
}

impl NetworkError {
    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::State(StateError::None) => {
                "this system was installed without network data; deploy it with --network FILE"
            }
            Self::State(_) => {
                "both copies are damaged; deploy the server again, or write its network files by hand"
            }
            Self::Files(_) | Self::Services(_) | Self::Note(_) | Self::Lock(_) => {
                "run it as root, on a file system that can be written"
            }
            Self::Kernel(_) => "run it outside of a container that has no netlink",
            Self::NotOurs => {
                "let cloud-init write them again: cloud-init clean --logs, and a restart; or change them and leave them so"
            }
            Self::BringUp(_) => "look at the journal of the network's service, then try again",
        }
    }
}

/// What differs from what was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Name of the system whose files were written; unset where cloud-init wrote them.
    pub system: Option<&'static str>,
    /// An operator accepted other files.
    pub accepted: bool,
    /// Copies of what was given that were damaged and have been written again.
    pub repaired: Vec<String>,
    /// Files that differ.
    pub files: Vec<Change>,
    /// Services that do not start by themselves any more.
    pub services: Vec<String>,
    /// What the kernel lacks; nothing is said here of accepted networks.
    pub kernel: Vec<Difference>,
}

impl Status {
    /// Whether all is as it was given, or accepted.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.files.is_empty() && self.services.is_empty() && self.kernel.is_empty()
    }

    /// For a terminal; `whole` with the lines of the files that differ.
    #[must_use]
    pub fn text(&self, whole: bool) -> String {
        let mut out = String::new();
        let wrote = self.system.unwrap_or("cloud-init");
        let given = if self.accepted {
            "as it was accepted"
        } else {
            "as it was given"
        };
        let how = if self.is_right() {
            given
        } else {
            "other than it is to be"
        };
        out.push_str(&format!("network by {wrote}, {how}\n"));
        for path in &self.repaired {
            out.push_str(&format!("repaired: {path}\n"));
        }
        for change in &self.files {
            out.push_str(&format!("file: {change}\n"));
            if whole {
                out.push_str(&change.lines());
            }
        }
        for service in &self.services {
            out.push_str(&format!("service: {service}\n"));
        }
        for difference in &self.kernel {
            out.push_str(&format!("kernel: {difference}\n"));
        }
        out
    }
}

/// What differs below a root, and in this network namespace.
///
/// # Errors
/// When that can't be known.
pub async fn status(root: &Path) -> Result<Status, NetworkError> {
    Ok(look_at(root).await?.status)
}

/// A status with what it was made of.
#[derive(Debug)]
struct Looked {
    status: Status,
    kept: Kept,
    /// Unset for an accepted network, which the kernel is not held against.
    kernel: Option<KernelState>,
}

async fn look_at(root: &Path) -> Result<Looked, NetworkError> {
    let state::Loaded { kept, repaired } = state::load(root)?;
    let there = match &kept.accepted {
        None => Some(kernel::read().await?),
        Some(_) => None,
    };
    let kernel = there.as_ref().map_or_else(Vec::new, |there| {
        let mut differences = compare(&kept.expected(), there);
        differences.extend(routes_gone(&kept, there));
        differences
    });
    let services = match (kept.system, &kept.learned) {
        (Some(system), Some(learned)) if kept.accepted.is_none() => {
            services::differences(root, system, &learned.services)?
        }
        _ => Vec::new(),
    };
    let status = Status {
        system: kept.system.map(imprint_network::Format::word),
        accepted: kept.accepted.is_some(),
        repaired,
        files: files::changes(root, &kept)?,
        services,
        kernel,
    };
    Ok(Looked {
        status,
        kept,
        kernel: there,
    })
}

/// Default routes that a DHCP server or a router gave, and that are in no network data.
fn routes_gone(kept: &Kept, kernel: &KernelState) -> Vec<Difference> {
    let Some(learned) = &kept.learned else {
        return Vec::new();
    };
    [
        (learned.default_ipv4, false, "IPv4"),
        (learned.default_ipv6, true, "IPv6"),
    ]
    .into_iter()
    .filter(|(had, ipv6, _)| *had && !learn::has_default(kernel, *ipv6))
    .map(|(_, _, family)| Difference {
        link: String::new(),
        what: format!("the default route for {family} is gone"),
    })
    .collect()
}

/// Puts files and services back and has the system read them. The answer is what differed of the files.
///
/// # Errors
/// When something can't be written, or a program of the system fails.
pub async fn restore_system(root: &Path, how: How) -> Result<Vec<Change>, NetworkError> {
    let kept = ours(root)?;
    let changes = files::restore(root, &kept)?;
    let system = kept.system.ok_or(NetworkError::NotOurs)?;
    if let (Some(learned), None) = (&kept.learned, &kept.accepted)
        && services::restore(root, system, &learned.services)?
    {
        off_thread(bring_up::reload_units).await?;
    }
    bring_up(root, &kept, how).await?;
    Ok(changes)
}

async fn bring_up(root: &Path, kept: &Kept, how: How) -> Result<(), NetworkError> {
    let system = kept.system.ok_or(NetworkError::NotOurs)?;
    let _alone = turn::take(root).map_err(NetworkError::Lock)?;
    // What an operator accepted may have links that the network data does not know.
    if how != How::Reread && kept.accepted.is_none() {
        let there = kernel::read().await?;
        // Told in the log; the system's programs may get by.
        drop(kernel::clear(&obstacles(&kept.expected(), &there)).await);
    }
    let behind = Behind::find(root, system, &kept.files());
    let plan = bring_up::plan(system, &behind, how);
    off_thread(move || bring_up::run(&plan)).await
}

/// The system's programs take their time.
async fn off_thread<R, E>(work: impl FnOnce() -> Result<R, E> + Send + 'static) -> Result<R, NetworkError>
where
    R: Send + 'static,
    E: Into<NetworkError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Puts the system's files back. What was there instead is kept. The answer is what was changed back.
///
/// # Errors
/// When a file can't be written.
pub fn restore(root: &Path) -> Result<Vec<Change>, NetworkError> {
    let kept = ours(root)?;
    Ok(files::restore(root, &kept)?)
}

/// Takes the system's files as they are now for what they are to be. The answer is how many there are.
///
/// # Errors
/// When they can't be read, or that not be noted.
pub fn accept(root: &Path) -> Result<usize, NetworkError> {
    let mut kept = ours(root)?;
    let files = files::present(root, &kept)?;
    let count = files.len();
    kept.accepted = Some(files);
    state::save(root, &kept)?;
    Ok(count)
}

/// Tells the system to read its files again and bring the network up by them.
///
/// # Errors
/// When one of its programs fails.
pub async fn apply(root: &Path) -> Result<(), NetworkError> {
    bring_up(root, &ours(root)?, How::Anew).await
}

fn ours(root: &Path) -> Result<Kept, NetworkError> {
    let kept = state::load(root)?.kept;
    if kept.system.is_none() {
        return Err(NetworkError::NotOurs);
    }
    Ok(kept)
}
