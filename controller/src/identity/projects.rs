//! Projects: whose things are whose.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    caller::{Caller, PLATFORM, Viewer},
    tenant_error::{TenantError, Thing},
    tenants::{Page, Tenants, check_free, check_name, clipped, page_limit, page_start},
};
use crate::{
    clock::timestamp_from_ms,
    events::{NewEvent, doing},
};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Project {
    /// ULID; 26 zeros for the project `platform`.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// Private images that each of its users may have; null: what the configuration says.
    pub max_images_per_user: Option<u64>,
    /// Bytes that its images may take in the store; null: what the configuration says.
    pub max_stored_bytes: Option<u64>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// What is said of a new project, or changed of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProjectChange {
    /// For people; at most 1,024 characters.
    pub description: Option<String>,
    /// Private images that each of its users may have; 0 goes back to what the configuration says.
    pub max_images_per_user: Option<u64>,
    /// Bytes that its images may take in the store; 0 goes back to what the configuration says.
    pub max_stored_bytes: Option<u64>,
}

const SELECT: &str =
    "SELECT id, name, description, max_images_per_user, max_stored_bytes, created_at FROM projects ";

impl sqlx::FromRow<'_, SqliteRow> for Project {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let count = |column: &str| {
            let value: Option<i64> = row.try_get(column)?;
            Ok::<_, sqlx::Error>(value.and_then(|value| u64::try_from(value).ok()))
        };
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            description: row.try_get("description")?,
            max_images_per_user: count("max_images_per_user")?,
            max_stored_bytes: count("max_stored_bytes")?,
            created_at: timestamp_from_ms(row.try_get("created_at")?),
        })
    }
}

impl Tenants {
    /// The project with this id or name, if the viewer may see it.
    pub async fn project(&self, viewer: &Viewer, wanted: &str) -> Result<Project, TenantError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the project"))?;
        find_project(&mut connection, viewer, wanted).await
    }

    /// A page of the projects that the viewer may see.
    pub async fn projects(
        &self,
        viewer: &Viewer,
        page_size: u32,
        page_token: Option<&str>,
    ) -> Result<Page<Project>, TenantError> {
        let limit = page_limit(page_size);
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push("WHERE id > ").push_bind(page_start(page_token)?);
        if let Some(own) = viewer.project() {
            sql.push(" AND id = ").push_bind(own);
        }
        sql.push(" ORDER BY id LIMIT ").push_bind(limit + 1);
        let items = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list projects"))?;
        Ok(Page::cut(items, limit, |project: &Project| &project.id))
    }

    /// Makes a project.
    pub async fn create_project(
        &self,
        by: &Caller,
        name: &str,
        wanted: &ProjectChange,
    ) -> Result<Project, TenantError> {
        check_name(Thing::Project, name)?;
        let values = Values::of(wanted)?;
        let id = Ulid::generate().to_string();
        let mut change = self.events.begin_by(by.author().in_project(&id)).await?;
        check_free(change.connection(), Thing::Project, name).await?;
        sqlx::query("INSERT INTO projects (id, name, created_at) VALUES (?, ?, ?)")
            .bind(&id)
            .bind(name)
            .bind(self.clock.now_ms())
            .execute(change.connection())
            .await
            .map_err(doing("make the project"))?;
        values.keep(change.connection(), &id).await?;
        change
            .append(NewEvent {
                kind: "project.created",
                node_id: None,
                deployment_id: None,
                message: format!("Project {name} was made."),
                details: json!({ "project_id": id, "name": name }),
            })
            .await?;
        let project = find_project(change.connection(), &Viewer::All, &id).await?;
        change.commit().await?;
        Ok(project)
    }

    /// Changes what is said of a project; what is left out stays.
    pub async fn update_project(
        &self,
        by: &Caller,
        wanted: &str,
        new: &ProjectChange,
    ) -> Result<Project, TenantError> {
        let values = Values::of(new)?;
        let project = self.project(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author().in_project(&project.id)).await?;
        values.keep(change.connection(), &project.id).await?;
        change
            .append(NewEvent {
                kind: "project.updated",
                node_id: None,
                deployment_id: None,
                message: format!("Project {} was changed.", project.name),
                details: json!({
                    "project_id": project.id, "description": new.description,
                    "max_images_per_user": new.max_images_per_user, "max_stored_bytes": new.max_stored_bytes,
                }),
            })
            .await?;
        let project = find_project(change.connection(), &Viewer::All, &project.id).await?;
        change.commit().await?;
        Ok(project)
    }

    /// Deletes a project that has nothing any more, with its tokens and its users' roles in it.
    pub async fn delete_project(&self, by: &Caller, wanted: &str) -> Result<Project, TenantError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let project = find_project(change.connection(), &by.viewer(), wanted).await?;
        if project.id == PLATFORM {
            return Err(TenantError::Platform);
        }
        let uses = uses(change.connection(), &project.id).await?;
        if !uses.is_empty() {
            return Err(TenantError::InUse {
                name: project.name,
                uses,
            });
        }
        // What is left are records of what is over. Records of usage stay: they are bills.
        for statement in [
            "DELETE FROM jobs WHERE project_id = ?",
            "DELETE FROM images WHERE project_id = ?",
            "DELETE FROM chunks WHERE project_id = ?",
            "DELETE FROM api_tokens WHERE project_id = ?",
            "DELETE FROM projects WHERE id = ?",
        ] {
            sqlx::query(statement)
                .bind(&project.id)
                .execute(change.connection())
                .await
                .map_err(doing("delete the project"))?;
        }
        change
            .append(NewEvent {
                kind: "project.deleted",
                node_id: None,
                deployment_id: None,
                message: format!("Project {} was deleted.", project.name),
                details: json!({ "project_id": project.id, "name": project.name }),
            })
            .await?;
        self.commit_access(change).await?;
        Ok(project)
    }
}

