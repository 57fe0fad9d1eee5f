//! A server's serial console by Serial over LAN (IPMI 2.0, chapter 15): `ipmitool sol activate`, of which nothing is typed into.

use std::{
    io,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, copy, sink},
    process::{Child, ChildStdout},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Ipmi, MAX_OUTPUT_BYTES, unusable};
use crate::{logs::ConsoleLines, power::BmcError};

/// How long it may take to end the session, so that the BMC has its console free for others.
const FAREWELL: Duration = Duration::from_secs(5);
/// What `ipmitool` says itself when it begins, between the lines of the server.
const GREETING: &str = "[SOL Session operational";

impl Ipmi {
    /// Hands over what the server writes on its console, until `stop`, or until the BMC ends it.
    ///
    /// # Errors
    /// When the BMC does not let its console be read, or no more.
    pub(in crate::power) async fn read_console(
        &self,
        stop: &CancellationToken,
        take: impl FnMut(&[String]),
    ) -> Result<(), BmcError> {
        let arguments = ["sol", "activate"];
        let mut command = self.command(&arguments);
        // It ends when there is nobody to type.
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| unusable(&error))?;
        let (Some(output), Some(complaints)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(BmcError::Tool("it has no output".to_owned()));
        };
        let (ended, said) = tokio::join!(lines(&mut child, output, stop, take), bounded(complaints));
        match ended {
            Ended::Asked => Ok(()),
            Ended::Itself(Ok(status)) if status.success() => Ok(()),
            Ended::Itself(Ok(status)) => Err(self.failure(&arguments, status, &said)),
            Ended::Itself(Err(error)) => Err(unusable(&error)),
        }
    }
}

/// How a session came to its end.
enum Ended {
    Asked,
    Itself(io::Result<ExitStatus>),
}

async fn lines(
    child: &mut Child,
    mut output: ChildStdout,
    stop: &CancellationToken,
    mut take: impl FnMut(&[String]),
) -> Ended {
    let (mut console, mut buffer) = (ConsoleLines::default(), vec![0; 4096]);
    let mut hand_over = |mut lines: Vec<String>| {
        lines.retain(|line| !line.starts_with(GREETING));
        if !lines.is_empty() {
            take(&lines);
        }
    };
    let asked = loop {
        tokio::select! {
            () = stop.cancelled() => break true,
            read = output.read(&mut buffer) => match read {
                Ok(0) | Err(_) => break false,
                Ok(length) => hand_over(console.take(&buffer[..length])),
            },
        }
    };
    hand_over(console.rest().into_iter().collect());
    if !asked {
        return Ended::Itself(child.wait().await);
    }
    drop(child.stdin.take());
    let farewell = async {
        copy(&mut output, &mut sink()).await?;
        child.wait().await
    };
    if timeout(FAREWELL, farewell).await.is_err()
        && let Err(error) = child.start_kill()
    {
        tracing::warn!(%error, "ipmitool does not end");
    }
    Ended::Asked
}

/// The beginning of what comes, to its end.
async fn bounded(mut from: impl AsyncRead + Unpin) -> String {
    let mut said = Vec::new();
    // What can be had of it is enough.
    let _ = (&mut from)
        .take(MAX_OUTPUT_BYTES as u64)
        .read_to_end(&mut said)
        .await;
    let _ = copy(&mut from, &mut sink()).await;
    String::from_utf8_lossy(&said).into_owned()
}
