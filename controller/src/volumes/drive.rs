//! The task that has cards do what volumes need, until the controller ends. All it knows is in the database, and everything
//! may be asked of a card twice: after a restart it goes on where it was, and looks at what the cards show.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, stream};
use serde::Serialize;
use sqlx::{QueryBuilder, Sqlite};
use tokio::{task::JoinSet, time::Instant};
use utoipa::ToSchema;

use super::{
    BackendKind, OpiCard, Presented, ProviderError, Seat, VolumeError, VolumeProvider as _, VolumeRecord,
    VolumeState, Volumes,
    claim::Claim,
    decide::{Answer, Decision, Reason, Wish, decide, wish},
    provider::{card_id, volume_id},
    record::{Attachment, SELECT},
    table::load,
};
use crate::{api::rest::problem::chain, app::App, events::doing, identity::Viewer};

/// How often it is looked whether something is to be done.
const TICK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// How often cards are asked what they show.
const LOOK: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
/// How often it is looked whether bases are needed.
const CLEAR: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 3600 });
/// Cards that are looked at, or asked for a list, at a time.
const CARDS_AT_A_TIME: usize = 8;

/// Something on a card that no volume of the books stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Orphan {
    /// The server.
    pub node_id: String,
    /// Its name.
    pub node: String,
    /// What the card calls it.
    pub name: String,
    /// The volume that it was made for; null: somebody else has made it.
    pub volume_id: Option<String>,
}

/// Something that the back-end has, and that no volume of the books stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct StoredOrphan {
    /// Which back-end.
    pub backend: BackendKind,
    /// Its name there: for `files` that of a file in the folder `exports`.
    pub name: String,
    /// The volume that it was made for; null: somebody else has made it.
    pub volume_id: Option<String>,
}

/// What cards and the back-end have that nobody knows of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Orphans {
    /// The orphans.
    pub items: Vec<Orphan>,
    /// What the back-end has. It is safe to delete when nobody needs its bytes.
    pub stored: Vec<StoredOrphan>,
    /// Cards that could not be asked, each as "NODE: why".
    pub unanswered: Vec<String>,
}

/// Drives volumes until the controller ends.
pub async fn run(app: App) {
    let mut working = JoinSet::new();
    // One round at a time: cards that are silent take their time.
    let mut round = JoinSet::new();
    let mut looked: Option<Instant> = None;
    let mut cleared: Option<Instant> = None;
    loop {
        match app.volumes.in_states(&["attaching", "detaching"]).await {
            Ok(moving) => {
                for record in moving {
                    if let Some(claim) = Claim::of(&app.volumes.busy, &record.id) {
                        let volumes = app.volumes.clone();
                        working.spawn(async move {
                            volumes.advance_claimed(&record.id, None).await;
                            drop(claim);
                        });
                    }
                }
            }
            Err(error) => tracing::error!(error = %chain(&error), "volumes cannot be looked for"),
        }
        match app.volumes.unfinished().await {
            Ok(unfinished) => {
                for record in unfinished {
                    if let Some(claim) = Claim::of(&app.volumes.busy, &record.id) {
                        let volumes = app.volumes.clone();
                        working.spawn(async move {
                            volumes.finish(&record.id).await;
                            drop(claim);
                        });
                    }
                }
            }
            Err(error) => tracing::error!(error = %chain(&error), "volumes cannot be looked for"),
        }
        if cleared.is_none_or(|at| at.elapsed() >= CLEAR) {
            cleared = Some(Instant::now());
            let volumes = app.volumes.clone();
            working.spawn(async move { volumes.clear_bases().await });
        }
        while working.try_join_next().is_some() {}
        while round.try_join_next().is_some() {}
        if round.is_empty() && looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            let volumes = app.volumes.clone();
            round.spawn(async move { volumes.look_around().await });
        }
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => return,
            () = app.volumes.bell.notified() => {}
            () = tokio::time::sleep(TICK) => {}
        }
    }
}

