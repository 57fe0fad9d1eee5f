//! A large file on its way to the controller, in as many pieces as its connection needs.
//!
//! The digest of the file comes first. It is what the controller compares at the end, and what tells a later run of the
//! command that what is there already is the beginning of the same file.

use std::{
    io::{self, SeekFrom},
    path::Path,
    time::{Duration, Instant},
};

use futures::TryStreamExt as _;
use indicatif::ProgressBar;
use reqwest::Body;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use crate::{
    client::Client,
    fault::Fault,
    live, measure,
    output::{self, Output},
};

const PIECE: usize = 256 << 10;
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// A controller that restarts, or a network that is mended, is back by then.
const UNREACHABLE: Duration = Duration::from_secs(15 * 60);

/// A file to send.
#[derive(Debug)]
pub struct File<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// What it is called while it is sent.
    pub label: &'a str,
    /// The digest that it must have.
    pub sha256: Option<[u8; 32]>,
}

impl File<'_> {
    /// Sends it and starts its import; gives the job.
    pub async fn send(
        &self,
        client: &Client,
        request: impl FnOnce([u8; 32]) -> Map<String, Value>,
        output: &Output,
    ) -> Result<Value, Fault> {
        let length = self.length()?;
        let sha256 = self.digest(length, output).await?;
        if let Some(expected) = self.sha256.filter(|expected| *expected != sha256) {
            return Err(Fault::local(
                "The image is not the one that was meant",
                format!(
                    "{} has the SHA-256 {}, expected {}",
                    self.path.display(),
                    hex::encode(sha256),
                    hex::encode(expected)
                ),
                "Fetch it again, and compare the digest with its publisher's; nothing was sent.",
            ));
        }
        let mut request = request(sha256);
        let id = self.begin(client, &mut request, length, sha256, output).await?;
        self.send_all(client, &id, length, output).await?;
        client
            .post(&["v1", "uploads", &id, "complete"], &Map::new(), None)
            .await
    }

    fn length(&self) -> Result<u64, Fault> {
        let about = std::fs::metadata(self.path).map_err(|error| Fault::unreadable(self.path, &error))?;
        Ok(about.len())
    }

    async fn digest(&self, length: u64, output: &Output) -> Result<[u8; 32], Fault> {
        let unreadable = |error| Fault::unreadable(self.path, &error);
        let bar = live::transfer(
            output.live,
            &format!("{}: checks the file", self.label),
            Some(length),
        );
        let mut file = tokio::fs::File::open(self.path).await.map_err(unreadable)?;
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).await.map_err(unreadable)? {
                0 => break,
                got => {
                    hash.update(&buffer[..got]);
                    bar.inc(got as u64);
                }
            }
        }
        bar.finish_and_clear();
        Ok(hash.finalize().into())
    }

    /// The upload of an earlier run, or a new one.
    async fn begin(
        &self,
        client: &Client,
        request: &mut Map<String, Value>,
        length: u64,
        sha256: [u8; 32],
        output: &Output,
    ) -> Result<String, Fault> {
        let known = client.list(&["v1", "uploads"], &[]).await?;
        let digest = hex::encode(sha256);
        let same = known.iter().find(|upload| {
            upload["length"] == json!(length)
                && upload["request"]["sha256"] == json!(digest)
                && request
                    .iter()
                    .all(|(name, value)| said_the_same(&upload["request"][name], value))
        });
        if let Some(upload) = same {
            let offset = upload["offset"].as_u64().unwrap_or(0);
            if !output.is_json() {
                output::say(&format!(
                    "goes on with an earlier upload: {} of {} are there\n",
                    measure::bytes(offset),
                    measure::bytes(length)
                ));
            }
            return Ok(upload["id"].as_str().unwrap_or_default().to_owned());
        }
        request.insert("length".to_owned(), json!(length));
        let upload = client.post(&["v1", "uploads"], request, None).await?;
        Ok(upload["id"].as_str().unwrap_or_default().to_owned())
    }

    async fn send_all(&self, client: &Client, id: &str, length: u64, output: &Output) -> Result<(), Fault> {
        if !output.live {
            let size = measure::bytes(length);
            output::say(&format!("uploading {} ({size})\n", self.path.display()));
        }
        let bar = live::transfer(output.live, self.label, Some(length));
        let path = ["v1", "uploads", id];
        let (mut furthest, mut moved, mut wait) = (0, Instant::now(), FIRST_WAIT);
        let sent = loop {
            let fault = match self.send_rest(client, &path, length, &bar).await {
                Ok(offset) if offset >= length => break Ok(()),
                Ok(offset) => {
                    if offset > furthest {
                        (furthest, moved, wait) = (offset, Instant::now(), FIRST_WAIT);
                    }
                    continue;
                }
                Err(fault) => fault,
            };
            if !(fault.is_transient() || fault.is_conflict()) || moved.elapsed() >= UNREACHABLE {
                break Err(fault);
            }
            bar.suspend(|| output::say(&format!("{fault}; going on in {} s\n", wait.as_secs().max(1))));
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        };
        bar.finish_and_clear();
        sent
    }

    /// Asks how far the upload is and sends what is missing; gives how far it is then.
    async fn send_rest(
        &self,
        client: &Client,
        path: &[&str],
        length: u64,
        bar: &ProgressBar,
    ) -> Result<u64, Fault> {
        let offset = client.upload_offset(path).await?;
        bar.set_position(offset);
        if offset >= length {
            return Ok(offset);
        }
        let unreadable = |error: io::Error| Fault::unreadable(self.path, &error);
        let mut file = tokio::fs::File::open(self.path).await.map_err(unreadable)?;
        file.seek(SeekFrom::Start(offset)).await.map_err(unreadable)?;
        let counting = bar.clone();
        let rest = ReaderStream::with_capacity(file.take(length - offset), PIECE)
            .inspect_ok(move |piece| counting.inc(piece.len() as u64));
        client
            .append(path, offset, Body::wrap_stream(rest), length - offset)
            .await
    }
}

/// Lists may be words joined by commas on the way there.
fn said_the_same(kept: &Value, said: &Value) -> bool {
    let words = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Array(words) => words
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    };
    words(kept) == words(said)
}
