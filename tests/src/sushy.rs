//! sushy-tools, the Redfish service of the OpenStack project: a BMC that somebody else has written. Its servers are not there
//! (its driver `fake`), but it tells whoever wants to know what becomes of them, and so it switches a virtual one here.
//!
//! It knows no boot that is once, and takes a few seconds for each change. `cargo xtask python-tools` installs it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use axum::Router;
use axum::extract::{Json, State};
use axum::routing::put;
use http::StatusCode;
use rcgen::CertifiedKey;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::runtime::Runtime;

use crate::process::{self, Service};
use crate::redfish::qemu::Qemu;

/// Who is let in.
pub const USER: &str = "root";
/// With what.
pub const PASSWORD: &str = "secret";
/// Settings of the service. Their values are written as JSON, which Python takes as long as nothing is true, false or null.
const SETTINGS: [&str; 8] = [
    "SUSHY_EMULATOR_LISTEN_IP",
    "SUSHY_EMULATOR_LISTEN_PORT",
    "SUSHY_EMULATOR_SSL_CERT",
    "SUSHY_EMULATOR_SSL_KEY",
    "SUSHY_EMULATOR_AUTH_FILE",
    "SUSHY_EMULATOR_STATE_DIR",
    "EXTERNAL_NOTIFICATION_URL",
    "SUSHY_EMULATOR_FAKE_SYSTEMS",
];

/// Where it is, if it is: in the build's folder.
pub fn place(target: &Path) -> Option<PathBuf> {
    let place = target.join("python-tools");
    // Written when all is installed.
    place.join("complete").exists().then_some(place)
}

/// The server that it manages.
#[derive(Debug)]
pub struct Managed<'a> {
    /// "web-1".
    pub name: &'a str,
    /// SMBIOS UUID.
    pub uuid: &'a str,
    /// What is switched; none: it is on paper alone.
    pub server: Option<Qemu>,
}

/// A service that runs. It ends with this value.
#[derive(Debug)]
pub struct Sushy {
    /// Where: https://127.0.0.1:PORT.
    pub address: String,
    /// SHA-256 over its certificate, hex.
    pub fingerprint: String,
    /// Its certificate.
    pub certificate_pem: String,
    /// The program.
    pub service: Service,
    // Whom it tells.
    _listener: Option<Runtime>,
}

impl Sushy {
    /// Starts it at a free port of the loopback, its files in a folder of its own.
    pub fn start(place: &Path, folder: &Path, managed: Managed<'_>) -> Result<Self> {
        let own = folder.join(format!("{}.sushy", managed.name));
        fs::create_dir_all(&own).context("cannot make a folder for sushy-tools")?;
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
                .context("cannot make a certificate")?;
        let hash = process::run(
            Command::new(place.join("bin/python"))
                .arg("-c")
                .arg("import bcrypt, sys; print(bcrypt.hashpw(sys.argv[1].encode(), bcrypt.gensalt(4)).decode())")
                .arg(PASSWORD),
            std::time::Duration::from_secs(60),
        )?;
        let (listener, told) = match managed.server {
            Some(server) => {
                let (listener, told) = follow(server)?;
                (Some(listener), Some(told))
            }
            None => (None, None),
        };
        let port = process::free_port()?;
        let file = |name: &str| own.join(name).display().to_string();
        let system = json!({
            "uuid": managed.uuid, "name": managed.name, "power_state": "Off", "nics": [],
            "external_notifier": i32::from(told.is_some()),
        });
        let values = [
            json!("127.0.0.1"),
            json!(port),
            json!(file("cert.pem")),
            json!(file("key.pem")),
            json!(file("users")),
            json!(own.display().to_string()),
            json!(told.map(|at| format!("http://{at}/")).unwrap_or_default()),
            json!([system]),
        ];
        let settings: Vec<String> = SETTINGS
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name} = {value}\n"))
            .collect();
        let conf = format!("SUSHY_EMULATOR_FAKE_DRIVER = True\n{}", settings.concat());
        for (name, text) in [
            ("cert.pem", cert.pem()),
            ("key.pem", signing_key.serialize_pem()),
            ("users", format!("{USER}:{}\n", hash.trim())),
            ("conf", conf),
        ] {
            fs::write(own.join(name), text).with_context(|| format!("cannot write {name} of sushy-tools"))?;
        }
        let mut command = Command::new(place.join("bin/sushy-emulator"));
        command
            .arg("--config")
            .arg(own.join("conf"))
            .current_dir(&own)
            // Where it keeps the CDs that it was given.
            .env("TMPDIR", &own)
            .stdin(Stdio::null());
        let log = folder.join(format!("{}.sushy.log", managed.name));
        Ok(Self {
            address: format!("https://127.0.0.1:{port}"),
            fingerprint: hex::encode(Sha256::digest(cert.der())),
            certificate_pem: cert.pem(),
            service: Service::start("sushy-emulator", &mut command, &log)?,
            _listener: listener,
        })
    }
}

/// A virtual server that is as its system on paper is.
#[derive(Debug)]
struct Follower {
    server: Qemu,
    on: bool,
    first: String,
    cd: Option<PathBuf>,
}

impl Follower {
    fn follow(&mut self, system: &Value) -> Result<()> {
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        // Path, write-protected, inserted.
        let cd = text(&system["boot_image"]["Cd"][0]).map(PathBuf::from);
        if cd != self.cd {
            self.server.change_cd(cd.as_deref())?;
            self.cd = cd;
        }
        let first = text(&system["boot_device"]).unwrap_or_default();
        if first != self.first {
            // It stays: also what the system restarts into.
            self.server.arrange(Some(&first))?;
            self.first = first;
        }
        let on = system["power_state"] == "On";
        match (self.on, on) {
            (false, true) => self.server.start()?,
            (true, false) => self.server.stop()?,
            _ => {}
        }
        self.on = on;
        Ok(())
    }
}

/// Listens to what becomes of the system on paper.
fn follow(server: Qemu) -> Result<(Runtime, SocketAddr)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start the runtime of a BMC")?;
    let follower = Arc::new(Mutex::new(Follower {
        server,
        on: false,
        first: String::new(),
        cd: None,
    }));
    let tcp = runtime
        .block_on(tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .context("no free port on the loopback")?;
    let at = tcp.local_addr().context("no address of a listener")?;
    ensure!(at.ip().is_loopback(), "{at} is not on the loopback");
    let told = async |State(follower): State<Arc<Mutex<Follower>>>, Json(system): Json<Value>| {
        let followed = tokio::task::spawn_blocking(move || {
            follower
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .follow(&system)
        });
        match followed.await.map_err(anyhow::Error::from).flatten() {
            Ok(()) => (StatusCode::OK, String::new()),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}")),
        }
    };
    let router = Router::new().route("/", put(told)).with_state(follower);
    runtime.spawn(async move {
        if let Err(error) = axum::serve(tcp, router).await {
            eprintln!("whoever listens to sushy-tools has ended: {error}");
        }
    });
    Ok((runtime, at))
}
