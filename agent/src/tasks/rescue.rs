//! A rescue, as the controller asks for it: an ssh server runs until the time is over or somebody ends it, then the machine
//! restarts. Whoever was in there may have changed anything of this ramdisk, so that nothing else is done with it.

use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    time::{Duration, Instant},
};

use imprint_proto::agent::v1::{RescueReport, RescueTask, Step, Success, task::Kind};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    Leave, Surroundings, Tasks,
    disk::{self, Trouble},
    record::Record,
    report::{Reporter, StepFailure},
};
use crate::{
    inventory,
    rescue::{
        Place,
        log::Said,
        mounts,
        password::{MOST_WRONG, Password},
        server::{self, HostKey, Server, ServerError},
    },
    selfcheck,
    session::backoff::chain,
};

/// How often the server and its log are looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// After a server that has died by itself.
const PAUSE: Duration = Duration::from_secs(5);
/// Wrong passwords are told so often at most.
const WRONG_APART: Duration = Duration::from_secs(60);
/// How long the controller has to take what is told before the machine restarts.
const ACKNOWLEDGED: Duration = Duration::from_secs(15);
/// Addresses that are told.
const MOST_ADDRESSES: usize = 32;

/// One rescue on its way.
#[derive(Debug)]
pub(super) struct Rescue<'a> {
    around: &'a Surroundings,
    tasks: &'a Tasks,
    cancel: &'a CancellationToken,
    reporter: Reporter,
    place: Place,
    password: Password,
}

/// Wrong passwords since they were told last.
#[derive(Debug, Default)]
struct Wrong {
    count: u32,
    from: String,
    told: Option<Instant>,
}

impl<'a> Rescue<'a> {
    /// Ready to run.
    pub(super) fn new(around: &'a Surroundings, tasks: &'a Tasks, cancel: &'a CancellationToken) -> Self {
        let place = Place::below(&around.root, &around.state);
        Self {
            around,
            tasks,
            cancel,
            reporter: tasks.reporter(),
            password: Password::of(&place),
            place,
        }
    }

    /// Runs it to its end; that somebody has asked for it is as good as the time.
    pub(super) async fn run(&self, record: &mut Record, task: RescueTask) -> Result<Success, StepFailure> {
        let result = self.steps(record, task).await;
        if let Err(failure) = &result {
            end_all(&self.place).await;
            self.reporter.failed(failure);
        }
        result
    }

    async fn steps(&self, record: &mut Record, mut task: RescueTask) -> Result<Success, StepFailure> {
        if !self.place.is_loaded() {
            return self.restart_into_it(record).await;
        }
        let root = &self.around.root;
        let defects = selfcheck::rescue_defects(root, inventory::memory_bytes(root));
        if !defects.is_empty() {
            return Err(failure(
                defects.join("; "),
                "give the server more memory, or build the ramdisk again (cargo xtask ramdisk), then ask for the rescue again",
            ));
        }
        self.place.make().map_err(|error| unusable(&error))?;
        // What came while an earlier agent, or nobody, was there.
        let mut renewed = self.tasks.renewed();
        if let Some(newer) = newer(&mut renewed, &task) {
            task = newer;
        }
        let again = server::seconds_left(&self.place).is_some();
        if !again {
            self.reporter.started(Step::Rescue, "starts an ssh server");
            self.password
                .begin()
                .map_err(|error| failure(chain(&error), RAM))?;
            self.ends_in(task.remaining_seconds)?;
        }
        self.password
            .set(&task.password_hash, task.password_number)
            .map_err(|error| failure(chain(&error), RAM))?;
        self.place
            .authorize(&task.ssh_keys)
            .map_err(|error| unusable(&error))?;
        let key = self.host_key().await?;
        let mut server = match Server::running(&self.place) {
            Some(server) => {
                self.tell("the agent was started again; the ssh server goes on", &key);
                server
            }
            None => {
                let server = Server::start(&self.place)
                    .await
                    .map_err(|error| unusable(&error))?;
                let how = if again {
                    "the agent was started again, and the ssh server with it, with the same host key"
                } else {
                    "an ssh server listens"
                };
                self.tell(how, &key);
                server
            }
        };
        let mut wrong = Wrong::default();
        loop {
            let left = server::seconds_left(&self.place).unwrap_or(0);
            if left == 0 || self.cancel.is_cancelled() {
                break;
            }
            tokio::select! {
                () = self.cancel.cancelled() => continue,
                () = tokio::time::sleep(LOOK_AGAIN.min(Duration::from_secs(left))) => {}
            }
            if let Some(newer) = newer(&mut renewed, &task) {
                self.renew(record, &mut task, newer, &key)?;
            }
            self.listen(&mut server, &mut wrong, &key);
            if !server.is_alive() {
                let cause = "the ssh server has ended by itself";
                self.reporter
                    .retrying(Step::Rescue, "starts the ssh server again", cause, PAUSE);
                tokio::select! {
                    () = self.cancel.cancelled() => continue,
                    () = tokio::time::sleep(PAUSE) => {}
                }
                server = Server::start(&self.place)
                    .await
                    .map_err(|error| unusable(&error))?;
                self.tell("the ssh server listens again, with the same host key", &key);
            }
        }
        self.listen(&mut server, &mut wrong, &key);
        self.end().await
    }

