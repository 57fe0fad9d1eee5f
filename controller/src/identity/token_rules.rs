//! Which token somebody may make. Pure: everything that is known comes in as values.

use super::{
    caller::Caller,
    role::{Permission, Role},
    scope::{Scope, listed},
    tenant_error::{TenantError, beyond},
};
use crate::config::TokenConfig;

/// Whose the new token is to be, and where: found in the database, and allowed to be seen.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) project_id: String,
    pub(super) project_name: String,
    /// Its user with the role that he has in the project; `None`: a token of nobody.
    pub(super) owner: Option<Owner>,
}

/// A user as the new token's owner.
#[derive(Debug, Clone)]
pub(super) struct Owner {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) role: Role,
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    pub(super) role: Option<Role>,
    pub(super) scopes: Option<Vec<Scope>>,
    pub(super) days: Option<u32>,
}

/// What the token will be: only [`allow`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Allowed {
    pub(super) role: Role,
    pub(super) scopes: Option<Vec<Scope>>,
    pub(super) days: u32,
    _checked: (),
}

/// Never more than the caller may do himself, nor more than the owner may do there.
pub(super) fn allow(
    caller: &Caller,
    place: &Place,
    asked: &Asked,
    config: &TokenConfig,
) -> Result<Allowed, TenantError> {
    let own = place.project_id == caller.project_id
        && place.owner.as_ref().map(|owner| &owner.id) == caller.user_id.as_ref();
    if !caller.may(Permission::ManageTenants) {
        if caller.user_id.is_none() {
            return Err(TenantError::NobodysToken(caller.name.clone()));
        }
        if !own {
            return Err(TenantError::Escalation(
                "only an admin makes tokens for other users or other projects".to_owned(),
            ));
        }
    }
    let ceiling = place
        .owner
        .as_ref()
        .map_or(caller.role, |owner| owner.role.within(caller.role));
    let role = match (asked.role, &place.owner) {
        (Some(role), _) => role,
        (None, Some(_)) => ceiling,
        (None, None) => Role::Reader,
    };
    if !role.exists_in(&place.project_id) {
        return Err(TenantError::RoleElsewhere {
            role,
            project: place.project_name.clone(),
        });
    }
    if !ceiling.covers(role) {
        return Err(above(caller, place, role));
    }
    Ok(Allowed {
        role,
        scopes: scopes(caller, role, asked.scopes.as_deref())?,
        days: days(asked.days, config)?,
        _checked: (),
    })
}

fn above(caller: &Caller, place: &Place, role: Role) -> TenantError {
    let reason = match &place.owner {
        Some(owner) if !owner.role.covers(role) => format!(
            "{} is {} in the project {}, which is less than {role}",
            owner.name, owner.role, place.project_name
        ),
        _ => format!("your token is {}, which is less than {role}", caller.role),
    };
    TenantError::Escalation(reason)
}

/// A narrowed token makes tokens that are at least as narrow.
fn scopes(caller: &Caller, role: Role, asked: Option<&[Scope]>) -> Result<Option<Vec<Scope>>, TenantError> {
    let Some(asked) = asked else {
        return Ok(caller.scopes().map(<[Scope]>::to_vec));
    };
    let mut kept: Vec<Scope> = Vec::new();
    for scope in asked.iter().copied() {
        if !role.may(scope.permission()) {
            return Err(beyond(role, scope.permission()));
        }
        if let Some(own) = caller.scopes()
            && !Permission::ALL
                .into_iter()
                .filter(|permission| scope.grants(*permission))
                .all(|permission| own.iter().any(|mine| mine.grants(permission)))
        {
            return Err(TenantError::Escalation(format!(
                "your token is narrowed to {}, so it cannot give away {scope}",
                listed(own)
            )));
        }
        if !kept.contains(&scope) {
            kept.push(scope);
        }
    }
    if kept.is_empty() {
        return Err(TenantError::Escalation(
            "a token without any scope could do nothing; leave the scopes out for all that its role may"
                .to_owned(),
        ));
    }
    Ok(Some(kept))
}

