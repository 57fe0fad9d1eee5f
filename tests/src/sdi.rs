//! A server's SDI card ([`crate::card`]) as a process beside it, and the storage system behind the cards: volumes are files,
//! and each is an export of one NBD server.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::process::{self, Service};

/// The lab's storage system.
pub const STORAGE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 10_809);
/// The first server's card listens there, the next one's at the next.
const FIRST_PORT: u16 = 50_051;
/// How long a server may hold a disk that is taken away. Its kernel waits 5 s before it lets go, and processors are slow; the
/// controller waits a minute for the answer.
const UNPLUG_SECONDS: &str = "45";
/// Longer than any fault of the lab lasts.
const PATIENCE_SECONDS: &str = "120";
const QUICK: Duration = Duration::from_secs(20);
/// More is no answer of a card.
const LONGEST_ANSWER: u64 = 4096;

/// A card to be built into a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SdiSpec {
    /// Its PCI functions, each a root port of the server.
    pub functions: u8,
}

impl SdiSpec {
    /// QEMU's arguments for it. `socket` is the card's alone. The server is held until its card lets it go, so that firmware
    /// finds what is there.
    pub fn arguments(self, socket: &Path) -> Vec<String> {
        // The slot itself is asked, and not the system by ACPI, as with a real card.
        let mut arguments = vec![
            "-global".to_owned(),
            "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off".to_owned(),
        ];
        for function in 0..self.functions {
            let place = function + 1;
            arguments.extend([
                "-device".to_owned(),
                format!("pcie-root-port,id=sdi{function},chassis={place},slot={place}"),
            ]);
        }
        arguments.extend([
            "-qmp".to_owned(),
            format!("unix:{},server=on,wait=off", socket.display()),
            "-S".to_owned(),
        ]);
        arguments
    }
}

/// Where a card is plugged in.
#[derive(Debug, Clone, Copy)]
pub struct CardPlace<'a> {
    /// The program that is the card, with the command `card`.
    pub program: &'a Path,
    /// Gets its books, sockets and log.
    pub folder: &'a Path,
    /// The server's name, which its files begin with.
    pub server: &'a str,
    /// Its functions.
    pub spec: SdiSpec,
    /// Where the controller asks it.
    pub listen: SocketAddr,
    /// Its NBD server.
    pub storage: SocketAddr,
}

