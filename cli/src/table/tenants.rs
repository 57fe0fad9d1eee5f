//! Tables of projects, users and tokens.

use comfy_table::Table;
use jiff::Timestamp;

use super::{Facts, Moment, align_right, columns, or_dash, plain};
use crate::{
    answer::{Project, ProjectUser, Token, User, WhoAmI},
    measure,
};

fn age(at: Option<Timestamp>, moment: &Moment) -> String {
    at.map_or_else(|| "-".into(), |at| measure::age(at, moment.now))
}

fn limit(number: Option<u64>, text: impl Fn(u64) -> String) -> String {
    number.map_or_else(|| "-".into(), text)
}

/// All projects.
pub fn projects(projects: &[Project], moment: &Moment) -> Table {
    let mut table = columns(&["NAME", "IMAGES/USER", "STORED", "CREATED", "ID", "DESCRIPTION"]);
    for project in projects {
        table.add_row([
            plain(&project.name),
            limit(project.max_images_per_user, |number| number.to_string()),
            limit(project.max_stored_bytes, measure::bytes),
            age(project.created_at, moment),
            plain(&project.id),
            or_dash(Some(&project.description)),
        ]);
    }
    align_right(&mut table, 1, 3);
    table
}

/// One project.
pub fn project(project: &Project, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("name", project.name.as_str());
    facts.add("id", project.id.as_str());
    facts.add("description", project.description.as_str());
    if let Some(images) = project.max_images_per_user {
        facts.add("images", format!("at most {images} private ones of each user"));
    }
    if let Some(bytes) = project.max_stored_bytes {
        facts.add("stored", format!("at most {}", measure::bytes(bytes)));
    }
    facts.time("created", project.created_at, moment);
    facts
}

/// Who is what in a project.
pub fn project_users(users: &[ProjectUser], moment: &Moment) -> Table {
    let mut table = columns(&["NAME", "ROLE", "STATE", "SINCE", "ID"]);
    for user in users {
        table.add_row([
            plain(&user.name),
            plain(&user.role),
            state(user.disabled_at),
            age(user.created_at, moment),
            plain(&user.user_id),
        ]);
    }
    table
}

fn state(disabled_at: Option<Timestamp>) -> String {
    if disabled_at.is_some() { "disabled" } else { "-" }.into()
}

/// All users.
pub fn users(users: &[User], moment: &Moment) -> Table {
    let mut table = columns(&["NAME", "STATE", "CREATED", "ID"]);
    for user in users {
        table.add_row([
            plain(&user.name),
            state(user.disabled_at),
            age(user.created_at, moment),
            plain(&user.id),
        ]);
    }
    table
}

/// One user.
pub fn user(user: &User, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("name", user.name.as_str());
    facts.add("id", user.id.as_str());
    facts.time("created", user.created_at, moment);
    facts.time("disabled", user.disabled_at, moment);
    facts
}

/// All tokens.
pub fn tokens(tokens: &[Token], moment: &Moment) -> Table {
    let mut table = columns(&["NAME", "USER", "PROJECT", "ROLE", "SCOPES", "ENDS", "ID"]);
    for token in tokens {
        table.add_row([
            plain(&token.name),
            or_dash(token.user.as_deref()),
            plain(&token.project),
            plain(&token.role),
            or_dash(token.scopes.as_ref().map(|scopes| scopes.join(" ")).as_deref()),
            end(token, moment),
            plain(&token.id),
        ]);
    }
    table
}

fn end(token: &Token, moment: &Moment) -> String {
    match (token.revoked_at, token.expires_at) {
        (Some(_), _) => "revoked".into(),
        (None, None) => "never".into(),
        (None, Some(at)) if at <= moment.now => "expired".into(),
        (None, Some(at)) => measure::time(at, &moment.zone),
    }
}

/// One token.
pub fn token(token: &Token, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("name", token.name.as_str());
    facts.add("id", token.id.as_str());
    facts.add("user", token.user.as_deref().unwrap_or("nobody"));
    facts.add("project", token.project.as_str());
    facts.add("role", token.role.as_str());
    facts.add(
        "scopes",
        token
            .scopes
            .as_ref()
            .map(|scopes| scopes.join(" "))
            .unwrap_or_default(),
    );
    facts.add("ends", end(token, moment));
    facts
}

/// What a token is good for.
pub fn who_am_i(who: &WhoAmI, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("name", who.name.as_str());
    facts.add("project", who.project.as_str());
    facts.add("role", who.role.as_str());
    facts.add("may", who.may.join(" "));
    facts.add("token", who.token_id.as_str());
    let ends = who
        .expires_at
        .map_or_else(|| "never".into(), |at| measure::time(at, &moment.zone));
    facts.add("ends", ends);
    facts
}
