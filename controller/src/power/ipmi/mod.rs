//! BMCs that speak IPMI alone: older machines, by the program `ipmitool`. Its password is in its environment, which nobody
//! else can read, and never on its command line.

mod parse;
mod sol;

use std::{
    io::{self, ErrorKind},
    process::{ExitStatus, Stdio},
};

use futures::future::BoxFuture;
use tokio::process::Command;
use zeroize::Zeroizing;

use super::{
    BmcError,
    bmc::{Bmc, BootTarget, Hardware, Override, PowerState, Switch},
    quirks::BmcQuirks,
    redfish::plain,
};

/// Takes what one command has printed.
type ReadsPart = fn(&str, &mut Hardware);

const PROGRAM: &str = "ipmitool";
/// What IPMI 2.0 has room for.
pub(super) const LONGEST_PASSWORD: usize = 20;
/// Port of IPMI.
pub(super) const PORT: u16 = 623;
/// Longest output that is looked at.
const MAX_OUTPUT_BYTES: usize = 256 << 10;

/// A BMC and who asks it.
pub(super) struct Ipmi {
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: Zeroizing<String>,
    /// The server boots by UEFI: overrides have to say so.
    pub uefi: bool,
    pub quirks: BmcQuirks,
}

impl std::fmt::Debug for Ipmi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ipmi({} as {})", self.address(), self.user)
    }
}

impl Ipmi {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["-I", "lanplus", "-H", &self.host, "-p", &self.port.to_string()])
            // Without -v it does not say whether a password is wrong or nobody is there.
            .args(["-U", &self.user, "-E", "-v"]);
        if let Some(suite) = self.quirks.cipher_suite {
            command.args(["-C", &suite.to_string()]);
        }
        command
            .args(arguments)
            .env("IPMITOOL_PASSWORD", &*self.password)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Its output, when it succeeds.
    async fn run(&self, arguments: &[&str]) -> Result<String, BmcError> {
        let limit = self.quirks.request() * 2;
        let done = match tokio::time::timeout(limit, self.command(arguments).output()).await {
            Err(_) => {
                return Err(BmcError::Silent {
                    address: self.address(),
                    said: format!("not done within {} s", limit.as_secs()),
                });
            }
            Ok(Err(error)) => return Err(unusable(&error)),
            Ok(Ok(done)) => done,
        };
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_OUTPUT_BYTES)]).into_owned();
        if done.status.success() {
            return Ok(text(&done.stdout));
        }
        Err(self.failure(arguments, done.status, &text(&done.stderr)))
    }

    /// Why a command has failed, by what it has said.
    fn failure(&self, arguments: &[&str], status: ExitStatus, complained: &str) -> BmcError {
        let said = plain(&parse::reasons(complained));
        match parse::refusal(complained) {
            parse::Refusal::Silent => BmcError::Silent {
                address: self.address(),
                said,
            },
            parse::Refusal::Credentials => BmcError::Credentials {
                address: self.address(),
                user: self.user.clone(),
            },
            parse::Refusal::Forbidden => BmcError::Forbidden {
                address: self.address(),
                user: self.user.clone(),
                call: arguments.join(" "),
            },
            parse::Refusal::Other => BmcError::Refused {
                address: self.address(),
                call: arguments.join(" "),
                status: status.code().unwrap_or(-1),
                said: if said.is_empty() {
                    "it gives no reason".to_owned()
                } else {
                    said
                },
            },
        }
    }

    async fn describe(&self) -> Result<Hardware, BmcError> {
        let mut found = Hardware {
            power: self.power().await?,
            ..Hardware::default()
        };
        // The server is described all the same when a part of this is not there.
        let parts: [(&[&str], ReadsPart); 3] = [
            (&["mc", "info"], parse::controller),
            (&["fru", "print", "0"], parse::unit),
            (&["-c", "sdr", "list"], parse::sensors),
        ];
        for (arguments, read) in parts {
            match self.run(arguments).await {
                Ok(output) => read(&output, &mut found),
                Err(error @ (BmcError::Refused { .. } | BmcError::Forbidden { .. })) => {
                    found.missing.push(format!("{}: {error}", arguments.join(" ")));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn lacks(&self, what: &'static str) -> BmcError {
        BmcError::Lacks {
            address: self.address(),
            what,
        }
    }

    async fn set_boot(&self, device: &str) -> Result<(), BmcError> {
        let mut arguments = vec!["chassis", "bootdev", device];
        if self.uefi && device != "none" {
            arguments.push("options=efiboot");
        }
        self.run(&arguments).await.map(drop)
    }
}

impl Bmc for Ipmi {
    fn power(&self) -> BoxFuture<'_, Result<PowerState, BmcError>> {
        Box::pin(async { Ok(parse::power(&self.run(&["chassis", "power", "status"]).await?)) })
    }

    fn switch(&self, switch: Switch) -> BoxFuture<'_, Result<(), BmcError>> {
        let word = match switch {
            Switch::On => "on",
            Switch::Off => "off",
            Switch::ShutDown => "soft",
        };
        Box::pin(async move { self.run(&["chassis", "power", word]).await.map(drop) })
    }

    fn boot_once(&self, target: BootTarget) -> BoxFuture<'_, Result<Override, BmcError>> {
        let device = match target {
            BootTarget::Pxe => Some("pxe"),
            BootTarget::Cd => Some("cdrom"),
            BootTarget::Disk => Some("disk"),
            BootTarget::UefiHttp => None,
        };
        Box::pin(async move {
            let allowed = ["pxe", "cd", "disk"].map(str::to_owned).to_vec();
            let refused = |allowed| BmcError::Target {
                address: self.address(),
                target,
                allowed,
            };
            if self.quirks.no_boot_override == Some(true) {
                return Err(refused(Vec::new()));
            }
            let device = device.ok_or_else(|| refused(allowed))?;
            self.set_boot(device).await?;
            Ok(Override::Once)
        })
    }

    fn boot_as_ordered(&self) -> BoxFuture<'_, Result<(), BmcError>> {
        Box::pin(self.set_boot("none"))
    }

    fn set_media<'a>(&'a self, _url: Option<&'a str>) -> BoxFuture<'a, Result<(), BmcError>> {
        Box::pin(async { Err(self.lacks("virtual CD: IPMI knows none")) })
    }

    fn hardware(&self) -> BoxFuture<'_, Result<Hardware, BmcError>> {
        Box::pin(self.describe())
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Why the program could not be started, or not be read from.
fn unusable(error: &io::Error) -> BmcError {
    BmcError::Tool(match error.kind() {
        ErrorKind::NotFound => "it is not installed".to_owned(),
        _ => error.to_string(),
    })
}

