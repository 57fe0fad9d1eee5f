//! Which state of an image may follow which. Pure.

use super::words::ImageState as S;

/// What a wish for another state comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It may be changed.
    Go,
    /// It is in that state already.
    Stay,
    /// It may not.
    Never,
}

/// From one state to another.
#[must_use]
pub fn step(from: S, to: S) -> Step {
    if from == to {
        return Step::Stay;
    }
    let allowed: &[S] = match from {
        S::Queued => &[S::Importing, S::Active, S::Failed, S::Deleted],
        S::Importing => &[S::Active, S::Failed, S::Deleted],
        S::Active => &[S::Deactivated, S::Deprecated, S::Obsolete, S::Deleted],
        S::Deactivated => &[S::Active, S::Deprecated, S::Obsolete, S::Deleted],
        S::Deprecated => &[S::Active, S::Deactivated, S::Obsolete, S::Deleted],
        S::Obsolete => &[S::Active, S::Deactivated, S::Deprecated, S::Deleted],
        S::Failed => &[S::Deleted],
        S::Deleted => &[],
    };
    if allowed.contains(&to) {
        Step::Go
    } else {
        Step::Never
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_states() {
        let expected: [(S, &str); 8] = [
            // After: queued, importing, active, deactivated, deprecated, obsolete, deleted, failed.
            (S::Queued, "= + + - - - + +"),
            (S::Importing, "- = + - - - + +"),
            (S::Active, "- - = + + + + -"),
            (S::Deactivated, "- - + = + + + -"),
            (S::Deprecated, "- - + + = + + -"),
            (S::Obsolete, "- - + + + = + -"),
            (S::Deleted, "- - - - - - = -"),
            (S::Failed, "- - - - - - + ="),
        ];
        assert_eq!(expected.len(), S::ALL.len());
        for (from, row) in expected {
            for (to, sign) in S::ALL.iter().zip(row.split(' ')) {
                let wanted = match sign {
                    "=" => Step::Stay,
                    "+" => Step::Go,
                    _ => Step::Never,
                };
                assert_eq!(step(from, *to), wanted, "{from} to {to}");
            }
        }
    }
}
