//! A session of a guest plugin: who it is, what it tells.

use imprint_proto::agent::v1::{GuestEvent, GuestHello, PasswordResetResult};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    GuestError, GuestSeat, Guests, Outgoing, clip,
    hub::Reachable,
    reset::{ResetState, end_reset},
};
use crate::{
    events::{DatabaseError, NewEvent, doing},
    identity::GuestId,
};

const MAX_DRIFT: usize = 64;
const MAX_DIFF: usize = 16 << 10;
const MAX_KIND: usize = 64;

impl Guests {
    /// Opens a session for whoever shows this certificate.
    ///
    /// # Errors
    /// [`GuestError::Gone`] when the certificate's system is not on its node any more.
    pub async fn attach(
        &self,
        guest: &GuestId,
        hello: &GuestHello,
        outbox: mpsc::Sender<Outgoing>,
    ) -> Result<GuestSeat, GuestError> {
        let known = self.current(guest).await?;
        let drift: Vec<String> = hello
            .drift
            .iter()
            .take(MAX_DRIFT)
            .map(|finding| clip(finding, 512))
            .collect();
        let drift = json!(drift).to_string();
        let mut change = self.events.begin().await?;
        if drift != known.drift {
            let message = match drift.as_str() {
                "[]" => "The files of the guest plugin are as they were installed again.".to_owned(),
                _ => "Files of the guest plugin are not as they were installed.".to_owned(),
            };
            change
                .append(NewEvent {
                    kind: "guest.drift",
                    node_id: Some(&guest.node_id),
                    deployment_id: Some(&guest.deployment_id),
                    message,
                    details: json!({ "drift": serde_json::from_str::<Vec<String>>(&drift).unwrap_or_default() }),
                })
                .await?;
        }
        let boot_id = clip(&hello.boot_id, 64);
        sqlx::query(
            "UPDATE guests SET version = ?, boot_id = ?, drift = ?, last_seen_at = ? WHERE node_id = ?",
        )
        .bind(clip(&hello.guest_version, 100))
        .bind(&boot_id)
        .bind(&drift)
        .bind(self.clock.now_ms())
        .bind(&guest.node_id)
        .execute(change.connection())
        .await
        .map_err(doing("note the session of the guest plugin"))?;
        change.commit().await?;
        Ok(self.hub.open(
            &guest.node_id,
            Reachable {
                deployment_id: guest.deployment_id.clone(),
                boot_id,
                sealing_key: hello.sealing_key.clone(),
                outbox,
            },
        ))
    }

    /// Closes a session.
    pub fn detach(&self, seat: &GuestSeat) {
        self.hub.close(seat);
    }

    /// Notes that the system lives; [`GuestError::Gone`] when it is not on its node any more.
    ///
    /// # Errors
    /// When the node is gone or the database does not answer.
    pub async fn seen(&self, seat: &GuestSeat) -> Result<(), GuestError> {
        let updated =
            sqlx::query("UPDATE guests SET last_seen_at = ? WHERE node_id = ? AND deployment_id = ?")
                .bind(self.clock.now_ms())
                .bind(&seat.node_id)
                .bind(&seat.deployment_id)
                .execute(&self.db)
                .await
                .map_err(doing("note that the system lives"))?;
        match updated.rows_affected() {
            0 => Err(GuestError::Gone),
            _ => Ok(()),
        }
    }

    /// Takes an event; one that was taken before is left aside.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn take_event(&self, seat: &GuestSeat, event: &GuestEvent) -> Result<(), DatabaseError> {
        let id = clip(&event.id, 26);
        let mut change = self.events.begin().await?;
        let newer = sqlx::query(
            "UPDATE guests SET last_event_id = ?1 WHERE node_id = ?2 AND deployment_id = ?3 AND last_event_id < ?1",
        )
        .bind(&id)
        .bind(&seat.node_id)
        .bind(&seat.deployment_id)
        .execute(change.connection())
        .await
        .map_err(doing("keep an event of a guest plugin"))?;
        if newer.rows_affected() == 0 {
            return Ok(());
        }
        let kind = format!("guest.{}", kind_of(&event.kind));
        let diff = &event.diff[..event.diff.floor_char_boundary(MAX_DIFF)];
        let happened_at = event
            .at
            .and_then(|at| jiff::Timestamp::new(at.seconds, at.nanos).ok());
        change
            .append(NewEvent {
                kind: &kind,
                node_id: Some(&seat.node_id),
                deployment_id: Some(&seat.deployment_id),
                message: clip(&event.message, 500),
                details: json!({ "diff": diff, "happened_at": happened_at }),
            })
            .await?;
        change.commit().await
    }

    /// Takes the answer to an order. An order of another node is not this one's to answer.
    ///
    /// # Errors
    /// When it cannot be kept.
    pub async fn take_result(
        &self,
        seat: &GuestSeat,
        result: &PasswordResetResult,
    ) -> Result<(), DatabaseError> {
        let reason = clip(&result.refused, 500);
        let state = if reason.is_empty() {
            ResetState::Done
        } else {
            ResetState::Refused
        };
        let mut change = self.events.begin().await?;
        let ended = end_reset(
            &mut change,
            &result.order_id,
            Some(&seat.node_id),
            state,
            &reason,
            self.clock.now_ms(),
        )
        .await?;
        if ended {
            change.commit().await?;
            self.hub.answered(&result.order_id);
        }
        Ok(())
    }
}

/// Words with hyphens and dots, whatever the plugin has sent.
fn kind_of(text: &str) -> String {
    let kind: String = text
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.'))
        .take(MAX_KIND)
        .collect();
    match kind.trim_matches(['-', '.']) {
        "" => "event".to_owned(),
        kind => kind.to_owned(),
    }
}