    /// The controller has something new to say of it: another password, above all.
    fn renew(
        &self,
        record: &mut Record,
        task: &mut RescueTask,
        newer: RescueTask,
        key: &HostKey,
    ) -> Result<(), StepFailure> {
        let another = newer.password_number > task.password_number;
        self.password
            .set(&newer.password_hash, newer.password_number)
            .map_err(|error| failure(chain(&error), RAM))?;
        self.ends_in(newer.remaining_seconds)?;
        *task = newer;
        if let Some(kept) = &mut record.task {
            kept.kind = Some(Kind::Rescue(task.clone()));
            self.tasks.save(record);
        }
        if another {
            self.tell("a new one-time password is set", key);
        }
        Ok(())
    }

    fn ends_in(&self, seconds: u32) -> Result<(), StepFailure> {
        self.place.ends_in(seconds).map_err(|error| unusable(&error))
    }

    async fn host_key(&self) -> Result<HostKey, StepFailure> {
        let place = self.place.clone();
        let made = disk::blocking(disk::STEP_LIMIT, move || {
            place
                .host_key()
                .map_err(|error| Trouble::new(chain(&error), REBUILD))
        });
        made.await
            .map_err(|trouble| failure(trouble.cause, &trouble.remedy))
    }

    /// Tells who came and went. Whoever was let in by the password has used it up.
    fn listen(&self, server: &mut Server, wrong: &mut Wrong, key: &HostKey) {
        let news = server.news().unwrap_or_else(|error| {
            tracing::warn!(%error, "what the ssh server says cannot be read");
            Vec::new()
        });
        let mut tried = 0;
        for said in news {
            match said {
                Said::ByPassword { from } => {
                    if let Err(error) = self.password.used() {
                        tracing::error!(%error, "a one-time password that was used cannot be locked");
                    }
                    self.tell(
                        &format!(
                            "root was let in from {from} by the one-time password, which is good no more"
                        ),
                        key,
                    );
                }
                Said::ByKey { key, from } => {
                    let text = format!("root was let in from {from} by the key {key}");
                    self.reporter.note(Step::Rescue, &text);
                }
                Said::Left { from } => {
                    self.reporter
                        .note(Step::Rescue, &format!("the session from {from} has ended"));
                }
                Said::Wrong { from } => {
                    tried += 1;
                    wrong.from = from;
                }
            }
        }
        wrong.count = wrong.count.saturating_add(tried);
        if tried > 0 {
            self.guessed(tried, key);
        }
        if wrong.count > 0 && wrong.told.is_none_or(|at| at.elapsed() >= WRONG_APART) {
            let text = format!(
                "{} wrong passwords, the last one from {}",
                wrong.count, wrong.from
            );
            self.reporter.note(Step::Rescue, &text);
            *wrong = Wrong {
                told: Some(Instant::now()),
                ..Wrong::default()
            };
        }
    }