fn days(asked: Option<u32>, config: &TokenConfig) -> Result<u32, TenantError> {
    let days = asked.unwrap_or(config.default_days);
    if (1..=config.max_days).contains(&days) {
        Ok(days)
    } else {
        Err(TenantError::Lifetime {
            given: days,
            max_days: config.max_days,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::PLATFORM;

    fn caller(project: &str, role: Role, user: Option<&str>) -> Caller {
        let user = user.map(ToOwned::to_owned);
        Caller::new("t".to_owned(), "x".to_owned(), user, project.to_owned(), role)
    }

    fn place(project: &str, owner: Option<(&str, Role)>) -> Place {
        Place {
            project_id: project.to_owned(),
            project_name: project.to_owned(),
            owner: owner.map(|(id, role)| Owner {
                id: id.to_owned(),
                name: id.to_owned(),
                role,
            }),
        }
    }

    fn role(role: Role) -> Asked {
        Asked {
            role: Some(role),
            ..Asked::default()
        }
    }

    #[test]
    fn nobody_makes_a_token_that_may_more_than_he_or_its_owner() {
        let config = TokenConfig::default();
        for mine in Role::ALL.iter().copied() {
            for owners in Role::ALL.iter().copied() {
                for wanted in Role::ALL.iter().copied() {
                    let me = caller(PLATFORM, mine, Some("u"));
                    let made = allow(&me, &place(PLATFORM, Some(("u", owners))), &role(wanted), &config);
                    let within = mine.covers(wanted) && owners.covers(wanted);
                    assert_eq!(made.is_ok(), within, "{mine} {owners} {wanted}: {made:?}");
                    for permission in Permission::ALL {
                        let more = made.as_ref().is_ok_and(|token| token.role.may(permission));
                        assert!(!more || mine.may(permission), "{mine} {wanted} {permission:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn only_admins_make_tokens_for_others_other_projects_and_nobody() {
        let config = TokenConfig::default();
        let refused =
            |me: &Caller, place: &Place| allow(me, place, &role(Role::Reader), &config).unwrap_err();
        for mine in [Role::Operator, Role::Member, Role::Reader] {
            let me = caller(PLATFORM, mine, Some("u"));
            for place in [
                place(PLATFORM, Some(("other", Role::Admin))),
                place("p", Some(("u", Role::Member))),
                place(PLATFORM, None),
            ] {
                assert!(
                    matches!(refused(&me, &place), TenantError::Escalation(_)),
                    "{mine} {place:?}"
                );
            }
            let nobody = caller(PLATFORM, mine, None);
            assert!(matches!(
                refused(&nobody, &place(PLATFORM, None)),
                TenantError::NobodysToken(_)
            ));
        }
        let admin = caller(PLATFORM, Role::Admin, None);
        for (place, made) in [
            (place("p", Some(("u", Role::Member))), Role::Member),
            // Of nobody: the least, unless more is asked for.
            (place("p", None), Role::Reader),
            (place(PLATFORM, Some(("u", Role::Operator))), Role::Operator),
        ] {
            assert_eq!(
                allow(&admin, &place, &Asked::default(), &config).unwrap().role,
                made
            );
        }
        assert!(matches!(
            allow(&admin, &place("p", None), &role(Role::Operator), &config),
            Err(TenantError::RoleElsewhere { .. })
        ));
    }

    #[test]
    fn scopes_only_get_narrower() {
        type Texts = &'static [&'static str];
        let list = |texts: Texts| {
            texts
                .iter()
                .map(|text| text.parse().unwrap())
                .collect::<Vec<Scope>>()
        };
        let make = |mine: Option<Texts>, asked: Option<Texts>| {
            let me = caller("p", Role::Member, Some("u")).narrowed(mine.map(list), None);
            let asked = Asked {
                scopes: asked.map(list),
                ..Asked::default()
            };
            let here = place("p", Some(("u", Role::Member)));
            allow(&me, &here, &asked, &TokenConfig::default()).map(|token| token.scopes)
        };
        let some = |texts| Some(list(texts));
        assert_eq!(make(None, None).unwrap(), None);
        assert_eq!(
            make(None, Some(&["images:read", "images:read"])).unwrap(),
            some(&["images:read"])
        );
        // What is not said is inherited, and reading is part of writing.
        assert_eq!(
            make(Some(&["images:write"]), None).unwrap(),
            some(&["images:write"])
        );
        assert_eq!(
            make(Some(&["images:write"]), Some(&["images:read"])).unwrap(),
            some(&["images:read"])
        );
        for (mine, asked) in [
            (Some(&["images:read"][..]), &["images:write"][..]),
            (Some(&["images:read"]), &["images:read", "nodes:read"]),
            // No role of the project allows it.
            (None, &["tenants:manage"]),
            (None, &["nodes:write"]),
            (None, &[]),
        ] {
            assert!(
                matches!(make(mine, Some(asked)), Err(TenantError::Escalation(_))),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn lifetimes_are_those_of_the_configuration() {
        let config = TokenConfig {
            default_days: 30,
            max_days: 60,
        };
        assert_eq!(days(None, &config).unwrap(), 30);
        assert_eq!(days(Some(60), &config).unwrap(), 60);
        for given in [0, 61, u32::MAX] {
            assert!(matches!(
                days(Some(given), &config),
                Err(TenantError::Lifetime { .. })
            ));
        }
    }
}
