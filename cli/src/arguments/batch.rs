//! `imprint batch …`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum BatchCommand {
    /// The newest batches
    #[command(after_help = "Example:\n  imprint batch list")]
    List,
    /// One batch with a report of each server
    #[command(after_help = "Example:\n  imprint batch show 01JD3Y6N9M1V9S1M6V1M3B3W5T")]
    Show {
        /// Id of the batch
        batch: String,
    },
    /// Begin no further deployment of a batch; those that run go on
    #[command(after_help = "\
Examples:
  imprint batch cancel 01JD3Y6N9M1V9S1M6V1M3B3W5T
  imprint batch cancel 01JD3Y6N9M1V9S1M6V1M3B3W5T --running")]
    Cancel {
        /// Id of the batch
        batch: String,
        /// Cancel those that run as well
        #[arg(long)]
        running: bool,
    },
}
