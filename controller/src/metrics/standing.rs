//! What there is at this moment, read from the database when somebody asks.

use std::collections::HashMap;

use sqlx::SqlitePool;

use super::{
    Families,
    labels::{JobLabels, PhaseLabels, StateLabels},
};
use crate::{
    app::App,
    catalog::ImageState,
    deploy::{DeploymentState, Phase},
    events::{DatabaseError, doing},
    inventory::NodeState,
    jobs::{JobKind, JobState},
    volumes::VolumeState,
};

/// Reads everything. What there is none of is shown as 0, so that no line comes and goes.
pub(super) async fn read(app: &App, families: &Families) -> Result<(), DatabaseError> {
    let db = &app.db;
    let nodes = by_word(db, "SELECT state, COUNT(*) FROM nodes GROUP BY state").await?;
    for state in NodeState::ALL {
        set_state(&families.nodes, &nodes, state.as_str());
    }
    let images = by_word(db, "SELECT state, COUNT(*) FROM images GROUP BY state").await?;
    for state in ImageState::ALL {
        set_state(&families.images, &images, state.as_str());
    }
    let volumes = by_word(db, "SELECT state, COUNT(*) FROM volumes GROUP BY state").await?;
    for state in VolumeState::ALL {
        set_state(&families.volumes, &volumes, state.as_str());
    }
    let hooks = by_word(
        db,
        "SELECT CASE WHEN state = 'active' AND attempts > 0 THEN 'failing' ELSE state END AS shown, COUNT(*) \
         FROM webhooks GROUP BY shown",
    )
    .await?;
    for state in ["active", "failing", "disabled"] {
        set_state(&families.webhooks, &hooks, state);
    }
    // Both by the index over the states: those that have ended are many.
    let ended = by_word(
        db,
        "SELECT state, COUNT(*) FROM deployments WHERE state <> 'running' GROUP BY state",
    )
    .await?;
    let running = by_word(
        db,
        "SELECT phase, COUNT(*) FROM deployments WHERE state = 'running' GROUP BY phase",
    )
    .await?;
    for state in DeploymentState::ALL {
        for phase in Phase::ALL {
            let is_running = *state == DeploymentState::Running;
            if is_running == (*phase == Phase::Ended) {
                continue;
            }
            let (counted, word) = match is_running {
                true => (&running, phase.as_str()),
                false => (&ended, state.as_str()),
            };
            let (state, phase) = (state.as_str(), phase.as_str());
            families
                .deployments
                .get_or_create(&PhaseLabels { state, phase })
                .set(count(counted, word));
        }
    }
    let jobs = by_word(
        db,
        "SELECT kind || ' ' || state, COUNT(*) FROM jobs WHERE state IN ('queued', 'running') GROUP BY kind, state",
    )
    .await?;
    for kind in JobKind::ALL {
        for state in [JobState::Queued, JobState::Running] {
            let (kind, state) = (kind.as_str(), state.as_str());
            families
                .jobs
                .get_or_create(&JobLabels { kind, state })
                .set(count(&jobs, &format!("{kind} {state}")));
        }
    }
    families
        .agent_sessions
        .set(i64::try_from(app.deployments.hub().open_sessions()).unwrap_or(i64::MAX));
    families
        .guest_sessions
        .set(i64::try_from(app.guests.open_sessions()).unwrap_or(i64::MAX));
    Ok(())
}

async fn by_word(db: &SqlitePool, sql: &'static str) -> Result<HashMap<String, i64>, DatabaseError> {
    let rows: Vec<(String, i64)> = sqlx::query_as(sql)
        .fetch_all(db)
        .await
        .map_err(doing("count what there is"))?;
    Ok(rows.into_iter().collect())
}

fn count(counted: &HashMap<String, i64>, word: &str) -> i64 {
    counted.get(word).copied().unwrap_or(0)
}

fn set_state(
    family: &prometheus_client::metrics::family::Family<
        StateLabels,
        prometheus_client::metrics::gauge::Gauge,
    >,
    counted: &HashMap<String, i64>,
    state: &'static str,
) {
    family
        .get_or_create(&StateLabels { state })
        .set(count(counted, state));
}
