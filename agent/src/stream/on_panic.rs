//! What a thread tells when it panics: whoever waits for its work would else wait for ever.

use std::{fmt, ops::Deref, thread};

/// Holds what a thread works with, and tells through it when the thread panics. Declared first it is dropped last, when
/// all else of the thread is gone.
pub(super) struct OnPanic<T, F: Fn(&T)> {
    with: T,
    tell: F,
}

impl<T, F: Fn(&T)> OnPanic<T, F> {
    pub(super) fn new(with: T, tell: F) -> Self {
        OnPanic { with, tell }
    }
}

impl<T, F: Fn(&T)> Deref for OnPanic<T, F> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.with
    }
}

impl<T, F: Fn(&T)> Drop for OnPanic<T, F> {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.tell)(&self.with);
        }
    }
}

impl<T: fmt::Debug, F: Fn(&T)> fmt::Debug for OnPanic<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnPanic").field(&self.with).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn only_a_panic_is_told() {
        for panics in [false, true] {
            let (tell, told) = mpsc::channel();
            let ended = thread::spawn(move || {
                let work = OnPanic::new(tell, |tell| tell.send("died").unwrap());
                work.send("begun").unwrap();
                assert!(!panics, "on purpose");
            })
            .join();
            assert_eq!(ended.is_err(), panics);
            let expected: &[&str] = if panics { &["begun", "died"] } else { &["begun"] };
            assert_eq!(told.iter().collect::<Vec<_>>(), expected);
        }
    }
}
