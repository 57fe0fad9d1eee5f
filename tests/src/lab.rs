//! A whole lab: network, controller, operator and servers, in a temporary folder of its own.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::accel::Accel;
use crate::bucket::Bucket;
use crate::cli::Cli;
use crate::controller::{Controller, ControllerOptions};
use crate::interrupt;
use crate::interrupt::Explain as _;
use crate::network::{Addresses, Network};
use crate::node::{Node, NodeSpec};
use crate::ssh::SshKey;

/// Name under which the lab's image is imported.
pub const IMAGE: &str = "debian-12";

/// Where the parts of a lab come from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Folder with `imprint-controller` and `imprint`.
    pub binaries: PathBuf,
    /// Folder with kernel, initrd and facts of the ramdisk.
    pub ramdisk: PathBuf,
    /// The operating system image.
    pub image: PathBuf,
    /// Other images, by the names that scenarios have for them.
    pub variants: BTreeMap<String, PathBuf>,
    /// Where temporary folders and logs go.
    pub target: PathBuf,
    /// What runs the virtual processors.
    pub accel: Accel,
}

impl Parts {
    /// The same with another operating system image.
    pub fn with_variant(&self, name: &str) -> Result<Self> {
        let image = self.variants.get(name).with_context(|| {
            format!("the image {name} was not given; `cargo xtask image {name}` makes it")
        })?;
        Ok(Self {
            image: image.clone(),
            ..self.clone()
        })
    }
}

/// What is special about this lab.
#[derive(Debug, Clone)]
pub struct LabOptions {
    /// Who hands out addresses.
    pub addresses: Addresses,
    /// The controller.
    pub controller: ControllerOptions,
    /// Whether the controller keeps its images in a bucket of an S3 service, which runs beside it.
    pub bucket: bool,
    /// Whether logs survive in `target/lab-logs`.
    pub keep_logs: bool,
}

impl Default for LabOptions {
    fn default() -> Self {
        Self {
            addresses: Addresses::Foreign,
            controller: ControllerOptions::default(),
            bucket: false,
            keep_logs: true,
        }
    }
}

/// A running lab. Servers are built from it and live beside it.
#[derive(Debug)]
pub struct Lab {
    /// The controller.
    pub controller: Controller,
    /// The operator.
    pub cli: Cli,
    /// The key that goes into user-data.
    pub key: SshKey,
    /// Where its parts came from.
    pub parts: Parts,
    name: String,
    keep_logs: bool,
    servers: usize,
    bucket: Option<Bucket>,
    network: Network,
    folder: TempDir,
}

impl Lab {
    /// Sets up network and controller; no server yet, no image yet.
    pub fn start(name: &str, parts: &Parts, options: &LabOptions) -> Result<Self> {
        let folder = run_folder(&parts.target, name)?;
        let network = Network::up(folder.path(), options.addresses)?;
        let bucket = options.bucket.then(|| Bucket::start(folder.path())).transpose()?;
        let mut special = options.controller.clone();
        if let Some(bucket) = &bucket {
            special.store = bucket.section();
        }
        let controller = Controller::init(
            &parts.binaries.join("imprint-controller"),
            &parts.ramdisk,
            folder.path(),
            options.addresses,
            &special,
        )?;
        let cli = Cli::new(&parts.binaries.join("imprint"), &controller, folder.path());
        let key = SshKey::generate(folder.path())?;
        let mut lab = Self {
            controller,
            cli,
            key,
            parts: parts.clone(),
            name: name.to_owned(),
            keep_logs: options.keep_logs,
            servers: 0,
            bucket,
            network,
            folder,
        };
        lab.controller.start()?;
        Ok(lab)
    }

    /// The same, with the lab's image imported through the CLI.
    pub fn with_image(name: &str, parts: &Parts, options: &LabOptions) -> Result<Self> {
        let lab = Self::start(name, parts, options)?;
        lab.cli.import(&parts.image, IMAGE)?;
        Ok(lab)
    }

    /// Builds a server and plugs it into the network; it is off.
    pub fn build(&mut self, spec: NodeSpec) -> Result<Node> {
        self.servers += 1;
        let taps = (0..spec.nics)
            .map(|_| self.network.tap(spec.switch_mtu))
            .collect::<Result<_>>()?;
        let (accel, folder) = (self.parts.accel, self.folder.path());
        Node::build(self.servers, spec, taps, accel, folder, &self.parts.target)
    }

    /// Plugs a machine that answers pings on a tagged VLAN into the network.
    pub fn far_end(&mut self) -> Result<()> {
        self.network.far_end()
    }

    /// The S3 service that keeps the controller's images.
    pub fn bucket(&mut self) -> Result<&mut Bucket> {
        self.bucket
            .as_mut()
            .context("the controller keeps its images in its own folder")
    }

    /// The lab's temporary folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the controller knows of a server; none before it has reported.
    pub fn facts(&self, node: &Node) -> Result<Option<Value>> {
        self.cli.find(&format!("nodes/{}", node.mac))
    }

    /// Waits for a state. A server that fails on the way fails the wait, with its cause.
    pub fn wait_state(&mut self, node: &mut Node, state: &str, timeout: Duration) -> Result<Value> {
        let what = format!("{} to become {state}", node.name);
        let found = interrupt::until(&what, timeout, || {
            self.controller.expect_running()?;
            if let Some(facts) = self.facts(node)? {
                let now = facts["state"].as_str().unwrap_or_default();
                if now == state {
                    return Ok(Some(facts));
                }
                if now == "failed" {
                    bail!("{} failed: {}", node.name, facts["problem"]);
                }
            }
            node.expect_on()?;
            node.expect_no_panic()?;
            Ok(None)
        });
        found.explain(|| self.picture(node))
    }

