//! Every fault of a network on every system that brings one up: on the running server, typed at its serial console. Each time
//! the network is back within a minute, and the controller has the event with what had differed; what was accepted stays.
//!
//! The server has a bond of two cards, whose address reaches the controller, and on it a VLAN, whose address reaches the far
//! end of the lab's network.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::{deploy, guest};
use crate::console::Console;
use crate::disk::{DiskKind, DiskSpec};
use crate::far_end;
use crate::interrupt::{self, Explain as _};
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::node::{Firmware, Node, NodeSpec};
use crate::story::tell;

/// From the fault to the event on the controller, and from the kernel's start to the restored network.
const LIMIT: Duration = Duration::from_secs(60);
/// How long the controller may take to hear of a server that has just booted.
const BOOT: Duration = Duration::from_secs(300);
/// The DHCP server of somebody else: it answers as a neighbour.
const GATEWAY: &str = "10.77.0.2";
const TYPED: Duration = Duration::from_secs(60);

/// What brings the network up, and where it has it from.
struct Stack {
    service: &'static str,
    /// The file that says which VLAN it is.
    vlan: &'static str,
    /// A file with addresses.
    addresses: &'static str,
    /// All files that ours are among.
    files: &'static str,
    /// Makes the VLAN as its file says.
    remake: &'static str,
    /// It puts a member back into its bond itself, maybe sooner than anybody sees that it was out.
    keeps_members: bool,
}

const NETWORKD: Stack = Stack {
    service: "systemd-networkd",
    vlan: "/etc/systemd/network/10-imprint-tagged.netdev",
    addresses: "/etc/systemd/network/10-imprint-bond0.network",
    files: "/etc/systemd/network/*imprint*",
    remake: "ip link delete tagged; systemctl restart systemd-networkd",
    keeps_members: false,
};

const IFUPDOWN: Stack = Stack {
    service: "networking",
    vlan: "/etc/network/interfaces",
    addresses: "/etc/network/interfaces",
    files: "/etc/network/interfaces",
    remake: "ifdown tagged; ifup tagged",
    keeps_members: false,
};

const NETWORK_MANAGER: Stack = Stack {
    service: "NetworkManager",
    vlan: "/etc/NetworkManager/system-connections/imprint-tagged.nmconnection",
    addresses: "/etc/NetworkManager/system-connections/imprint-bond0.nmconnection",
    files: "/etc/NetworkManager/system-connections/*",
    remake: "nmcli connection reload; nmcli connection down imprint-tagged; nmcli connection up imprint-tagged",
    keeps_members: true,
};

const NETPLAN: Stack = Stack {
    service: "systemd-networkd",
    vlan: "/etc/netplan/*cloud-init.yaml",
    addresses: "/etc/netplan/*cloud-init.yaml",
    files: "/etc/netplan/*.yaml",
    remake: "ip link delete tagged; netplan apply",
    keeps_members: false,
};

const MEMBER_OUT: &str = "a member is taken out of the bond";

/// What is done to it, as root.
const FAULTS: &[(&str, &str)] = &[
    ("the address is flushed", "ip address flush dev bond0"),
    ("the default route is deleted", "ip route delete default"),
    ("the link is set down", "ip link set bond0 down"),
    (
        "the file says another VLAN",
        r"sed -i -E 's/([Ii]d[=: ]+)100/\199/' $VLAN; remake",
    ),
    ("the file is deleted", "rm $ADDRESSES"),
    (
        "the service is disabled and stopped",
        "systemctl disable --now $SERVICE",
    ),
    (
        MEMBER_OUT,
        "ip link set $(cut -d' ' -f1 /sys/class/net/bond0/bonding/slaves) nomaster",
    ),
    ("the bond is deleted", "ip link delete bond0"),
];

/// All at once.
const BROKEN: &str = "systemctl disable $SERVICE; for f in $FILES; do echo '[Broken' > $f; done; sync";
/// In a moment, when whoever typed it has got up.
const RESTART: &str = "systemd-run --quiet --collect sh -c 'sleep 2; systemctl --no-block reboot'";