    /// Wrong passwords were tried; too many of them end the right one.
    fn guessed(&self, tried: u32, key: &HostKey) {
        match self.password.wrong(tried) {
            Ok(true) => self.tell(
                &format!(
                    "{MOST_WRONG} wrong passwords were tried: the one-time password is good no more, another one can be asked for"
                ),
                key,
            ),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "wrong passwords cannot be counted"),
        }
    }

    /// How to get in, with what has happened.
    fn tell(&self, what: &str, key: &HostKey) {
        let addresses = self.addresses();
        let ways: Vec<String> = addresses
            .iter()
            .map(|address| format!("root@{address}"))
            .collect();
        let report = RescueReport {
            host_key: key.line.clone(),
            host_key_fingerprint: key.fingerprint.clone(),
            password_used: self.password.newest_used().unwrap_or(0),
            addresses,
        };
        let detail = format!("{what}; ssh {}, host key {}", ways.join(" or "), key.fingerprint);
        self.reporter.rescue(&detail, report);
    }

    /// The one first that reaches the controller; those that need an interface beside them are left out.
    fn addresses(&self) -> Vec<String> {
        let mut all: Vec<IpAddr> = own_address(&self.around.identity.controller_url)
            .into_iter()
            .collect();
        for nic in self.around.machine.inventory().nics {
            for address in nic.addresses {
                let address = address.split('/').next().unwrap_or_default().parse();
                if let Ok(address) = address
                    && !is_link_local(&address)
                    && !all.contains(&address)
                {
                    all.push(address);
                }
            }
        }
        all.iter().take(MOST_ADDRESSES).map(ToString::to_string).collect()
    }

    async fn end(&self) -> Result<Success, StepFailure> {
        let why = if self.cancel.is_cancelled() {
            "as it was asked to"
        } else {
            "its time is over"
        };
        if !end_all(&self.place).await {
            return Err(failure(
                "sessions of the rescue cannot be ended".to_owned(),
                "power-cycle the server",
            ));
        }
        let root = self.around.root.clone();
        let stay = tokio::task::spawn_blocking(move || mounts::release(&root)).await;
        let stay = stay.unwrap_or_default();
        let mounted = if stay.is_empty() {
            String::new()
        } else {
            format!("; still mounted: {}", stay.join(", "))
        };
        let detail = format!(
            "the ssh server and its sessions have ended, {why}; the machine restarts once the controller has this{mounted}"
        );
        self.reporter.finished(Step::Rescue, &detail);
        Ok(Success {
            no_first_boot_report: true,
            ..Success::default()
        })
    }

    /// This ramdisk was booted for something else: it has no ssh server. The next one has.
    async fn restart_into_it(&self, record: &Record) -> Result<Success, StepFailure> {
        if self.place.is_asked_for() {
            return Err(failure(
                "the ramdisk was booted for a rescue, but its part with the ssh server did not come along"
                    .to_owned(),
                REBUILD,
            ));
        }
        self.reporter.started(
            Step::Rescue,
            "this ramdisk has no ssh server: the machine restarts to get the one that has",
        );
        self.restart(record).await;
        self.reporter.finished(
            Step::Rescue,
            "ended before its ssh server was there; the machine restarts",
        );
        Ok(Success {
            no_first_boot_report: true,
            ..Success::default()
        })
    }

    /// Whether this ramdisk was made to let somebody in.
    pub(super) fn is_loaded(&self) -> bool {
        self.place.is_loaded()
    }

    /// Nothing else is done with such a ramdisk: the machine restarts to get a fresh one. Comes back when the task is cancelled.
    pub(super) async fn restart_out_of_it(&self, record: &Record) -> StepFailure {
        let what = "this ramdisk was made for a rescue: the machine restarts to get a fresh one";
        self.reporter.note(Step::ClaimDisk, what);
        self.restart(record).await;
        StepFailure {
            step: Step::ClaimDisk,
            cancelled: true,
            ..failure(
                "cancelled before the machine had restarted".to_owned(),
                "ask again",
            )
        }
    }

    /// Restarts the machine once the controller has what was told, and waits until that happens or the task is cancelled.
    async fn restart(&self, record: &Record) {
        let (last, _) = self.tasks.outbox.numbers();
        let told = self.tasks.outbox.acknowledged(record.task_id(), last);
        tokio::select! {
            () = self.cancel.cancelled() => {}
            told = tokio::time::timeout(ACKNOWLEDGED, told) => if told.is_err() {
                tracing::warn!("the controller does not answer; the machine restarts all the same");
            }
        }
        if !self.cancel.is_cancelled() {
            self.around.machine.leave(Leave::Restart);
            self.cancel.cancelled().await;
        }
    }
}

const RAM: &str = "restart the server: its ramdisk is full or damaged; then ask for the rescue again";
const REBUILD: &str = "build the ramdisk again (cargo xtask ramdisk) and install vmlinuz, initrd.img and rescue.img together, then ask for the rescue again";

/// Nobody is in any more, and nobody gets in; false when something of it stays.
pub(super) async fn end_all(place: &Place) -> bool {
    if !place.folder.exists() {
        return true;
    }
    if let Err(error) = Password::of(place).end() {
        tracing::warn!(%error, "the password of a rescue cannot be locked");
    }
    place.unauthorize();
    server::end(place).await
}

/// What has come of the same task, if it is newer than what is known.
fn newer(renewed: &mut watch::Receiver<Option<RescueTask>>, known: &RescueTask) -> Option<RescueTask> {
    if !renewed.has_changed().unwrap_or(false) {
        return None;
    }
    renewed
        .borrow_and_update()
        .clone()
        .filter(|task| task.rescue_id == known.rescue_id && task.password_number >= known.password_number)
}

fn unusable(error: &ServerError) -> StepFailure {
    let remedy = match error {
        ServerError::File { .. } => RAM,
        ServerError::Tool(_) | ServerError::Key => REBUILD,
        ServerError::Deaf { .. } => {
            "look at the server's console, restart the server, then ask for the rescue again"
        }
    };
    failure(chain(error), remedy)
}

fn failure(cause: String, remedy: &str) -> StepFailure {
    StepFailure {
        step: Step::Rescue,
        cause,
        remedy: remedy.to_owned(),
        head_cleared: false,
        retryable: false,
        cancelled: false,
        hung: false,
    }
}

fn is_link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The address that this machine has towards the controller; nothing is sent for that.
fn own_address(controller: &url::Url) -> Option<IpAddr> {
    let host = controller.host_str()?.trim_matches(['[', ']']);
    let port = controller.port_or_known_default()?;
    let there: SocketAddr = (host, port).to_socket_addrs().ok()?.next()?;
    let any = match there {
        SocketAddr::V4(_) => "0.0.0.0:0",
        SocketAddr::V6(_) => "[::]:0",
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(there).ok()?;
    Some(socket.local_addr().ok()?.ip())
}
