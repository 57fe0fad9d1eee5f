//! What can go wrong with projects, users and tokens, and how callers see it.

use http::StatusCode;

use super::role::{Permission, Role};
use crate::{
    api::rest::problem::{Problem, sentence},
    events::DatabaseError,
};

/// A project, a user or a token cannot be found, made or changed.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Nothing is called that, as far as the caller may know.
    #[error("there is no {what} `{wanted}`")]
    NotFound {
        /// project, user or token
        what: Thing,
        /// What was asked for.
        wanted: String,
    },
    /// Another one is called that.
    #[error("another {what} is already called `{name}`")]
    Taken {
        /// project or user
        what: Thing,
        /// The name.
        name: String,
    },
    /// Not a name.
    #[error("`{given}` cannot be the name of a {what}")]
    BadName {
        /// project, user or token
        what: Thing,
        /// What was given.
        given: String,
    },
    /// Too much text.
    #[error("the description has {0} characters; at most 1,024 are kept")]
    LongDescription(usize),
    /// A number that the database cannot hold.
    #[error("the limit is larger than any disk")]
    LargeLimit,
    /// Something still belongs to the project.
    #[error("the project {name} still has {}", uses.join("; "))]
    InUse {
        /// The project.
        name: String,
        /// Kind, number and names of what it has.
        uses: Vec<String>,
    },
    /// The project of the operators stays.
    #[error("the project platform is part of the controller and cannot be deleted")]
    Platform,
    /// Such a role is not to be had there.
    #[error(
        "there is no {role} in the project {project}: operators and admins are those of the project platform"
    )]
    RoleElsewhere {
        /// The role.
        role: Role,
        /// The project.
        project: String,
    },
    /// Nobody could manage the controller any more.
    #[error("after this no admin could call any more")]
    LastAdmin,
    /// The user has no role in the project.
    #[error("{user} has no role in the project {project}")]
    NotInProject {
        /// The user.
        user: String,
        /// The project.
        project: String,
    },
    /// The user was disabled.
    #[error("the user {0} is disabled")]
    Disabled(String),
    /// More than the caller, or the user, may do.
    #[error("{0}")]
    Escalation(String),
    /// The caller's token belongs to nobody.
    #[error("the token {0} belongs to no user, so it cannot make tokens")]
    NobodysToken(String),
    /// A lifetime of a token that is not allowed.
    #[error("a token can live 1 to {max_days} days, and {given} were asked for")]
    Lifetime {
        /// What was asked for.
        given: u32,
        /// What the configuration allows.
        max_days: u32,
    },
    /// The user has too many tokens.
    #[error("{owner} already has {limit} tokens that work")]
    TooManyTokens {
        /// Whose they are.
        owner: String,
        /// How many there can be.
        limit: i64,
    },
    /// The page token is not one.
    #[error("`{0}` is not a page token")]
    BadPageToken(String),
    /// The database did not answer.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Thing {
    /// A project.
    Project,
    /// A user.
    User,
    /// A token.
    Token,
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Project => "project",
            Self::User => "user",
            Self::Token => "token",
        })
    }
}

