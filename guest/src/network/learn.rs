//! What a system is like whose network is right for the first time: what later looks are held against, beside the network
//! data. For a system whose files cloud-init wrote it is also what is restored.

use std::path::Path;

use imprint_network::{
    Format,
    compare::Kernel,
    kept::{Kept, Learned},
    model::MAIN_TABLE,
};

use super::{NetworkError, files, services};

/// What cloud-init may have written for, in the order in which systems prefer them.
const WRITTEN: [Format; 6] = [
    Format::Netplan,
    Format::NetworkManager,
    Format::Networkd,
    Format::Ifupdown,
    Format::Ifcfg,
    Format::Wicked,
];

/// The same with what was learned; `None` when there is nothing to learn from: cloud-init has not ended, or its files are not
/// found.
///
/// # Errors
/// When the system's files can't be read.
pub fn learn(root: &Path, kept: &Kept, kernel: &Kernel) -> Result<Option<Kept>, NetworkError> {
    let mut kept = kept.clone();
    let mut learned = Learned {
        default_ipv4: has_default(kernel, false),
        default_ipv6: has_default(kernel, true),
        ..Learned::default()
    };
    if kept.system.is_none() {
        if !root.join("run/cloud-init/result.json").exists() {
            return Ok(None);
        }
        let Some((system, files)) = by_cloud_init(root, &kept)? else {
            return Ok(None);
        };
        kept.system = Some(system);
        learned.files = files;
    }
    if let Some(system) = kept.system {
        learned.services = services::read(root, system)?;
    }
    kept.learned = Some(learned);
    Ok(Some(kept))
}

type Written = (Format, Vec<imprint_network::File>);

fn by_cloud_init(root: &Path, kept: &Kept) -> Result<Option<Written>, NetworkError> {
    for system in WRITTEN {
        let as_if = Kept {
            system: Some(system),
            // Nothing but what lies there.
            accepted: Some(Vec::new()),
            ..kept.clone()
        };
        let files = files::present(root, &as_if)?;
        let by_it = |file: &imprint_network::File| {
            file.path.contains("cloud-init") || file.content.contains("cloud-init")
        };
        if files.iter().any(by_it) {
            return Ok(Some((system, files)));
        }
    }
    Ok(None)
}

/// Whether there is a default route, whoever gave it.
#[must_use]
pub fn has_default(kernel: &Kernel, ipv6: bool) -> bool {
    kernel.routes.iter().any(|route| {
        route.table == MAIN_TABLE && route.to.prefix_len() == 0 && route.to.addr().is_ipv6() == ipv6
    })
}
