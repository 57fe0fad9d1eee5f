//! The serial consoles of servers, read by IPMI while deployments run on them, for the logs of these.
//!
//! A reader is a process of `ipmitool`. What it cannot read never disturbs a deployment: the log says why, and it is tried
//! again, but with a password that the BMC does not take.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{BmcError, Power, PowerError};
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

/// Reads consoles until the controller ends.
pub(super) async fn run(app: App) {
    let mut ticks = Ticks::every(TICK, app.shutdown.clone());
    // Whoever goes from here is stopped.
    let mut reading: HashMap<Wanted, DropGuard> = HashMap::new();
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
        // A console has one reader: the next one waits until the one before has said farewell.
        let stopped: HashSet<String> = reading
            .extract_if(|one, _| !wanted.contains(one))
            .map(|(one, _stopped)| one.node_id)
            .collect();
        for one in wanted {
            if reading.contains_key(&one) || stopped.contains(&one.node_id) {
                continue;
            }
            if readers.len() >= AT_ONCE {
                if left_out.insert(one.clone()) {
                    let why = format!("the controller reads {AT_ONCE} others");
                    say(&app, &one.deployment_id, &why);
                }
                continue;
            }
            let stop = CancellationToken::new();
            readers.spawn(read(app.clone(), one.clone(), stop.clone()));
            reading.insert(one, stop.drop_guard());
        }
    }
    // The BMCs are told, so that others can read.
    drop(reading);
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
    async fn wanted_consoles(&self) -> Result<HashSet<Wanted>, PowerError> {
        let found = sqlx::query_as(
            "SELECT d.id AS deployment_id, d.node_id, b.set_at FROM bmcs b JOIN nodes n ON n.id = b.node_id \
             JOIN deployments d ON d.id = n.deployment_id WHERE b.serial_over_lan = 1 AND d.state = 'running'",
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
        let bmc = self.console_of(&node, &record).await?;
        Ok(bmc.read_console(stop, take).await?)
    }
}
