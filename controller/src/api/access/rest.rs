//! The walk over REST.

use std::collections::BTreeSet;

use axum::body::Body;
use http::{Method, Request, StatusCode, header};
use tower::ServiceExt;

use super::{
    fixture::{Who, World},
    table::{self, Leaves, Needs, Row},
};
use crate::{
    api::rest::openapi,
    events::{Event, EventQuery},
};

/// What is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Done, or refused for another reason than who asks.
    LetIn,
    /// Refused with this status.
    Refused(u16),
}

fn expected(row: &Row, who: Who) -> Expected {
    match row.needs {
        Needs::Nothing => return Expected::LetIn,
        _ if who == Who::Nobody => return Expected::Refused(401),
        Needs::To(permission) if !who.may(permission) => return Expected::Refused(403),
        Needs::Token | Needs::To(_) => {}
    }
    if row.of_web && !who.sees_web() {
        Expected::Refused(404)
    } else {
        Expected::LetIn
    }
}

fn is(status: StatusCode, expected: Expected) -> bool {
    match expected {
        Expected::Refused(code) => status.as_u16() == code,
        Expected::LetIn => !status.is_server_error() && ![401, 403, 404, 405].contains(&status.as_u16()),
    }
}

async fn ask(world: &World, row: &Row, who: Who) -> StatusCode {
    let (method, path) = row.route.split_once(' ').unwrap();
    let things = world.things(who);
    let path = things.fill(row.asks.unwrap_or(path));
    assert!(
        !path.contains('{'),
        "{path}: the fixture has nothing to take the place of this"
    );
    let method: Method = method.parse().unwrap();
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = world.token(who) {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let body = match row.body {
        Some(json) if json.starts_with('{') => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(things.fill(json))
        }
        Some(text) => {
            request = request.header(header::CONTENT_LENGTH, text.len());
            Body::from(text)
        }
        None => Body::empty(),
    };
    // The body of the answer is left alone: a stream has no end.
    let answer = world.router.clone().oneshot(request.body(body).unwrap()).await;
    // What a request leaves through its job is its own, and not the next one's.
    world.app.jobs.quiet().await;
    answer.unwrap().status()
}

async fn events_after(world: &World, id: i64) -> Vec<Event> {
    let query = EventQuery {
        after: id,
        page_size: 1000,
        ..EventQuery::default()
    };
    world.app.events.list(&query).await.unwrap().items
}

#[test]
fn every_route_has_a_row() {
    // Two are outside of the document.
    let mut routes = BTreeSet::from(["GET /healthz".to_owned(), "GET /openapi.json".to_owned()]);
    for (path, item) in &openapi::document().paths.paths {
        for (method, operation) in [
            ("GET", &item.get),
            ("HEAD", &item.head),
            ("POST", &item.post),
            ("PUT", &item.put),
            ("PATCH", &item.patch),
            ("DELETE", &item.delete),
        ] {
            if operation.is_some() {
                routes.insert(format!("{method} {path}"));
            }
        }
    }
    let rows: BTreeSet<String> = table::rest().iter().map(|row| row.route.to_owned()).collect();
    let missing: Vec<_> = routes.difference(&rows).collect();
    let gone: Vec<_> = rows.difference(&routes).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "controller/src/api/access/table.rs: without a row {missing:#?}; with a row and no route {gone:#?}"
    );
}

#[tokio::test]
async fn every_caller_is_let_in_where_the_table_says_and_nowhere_else() {
    let world = World::new().await;
    let (mut wrong, mut untold) = (Vec::new(), Vec::new());
    for row in table::rest() {
        let mut done = false;
        for who in Who::ALL {
            let before = world.app.events.newest().await.unwrap();
            let status = ask(&world, &row, who).await;
            let expected = expected(&row, who);
            if !is(status, expected) {
                wrong.push(format!("{} by {who:?}: {status}, not {expected:?}", row.route));
            }
            let events = events_after(&world, before).await;
            if status.is_success() {
                done = true;
                if row.leaves == Leaves::AnEvent && !events.iter().any(|event| event.actor.is_some()) {
                    untold.push(format!("{} by {who:?} left {events:?}", row.route));
                }
            } else if expected != Expected::LetIn && !events.is_empty() {
                wrong.push(format!(
                    "{} was refused to {who:?} and left {events:?}",
                    row.route
                ));
            }
        }
        if row.leaves == Leaves::AnEvent && !done {
            untold.push(format!(
                "{}: nobody got it done, so nothing is known of its event",
                row.route
            ));
        }
    }
    assert!(wrong.is_empty() && untold.is_empty(), "{wrong:#?} {untold:#?}");
}
