//! The controller that the fleet calls: the real binary on loopback, with a data folder of its own.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use super::api::Site;
use crate::process::{self, Service};

/// How long it may take to answer after its start.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A controller in a process of its own.
#[derive(Debug)]
pub struct ControllerProcess {
    binary: PathBuf,
    folder: PathBuf,
    service: Option<Service>,
    /// Where it is.
    pub site: Site,
}

impl ControllerProcess {
    /// Makes its data folder.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn init(binary: &Path, folder: &Path) -> Result<Self> {
        imprint_agent::identity::tls::install_provider();
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let data = folder.join("data");
        let mut init = Command::new(binary);
        init.args(["init", "--name", "127.0.0.1", "--data-dir"])
            .arg(&data);
        process::run(&mut init, START_LIMIT)?;
        let (api, boot) = (free_port()?, free_port()?);
        let text = format!(
            "listen = \"127.0.0.1:{api}\"\npublic_url = \"https://127.0.0.1:{api}\"\ndata_dir = {data:?}\n\n\
             [boot]\nlisten = \"127.0.0.1:{boot}\"\npublic_url = \"http://127.0.0.1:{boot}\"\ntftp_listen = \"off\"\n\n\
             [dhcp]\nmode = \"off\"\n\n\
             [ingest]\nsystem_disk_min_size = \"1MiB\"\n",
            data = data.display().to_string()
        );
        fs::write(folder.join("controller.toml"), text)
            .context("cannot write the controller's configuration")?;
        let read = |name: &str| {
            fs::read_to_string(data.join(name)).with_context(|| format!("`init` left no {name}"))
        };
        let site = Site {
            url: format!("https://127.0.0.1:{api}").parse().context("no address")?,
            boot_url: format!("http://127.0.0.1:{boot}").parse().context("no address")?,
            ca_pem: read("identity/ca.pem")?,
            token: read("admin.token")?.trim().to_owned(),
        };
        Ok(Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            service: None,
            site,
        })
    }

    /// Starts it, and waits until it answers. To be called by the thread that lives longest: the controller ends with it.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn start(&mut self) -> Result<()> {
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .arg("--config")
            .arg(self.folder.join("controller.toml"))
            .env("NO_COLOR", "1")
            .env("RUST_LOG", "warn,sqlx=error")
            .stdin(Stdio::null());
        let log = self.folder.join("controller.log");
        let mut service = Service::start("imprint-controller", &mut command, &log)?;
        let ca = reqwest::Certificate::from_pem(self.site.ca_pem.as_bytes())?;
        let client = reqwest::Client::builder().tls_certs_only([ca]).build()?;
        let health = self.site.url.join("/healthz")?;
        let answers = async {
            loop {
                service.expect_running()?;
                let asked = client
                    .get(health.clone())
                    .timeout(Duration::from_secs(5))
                    .send()
                    .await;
                if asked.is_ok_and(|answer| answer.status().is_success()) {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(START_LIMIT, answers)
            .await
            .context("the controller does not answer")??;
        self.service = Some(service);
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill(&mut self) -> Result<()> {
        self.service
            .take()
            .context("the controller is not running")?
            .kill()
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.service.as_ref().map(Service::pid)
    }

    /// An error when it has ended by itself.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn expect_running(&mut self) -> Result<()> {
        self.service
            .as_mut()
            .context("the controller is not running")?
            .expect_running()
    }
}

impl Drop for ControllerProcess {
    /// Its data is thrown away, so nobody waits for an orderly end.
    fn drop(&mut self) {
        if self.service.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("{error:#}");
        }
    }
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot take a port")?;
    Ok(listener.local_addr().context("a port has no number")?.port())
}