pub fn networkd(name: &str, parts: &Parts) -> Result<()> {
    run(name, parts, &NETWORKD)
}

pub fn ifupdown(name: &str, parts: &Parts) -> Result<()> {
    run(name, parts, &IFUPDOWN)
}

pub fn network_manager(name: &str, parts: &Parts) -> Result<()> {
    run(name, parts, &NETWORK_MANAGER)
}

pub fn netplan(name: &str, parts: &Parts) -> Result<()> {
    run(name, parts, &NETPLAN)
}

/// A bond with an address of the lab, and a VLAN on it.
fn network_data(node: &Node) -> String {
    let [one, two] = [0, 1].map(|card: usize| &node.macs[card]);
    format!(
        "version: 2\n\
         ethernets:\n  port0: {{match: {{macaddress: '{one}'}}}}\n  port1: {{match: {{macaddress: '{two}'}}}}\n\
         bonds:\n  bond0:\n    interfaces: [port0, port1]\n    parameters: {{mode: active-backup, mii-monitor-interval: 100}}\n    \
         addresses: [10.77.0.60/24]\n    accept-ra: false\n    routes: [{{to: default, via: {gateway}}}]\n\
         vlans:\n  tagged: {{id: {vlan}, link: bond0, addresses: [10.78.0.60/24], accept-ra: false}}\n",
        gateway = GATEWAY,
        vlan = far_end::VLAN,
    )
}

fn run(name: &str, parts: &Parts, stack: &Stack) -> Result<()> {
    let mut lab = Lab::with_image(name, parts, &LabOptions::default())?;
    lab.far_end()?;
    let mut spec = NodeSpec::new(Firmware::Bios, DiskSpec::new(DiskKind::Virtio));
    spec.nics = 2;
    let mut node = lab.build(spec)?;
    node.power_on()?;
    lab.take_into_service(&mut node)?;
    let deployment = order(&lab, &node)?;
    let id = deployment["id"].as_str().context("the deployment has no id")?;
    let done = lab.wait_deployment(&mut node, id, "succeeded", patience::DEPLOYMENT)?;
    let address = deploy::address(&done)?;
    let server = Server {
        lab: &lab,
        node: &node,
        address,
        stack,
    };
    server.story().explain(|| lab.picture(&node))
}

fn order(lab: &Lab, node: &Node) -> Result<Value> {
    let written = |name: &str, text: String| {
        let path = lab.folder().join(name);
        fs::write(&path, text).context("cannot write an operator's file")?;
        Ok::<_, anyhow::Error>(path.display().to_string())
    };
    let user_data = written("user-data.yaml", lab.key.user_data())?;
    let network = written("network-data.yaml", network_data(node))?;
    let arguments = [
        "deploy",
        &node.mac,
        "--image",
        IMAGE,
        "--user-data",
        &user_data,
        "--network",
        &network,
    ];
    Ok(match lab.cli.json(&arguments)? {
        Value::Array(mut list) if list.len() == 1 => list.remove(0),
        other => other,
    })
}

/// What the server itself has to say, where it can't be reached any more.
fn inside(console: &mut Console) -> String {
    let look = "journalctl -b --no-pager -n 40 -o cat -u imprint-network -u imprint-guest | cut -c1-300; \
        ip -br link; ip -br address; ip route; /opt/imprint/imprint-guest network diff | head -40";
    match console.run(&format!("{{ {look}; }} || true"), TYPED) {
        Ok(said) => format!("--- on the console\n{said}"),
        Err(error) => format!("--- nothing on the console: {error:#}"),
    }
}

struct Server<'a> {
    lab: &'a Lab,
    node: &'a Node,
    address: String,
    stack: &'a Stack,
}

