//! The demo: a machine without an operating system becomes one with, before the operator's eyes.

mod sdi;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cli::Order;
use crate::controller::ControllerOptions;
use crate::disk::{DiskKind, DiskSpec};
use crate::interrupt::Explain as _;
use crate::lab::{IMAGE, Lab, LabOptions, Parts, patience};
use crate::network::Addresses;
use crate::node::{Firmware, Node, NodeSpec};
use crate::scenario::deploy;
use crate::sdi::STORAGE;
use crate::story::{self, tell};
use crate::{interrupt, process, summary};

/// What the operator chose.
#[derive(Debug, Clone, clap::Args)]
pub struct DemoOptions {
    /// How many servers
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub nodes: u8,
    /// Firmware of the servers
    #[arg(long, value_enum, default_value_t = Firmware::Uefi)]
    pub firmware: Firmware,
    /// Their disks
    #[arg(long, value_enum, default_value_t = DiskKind::Nvme)]
    pub disk: DiskKind,
    /// Leave all running at the end, and print how to use it, until Ctrl-C
    #[arg(long)]
    pub keep: bool,
    /// Another image than Debian 12: raw, raw.gz, raw.xz, raw.zst or qcow2
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// Memory of a server
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    pub memory: u32,
    /// Who hands out addresses: a foreign DHCP server that the controller works beside, or the controller
    #[arg(long, value_enum, default_value_t = Dhcp::Proxy)]
    pub dhcp: Dhcp,
    /// A server without a disk that runs from a volume of its SDI card: the controller prepares it, and nothing is streamed
    #[arg(long, conflicts_with_all = ["nodes", "disk", "firmware"])]
    pub sdi: bool,
}

/// Who hands out addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dhcp {
    /// A foreign server; the controller adds the boot file.
    Proxy,
    /// The controller.
    Own,
}

/// Tells the whole story.
pub fn run(parts: &Parts, options: &DemoOptions) -> Result<()> {
    let image = options.image.clone().unwrap_or_else(|| parts.image.clone());
    let addresses = match (options.dhcp, options.firmware) {
        (Dhcp::Own, _) => Addresses::Own,
        (Dhcp::Proxy, Firmware::Bios | Firmware::Uefi) => Addresses::Foreign,
        (Dhcp::Proxy, Firmware::SecureUefi) => bail!(
            "with Secure Boot, GRUB looks for its files at the server that gave the address, which is not the controller here; add --dhcp own"
        ),
    };
    let lab_options = LabOptions {
        addresses,
        controller: ControllerOptions {
            boot: options.firmware.boot_section(),
            volumes: options.sdi.then_some(STORAGE),
            ..ControllerOptions::default()
        },
        bucket: false,
        keep_logs: false,
    };
    let mut lab = Lab::start("demo", parts, &lab_options)?;
    tell(&format!(
        "controller up on {}, data in {}",
        lab.controller.url(),
        lab.controller.data_dir().display()
    ));
    let imported = lab.cli.import(&image, IMAGE)?;
    tell(&summary::image(&imported));

    let disk = roomy(DiskSpec::new(options.disk), &imported);
    let what = if options.sdi {
        "no disk, an SDI card".to_owned()
    } else {
        format!("empty {:?} disk", options.disk)
    };
    let mut nodes = Vec::new();
    for _ in 0..options.nodes {
        let mut spec = if options.sdi {
            sdi::server(options.firmware)
        } else {
            NodeSpec::new(options.firmware, disk)
        };
        spec.memory_mib = options.memory;
        spec.processors = if options.nodes == 1 { 2 } else { 1 };
        let mut node = lab.build(spec)?;
        node.power_on()?;
        tell(&format!(
            "{} ({}): power on, {:?} firmware, {what}",
            node.name, node.mac, options.firmware
        ));
        nodes.push(node);
    }
    for node in &mut nodes {
        let facts = lab.wait_state(node, "discovered", patience::NETWORK_BOOT)?;
        tell(&format!(
            "{} discovered after {} s: {}",
            node.name,
            node.uptime().as_secs(),
            summary::hardware(&facts)
        ));
        lab.cli.approve(&node.mac, &node.name)?;
    }
    let mut order = Order {
        image: IMAGE.to_owned(),
        user_data: Some(lab.key.user_data()),
        ..Order::default()
    };
    if options.sdi {
        let node = nodes.first_mut().context("no server was built")?;
        let volume = sdi::prepare(&mut lab, node, disk.size_mib)?;
        // The image is the one that is on it.
        order.image.clear();
        order.volume = Some(volume);
    }
    deploy_watched(&mut lab, &mut nodes, &order)?;

    let mut report = String::new();
    for node in &nodes {
        report.push_str(&one_report(&lab, node, options)?);
    }
    println!("{report}");
    if options.keep {
        keep(&lab)?;
    }
    Ok(())
}

