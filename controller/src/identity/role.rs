//! What each role may do: one table, without clock, database or request.

use super::PLATFORM;
use crate::words::words;

words! {
    /// What somebody is in a project. Admin and operator exist in the project `platform` alone.
    Role, "role", {
        /// Everything.
        Admin => "admin",
        /// Runs the machines of all projects, and sees all images.
        Operator => "operator",
        /// Makes and deploys images of its project, on its project's nodes.
        Member => "member",
        /// Reads what its project has.
        Reader => "reader",
    }
}

/// Something that needs to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Look at images and their content.
    ReadImages,
    /// Import, change and delete images of the own project.
    WriteImages,
    /// Make images public.
    PublishImages,
    /// Look at nodes.
    ReadNodes,
    /// Approve, assign and delete nodes.
    WriteNodes,
    /// Look at deployments.
    ReadDeployments,
    /// Deploy and cancel.
    WriteDeployments,
    /// Read the event log.
    ReadEvents,
    /// Look at jobs.
    ReadJobs,
    /// Start and cancel jobs.
    WriteJobs,
    /// Read the figures of the whole controller.
    ReadMetrics,
    /// Say where events are sent to.
    ManageWebhooks,
    /// Verify the store and free its space.
    ManageStore,
    /// Make and delete projects, users and anybody's tokens.
    ManageTenants,
    /// Make, list and revoke the own tokens.
    WriteTokens,
}

impl Role {
    /// Whether it may do this at all; on which objects is another question.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        use Permission as P;
        match permission {
            P::ReadImages
            | P::ReadNodes
            | P::ReadDeployments
            | P::ReadEvents
            | P::ReadJobs
            | P::WriteTokens => true,
            P::WriteDeployments | P::WriteJobs => self != Self::Reader,
            P::WriteImages => matches!(self, Self::Admin | Self::Member),
            P::WriteNodes | P::ManageStore | P::ReadMetrics | P::ManageWebhooks => {
                matches!(self, Self::Admin | Self::Operator)
            }
            P::PublishImages | P::ManageTenants => self == Self::Admin,
        }
    }

    /// Whether it may do all that the other one may.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        Permission::ALL
            .into_iter()
            .all(|permission| self.may(permission) || !other.may(permission))
    }

    /// The greatest role that both cover.
    #[must_use]
    pub fn within(self, other: Self) -> Self {
        Self::ALL
            .iter()
            .copied()
            .find(|role| self.covers(*role) && other.covers(*role))
            .unwrap_or(Self::Reader)
    }

    /// Whether anybody can have it in this project.
    #[must_use]
    pub fn exists_in(self, project_id: &str) -> bool {
        matches!(self, Self::Member | Self::Reader) || project_id == PLATFORM
    }
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::ReadImages,
        Self::WriteImages,
        Self::PublishImages,
        Self::ReadNodes,
        Self::WriteNodes,
        Self::ReadDeployments,
        Self::WriteDeployments,
        Self::ReadEvents,
        Self::ReadJobs,
        Self::WriteJobs,
        Self::ReadMetrics,
        Self::ManageWebhooks,
        Self::ManageStore,
        Self::ManageTenants,
        Self::WriteTokens,
    ];

    /// The scope of the same name: its area, a colon, and what is done there.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadImages => "images:read",
            Self::WriteImages => "images:write",
            Self::PublishImages => "images:publish",
            Self::ReadNodes => "nodes:read",
            Self::WriteNodes => "nodes:write",
            Self::ReadDeployments => "deployments:read",
            Self::WriteDeployments => "deployments:write",
            Self::ReadEvents => "events:read",
            Self::ReadJobs => "jobs:read",
            Self::WriteJobs => "jobs:write",
            Self::ReadMetrics => "metrics:read",
            Self::ManageWebhooks => "webhooks:manage",
            Self::ManageStore => "store:manage",
            Self::ManageTenants => "tenants:manage",
            Self::WriteTokens => "tokens:write",
        }
    }

    /// What it is, as in "may …".
    #[must_use]
    pub fn doing(self) -> &'static str {
        match self {
            Self::ReadImages => "look at images",
            Self::WriteImages => "make or change images",
            Self::PublishImages => "publish images",
            Self::ReadNodes => "look at nodes",
            Self::WriteNodes => "approve, assign or delete nodes",
            Self::ReadDeployments => "look at deployments",
            Self::WriteDeployments => "deploy or cancel",
            Self::ReadEvents => "read events",
            Self::ReadJobs => "look at jobs",
            Self::WriteJobs => "start or cancel jobs",
            Self::ReadMetrics => "read metrics",
            Self::ManageWebhooks => "manage webhooks",
            Self::ManageStore => "verify or clean the store",
            Self::ManageTenants => "manage projects, users and their tokens",
            Self::WriteTokens => "manage tokens",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns: admin, operator, member, reader.
    const TABLE: &str = "
        images:read       x x x x
        images:write      x . x .
        images:publish    x . . .
        nodes:read        x x x x
        nodes:write       x x . .
        deployments:read  x x x x
        deployments:write x x x .
        events:read       x x x x
        jobs:read         x x x x
        jobs:write        x x x .
        metrics:read      x x . .
        webhooks:manage   x x . .
        store:manage      x x . .
        tenants:manage    x . . .
        tokens:write      x x x x
    ";

    #[test]
    fn every_pair_of_role_and_permission_is_as_the_table_says() {
        let lines: Vec<Vec<&str>> = TABLE
            .trim()
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines.len(), Permission::ALL.len());
        for (permission, line) in Permission::ALL.into_iter().zip(&lines) {
            assert_eq!(permission.as_str(), line[0]);
            for (role, mark) in Role::ALL.iter().zip(&line[1..]) {
                assert_eq!(role.may(permission), *mark == "x", "{role} {}", line[0]);
            }
        }
    }

    #[test]
    fn the_handbook_has_the_same_table() {
        let handbook = include_str!("../../../docs/tenants.md");
        for line in TABLE.trim().lines() {
            let cells: Vec<&str> = line.split_whitespace().collect();
            let mut row = format!("| `{}` |", cells[0]);
            for mark in &cells[1..] {
                row.push_str(if *mark == "x" { " yes |" } else { " |" });
            }
            assert!(handbook.contains(&row), "docs/tenants.md has no `{row}`");
        }
    }

    #[test]
    fn two_roles_have_in_common_what_both_may() {
        use Role::{Admin, Member, Operator, Reader};
        for (a, b, both) in [
            (Admin, Admin, Admin),
            (Admin, Operator, Operator),
            (Admin, Member, Member),
            (Operator, Operator, Operator),
            // An operator makes no images and a member approves no nodes.
            (Operator, Member, Reader),
            (Member, Member, Member),
            (Member, Reader, Reader),
            (Reader, Admin, Reader),
        ] {
            assert_eq!((a.within(b), b.within(a)), (both, both), "{a} {b}");
        }
        for (a, b) in Role::ALL
            .iter()
            .flat_map(|a| Role::ALL.iter().map(move |b| (*a, *b)))
        {
            for permission in Permission::ALL {
                let both = a.within(b).may(permission);
                assert!(
                    !both || (a.may(permission) && b.may(permission)),
                    "{a} {b} {permission:?}"
                );
            }
        }
    }

    #[test]
    fn admin_and_operator_exist_in_the_platform_only() {
        let other = "01JD3Y6N9M1V9S1M6V1M3B3W5T";
        for role in Role::ALL.iter().copied() {
            assert!(role.exists_in(PLATFORM));
            assert_eq!(role.exists_in(other), matches!(role, Role::Member | Role::Reader));
        }
    }
}
