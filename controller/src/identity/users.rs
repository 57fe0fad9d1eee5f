//! Users: people and programs that have tokens.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    caller::Caller,
    tenant_error::{TenantError, Thing},
    tenants::{Page, Tenants, check_free, check_name, clipped, page_limit, page_start},
};
use crate::{
    clock::timestamp_from_ms,
    events::{NewEvent, doing},
};

/// Somebody who can have tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct User {
    /// ULID.
    pub id: String,
    /// Unique without regard to case.
    pub name: String,
    /// Since when none of its tokens works; null: they do.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub disabled_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

const SELECT: &str = "SELECT id, name, disabled_at, created_at FROM users ";

impl sqlx::FromRow<'_, SqliteRow> for User {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let disabled: Option<i64> = row.try_get("disabled_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            disabled_at: disabled.map(timestamp_from_ms),
            created_at: timestamp_from_ms(row.try_get("created_at")?),
        })
    }
}

impl Tenants {
    /// The user with this id or name.
    pub async fn user(&self, wanted: &str) -> Result<User, TenantError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the user"))?;
        find_user(&mut connection, wanted).await
    }

    /// A page of all users.
    pub async fn users(&self, page_size: u32, page_token: Option<&str>) -> Result<Page<User>, TenantError> {
        let limit = page_limit(page_size);
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push("WHERE id > ").push_bind(page_start(page_token)?);
        sql.push(" ORDER BY id LIMIT ").push_bind(limit + 1);
        let items = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list users"))?;
        Ok(Page::cut(items, limit, |user: &User| &user.id))
    }

    /// Makes a user, who has no role anywhere yet.
    pub async fn create_user(&self, by: &Caller, name: &str) -> Result<User, TenantError> {
        check_name(Thing::User, name)?;
        let id = Ulid::generate().to_string();
        let mut change = self.events.begin_by(by.author()).await?;
        check_free(change.connection(), Thing::User, name).await?;
        sqlx::query("INSERT INTO users (id, name, created_at) VALUES (?, ?, ?)")
            .bind(&id)
            .bind(name)
            .bind(self.clock.now_ms())
            .execute(change.connection())
            .await
            .map_err(doing("make the user"))?;
        change
            .append(event("user.created", format!("User {name} was made."), &id, name))
            .await?;
        let user = find_user(change.connection(), &id).await?;
        change.commit().await?;
        Ok(user)
    }

    /// From now on no token of the user works. A second time changes nothing.
    pub async fn disable_user(&self, by: &Caller, wanted: &str) -> Result<User, TenantError> {
        self.set_disabled(by, wanted, true).await
    }

    /// The tokens of the user work again.
    pub async fn enable_user(&self, by: &Caller, wanted: &str) -> Result<User, TenantError> {
        self.set_disabled(by, wanted, false).await
    }

    async fn set_disabled(&self, by: &Caller, wanted: &str, disabled: bool) -> Result<User, TenantError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let user = find_user(change.connection(), wanted).await?;
        if user.disabled_at.is_some() == disabled {
            return Ok(user);
        }
        sqlx::query("UPDATE users SET disabled_at = ? WHERE id = ?")
            .bind(disabled.then(|| self.clock.now_ms()))
            .bind(&user.id)
            .execute(change.connection())
            .await
            .map_err(doing("change the user"))?;
        let (kind, what) = if disabled {
            ("user.disabled", "disabled: none of its tokens works")
        } else {
            ("user.enabled", "enabled again")
        };
        let message = format!("User {} was {what}.", user.name);
        change.append(event(kind, message, &user.id, &user.name)).await?;
        let user = find_user(change.connection(), &user.id).await?;
        self.commit_access(change).await?;
        Ok(user)
    }
}

fn event(kind: &'static str, message: String, id: &str, name: &str) -> NewEvent<'static> {
    NewEvent {
        kind,
        node_id: None,
        deployment_id: None,
        message,
        details: json!({ "user_id": id, "name": name }),
    }
}

/// The user with this id or name.
pub(super) async fn find_user(connection: &mut SqliteConnection, wanted: &str) -> Result<User, TenantError> {
    let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
    sql.push("WHERE id = ").push_bind(wanted.to_uppercase());
    sql.push(" OR name = ").push_bind(wanted);
    let found: Option<User> = sql
        .build_query_as()
        .fetch_optional(connection)
        .await
        .map_err(doing("read the user"))?;
    found.ok_or_else(|| TenantError::NotFound {
        what: Thing::User,
        wanted: clipped(wanted),
    })
}
