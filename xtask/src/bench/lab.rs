//! Everything a session works with, prepared in the right order.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arguments::Write;
use super::contender::Contender;
use super::forms::{Form, Forms};
use super::measure::{self, Measured, Surroundings};
use super::network::Network;
use super::server::Server;
use super::target::{Content, Target};
use super::tools::Tools;
use super::workload::{self, Workload};
use crate::screen::step;

/// The prepared parts.
#[derive(Debug)]
pub struct Lab {
    /// Programs.
    pub tools: Tools,
    /// The image.
    pub workload: Workload,
    /// Its served forms.
    pub forms: Forms,
    /// The web server.
    pub server: Server,
    /// The disk.
    pub target: Target,
    /// Logs and the like.
    pub work: PathBuf,
    /// When a run is ended.
    pub limit: Duration,
    target_file: PathBuf,
    _udev: UdevStandIn,
}

impl Lab {
    /// Makes and installs whatever the chosen contenders need.
    pub fn prepare(source: &Path, options: &Write, chosen: &[Contender]) -> Result<Self> {
        let peers: Vec<&'static str> = chosen.iter().filter_map(|contender| contender.program).collect();
        let tools = Tools::prepare(source, &peers, options.agent.as_deref())?;
        let workload = workload::prepare(source, options.image())?;
        let present = chosen
            .iter()
            .filter(|contender| contender.program.is_none_or(|name| tools.peer(name).is_ok()));
        let wanted: Vec<Form> = present.filter_map(|contender| contender.form).collect();
        let forms = Forms::prepare(&tools, &workload, &wanted)?;
        let work = source.join("target/bench-work");
        fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
        let server = Server::start(&tools, forms.folder(), &work.join("server"), None)?;
        let target_file = work.join("disk");
        let target = Target::create(&target_file, workload.bytes)?;
        step(&format!(
            "Image {}: {:.2} GB of data on {:.2} GB; target {}",
            workload.image.name(),
            forms.data_bytes() as f64 / 1e9,
            workload.bytes as f64 / 1e9,
            target.device().display()
        ));
        Ok(Self {
            tools,
            workload,
            forms,
            server,
            target,
            work,
            limit: Duration::from_secs(options.limit),
            target_file,
            _udev: UdevStandIn::put()?,
        })
    }

    /// Removes the target's file unless it is to be kept.
    pub fn clear(&self, keep: bool) -> Result<()> {
        if keep {
            return Ok(());
        }
        fs::remove_file(&self.target_file)
            .with_context(|| format!("cannot remove {}", self.target_file.display()))
    }

    /// Runs a program that writes to the disk and reads from the server.
    pub fn measure(&self, command: Command) -> Result<Measured> {
        self.measure_with(command, &self.server)
    }

    /// The same with another server.
    pub fn measure_with(&self, command: Command, server: &Server) -> Result<Measured> {
        let around = Surroundings {
            target: Some(&self.target),
            server: Some(server),
            work: &self.work,
            limit: self.limit,
        };
        measure::run(command, &around)
    }

    /// Old data all over the disk, and served files in memory.
    pub fn renew(&self) -> Result<()> {
        self.target.fill(&self.tools, self.workload.bytes)
    }

    /// Compares the disk with the image.
    pub fn compare(&self) -> Result<Content> {
        self.target.compare(&self.tools, &self.workload.raw)
    }

    /// `imprint-agent write` of the artifact from a server.
    pub fn agent_from(&self, server: &Server) -> Command {
        self.agent(&server.url(&self.forms.manifest_path()))
    }

    /// `imprint-agent write` of a manifest.
    pub fn agent(&self, manifest: &str) -> Command {
        let mut agent = self.agent_write();
        agent.args(["--manifest", manifest, "--pubkey", self.forms.public_key()]);
        agent
    }

    /// `imprint-agent write` onto the disk.
    pub fn agent_write(&self) -> Command {
        let mut agent = Command::new(&self.tools.agent);
        agent
            .args(["write", "--json", "--target"])
            .arg(self.target.device());
        agent
    }

    /// A second server on a slow loopback.
    pub fn slow_server(&self, bytes_per_second: u64) -> Result<(Network, Server)> {
        let network = Network::limited(bytes_per_second)?;
        let work = self.work.join("slow-server");
        let server = Server::start(&self.tools, self.forms.folder(), &work, Some(&network))?;
        Ok((network, server))
    }

    /// Reads files, so that they are in memory when they are served.
    pub fn warm(&self, form: Form) -> Result<()> {
        let files: Vec<PathBuf> = match form {
            Form::Artifact => self
                .forms
                .packs()
                .iter()
                .map(|pack| self.forms.folder().join(pack))
                .collect(),
            other => vec![self.forms.path(other)],
        };
        let mut block = vec![0; 1 << 20];
        for path in files {
            let mut file =
                fs::File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
            while file.read(&mut block).context("cannot read a served file")? > 0 {}
        }
        Ok(())
    }
}

/// coreos-installer asks udev, which a container has not; an empty file where its socket would be satisfies it.
#[derive(Debug)]
struct UdevStandIn(Option<PathBuf>);

impl UdevStandIn {
    fn put() -> Result<Self> {
        let control = PathBuf::from("/run/udev/control");
        if control.exists() {
            return Ok(Self(None));
        }
        fs::create_dir_all("/run/udev").context("cannot create /run/udev")?;
        fs::write(&control, "").context("cannot create /run/udev/control")?;
        Ok(Self(Some(control)))
    }
}

impl Drop for UdevStandIn {
    fn drop(&mut self) {
        if let Some(control) = &self.0 {
            // Nothing depends on it any more.
            fs::remove_file(control).ok();
        }
    }
}
