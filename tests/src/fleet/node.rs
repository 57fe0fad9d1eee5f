//! The life of one node: firmware, ramdisk, installed system, and firmware again.

use std::{
    fs, io,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use imprint_agent::{
    identity::BootIdentity,
    run::{self, Boot},
    session::outbox::Outbox,
};
use imprint_guest::{report, session};
use reqwest::Url;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    faults::{Fault, Plan},
    firmware::{Firmware, Script},
    hardware::Hardware,
    line::Cable,
    machine::{MadeUp, OLD_VERSION, Shared},
    tally::{Gauge, NodeTally, Standing, Told},
};

/// As iPXE waits between two questions.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// As the service manager waits before it starts an agent again.
const START_AGAIN: Duration = Duration::from_secs(1);
/// A machine that lost its power is back after this.
const POWER_IS_BACK: Duration = Duration::from_secs(3);
/// What each piece of data of a slow line takes longer.
const SLOW_LINE: Duration = Duration::from_millis(30);
/// A slow disk takes so many times as long.
const SLOW_DISK: u32 = 4;

/// A server, from its first power-on.
#[derive(Debug)]
pub struct Node {
    /// Its number in the fleet.
    pub number: u32,
    /// What it is.
    pub hardware: Arc<Hardware>,
    /// What goes wrong.
    pub plan: Plan,
    /// What it has said and seen.
    pub tally: Arc<NodeTally>,
    /// How long its disk takes for the image.
    pub takes: Duration,
    /// Whether the agent's engine writes it.
    pub engine: bool,
    /// The folder that stands for its RAM and its disk.
    pub folder: PathBuf,
    /// The fleet.
    pub shared: Arc<Shared>,
    /// What goes wrong has gone wrong.
    pub happened: AtomicBool,
    /// Lines of boots that lost their power: nobody has closed them.
    pub dead: Mutex<Vec<Cable>>,
}

/// How a boot of the ramdisk ended.
enum Left {
    /// The agent restarted the machine.
    Restarts,
    /// The power was cut.
    PowerLost,
    /// The fleet is switched off.
    Stopped,
}

/// How an agent ended.
enum AgentEnd {
    Left(Left),
    Killed,
}

impl Node {
    /// Lives until the fleet is switched off.
    pub async fn live(self: Arc<Self>, firmware: Firmware, stop: CancellationToken) {
        if let Err(error) = self.boots(&firmware, &stop).await {
            self.tally.stands(Standing::Broken(format!("{error:#}")));
        }
    }

    async fn boots(&self, firmware: &Firmware, stop: &CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            self.tally.stands(Standing::Firmware);
            let wait = match firmware.ask(&self.hardware).await {
                Ok(Script::Ramdisk { identity }) => match firmware.identity(&identity).await {
                    Ok(identity) => match Box::pin(self.ramdisk(&identity, stop)).await? {
                        Left::Stopped => return Ok(()),
                        Left::Restarts => Duration::ZERO,
                        Left::PowerLost => POWER_IS_BACK,
                    },
                    Err(_) => ASK_AGAIN,
                },
                Ok(Script::LocalDisk { why }) => {
                    if !self.config().exists() {
                        self.tally.stands(Standing::LeftAlone(why));
                        return Ok(());
                    }
                    return Box::pin(self.installed(stop)).await;
                }
                Ok(Script::Again { after }) => after,
                Err(_) => ASK_AGAIN,
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn root(&self) -> PathBuf {
        self.folder.join("system")
    }

    fn config(&self) -> PathBuf {
        self.root().join("etc/imprint/guest.json")
    }

    /// What goes wrong with this boot.
    fn fault(&self) -> Fault {
        let once = matches!(
            self.plan.fault,
            Fault::Vanish | Fault::Reboot | Fault::AgentKilled
        );
        if once && self.happened.load(Relaxed) {
            Fault::None
        } else {
            self.plan.fault
        }
    }

    /// The ramdisk, with one agent after the other.
    async fn ramdisk(&self, identity: &[u8], stop: &CancellationToken) -> Result<Left> {
        self.tally.stands(Standing::Calls);
        let state = self.state();
        match fs::remove_dir_all(&state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).context("cannot clear a node's memory");
            }
            _ => {}
        }
        fs::create_dir_all(&state).context("cannot make a node's memory")?;
        let file = state.join("identity.json");
        fs::write(&file, identity).context("cannot keep a boot identity")?;
        let mut identity = BootIdentity::load(&file).context("the boot identity is no use")?;
        fs::remove_file(&file).context("cannot remove a boot identity")?;
        let cable = self.cable(&mut identity).await?;
        let boot_id = Uuid::new_v4().to_string();
        loop {
            let end = self.agent(&identity, &boot_id, cable.as_ref(), stop).await?;
            self.note_outbox()?;
            match end {
                AgentEnd::Left(left) => {
                    if matches!(left, Left::PowerLost) {
                        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
                        dead.extend(cable);
                    }
                    return Ok(left);
                }
                AgentEnd::Killed => tokio::time::sleep(START_AGAIN).await,
            }
        }
    }

