//! TFTP: the boot loaders and, for machines that come by shim and GRUB, all that they load. Read-only, by exact name,
//! nothing else of any folder.

use std::fmt;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_tftp::packet;
use async_tftp::server::{Handler, TftpServer, TftpServerBuilder};
use futures::io::{AsyncRead, Cursor, Sink};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, BufReader, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::script::grub;
use super::site::{Answer, BootSite, Said};
use crate::config::UefiLoader;

/// The iPXE files that firmware is pointed at.
pub const IPXE_FILES: [&str; 3] = ["undionly.kpxe", "snponly.efi", "ipxe.efi"];
/// What shim is called here.
pub const SHIM: &str = "shimx64.efi";
/// What shim looks for beside itself.
const GRUB: &str = "grubx64.efi";

/// Largest payload of an unfragmented packet on Ethernet: 1500 less IP, UDP and TFTP headers. Firmware asks for 1468 or
/// less by itself; larger ones are lost on the way more often than they help.
const MAX_BLOCK: u16 = 1468;
/// Largest file that is read as a whole, so that a slow client holds no open file.
const MAX_WHOLE: u64 = 8 << 20;
/// Read ahead of larger files, each.
const READ_AHEAD: usize = 256 << 10;
/// Larger files that are sent at the same time. Who comes when all are taken is refused, and asks again.
const LARGE_AT_ONCE: usize = 256;

/// Answers read requests.
#[derive(Debug, Clone)]
pub struct BootFiles {
    site: Arc<BootSite>,
    large: Arc<Semaphore>,
}

/// A TFTP server that is bound and waits to be started.
pub struct Tftp(TftpServer<BootFiles>);

impl fmt::Debug for Tftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tftp").finish_non_exhaustive()
    }
}

/// What is being sent.
#[derive(Debug)]
pub enum Content {
    /// All of it.
    Whole(Cursor<Vec<u8>>),
    /// A large file.
    Large {
        /// The rest of it.
        file: BufReader<File>,
        /// Its place among those that are sent at the same time.
        place: OwnedSemaphorePermit,
    },
}

impl AsyncRead for Content {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        match self.get_mut() {
            Self::Whole(content) => Pin::new(content).poll_read(cx, buf),
            Self::Large { file, .. } => {
                let mut buf = ReadBuf::new(buf);
                ready!(Pin::new(file).poll_read(cx, &mut buf))?;
                Poll::Ready(Ok(buf.filled().len()))
            }
        }
    }
}

/// What a request names.
#[derive(Debug)]
enum Named<'a> {
    File(PathBuf),
    Start,
    Node(Said<'a>),
    Identity(&'a str),
}

/// The iPXE file of that name.
pub fn ipxe_file(name: &str) -> Option<&'static str> {
    IPXE_FILES.into_iter().find(|file| *file == name)
}

/// What a request is for; leading slashes are what some firmware adds.
fn named<'a>(site: &BootSite, path: &'a str) -> Option<Named<'a>> {
    let path = path.trim_start_matches('/');
    if let Some(name) = ipxe_file(path) {
        return Some(Named::File(site.ipxe_dir.join(name)));
    }
    let UefiLoader::Shim { shim, grub } = &site.uefi_loader else {
        return None;
    };
    match path {
        SHIM => return Some(Named::File(shim.clone())),
        GRUB => return Some(Named::File(grub.clone())),
        grub::CONFIGURATION => return Some(Named::Start),
        "ramdisk/vmlinuz" | "ramdisk/initrd.img" | "ramdisk/rescue.img" => {
            let name = path.strip_prefix("ramdisk/")?;
            return Some(Named::File(site.ramdisk_dir.join(name)));
        }
        _ => {}
    }
    if let Some(number) = path.strip_prefix("boot/extra/") {
        let file = site.extra_initrds.get(number.parse::<usize>().ok()?)?;
        return Some(Named::File(file.clone()));
    }
    if let Some(nonce) = path.strip_prefix("boot/identity/") {
        return Some(Named::Identity(nonce));
    }
    let mut said = path.strip_prefix(grub::NODE)?.splitn(3, '/');
    Some(Named::Node(Said {
        mac: said.next()?,
        uuid: said.next().unwrap_or_default(),
        serial: said.next().unwrap_or_default(),
        platform: "efi",
    }))
}

