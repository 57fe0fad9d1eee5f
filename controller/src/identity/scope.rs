//! What a token is narrowed to, below what its role may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::role::Permission;

/// A part of what a role may do: `images:read`. Whoever may change something in an area may also look at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "images:read")]
pub struct Scope(Permission);

/// Not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not a scope; there are {}", all())]
pub struct UnknownScope {
    given: String,
}

fn all() -> String {
    Permission::ALL.map(Permission::as_str).join(", ")
}

impl Scope {
    /// The permission of the same name.
    #[must_use]
    pub fn permission(self) -> Permission {
        self.0
    }

    /// Whether it allows this.
    #[must_use]
    pub fn grants(self, permission: Permission) -> bool {
        let area = |permission: Permission| permission.as_str().split_once(':');
        let reads = match (area(self.0), area(permission)) {
            (Some((mine, _)), Some((asked, "read"))) => mine == asked,
            _ => false,
        };
        self.0 == permission || reads
    }
}

impl From<Permission> for Scope {
    fn from(permission: Permission) -> Self {
        Self(permission)
    }
}

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Permission::ALL
            .into_iter()
            .find(|permission| permission.as_str() == text)
            .map(Self)
            .ok_or_else(|| UnknownScope {
                given: text.chars().take(40).collect(),
            })
    }
}

impl TryFrom<String> for Scope {
    type Error = UnknownScope;

    fn try_from(text: String) -> Result<Self, UnknownScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// Scopes as a sentence lists them.
#[must_use]
pub fn listed(scopes: &[Scope]) -> String {
    let names: Vec<String> = scopes.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_grants_itself_and_reading_its_area_and_nothing_else() {
        for scope in Permission::ALL.map(Scope) {
            assert_eq!(scope.to_string().parse(), Ok(scope));
            for asked in Permission::ALL {
                let mine = scope.to_string();
                let area = mine.split_once(':').unwrap().0;
                let reads_here = asked.as_str() == format!("{area}:read");
                assert_eq!(
                    scope.grants(asked),
                    scope.permission() == asked || reads_here,
                    "{mine} {}",
                    asked.as_str()
                );
            }
        }
        assert!(
            "images:read"
                .parse::<Scope>()
                .unwrap()
                .grants(Permission::ReadImages)
        );
        assert!(
            !"images:read"
                .parse::<Scope>()
                .unwrap()
                .grants(Permission::WriteImages)
        );
        let error = "images:*".parse::<Scope>().unwrap_err().to_string();
        assert!(
            error.contains("images:*") && error.contains("tenants:manage"),
            "{error}"
        );
        assert!(serde_json::from_str::<Scope>("\"root\"").is_err());
    }
}
