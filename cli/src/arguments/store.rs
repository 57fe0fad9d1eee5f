//! `imprint store …`

use std::time::Duration;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// How full the store is, what sharing saves, and what was found damaged
    #[command(after_help = "Examples:\n  imprint store show\n  imprint store show --output json")]
    Show,
    /// Read everything that images need and compare signatures and digests; exit code 1 if something is damaged
    #[command(after_help = "\
Each image that is hit is named, and has an alarm among the events. Importing the same file again mends it.

Examples:
  imprint store verify
  imprint store verify --image debian-12
  imprint store verify --output json")]
    Verify {
        /// Only what this image needs: id or name
        #[arg(long)]
        image: Option<String>,
        /// Stop waiting after this time (90s, 30m, 2h); the job goes on
        #[arg(long, value_name = "TIME", value_parser = crate::measure::parse_duration)]
        timeout: Option<Duration>,
    },
    /// Remove what nobody needs any more
    #[command(after_help = "\
What was written less than store.gc_grace_seconds ago stays. The controller does the same by itself, every
store.gc_interval_seconds.

Examples:
  imprint store gc --dry-run
  imprint store gc")]
    Gc {
        /// Only tell what would be removed
        #[arg(long)]
        dry_run: bool,
        /// Stop waiting after this time (90s, 30m, 2h); the job goes on
        #[arg(long, value_name = "TIME", value_parser = crate::measure::parse_duration)]
        timeout: Option<Duration>,
    },
}
