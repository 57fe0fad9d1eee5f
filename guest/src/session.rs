//! The plugin's session with the controller: says who it is, tells what happened, takes orders.
//!
//! It ends for many reasons and is opened again, with pauses that grow; nothing of the installed system depends on it.

use std::{
    io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use imprint_proto::agent::v1::{
    GuestDisks, GuestHeartbeat, GuestHello, GuestMessage, GuestOrder, PasswordReset, PasswordResetResult,
    RenewCertificateRequest, guest_client::GuestClient, guest_message, guest_order,
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Status, transport::Channel};
use tracing::{info, warn};
use ulid::Ulid;

use crate::{
    chain,
    config::{ConfigError, GuestConfig},
    connection::{self, answered, silent},
    disks, drift,
    events::Spool,
    facts,
    fault::Fault,
    identity::{Identity, IdentityError},
    password::{self, Opened, Orders, Refusal, Standing, shadow},
};

/// Messages that may wait for the network.
const OUTBOX: usize = 8;
/// How often the spool is looked at for what the plugin's other processes have to tell.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the controller may take to acknowledge an event: a connection whose other end is out of reach takes what is
/// written into it for minutes.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(10);
/// A session that held for this long was a good one.
const HELD: Duration = Duration::from_secs(30);
/// Certificates live for 398 days.
const RENEW_EVERY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How patient the plugin is.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The shortest pause before another session.
    pub first_pause: Duration,
    /// The longest.
    pub longest_pause: Duration,
    /// How long a connection and the first answer may take, each.
    pub attempt: Duration,
    /// How often to look for the certificate that the first-boot report brings.
    pub wait_for_identity: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_pause: Duration::from_secs(2),
            longest_pause: Duration::from_secs(300),
            attempt: Duration::from_secs(20),
            wait_for_identity: Duration::from_secs(5),
        }
    }
}

/// The sessions cannot go on, ever.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The configuration cannot be used.
    #[error("the configuration of the guest plugin cannot be used")]
    Config(#[from] ConfigError),
    /// The identity cannot be used.
    #[error("the identity of the guest plugin cannot be used")]
    Identity(#[from] IdentityError),
    /// No key could be made.
    #[error("cannot begin")]
    Key(#[source] Refusal),
    /// The controller does not want this system any more.
    #[error("the controller refuses this system for good: {0}")]
    Refused(String),
}

impl SessionError {
    /// What an operator can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Config(_) | Self::Identity(_) => {
                "deploy again, or disable imprint-guest.service if this system is to go on by itself"
            }
            Self::Key(_) => "look at the log of this machine; start the service again",
            Self::Refused(_) => {
                "nothing, if the node was deleted or deployed anew; else look at its events on the controller"
            }
        }
    }
}

/// The files that a session needs.
#[derive(Debug, Clone)]
pub struct Place {
    /// `/etc/imprint/guest.json`.
    pub config: PathBuf,
    /// `/`, but in tests.
    pub root: PathBuf,
}

/// Keeps a session open for as long as the process lives.
///
/// # Errors
/// Only for what another try can't help.
pub async fn run(place: &Place, pace: Pace) -> Result<(), SessionError> {
    let config = GuestConfig::load(&place.config)?;
    let path = Identity::path_beside(&place.config);
    let mut identity = loop {
        match Identity::load(&path, &config.deployment_id)? {
            Some(identity) if identity.is_complete() => break identity,
            _ => tokio::time::sleep(pace.wait_for_identity).await,
        }
    };
    let boot_id = facts::boot_id(&place.root);
    let mut orders = Orders::new(Standing {
        node_id: identity.node_id().to_owned(),
        deployment_id: config.deployment_id.clone(),
        boot_id: boot_id.clone(),
        order_keys: config.order_keys.clone(),
    })
    .map_err(SessionError::Key)?;
    let spool = Spool::below(&place.root);
    let mut renew_at = Instant::now() + Duration::from_secs(3600);
    let schedule = || {
        ExponentialBuilder::new()
            .with_jitter()
            .with_min_delay(pace.first_pause)
            .with_max_delay(pace.longest_pause)
            .without_max_times()
            .build()
    };
    let mut pauses = schedule();
    loop {
        let begun = Instant::now();
        let newest = spool.newest();
        let mut session = Session {
            root: &place.root,
            boot_id: &boot_id,
            spool: &spool,
            orders: &mut orders,
            attempt: pace.attempt,
        };
        let fault = match session.hold(&config, &mut identity, &mut renew_at).await {
            Ok(()) => None,
            Err(fault) if is_final(&fault) => return Err(SessionError::Refused(chain(&fault))),
            Err(fault) => Some(fault),
        };
        if begun.elapsed() > HELD {
            pauses = schedule();
        }
        let pause = pauses.next().unwrap_or(pace.longest_pause);
        match &fault {
            None => info!(
                retry_in_ms = pause.as_millis(),
                "the controller has ended the session"
            ),
            Some(fault) => warn!(
                retry_in_ms = pause.as_millis(),
                remedy = fault.remedy(),
                "the session is lost: {}",
                chain(fault)
            ),
        }
        if tokio::time::timeout(pause, something_new(&spool, newest, LOOK_EVERY))
            .await
            .is_ok()
        {
            info!("there is something to tell: the pause is over");
        }
    }
}