impl Volumes {
    async fn in_states(&self, states: &[&str]) -> Result<Vec<VolumeRecord>, VolumeError> {
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        // What a node on hold has is left to whoever restored the backup.
        sql.push(
            "WHERE kind IS NOT NULL AND NOT EXISTS (SELECT 1 FROM node_holds AS h WHERE h.node_id = volumes.node_id) AND state IN (",
        );
        let mut words = sql.separated(", ");
        for state in states {
            words.push_bind(*state);
        }
        sql.push(") ORDER BY id");
        let found = sql.build_query_as().fetch_all(&self.db).await;
        Ok(found.map_err(doing("look for volumes"))?)
    }

    /// Asks the cards of all attached volumes whether they show them.
    async fn look_around(&self) {
        let attached = match self.in_states(&["attached"]).await {
            Ok(attached) => attached,
            Err(error) => {
                tracing::error!(error = %chain(&error), "attached volumes cannot be looked for");
                return;
            }
        };
        let mut by_node: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in attached {
            if let Some(there) = record.attachment {
                by_node.entry(there.node_id).or_default().push(record.id);
            }
        }
        let cards = stream::iter(by_node.into_values());
        let look = |ids: Vec<String>| async move {
            // A card that has been silent for one volume isn't waited for again: the others are told the same.
            let mut silent = None;
            for id in ids {
                if let Some(claim) = Claim::of(&self.busy, &id) {
                    let answer = self.advance_claimed(&id, silent.as_ref()).await;
                    silent = answer.filter(Answer::is_silence);
                    drop(claim);
                }
            }
        };
        cards.for_each_concurrent(CARDS_AT_A_TIME, look).await;
    }

