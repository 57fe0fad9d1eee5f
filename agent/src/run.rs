//! The life of the agent in the ramdisk: check, identity, inventory, session; then it waits for work until the
//! machine restarts.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use imprint_proto::agent::v1::Inventory;
use jiff::Timestamp;
use sd_notify::NotifyState;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use crate::{
    finish::Places,
    identity::{self, BootIdentity, Credentials, IdentityError, NodeKey, enroll, private_file, tls},
    inventory, selfcheck,
    session::{Session, backoff::chain, outbox::Outbox},
    sys,
    tasks::{Leave, Surroundings, Tasks},
};

/// How the agent is started.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The boot identity.
    pub identity: PathBuf,
    /// State of this boot, in RAM.
    pub state: PathBuf,
    /// `/`, or a tree of a test.
    pub root: PathBuf,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            identity: identity::IDENTITY_FILE.into(),
            state: "/run/imprint".into(),
            root: "/".into(),
        }
    }
}

/// The agent can't even begin.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder.
    #[error("cannot use the state folder {path}")]
    State {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Signals of the process.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
}

impl RunError {
    /// What the operator can do.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Identity(_) => {
                "restart this machine over the network: the controller makes a fresh identity for each start"
            }
            Self::State { .. } => {
                "give --state-dir a folder in RAM that root can write; remove what an older agent left in it"
            }
            Self::Signals(_) => "report this as a fault of the agent",
        }
    }
}

/// Runs until SIGTERM or the restart of the machine.
///
/// # Errors
/// When the identity or the state folder is no use; everything else is waited for.
pub async fn run(options: RunOptions) -> Result<(), RunError> {
    let stop = CancellationToken::new();
    stop_on_signals(&stop).map_err(RunError::Signals)?;
    run_until(options, &stop, Arc::new(leave)).await
}

/// As [`run`], with the end in the caller's hands.
///
/// # Errors
/// As [`run`].
pub async fn run_until(
    options: RunOptions,
    stop: &CancellationToken,
    restart: crate::tasks::Restart,
) -> Result<(), RunError> {
    tls::install_provider();
    let status = watch::Sender::new("starting".to_owned());
    let watchdog = tokio::spawn(tend_systemd(status.subscribe(), stop.clone()));

    let state_error = |source| RunError::State {
        path: options.state.clone(),
        source,
    };
    private_file::make_folder(&options.state).map_err(state_error)?;
    let start_count = count_start(&options.state).map_err(state_error)?;
    let boot_id = inventory::boot_id(&options.root);
    tracing::info!(
        version = crate::VERSION,
        start = start_count,
        boot.id = boot_id,
        "imprint-agent starts"
    );

    await_boot_interface(&options.root, stop).await;
    let defects = selfcheck::defects(
        &options.root,
        inventory::memory_bytes(&options.root),
        &inventory::kernel_release(&options.root),
    );
    for defect in &defects {
        tracing::error!(defect, "the ramdisk is not as it was built");
    }

    let identity = BootIdentity::load(&options.identity)?;
    if start_count == 1
        && let Some(better) = identity.better_clock(Timestamp::now())
    {
        match sys::clock::set(better) {
            Ok(()) => tracing::warn!(now = %better, "the clock was off by more than a day and has been set"),
            Err(error) => {
                tracing::error!(%error, "the clock is off by more than a day and cannot be set; TLS may fail");
            }
        }
    }
    let key = Arc::new(NodeKey::load_or_make(&options.state)?);
    status.send_replace(format!("enrolling with {}", identity.controller_url));
    let credentials = match Credentials::load(&options.state, Timestamp::now())? {
        Some(kept) => Some(kept),
        None => {
            let fingerprint = || inventory::fingerprint(&options.root, &inventory::Live::now(&options.root));
            enroll::enroll(&identity, &key, fingerprint, &boot_id, &options.state, stop).await?
        }
    };
    let Some(credentials) = credentials else {
        return Ok(());
    };
    tracing::info!(node.id = credentials.node_id, expires_at = %credentials.expires_at, "this machine has its identity");

    let outbox = Arc::new(Outbox::open(&options.state).map_err(state_error)?);
    let credentials = watch::Sender::new(credentials);
    let around = Surroundings {
        identity: identity.clone(),
        key: Arc::clone(&key),
        credentials: credentials.subscribe(),
        places: Places::below(&options.root, &options.state),
        root: options.root.clone(),
        state: options.state.clone(),
        restart,
    };
    let tasks = Tasks::new(around, Arc::clone(&outbox));
    tasks.resume().map_err(state_error)?;
    let inventory = inventory::read(&options.root, &inventory::Live::now(&options.root));
    let (publish, inventory) = watch::channel(inventory);
    let learning = tokio::spawn(learn(options.root.clone(), publish, stop.clone()));
    let session = Session {
        identity,
        key,
        credentials,
        state: options.state.clone(),
        inventory,
        boot_id,
        start_count,
        defects,
        outbox,
        tasks,
        status,
    };
    session.run(stop).await;
    tracing::info!("imprint-agent stops");
    for (name, task) in [("watchdog", watchdog), ("inventory", learning)] {
        if let Err(error) = task.await {
            tracing::warn!(name, %error, "a task has failed");
        }
    }
    Ok(())
}

