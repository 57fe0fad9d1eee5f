//! A controller that is killed: from the moment on that a test names, nothing it does has any effect.
//!
//! The places are before and after each change of the database and before each message to an agent. They are counted in the
//! thread of the test alone.

use std::cell::Cell;

use crate::events::{DatabaseError, doing};

thread_local! {
    static LEFT: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The controller dies at the `n`th place from now, from 1.
pub(crate) fn at(n: u64) {
    LEFT.set(Some(n));
}

/// The controller is dead from now on.
pub(crate) fn now() {
    LEFT.set(Some(0));
}

/// No controller dies any more; true when one has died since [`at`].
pub(crate) fn never() -> bool {
    LEFT.take() == Some(0)
}

/// Whether it is dead, which not all that it does would tell.
pub(crate) fn is_dead() -> bool {
    LEFT.get() == Some(0)
}

/// A place where it may die. Once dead, it stays so.
pub(crate) fn here() -> Result<(), DatabaseError> {
    let left = match LEFT.get() {
        None => return Ok(()),
        Some(left) => left.saturating_sub(1),
    };
    LEFT.set(Some(left));
    if left > 0 {
        return Ok(());
    }
    Err(doing("go on after its death")(sqlx::Error::PoolClosed))
}
