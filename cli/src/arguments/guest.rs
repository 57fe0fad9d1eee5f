//! `imprint guest …`

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum GuestCommand {
    /// The plugin of a server's installed system: whether it is connected, and whole
    #[command(after_help = "Example:\n  imprint guest show web-07")]
    Show {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
    /// Set a user's password on a server's installed system
    #[command(after_help = "\
Without --password-stdin a password is made, and printed once. It is sealed to the plugin that is connected now, good for
a short time and once; nobody keeps it. A locked account is unlocked by it. What was asked for, by whom, and what came of
it is in `imprint events`.

Exits with 0 only when the system has said that the password is set.

Examples:
  imprint guest reset-password web-07 --user root
  pass show web-07 | imprint guest reset-password web-07 --user admin --password-stdin")]
    ResetPassword {
        /// Id, name, UUID, serial or MAC
        node: String,
        /// A user of the installed system
        #[arg(long)]
        user: String,
        /// Read the password from standard input, its first line; there is no flag for it, flags can be read by others
        #[arg(long)]
        password_stdin: bool,
        /// Seconds until the order is good no more
        #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u32).range(10..=900))]
        life: u32,
    },
    /// The last orders to set a password on a server
    #[command(after_help = "\
States: sent, done, refused, expired (nothing was heard of it in its time).

Example:
  imprint guest resets web-07")]
    Resets {
        /// Id, name, UUID, serial or MAC
        node: String,
    },
}
