//! What a run tells while it goes on: one line an event, with the seconds since the beginning.

use std::sync::OnceLock;
use std::time::Instant;

static STORY: OnceLock<(String, Instant)> = OnceLock::new();

/// Names the story and starts its clock.
pub fn begin(name: &str) {
    STORY.get_or_init(|| (name.to_owned(), Instant::now()));
}

/// Seconds since the beginning.
pub fn seconds() -> f64 {
    STORY
        .get()
        .map_or(0.0, |(_, start)| start.elapsed().as_secs_f64())
}

/// Tells one event.
pub fn tell(text: &str) {
    let name = STORY.get().map_or("lab", |(name, _)| name.as_str());
    println!("[{name} {:6.1}s] {text}", seconds());
}
