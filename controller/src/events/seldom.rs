//! News that would be told over and over, told once in a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use jiff::{SignedDuration, Timestamp};

/// More different news than this at once are a flood, and only the first ones are told.
const MOST: usize = 4096;

/// Lets the same news through once in a given time; cheap to clone. In memory only: after a restart it is told anew.
#[derive(Debug, Clone)]
pub struct Seldom {
    every: SignedDuration,
    told: Arc<Mutex<HashMap<String, Timestamp>>>,
}

impl Seldom {
    /// The same news once in this time.
    #[must_use]
    pub fn every(every: SignedDuration) -> Self {
        Self {
            every,
            told: Arc::default(),
        }
    }

    /// Whether this news may be told now; if so, not again before its time is over.
    #[must_use]
    pub fn may_tell(&self, news: &str, now: Timestamp) -> bool {
        let is_fresh = |at: &Timestamp| now.duration_since(*at) < self.every;
        let mut told = self
            .told
            .lock()
            .expect("no code panics while it holds what was told");
        if told.get(news).is_some_and(is_fresh) {
            return false;
        }
        if told.len() >= MOST {
            told.retain(|_, at| is_fresh(at));
        }
        if told.len() >= MOST {
            return false;
        }
        told.insert(news.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_news_is_told_once_in_its_time_and_a_flood_is_bounded() {
        let seldom = Seldom::every(SignedDuration::from_mins(10));
        let now = Timestamp::UNIX_EPOCH;
        assert!(seldom.may_tell("a", now) && seldom.may_tell("b", now));
        assert!(!seldom.may_tell("a", now + SignedDuration::from_secs(599)));
        assert!(seldom.may_tell("a", now + SignedDuration::from_mins(10)));
        for n in 0..2 * MOST {
            let told = seldom.may_tell(&format!("flood {n}"), now);
            assert!(told || n > MOST - 10);
        }
        assert!(!seldom.may_tell("one more", now));
        assert!(seldom.may_tell("one more", now + SignedDuration::from_mins(20)));
    }
}
