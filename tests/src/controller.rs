//! The controller under test: the real binary with a real configuration file, started, killed and started again.

use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statvfs::statvfs;

use crate::interrupt::Explain as _;
use crate::network::{Addresses, BRIDGE, SERVER};
use crate::process::Service;
use crate::{interrupt, process};

/// A disk of so many bytes is not full.
const ROOMY: u64 = 16 << 30;

/// What is special about this controller.
#[derive(Debug, Clone, Default)]
pub struct ControllerOptions {
    /// Further initrds for the ramdisk.
    pub extra_initrds: Vec<PathBuf>,
    /// Further lines of the section about booting.
    pub boot: &'static str,
    /// Lines of the section about timeouts.
    pub timeouts: &'static str,
    /// Where cards reach the volumes that it makes; none: it makes none.
    pub volumes: Option<SocketAddr>,
    /// The section about its store, its head included; empty: the folder.
    pub store: String,
    /// Its data folder is a disk of its own, which can be full.
    pub own_disk: bool,
}

/// A controller with a data folder of its own.
#[derive(Debug)]
pub struct Controller {
    binary: PathBuf,
    folder: PathBuf,
    token: String,
    service: Option<Service>,
    has_disk: bool,
}

impl Controller {
    /// Writes the configuration and runs `init`; nothing is served yet.
    pub fn init(
        binary: &Path,
        ramdisk: &Path,
        folder: &Path,
        addresses: Addresses,
        options: &ControllerOptions,
    ) -> Result<Self> {
        let mut controller = Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            token: String::new(),
            service: None,
            has_disk: false,
        };
        if options.own_disk {
            controller.mount_disk()?;
        }
        let text = configuration(&controller.data_dir(), ramdisk, addresses, options);
        fs::write(controller.config_path(), text).context("cannot write the controller's configuration")?;
        let mut init = Command::new(binary);
        init.args(["init", "--name"]).arg(SERVER.to_string());
        init.arg("--data-dir").arg(controller.data_dir());
        process::run(&mut init, Duration::from_secs(60))?;
        let token = fs::read_to_string(controller.token_path());
        controller.token = token
            .context("`imprint-controller init` left no token")?
            .trim()
            .to_owned();
        keep_secret(
            &controller.header_path(),
            &format!("Authorization: Bearer {}", controller.token),
        )?;
        Ok(controller)
    }

    fn mount_disk(&mut self) -> Result<()> {
        fs::create_dir(self.data_dir()).context("cannot make the data folder")?;
        self.mount(MsFlags::empty(), ROOMY)?;
        self.has_disk = true;
        Ok(())
    }

    fn mount(&self, flags: MsFlags, bytes: u64) -> Result<()> {
        let (tmpfs, options) = (Some("tmpfs"), format!("size={bytes},mode=0700"));
        mount(tmpfs, &self.data_dir(), tmpfs, flags, Some(options.as_str()))
            .with_context(|| format!("cannot make the controller's disk {bytes} bytes large"))
    }

    /// Makes its disk as small as what is on it, or roomy again.
    pub fn fill_disk(&self, full: bool) -> Result<()> {
        let disk = statvfs(&self.data_dir()).context("cannot look at the controller's disk")?;
        let used = (disk.blocks() - disk.blocks_free()) * disk.fragment_size();
        self.mount(MsFlags::MS_REMOUNT, if full { used } else { ROOMY })
    }

    /// Starts serving, and waits until it answers.
    pub fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.config_path())
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        let mut service = Service::start("imprint-controller", &mut command, &self.log_path())?;
        interrupt::until("the controller's health page", Duration::from_secs(60), || {
            service.expect_running()?;
            let mut probe = Command::new("curl");
            probe
                .args(["--silent", "--fail", "--max-time", "5", "--cacert"])
                .arg(self.ca_path());
            let healthy = process::ask(
                probe.arg(format!("{}/healthz", self.url())),
                Duration::from_secs(10),
            )?;
            Ok(healthy.success.then_some(()))
        })
        .explain(|| format!("controller's log:\n{}", self.log_tail(15)))?;
        self.service = Some(service);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill(&mut self) -> Result<()> {
        self.service
            .take()
            .context("the controller is not running")?
            .kill()
    }

    /// An error when the controller has ended on its own.
    pub fn expect_running(&mut self) -> Result<()> {
        match &mut self.service {
            Some(service) => service.expect_running(),
            None => bail!("the controller is not running"),
        }
    }

    /// REST and gRPC.
    pub fn url(&self) -> String {
        format!("https://{SERVER}:8443")
    }

    /// The admin's token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The CA that callers trust.
    pub fn ca_path(&self) -> PathBuf {
        self.data_dir().join("identity/ca.pem")
    }

    /// A file with the admin's token as a header, for curl.
    pub fn header_path(&self) -> PathBuf {
        self.folder.join("authorization.header")
    }

    /// The file in which `init` has left the admin's token.
    pub fn token_path(&self) -> PathBuf {
        self.data_dir().join("admin.token")
    }

    /// Database, keys and artifact store.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("controller")
    }

    /// Its configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.join("controller.toml")
    }

    /// The last lines of its log.
    pub fn log_tail(&self, lines: usize) -> String {
        process::file_tail(&self.log_path(), lines)
    }

    /// All of its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path()).unwrap_or_default()).into_owned()
    }

    /// Pack files of the artifact store.
    pub fn packs(&self) -> Result<Vec<PathBuf>> {
        let mut packs = Vec::new();
        let mut folders = vec![self.data_dir()];
        while let Some(folder) = folders.pop() {
            let entries =
                fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
            for entry in entries {
                let path = entry.context("cannot list the store")?.path();
                let in_packs = folder.file_name().is_some_and(|name| name == "packs");
                if path.is_dir() {
                    folders.push(path);
                } else if in_packs {
                    packs.push(path);
                }
            }
        }
        Ok(packs)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join("controller.log")
    }
}