/// Waits until there is a later event than there was when the last session began.
async fn something_new(spool: &Spool, than: Option<Ulid>, every: Duration) {
    let mut look = tokio::time::interval(every);
    loop {
        look.tick().await;
        if spool.newest() > than {
            return;
        }
    }
}

/// The node is gone, or is somebody else's now.
fn is_final(fault: &Fault) -> bool {
    matches!(fault, Fault::Answer(status) if status.code() == Code::Unauthenticated)
}

struct Session<'a> {
    root: &'a Path,
    boot_id: &'a str,
    spool: &'a Spool,
    orders: &'a mut Orders,
    attempt: Duration,
}

impl Session<'_> {
    async fn hold(
        &mut self,
        config: &GuestConfig,
        identity: &mut Identity,
        renew_at: &mut Instant,
    ) -> Result<(), Fault> {
        let channel = self.connect(config, identity).await?;
        let mut client = GuestClient::new(channel);
        if Instant::now() >= *renew_at {
            // A fault of it is no reason to have no session: there is a year left.
            match self.renew(&mut client, identity).await {
                Ok(()) => *renew_at = Instant::now() + RENEW_EVERY,
                Err(error) => warn!("the certificate was not renewed: {error}"),
            }
        }
        let (outbox, outgoing) = mpsc::channel(OUTBOX);
        let hello = GuestHello {
            guest_version: env!("CARGO_PKG_VERSION").to_owned(),
            boot_id: self.boot_id.to_owned(),
            sealing_key: self.orders.sealing_key().to_vec(),
            drift: drift::find(self.root).all(),
        };
        say(&outbox, guest_message::Message::Hello(hello)).await?;
        let opening = client.session(ReceiverStream::new(outgoing));
        let mut inbound = tokio::time::timeout(self.attempt, opening)
            .await
            .map_err(|_| silent())?
            .map_err(answered)?
            .into_inner();
        let welcome = match tokio::time::timeout(self.attempt, inbound.message()).await {
            Err(_) => return Err(silent()),
            Ok(message) => match message.map_err(answered)? {
                Some(GuestOrder {
                    message: Some(guest_order::Message::Welcome(welcome)),
                }) => welcome,
                Some(_) => return Err(answered(Status::internal("no welcome"))),
                None => return Ok(()),
            },
        };
        info!(
            controller = %config.controller_url,
            controller_version = welcome.controller_version,
            "the session is open"
        );
        let heartbeat = Duration::from_secs(u64::from(welcome.heartbeat_seconds.clamp(1, 3600)));
        self.converse(&mut inbound, &outbox, heartbeat).await
    }

    async fn converse(
        &mut self,
        inbound: &mut tonic::Streaming<GuestOrder>,
        outbox: &mpsc::Sender<GuestMessage>,
        heartbeat: Duration,
    ) -> Result<(), Fault> {
        let mut told: Option<Ulid> = None;
        let mut acknowledged: Option<Ulid> = None;
        let mut told_at = Instant::now();
        let mut beat = tokio::time::interval(heartbeat);
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                message = inbound.message() => {
                    let Some(order) = message.map_err(answered)? else { return Ok(()) };
                    match order.message {
                        Some(guest_order::Message::EventAck(ack)) => {
                            if let Ok(id) = ack.id.parse() {
                                self.spool.forget(id).map_err(|error| spool(&error))?;
                                acknowledged = Some(id);
                            }
                        }
                        Some(guest_order::Message::PasswordReset(reset)) => {
                            let result = self.reset(&reset).await;
                            say(outbox, guest_message::Message::PasswordReset(result)).await?;
                        }
                        Some(guest_order::Message::LookAtDisks(look)) => {
                            let disks = GuestDisks {
                                order_id: look.order_id,
                                disks: disks::read(self.root),
                            };
                            say(outbox, guest_message::Message::Disks(disks)).await?;
                        }
                        // What a newer controller asks for is not for us.
                        Some(guest_order::Message::Welcome(_)) | None => {}
                    }
                }
                _ = look.tick() => {
                    if told > acknowledged && told_at.elapsed() > ACKNOWLEDGED_WITHIN {
                        return Err(silent());
                    }
                    while let Some((id, event)) = self.spool.next(told).map_err(|error| spool(&error))? {
                        say(outbox, guest_message::Message::Event(event)).await?;
                        (told, told_at) = (Some(id), Instant::now());
                    }
                }
                _ = beat.tick() => say(outbox, guest_message::Message::Heartbeat(GuestHeartbeat {})).await?,
            }
        }
    }

    /// Carries out an order, or says why not.
    async fn reset(&mut self, reset: &PasswordReset) -> PasswordResetResult {
        let now = unix_seconds();
        let (order_id, opened) = self.orders.open(reset, now);
        let refused = match opened {
            Ok(opened) => carry_out(self.root.to_owned(), opened, now).await,
            Err(refusal) => refusal.to_string(),
        };
        if !refused.is_empty() {
            warn!(
                order.id = order_id,
                refused, "an order to set a password is not carried out"
            );
        }
        PasswordResetResult { order_id, refused }
    }

    async fn renew(&self, client: &mut GuestClient<Channel>, identity: &mut Identity) -> Result<(), String> {
        let csr_der = identity.request_der().map_err(|error| chain(&error))?;
        let asked = client.renew_certificate(Request::new(RenewCertificateRequest { csr_der }));
        let answer = tokio::time::timeout(self.attempt, asked)
            .await
            .map_err(|_| "no answer in time".to_owned())?
            .map_err(|status| status.message().to_owned())?
            .into_inner();
        if answer.certificate_chain_der.is_empty() {
            return Err("the answer holds no certificate".to_owned());
        }
        identity
            .adopt("", &answer.certificate_chain_der)
            .map_err(|error| chain(&error))
    }

    async fn connect(&self, config: &GuestConfig, identity: &Identity) -> Result<Channel, Fault> {
        let endpoint = connection::endpoint(config, Some(identity.for_tls()), self.attempt)?
            // A cable that was pulled is noticed although nobody says anything.
            .http2_keep_alive_interval(Duration::from_secs(60))
            .keep_alive_timeout(Duration::from_secs(20))
            .keep_alive_while_idle(true);
        connection::connect(&endpoint, self.attempt).await
    }
}

