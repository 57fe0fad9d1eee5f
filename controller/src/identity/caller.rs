//! Who calls, what he may do, and what he may see.

use http::StatusCode;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    role::{Permission, Role},
    scope::{Scope, listed},
};
use crate::{api::rest::problem::Problem, events::Author};

/// The project that owns what operators make.
pub const PLATFORM: &str = "00000000000000000000000000";

/// A caller with a valid API token: only the check of the token makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Id of the token, for lists and logs.
    pub token_id: String,
    /// Name of the user; of the token when it is nobody's.
    pub name: String,
    /// Whose token it is; `None` for a token of no user.
    pub user_id: Option<String>,
    /// The one project it acts for.
    pub project_id: String,
    /// What it is there: the lesser of the token's role and what its user is now.
    pub role: Role,
    /// When the token ends.
    pub expires_at: Option<Timestamp>,
    scopes: Option<Vec<Scope>>,
}

/// What is kept of a caller whose request goes on after its answer, or without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    token_id: String,
    name: String,
    user_id: Option<String>,
    project_id: String,
    role: Role,
}

impl Asker {
    /// As he was when his token was checked, and allowed no more than what he asked for.
    #[must_use]
    pub fn caller(self, permission: Permission) -> Caller {
        Caller::new(self.token_id, self.name, self.user_id, self.project_id, self.role)
            .narrowed(Some(vec![permission.into()]), None)
    }
}

/// Whose objects somebody may see; what is published or shared is seen besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Those of all projects.
    All,
    /// Those of this project.
    Project(String),
}

impl Viewer {
    /// Whether what belongs to this project may be seen.
    #[must_use]
    pub fn sees(&self, project_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Project(own) => own == project_id,
        }
    }

    /// The project whose things come first when a name could mean several.
    #[must_use]
    pub fn home(&self) -> &str {
        self.project().unwrap_or(PLATFORM)
    }

    /// The one project, if it is one.
    #[must_use]
    pub fn project(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::Project(own) => Some(own),
        }
    }
}

impl Caller {
    pub(super) fn new(
        token_id: String,
        name: String,
        user_id: Option<String>,
        project_id: String,
        role: Role,
    ) -> Self {
        Self {
            token_id,
            name,
            user_id,
            project_id,
            role,
            expires_at: None,
            scopes: None,
        }
    }

    pub(super) fn narrowed(mut self, scopes: Option<Vec<Scope>>, expires_at: Option<Timestamp>) -> Self {
        self.scopes = scopes;
        self.expires_at = expires_at;
        self
    }

    /// What is kept of him where his request goes on without him.
    #[must_use]
    pub fn asker(&self) -> Asker {
        Asker {
            token_id: self.token_id.clone(),
            name: self.name.clone(),
            user_id: self.user_id.clone(),
            project_id: self.project_id.clone(),
            role: self.role,
        }
    }

    /// What the token is narrowed to; `None`: all that the role may do.
    #[must_use]
    pub fn scopes(&self) -> Option<&[Scope]> {
        self.scopes.as_deref()
    }