    /// Where something is to be wrong with the line, the agent dials a cable of its own.
    async fn cable(&self, identity: &mut BootIdentity) -> Result<Option<Cable>> {
        let delay = match self.fault() {
            Fault::Slow => SLOW_LINE,
            Fault::Vanish | Fault::Reboot => Duration::ZERO,
            _ => return Ok(None),
        };
        let server = address_of(&identity.controller_url)?;
        let cable = Cable::to(server, delay).await.context("cannot lay a cable")?;
        let port = Some(cable.address().port());
        if identity.controller_url.set_port(port).is_err() {
            anyhow::bail!("the controller's address takes no port");
        }
        Ok(Some(cable))
    }

    async fn agent(
        &self,
        identity: &BootIdentity,
        boot_id: &str,
        cable: Option<&Cable>,
        stop: &CancellationToken,
    ) -> Result<AgentEnd> {
        let state = self.state();
        let machine = Arc::new(self.machine(boot_id));
        let boot = Boot {
            identity: identity.clone(),
            root: self.folder.clone(),
            start_count: run::count_start(&state).context("an agent has no memory")?,
            state,
            defects: Vec::new(),
            status: watch::Sender::new(String::new()),
            log: imprint_agent::log::Log::default(),
        };
        let down = stop.child_token();
        let attend = run::attend(boot, Arc::clone(&machine) as _, &down);
        tokio::pin!(attend);
        let end = loop {
            let unstruck = !machine.struck.is_cancelled();
            tokio::select! {
                ended = &mut attend => {
                    ended.context("an agent has ended")?;
                    break AgentEnd::Left(Left::Stopped);
                }
                () = machine.restarts.cancelled() => break AgentEnd::Left(Left::Restarts),
                () = machine.struck.cancelled(), if unstruck => match self.fault() {
                    Fault::Reboot => {
                        self.happened.store(true, Relaxed);
                        // Whoever loses power closes no connection.
                        if let Some(cable) = cable {
                            cable.pull();
                        }
                        break AgentEnd::Left(Left::PowerLost);
                    }
                    Fault::AgentKilled => {
                        self.happened.store(true, Relaxed);
                        break AgentEnd::Killed;
                    }
                    Fault::Vanish => {
                        self.happened.store(true, Relaxed);
                        if let Some(cable) = cable {
                            cable.pull();
                            tokio::select! {
                                ended = &mut attend => {
                                    ended.context("an agent has ended")?;
                                    break AgentEnd::Left(Left::Stopped);
                                }
                                () = tokio::time::sleep(self.plan.away) => cable.plug_in(),
                            }
                        }
                    }
                    _ => {}
                }
            }
        };
        down.cancel();
        if !matches!(end, AgentEnd::Left(Left::Stopped)) {
            attend.await.context("an agent has ended")?;
        }
        machine.gauge.closes(&self.shared.lines);
        Ok(end)
    }

    fn machine(&self, boot_id: &str) -> MadeUp {
        MadeUp {
            hardware: Arc::clone(&self.hardware),
            boot_id: boot_id.to_owned(),
            version: match self.fault() {
                Fault::OldVersion => OLD_VERSION,
                _ => imprint_agent::VERSION,
            },
            takes: match self.fault() {
                Fault::Slow => self.takes * SLOW_DISK,
                _ => self.takes,
            },
            engine: self.engine,
            folder: self.folder.clone(),
            plan: self.plan,
            struck: CancellationToken::new(),
            restarts: CancellationToken::new(),
            gauge: Gauge::default(),
            tally: Arc::clone(&self.tally),
            shared: Arc::clone(&self.shared),
            enrolled: AtomicBool::new(false),
        }
    }

    /// What the agent that has just ended had told, and what of it was acknowledged.
    fn note_outbox(&self) -> Result<()> {
        let outbox = Outbox::open(&self.state()).context("cannot read a node's outbox")?;
        let (task_id, (last, acknowledged)) = (outbox.task(), outbox.numbers());
        if !task_id.is_empty() {
            let ended = outbox.end(&task_id).is_some();
            self.tally.tell(Told {
                task_id,
                last,
                acknowledged,
                ended,
            });
        }
        Ok(())
    }

    /// The installed system: its first-boot report, and the sessions of its guest plugin.
    async fn installed(&self, stop: &CancellationToken) -> Result<()> {
        self.tally.stands(Standing::FirstBoot);
        // The ramdisk's memory went with it.
        fs::remove_dir_all(self.state()).context("cannot clear a node's memory")?;
        let boot_id = self.root().join("proc/sys/kernel/random/boot_id");
        fs::create_dir_all(boot_id.parent().unwrap_or(&self.folder))
            .context("cannot boot a made-up system")?;
        fs::write(&boot_id, format!("{}\n", Uuid::new_v4())).context("cannot boot a made-up system")?;
        let place = session::Place {
            config: self.config(),
            root: self.root(),
        };
        let reported = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            reported = report::run(&place.config, &place.root, report::Policy::default()) => reported,
        };
        reported.context("the installed system could not report")?;
        self.tally.stands(Standing::InService);
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = session::run(&place, session::Pace::default()) => ended.context("the guest plugin has ended"),
        }
    }
}

fn address_of(url: &Url) -> Result<SocketAddr> {
    let found = url
        .socket_addrs(|| None)
        .context("the controller's address names no machine")?;
    found
        .first()
        .copied()
        .context("the controller's address names no machine")
}
