//! What a token is good for, told to whoever has it.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    caller::Caller,
    caller::Viewer,
    role::{Permission, Role},
    scope::Scope,
    tenant_error::TenantError,
    tenants::Tenants,
};

/// The caller.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct WhoAmI {
    /// Name of the user; of the token when it is nobody's.
    pub name: String,
    /// The user; null: the token is nobody's.
    pub user_id: Option<String>,
    /// The token.
    pub token_id: String,
    /// The project that it acts for.
    pub project_id: String,
    /// The project's name.
    pub project: String,
    /// What it is there.
    pub role: Role,
    /// What the token is narrowed to; null: all that the role may do.
    pub scopes: Option<Vec<Scope>>,
    /// What comes out of both.
    pub may: Vec<Scope>,
    /// When the token ends; null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

impl Tenants {
    /// Who the caller is.
    pub async fn who_am_i(&self, caller: &Caller) -> Result<WhoAmI, TenantError> {
        let project = self.project(&Viewer::All, &caller.project_id).await?;
        Ok(WhoAmI {
            name: caller.name.clone(),
            user_id: caller.user_id.clone(),
            token_id: caller.token_id.clone(),
            project_id: project.id,
            project: project.name,
            role: caller.role,
            scopes: caller.scopes().map(<[Scope]>::to_vec),
            may: Permission::ALL
                .into_iter()
                .filter(|permission| caller.may(*permission))
                .map(Scope::from)
                .collect(),
            expires_at: caller.expires_at,
        })
    }
}