impl CardPlace<'_> {
    /// Where the card of the lab's server with this number listens.
    pub fn address_of(number: usize) -> Result<SocketAddr> {
        let port = u16::try_from(number.saturating_sub(1)).ok();
        let port = port.and_then(|number| FIRST_PORT.checked_add(number));
        Ok((Ipv4Addr::LOCALHOST, port.context("too many servers")?).into())
    }

    fn file(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.server))
    }

    fn arguments(&self) -> Vec<String> {
        let path = |path: PathBuf| path.display().to_string();
        let mut arguments = vec!["card".to_owned()];
        for (name, value) in [
            ("--listen", self.listen.to_string()),
            ("--qmp", path(socket(self.folder, self.server))),
            ("--relays", path(self.file("relays"))),
            ("--storage", self.storage.to_string()),
            ("--functions", self.spec.functions.to_string()),
            ("--serial", "volume".to_owned()),
            ("--state", path(self.file("card.json"))),
            ("--control", path(self.file("card.ctl"))),
            ("--unplug-seconds", UNPLUG_SECONDS.to_owned()),
            ("--patience-seconds", PATIENCE_SECONDS.to_owned()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        arguments
    }
}

/// A server's QMP for its card alone.
pub fn socket(folder: &Path, server: &str) -> PathBuf {
    folder.join(format!("{server}.card.qmp"))
}

/// A card that is plugged in; it ends when this is dropped.
#[derive(Debug)]
pub struct Card {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    listen: SocketAddr,
    control: PathBuf,
    log: PathBuf,
    service: Option<Service>,
}

impl Card {
    /// Starts a card, and waits until it answers.
    pub fn start(place: &CardPlace<'_>) -> Result<Self> {
        fs::create_dir_all(place.file("relays")).context("cannot create the folder of a card's sockets")?;
        let mut card = Self {
            name: format!("the card of {}", place.server),
            program: place.program.to_owned(),
            arguments: place.arguments(),
            listen: place.listen,
            control: place.file("card.ctl"),
            log: place.file("card.log"),
            service: None,
        };
        card.switch_on()?;
        Ok(card)
    }

    /// Where the controller asks it, as HOST:PORT.
    pub fn address(&self) -> String {
        self.listen.to_string()
    }

    /// Starts it after it was killed; its books are as they were.
    pub fn switch_on(&mut self) -> Result<()> {
        ensure!(self.service.is_none(), "{} is on already", self.name);
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null());
        self.service = Some(listening(&self.name, &mut command, &self.log, self.listen)?);
        Ok(())
    }

    /// Takes its power away: no answers, and no disk gets any further, until [`Self::switch_on`].
    pub fn kill(&mut self) -> Result<()> {
        let service = self.service.take();
        service.with_context(|| format!("{} is off", self.name))?.kill()
    }

    /// It ends by itself, and starts again with the books that it has kept.
    pub fn restart(&mut self) -> Result<()> {
        // It may end before its answer is out.
        let mut stream = self.dial()?;
        stream
            .write_all(b"restart\n")
            .with_context(|| format!("{} takes no commands", self.name))?;
        let mut service = self.service.take().context("a card that is off has answered")?;
        let status = service.wait(QUICK)?;
        ensure!(status.success(), "{} has ended with {status}", self.name);
        self.switch_on()
    }

    /// Gives it a command ([`crate::card::control`]); answers what it says beside `ok`.
    pub fn control(&self, command: &str) -> Result<String> {
        let mut stream = self.dial()?;
        let mut said = String::new();
        stream
            .write_all(format!("{command}\n").as_bytes())
            .and_then(|()| BufReader::new(stream.take(LONGEST_ANSWER)).read_line(&mut said))
            .with_context(|| format!("{} does not take `{command}`", self.name))?;
        match said.trim().strip_prefix("ok") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => bail!("{} answers `{command}` by: {}", self.name, said.trim()),
        }
    }

    /// An error when it has ended by itself.
    pub fn expect_running(&mut self) -> Result<()> {
        match &mut self.service {
            Some(service) => service.expect_running(),
            None => bail!("{} is off", self.name),
        }
    }

    fn dial(&self) -> Result<UnixStream> {
        let connect = || -> io::Result<UnixStream> {
            let stream = UnixStream::connect(&self.control)?;
            stream.set_read_timeout(Some(QUICK))?;
            Ok(stream)
        };
        connect().with_context(|| format!("{} has nobody who takes commands", self.name))
    }
}

/// A volume to be made.
#[derive(Debug, Clone, Copy)]
pub struct VolumeSpec {
    /// Name of its export: what a card calls it.
    pub name: &'static str,
    /// Its size.
    pub size_mib: u64,
    /// Bytes a second it takes at most.
    pub write_limit: Option<u64>,
}

impl VolumeSpec {
    /// A fast volume.
    pub fn new(name: &'static str, size_mib: u64) -> Self {
        Self {
            name,
            size_mib,
            write_limit: None,
        }
    }

    /// The same, slow.
    pub fn slow(self, mib_per_second: u64) -> Self {
        Self {
            write_limit: Some(mib_per_second << 20),
            ..self
        }
    }

    fn arguments(&self, index: usize, file: &Path) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
        add(
            "--blockdev",
            format!(
                "driver=file,node-name=file{index},filename={},discard=unmap,cache.no-flush=on",
                file.display()
            ),
        );
        add(
            "--blockdev",
            format!("driver=raw,node-name=whole{index},file=file{index},discard=unmap,detect-zeroes=unmap"),
        );
        let mut end = format!("whole{index}");
        if let Some(bytes) = self.write_limit {
            add(
                "--object",
                format!("throttle-group,id=limit{index},limits.bps-write={bytes}"),
            );
            end = format!("slow{index}");
            add(
                "--blockdev",
                format!("driver=throttle,node-name={end},throttle-group=limit{index},file=whole{index}"),
            );
        }
        add(
            "--export",
            format!(
                "type=nbd,id=export{index},node-name={end},name={},writable=on",
                self.name
            ),
        );
        arguments
    }
}

/// A storage system with volumes; it ends when this is dropped.
#[derive(Debug)]
pub struct Storage {
    address: SocketAddr,
    volumes: Vec<(VolumeSpec, PathBuf)>,
    log: PathBuf,
    service: Option<Service>,
}