/// The project with this id or name, if the viewer may see it; what he may not see does not exist for him.
pub(super) async fn find_project(
    connection: &mut SqliteConnection,
    viewer: &Viewer,
    wanted: &str,
) -> Result<Project, TenantError> {
    let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
    sql.push("WHERE id = ").push_bind(wanted.to_uppercase());
    sql.push(" OR name = ").push_bind(wanted);
    let found: Option<Project> = sql
        .build_query_as()
        .fetch_optional(connection)
        .await
        .map_err(doing("read the project"))?;
    found
        .filter(|project| viewer.sees(&project.id))
        .ok_or_else(|| TenantError::NotFound {
            what: Thing::Project,
            wanted: clipped(wanted),
        })
}

/// What keeps a project from being deleted, in words.
async fn uses(connection: &mut SqliteConnection, project_id: &str) -> Result<Vec<String>, TenantError> {
    const SHOWN: usize = 5;
    let mut uses = Vec::new();
    for (what, sql) in [
        (
            "images",
            "SELECT name FROM images WHERE project_id = ? AND state <> 'deleted' ORDER BY name LIMIT 100",
        ),
        (
            "nodes",
            "SELECT name FROM nodes WHERE project_id = ? ORDER BY name LIMIT 100",
        ),
        (
            "volumes",
            "SELECT name FROM volumes WHERE project_id = ? ORDER BY name LIMIT 100",
        ),
        (
            "running jobs",
            "SELECT kind || ' ' || id FROM jobs WHERE project_id = ? AND state IN ('queued', 'running') \
             ORDER BY id LIMIT 100",
        ),
        (
            "unfinished uploads",
            "SELECT id FROM uploads WHERE project_id = ? ORDER BY id LIMIT 100",
        ),
    ] {
        let names: Vec<String> = sqlx::query_scalar(sql)
            .bind(project_id)
            .fetch_all(&mut *connection)
            .await
            .map_err(doing("look for what the project has"))?;
        if names.is_empty() {
            continue;
        }
        let rest = if names.len() > SHOWN { ", …" } else { "" };
        let shown = names[..names.len().min(SHOWN)].join(", ");
        let many = if names.len() == 100 { "at least " } else { "" };
        uses.push(format!("{what}: {many}{} ({shown}{rest})", names.len()));
    }
    Ok(uses)
}

/// What is written of a change, checked.
struct Values {
    description: Option<String>,
    max_images: Option<Option<i64>>,
    max_bytes: Option<Option<i64>>,
}

impl Values {
    fn of(change: &ProjectChange) -> Result<Self, TenantError> {
        let length = change.description.as_ref().map_or(0, |text| text.chars().count());
        if length > 1024 {
            return Err(TenantError::LongDescription(length));
        }
        let limit = |given: Option<u64>| {
            let one = |value: u64| match value {
                0 => Ok(None),
                value => i64::try_from(value)
                    .map(Some)
                    .map_err(|_| TenantError::LargeLimit),
            };
            given.map(one).transpose()
        };
        Ok(Self {
            description: change.description.clone(),
            max_images: limit(change.max_images_per_user)?,
            max_bytes: limit(change.max_stored_bytes)?,
        })
    }

    async fn keep(&self, connection: &mut SqliteConnection, id: &str) -> Result<(), TenantError> {
        sqlx::query(
            "UPDATE projects SET description = COALESCE(?, description), \
             max_images_per_user = CASE WHEN ? THEN ? ELSE max_images_per_user END, \
             max_stored_bytes = CASE WHEN ? THEN ? ELSE max_stored_bytes END WHERE id = ?",
        )
        .bind(&self.description)
        .bind(self.max_images.is_some())
        .bind(self.max_images.flatten())
        .bind(self.max_bytes.is_some())
        .bind(self.max_bytes.flatten())
        .bind(id)
        .execute(connection)
        .await
        .map_err(doing("change the project"))?;
        Ok(())
    }
}