impl Tftp {
    /// A server on a bound socket.
    pub async fn new(site: Arc<BootSite>, socket: UdpSocket) -> Result<Self, async_tftp::Error> {
        let files = BootFiles {
            site,
            large: Arc::new(Semaphore::new(LARGE_AT_ONCE)),
        };
        let builder = TftpServerBuilder::with_handler(files).std_socket(socket)?;
        Ok(Self(
            builder
                .block_size_limit(MAX_BLOCK)
                .max_send_retries(10)
                .build()
                .await?,
        ))
    }

    /// Serves for ever.
    pub async fn serve(self) -> Result<(), async_tftp::Error> {
        self.0.serve().await
    }
}

impl BootFiles {
    async fn open(&self, client: &SocketAddr, path: &str) -> Result<(Content, u64), packet::Error> {
        let bytes = match named(&self.site, path) {
            Some(Named::File(file)) => return self.open_file(client, &file).await,
            Some(Named::Start) => self.site.scripts.grub_start().into_bytes(),
            Some(Named::Node(said)) => self.script(said).await?.into_bytes(),
            Some(Named::Identity(nonce)) => match self.site.identity(nonce) {
                Some(Ok(archive)) => archive,
                Some(Err(_)) | None => return Err(packet::Error::FileNotFound),
            },
            None => {
                tracing::debug!(%client, path, "TFTP request for a file that is not served");
                return Err(packet::Error::FileNotFound);
            }
        };
        let size = bytes.len() as u64;
        Ok((Content::Whole(Cursor::new(bytes)), size))
    }

    async fn script(&self, said: Said<'_>) -> Result<String, packet::Error> {
        Ok(match self.site.answer(said).await {
            Answer::Hostile => return Err(packet::Error::FileNotFound),
            Answer::Nameless { reason } => grub::refused(&reason),
            Answer::Again { reason } => grub::again(&reason),
            Answer::LocalDisk { facts, reason, .. } => grub::local_disk(&facts, &reason),
            Answer::Ramdisk {
                facts,
                nonce,
                kernel_arguments,
                rescue,
                reason,
            } => self
                .site
                .scripts
                .grub_ramdisk(&facts, &nonce, &kernel_arguments, rescue, &reason),
        })
    }

    async fn open_file(&self, client: &SocketAddr, path: &Path) -> Result<(Content, u64), packet::Error> {
        let unreadable = |error: std::io::Error| {
            tracing::error!(%client, path = %path.display(), %error, "cannot read a boot file");
            packet::Error::FileNotFound
        };
        let mut file = File::open(path).await.map_err(unreadable)?;
        let size = file.metadata().await.map_err(unreadable)?.len();
        let content = if size <= MAX_WHOLE {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).await.map_err(unreadable)?;
            Content::Whole(Cursor::new(bytes))
        } else {
            let place = Arc::clone(&self.large).try_acquire_owned().map_err(|_| {
                tracing::warn!(%client, "{LARGE_AT_ONCE} TFTP transfers are under way, one more was refused; it is asked for again");
                packet::Error::Msg("too many transfers at once, ask again".to_owned())
            })?;
            let file = BufReader::with_capacity(READ_AHEAD, file);
            Content::Large { file, place }
        };
        tracing::info!(%client, path = %path.display(), bytes = size, "TFTP transfer begins");
        Ok((content, size))
    }
}

impl Handler for BootFiles {
    type Reader = Content;
    type Writer = Sink;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Self::Reader, Option<u64>), packet::Error> {
        let path = path.to_str().ok_or(packet::Error::FileNotFound)?;
        self.open(client, path)
            .await
            .map(|(content, size)| (content, Some(size)))
    }

    async fn write_req_open(
        &mut self,
        _client: &SocketAddr,
        _path: &Path,
        _size: Option<u64>,
    ) -> Result<Self::Writer, packet::Error> {
        Err(packet::Error::PermissionDenied)
    }
}

#[cfg(test)]
mod tests;
