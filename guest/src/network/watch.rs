//! The watch over the network: looks when the kernel tells of a change and now and then anyway, learns what is right, and does
//! what the [guard](super::guard) decides. The controller is not asked; it is told through the [spool](crate::events).

use std::{
    path::Path,
    time::{Duration, Instant},
};

use futures::StreamExt as _;
use rtnetlink::MulticastGroup;
use tokio::{sync::mpsc, time::timeout};
use tracing::{error, info, warn};

use super::{
    NetworkError, Status,
    guard::{Act, Found, Guard, Patience},
    kernel::KernelError,
    learn::learn,
    look_at, restore_system, state,
};
use crate::{
    chain,
    events::{Event, Spool},
};

/// What the kernel tells of.
const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];
/// Changes come in swarms.
const SWARM: Duration = Duration::from_secs(1);

/// Watches for as long as the process lives.
///
/// # Errors
/// When it is not known what the network is to be, or the kernel can't be asked at all.
pub async fn run(root: &Path, patience: Patience) -> Result<(), NetworkError> {
    // Said at once, rather than at the first change.
    state::load(root)?;
    let mut changes = subscribe()?;
    let spool = Spool::below(root);
    let mut guard = Guard::new(patience);
    let begun = Instant::now();
    loop {
        match look(root).await {
            Ok(found) => {
                let act = guard.decide(begun.elapsed(), found);
                carry_out(root, &spool, act).await;
            }
            // A file that can't be read for once is no reason to stop watching.
            Err(failure) => warn!("the network cannot be looked at: {}", chain(&failure)),
        }
        match timeout(guard.next_look(), changes.recv()).await {
            Ok(Some(())) => {
                tokio::time::sleep(SWARM).await;
                while changes.try_recv().is_ok() {}
            }
            // The kernel tells nothing any more: what is left is to look now and then.
            Ok(None) => tokio::time::sleep(guard.next_look()).await,
            Err(_) => {}
        }
    }
}

fn subscribe() -> Result<mpsc::Receiver<()>, NetworkError> {
    let (connection, _, mut messages) =
        rtnetlink::new_multicast_connection(&GROUPS).map_err(KernelError::Socket)?;
    tokio::spawn(connection);
    let (tell, changes) = mpsc::channel(1);
    tokio::spawn(async move {
        while messages.next().await.is_some() {
            // One that waits already says the same.
            if let Err(mpsc::error::TrySendError::Closed(())) = tell.try_send(()) {
                return;
            }
        }
    });
    Ok(changes)
}

async fn look(root: &Path) -> Result<Found, NetworkError> {
    let looked = look_at(root).await?;
    if !looked.status.is_right() {
        return Ok(found(&looked.status));
    }
    if looked.kept.learned.is_none()
        && let Some(kernel) = &looked.kernel
        && let Some(learned) = learn(root, &looked.kept, kernel)?
    {
        state::save(root, &learned)?;
        info!(
            system = learned.system.map(imprint_network::Format::word),
            "the network is right; this is what it is held against from now on"
        );
    }
    Ok(Found::Right)
}

/// A cable that is out explains what the kernel lacks; it explains no file.
fn found(status: &Status) -> Found {
    let unplugged: Vec<&str> = status
        .kernel
        .iter()
        .filter(|difference| difference.what == imprint_network::compare::NO_CARRIER)
        .map(|difference| difference.link.as_str())
        .collect();
    let explained = !unplugged.is_empty()
        && status.files.is_empty()
        && status.services.is_empty()
        && status
            .kernel
            .iter()
            .all(|difference| unplugged.contains(&difference.link.as_str()) || difference.link.is_empty());
    match (explained, status.system) {
        (true, _) => Found::Unplugged,
        // Nobody knows yet what the files were: there is nothing to put back.
        (false, None) => Found::Right,
        (false, Some(_)) => Found::Differs(status.text(true)),
    }
}

async fn carry_out(root: &Path, spool: &Spool, act: Act) {
    match act {
        Act::Nothing => {}
        Act::Restore => put_back(root).await,
        Act::TellRestored { what, after } => {
            let message = format!(
                "The network was put back; it had differed for {} s from what it is to be.",
                after.as_secs()
            );
            info!("{message}");
            tell(spool, "network.restored", message, what);
        }
        Act::TellAndRestore { what } => {
            let message = "The network differs from what it is to be, and putting it back has not helped; it is tried again.";
            warn!("{message}");
            tell(spool, "network.not-restored", message.to_owned(), what);
            put_back(root).await;
        }
    }
}

async fn put_back(root: &Path) {
    let root = root.to_owned();
    let done = tokio::task::spawn_blocking(move || restore_system(&root)).await;
    match done {
        Ok(Ok(changes)) => {
            for change in changes {
                warn!("{change}: put back");
            }
        }
        Ok(Err(failure)) => error!(remedy = failure.remedy(), "{}", chain(&failure)),
        Err(_) => error!("putting the network back has failed in an unexpected way"),
    }
}

fn tell(spool: &Spool, kind: &str, message: String, diff: String) {
    let event = Event {
        kind: kind.to_owned(),
        message,
        diff,
    };
    match spool.put(&event) {
        Ok(true) => {}
        Ok(false) => warn!("so many events wait for the controller that this one is not kept"),
        Err(error) => warn!("an event for the controller cannot be kept: {error}"),
    }
}
