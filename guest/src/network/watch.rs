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
    Looked, NetworkError, Status, at_boot,
    bring_up::How,
    guard::{Act, Found, Guard, Patience},
    kernel::KernelError,
    learn::learn,
    look_at,
    reach::{self, Reach},
    restore_system, state, turn,
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
    let mut watch = Watch {
        root,
        spool: Spool::below(root),
        guard: match at_boot::take_note(root) {
            Some(what) => Guard::after(patience, what),
            None => Guard::new(patience),
        },
        begun: Instant::now(),
        how: How::Anew,
        before: None,
    };
    loop {
        // A file that can't be read for once is no reason to stop watching.
        if let Err(failure) = watch.look().await {
            warn!("the network cannot be looked at: {}", chain(&failure));
        }
        let next_look = watch.guard.next_look();
        match timeout(next_look, changes.recv()).await {
            Ok(Some(())) => {
                tokio::time::sleep(SWARM).await;
                while changes.try_recv().is_ok() {}
            }
            // The kernel tells nothing any more: what is left is to look now and then.
            Ok(None) => tokio::time::sleep(next_look).await,
            Err(_) => {}
        }
    }
}

struct Watch<'a> {
    root: &'a Path,
    spool: Spool,
    guard: Guard,
    begun: Instant,
    /// How much has to be done, as the last look found it.
    how: How,
    /// Who was reached when it was last put back.
    before: Option<Reach>,
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

impl Watch<'_> {
    async fn look(&mut self) -> Result<(), NetworkError> {
        // An operator's `apply` takes the network down before it brings it up.
        if turn::is_taken(self.root) {
            return Ok(());
        }
        let looked = look_at(self.root).await?;
        let now = self.begun.elapsed();
        let mut reach = None;
        let found = if looked.status.is_right() {
            self.learn(&looked)?;
            Found::Right
        } else {
            // Only what was compared is known to be right.
            self.how = match (&looked.kernel, looked.status.kernel.is_empty()) {
                (Some(_), true) => How::Reread,
                _ => How::Anew,
            };
            match found_unasked(&looked.status) {
                Some(found) => found,
                None => {
                    let asked = reach::ask(self.root, &looked.kept.network, looked.kernel.as_ref()).await;
                    let status = &looked.status;
                    let cut_off = status.files.is_empty() && status.services.is_empty() && asked.is_cut_off();
                    reach = Some(asked);
                    let what = status.text(true);
                    Found::Differs { what, cut_off }
                }
            }
        };
        match self.guard.decide(now, found) {
            Act::Nothing => {}
            Act::Restore { again } => self.put_back(reach, again).await,
            Act::TellRestored { what, after } => {
                let after_it = reach::ask(self.root, &looked.kept.network, looked.kernel.as_ref()).await;
                let before = self.before.take().map(|reach| format!(" Before: {reach}."));
                let message = format!(
                    "The network was put back; it had differed for {} s from what it is to be.{} Now: {after_it}.",
                    after.as_secs(),
                    before.unwrap_or_default()
                );
                info!("{message}");
                self.tell("network.restored", message, what);
            }
            // What was accepted in the grace is right since then.
            Act::TellHealed { .. } if looked.status.accepted => {}
            Act::TellHealed { what, after } => {
                let message = format!(
                    "The network differed for {} s from what it is to be, and came right without the guest plugin.",
                    after.as_secs()
                );
                info!("{message}");
                self.tell("network.healed", message, what);
            }
            Act::TellAndRestore { what } => {
                let now = reach.clone().unwrap_or_default();
                let message = format!(
                    "The network differs from what it is to be, and putting it back has not helped; it is tried again. Now: {now}."
                );
                warn!("{message}");
                self.tell("network.not-restored", message, what);
                self.put_back(reach, true).await;
            }
        }
        Ok(())
    }

    /// The first time that all is right is what later looks are held against.
    fn learn(&self, looked: &Looked) -> Result<(), NetworkError> {
        let (None, Some(kernel)) = (&looked.kept.learned, &looked.kernel) else {
            return Ok(());
        };
        let Some(learned) = learn(self.root, &looked.kept, kernel)? else {
            return Ok(());
        };
        state::save(self.root, &learned)?;
        info!(
            system = learned.system.map(imprint_network::Format::word),
            "the network is right; this is what it is held against from now on"
        );
        Ok(())
    }

    async fn put_back(&mut self, reach: Option<Reach>, again: bool) {
        // Who was reached at first tells more than who was reached between two attempts.
        if self.before.is_none() || !again {
            self.before = reach;
        }
        let how = match self.how {
            How::Reread => How::Reread,
            _ if again => How::Again,
            how => how,
        };
        match restore_system(self.root, how).await {
            Ok(changes) => {
                for change in changes {
                    warn!("{change}: put back");
                }
            }
            Err(failure) => error!(remedy = failure.remedy(), "{}", chain(&failure)),
        }
    }

    fn tell(&self, kind: &str, message: String, diff: String) {
        let event = Event {
            kind: kind.to_owned(),
            message,
            diff,
        };
        match self.spool.put(&event) {
            Ok(true) => {}
            Ok(false) => warn!("so many events wait for the controller that this one is not kept"),
            Err(error) => warn!("an event for the controller cannot be kept: {error}"),
        }
    }
}

/// What was found, where nobody has to be asked for that. A cable that is out explains what the kernel lacks; it explains no
/// file.
fn found_unasked(status: &Status) -> Option<Found> {
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
        (true, _) => Some(Found::Unplugged),
        // Nobody knows yet what the files were: there is nothing to put back.
        (false, None) => Some(Found::Right),
        (false, Some(_)) => None,
    }
}
