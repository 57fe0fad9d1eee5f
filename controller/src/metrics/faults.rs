//! Errors of database and store, counted where they are met.
//!
//! These two are of the process, not of one controller in it: errors are made in places that know of nothing else.

use std::{error::Error, sync::LazyLock};

use prometheus_client::metrics::counter::Counter;

use crate::events::DatabaseError;

static DATABASE: LazyLock<Counter> = LazyLock::new(Counter::default);
static STORE: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The database has refused an operation.
pub fn database_error() {
    DATABASE.inc();
}

/// The store has refused an operation.
pub fn store_error() {
    STORE.inc();
}

/// A request ended with this error: counts one of the database that was not counted when it was made.
pub fn met(error: &(dyn Error + 'static)) {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<DatabaseError>() {
            return;
        }
        if error.is::<sqlx::Error>() {
            return database_error();
        }
        next = error.source();
    }
}

pub(super) fn database_errors() -> Counter {
    DATABASE.clone()
}

pub(super) fn store_errors() -> Counter {
    STORE.clone()
}
