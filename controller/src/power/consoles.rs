//! The serial consoles of servers, read by IPMI while deployments run on them, for the logs of these.
//!
//! A reader is a process of `ipmitool`. What it cannot read never disturbs a deployment: the log says why, and it is tried
//! again, but with a password that the BMC does not take.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{BmcError, BmcKind, Power, PowerError};
use crate::{api::rest::problem::chain, app::App, events::doing, ticks::Ticks};

/// How often it is looked which consoles are to be read.
const TICK: Duration = Duration::from_secs(2);
/// Consoles that are read at a time. Sites with more deployments at a time have a console server, which passes on what it reads.
const AT_ONCE: usize = 200;
/// Before a console is tried again that could not be read, or no more.
const PAUSE: Duration = Duration::from_secs(5);
/// The same after many tries.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// A deployment, its node, and when the BMC was set: who sets it anew gets a new reader.
#[derive(Debug, Clone, PartialEq, Eq, Hash, sqlx::FromRow)]
struct Wanted {
    deployment_id: String,
    node_id: String,
    set_at: i64,
}

/// Who reads a console.
struct Reader {
    of: Wanted,
    stop: CancellationToken,
    task: AbortHandle,
}

/// Reads consoles until the controller ends.
pub(super) async fn run(app: App) {
    let mut ticks = Ticks::every(TICK, app.shutdown.clone());
    // By node: a console has one reader, and the next one waits until the one before has said farewell.
    let mut reading: HashMap<String, Reader> = HashMap::new();
    let mut left_out: HashSet<Wanted> = HashSet::new();
    let mut readers = JoinSet::new();
    while ticks.next().await {
        while let Some(ended) = readers.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a reader of a console died");
            }
        }
        let wanted = match app.power.wanted_consoles().await {
            Ok(wanted) => wanted,
            Err(error) => {
                tracing::error!(error = %chain(&error), "it is not known which consoles are to be read");
                continue;
            }
        };
        left_out.retain(|one| wanted.contains(one));
        reading.retain(|_, reader| {
            if !wanted.contains(&reader.of) {
                reader.stop.cancel();
            }
            !(reader.stop.is_cancelled() && reader.task.is_finished())
        });
        for one in wanted {
            if reading.contains_key(&one.node_id) {
                continue;
            }
            if readers.len() >= AT_ONCE {
                if left_out.insert(one.clone()) {
                    let why = format!(
                        "the controller reads {AT_ONCE} others. A console server can pass it on: imprint node console"
                    );
                    say(&app, &one.deployment_id, &why);
                }
                continue;
            }
            // When the controller ends the BMCs are told, so that others can read.
            let stop = app.shutdown.child_token();
            let task = readers.spawn(read(app.clone(), one.clone(), stop.clone()));
            let node_id = one.node_id.clone();
            reading.insert(node_id, Reader { of: one, stop, task });
        }
    }
    readers.join_all().await;
}

/// Reads one console until it is not wanted any more.
async fn read(app: App, of: Wanted, stop: CancellationToken) {
    let (mut said, mut pause) = (String::new(), PAUSE);
    loop {
        let began = Instant::now();
        let take = |lines: &[String]| app.deployments.take_console(&of.deployment_id, lines);
        let ended = app.power.read_console(&of.node_id, &stop, take).await;
        if stop.is_cancelled() {
            return;
        }
        let again = !matches!(ended, Err(PowerError::Bmc(BmcError::Credentials { .. })));
        let why = match ended {
            Ok(()) => "the BMC has ended it".to_owned(),
            Err(PowerError::Bmc(error)) => format!("{}. {}", chain(&error), error.remedy()),
            Err(error) => chain(&error),
        };
        if began.elapsed() > LONGEST_PAUSE {
            pause = PAUSE;
        }
        if why != said {
            say(&app, &of.deployment_id, &why);
            said = why;
        }
        if !again {
            return;
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Writes into the log why there is nothing of the console in it.
fn say(app: &App, deployment_id: &str, why: &str) {
    tracing::info!(deployment.id = deployment_id, why, "a serial console is not read");
    app.deployments
        .take_console(deployment_id, &[format!("(the console is not read: {why})")]);
}

impl Power {
    /// Of a node on hold it is not known whose system it runs by now: its console is none of a deployment's before it is confirmed.
    async fn wanted_consoles(&self) -> Result<HashSet<Wanted>, PowerError> {
        let found = sqlx::query_as(
            "SELECT d.id AS deployment_id, d.node_id, b.set_at FROM bmcs b JOIN nodes n ON n.id = b.node_id \
             JOIN deployments d ON d.id = n.deployment_id WHERE b.serial_over_lan = 1 AND d.state = 'running' \
             AND NOT EXISTS (SELECT 1 FROM node_holds h WHERE h.node_id = d.node_id)",
        )
        .fetch_all(&self.db)
        .await
        .map_err(doing("look for consoles that are to be read"))?;
        Ok(HashSet::from_iter::<Vec<Wanted>>(found))
    }

    async fn read_console(
        &self,
        node_id: &str,
        stop: &CancellationToken,
        take: impl FnMut(&[String]),
    ) -> Result<(), PowerError> {
        let node = self.nodes.get(node_id).await?;
        let record = self.bmc_of(node_id).await?;
        // Whose console it is, only Redfish can tell.
        if record.kind == BmcKind::Redfish
            && let Some(bmc) = self.converse(&node, &record).await?
        {
            let known = bmc.power().await;
            bmc.close().await;
            known?;
        }
        let bmc = self.console_of(&node, &record).await?;
        Ok(bmc.read_console(stop, take).await?)
    }
}
