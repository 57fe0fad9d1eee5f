//! Images that are shared with other projects. The owner invites, the other project accepts or rejects; from then on it
//! uses the image like its own. The owner takes it back at any time: what runs goes on, nothing new begins.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    Catalog, CatalogError, Image, ImageKind, Source, Visibility,
    parties::{known, owned, party},
    terms::TermsError,
    transitions::tell_with,
};
use crate::{clock::timestamp_from_ms, events::NewEvent, identity::Caller, words::words};

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

words! {
    /// What a project has answered to an invitation.
    MemberState, "state of members", {
        /// Nothing yet.
        Pending => "pending",
        /// It uses the image.
        Accepted => "accepted",
        /// It does not want it.
        Rejected => "rejected",
    }
}

/// A project that an image is shared with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Member {
    /// The image.
    pub image_id: String,
    /// The project.
    pub project_id: String,
    /// Its name.
    pub project: String,
    /// What it has answered.
    pub state: MemberState,
    /// When it was invited.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it answered.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// An image that somebody shares with the caller's project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Invitation {
    /// The image.
    pub image_id: String,
    /// Its name.
    pub image_name: String,
    /// What it is for.
    pub description: String,
    /// What it holds.
    pub kind: ImageKind,
    /// "debian"; empty when it is not known.
    pub os_distribution: String,
    /// "12"; empty when it is not known.
    pub os_version: String,
    /// Size of all disks.
    pub disk_size_bytes: u64,
    /// The project that owns it.
    pub owner_id: String,
    /// Its name.
    pub owner: String,
    /// What the caller's project has answered.
    pub state: MemberState,
    /// When it was invited.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A part of the list of invitations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationPage {
    /// By image.
    pub items: Vec<Invitation>,
    /// Asks for the next page; `None` on the last one.
    pub next_page_token: Option<String>,
}

/// Why an image is not shared, if it is not.
pub(super) fn refusal(image: &Image, region: &str) -> Option<TermsError> {
    let name = image.name.clone();
    match image.visibility {
        Visibility::Public => return Some(TermsError::Public { name }),
        Visibility::Community | Visibility::Marketplace => {
            return Some(TermsError::Published {
                name,
                visibility: image.visibility,
            });
        }
        Visibility::Private | Visibility::Shared => {}
    }
    if image.region != region {
        Some(TermsError::OtherRegion {
            name,
            theirs: image.region.clone(),
            ours: region.to_owned(),
        })
    } else if image.encrypted || image.disks.iter().any(|disk| disk.encrypted) {
        Some(TermsError::Encrypted { name })
    } else if image.kind == ImageKind::FullMachine && image.source != Source::BackupVault {
        Some(TermsError::NotFromBackup {
            name,
            source_word: image.source,
        })
    } else {
        None
    }
}

