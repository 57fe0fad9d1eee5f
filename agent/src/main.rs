//! `imprint-agent`.
fn main() {}
