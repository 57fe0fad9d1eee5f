//! What a deployment knows of its server's power, as it is kept.

use sqlx::{FromRow, Row, sqlite::SqliteRow};

use super::decide::{LastTry, PowerFact, TryState};
use crate::{
    clock::timestamp_from_ms,
    power::{ActionState, BmcKind},
};

impl PowerFact {
    /// The columns that [`FromRow`] takes.
    pub(super) const COLUMNS: &'static str = "b.kind AS power_kind, b.instructions AS power_instructions, p.state AS power_state, \
         p.why AS power_why, p.remedy AS power_remedy, p.ended_at AS power_ended_at, \
         (SELECT count(*) FROM power_actions c WHERE c.deployment_id = d.id) AS power_tries";
    /// Where they come from, of a deployment `d`: what is under way with the server, whoever asked for it, or came of the
    /// last time that this deployment did.
    pub(super) const JOIN: &'static str = "LEFT JOIN bmcs b ON b.node_id = d.node_id LEFT JOIN power_actions p ON p.id = \
         COALESCE((SELECT r.id FROM power_actions r WHERE r.node_id = d.node_id AND r.state = 'running'), \
         (SELECT max(l.id) FROM power_actions l WHERE l.node_id = d.node_id AND l.deployment_id = d.id))";
}

fn decode(error: impl std::error::Error + Send + Sync + 'static) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(error))
}

impl FromRow<'_, SqliteRow> for PowerFact {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let Some(kind) = row.try_get::<Option<String>, _>("power_kind")? else {
            return Ok(Self::default());
        };
        if kind.parse::<BmcKind>().map_err(decode)? == BmcKind::Manual {
            return Ok(Self::ByHand {
                instructions: row.try_get("power_instructions")?,
            });
        }
        let state: Option<String> = row.try_get("power_state")?;
        let last = match state {
            None => None,
            Some(state) => {
                let ended = row.try_get::<Option<i64>, _>("power_ended_at")?;
                let ended = timestamp_from_ms(ended.unwrap_or_default());
                Some(LastTry {
                    state: match state.parse().map_err(decode)? {
                        ActionState::Running => TryState::Running,
                        ActionState::Done => TryState::Done(ended),
                        ActionState::Failed => TryState::Failed(ended),
                    },
                    why: row.try_get("power_why")?,
                    remedy: row.try_get("power_remedy")?,
                })
            }
        };
        Ok(Self::Bmc {
            tries: row.try_get("power_tries")?,
            last,
        })
    }
}