/// HOST, HOST:PORT, or [IPv6]:PORT.
pub(super) fn place(address: &str) -> Option<(String, u16)> {
    let is_host = |host: &str| {
        !host.is_empty()
            && host.len() <= 253
            // Nothing that a program takes for an option.
            && !host.starts_with('-')
            && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:%_".contains(&byte))
    };
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest.strip_prefix(':') {
                Some(port) => port.parse().ok()?,
                None if rest.is_empty() => PORT,
                None => return None,
            };
            (host, port)
        }
        None => match address.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, port.parse().ok()?),
            // A bare IPv6 address.
            _ => (address, PORT),
        },
    };
    (is_host(host) && port != 0).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_perhaps_a_port() {
        for (address, expected) in [
            ("10.0.0.5", Some(("10.0.0.5", 623))),
            ("bmc-7.example.net:6230", Some(("bmc-7.example.net", 6230))),
            ("fd00::5", Some(("fd00::5", 623))),
            ("[fd00::5]", Some(("fd00::5", 623))),
            ("[fd00::5]:6230", Some(("fd00::5", 6230))),
            ("", None),
            (":623", None),
            ("-h", None),
            ("host:0", None),
            ("host:x", None),
            ("a b", None),
            ("[fd00::5]x", None),
        ] {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(place(address), expected, "{address}");
        }
    }

    #[tokio::test]
    async fn the_password_is_on_no_command_line() {
        let bmc = Ipmi {
            host: "192.0.2.1".to_owned(),
            port: PORT,
            user: "admin".to_owned(),
            password: Zeroizing::new("hunter2".to_owned()),
            uefi: true,
            quirks: BmcQuirks {
                cipher_suite: Some(3),
                ..BmcQuirks::default()
            },
        };
        let command = bmc.command(&["chassis", "power", "status"]);
        let line: Vec<_> = command
            .as_std()
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        let line = line.join(" ");
        assert_eq!(
            line,
            "-I lanplus -H 192.0.2.1 -p 623 -U admin -E -v -C 3 chassis power status"
        );
        assert!(!format!("{bmc:?}").contains("hunter2"));
    }
}
