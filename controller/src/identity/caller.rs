//! Who calls, for which project, and what it may do there.

use http::StatusCode;

use crate::{api::rest::problem::Problem, words::words};

/// The project that owns what operators make.
pub const PLATFORM: &str = "00000000000000000000000000";

words! {
    /// What a caller is in its project. Admin and operator exist in the project `platform` alone.
    Role, "role", {
        /// Everything.
        Admin => "admin",
        /// Nodes, deployments, jobs and the store; sees all images.
        Operator => "operator",
        /// Reads and writes the images of its project, deploys on its nodes.
        Member => "member",
        /// Reads what its project has.
        Reader => "reader",
    }
}

/// A right that a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Permission {
    ReadImages,
    WriteImages,
    PublishImages,
    ReadNodes,
    WriteNodes,
    ReadDeployments,
    WriteDeployments,
    ReadEvents,
    ReadJobs,
    WriteJobs,
    ManageStore,
    ManageTenants,
}

/// What somebody may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Viewer {
    /// Everything.
    All,
    /// What the project with this id has, and what it may use of others.
    Project(String),
}

impl Viewer {
    /// The project whose things come first when a name could mean several.
    #[must_use]
    pub fn home(&self) -> &str {
        match self {
            Self::All => PLATFORM,
            Self::Project(id) => id,
        }
    }
}

/// A caller with a valid API token. As an extractor it refuses everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Id of the token, for the event log.
    pub token_id: String,
    /// Name of the user, or of the token when it is nobody's.
    pub name: String,
    /// The user whose token it is.
    pub user_id: Option<String>,
    /// The project that it acts for.
    pub project_id: String,
    /// What it is there.
    pub role: Role,
}

impl Caller {
    /// What it may see.
    #[must_use]
    pub fn viewer(&self) -> Viewer {
        match self.role {
            Role::Admin | Role::Operator => Viewer::All,
            Role::Member | Role::Reader => Viewer::Project(self.project_id.clone()),
        }
    }

    /// Refuses a caller whose role has no such right.
    pub fn require(&self, permission: Permission) -> Result<(), Problem> {
        if self.role.may(permission) {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "The token has no right to do this",
            format!(
                "`{}` has the role {}, which may not do this.",
                self.name, self.role
            ),
            "Use a token of a role that may, or ask an administrator for it.",
        ))
    }

    #[cfg(test)]
    pub(crate) fn for_test(project_id: &str, role: Role) -> Self {
        Self {
            token_id: "01TESTTOKEN".to_owned(),
            name: "test".to_owned(),
            user_id: None,
            project_id: project_id.to_owned(),
            role,
        }
    }
}

impl Role {
    fn may(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Admin => true,
            Self::Operator => !matches!(permission, P::WriteImages | P::PublishImages | P::ManageTenants),
            Self::Member => !matches!(
                permission,
                P::PublishImages | P::WriteNodes | P::ManageStore | P::ManageTenants
            ),
            Self::Reader => matches!(
                permission,
                P::ReadImages | P::ReadNodes | P::ReadDeployments | P::ReadEvents | P::ReadJobs
            ),
        }
    }
}
