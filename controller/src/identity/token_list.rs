//! Tokens are made, listed and revoked.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection, sqlite::SqliteRow};
use ulid::Ulid;
use utoipa::ToSchema;

use super::{
    caller::{Caller, Viewer},
    project_users::member,
    projects::find_project,
    role::{Permission, Role},
    scope::Scope,
    tenant_error::{TenantError, Thing},
    tenants::{Page, Tenants, check_name, clipped, page_limit, page_start},
    token_rules::{Allowed, Asked, Owner, Place, allow},
    tokens::{NewToken, generate, hash},
    users::find_user,
};
use crate::{
    clock::timestamp_from_ms,
    events::{Change, NewEvent, doing},
};

/// How many tokens that work somebody can have, and how many of nobody a project.
const MAX_TOKENS: i64 = 100;

/// A token without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Token {
    /// ULID.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Whose it is; null: nobody's.
    pub user_id: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// The project that it acts for.
    pub project_id: String,
    /// The project's name.
    pub project: String,
    /// At most what it may do there; less, when its user is less by now.
    pub role: Role,
    /// What it is narrowed to; null: all that the role may do.
    pub scopes: Option<Vec<Scope>>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
}

/// A token to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// What it is for; 1 to 64 characters.
    pub name: String,
    /// Id or name of the project that it acts for; left out: the caller's.
    #[serde(default)]
    pub project: Option<String>,
    /// Id or name of its user; left out: the caller.
    #[serde(default)]
    pub user: Option<String>,
    /// A token of no user, for a program. Only admins make them.
    #[serde(default)]
    pub service: bool,
    /// At most the caller's own and that of the user there; left out: as much as that, or reader for a token of no user.
    #[serde(default)]
    pub role: Option<Role>,
    /// What it is narrowed to; left out: as narrow as the caller's.
    #[serde(default)]
    pub scopes: Option<Vec<Scope>>,
    /// Days until it ends; left out: `tokens.default_days` of the configuration.
    #[serde(default)]
    pub expires_in_days: Option<u32>,
}

/// Which tokens to list.
#[derive(Debug, Clone, Default)]
pub struct TokenQuery {
    /// Only those of this user: id or name.
    pub user: Option<String>,
    /// Only those for this project: id or name.
    pub project: Option<String>,
    /// At most this many; 100 when 0, 1,000 at most.
    pub page_size: u32,
    /// `next` of the page before.
    pub page_token: Option<String>,
}

const SELECT: &str = "SELECT t.id, t.name, t.user_id, u.name AS user, t.project_id, p.name AS project, t.role, t.scopes, \
     t.created_at, t.expires_at, t.revoked_at FROM api_tokens t JOIN projects p ON p.id = t.project_id \
     LEFT JOIN users u ON u.id = t.user_id WHERE ";

impl sqlx::FromRow<'_, SqliteRow> for Token {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let time = |column: &str| {
            let at: Option<i64> = row.try_get(column)?;
            Ok::<_, sqlx::Error>(at.map(timestamp_from_ms))
        };
        let role: String = row.try_get("role")?;
        let scopes: Option<String> = row.try_get("scopes")?;
        Ok(Self {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            user_id: row.try_get("user_id")?,
            user: row.try_get("user")?,
            project_id: row.try_get("project_id")?,
            project: row.try_get("project")?,
            role: role
                .parse()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            scopes: scopes
                .map(|text| serde_json::from_str(&text))
                .transpose()
                .map_err(|error| sqlx::Error::Decode(Box::new(error)))?,
            created_at: timestamp_from_ms(row.try_get("created_at")?),
            expires_at: time("expires_at")?,
            revoked_at: time("revoked_at")?,
        })
    }
}