impl From<TenantError> for Problem {
    fn from(error: TenantError) -> Self {
        let detail = sentence(&error.to_string());
        let conflict =
            |kind, title, remedy: &str| Self::new(StatusCode::CONFLICT, kind, title, detail.clone(), remedy);
        let wrong = |kind, title, remedy: &str| {
            Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                kind,
                title,
                detail.clone(),
                remedy,
            )
        };
        match error {
            TenantError::NotFound { what, .. } => not_found(what, detail),
            TenantError::Taken { what, .. } => conflict(
                match what {
                    Thing::Project => "project-name-taken",
                    Thing::User => "user-name-taken",
                    Thing::Token => "token-name-taken",
                },
                "The name is taken",
                "Choose another name.",
            ),
            TenantError::BadName { what, .. } => match what {
                Thing::Project => wrong(
                    "bad-project-name",
                    "That cannot be a name",
                    "Use 1 to 63 lower-case letters, digits and inner hyphens.",
                ),
                Thing::User => wrong(
                    "bad-user-name",
                    "That cannot be a name",
                    "Use 1 to 64 letters, digits and `. _ - @`, beginning with a letter or digit.",
                ),
                Thing::Token => wrong(
                    "bad-token-name",
                    "That cannot be a name",
                    "Use 1 to 64 printable characters that say what the token is for.",
                ),
            },
            TenantError::LongDescription(_) => {
                wrong("bad-description", "The description is too long", "Shorten it.")
            }
            TenantError::LargeLimit => wrong(
                "bad-limit",
                "The limit cannot be used",
                "Give a smaller number, or leave it out for what the configuration says.",
            ),
            TenantError::InUse { .. } => conflict(
                "project-in-use",
                "The project still has something",
                "Delete or copy its images, assign its nodes to another project (`imprint node assign NODE --project OTHER`), and let its jobs end; then delete it.",
            ),
            TenantError::Platform => conflict(
                "platform-project",
                "The project cannot be deleted",
                "Delete what lies in it instead.",
            ),
            TenantError::RoleElsewhere { .. } => wrong(
                "role-not-here",
                "The role does not exist in this project",
                "Give the role in the project `platform`, or the role member or reader here.",
            ),
            TenantError::LastAdmin => conflict(
                "last-admin",
                "The last admin token cannot be taken away",
                "Make another admin token first, and see that it works: `imprint token create NAME --role admin` (API: POST /v1/tokens).",
            ),
            TenantError::NotInProject { .. } => wrong(
                "not-in-project",
                "The user has no role in the project",
                "Give him one, `imprint project grant PROJECT USER --role member`, or make a token of no user with `--service` (API: PUT /v1/projects/{project}/users/{user}, or \"service\": true).",
            ),
            TenantError::Disabled(_) => conflict(
                "user-disabled",
                "The user is disabled",
                "Enable him first: `imprint user enable USER` (API: POST /v1/users/{user}/enable).",
            ),
            TenantError::Escalation(_) => Self::new(
                StatusCode::FORBIDDEN,
                "escalation",
                "A token cannot give more than there is",
                detail,
                "Ask for no more than `imprint whoami` shows, or let an admin make the token.",
            ),
            TenantError::NobodysToken(_) => Self::new(
                StatusCode::FORBIDDEN,
                "token-of-nobody",
                "A token of no user cannot make tokens",
                detail,
                "Let an admin make it, or use the token of a user.",
            ),
            TenantError::Lifetime { .. } => wrong(
                "bad-lifetime",
                "The token cannot live that long",
                "Ask for fewer days, or let the operator raise `tokens.max_days` in the configuration.",
            ),
            TenantError::TooManyTokens { .. } => conflict(
                "too-many-tokens",
                "There are too many tokens",
                "Revoke what is no longer used: `imprint token list`, `imprint token revoke ID` (API: DELETE /v1/tokens/{token}).",
            ),
            TenantError::BadPageToken(_) => {
                Self::invalid(detail, "Pass next_page_token of the page before, unchanged.")
            }
            TenantError::Database(error) => error.into(),
        }
    }
}

fn not_found(what: Thing, detail: String) -> Problem {
    let (kind, title, remedy) = match what {
        Thing::Project => (
            "project-not-found",
            "There is no such project",
            "`imprint project list` shows the projects that you may see (API: GET /v1/projects).",
        ),
        Thing::User => (
            "user-not-found",
            "There is no such user",
            "`imprint user list` shows all users (API: GET /v1/users).",
        ),
        Thing::Token => (
            "token-not-found",
            "There is no such token",
            "`imprint token list` shows the tokens that you may see, with their ids (API: GET /v1/tokens).",
        ),
    };
    Problem::new(StatusCode::NOT_FOUND, kind, title, detail, remedy)
}

/// What somebody may not give away, as a refusal.
pub(super) fn beyond(role: Role, permission: Permission) -> TenantError {
    TenantError::Escalation(format!(
        "the role {role} may not {}, so its token cannot have the scope {}",
        permission.doing(),
        permission.as_str()
    ))
}