/// Switches announce themselves every 30 seconds.
const NEIGHBOUR_PATIENCE: Duration = Duration::from_secs(35);

/// Asks devices and listens for neighbours beside the session, and publishes what that adds to the inventory.
///
/// Nothing else of it is read again: while the agent works, what it does to a disk would look like somebody's use of it.
async fn learn(root: PathBuf, publish: watch::Sender<Inventory>, stop: CancellationToken) {
    let inventory = publish.borrow().clone();
    let asking = {
        let inventory = inventory.clone();
        tokio::task::spawn_blocking(move || inventory::Live::of_devices(&root, &inventory))
    };
    // What was learned is sent only if it is something.
    let complete = |live: &inventory::Live| {
        publish.send_if_modified(|inventory| {
            let before = inventory.clone();
            live.complete(inventory);
            *inventory != before
        });
    };
    let devices = async {
        match asking.await {
            Ok(live) => complete(&live),
            Err(error) => tracing::warn!(%error, "disks and management controller cannot be asked"),
        }
    };
    let neighbours = async {
        let live = inventory::Live::of_neighbours(&inventory, NEIGHBOUR_PATIENCE).await;
        complete(&live);
    };
    tokio::select! {
        () = stop.cancelled() => {}
        _ = async { tokio::join!(devices, neighbours) } => {}
    }
}

/// Longest wait for the driver of the NIC that the machine booted from.
const BOOT_INTERFACE_WAIT: Duration = Duration::from_secs(30);

/// Waits until the NIC that the machine booted from has its driver: without it, there is no fingerprint to enrol with.
async fn await_boot_interface(root: &Path, stop: &CancellationToken) {
    let appeared = async {
        while !inventory::boot_interface_is_there(root) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        waited = tokio::time::timeout(BOOT_INTERFACE_WAIT, appeared) => if waited.is_err() {
            tracing::error!(
                remedy = "add the driver of this NIC to the ramdisk's modules.txt",
                "the NIC that this machine booted from has no driver in the ramdisk"
            );
        }
    }
}

/// How often the agent has been started in this boot; the state folder is in RAM and ends with it.
fn count_start(state: &Path) -> io::Result<u32> {
    let path = state.join("start_count");
    let before = private_file::read(&path)?
        .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u32>().ok());
    let count = before.unwrap_or(0).saturating_add(1);
    private_file::write(&path, count.to_string().as_bytes())?;
    Ok(count)
}

fn stop_on_signals(stop: &CancellationToken) -> io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}

/// Tells systemd that the agent is up, what it does, and that its runtime turns: a hung agent is restarted.
async fn tend_systemd(mut status: watch::Receiver<String>, stop: CancellationToken) {
    let notify = |states: &[NotifyState<'_>]| {
        if let Err(error) = sd_notify::notify(states) {
            tracing::debug!(%error, "systemd does not listen");
        }
    };
    notify(&[NotifyState::Ready]);
    let every = sd_notify::watchdog_enabled().map_or(Duration::from_secs(60), |limit| limit / 3);
    let mut tick = tokio::time::interval(every);
    loop {
        tokio::select! {
            () = stop.cancelled() => return notify(&[NotifyState::Stopping]),
            _ = tick.tick() => notify(&[NotifyState::Watchdog]),
            changed = status.changed() => {
                if changed.is_err() {
                    return;
                }
                let text = status.borrow_and_update().clone();
                notify(&[NotifyState::Status(&text)]);
            }
        }
    }
}

fn leave(how: Leave) {
    let Err(error) = match how {
        Leave::Restart => sys::reboot::restart(),
        Leave::PowerOff => sys::reboot::power_off(),
    };
    tracing::error!(
        cause = chain(&error),
        remedy = "power-cycle the machine, or take its power away; its work is done",
        ?how,
        "the machine does not leave the ramdisk"
    );
}

#[cfg(test)]
mod tests;
