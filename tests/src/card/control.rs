//! Commands over a socket: one a line, answered by `ok`, or `error:` with what was wrong.
//!
//! | command | effect |
//! |---|---|
//! | `slow MS` | every call waits; 0 ends it |
//! | `fail N CODE` | the next N calls fail with a gRPC status, by name or number, and do nothing |
//! | `lose N` | the next N calls are done, and their answers replaced by `UNAVAILABLE` |
//! | `present right`, `wrong-size`, `wrong-serial`, `never` | how disks show up from now on |
//! | `backend lost`, `backend back` | the storage goes away, and comes back |
//! | `restart [CODE]` | the process ends at once; whoever started it starts it again |
//! | `calls` | answers `ok N`: gRPC calls since the start |

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tonic::Code;

use super::faults::{Failing, Fault, Faults, Looks};

/// More is no command.
const LONGEST_TALK: u64 = 64 * 1024;

/// Listens until the card ends.
pub async fn listen(listener: UnixListener, faults: Faults) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await.context("the control socket is broken")?;
        let faults = faults.clone();
        tokio::spawn(async move {
            if let Err(error) = talk(stream, &faults).await {
                eprintln!("control: {error}");
            }
        });
    }
}

async fn talk(mut stream: UnixStream, faults: &Faults) -> std::io::Result<()> {
    let (read, mut write) = stream.split();
    let mut lines = BufReader::new(read.take(LONGEST_TALK)).lines();
    while let Some(line) = lines.next_line().await? {
        let answer = match line.trim() {
            "calls" => format!("ok {}\n", faults.switches().calls),
            line => match parse(line) {
                Ok(fault) => {
                    faults.put(fault);
                    "ok\n".to_owned()
                }
                Err(error) => format!("error: {error}\n"),
            },
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}

/// One command.
pub fn parse(line: &str) -> Result<Fault, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |text: &str| text.parse::<u32>().map_err(|_| format!("{text:?} is no number"));
    Ok(match words[..] {
        ["slow", ms] => Fault::Slow(Duration::from_millis(number(ms)?.into())),
        ["fail", calls, status] => Fault::Fail(Failing {
            left: number(calls)?,
            code: code(status).ok_or_else(|| format!("{status:?} is no status of gRPC that fails"))?,
            done: false,
        }),
        ["lose", calls] => Fault::Fail(Failing {
            left: number(calls)?,
            code: Code::Unavailable,
            done: true,
        }),
        ["present", "right"] => Fault::Present(Looks::Right),
        ["present", "wrong-size"] => Fault::Present(Looks::WrongSize),
        ["present", "wrong-serial"] => Fault::Present(Looks::WrongSerial),
        ["present", "never"] => Fault::Present(Looks::Never),
        ["backend", "lost"] => Fault::Lost(true),
        ["backend", "back"] => Fault::Lost(false),
        ["restart"] => Fault::Restart(0),
        ["restart", code] => {
            let code = code.parse();
            Fault::Restart(code.map_err(|_| "an exit code is 0 to 255".to_owned())?)
        }
        _ => {
            return Err(format!(
                "{line:?} is no command; there are slow, fail, lose, present, backend, restart, calls"
            ));
        }
    })
}

/// `UNAVAILABLE`, or 14.
fn code(text: &str) -> Option<Code> {
    let all = (1..=16).map(Code::from_i32);
    let plain = |text: &str| text.replace('_', "").to_ascii_lowercase();
    let wanted = plain(text);
    let mut found =
        all.filter(|code| (*code as i32).to_string() == wanted || plain(&format!("{code:?}")) == wanted);
    found.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands() {
        assert_eq!(parse("slow 1500"), Ok(Fault::Slow(Duration::from_millis(1500))));
        let failing = |left, code, done| Ok(Fault::Fail(Failing { left, code, done }));
        assert_eq!(
            parse("fail 2 RESOURCE_EXHAUSTED"),
            failing(2, Code::ResourceExhausted, false)
        );
        assert_eq!(parse("fail 1 14"), failing(1, Code::Unavailable, false));
        assert_eq!(parse(" lose  3 "), failing(3, Code::Unavailable, true));
        assert_eq!(parse("present never"), Ok(Fault::Present(Looks::Never)));
        assert_eq!(parse("backend lost"), Ok(Fault::Lost(true)));
        assert_eq!(parse("restart 75"), Ok(Fault::Restart(75)));
        for bad in [
            "",
            "slow",
            "slow x",
            "fail 1 OK",
            "fail 1 0",
            "present",
            "restart 256",
            "reboot",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
