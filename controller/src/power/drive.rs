//! The task that has BMCs do what is asked for, until the controller ends. All it knows is in the database: after a restart it
//! goes on from what the server is then.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::AssertSqlSafe;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    ActionState, Bmc, BmcError, BmcRecord, BootTarget, Power, PowerAction, PowerError, PowerState, Stage,
    action,
    bmc::{Override, Switch},
    cd,
    decide::{Decision, Facts, Plan, Reason, decide, overridden},
};
use crate::{api::rest::problem::chain, app::App, events::doing, inventory::Node};

/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// How often a BMC is asked whether the power has changed.
const POLL: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1000 });
/// The same while it does not answer.
const LONGEST_POLL: Duration = Duration::from_secs(15);
/// Servers that are switched at a time: all of a rack at once is much current.
const AT_ONCE: usize = 16;

/// Nodes that are being worked on.
type Busy = Arc<Mutex<HashSet<String>>>;

struct Claim(Busy, String);

impl Claim {
    fn of(busy: &Busy, id: &str) -> Option<Self> {
        let mut claimed = busy.lock().unwrap_or_else(PoisonError::into_inner);
        claimed
            .insert(id.to_owned())
            .then(|| Self(Arc::clone(busy), id.to_owned()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut claimed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        claimed.remove(&self.1);
    }
}

/// Drives changes of power until the controller ends.
pub async fn run(app: App) {
    let (busy, slots) = (Busy::default(), Arc::new(Semaphore::new(AT_ONCE)));
    let mut working = JoinSet::new();
    loop {
        for (id, what) in due(&app.power).await {
            if let Some(claim) = Claim::of(&busy, &id) {
                let (app, slots) = (app.clone(), Arc::clone(&slots));
                working.spawn(async move {
                    let _claim = claim;
                    // Never closed.
                    let Ok(_slot) = slots.acquire().await else { return };
                    let done = match what {
                        Due::Action => app.power.carry_out(&app, &id).await,
                        Due::Override => app.power.take_back(&id).await,
                    };
                    if let Err(error) = done {
                        tracing::error!(id, error = %chain(&error), "a change of power does not go on");
                    }
                });
            }
        }
        while working.try_join_next().is_some() {}
        tokio::select! {
            biased;
            // What is under way goes on at the next start.
            () = app.shutdown.cancelled() => return,
            () = app.power.bell.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Due {
    /// A change of power, by its id.
    Action,
    /// An override of the boot order that stays, or a CD, by the id of its node.
    Override,
}

async fn due(power: &Power) -> Vec<(String, Due)> {
    let actions = sqlx::query_scalar("SELECT id FROM power_actions WHERE state = 'running' ORDER BY id");
    // Not before the server has booted what it was to boot.
    let overrides = sqlx::query_scalar(
        "SELECT b.node_id FROM bmcs b JOIN nodes n ON n.id = b.node_id \
         LEFT JOIN deployments d ON d.id = n.deployment_id AND d.state = 'running' \
         WHERE (b.boot_left OR b.media_left) AND NOT EXISTS (SELECT 1 FROM power_actions p WHERE p.node_id = b.node_id AND p.state = 'running') \
         AND (d.phase = 'agent-works' OR (d.id IS NULL OR d.phase <> 'await-agent') \
         AND NOT EXISTS (SELECT 1 FROM power_actions p WHERE p.node_id = b.node_id AND p.ended_at > ?))",
    )
    .bind(power.clock.now_ms() - SETTLED_MS);
    let mut found = Vec::new();
    for (query, what) in [
        (actions.fetch_all(&power.db).await, Due::Action),
        (overrides.fetch_all(&power.db).await, Due::Override),
    ] {
        let ids: Vec<String> = query.unwrap_or_else(|error| {
            let error = doing("look for changes of power")(error);
            tracing::error!(error = %chain(&error), "changes of power cannot be looked for");
            Vec::new()
        });
        found.extend(ids.into_iter().map(|id| (id, what)));
    }
    found
}

/// Of a row of `power_actions`: whoever it is for still waits for it ([`Facts::wanted`]).
const WANTED: &str = "(deployment_id IS NULL OR EXISTS (SELECT 1 FROM deployments d JOIN nodes n ON n.deployment_id = d.id \
     WHERE d.id = power_actions.deployment_id AND d.state = 'running' \
     AND (power_actions.action <> 'cycle' OR d.phase = 'await-agent') \
     AND NOT EXISTS (SELECT 1 FROM node_holds h WHERE h.node_id = d.node_id)))";

/// A server that was powered on by then has read what it is to boot.
const SETTLED_MS: i64 = if cfg!(test) { 0 } else { 10 * 60 * 1000 };

/// What is worked with, as long as what is kept of the BMC stays the same.
struct Open {
    bmc: Box<dyn Bmc>,
    record: BmcRecord,
    /// The CD is in the drive.
    has_cd: bool,
}

impl Power {
    /// Works on a change of power until it ends.
    async fn carry_out(&self, app: &App, id: &str) -> Result<(), PowerError> {
        let mut open: Option<Open> = None;
        let worked = self.work(app, id, &mut open).await;
        if let Some(open) = open {
            open.bmc.close().await;
        }
        worked
    }

    async fn work(&self, app: &App, id: &str, open: &mut Option<Open>) -> Result<(), PowerError> {
        let mut pause = POLL;
        loop {
            let Some(action) = self
                .action(id)
                .await?
                .filter(|one| one.state == ActionState::Running)
            else {
                return Ok(());
            };
            let node = self.nodes.get(&action.node_id).await?;
            let record = self.bmc_of(&action.node_id).await?;
            if open
                .as_ref()
                .is_none_or(|open| open.record.set_at != record.set_at)
            {
                match self.converse(&node, &record).await {
                    Ok(Some(bmc)) => {
                        let before = open.replace(Open {
                            bmc,
                            record,
                            has_cd: false,
                        });
                        if let Some(before) = before {
                            before.bmc.close().await;
                        }
                    }
                    Ok(None) => {
                        let reason = Reason {
                            why: "the BMC was forgotten".to_owned(),
                            remedy: record.by_hand(&node.name),
                        };
                        return self.end(&action, ActionState::Failed, &reason).await;
                    }
                    Err(error) => {
                        return self
                            .end(&action, ActionState::Failed, &Reason::from(&error))
                            .await;
                    }
                }
            }
            let Some(open) = open.as_mut() else { return Ok(()) };
            let before = (action.stage, action.asked_at);
            let (ended, quiet) = self.step(app, &action, &node, open).await?;
            if ended {
                return Ok(());
            }
            let moved = self
                .action(id)
                .await?
                .is_some_and(|now| (now.stage, now.asked_at) != before);
            pause = match (moved, quiet) {
                (true, _) => Duration::ZERO,
                (false, false) => POLL,
                (false, true) => (pause.max(POLL) * 2).min(LONGEST_POLL),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// One look and what follows from it. Whether the change of power has ended, and whether the BMC is silent.
    async fn step(
        &self,
        app: &App,
        action: &PowerAction,
        node: &Node,
        open: &mut Open,
    ) -> Result<(bool, bool), PowerError> {
        let plan = Plan {
            wish: action.action,
            force: action.force,
            boot: action.boot,
        };
        let quirks = open.record.all_quirks();
        let now = self.clock.now();
        let ago = action
            .asked_at
            .map(|at| Duration::try_from(now.duration_since(at)).unwrap_or_default());
        let facts = Facts {
            look: open.bmc.power().await,
            asked_ago: ago,
            late: now >= action.deadline,
            patience: quirks.power(),
            wanted: self.is_wanted(action).await?,
        };
        let quiet = facts.look.is_err();
        if facts.look == Ok(PowerState::Off) {
            self.hub.dismiss(&node.id);
        }
        match decide(plan, action.stage, &facts) {
            Decision::Stay(reason) => {
                self.explain(action, &reason).await?;
                Ok((false, quiet))
            }
            Decision::Switch(switch, reason) => {
                // Noted before: what is asked for twice in a moment may be taken twice.
                if !self.ask_for(action, switch, &reason).await? {
                    return Ok((false, false));
                }
                tracing::info!(node.id = node.id, %switch, "a BMC is asked to switch its server");
                match open.bmc.switch(switch).await {
                    Ok(()) => Ok((false, false)),
                    Err(error) if error.passes() => {
                        self.explain(action, &Reason::from(&error)).await?;
                        Ok((false, true))
                    }
                    Err(error) => {
                        self.end(action, ActionState::Failed, &Reason::from(&error))
                            .await?;
                        Ok((true, false))
                    }
                }
            }
            // What an operator has put in is booted as it is.
            Decision::Boot(BootTarget::Cd) if action.deployment_id.is_some() && !open.has_cd => {
                // Noted before: whatever comes of it, somebody looks whether it is to go.
                self.leave(&node.id, "media_left", true).await?;
                match cd::insert(app, node, open.bmc.as_ref()).await {
                    Ok(()) => {
                        open.has_cd = true;
                        Ok((false, false))
                    }
                    Err(no) if no.passes && !facts.late => {
                        self.explain(action, &no.reason).await?;
                        Ok((false, true))
                    }
                    Err(no) => {
                        self.end(action, ActionState::Failed, &no.reason).await?;
                        Ok((true, false))
                    }
                }
            }
            Decision::Boot(target) => {
                let came = open.bmc.boot_once(target).await;
                if matches!(came, Ok(Override::Stays)) {
                    self.leave(&node.id, "boot_left", true).await?;
                }
                let (next, note) = overridden(action.stage, action.deployment_id.is_some(), facts.late, came);
                match next {
                    Decision::Go(stage) => {
                        self.note(action, &note.unwrap_or_default()).await?;
                        let reason = Reason::new("the boot order is overridden for the next start");
                        self.go(action, stage, &reason).await?;
                        Ok((false, false))
                    }
                    Decision::Stay(reason) => {
                        self.explain(action, &reason).await?;
                        Ok((false, true))
                    }
                    Decision::Fail(reason) => {
                        self.end(action, ActionState::Failed, &reason).await?;
                        Ok((true, false))
                    }
                    Decision::Switch(..) | Decision::Boot(_) | Decision::Done(_) => Ok((false, false)),
                }
            }
            Decision::Go(stage) => {
                self.go(action, stage, &Reason::new(action.why.clone())).await?;
                Ok((false, false))
            }
            Decision::Done(reason) => {
                // What is worth knowing of the override stays with the end.
                let reason = if action.note.why.is_empty() {
                    reason
                } else {
                    action.note.clone()
                };
                self.end(action, ActionState::Done, &reason).await?;
                Ok((true, false))
            }
            Decision::Fail(reason) => {
                // The override was set for a start that does not come.
                if !facts.wanted && action.stage == Stage::Off && action.boot.is_some() {
                    self.leave(&node.id, "boot_left", true).await?;
                }
                self.end(action, ActionState::Failed, &reason).await?;
                Ok((true, false))
            }
        }
    }

    /// A change of power.
    pub async fn action(&self, id: &str) -> Result<Option<PowerAction>, PowerError> {
        let mut connection = self.db.acquire().await.map_err(doing("read a change of power"))?;
        action::load(&mut connection, id).await
    }

    /// The next stage.
    async fn go(&self, action: &PowerAction, stage: Stage, reason: &Reason) -> Result<(), PowerError> {
        sqlx::query(
            "UPDATE power_actions SET stage = ?, asked_at = NULL, why = ?, remedy = ? WHERE id = ? AND state = 'running'",
        )
        .bind(stage.as_str())
        .bind(&reason.why)
        .bind(&reason.remedy)
        .bind(&action.id)
        .execute(&self.db)
        .await
        .map_err(doing("keep the stage of a change of power"))?;
        Ok(())
    }

    async fn is_wanted(&self, action: &PowerAction) -> Result<bool, PowerError> {
        let wanted = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT EXISTS (SELECT 1 FROM power_actions WHERE id = ? AND {WANTED})"
        )))
        .bind(&action.id)
        .fetch_one(&self.db)
        .await
        .map_err(doing("look who waits for a change of power"))?;
        Ok(wanted)
    }

    /// Keeps that the server is told to switch just now. False: it is not to be told. Power is taken away under a live claim
    /// alone: whoever ends the deployment comes before this or after it.
    async fn ask_for(
        &self,
        action: &PowerAction,
        switch: Switch,
        reason: &Reason,
    ) -> Result<bool, PowerError> {
        let condition = if switch == Switch::On { "TRUE" } else { WANTED };
        let asked = sqlx::query(AssertSqlSafe(format!(
            "UPDATE power_actions SET asked_at = ?, why = ?, remedy = ? WHERE id = ? AND state = 'running' AND {condition}"
        )))
        .bind(self.clock.now_ms())
        .bind(&reason.why)
        .bind(&reason.remedy)
        .bind(&action.id)
        .execute(&self.db)
        .await
        .map_err(doing("keep what a server is told"))?;
        Ok(asked.rows_affected() == 1)
    }

    /// Keeps what is waited for. No event: it is the same stage.
    async fn explain(&self, action: &PowerAction, reason: &Reason) -> Result<(), PowerError> {
        if (&action.why, &action.remedy) == (&reason.why, &reason.remedy) {
            return Ok(());
        }
        sqlx::query("UPDATE power_actions SET why = ?, remedy = ? WHERE id = ? AND state = 'running'")
            .bind(&reason.why)
            .bind(&reason.remedy)
            .bind(&action.id)
            .execute(&self.db)
            .await
            .map_err(doing("keep the reason of a change of power"))?;
        Ok(())
    }

    /// Keeps what is to be told in the end.
    async fn note(&self, action: &PowerAction, note: &Reason) -> Result<(), PowerError> {
        sqlx::query("UPDATE power_actions SET note = ?, note_remedy = ? WHERE id = ?")
            .bind(&note.why)
            .bind(&note.remedy)
            .bind(&action.id)
            .execute(&self.db)
            .await
            .map_err(doing("keep what is worth knowing of a change of power"))?;
        Ok(())
    }

    /// Keeps in a column of the BMC whether something of the controller's is left there.
    async fn leave(&self, node_id: &str, column: &'static str, left: bool) -> Result<(), PowerError> {
        sqlx::query(AssertSqlSafe(format!(
            "UPDATE bmcs SET {column} = ? WHERE node_id = ?"
        )))
        .bind(left)
        .bind(node_id)
        .execute(&self.db)
        .await
        .map_err(doing("keep what is left at the BMC"))?;
        Ok(())
    }

    /// Takes an override of the boot order back that stays, and the CD out. What cannot be taken back is left: the controller
    /// answers the server's network boot with what it is to boot, and a CD that was used proves nobody any more.
    async fn take_back(&self, node_id: &str) -> Result<(), PowerError> {
        let node = self.nodes.get(node_id).await?;
        let record = self.bmc_of(node_id).await?;
        let left = [("boot_left", record.boot_left), ("media_left", record.media_left)];
        for (column, _) in left.into_iter().filter(|(_, left)| *left) {
            let done = match self.converse(&node, &record).await {
                Ok(Some(bmc)) => {
                    let done = if column == "boot_left" {
                        bmc.boot_as_ordered().await
                    } else {
                        bmc.set_media(None).await
                    };
                    bmc.close().await;
                    done
                }
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            match done {
                Err(error @ BmcError::Silent { .. }) => {
                    tracing::warn!(node.id = node_id, %error, column, "something of the controller's is still at the BMC");
                }
                Err(error) => {
                    tracing::error!(node.id = node_id, %error, remedy = error.remedy(), column, "something of the controller's stays at the BMC");
                    self.leave(node_id, column, false).await?;
                }
                Ok(()) => self.leave(node_id, column, false).await?,
            }
        }
        Ok(())
    }
}