impl Server<'_> {
    fn story(&self) -> Result<()> {
        self.ask(
            "for i in $(seq 180); do sudo grep -q '\"services\"' /etc/imprint/network.json && exit 0; sleep 1; done; \
             sudo /opt/imprint/imprint-guest network diff >&2; sudo journalctl -u imprint-network --no-pager | tail -30 >&2; exit 1",
            240,
        )
        .context("the watch has not learned what the network is like")?;
        guest::wait_connected(self.lab, self.node)?;
        let answer = self
            .lab
            .cli
            .json(&["guest", "reset-password", &self.node.mac, "--user", "root"])?;
        let password = answer["password"].as_str().context("no password was made")?;
        let mut console = self.sit_down(password)?;
        console.run("/opt/imprint/imprint-guest network apply", TYPED * 3)?;
        self.whole().context("after `network apply`")?;
        tell("`network apply` has brought the network up");

        let mut late = Vec::new();
        for (what, command) in FAULTS {
            let spoilt = self.spoil(&mut console, what, command);
            let took = spoilt.explain(|| inside(&mut console))?;
            if took >= LIMIT {
                late.push(format!("{what}: back after {} s", took.as_secs()));
            }
        }

        let before = self.events()?.len();
        console.run(&format!("{BROKEN}; {RESTART}"), TYPED)?;
        // Who sits down next would wait for this one to get up.
        drop(console);
        let what = "a restart with broken files";
        let event = self.told(what, before, BOOT)?;
        self.say(what, self.back_after_boot()?, &event);
        self.whole().context(what)?;
        self.accepted(password)?;
        self.measure()?;
        ensure!(late.is_empty(), "{}", late.join("; "));
        Ok(())
    }

    /// One fault; answers how long it took until the controller knew that all was right again.
    fn spoil(&self, console: &mut Console, what: &str, command: &str) -> Result<Duration> {
        let before = self.events()?.len();
        // Some of them take half a minute on an emulated machine: the fault is there when they are done.
        console.run(command, TYPED)?;
        let begun = Instant::now();
        let by_itself = what == MEMBER_OUT && self.stack.keeps_members;
        let told = self.told(what, before, if by_itself { LIMIT } else { LIMIT * 3 });
        let took = begun.elapsed();
        match told {
            Ok(event) => self.say(what, took, &event),
            Err(_) if by_itself => {
                self.whole()
                    .context("nobody was told of it, and nobody put it back")?;
                tell(&format!("{what}: put back before it was seen"));
                return Ok(Duration::ZERO);
            }
            Err(error) => return Err(error),
        }
        self.whole().with_context(|| what.to_owned())?;
        Ok(took)
    }

    /// What somebody accepts stays, also over a restart.
    fn accepted(&self, password: &str) -> Result<()> {
        let mut console = self.sit_down(password)?;
        console.run(
            "printf '\\n# this is meant\\n' >> $(echo $ADDRESSES); /opt/imprint/imprint-guest network accept",
            TYPED,
        )?;
        let before = self.events()?.len();
        let still = |console: &mut Console| {
            let line = console.run("tail -1 $ADDRESSES", TYPED)?;
            ensure!(line == "# this is meant", "what was accepted was changed: {line}");
            Ok(())
        };
        interrupt::pause(Duration::from_secs(40))?;
        still(&mut console)?;
        console.run(RESTART, TYPED)?;
        drop(console);
        // The old system answers for a while.
        interrupt::pause(Duration::from_secs(10))?;
        let mut console = self.sit_down(password)?;
        still(&mut console).context("after a restart")?;
        self.whole()?;
        ensure!(self.events()?.len() == before, "what was accepted was put back");
        tell("what was accepted has stayed");
        Ok(())
    }

    fn ask(&self, command: &str, seconds: u64) -> Result<String> {
        self.lab
            .key
            .run(&self.address, command, Duration::from_secs(seconds))
    }

    fn events(&self) -> Result<Vec<Value>> {
        let page = self
            .lab
            .cli
            .get(&format!("events?node={}&page_size=1000", self.node.mac))?;
        let items = page["items"].as_array().context("no list of events")?;
        // Some systems put a member back into its bond themselves.
        let told = items.iter().filter(|event| {
            event["kind"] == "guest.network.restored" || event["kind"] == "guest.network.healed"
        });
        Ok(told.cloned().collect())
    }

    /// The console, with a root's shell that knows this system's names.
    fn sit_down(&self, password: &str) -> Result<Console> {
        let mut console = self.node.console()?;
        console.log_in("root", password, BOOT)?;
        // It writes on the console too, between the lines of an answer.
        console.run("cloud-init status --wait > /dev/null || true", BOOT)?;
        let stack = self.stack;
        let names = format!(
            "SERVICE='{}'; VLAN=$(echo {}); ADDRESSES=$(echo {}); FILES='{}'; remake() {{ {}; }}",
            stack.service, stack.vlan, stack.addresses, stack.files, stack.remake
        );
        console.run(&names, TYPED)?;
        Ok(console)
    }

    fn told(&self, what: &str, before: usize, patience: Duration) -> Result<Value> {
        interrupt::until(what, patience, || Ok(self.events()?.get(before).cloned()))
    }

    fn say(&self, what: &str, took: Duration, event: &Value) {
        let said = event["details"]["diff"].as_str().unwrap_or_default();
        let said = said.lines().nth(1).unwrap_or("no diff");
        tell(&format!("{what}: back after {} s: {said}", took.as_secs()));
        tell(event["message"].as_str().unwrap_or_default());
    }

    /// From the kernel's start to the network that was right again. A server that is emulated on a busy machine may take
    /// longer than that to boot at all: then it is the start of the watch that counts.
    fn back_after_boot(&self) -> Result<Duration> {
        let printed = self.ask(
            "systemctl show --value --property ExecMainStartTimestampMonotonic imprint-network; \
             sudo journalctl -b -u imprint-network -o short-monotonic --no-pager | grep 'was put back' | tail -1",
            240,
        )?;
        let (started, line) = printed.split_once('\n').unwrap_or_default();
        let started = Duration::from_micros(started.trim().parse().context("the watch has no start")?);
        let seconds = line
            .split_once('[')
            .and_then(|(_, rest)| rest.split(['.', ']']).next())
            .and_then(|seconds| seconds.trim().parse().ok());
        let back = Duration::from_secs(seconds.with_context(|| format!("no time in {line:?}"))?);
        tell(&format!(
            "the watch was started {} s after the kernel",
            started.as_secs()
        ));
        ensure!(
            back < LIMIT || back < started + Duration::from_secs(15),
            "the network was back {} s after the boot",
            back.as_secs()
        );
        Ok(back)
    }

    /// Nothing differs, and both ends of the network answer.
    fn whole(&self) -> Result<()> {
        let far_end = far_end::ADDRESS;
        self.ask(
            &format!(
                "sudo /opt/imprint/imprint-guest network status >&2 || exit 1; \
                 for i in 1 2 3 4 5; do sudo ping -c 1 -W 2 {far_end} > /dev/null && exit 0; done; echo no answer of {far_end} >&2; exit 1"
            ),
            240,
        )
        .map(drop)
    }

    /// What the plugin costs: memory at rest, and time at boot.
    fn measure(&self) -> Result<()> {
        let costs = self.ask(
            "systemctl is-system-running --wait > /dev/null; for u in imprint-network imprint-guest; do p=$(systemctl show --value --property MainPID $u); \
             sudo awk -v u=$u '/^(Rss|Pss|Pss_Anon|Pss_File):/ {printf \"%s %s %s KiB  \", u, $1, $2} END {print \"\"}' /proc/$p/smaps_rollup; done; \
             systemd-analyze time --no-pager | head -1; systemd-analyze blame --no-pager | grep -E 'imprint|cloud-init-local|networkd|networking|NetworkManager'; \
             systemd-analyze critical-chain --no-pager network-pre.target",
            300,
        )?;
        for line in costs.lines() {
            tell(line);
        }
        Ok(())
    }
}