/// Hashing takes a while, and so may the lock of the password files. Empty: it is done.
async fn carry_out(root: PathBuf, opened: Opened, now: i64) -> String {
    let set = move || {
        password::set(&root, &opened, shadow::today(now)).map(|()| {
            info!(
                order.id = opened.order_id,
                user = opened.user,
                "a password was set by order of the controller"
            );
        })
    };
    match tokio::task::spawn_blocking(set).await {
        Ok(Ok(())) => String::new(),
        Ok(Err(error)) => chain(&error),
        Err(_) => "the plugin has failed at it; its log says how".to_owned(),
    }
}

async fn say(outbox: &mpsc::Sender<GuestMessage>, message: guest_message::Message) -> Result<(), Fault> {
    let message = GuestMessage {
        message: Some(message),
    };
    outbox
        .send(message)
        .await
        .map_err(|_| answered(Status::unavailable("the connection is closed")))
}

fn spool(error: &io::Error) -> Fault {
    answered(Status::unavailable(format!(
        "the events of this system cannot be read or removed: {error}"
    )))
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Event;

    #[tokio::test]
    async fn a_new_event_ends_a_pause_and_an_old_one_does_not() {
        let root = tempfile::tempdir().unwrap();
        let spool = Spool::below(root.path());
        let event = Event {
            kind: "network.restored".into(),
            message: "x".into(),
            diff: String::new(),
        };
        spool.put(&event).unwrap();
        let newest = spool.newest();
        let (often, long) = (Duration::from_millis(1), Duration::from_millis(50));
        let waited = tokio::time::timeout(long, something_new(&spool, newest, often)).await;
        assert!(
            waited.is_err(),
            "what the last session could not tell is no reason for another one"
        );
        spool.put(&event).unwrap();
        something_new(&spool, newest, often).await;
    }
}
