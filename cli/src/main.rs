//! `imprint`: the operator's command.
//!
//! It is a thin client of the REST API: it asks, waits and shows, and decides nothing that the controller decides.
//!
//! - [`arguments`]: the command line, and what each command is good for.
//! - [`connection`], [`client`]: URL, token and CA become a client; requests, pages and problem documents.
//! - [`stream`]: the live event stream, with reconnects.
//! - [`live`]: what is shown while something runs: a model without a terminal, and the screen that draws it.
//! - [`upload`]: sends a large file in pieces.
//! - [`job_wait`]: waits for one job of the controller.
//! - [`wait`]: waits for deployments; polling is the truth, the stream only makes it quick.
//! - [`commands`]: one file for each noun.
//!
//! Invariants: standard output carries the result and nothing else, so that `--output json` can be piped; progress and
//! errors go to standard error; escape codes are written to terminals only; the exit code is 0 only on success.

mod answer;
mod arguments;
mod client;
mod commands;
mod connection;
mod download;
mod fault;
mod job_wait;
mod live;
mod measure;
mod output;
mod source;
mod stream;
mod table;
mod upload;
mod wait;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{arguments::Arguments, fault::Fault, output::Output};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.connection.output);
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        unreachable!("nothing ran before that could have installed a provider");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return output.failed(&Fault::local(
                "cannot start the runtime",
                error.to_string(),
                "free some memory",
            ));
        }
    };
    let result = runtime.block_on(commands::run(arguments, &output));
    // Reading standard input cannot be cancelled; do not wait for it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => output.failed(&fault),
    }
}