impl Drop for Controller {
    /// Its data is thrown away with the lab's folder, so nobody waits for an orderly end.
    fn drop(&mut self) {
        if self.service.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("{error:#}");
        }
        if self.has_disk
            && let Err(error) = umount2(&self.data_dir(), MntFlags::MNT_DETACH)
        {
            eprintln!("the controller's disk cannot be unmounted: {error}");
        }
    }
}

fn keep_secret(path: &Path, text: &str) -> Result<()> {
    let file = fs::File::options()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(path);
    file.and_then(|mut file| writeln!(file, "{text}"))
        .context("cannot keep the token")
}

/// The configuration file of a lab's controller.
pub fn configuration(
    data: &Path,
    ramdisk: &Path,
    addresses: Addresses,
    options: &ControllerOptions,
) -> String {
    let interface = format!("interface = \"{BRIDGE}\"\nserver_address = \"{SERVER}\"\n");
    let dhcp = match addresses {
        Addresses::Foreign => format!("mode = \"proxy\"\n{interface}"),
        Addresses::Plain => "mode = \"off\"\n".to_owned(),
        Addresses::Own => format!("mode = \"own\"\nrange = \"10.77.0.100-10.77.0.199\"\n{interface}"),
    };
    let initrds: Vec<String> = options
        .extra_initrds
        .iter()
        .map(|path| format!("{:?}", path.display().to_string()))
        .collect();
    let volumes = options
        .volumes
        .map(|listen| format!("[volumes]\nlisten = \"{listen}\"\n\n"))
        .unwrap_or_default();
    format!(
        "listen = \"{SERVER}:8443\"\npublic_url = \"https://{SERVER}:8443\"\ndata_dir = {data:?}\n\n\
         [boot]\nlisten = \"{SERVER}:8080\"\npublic_url = \"http://{SERVER}:8080\"\nramdisk_dir = {ramdisk:?}\n\
         kernel_args = [\"console=tty0\", \"console=ttyS0,115200\", \"no_timer_check\"]\nextra_initrds = [{}]\n{boot}\n\
         [dhcp]\n{dhcp}\n{volumes}{store}[timeouts]\n{timeouts}",
        initrds.join(", "),
        boot = options.boot,
        timeouts = options.timeouts,
        store = options.store,
        data = data.display().to_string(),
        ramdisk = ramdisk.display().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_makes_volumes_only_where_it_is_said() {
        let text = |volumes: Option<SocketAddr>| {
            let options = ControllerOptions {
                timeouts: "boot_seconds = 60\n",
                volumes,
                ..ControllerOptions::default()
            };
            configuration(
                Path::new("/data"),
                Path::new("/ramdisk"),
                Addresses::Foreign,
                &options,
            )
        };
        assert!(!text(None).contains("[volumes]"));
        let with = text(Some(crate::sdi::STORAGE));
        let end = "\n\n[volumes]\nlisten = \"127.0.0.1:10809\"\n\n[timeouts]\nboot_seconds = 60\n";
        assert!(with.ends_with(end), "{with}");
    }
}