impl Catalog {
    /// Offers an image to projects: to all of them, or to none. Who has it already keeps it; who has rejected it is asked
    /// again.
    pub async fn invite(
        &self,
        by: &Caller,
        image: &str,
        projects: &[String],
    ) -> Result<Vec<Member>, TermsError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = owned(change.connection(), by, image).await?;
        if let Some(refusal) = refusal(&image, &self.region) {
            return Err(refusal);
        }
        let known = members_of(change.connection(), &image.id).await?;
        let mut asked = Vec::new();
        for wanted in projects {
            let party = party(change.connection(), by, wanted).await?;
            if party.id == image.project_id {
                return Err(TermsError::Owner {
                    name: image.name,
                    project: party.name,
                });
            }
            let has_it = known
                .iter()
                .any(|member| member.project_id == party.id && member.state != MemberState::Rejected);
            if !has_it && !asked.contains(&party) {
                asked.push(party);
            }
        }
        let new = asked
            .iter()
            .filter(|party| known.iter().all(|member| member.project_id != party.id))
            .count();
        if known.len() + new > self.max_members {
            return Err(TermsError::TooManyMembers {
                name: image.name,
                have: known.len(),
                asked: new,
                limit: self.max_members,
            });
        }
        let now = self.clock.now_ms();
        for party in &asked {
            sqlx::query(
                "INSERT INTO image_members (image_id, project_id, state, created_at, updated_at)
                 VALUES (?1, ?2, 'pending', ?3, ?3)
                 ON CONFLICT (image_id, project_id) DO UPDATE SET state = 'pending', updated_at = ?3",
            )
            .bind(&image.id)
            .bind(&party.id)
            .bind(now)
            .execute(change.connection())
            .await?;
            let message = format!("Image {} was offered to the project {}.", image.name, party.name);
            let details = json!({ "member": party.id });
            tell_with(
                &mut change,
                "image.member-invited",
                &by.name,
                &image,
                message,
                details,
            )
            .await?;
        }
        adapt_visibility(change.connection(), &image.id, now).await?;
        let members = members_of(change.connection(), &image.id).await?;
        change.commit().await?;
        Ok(members)
    }

    /// The projects that an image is shared with: all for its owner, and for others what concerns them.
    pub async fn members(&self, by: &Caller, image: &str) -> Result<Vec<Member>, TermsError> {
        let mut connection = self.db.acquire().await?;
        let image = known(&mut connection, by, image).await?;
        let mut members = members_of(&mut connection, &image.id).await?;
        if !by.viewer().sees(&image.project_id) {
            members.retain(|member| member.project_id == by.project_id);
        }
        Ok(members)
    }

    /// One project that an image is shared with.
    pub async fn member(&self, by: &Caller, image: &str, project: &str) -> Result<Member, TermsError> {
        let mut connection = self.db.acquire().await?;
        let image = known(&mut connection, by, image).await?;
        let party = party(&mut connection, by, project).await?;
        let seen = by.viewer().sees(&image.project_id) || party.id == by.project_id;
        let members = members_of(&mut connection, &image.id).await?;
        members
            .into_iter()
            .find(|member| seen && member.project_id == party.id)
            .ok_or(TermsError::NoMember {
                name: image.name,
                project: party.name,
            })
    }

    /// The answer of the invited project, which may change its mind later.
    pub async fn answer_invitation(
        &self,
        by: &Caller,
        image: &str,
        project: &str,
        answer: MemberState,
    ) -> Result<Member, TermsError> {
        if answer == MemberState::Pending {
            return Err(TermsError::NoAnswer);
        }
        let mut change = self.events.begin_by(by.author()).await?;
        let image = known(change.connection(), by, image).await?;
        let party = party(change.connection(), by, project).await?;
        if !by.may_change(&party.id) {
            return Err(TermsError::NotInvited { project: party.name });
        }
        let now = self.clock.now_ms();
        let members = members_of(change.connection(), &image.id).await?;
        let Some(mut member) = members.into_iter().find(|member| member.project_id == party.id) else {
            return Err(TermsError::NoMember {
                name: image.name,
                project: party.name,
            });
        };
        if member.state == answer {
            return Ok(member);
        }
        sqlx::query(
            "UPDATE image_members SET state = ?, updated_at = ? WHERE image_id = ? AND project_id = ?",
        )
        .bind(answer.as_str())
        .bind(now)
        .bind(&image.id)
        .bind(&party.id)
        .execute(change.connection())
        .await?;
        let kind = match answer {
            MemberState::Accepted => "image.member-accepted",
            _ => "image.member-rejected",
        };
        // Both sides read it in their events.
        let message = format!("The project {} has {answer} image {}.", party.name, image.name);
        let details = json!({ "member": party.id, "image_id": image.id, "by": by.name });
        change.about_project(&party.id);
        change
            .append(NewEvent {
                kind,
                node_id: None,
                deployment_id: None,
                message: message.clone(),
                details: details.clone(),
            })
            .await?;
        tell_with(&mut change, kind, &by.name, &image, message, details).await?;
        change.commit().await?;
        member.state = answer;
        member.updated_at = timestamp_from_ms(now);
        Ok(member)
    }

    /// Stops sharing an image with a project, at once and without asking it. Deployments that run go on.
    pub async fn remove_member(&self, by: &Caller, image: &str, project: &str) -> Result<Member, TermsError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let image = owned(change.connection(), by, image).await?;
        let party = party(change.connection(), by, project).await?;
        let members = members_of(change.connection(), &image.id).await?;
        let Some(member) = members.into_iter().find(|member| member.project_id == party.id) else {
            return Err(TermsError::NoMember {
                name: image.name,
                project: party.name,
            });
        };
        sqlx::query("DELETE FROM image_members WHERE image_id = ? AND project_id = ?")
            .bind(&image.id)
            .bind(&party.id)
            .execute(change.connection())
            .await?;
        adapt_visibility(change.connection(), &image.id, self.clock.now_ms()).await?;
        let message = format!(
            "Image {} is no longer shared with the project {}.",
            image.name, party.name
        );
        let details = json!({ "member": party.id, "state": member.state });
        tell_with(
            &mut change,
            "image.member-removed",
            &by.name,
            &image,
            message,
            details,
        )
        .await?;
        change.commit().await?;
        Ok(member)
    }

    /// A page of the images that others share with the caller's project, answered or not.
    pub async fn invitations(
        &self,
        by: &Caller,
        state: Option<MemberState>,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<InvitationPage, TermsError> {
        let size = match page_size {
            0 => DEFAULT_PAGE,
            size => size.min(MAX_PAGE),
        };
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT i.*, m.state AS answer, m.created_at AS invited_at, p.name AS owner FROM image_members AS m
                 JOIN images AS i ON i.id = m.image_id JOIN projects AS p ON p.id = i.project_id
                 WHERE i.visibility = 'shared' AND i.state <> 'deleted' AND m.project_id = ",
        );
        sql.push_bind(by.project_id.clone());
        if let Some(state) = state {
            sql.push(" AND m.state = ").push_bind(state.as_str());
        }
        if let Some(token) = page_token.filter(|token| !token.is_empty()) {
            let after: Ulid = token.parse().map_err(|_| CatalogError::BadPageToken)?;
            sql.push(" AND i.id > ").push_bind(after.to_string());
        }
        sql.push(" ORDER BY i.id LIMIT ").push_bind(i64::from(size) + 1);
        let mut rows = sql.build().fetch_all(&self.db).await?;
        let more = rows.len() > size as usize;
        rows.truncate(size as usize);
        let items = rows.iter().map(invitation).collect::<Result<Vec<_>, _>>()?;
        let last = items.last().filter(|_| more);
        Ok(InvitationPage {
            next_page_token: last.map(|last| last.image_id.clone()),
            items,
        })
    }
}

