//! The controller's program: `init` makes a data folder, `serve` runs on it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use imprint_controller::{
    app::App,
    backup,
    boot::BootServices,
    catalog,
    clock::Clock,
    config::{Config, Overrides},
    deploy, events, guests, image_key_commands, logs, matching, metrics, power,
    server::Server,
    setup, telemetry, upkeep, volumes, webhooks,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};
use tracing_subscriber::EnvFilter;

mod sys;

const EXAMPLES: &str = "\
Examples:
  imprint-controller init --data-dir /var/lib/imprint --name imprint.example.net
  imprint-controller serve --config /etc/imprint/controller.toml
  imprint-controller serve --demo --data-dir /tmp/imprint

The first API token is in admin.token, the CA for callers in identity/ca.pem in the data folder.";

/// The controller of Imprint: puts operating systems onto bare metal.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes the data folder: CA, keys, database and the first API token. Does nothing twice.
    #[command(after_help = "Example:\n  imprint-controller init --name imprint.example.net --name 10.0.0.1")]
    Init(InitArgs),
    /// Runs the controller: REST and gRPC, boot HTTP, TFTP and DHCP.
    #[command(after_help = "Example:\n  imprint-controller serve --config /etc/imprint/controller.toml")]
    Serve(ServeArgs),
    /// Writes a backup of database and keys into one new file, while the controller runs. Images are not in it.
    #[command(after_help = "\
The file is as secret as the data folder. The artifact store is copied on its own, after this: see operating.md.

Example:
  imprint-controller backup --to /backup/imprint-$(date +%F).backup")]
    Backup(BackupArgs),
    /// Restores a backup into an empty folder, and puts all nodes on hold until their agents have called.
    #[command(after_help = "\
Nothing is sent to a node on hold, and it boots its own disk: `imprint why NODE`, `imprint node confirm NODE`.

Example:
  imprint-controller restore --from /backup/imprint-2026-03-01.backup --data-dir /var/lib/imprint")]
    Restore(RestoreArgs),
    /// Makes a new key that wraps the keys of encrypted images, and forgets the older one. Stop the controller before.
    #[command(after_help = "Example:\n  imprint-controller rewrap-keys --data-dir /var/lib/imprint")]
    RewrapKeys(FolderArgs),
    /// Writes the key of an encrypted image into a new private file, for `imprint-agent write --key-file`.
    #[command(after_help = "Example:\n  imprint-controller image-key debian-12 --output image.key")]
    ImageKey(ImageKeyArgs),
}

#[derive(Debug, Args)]
struct FolderArgs {
    /// Configuration, TOML. Without it everything has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder; wins over the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

impl FolderArgs {
    fn load(&self) -> Result<Config> {
        let overrides = Overrides {
            data_dir: self.data_dir.as_deref().map(absolute).transpose()?,
            listen: None,
        };
        Ok(Config::load(self.config.as_deref(), &overrides)?)
    }
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// File to make; only this user can read it.
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// The backup.
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// Folder to restore into: empty, or not there yet.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
}

#[derive(Debug, Args)]
struct ImageKeyArgs {
    /// Id or name of the image.
    image: String,
    /// Which of its disks, when it has several.
    #[arg(long, value_name = "ROLE")]
    disk: Option<String>,
    /// File to make; only this user can read it.
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    folder: FolderArgs,
}

#[derive(Debug, Args)]
struct InitArgs {
    /// Folder to make.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/imprint")]
    data_dir: PathBuf,
    /// DNS name or IP address that callers and agents use; may be given several times.
    #[arg(long = "name", value_name = "DNS_OR_IP")]
    names: Vec<String>,
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration, TOML. Without it everything has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data folder; wins over the configuration.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where REST and gRPC listen; wins over the configuration.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Makes the data folder when it is not there, as `init` would.
    #[arg(long)]
    demo: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            return fail(&anyhow::Error::new(error).context("cannot start the threads of the controller"));
        }
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Init(args) => init(args).await,
            Command::Serve(args) => serve(args).await,
            Command::Backup(args) => take_backup(&args).await,
            Command::Restore(args) => restore_backup(&args).await,
            Command::RewrapKeys(args) => rewrap_keys(&args).await,
            Command::ImageKey(args) => image_key(&args).await,
        }
    });
    // An import that is being written may block for long; what it leaves is removed at the next start.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// One message with all causes: what was tried, then why it failed.
fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("imprint-controller: {error:#}");
    ExitCode::FAILURE
}

async fn init(args: InitArgs) -> Result<()> {
    let report = setup::init(&args.data_dir, &args.names, &Clock::system()).await?;
    println!("data folder   {}", report.data_dir.display());
    println!("CA            {}", report.ca.display());
    match report.admin_token {
        Some(path) => println!("admin token   {}", path.display()),
        None => println!("admin token   made by an earlier run, and no longer kept here"),
    }
    println!(
        "next          imprint-controller serve --data-dir {}",
        report.data_dir.display()
    );
    Ok(())
}

