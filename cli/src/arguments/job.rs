//! `imprint job …`

use std::time::Duration;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// All jobs, newest first
    #[command(after_help = "\
Kinds: import, copy, export, verify, gc. States: queued, running, succeeded, failed, cancelled.

Examples:
  imprint job list
  imprint job list --state running
  imprint job list --kind import --output json")]
    List {
        /// Only those of this kind
        #[arg(long)]
        kind: Option<String>,
        /// Only those in this state
        #[arg(long)]
        state: Option<String>,
    },
    /// One job: how far it is, what came of it, or why it failed
    #[command(after_help = "Example:\n  imprint job show 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Show {
        /// Id of the job
        job: String,
    },
    /// Stop a job; what it has begun is taken away again
    #[command(after_help = "Example:\n  imprint job cancel 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Cancel {
        /// Id of the job
        job: String,
    },
    /// Wait until a job has ended, with live progress; exit code 0 only if it succeeded
    #[command(after_help = "\
Examples:
  imprint job wait 01JD3Y6N9M1V9S1M6V1M3B3W5T
  imprint job wait 01JD3Y6N9M1V9S1M6V1M3B3W5T --timeout 30m --output json")]
    Wait {
        /// Id of the job
        job: String,
        /// Stop waiting after this time (90s, 30m, 2h); the job goes on
        #[arg(long, value_name = "TIME", value_parser = crate::measure::parse_duration)]
        timeout: Option<Duration>,
    },
}
