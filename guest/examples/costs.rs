//! What the plugin costs a system: the time that putting the network's files right adds to a boot, and the memory and
//! processor time of the watch. `costs BINARY ROUNDS` prints JSON; `cargo xtask bench guest` runs it, as root.
//!
//! The system is a folder with systemd-networkd's files, and a network namespace with the interface they are for.

use std::{
    env,
    error::Error,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use imprint_network::{
    Format,
    kept::{Kept, Learned, PLACES, ServiceLink},
    read, render,
};
use nix::sched::{CloneFlags, unshare};

const NETWORK: &str = "version: 2\nethernets:\n  lan0:\n    match: {macaddress: '52:54:00:00:00:01'}\n    \
    addresses: [192.0.2.10/24, '2001:db8::10/64']\n    accept-ra: false\n    routes: [{to: default, via: 192.0.2.1}]\n";
const INTERFACE: [&str; 6] = [
    "link set lo up",
    "link add lan0 address 52:54:00:00:00:01 type veth peer name peer0",
    "link set peer0 up",
    "link set lan0 up",
    "address add 192.0.2.10/24 dev lan0",
    "address add 2001:db8::10/64 dev lan0 nodad",
];
const ROUTE: &str = "route add default via 192.0.2.1 proto static";
const SERVICE: &str = "etc/systemd/system/multi-user.target.wants/systemd-networkd.service";
const UNIT: &str = "/lib/systemd/system/systemd-networkd.service";
/// Some looks of the watch, which come every five seconds.
const REST: Duration = Duration::from_secs(31);

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let binary = env::args().nth(1).ok_or("the path of imprint-guest is needed")?;
    let rounds = env::args()
        .nth(2)
        .and_then(|n| n.parse().ok())
        .unwrap_or(21_usize)
        .max(1);
    let folder = tempfile::tempdir()?;
    let root = folder.path();
    install(root)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    for line in INTERFACE.iter().chain([&ROUTE]) {
        run(Command::new("ip").args(line.split(' ')))?;
    }
    let network = |verb: &str| {
        let mut command = Command::new(&binary);
        command
            .arg("network")
            .args(verb.split(' '))
            .arg("--root")
            .arg(root);
        command
    };
    run(&mut network("status"))?;

    let mut walls = Vec::new();
    for _ in 0..rounds {
        let begun = Instant::now();
        run(&mut network("apply --at-boot"))?;
        walls.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let watch = Watch(network("watch").stderr(Stdio::null()).spawn()?);
    std::thread::park_timeout(Duration::from_secs(3));
    let before = watch.processor_ms()?;
    let begun = Instant::now();
    while begun.elapsed() < REST {
        std::thread::park_timeout(REST.saturating_sub(begun.elapsed()));
    }
    let each_minute = (watch.processor_ms()? - before) * 60.0 / begun.elapsed().as_secs_f64();
    println!(
        "{{\"rounds\": {rounds}, \"boot_ms\": {:.2}, \"boot_slowest_ms\": {:.2}, \
         \"watch_rss_kib\": {}, \"watch_pss_kib\": {}, \"watch_anonymous_kib\": {}, \"watch_minute_ms\": {each_minute:.1}}}",
        median(&mut walls),
        walls.last().copied().unwrap_or_default(),
        watch.memory_kib("Rss")?,
        watch.memory_kib("Pss")?,
        watch.memory_kib("Anonymous")?,
    );
    Ok(())
}

/// A system whose network was right once.
fn install(root: &Path) -> Result<()> {
    let network = read(NETWORK.as_bytes())?.network;
    for file in render(&network, Format::Networkd).files {
        put(&root.join(&file.path), &file.content, file.mode)?;
    }
    let kept = Kept {
        network,
        system: Some(Format::Networkd),
        accepted: None,
        learned: Some(Learned {
            services: vec![ServiceLink {
                path: SERVICE.to_owned(),
                target: UNIT.to_owned(),
            }],
            default_ipv4: true,
            ..Learned::default()
        }),
    };
    for place in PLACES {
        put(&root.join(place), &kept.to_text(), 0o600)?;
    }
    let link = root.join(SERVICE);
    fs::create_dir_all(link.parent().unwrap_or(root))?;
    symlink(UNIT, link)?;
    Ok(())
}

fn put(path: &Path, text: &str, mode: u32) -> Result<()> {
    fs::create_dir_all(path.parent().ok_or("a file has no folder")?)?;
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    Ok(())
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    Err(format!("{command:?}: {}: {said}", output.status).into())
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A watch that ends with this program.
struct Watch(Child);

impl Watch {
    /// A figure of `smaps_rollup`, proc(5).
    fn memory_kib(&self, name: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.0.id()))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.and_then(|line| line.trim().strip_suffix("kB"));
        Ok(value.ok_or("smaps_rollup lacks a figure")?.trim().parse()?)
    }

    /// First field of `schedstat`: time on a processor, nanoseconds (Documentation/scheduler/sched-stats).
    fn processor_ms(&self) -> Result<f64> {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.0.id()))?;
        let ran: f64 = text.split(' ').next().unwrap_or_default().parse()?;
        Ok(ran / 1e6)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
