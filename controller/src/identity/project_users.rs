//! Which user has which role in which project.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use utoipa::ToSchema;

use super::{
    caller::{Caller, Viewer},
    projects::find_project,
    role::Role,
    tenant_error::TenantError,
    tenants::Tenants,
    users::find_user,
};
use crate::{
    clock::timestamp_from_ms,
    events::{NewEvent, doing},
};

/// A user of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProjectUser {
    /// The user.
    pub user_id: String,
    /// Its name.
    pub name: String,
    /// What it is in the project.
    pub role: Role,
    /// Since when none of its tokens works; null: they do.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub disabled_at: Option<Timestamp>,
    /// Since when it has a role there.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT u.id AS user_id, u.name, u.disabled_at, p.role, p.created_at \
     FROM project_users p JOIN users u ON u.id = p.user_id \
     WHERE p.project_id = ?1 AND (?2 IS NULL OR p.user_id = ?2) ORDER BY u.name";

impl sqlx::FromRow<'_, SqliteRow> for ProjectUser {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let disabled: Option<i64> = row.try_get("disabled_at")?;
        let role: String = row.try_get("role")?;
        Ok(Self {
            user_id: row.try_get("user_id")?,
            name: row.try_get("name")?,
            role: role
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            disabled_at: disabled.map(timestamp_from_ms),
            created_at: timestamp_from_ms(row.try_get("created_at")?),
        })
    }
}

impl Tenants {
    /// The users of a project that the viewer may see, by name.
    pub async fn project_users(
        &self,
        viewer: &Viewer,
        project: &str,
    ) -> Result<Vec<ProjectUser>, TenantError> {
        let mut connection = self.db.acquire().await.map_err(doing("list the users"))?;
        let project = find_project(&mut connection, viewer, project).await?;
        let users = sqlx::query_as(SELECT)
            .bind(&project.id)
            .bind(None::<&str>)
            .fetch_all(&mut *connection)
            .await
            .map_err(doing("list the users of the project"))?;
        Ok(users)
    }

    /// Gives a user a role in a project, in the place of the one it had.
    pub async fn grant(
        &self,
        by: &Caller,
        project: &str,
        user: &str,
        role: Role,
    ) -> Result<ProjectUser, TenantError> {
        let project = self.project(&by.viewer(), project).await?;
        if !role.exists_in(&project.id) {
            return Err(TenantError::RoleElsewhere {
                role,
                project: project.name,
            });
        }
        let mut change = self.events.begin_by(by.author().in_project(&project.id)).await?;
        let user = find_user(change.connection(), user).await?;
        // The project may have gone since it was read.
        let project = find_project(change.connection(), &Viewer::All, &project.id).await?;
        sqlx::query(
            "INSERT INTO project_users (project_id, user_id, role, created_at) VALUES (?, ?, ?, ?) \
             ON CONFLICT (project_id, user_id) DO UPDATE SET role = excluded.role",
        )
        .bind(&project.id)
        .bind(&user.id)
        .bind(role.as_str())
        .bind(self.clock.now_ms())
        .execute(change.connection())
        .await
        .map_err(doing("give the role"))?;
        change
            .append(NewEvent {
                kind: "project.role-granted",
                node_id: None,
                deployment_id: None,
                message: format!("User {} is {role} in the project {}.", user.name, project.name),
                details: json!({ "project_id": project.id, "user_id": user.id, "role": role }),
            })
            .await?;
        let granted = member(change.connection(), &project.id, &user.id).await?;
        let granted = granted.ok_or_else(|| doing("read the role")(sqlx::Error::RowNotFound))?;
        self.commit_access(change).await?;
        Ok(granted)
    }

    /// Takes a user out of a project. Its tokens for the project stop working at once.
    pub async fn withdraw(&self, by: &Caller, project: &str, user: &str) -> Result<ProjectUser, TenantError> {
        let project = self.project(&by.viewer(), project).await?;
        let mut change = self.events.begin_by(by.author().in_project(&project.id)).await?;
        let user = find_user(change.connection(), user).await?;
        let Some(former) = member(change.connection(), &project.id, &user.id).await? else {
            return Err(TenantError::NotInProject {
                user: user.name,
                project: project.name,
            });
        };
        sqlx::query("DELETE FROM project_users WHERE project_id = ? AND user_id = ?")
            .bind(&project.id)
            .bind(&user.id)
            .execute(change.connection())
            .await
            .map_err(doing("withdraw the role"))?;
        change
            .append(NewEvent {
                kind: "project.role-withdrawn",
                node_id: None,
                deployment_id: None,
                message: format!(
                    "User {} is no longer {} in the project {}.",
                    user.name, former.role, project.name
                ),
                details: json!({ "project_id": project.id, "user_id": user.id, "role": former.role }),
            })
            .await?;
        self.commit_access(change).await?;
        Ok(former)
    }
}

/// What the user is in the project, if anything.
pub(super) async fn member(
    connection: &mut SqliteConnection,
    project_id: &str,
    user_id: &str,
) -> Result<Option<ProjectUser>, TenantError> {
    let found = sqlx::query_as(SELECT)
        .bind(project_id)
        .bind(user_id)
        .fetch_optional(connection)
        .await
        .map_err(doing("read the role of the user"))?;
    Ok(found)
}
