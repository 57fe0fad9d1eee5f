//! `imprint node console`

use std::{io::Read as _, thread};

use bytes::Bytes;
use futures::stream;
use reqwest::Body;
use tokio::sync::mpsc;

use crate::{client::Client, fault::Fault, output::Output};

/// Bytes that are read at once.
const PIECE: usize = 16 << 10;
/// Pieces that wait for the network; then whoever writes the input waits.
const AHEAD: usize = 16;

/// Sends standard input as it comes, until it ends.
pub async fn run(client: &Client, node: &str, output: &Output) -> Result<(), Fault> {
    let (pieces, mut waiting) = mpsc::channel(AHEAD);
    // A thread of its own, which nobody waits for when the controller has refused: it may read for ever.
    thread::spawn(move || {
        let (mut input, mut piece) = (std::io::stdin().lock(), vec![0; PIECE]);
        loop {
            let read = match input.read(&mut piece) {
                Ok(0) => return,
                Ok(count) => Ok(Bytes::copy_from_slice(&piece[..count])),
                Err(error) => Err(error),
            };
            let failed = read.is_err();
            if pieces.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    let body = Body::wrap_stream(stream::poll_fn(move |context| waiting.poll_recv(context)));
    let taken = client
        .upload(&["v1", "nodes", node, "console"], &[], body, None)
        .await?;
    output.result(&taken, || {
        let (kept, other) = (&taken["kept_lines"], &taken["other_lines"]);
        format!("{kept} lines kept; {other} came while no deployment ran on {node}\n")
    })
}
