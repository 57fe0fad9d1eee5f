//! The card's process: it puts the parts together and serves until it is told to end.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, Result};
use imprint_proto::opi::frontend_nvme_service_server::FrontendNvmeServiceServer;
use imprint_proto::opi::frontend_virtio_blk_service_server::FrontendVirtioBlkServiceServer;
use imprint_proto::opi::nvme_remote_controller_service_server::NvmeRemoteControllerServiceServer;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use super::books::Books;
use super::faults::Faults;
use super::present::Presenter;
use super::wanted::{Layout, wanted};
use super::{CardOptions, Desk, control};

/// A card that serves. It ends, with all of its connections, when this is dropped.
#[derive(Debug)]
pub struct Served {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is wrong with it.
    pub faults: Faults,
    tasks: JoinSet<Result<()>>,
    restart: mpsc::Receiver<u8>,
}

impl Served {
    /// Waits until it ends by itself: with the code that it was told to end with.
    pub async fn ended(&mut self) -> Result<u8> {
        tokio::select! {
            Some(code) = self.restart.recv() => Ok(code),
            Some(ended) = self.tasks.join_next() => {
                ended.context("a task of the card has died")??;
                Ok(0)
            }
        }
    }

    /// Ends it; its address is free once this returns.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

/// Runs a card until a signal, or until it is told to restart; answers its exit code.
pub fn run(options: &CardOptions) -> Result<u8> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let code = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut served = serve(options).await?;
        println!("serving OPI at {}", served.address);
        tokio::select! {
            code = served.ended() => code,
            _ = terminate.recv() => Ok(0),
            _ = tokio::signal::ctrl_c() => Ok(0),
        }
    });
    // As a card that loses power.
    runtime.shutdown_background();
    code
}

/// Starts a card.
pub async fn serve(options: &CardOptions) -> Result<Served> {
    let (restart, restarted) = mpsc::channel(1);
    let faults = Faults::none(restart);
    let books = match &options.state {
        Some(file) => Books::load(file)?,
        None => Books::default(),
    };
    let layout = Layout {
        functions: options.functions,
        serial: options.serial,
        storage: options.storage.clone(),
        has_server: options.qmp.is_some(),
    };
    let shown =
        wanted(&books, &layout).context("the books are not for a card that was built like this one")?;
    let presenter = match &options.qmp {
        Some(qmp) => Some(Presenter::start(
            options,
            qmp.clone(),
            shown,
            faults.clone(),
            Handle::current(),
        )?),
        None => None,
    };
    let desk = Desk::new(books, layout, presenter, options.state.clone(), faults.clone());
    let mut tasks = JoinSet::new();
    if let Some(socket) = &options.control {
        remove(socket)?;
        let listener = UnixListener::bind(socket);
        let listener = listener.with_context(|| format!("cannot listen at {}", socket.display()))?;
        tasks.spawn(control::listen(listener, faults.clone()));
    }
    let listener = TcpListener::bind(options.listen).await;
    let listener = listener.with_context(|| format!("cannot listen at {}", options.listen))?;
    let address = listener.local_addr().context("no address of a listener")?;
    let server = Server::builder()
        .layer(faults.clone())
        .add_service(FrontendVirtioBlkServiceServer::new(desk.clone()))
        .add_service(FrontendNvmeServiceServer::new(desk.clone()))
        .add_service(NvmeRemoteControllerServiceServer::new(desk))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tasks.spawn(async move { server.await.context("the gRPC server has ended") });
    Ok(Served {
        address,
        faults,
        tasks,
        restart: restarted,
    })
}

/// A socket that an earlier card has left.
fn remove(socket: &Path) -> Result<()> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", socket.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
