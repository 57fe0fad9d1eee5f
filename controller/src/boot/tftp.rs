//! TFTP, for the iPXE files only: read-only, by exact name, nothing else of the folder.

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use async_tftp::packet;
use async_tftp::server::{Handler, TftpServer, TftpServerBuilder};
use futures::io::{Cursor, Sink};

/// The boot loaders that firmware is pointed at.
pub const IPXE_FILES: [&str; 3] = ["undionly.kpxe", "snponly.efi", "ipxe.efi"];

/// Largest payload of an unfragmented packet on Ethernet: 1500 less IP, UDP and TFTP headers. Firmware asks for 1468 or
/// less by itself; larger ones are lost on the way more often than they help.
const MAX_BLOCK: u16 = 1468;

/// Answers read requests for the iPXE files.
#[derive(Debug, Clone)]
pub struct IpxeFiles {
    folder: PathBuf,
}

/// A TFTP server that is bound and waits to be started.
pub struct Tftp(TftpServer<IpxeFiles>);

impl fmt::Debug for Tftp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tftp").finish_non_exhaustive()
    }
}

/// The file of the allow-list that a request names; leading slashes are what some firmware adds.
pub fn allowed(path: &Path) -> Option<&'static str> {
    let name = path.to_str()?.trim_start_matches('/');
    IPXE_FILES.into_iter().find(|file| *file == name)
}

impl Tftp {
    /// A server on a bound socket.
    pub async fn new(folder: PathBuf, socket: UdpSocket) -> Result<Self, async_tftp::Error> {
        let builder = TftpServerBuilder::with_handler(IpxeFiles { folder }).std_socket(socket)?;
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

impl Handler for IpxeFiles {
    type Reader = Cursor<Vec<u8>>;
    type Writer = Sink;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Self::Reader, Option<u64>), packet::Error> {
        let Some(name) = allowed(path) else {
            tracing::debug!(%client, path = %path.display(), "TFTP request for a file that is not served");
            return Err(packet::Error::FileNotFound);
        };
        // A few hundred KiB; read as a whole so that a slow client holds no file.
        match std::fs::read(self.folder.join(name)) {
            Ok(content) => {
                tracing::info!(%client, file = name, bytes = content.len(), "TFTP transfer begins");
                let size = u64::try_from(content.len()).ok();
                Ok((Cursor::new(content), size))
            }
            Err(error) => {
                tracing::warn!(%client, file = name, %error, "cannot read a boot file");
                Err(packet::Error::FileNotFound)
            }
        }
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

/// The first iPXE file that is needed and missing.
pub fn missing_file(folder: &Path) -> Option<(PathBuf, io::Error)> {
    // ipxe.efi is served where it is there, but no boot depends on it.
    ["undionly.kpxe", "snponly.efi"].iter().find_map(|name| {
        let path = folder.join(name);
        std::fs::File::open(&path).err().map(|error| (path, error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_the_boot_loaders_are_served() {
        for (path, expected) in [
            ("undionly.kpxe", Some("undionly.kpxe")),
            ("/snponly.efi", Some("snponly.efi")),
            ("ipxe.efi", Some("ipxe.efi")),
            ("ipxe.iso", None),
            ("../../etc/shadow", None),
            ("/etc/passwd", None),
            ("sub/undionly.kpxe", None),
            ("", None),
        ] {
            assert_eq!(allowed(Path::new(path)), expected, "{path}");
        }
    }

    #[tokio::test]
    async fn a_client_gets_its_file_in_the_block_size_it_asks_for() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
        std::fs::write(folder.path().join("snponly.efi"), &content).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        let tftp = Tftp::new(folder.path().to_owned(), socket).await.unwrap();
        let task = tokio::spawn(tftp.serve());
        let got = tokio::task::spawn_blocking(move || download(server, "snponly.efi", 1024))
            .await
            .unwrap();
        assert_eq!(got.as_deref(), Some(content.as_slice()));
        let refused = tokio::task::spawn_blocking(move || download(server, "ipxe.iso", 1024))
            .await
            .unwrap();
        assert_eq!(refused, None);
        task.abort();
    }

    /// A minimal TFTP client; `None` when the server says no.
    fn download(server: SocketAddr, name: &str, block: usize) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let request = format!("\0\x01{name}\0octet\0blksize\0{block}\0");
        socket.send_to(request.as_bytes(), server).unwrap();
        let (mut content, mut packet) = (Vec::new(), [0u8; 2048]);
        loop {
            let (length, peer) = socket.recv_from(&mut packet).unwrap();
            match packet[1] {
                6 => drop(socket.send_to(&[0, 4, 0, 0], peer).unwrap()),
                3 => {
                    content.extend_from_slice(&packet[4..length]);
                    socket.send_to(&[0, 4, packet[2], packet[3]], peer).unwrap();
                    if length - 4 < block {
                        return Some(content);
                    }
                }
                _ => return None,
            }
        }
    }
}
