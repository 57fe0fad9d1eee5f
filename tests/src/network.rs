//! The lab's network: a namespace that only the lab and its children see, with a bridge, a tap for every server, and
//! a DHCP server of somebody else. When the lab ends, however it ends, the namespace and all in it are gone.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::far_end::FarEnd;
use crate::{process, process::Service, sys};

/// The controller's address.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
/// Name of the bridge.
pub const BRIDGE: &str = "br0";

/// What an Ethernet carries unless more was agreed upon.
pub const MTU: u32 = 1500;

const FOREIGN_LINK: &str = "foreign";
const QUICK: Duration = Duration::from_secs(10);

/// Who hands out addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Addresses {
    /// A DHCP server that is not ours and knows nothing of network boot: the controller works beside it (proxyDHCP).
    Foreign,
    /// The same, and the controller answers nobody who wants to boot from the network.
    Plain,
    /// The controller itself.
    Own,
}

/// Leaves the machine's network for an empty one, and its mounts for a copy. To be called before any thread is started.
pub fn enter_namespace() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make namespaces of networks and mounts: this needs root")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>)
        .context("cannot make the mounts private")?;
    ip(&["link", "set", "lo", "up"])
}

/// Bridge, taps and address servers; taken down on drop.
#[derive(Debug)]
pub struct Network {
    taps: Vec<String>,
    foreign: Option<Child>,
    _advertiser: Option<Service>,
    far_end: Option<FarEnd>,
}

impl Network {
    /// Sets the network up. `folder` gets the logs.
    pub fn up(folder: &Path, addresses: Addresses) -> Result<Self> {
        ip(&[
            "link",
            "add",
            BRIDGE,
            "type",
            "bridge",
            "stp_state",
            "0",
            "forward_delay",
            "0",
        ])?;
        let mut network = Self {
            taps: Vec::new(),
            foreign: None,
            _advertiser: None,
            far_end: None,
        };
        // Given by hand it stays, whatever ports come later.
        ip(&["link", "set", BRIDGE, "mtu", &MTU.to_string()])?;
        ip(&["addr", "add", &format!("{SERVER}/24"), "dev", BRIDGE])?;
        ip(&["-6", "addr", "add", "fd77::1/64", "dev", BRIDGE, "nodad"])?;
        ip(&["link", "set", BRIDGE, "up"])?;
        match addresses {
            Addresses::Foreign | Addresses::Plain => network.foreign = Some(foreign_server(folder)?),
            Addresses::Own => network._advertiser = Some(advertiser(folder)?),
        }
        Ok(network)
    }

    /// A new tap on the bridge that takes packets of `mtu` bytes; answers its name.
    pub fn tap(&mut self, mtu: u32) -> Result<String> {
        let name = format!("tap{}", self.taps.len());
        ip(&["tuntap", "add", &name, "mode", "tap"])?;
        ip(&["link", "set", &name, "mtu", &mtu.to_string()])?;
        ip(&["link", "set", &name, "master", BRIDGE, "up"])?;
        self.taps.push(name.clone());
        Ok(name)
    }

    /// Plugs a machine that answers pings on a tagged VLAN into the bridge.
    pub fn far_end(&mut self) -> Result<()> {
        let far_end = FarEnd::start()?;
        ip(&["link", "set", far_end.link(), "mtu", "9000"])?;
        ip(&["link", "set", far_end.link(), "master", BRIDGE, "up"])?;
        self.far_end = Some(far_end);
        Ok(())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let mut errors = Vec::new();
        drop(self.far_end.take());
        if let Some(mut server) = self.foreign.take() {
            errors.extend(server.kill().err().map(anyhow::Error::from));
            errors.extend(server.wait().err().map(anyhow::Error::from));
        }
        for link in self.taps.iter().map(String::as_str).chain([BRIDGE]) {
            errors.extend(process::tidy(Command::new("ip").args(["link", "delete", link])).err());
        }
        for error in errors {
            eprintln!("network: {error:#}");
        }
    }
}