impl Tenants {
    /// Makes a token. Its text is in the answer and nowhere else.
    pub async fn create_token(
        &self,
        by: &Caller,
        request: &TokenRequest,
    ) -> Result<(Token, NewToken), TenantError> {
        check_name(Thing::Token, &request.name)?;
        let mut change = self.events.begin_by(by.author()).await?;
        let place = place(change.connection(), by, request).await?;
        let asked = Asked {
            role: request.role,
            scopes: request.scopes.clone(),
            days: request.expires_in_days,
        };
        let allowed = allow(by, &place, &asked, &self.config)?;
        let owner = place.owner.as_ref().map(|owner| owner.id.as_str());
        self.check_number(&mut change, &place, owner).await?;
        let made = NewToken {
            id: Ulid::generate().to_string(),
            secret: generate(),
        };
        self.keep_token(&mut change, &made, &request.name, &place, &allowed)
            .await?;
        let token = load(change.connection(), &made.id).await?;
        let token = token.ok_or_else(|| doing("read the token")(sqlx::Error::RowNotFound))?;
        change.about_project(&place.project_id);
        change.append(event("token.created", "was made", &token)).await?;
        change.commit().await?;
        Ok((token, made))
    }

    async fn keep_token(
        &self,
        change: &mut Change,
        made: &NewToken,
        name: &str,
        place: &Place,
        allowed: &Allowed,
    ) -> Result<(), TenantError> {
        let now = self.clock.now();
        let life = SignedDuration::from_hours(24 * i64::from(allowed.days));
        sqlx::query(
            "INSERT INTO api_tokens (id, name, token_hash, role, user_id, project_id, scopes, created_at, expires_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&made.id)
        .bind(name)
        .bind(hash(&made.secret))
        .bind(allowed.role.as_str())
        .bind(place.owner.as_ref().map(|owner| &owner.id))
        .bind(&place.project_id)
        .bind(allowed.scopes.as_ref().map(|scopes| json!(scopes).to_string()))
        .bind(now.as_millisecond())
        .bind(now.saturating_add(life).map_or(i64::MAX, Timestamp::as_millisecond))
        .execute(change.connection())
        .await
        .map_err(doing("keep the token"))?;
        Ok(())
    }

    async fn check_number(
        &self,
        change: &mut Change,
        place: &Place,
        owner: Option<&str>,
    ) -> Result<(), TenantError> {
        let number: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM api_tokens WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1) \
             AND CASE WHEN ?2 IS NULL THEN user_id IS NULL AND project_id = ?3 ELSE user_id = ?2 END",
        )
        .bind(self.clock.now_ms())
        .bind(owner)
        .bind(&place.project_id)
        .fetch_one(change.connection())
        .await
        .map_err(doing("count the tokens"))?;
        if number >= MAX_TOKENS {
            let owner = place.owner.as_ref().map(|owner| owner.name.clone());
            return Err(TenantError::TooManyTokens {
                owner: owner.unwrap_or_else(|| format!("the project {}", place.project_name)),
                limit: MAX_TOKENS,
            });
        }
        Ok(())
    }

    /// The token with this id, if the caller may see it.
    pub async fn token(&self, by: &Caller, id: &str) -> Result<Token, TenantError> {
        let mut connection = self.db.acquire().await.map_err(doing("read the token"))?;
        visible(&mut connection, by, id).await
    }

    /// A page of the tokens that the caller may see: his own for this project, an admin's are all.
    pub async fn tokens(&self, by: &Caller, query: &TokenQuery) -> Result<Page<Token>, TenantError> {
        let limit = page_limit(query.page_size);
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
        sql.push("t.id > ")
            .push_bind(page_start(query.page_token.as_deref())?);
        if !by.may(Permission::ManageTenants) {
            sql.push(" AND t.project_id = ").push_bind(&by.project_id);
            match &by.user_id {
                Some(user) => sql.push(" AND t.user_id = ").push_bind(user),
                None => sql.push(" AND t.id = ").push_bind(&by.token_id),
            };
        }
        if let Some(user) = given(&query.user) {
            sql.push(" AND (t.user_id = ")
                .push_bind(user.to_uppercase())
                .push(" OR u.name = ")
                .push_bind(user)
                .push(")");
        }
        if let Some(project) = given(&query.project) {
            sql.push(" AND (p.id = ")
                .push_bind(project.to_uppercase())
                .push(" OR p.name = ")
                .push_bind(project)
                .push(")");
        }
        sql.push(" ORDER BY t.id LIMIT ").push_bind(limit + 1);
        let items = sql
            .build_query_as()
            .fetch_all(&self.db)
            .await
            .map_err(doing("list tokens"))?;
        Ok(Page::cut(items, limit, |token: &Token| &token.id))
    }

    /// Takes a token back; it stops working at once. A second time changes nothing. Whatever its role and scopes, a token
    /// may revoke itself.
    pub async fn revoke_token(&self, by: &Caller, id: &str) -> Result<Token, TenantError> {
        let mut change = self.events.begin_by(by.author()).await?;
        let token = visible(change.connection(), by, id).await?;
        if token.revoked_at.is_some() {
            return Ok(token);
        }
        sqlx::query("UPDATE api_tokens SET revoked_at = ? WHERE id = ?")
            .bind(self.clock.now_ms())
            .bind(&token.id)
            .execute(change.connection())
            .await
            .map_err(doing("revoke the token"))?;
        change.about_project(&token.project_id);
        change
            .append(event("token.revoked", "was revoked", &token))
            .await?;
        let token = load(change.connection(), &token.id).await?.unwrap_or(token);
        self.commit_access(change).await?;
        Ok(token)
    }
}