    /// Whether role and scopes allow it.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        let scoped = self
            .scopes
            .as_ref()
            .is_none_or(|scopes| scopes.iter().any(|scope| scope.grants(permission)));
        scoped && self.role.may(permission)
    }

    /// Refuses what role or scopes do not allow, whatever object it is about: 403 `forbidden`.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.may(permission) {
            return Ok(());
        }
        let (detail, remedy) = match &self.scopes {
            Some(scopes) if self.role.may(permission) => (
                format!(
                    "The token is narrowed to {}; to {} it needs {}.",
                    listed(scopes),
                    permission.doing(),
                    permission.as_str()
                ),
                format!(
                    "Use a token that has the scope: `imprint token create NAME --scope {}` (API: POST /v1/tokens).",
                    permission.as_str()
                ),
            ),
            _ => (
                format!(
                    "{} has the role {} there, which may not {}.",
                    self.name,
                    self.role,
                    permission.doing()
                ),
                "`imprint whoami` says what the token may do; an admin changes a role with `imprint project grant PROJECT USER --role ROLE` (API: PUT /v1/projects/{project}/users/{user})."
                    .to_owned(),
            ),
        };
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The token may not do this",
            detail,
            remedy,
        ))
    }

    /// Whose objects the caller may see.
    #[must_use]
    pub fn viewer(&self) -> Viewer {
        match self.role {
            Role::Admin | Role::Operator => Viewer::All,
            Role::Member | Role::Reader => Viewer::Project(self.project_id.clone()),
        }
    }

    /// Who did it, for the event log.
    #[must_use]
    pub fn author(&self) -> Author {
        let actor = match &self.user_id {
            Some(_) => self.name.clone(),
            None => format!("token {}", self.name),
        };
        Author {
            actor: Some(actor),
            project_id: Some(self.project_id.clone()),
        }
    }

    /// Whether it may change what belongs to this project: its own things, and as admin everybody's.
    #[must_use]
    pub fn may_change(&self, project_id: &str) -> bool {
        self.role == Role::Admin || self.project_id == project_id
    }

    /// A caller that nobody checked, of no token in the database.
    #[cfg(test)]
    pub(crate) fn for_test(project_id: &str, role: Role) -> Self {
        let name = "test".to_owned();
        Self::new(String::new(), name, None, project_id.to_owned(), role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_narrow_and_never_widen() {
        let plain = Caller::for_test("p", Role::Member);
        let narrow = plain.clone().narrowed(
            Some(vec![
                Permission::WriteImages.into(),
                Permission::ManageTenants.into(),
            ]),
            None,
        );
        for permission in Permission::ALL {
            assert_eq!(plain.may(permission), Role::Member.may(permission));
            assert!(!narrow.may(permission) || plain.may(permission), "{permission:?}");
        }
        assert!(narrow.may(Permission::ReadImages) && narrow.may(Permission::WriteImages));
        let by_scope = narrow.require(Permission::ReadNodes).unwrap_err();
        assert!(by_scope.detail.contains("images:write") && by_scope.detail.contains("nodes:read"));
        // The scope is there, and the role is not enough: more scopes would not help.
        let by_role = narrow.require(Permission::ManageTenants).unwrap_err();
        assert!(by_role.detail.contains("role member"), "{}", by_role.detail);
        assert_eq!((by_role.status.as_u16(), by_role.kind), (403, "forbidden"));
        assert!(
            Caller::for_test(PLATFORM, Role::Admin)
                .narrowed(Some(Vec::new()), None)
                .require(Permission::ReadImages)
                .is_err()
        );
    }

    #[test]
    fn whoever_is_kept_may_see_the_same_and_do_what_he_asked_for() {
        let member = Caller::for_test("p", Role::Member);
        let kept = serde_json::to_string(&member.asker()).unwrap();
        let again = serde_json::from_str::<Asker>(&kept).unwrap();
        let again = again.caller(Permission::WriteDeployments);
        assert_eq!(
            (again.viewer(), again.author()),
            (member.viewer(), member.author())
        );
        assert!(again.may(Permission::WriteDeployments) && !again.may(Permission::WriteImages));
    }

    #[test]
    fn members_see_their_project_and_operators_all() {
        let viewer = |role| Caller::for_test("p", role).viewer();
        for (role, own, other) in [
            (Role::Reader, true, false),
            (Role::Member, true, false),
            (Role::Operator, true, true),
            (Role::Admin, true, true),
        ] {
            assert_eq!(
                (viewer(role).sees("p"), viewer(role).sees("q")),
                (own, other),
                "{role}"
            );
        }
        assert_eq!(viewer(Role::Member).project(), Some("p"));
        assert_eq!(viewer(Role::Admin).project(), None);
    }
}
