//! One import by a real controller, asked over REST on loopback.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::bench::processes;
use crate::tool;

/// How long a controller may take to start.
const START_SECONDS: &str = "60";

/// What the controller has shown.
#[derive(Debug)]
pub(super) struct ByRest {
    /// Seconds of the request.
    pub wall: f64,
    /// Processor time of the controller.
    pub cpu: f64,
    /// Its peak.
    pub memory_kib: u64,
}

/// Starts a controller with a folder of its own and sends it `image`.
pub(super) fn import(binary: &Path, image: &Path, work: &Path, limit: u64) -> Result<ByRest> {
    let data = work.join("controller");
    tool::run(
        Command::new(binary)
            .args(["init", "--name", "127.0.0.1", "--data-dir"])
            .arg(&data),
    )?;
    let (api, boot) = (free_port()?, free_port()?);
    let config = work.join("controller.toml");
    let text = format!(
        "listen = \"127.0.0.1:{api}\"\npublic_url = \"https://127.0.0.1:{api}\"\ndata_dir = {data:?}\n\n\
         [boot]\nlisten = \"127.0.0.1:{boot}\"\npublic_url = \"http://127.0.0.1:{boot}\"\ntftp_listen = \"off\"\n\n\
         [dhcp]\nmode = \"off\"\n",
        data = data.display().to_string()
    );
    fs::write(&config, text).context("cannot write the controller's configuration")?;
    let token = fs::read_to_string(data.join("admin.token")).context("`init` left no token")?;
    let header = work.join("authorization.header");
    let secret = File::options()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&header);
    std::io::Write::write_all(
        &mut secret.context("cannot keep the token")?,
        format!("Authorization: Bearer {}\n", token.trim()).as_bytes(),
    )
    .context("cannot keep the token")?;
    let log = File::create(work.join("controller.log")).context("cannot create the log")?;
    let mut serve = Command::new(binary);
    serve.arg("serve").arg("--config").arg(&config);
    let child = serve
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("cannot start the controller")?;
    let controller = Running(child);
    let curl = |path: &str| {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--cacert"])
            .arg(data.join("identity/ca.pem"))
            .arg(format!("https://127.0.0.1:{api}{path}"));
        curl
    };
    let mut health = curl("/healthz");
    health.args([
        "--retry",
        START_SECONDS,
        "--retry-delay",
        "1",
        "--retry-connrefused",
    ]);
    if tool::run(&mut health).is_err() {
        let log = fs::read_to_string(work.join("controller.log")).unwrap_or_default();
        bail!("the controller does not answer:\n{log}");
    }
    let pid = controller.0.id();
    nix::unistd::sync();
    let before = processes::times(pid);
    let begun = Instant::now();
    tool::run(
        curl("/v1/images?name=bench")
            .args(["--request", "POST", "--max-time", &limit.to_string(), "--header"])
            .arg(format!("@{}", header.display()))
            .arg("--upload-file")
            .arg(image),
    )
    .context("the controller did not take the image")?;
    Ok(ByRest {
        wall: begun.elapsed().as_secs_f64(),
        cpu: processes::times(pid).since(before).total(),
        memory_kib: peak_kib(pid)?,
    })
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("cannot take a port")?;
    Ok(listener.local_addr().context("a port has no number")?.port())
}

fn peak_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the controller is gone")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .context("the kernel does not tell the controller's memory")
}

/// Ended when this goes out of scope, with whatever result.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Its data is thrown away, so nobody waits for an orderly end.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