/// Router advertisements: without one, iPXE waits 16 seconds for IPv6 in every stage.
fn advertise(command: &mut Command, interface: &str) {
    command
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--port=0",
            // A change of user or group would make it outlive a lab that is killed.
            "--user=root",
            "--group=root",
            "--pid-file=",
        ])
        .args([
            "--log-dhcp",
            "--log-facility=-",
            "--bind-interfaces",
            "--enable-ra",
        ])
        .arg(format!("--interface={interface}"))
        .arg("--dhcp-range=fd77::,ra-only,64,1h")
        .arg(format!("--ra-param={interface},10,0"));
}

fn advertiser(folder: &Path) -> Result<Service> {
    let mut command = Command::new("dnsmasq");
    advertise(&mut command, BRIDGE);
    command.stdin(Stdio::null());
    Service::start("dnsmasq", &mut command, &folder.join("advertiser.log"))
}

/// Starts this program again as the foreign server, which makes a namespace of its own, and plugs it into the bridge.
fn foreign_server(folder: &Path) -> Result<Child> {
    let log = std::fs::File::create(folder.join("foreign-dhcp.log")).context("cannot create a log file")?;
    let mut command = process::this_program();
    command
        .arg("internal-dhcp-server")
        .arg(folder.join("foreign-dhcp.leases"));
    command
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log);
    sys::tie_to_parent(&mut command);
    let mut server = command.spawn().context("cannot start the foreign DHCP server")?;
    let plugged = plug_in(&mut server);
    if plugged.is_err() {
        server.kill().context("cannot stop the foreign DHCP server")?;
        server.wait().context("cannot collect the foreign DHCP server")?;
    }
    plugged.map(|()| server)
}

fn plug_in(server: &mut Child) -> Result<()> {
    let mut line = String::new();
    let output = server
        .stdout
        .take()
        .context("the foreign DHCP server has no output")?;
    BufReader::new(output)
        .read_line(&mut line)
        .context("the foreign DHCP server says nothing")?;
    ensure!(line.trim() == "ready", "the foreign DHCP server did not come up");
    let pid = server.id().to_string();
    ip(&[
        "link",
        "add",
        FOREIGN_LINK,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        &pid,
    ])?;
    ip(&["link", "set", FOREIGN_LINK, "master", BRIDGE, "up"])?;
    let mut input = server
        .stdin
        .take()
        .context("the foreign DHCP server has no input")?;
    input
        .write_all(b"plugged\n")
        .context("the foreign DHCP server does not listen")
}

/// The foreign server's own process: waits to be plugged in and becomes dnsmasq. It hands out addresses, nothing else.
pub fn be_foreign_server(leases: &Path) -> Result<()> {
    enter_namespace()?;
    println!("ready");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .context("nobody plugged this server in")?;
    ensure!(line.trim() == "plugged", "nobody plugged this server in");
    ip(&["addr", "add", "10.77.0.2/24", "dev", "eth0"])?;
    ip(&["-6", "addr", "add", "fd77::2/64", "dev", "eth0", "nodad"])?;
    ip(&["link", "set", "eth0", "up"])?;
    let mut command = Command::new("dnsmasq");
    advertise(&mut command, "eth0");
    command
        .args([
            "--no-ping",
            "--dhcp-authoritative",
            "--dhcp-range=10.77.0.100,10.77.0.199,255.255.255.0,1h",
        ])
        .arg(format!("--dhcp-leasefile={}", leases.display()));
    command.stdout(std::io::stderr());
    Err(anyhow::Error::new(command.exec()).context("cannot start dnsmasq"))
}

/// Resets the TCP connections that servers have to the controller; answers how many there were. Kernels can be built
/// without this, then the answer is 0.
pub fn reset_connections() -> Result<usize> {
    let mut ss = Command::new("ss");
    ss.args([
        "--no-header",
        "--kill",
        "--tcp",
        "--numeric",
        "state",
        "established",
        "sport",
        "=",
        ":8443",
    ]);
    Ok(process::run(&mut ss, QUICK)?.lines().count())
}

fn ip(arguments: &[&str]) -> Result<()> {
    process::run(Command::new("ip").args(arguments), QUICK).map(drop)
}