    /// Waits until all disks of a server are known, which is a moment after its state; answers what is known of it.
    pub fn wait_inventory(&self, node: &Node) -> Result<Value> {
        let what = format!("the inventory of {}", node.name);
        interrupt::until(&what, patience::SHORT, || {
            Ok(self.facts(node)?.filter(|facts| {
                let disks = facts["inventory"]["disks"].as_array();
                disks.is_some_and(|disks| disks.len() == node.disks.len())
            }))
        })
    }

    /// Waits until a server has failed; answers what is known of it.
    pub fn wait_failed_node(&mut self, node: &mut Node) -> Result<Value> {
        interrupt::until(&format!("{} to be failed", node.name), patience::SHORT, || {
            Ok(self.facts(node)?.filter(|facts| facts["state"] == "failed"))
        })
    }

    /// Discovers and approves a server that was just switched on.
    pub fn take_into_service(&mut self, node: &mut Node) -> Result<Value> {
        self.wait_state(node, "discovered", patience::NETWORK_BOOT)?;
        self.cli.approve(&node.mac, &node.name)?;
        self.wait_state(node, "available", patience::SHORT)?;
        self.wait_inventory(node)
    }

    /// A deployment as it stands.
    pub fn deployment(&self, id: &str) -> Result<Value> {
        self.cli.get(&format!("deployments/{id}"))
    }

    /// Waits until a deployment is in a state.
    pub fn wait_deployment(
        &mut self,
        node: &mut Node,
        id: &str,
        state: &str,
        timeout: Duration,
    ) -> Result<Value> {
        let found = interrupt::until(&format!("deployment {id} to be {state}"), timeout, || {
            self.controller.expect_running()?;
            let deployment = self.deployment(id)?;
            let now = deployment["state"].as_str().unwrap_or_default();
            if now == state {
                return Ok(Some(deployment));
            }
            if now != "running" {
                bail!("deployment {id} is {now}, not {state}: {}", deployment["problem"]);
            }
            node.expect_no_panic()?;
            Ok(None)
        });
        found.explain(|| self.picture(node))
    }

    /// Waits until at least this share of the image (in percent) is on the disk while the write still goes on.
    pub fn wait_written(&mut self, node: &mut Node, id: &str, percent: u64) -> Result<Value> {
        let what = format!("{percent} % of the image on the disk of {}", node.name);
        let found = interrupt::until(&what, patience::WRITE, || {
            let deployment = self.deployment(id)?;
            let progress = &deployment["progress"];
            let (done, total) = (progress["bytes_done"].as_u64(), progress["bytes_total"].as_u64());
            if deployment["state"] != "running" {
                bail!(
                    "deployment {id} is {}: {}",
                    deployment["state"],
                    deployment["problem"]
                );
            }
            match (done, total) {
                (Some(done), Some(total)) if total > 0 && done * 100 >= total * percent => {
                    Ok(Some(deployment))
                }
                _ => Ok(None),
            }
        });
        found.explain(|| self.picture(node))
    }

    /// All that helps to understand why a wait was in vain.
    pub fn picture(&self, node: &Node) -> String {
        format!(
            "--- imprint why {name}\n{why}\n--- controller's log\n{log}\n--- serial port of {name}, on for {up} s\n{serial}\n---",
            name = node.name,
            why = self.cli.why(&node.mac).trim(),
            log = self.controller.log_tail(25),
            up = node.uptime().as_secs(),
            serial = node.serial_tail(25),
        )
    }

    fn save_logs(&self) -> Result<()> {
        let logs = self.parts.target.join("lab-logs").join(&self.name);
        fs::create_dir_all(&logs).context("cannot create the log folder")?;
        for entry in fs::read_dir(self.folder.path()).context("cannot list the lab's folder")? {
            let path = entry.context("cannot list the lab's folder")?.path();
            let is_log = path
                .extension()
                .is_some_and(|end| end == "log" || end == "serial");
            if let (true, Some(name)) = (is_log, path.file_name()) {
                fs::copy(&path, logs.join(name)).context("cannot keep a log")?;
            }
        }
        Ok(())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep_logs
            && let Err(error) = self.save_logs()
        {
            eprintln!("{}: {error:#}", self.name);
        }
    }
}

/// How long a step may take on a machine that emulates and is loaded.
pub mod patience {
    use std::time::Duration;

    /// An answer of the controller.
    pub const SHORT: Duration = Duration::from_secs(30);
    /// From power-on to the agent's report.
    pub const NETWORK_BOOT: Duration = Duration::from_secs(300);
    /// The image on the disk.
    pub const WRITE: Duration = Duration::from_secs(400);
    /// From the order to the installed system's report.
    pub const DEPLOYMENT: Duration = Duration::from_secs(900);
}

/// A temporary folder below the target folder.
fn run_folder(target: &Path, name: &str) -> Result<TempDir> {
    sweep(target)?;
    let prefix = format!("{}.{name}.", std::process::id());
    tempfile::Builder::new()
        .prefix(&prefix)
        .tempdir_in(runs(target))
        .context("cannot make a temporary folder")
}

fn runs(target: &Path) -> PathBuf {
    target.join("lab-runs")
}

/// Removes the folders of runs that were killed before they could do it themselves.
pub fn sweep(target: &Path) -> Result<()> {
    let runs = runs(target);
    fs::create_dir_all(&runs).with_context(|| format!("cannot create {}", runs.display()))?;
    for entry in fs::read_dir(&runs).context("cannot list earlier runs")? {
        let path = entry.context("cannot list earlier runs")?.path();
        let owner = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.split('.').next());
        let program = owner.and_then(|pid| fs::read_link(format!("/proc/{pid}/exe")).ok());
        if program.is_none_or(|program| !program.to_string_lossy().contains("imprint-lab")) {
            fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}