    /// [`advance`](Self::advance) of what the volume is now, for who has the claim to it; what the card has answered.
    async fn advance_claimed(&self, id: &str, known: Option<&Answer>) -> Option<Answer> {
        let advanced = match self.find(&Viewer::All, id).await {
            Ok(record) => self.advance(record, known).await,
            Err(VolumeError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        };
        advanced.unwrap_or_else(|error| {
            tracing::error!(volume.id = id, error = %chain(&error), "a volume does not go on");
            None
        })
    }

    /// Asks the card, unless its answer is known, decides, and writes it down.
    pub(super) async fn advance(
        &self,
        record: VolumeRecord,
        known: Option<&Answer>,
    ) -> Result<Option<Answer>, VolumeError> {
        let (Some(wish), Some(attachment)) = (wish(record.state), record.attachment.clone()) else {
            return Ok(None);
        };
        let Some(seat) = attachment.seat() else {
            return Ok(None);
        };
        let answer = match known {
            Some(answer) if wish == Wish::Look => answer.clone(),
            _ => self.ask(wish, &record, &attachment.node_id, &seat).await?,
        };
        let late = record
            .deadline
            .is_some_and(|deadline| self.clock.now() >= deadline);
        match decide(record.state, &answer, late) {
            Decision::Stay(reason) => self.explain(&record, &reason).await?,
            Decision::Go(state, reason) => {
                let kept = match (state, &answer) {
                    (VolumeState::Available, _) => None,
                    (_, Answer::Shown(name)) => Some(Attachment {
                        card_name: name.clone(),
                        ..attachment
                    }),
                    _ => Some(attachment),
                };
                let mut change = self.events.begin().await?;
                change.about_project(&record.project_id);
                // Deleted or changed in the meantime: the next look decides anew.
                match load(change.connection(), &record.id).await {
                    Ok(now) if now.version == record.version => {
                        self.go(&mut change, &record, state, &reason, kept.as_ref())
                            .await?;
                        change.commit().await?;
                    }
                    Ok(_) | Err(VolumeError::NotFound(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(Some(answer))
    }

    async fn ask(
        &self,
        wish: Wish,
        record: &VolumeRecord,
        node_id: &str,
        seat: &Seat,
    ) -> Result<Answer, VolumeError> {
        let Some(address) = self.card_of(node_id).await? else {
            return Ok(Answer::Failed {
                why: "the controller does not know the server's card any more".to_owned(),
                remedy: "Say where the card is (PUT /v1/nodes/{node}/card), then try again.".to_owned(),
                passing: true,
            });
        };
        let card = match OpiCard::at(&address) {
            Ok(card) => card,
            Err(error) => return Ok(error.into()),
        };
        let answered = match wish {
            Wish::Show => {
                let shown = card.attach(&record.volume(), seat).await;
                shown.map(|disk| Answer::Shown(disk.name))
            }
            Wish::Hide => card.detach(&record.id).await.map(|()| Answer::Hidden),
            Wish::Look => card.status(&record.id).await.map(Answer::Seen),
        };
        Ok(answered.unwrap_or_else(Answer::from))
    }

    /// Keeps why a volume is still where it is. No event: it is the same state.
    async fn explain(&self, record: &VolumeRecord, reason: &Reason) -> Result<(), VolumeError> {
        if (&record.why, &record.remedy) == (&reason.why, &reason.remedy) {
            return Ok(());
        }
        sqlx::query("UPDATE volumes SET why = ?, remedy = ? WHERE id = ? AND version = ?")
            .bind(&reason.why)
            .bind(&reason.remedy)
            .bind(&record.id)
            .bind(record.version)
            .execute(&self.db)
            .await
            .map_err(doing("keep the reason of the volume"))?;
        Ok(())
    }

    /// Asks all cards and the back-end what they have, and names what no volume stands for.
    pub async fn orphans(&self) -> Result<Orphans, VolumeError> {
        let cards: Vec<(String, String, String)> =
            sqlx::query_as("SELECT id, name, card FROM nodes WHERE card IS NOT NULL ORDER BY id")
                .fetch_all(&self.db)
                .await
                .map_err(doing("list cards"))?;
        let asked: Vec<_> = cards
            .into_iter()
            .map(|(id, name, address)| list_of_card(id, name, address).boxed())
            .collect();
        let answers: Vec<_> = stream::iter(asked).buffered(CARDS_AT_A_TIME).collect().await;
        let mut orphans = Orphans {
            stored: self.stored_orphans().await?,
            ..Orphans::default()
        };
        for (node_id, node, listed) in answers {
            let listed = match listed {
                Ok(listed) => listed,
                Err(error) => {
                    orphans.unanswered.push(format!("{node}: {error}"));
                    continue;
                }
            };
            for presented in listed {
                let known = match &presented.volume_id {
                    Some(id) => match self.find(&Viewer::All, id).await {
                        Ok(record) => record.attachment.is_some_and(|there| there.node_id == node_id),
                        Err(VolumeError::NotFound(_)) => false,
                        Err(error) => return Err(error),
                    },
                    None => false,
                };
                if !known {
                    orphans.items.push(Orphan {
                        node_id: node_id.clone(),
                        node: node.clone(),
                        name: presented.name,
                        volume_id: presented.volume_id,
                    });
                }
            }
        }
        Ok(orphans)
    }

    async fn stored_orphans(&self) -> Result<Vec<StoredOrphan>, VolumeError> {
        let Some(backend) = self.backend.as_deref() else {
            return Ok(Vec::new());
        };
        // The books are read later: a volume is in them before the back-end makes it.
        let stored = backend.list().await?;
        let known: Vec<String> = sqlx::query_scalar("SELECT id FROM volumes WHERE backend = ?")
            .bind(backend.kind().as_str())
            .fetch_all(&self.db)
            .await
            .map_err(doing("look for volumes of the back-end"))?;
        let known: HashSet<String> = known.iter().map(|id| card_id(id)).collect();
        let unknown = stored.into_iter().filter(|name| !known.contains(name));
        Ok(unknown
            .map(|name| StoredOrphan {
                backend: backend.kind(),
                volume_id: volume_id(&name),
                name,
            })
            .collect())
    }
}

/// What the card of a node presents, with the node.
async fn list_of_card(
    id: String,
    name: String,
    address: String,
) -> (String, String, Result<Vec<Presented>, ProviderError>) {
    let listed = match OpiCard::at(&address) {
        Ok(card) => card.list().await,
        Err(error) => Err(error),
    };
    (id, name, listed)
}