impl Storage {
    /// Makes empty volumes in `folder`, and serves them.
    pub fn start(folder: &Path, address: SocketAddr, specs: &[VolumeSpec]) -> Result<Self> {
        let mut volumes = Vec::new();
        for spec in specs {
            let path = folder.join(format!("volume-{}.raw", spec.name));
            let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            file.set_len(spec.size_mib << 20)
                .context("cannot size the volume")?;
            volumes.push((*spec, path));
        }
        let mut storage = Self {
            address,
            volumes,
            log: folder.join("storage.log"),
            service: None,
        };
        storage.switch_on()?;
        Ok(storage)
    }

    /// Serves again after it was killed.
    pub fn switch_on(&mut self) -> Result<()> {
        ensure!(self.service.is_none(), "the storage system is on already");
        let mut command = Command::new("qemu-storage-daemon");
        command.args(self.arguments()).stdin(Stdio::null());
        let service = listening("the storage system", &mut command, &self.log, self.address)?;
        self.service = Some(service);
        Ok(())
    }

    /// Takes its power away.
    pub fn kill(&mut self) -> Result<()> {
        let service = self.service.take();
        service.context("the storage system is off")?.kill()
    }

    /// The file that holds a volume's bytes.
    pub fn path(&self, name: &str) -> Result<&Path> {
        let found = self.volumes.iter().find(|(spec, _)| spec.name == name);
        let (_, path) = found.with_context(|| format!("there is no volume {name}"))?;
        Ok(path)
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "--nbd-server".to_owned(),
            format!(
                "addr.type=inet,addr.host={},addr.port={}",
                self.address.ip(),
                self.address.port()
            ),
        ];
        for (index, (spec, path)) in self.volumes.iter().enumerate() {
            arguments.extend(spec.arguments(index, path));
        }
        arguments
    }
}

/// Starts a program, and waits until it listens.
fn listening(name: &str, command: &mut Command, log: &Path, address: SocketAddr) -> Result<Service> {
    let mut service = Service::start(name, command, log)?;
    interrupt::until(&format!("{name} to listen at {address}"), QUICK, || {
        service.expect_running()?;
        Ok(TcpStream::connect_timeout(&address, QUICK).ok())
    })
    .explain(|| format!("its log:\n{}", process::file_tail(log, 15)))?;
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_root_port_for_each_function_and_is_held() {
        let arguments = SdiSpec { functions: 2 }.arguments(Path::new("/lab/card.qmp"));
        assert_eq!(
            arguments.join(" "),
            "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off \
             -device pcie-root-port,id=sdi0,chassis=1,slot=1 -device pcie-root-port,id=sdi1,chassis=2,slot=2 \
             -qmp unix:/lab/card.qmp,server=on,wait=off -S"
        );
    }

    #[test]
    fn a_card_is_told_where_everything_is() {
        let place = CardPlace {
            program: Path::new("imprint-lab"),
            folder: Path::new("/lab"),
            server: "node-2",
            spec: SdiSpec { functions: 3 },
            listen: CardPlace::address_of(2).unwrap(),
            storage: STORAGE,
        };
        let arguments = place.arguments();
        let shown = arguments.join(" ");
        for part in [
            "--listen 127.0.0.1:50052",
            "--qmp /lab/node-2.card.qmp",
            "--relays /lab/node-2.relays",
            "--storage 127.0.0.1:10809",
            "--functions 3",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert!(CardPlace::address_of(1 << 16).is_err());
    }

    #[test]
    fn volumes_are_exports_of_one_address() {
        let storage = Storage {
            address: STORAGE,
            volumes: vec![
                (VolumeSpec::new("data", 64), "/lab/a.raw".into()),
                (VolumeSpec::new("boot", 64).slow(2), "/lab/b.raw".into()),
            ],
            log: "/lab/storage.log".into(),
            service: None,
        };
        let shown = storage.arguments().join(" ");
        for part in [
            "--nbd-server addr.type=inet,addr.host=127.0.0.1,addr.port=10809",
            "--export type=nbd,id=export0,node-name=whole0,name=data,writable=on",
            "--object throttle-group,id=limit1,limits.bps-write=2097152",
            "--export type=nbd,id=export1,node-name=slow1,name=boot,writable=on",
        ] {
            assert!(shown.contains(part), "{part} is not in {shown}");
        }
        assert_eq!(storage.path("boot").unwrap(), Path::new("/lab/b.raw"));
        assert!(storage.path("other").is_err());
    }
}
