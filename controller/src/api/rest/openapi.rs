//! The description of all of REST, OpenAPI 3.1, served at `/openapi.json` and checked in beside the crate.

use std::sync::LazyLock;

use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::{
    batches, console, contents, copies, deployments, events, exports, guests, images, imports, jobs,
    lifecycle, logs, matching, metrics, nodes, power, problem, projects, quota, rescue, store, tokens,
    upkeep, uploads, usage, users, volumes, webhooks,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Imprint controller",
        description = "Puts operating systems onto bare metal. Errors are RFC 9457 problem documents with a remedy; \
                       lists are paged by cursor; every request but /openapi.json and /healthz needs an API token, \
                       or, for the store, the client certificate of a node.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::ProblemDocument)),
    modifiers(&Token),
    security(("token" = []))
)]
struct Base;

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("API token"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The whole document.
pub fn document() -> &'static openapi::OpenApi {
    static DOCUMENT: LazyLock<openapi::OpenApi> = LazyLock::new(|| {
        let mut document = Base::openapi();
        for part in [
            images::openapi(),
            exports::openapi(),
            copies::openapi(),
            store::openapi(),
            nodes::openapi(),
            lifecycle::openapi(),
            guests::openapi(),
            deployments::openapi(),
            logs::openapi(),
            console::openapi(),
            batches::openapi(),
            events::openapi(),
            jobs::openapi(),
            upkeep::openapi(),
            projects::openapi(),
            quota::openapi(),
            usage::openapi(),
            users::openapi(),
            tokens::openapi(),
            imports::openapi(),
            uploads::openapi(),
            contents::openapi(),
            matching::openapi(),
            volumes::openapi(),
            metrics::openapi(),
            webhooks::openapi(),
            power::openapi(),
            rescue::openapi(),
        ] {
            document.merge(part);
        }
        document
    });
    &DOCUMENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checked_in_document_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let mut now = document().to_pretty_json().unwrap();
        now.push('\n');
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let kept = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            kept == now,
            "controller/openapi.json is not what the handlers say. If the change of the API is meant, run \
             `UPDATE_OPENAPI=1 cargo nextest run -p imprint-controller openapi` and commit the file."
        );
    }
}
