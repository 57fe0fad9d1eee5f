//! nginx on loopback, with and without TLS, that counts what it sends.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::network::{Network, with_parent};
use super::processes::{self, Times};
use super::tools::Tools;
use crate::tool;

/// A running nginx. It ends with this value, or with this process.
#[derive(Debug)]
pub struct Server {
    nginx: Child,
    log: PathBuf,
    http: u16,
    https: u16,
    ca: PathBuf,
}

impl Server {
    /// Serves `root`; its files lie in `work`. Inside `network`, if one is given.
    pub fn start(tools: &Tools, root: &Path, work: &Path, network: Option<&Network>) -> Result<Self> {
        fs::create_dir_all(work).with_context(|| format!("cannot create {}", work.display()))?;
        let ca = certificate(work)?;
        let (http, https) = free_ports()?;
        let log = work.join("access.log");
        let root = root.canonicalize().context("nothing to serve")?;
        let work = work.canonicalize().context("no place for the server")?;
        let config = work.join("nginx.conf");
        fs::write(&config, configuration(&root, &work, http, https))
            .context("cannot write the server's configuration")?;
        File::create(&log).context("cannot create the server's log")?;
        let mut command = with_parent(&tools.nginx.display().to_string());
        command.arg("-p").arg(&work).arg("-c").arg(&config);
        command.arg("-e").arg(work.join("error.log"));
        let mut command = match network {
            Some(network) => network.wrap(&command),
            None => command,
        };
        let nginx = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let mut server = Self {
            nginx: nginx.context("cannot start nginx")?,
            log,
            http,
            https,
            ca,
        };
        server.await_answer(network, &work)?;
        Ok(server)
    }

    fn await_answer(&mut self, network: Option<&Network>, work: &Path) -> Result<()> {
        let url = format!("http://127.0.0.1:{}/", self.http);
        for _ in 0..100 {
            if self
                .nginx
                .try_wait()
                .context("cannot look after nginx")?
                .is_some()
            {
                break;
            }
            let mut curl = match network {
                Some(network) => network.inside("curl"),
                None => Command::new("curl"),
            };
            if tool::run(curl.args(["--silent", "--max-time", "2", &url])).is_ok() {
                return Ok(());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
        let log = fs::read_to_string(work.join("error.log")).unwrap_or_default();
        bail!("nginx does not answer: {}", log.trim())
    }

    /// The URL of a file.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.http)
    }

    /// The same over TLS.
    pub fn tls_url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.https)
    }

    /// The port without TLS.
    pub fn port(&self) -> u16 {
        self.http
    }

    /// The certificate to trust.
    pub fn ca(&self) -> &Path {
        &self.ca
    }

    /// Processor time so far.
    pub fn times(&self) -> Times {
        processes::tree_times(self.nginx.id())
    }

    /// How long the log is now.
    pub fn log_bytes(&self) -> u64 {
        fs::metadata(&self.log).map_or(0, |facts| facts.len())
    }

    /// Bytes that were sent to clients since the log had that length. A request is logged when it is over, so this
    /// waits until the log has stopped growing.
    pub fn sent_since(&self, log_bytes: u64) -> Result<u64> {
        let mut length = self.log_bytes();
        loop {
            thread::park_timeout(Duration::from_millis(60));
            let now = self.log_bytes();
            if now == length {
                break;
            }
            length = now;
        }
        let mut log = File::open(&self.log).context("the server's log is gone")?;
        log.seek(SeekFrom::Start(log_bytes))
            .context("cannot read the server's log")?;
        let mut text = String::new();
        log.read_to_string(&mut text)
            .context("cannot read the server's log")?;
        Ok(text
            .lines()
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The master ends its workers when it is told to end.
        let pid = i32::try_from(self.nginx.id()).expect("process ids are small");
        let told = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM);
        if told.is_err() {
            self.nginx.kill().ok();
        }
        self.nginx.wait().ok();
    }
}

fn configuration(root: &Path, work: &Path, http: u16, https: u16) -> String {
    let (root, work) = (root.display(), work.display());
    format!(
        "daemon off;
user root;
worker_processes 2;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format sent '$bytes_sent $status $request_time $request_uri';
    access_log {work}/access.log sent;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 75s;
    keepalive_requests 1000000;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    root {root};
    server {{ listen 127.0.0.1:{http}; }}
    server {{
        listen 127.0.0.1:{https} ssl;
        ssl_certificate {work}/server.pem;
        ssl_certificate_key {work}/server.key;
        ssl_protocols TLSv1.2 TLSv1.3;
    }}
}}
"
    )
}

/// A CA of this run, and the server's certificate by it.
fn certificate(work: &Path) -> Result<PathBuf> {
    let at = |name: &str| work.join(name).display().to_string();
    let ca = work.join("ca.pem");
    fs::write(
        work.join("server.ext"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n",
    )
    .context("cannot write the certificate's extensions")?;
    let openssl = |arguments: &[&str]| tool::run(Command::new("openssl").args(arguments));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let mut request = vec!["req", "-x509"];
    request.extend(curve);
    let (ca_key, ca_pem) = (at("ca.key"), at("ca.pem"));
    request.extend(["-days", "30", "-subj", "/CN=imprint bench CA"]);
    request.extend(["-keyout", &ca_key, "-out", &ca_pem]);
    openssl(&request)?;
    let (key, csr, pem, ext) = (
        at("server.key"),
        at("server.csr"),
        at("server.pem"),
        at("server.ext"),
    );
    let mut request = vec!["req"];
    request.extend(curve);
    request.extend(["-subj", "/CN=127.0.0.1", "-keyout", &key, "-out", &csr]);
    openssl(&request)?;
    openssl(&[
        "x509",
        "-req",
        "-in",
        &csr,
        "-CA",
        &ca_pem,
        "-CAkey",
        &ca_key,
        "-CAcreateserial",
        "-days",
        "30",
        "-extfile",
        &ext,
        "-out",
        &pem,
    ])?;
    Ok(ca)
}

/// Two ports that nobody listens on now.
fn free_ports() -> Result<(u16, u16)> {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback");
    let (one, two) = (bind()?, bind()?);
    let port = |listener: &TcpListener| -> Result<u16> {
        Ok(listener.local_addr().context("a listener has no address")?.port())
    };
    Ok((port(&one)?, port(&two)?))
}
