//! What of an image's facts matters to servers.

use std::collections::BTreeSet;

use imprint_hardware::matching::Drivers;
use imprint_image::facts::{Fact, Facts, Kernel, LoaderKind};

/// The facts of a disk, in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FactsDigest {
    pub drivers: Drivers,
    pub kernel_arguments: Option<Vec<String>>,
    pub cloud_init: Option<bool>,
    pub guest_plugin: Option<bool>,
    pub signed_loader: Option<bool>,
}

impl FactsDigest {
    /// Nothing was read.
    pub(super) fn unknown() -> Self {
        Self {
            drivers: Drivers::NoSystem,
            kernel_arguments: None,
            cloud_init: None,
            guest_plugin: None,
            signed_loader: None,
        }
    }

    pub(super) fn of(facts: &Facts) -> Self {
        Self {
            drivers: drivers(facts),
            kernel_arguments: arguments(facts),
            cloud_init: facts.cloud_init.known().map(Option::is_some),
            guest_plugin: facts.guest_plugin.known().copied(),
            signed_loader: signed_loader(facts),
        }
    }
}

/// In the initramfs of every kernel that can be started, or built into it: which of them will be is not known.
fn drivers(facts: &Facts) -> Drivers {
    let kernels = match &facts.kernels {
        Fact::Known(kernels) => kernels,
        Fact::Unknown(why) if facts.distribution.known().is_some() => return Drivers::Unknown(why.clone()),
        Fact::Unknown(_) => return Drivers::NoSystem,
    };
    let mut common: Option<BTreeSet<String>> = None;
    for kernel in kernels.iter().filter(|kernel| kernel.image.is_some()) {
        let modules = match modules(kernel) {
            Ok(modules) => modules,
            Err(why) => return Drivers::Unknown(why),
        };
        common = Some(match common {
            Some(common) => common.intersection(&modules).cloned().collect(),
            None => modules,
        });
    }
    match common {
        Some(modules) => Drivers::Known(modules.into_iter().collect()),
        None if facts.distribution.known().is_some() => {
            Drivers::Unknown("no kernel was found in its file systems".to_owned())
        }
        None => Drivers::NoSystem,
    }
}

fn modules(kernel: &Kernel) -> Result<BTreeSet<String>, String> {
    let of = |fault: &str| format!("kernel {}: {fault}", kernel.version);
    let mut modules: BTreeSet<String> = match &kernel.builtin {
        Fact::Known(builtin) => builtin.iter().map(|name| name.replace('-', "_")).collect(),
        Fact::Unknown(why) => return Err(of(why)),
    };
    match &kernel.initramfs {
        Fact::Known(Some(initramfs)) => modules.extend(initramfs.modules.iter().cloned()),
        Fact::Known(None) => {}
        Fact::Unknown(why) => return Err(of(why)),
    }
    Ok(modules)
}

/// Arguments on every command line.
fn arguments(facts: &Facts) -> Option<Vec<String>> {
    let lines = facts.command_lines.known()?;
    let (first, rest) = lines.split_first()?;
    let on_all = |argument: &&String| rest.iter().all(|line| line.arguments.contains(argument));
    let mut common: Vec<String> = first.arguments.iter().filter(on_all).cloned().collect();
    common.sort();
    common.dedup();
    Some(common)
}

/// A signed shim, or a signed loader where firmware looks by itself.
fn signed_loader(facts: &Facts) -> Option<bool> {
    let esp = facts.firmware.uefi.known()?.as_ref()?;
    let first = |kind: LoaderKind, removable: bool| kind == LoaderKind::Shim || removable;
    let mut begins = esp
        .loaders
        .iter()
        .filter(|loader| first(loader.kind, loader.removable_path))
        .peekable();
    begins.peek()?;
    let signed: Vec<Option<bool>> = begins.map(|loader| loader.signed.known().copied()).collect();
    if signed.contains(&Some(true)) {
        return Some(true);
    }
    (!signed.contains(&None)).then_some(false)
}