fn event(kind: &'static str, what: &str, token: &Token) -> NewEvent<'static> {
    let of = token.user.as_ref().map(|user| format!(" of {user}"));
    NewEvent {
        kind,
        node_id: None,
        deployment_id: None,
        message: format!(
            "The token {}{} for the project {} {what}.",
            token.name,
            of.unwrap_or_default(),
            token.project
        ),
        details: json!({
            "token_id": token.id, "name": token.name, "user_id": token.user_id, "project_id": token.project_id,
            "role": token.role, "scopes": token.scopes, "expires_at": token.expires_at,
        }),
    }
}

async fn load(connection: &mut SqliteConnection, id: &str) -> Result<Option<Token>, TenantError> {
    let mut sql = QueryBuilder::<Sqlite>::new(SELECT);
    sql.push("t.id = ").push_bind(id.to_uppercase());
    let found = sql
        .build_query_as()
        .fetch_optional(connection)
        .await
        .map_err(doing("read the token"))?;
    Ok(found)
}

/// What a caller may not see does not exist for him.
async fn visible(connection: &mut SqliteConnection, by: &Caller, id: &str) -> Result<Token, TenantError> {
    let mine = |token: &Token| {
        by.may(Permission::ManageTenants)
            || token.id == by.token_id
            || (token.project_id == by.project_id && by.user_id.is_some() && token.user_id == by.user_id)
    };
    load(connection, id)
        .await?
        .filter(mine)
        .ok_or_else(|| TenantError::NotFound {
            what: Thing::Token,
            wanted: clipped(id),
        })
}

/// Whose the token is to be and where it is to act, as far as the caller may know of it.
async fn place(
    connection: &mut SqliteConnection,
    by: &Caller,
    request: &TokenRequest,
) -> Result<Place, TenantError> {
    let manages = by.may(Permission::ManageTenants);
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let viewer = if manages { Viewer::All } else { by.viewer() };
    let project = given(&request.project).unwrap_or_else(|| by.project_id.clone());
    let project = find_project(connection, &viewer, &project).await?;
    let user = match given(&request.user).or_else(|| by.user_id.clone()) {
        Some(user) if !request.service => user,
        _ => {
            return Ok(Place {
                project_id: project.id,
                project_name: project.name,
                owner: None,
            });
        }
    };
    let own = by.user_id.as_deref() == Some(user.as_str()) || user.eq_ignore_ascii_case(&by.name);
    if !manages && !own {
        return Err(TenantError::Escalation(
            "only an admin makes tokens for other users".to_owned(),
        ));
    }
    let user = find_user(connection, &user).await?;
    if user.disabled_at.is_some() {
        return Err(TenantError::Disabled(user.name));
    }
    let Some(member) = member(connection, &project.id, &user.id).await? else {
        return Err(TenantError::NotInProject {
            user: user.name,
            project: project.name,
        });
    };
    Ok(Place {
        project_id: project.id,
        project_name: project.name,
        owner: Some(Owner {
            id: user.id,
            name: user.name,
            role: member.role,
        }),
    })
}
