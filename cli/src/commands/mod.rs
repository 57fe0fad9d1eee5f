//! One file for each noun of the command line.

mod batch;
mod billing;
mod console;
mod contents;
mod copies;
mod deploy;
mod deployment;
mod deployment_log;
mod events;
mod guest;
mod image;
mod image_change;
mod import;
mod job;
mod matching;
mod model;
mod names;
mod node;
mod plan;
mod power;
mod project;
mod release;
mod rescue;
mod sharing;
mod store;
mod token;
mod user;
mod version;
mod volume;
mod watch;
mod webhook;

use crate::{
    arguments::{Arguments, Command},
    connection,
    fault::Fault,
    output::Output,
};

/// Does what the command line says.
pub async fn run(arguments: Arguments, output: &Output) -> Result<(), Fault> {
    if matches!(arguments.command, Command::Version) {
        return version::show(&arguments.connection, output).await;
    }
    let client = connection::open(&arguments.connection)?;
    match arguments.command {
        Command::Image(command) => image::run(&client, command, output).await,
        Command::Node(command) => node::run(&client, command, output).await,
        Command::Guest(command) => guest::run(&client, command, output).await,
        Command::Volume(command) => volume::run(&client, command, output).await,
        Command::Model(command) => model::run(&client, command, output).await,
        Command::Match(asked) => matching::run(&client, asked, output).await,
        Command::Deploy(arguments) => deploy::run(&client, arguments, output).await,
        Command::Batch(command) => batch::run(&client, command, output).await,
        Command::Reinstall(arguments) => deploy::reinstall(&client, arguments, output).await,
        Command::Release(arguments) => release::run(&client, arguments, output).await,
        Command::Rescue(arguments) => rescue::run(&client, arguments, output).await,
        Command::Deployment(command) => deployment::run(&client, command, output).await,
        Command::Job(command) => job::run(&client, command, output).await,
        Command::Store(command) => store::run(&client, command, output).await,
        Command::Watch { node } => watch::run(&client, node, output).await,
        Command::Why { node } => node::why(&client, &node, output).await,
        Command::Events { node, last, follow } => events::run(&client, node, last, follow, output).await,
        Command::Webhook(command) => webhook::run(&client, command, output).await,
        Command::Project(command) => project::run(&client, command, output).await,
        Command::Quota(command) => billing::quota(&client, command, output).await,
        Command::Usage(asked) => billing::usage(&client, asked, output).await,
        Command::User(command) => user::run(&client, command, output).await,
        Command::Token(command) => token::run(&client, command, output).await,
        Command::Whoami => token::who_am_i(&client, output).await,
        Command::Version => Ok(()),
    }
}
