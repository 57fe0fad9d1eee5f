//! Before the network is started: files and services that differ are put back, so that the system boots with the right ones.
//! There is no grace here, and nobody to give it to: what somebody meant to keep was accepted before.
//!
//! Whether that has helped shows later. What had differed is noted below `/run`, where the [watch](super::watch) finds it and
//! tells the controller when the network is right.

use std::{fs, io, path::Path};

use imprint_network::compare::{Obstacle, obstacles};

use super::{
    NetworkError, Status,
    bring_up::{self, Behind},
    files, kernel, off_thread, services, state,
};
use crate::file;

const NOTE: &str = "run/imprint/network-put-back";
/// Longest note that is read.
const MAX_NOTE: u64 = 1 << 20;

/// Puts back what differs of files and services; the answer is what had differed, for a terminal. `None`: nothing, or it is
/// not known yet what they are to be, since cloud-init has not written them.
///
/// # Errors
/// When something can't be read or written, or a program of the system fails.
pub async fn put_back(root: &Path) -> Result<Option<String>, NetworkError> {
    let state::Loaded { kept, repaired } = state::load(root)?;
    let Some(system) = kept.system else {
        return Ok(None);
    };
    let links = match (&kept.learned, &kept.accepted) {
        (Some(learned), None) => learned.services.as_slice(),
        _ => &[],
    };
    let status = Status {
        system: Some(system.word()),
        accepted: kept.accepted.is_some(),
        repaired,
        files: files::changes(root, &kept)?,
        services: match links {
            [] => Vec::new(),
            links => services::differences(root, system, links)?,
        },
        kernel: Vec::new(),
    };
    if status.is_right() {
        return Ok(None);
    }
    let what = format!("at boot, before the network was started:\n{}", status.text(true));
    files::restore(root, &kept)?;
    let units = !status.services.is_empty() && services::restore(root, system, links)?;
    note(root, &what).map_err(NetworkError::Note)?;
    // Interfaces have got their names already, by other rules.
    if status.files.iter().any(|change| change.path.ends_with(".link")) {
        let mut names = obstacles(&kept.expected(), &kernel::read().await?);
        names.retain(|obstacle| matches!(obstacle, Obstacle::Rename { .. }));
        kernel::clear(&names).await?;
    }
    let plan = bring_up::plan_at_boot(system, &Behind::find(root, system, &kept.files()), units);
    off_thread(move || bring_up::run(&plan)).await?;
    Ok(Some(what))
}

fn note(root: &Path, what: &str) -> io::Result<()> {
    file::write_secret(&root.join(NOTE), what.as_bytes())
}

/// What was put back at this boot and has not been told yet. It is told once.
#[must_use]
pub fn take_note(root: &Path) -> Option<String> {
    let path = root.join(NOTE);
    let bytes = file::read_bounded(&path, MAX_NOTE).ok()?;
    if let Err(error) = fs::remove_file(&path) {
        tracing::warn!("{} cannot be removed: {error}", path.display());
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