async fn take_backup(args: &BackupArgs) -> Result<()> {
    let config = args.folder.load()?;
    let taken = backup::take(&config.data_dir, &args.to, &Clock::system()).await?;
    println!("backup        {}", taken.path.display());
    println!("size          {} bytes, {} files", taken.bytes, taken.files);
    println!("blake3        {}", taken.digest);
    println!("newest event  {}", taken.newest_event);
    Ok(())
}

async fn restore_backup(args: &RestoreArgs) -> Result<()> {
    let done = backup::restore(&args.from, &absolute(&args.data_dir)?, &Clock::system()).await?;
    println!("data folder   {}", done.data_dir.display());
    println!("backup of     {}", done.taken_at);
    println!(
        "on hold       {} nodes, {} running deployments",
        done.nodes, done.deployments
    );
    println!(
        "next          put the artifact store in its place, then start the controller; `imprint why NODE`"
    );
    Ok(())
}

async fn rewrap_keys(args: &FolderArgs) -> Result<()> {
    let config = args.load()?;
    let done = image_key_commands::rewrap_keys(&config.data_dir).await?;
    println!("wrapping key  {}", done.by);
    println!("data keys     {} wrapped anew", done.keys);
    Ok(())
}

async fn image_key(args: &ImageKeyArgs) -> Result<()> {
    let (config, clock) = (args.folder.load()?, Clock::system());
    let disk = args.disk.as_deref();
    let written = image_key_commands::write_image_key(&config, &clock, &args.image, disk, &args.output).await;
    let (image, id) = written?;
    println!("image         {image}");
    println!("key           {id}");
    println!(
        "written to    {}; delete it when it is not needed any more",
        args.output.display()
    );
    Ok(())
}

async fn serve(args: ServeArgs) -> Result<()> {
    let overrides = Overrides {
        data_dir: args.data_dir.as_deref().map(absolute).transpose()?,
        listen: args.listen,
    };
    let config = Config::load(args.config.as_deref(), &overrides)?;
    let clock = Clock::system();
    if args.demo && !setup::is_initialised(&config.data_dir) {
        setup::init(&config.data_dir, &config.server_names(), &clock).await?;
    }
    let _lock = setup::lock(&config.data_dir)?;
    let mut end = EndSignals::new()?;
    let app = App::open(config, clock).await?;
    let result = run(&app, &mut end).await;
    app.close().await;
    result
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot use {} as a path", path.display()))
}

/// A part that goes on until the controller ends: the end of one is the end of all.
fn background(tasks: &mut JoinSet<Result<()>>, part: impl Future<Output = ()> + Send + 'static) {
    tasks.spawn(async move {
        part.await;
        Ok(())
    });
}

/// The whole life of a controller: ports, tasks, end.
async fn run(app: &App, end: &mut EndSignals) -> Result<()> {
    let server = Server::bind(app).await?;
    let boot = BootServices::bind(app)
        .await
        .context("cannot start the boot services")?;
    let nbd = match &app.config.volumes {
        Some(config) => Some(volumes::NbdServer::find(config).await?),
        None => None,
    };
    tracing::info!(
        listen = %server.address(),
        url = %app.config.public_url,
        data = %app.config.data_dir.display(),
        version = env!("CARGO_PKG_VERSION"),
        "controller is running"
    );
    let mut tasks: JoinSet<Result<()>> = JoinSet::new();
    background(&mut tasks, async move {
        let ended = server.run().await;
        tracing::debug!(?ended, "REST and gRPC have ended");
    });
    background(&mut tasks, deploy::run(app.clone()));
    background(&mut tasks, events::run(app.clone()));
    background(&mut tasks, backup::run(app.clone()));
    background(&mut tasks, logs::run(app.clone()));
    background(&mut tasks, catalog::run(app.clone()));
    background(&mut tasks, guests::run(app.clone()));
    background(&mut tasks, matching::run(app.clone()));
    background(&mut tasks, metrics::run(app.clone()));
    background(&mut tasks, telemetry::run(app.clone()));
    background(&mut tasks, webhooks::run(app.clone()));
    background(&mut tasks, volumes::run(app.clone()));
    background(&mut tasks, power::run(app.clone()));
    if let Some(nbd) = nbd {
        background(&mut tasks, nbd.run(app.shutdown.clone()));
    }
    background(&mut tasks, upkeep::run(app.upkeep.clone(), app.shutdown.clone()));
    let uploads = app.clone();
    background(&mut tasks, async move {
        uploads.ingest.uploads().run(uploads.shutdown.clone()).await;
    });
    tasks.spawn(async move { boot.run().await.context("the boot services failed") });
    // All ports are taken, and whoever connects from now on is answered.
    notify(&[sd_notify::NotifyState::Ready]);

    let first = tokio::select! {
        name = end.received() => {
            tracing::info!(signal = name, "controller ends");
            None
        }
        ended = tasks.join_next() => ended,
    };
    notify(&[sd_notify::NotifyState::Stopping]);
    app.shutdown.cancel();
    let mut result = first.map_or(Ok(()), |ended| ended.context("a task of the controller died")?);
    while let Some(ended) = tasks.join_next().await {
        let ended = ended.context("a task of the controller died").flatten();
        result = result.and(ended);
    }
    result
}

fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// SIGTERM and SIGINT.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn new() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