/// The disk, or a larger one where the image needs it.
fn roomy(disk: DiskSpec, image: &Value) -> DiskSpec {
    let image_bytes = image["disk_size_bytes"].as_u64().unwrap_or(0);
    disk.size_mib(disk.size_mib.max(image_bytes.div_ceil(1 << 20) + 64))
}

/// `imprint deploy … --wait` with the operator's own terminal.
fn deploy_watched(lab: &mut Lab, nodes: &mut [Node], order: &Order) -> Result<()> {
    let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let mut arguments = lab.cli.deploy_arguments(&names, order)?;
    arguments.push("--wait".to_owned());
    tell(&format!("imprint {}", arguments.join(" ")));
    let mut command = lab.cli.command();
    command.args(&arguments);
    let status = process::attached(&mut command, patience::DEPLOYMENT)?;
    if !status.success() {
        let pictures: Vec<String> = nodes.iter().map(|node| lab.picture(node)).collect();
        bail!(
            "the deployment did not succeed ({status})\n{}",
            pictures.join("\n")
        );
    }
    for node in nodes {
        lab.wait_state(node, "active", patience::SHORT)?;
        tell(&format!(
            "{} active: the installed system has reported itself",
            node.name
        ));
    }
    Ok(())
}

fn one_report(lab: &Lab, node: &Node, options: &DemoOptions) -> Result<String> {
    let facts = lab.facts(node)?.context("the node is gone")?;
    let id = facts["deployment_id"]
        .as_str()
        .context("the node has no deployment")?;
    let deployment = lab.deployment(id)?;
    let events = lab.cli.get(&format!("events?node={}&page_size=200", node.name))?;
    let mut report = summary::deployment(node, &facts, &deployment, &events);
    let has_cloud_init = deployment["first_boot"]["cloud_init_status"]
        .as_str()
        .is_some_and(|status| status != "absent");
    if options.image.is_some() && !has_cloud_init {
        report.push_str("  ssh         not tried: the image has no cloud-init that would take the key\n");
        return Ok(report);
    }
    let login = log_in(lab, node, &deployment)?;
    report.push_str(&login);
    Ok(report)
}

fn log_in(lab: &Lab, node: &Node, deployment: &Value) -> Result<String> {
    let address = deploy::address(deployment)?;
    let said = lab.key.run(
        &address,
        "hostname; uname -sr; df -h --output=source,size / | tail -1",
        Duration::from_secs(240),
    );
    let said = said.explain(|| lab.picture(node))?;
    tell(&format!("{} let us in by ssh", node.name));
    Ok(format!(
        "  ssh         {}\n  it says     {}\n",
        lab.key.command_line(&address).join(" "),
        said.trim().replace('\n', ", ")
    ))
}

/// Leaves all running until Ctrl-C.
fn keep(lab: &Lab) -> Result<()> {
    let enter = format!("nsenter --net=/proc/{}/ns/net", std::process::id());
    let environment: Vec<String> = lab
        .cli
        .environment_without_secret()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let imprint = lab.parts.binaries.join("imprint");
    println!(
        "All is left running until Ctrl-C. The lab has a network of its own; from another terminal, as root:"
    );
    println!(
        "\n  {enter} env {} {} node list\n",
        environment.join(" "),
        imprint.display()
    );
    println!(
        "and the ssh command above with `{enter}` before it. The REST API is at {}/v1/.",
        lab.controller.url()
    );
    story::tell("waiting for Ctrl-C");
    loop {
        if let Err(error) = interrupt::pause(Duration::from_secs(3600)) {
            return if error.is::<interrupt::Interrupted>() {
                Ok(())
            } else {
                Err(error)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        options: DemoOptions,
    }

    fn options(line: &[&str]) -> Result<DemoOptions, clap::Error> {
        Line::try_parse_from([&["demo"], line].concat()).map(|line| line.options)
    }

    #[test]
    fn a_server_with_a_card_has_no_disk_to_choose() {
        assert!(
            !options(&["--nodes=3", "--disk=sata", "--firmware=bios"])
                .unwrap()
                .sdi
        );
        let with = options(&["--sdi", "--memory=2048", "--dhcp=own", "--keep"]).unwrap();
        assert!(with.sdi && with.nodes == 1 && with.firmware == Firmware::Uefi);
        for other in ["--nodes=2", "--disk=sata", "--firmware=bios"] {
            assert!(options(&["--sdi", other]).is_err(), "{other}");
        }
    }

    #[test]
    fn a_disk_holds_the_image() {
        let disk = || DiskSpec::new(DiskKind::Nvme).size_mib(100);
        let size = |bytes: u64| roomy(disk(), &json!({ "disk_size_bytes": bytes })).size_mib;
        assert_eq!([size(0), size(36 << 20), size((36 << 20) + 1)], [100, 100, 101]);
    }
}
