//! The life of the agent in the ramdisk: check, identity, inventory, session; then it waits for work until the
//! machine restarts.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

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
    inventory,
    log::{self, Log},
    machine::{Local, Machine},
    selfcheck,
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
    /// What the agent says, for the controller.
    pub log: Log,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            identity: identity::IDENTITY_FILE.into(),
            state: "/run/imprint".into(),
            root: "/".into(),
            log: Log::default(),
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

    let start_count = count_start(&options.state)?;
    // A tree of files has no kernel.
    let kernel = (options.root == Path::new("/")).then(|| {
        let (log, state, stop) = (options.log.clone(), options.state.clone(), stop.clone());
        tokio::spawn(async move { log::kmsg::follow(&log, &state, &stop).await })
    });
    let machine = Local::new(&options.root, &options.state, restart);
    tracing::info!(
        version = crate::VERSION,
        start = start_count,
        boot.id = machine.boot_id(),
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
    let boot = Boot {
        identity,
        root: options.root,
        state: options.state,
        start_count,
        defects,
        status,
        log: options.log,
    };
    attend(boot, Arc::new(machine), stop).await?;
    tracing::info!("imprint-agent stops");
    if let Err(error) = watchdog.await {
        tracing::warn!(%error, "the task for systemd has failed");
    }
    if let Some(Err(error)) = futures::future::OptionFuture::from(kernel).await {
        tracing::warn!(%error, "the task that reads the kernel's messages has failed");
    }
    Ok(())
}

/// A boot of a machine that is ready to call its controller.
#[derive(Debug)]
pub struct Boot {
    /// The controller, and the token for it.
    pub identity: BootIdentity,
    /// `/`, or a tree of a test.
    pub root: PathBuf,
    /// State of this boot, in RAM.
    pub state: PathBuf,
    /// As [`count_start`] says.
    pub start_count: u32,
    /// What the self-check found.
    pub defects: Vec<String>,
    /// One sentence about the connection.
    pub status: watch::Sender<String>,
    /// What the agent says, for the controller.
    pub log: Log,
}

/// Enrols, opens the session and works on what it brings, until told to stop.
///
/// # Errors
/// When the identity or the state folder is no use.
pub async fn attend(boot: Boot, machine: Arc<dyn Machine>, stop: &CancellationToken) -> Result<(), RunError> {
    let Boot {
        identity,
        root,
        state,
        start_count,
        defects,
        status,
        log,
    } = boot;
    log.never_show(&identity.boot_token);
    let state_error = |source| RunError::State {
        path: state.clone(),
        source,
    };
    let boot_id = machine.boot_id();
    let key = Arc::new(NodeKey::load_or_make(&state)?);
    status.send_replace(format!("enrolling with {}", identity.controller_url));
    let credentials = match Credentials::load(&state, Timestamp::now())? {
        Some(kept) => Some(kept),
        None => enroll::enroll(&identity, &key, &*machine, &state, stop).await?,
    };
    let Some(credentials) = credentials else {
        return Ok(());
    };
    tracing::info!(node.id = credentials.node_id, expires_at = %credentials.expires_at, "this machine has its identity");

    let outbox = Arc::new(Outbox::open(&state).map_err(state_error)?);
    let credentials = watch::Sender::new(credentials);
    let around = Surroundings {
        identity: identity.clone(),
        key: Arc::clone(&key),
        credentials: credentials.subscribe(),
        places: Places::below(&root, &state),
        root,
        state: state.clone(),
        machine: Arc::clone(&machine),
        log: log.clone(),
    };
    let tasks = Tasks::new(around, Arc::clone(&outbox));
    tasks.resume().map_err(state_error)?;
    let (publish, inventory) = watch::channel(machine.inventory());
    let learning = tokio::spawn(machine.learn(publish, stop.clone()));
    let session = Session {
        identity,
        key,
        credentials,
        state: state.clone(),
        inventory,
        boot_id,
        start_count,
        defects,
        outbox,
        tasks: Arc::clone(&tasks),
        status,
        machine,
        log,
    };
    session.run(stop).await;
    tasks.abandon();
    if let Err(error) = learning.await {
        tracing::warn!(%error, "the task that completes the inventory has failed");
    }
    Ok(())
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

/// How often the agent has been started in this boot, this time included; makes the state folder, which is in RAM and
/// ends with the boot.
///
/// # Errors
/// When the folder can't be used.
pub fn count_start(state: &Path) -> Result<u32, RunError> {
    let count = || -> io::Result<u32> {
        private_file::make_folder(state)?;
        let path = state.join("start_count");
        let before = private_file::read(&path)?
            .and_then(|bytes| String::from_utf8(bytes).ok()?.trim().parse::<u32>().ok());
        let count = before.unwrap_or(0).saturating_add(1);
        private_file::write(&path, count.to_string().as_bytes())?;
        Ok(count)
    };
    count().map_err(|source| RunError::State {
        path: state.to_path_buf(),
        source,
    })
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