/// Shared with the first project, private again with the last one gone.
async fn adapt_visibility(
    connection: &mut SqliteConnection,
    image_id: &str,
    now: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "UPDATE images SET updated_at = ?2, row_version = row_version + 1, visibility =
             CASE visibility WHEN 'private' THEN 'shared' ELSE 'private' END
         WHERE id = ?1 AND visibility =
             CASE WHEN EXISTS (SELECT 1 FROM image_members WHERE image_id = ?1) THEN 'private' ELSE 'shared' END",
    )
    .bind(image_id)
    .bind(now)
    .execute(connection)
    .await
    .map(drop)
}

async fn members_of(connection: &mut SqliteConnection, image_id: &str) -> Result<Vec<Member>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT m.*, p.name AS project FROM image_members AS m JOIN projects AS p ON p.id = m.project_id
             WHERE m.image_id = ? ORDER BY p.name",
    )
    .bind(image_id)
    .fetch_all(connection)
    .await?;
    rows.iter().map(member).collect()
}

fn word<T: std::str::FromStr<Err = crate::words::UnknownWord>>(
    row: &SqliteRow,
    column: &str,
) -> Result<T, sqlx::Error> {
    let word: String = row.try_get(column)?;
    word.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn member(row: &SqliteRow) -> Result<Member, sqlx::Error> {
    Ok(Member {
        image_id: row.try_get("image_id")?,
        project_id: row.try_get("project_id")?,
        project: row.try_get("project")?,
        state: word(row, "state")?,
        created_at: timestamp_from_ms(row.try_get("created_at")?),
        updated_at: timestamp_from_ms(row.try_get("updated_at")?),
    })
}

fn invitation(row: &SqliteRow) -> Result<Invitation, sqlx::Error> {
    Ok(Invitation {
        image_id: row.try_get("id")?,
        image_name: row.try_get("name")?,
        description: row.try_get("description")?,
        kind: word(row, "kind")?,
        os_distribution: row.try_get("os_distribution")?,
        os_version: row.try_get("os_version")?,
        disk_size_bytes: u64::try_from(row.try_get::<i64, _>("disk_size_bytes")?).unwrap_or(0),
        owner_id: row.try_get("project_id")?,
        owner: row.try_get("owner")?,
        state: word(row, "answer")?,
        created_at: timestamp_from_ms(row.try_get("invited_at")?),
    })
}
