//! Where a disk's bytes pass through the card: a socket for the server, and a connection to the storage for each that the
//! server opens. When the storage is lost, or the card dies, they all break, and new ones come to nothing.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::str::FromStr;

use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Where a storage server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String, u16),
    /// A socket's path.
    Unix(String),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(path.to_owned()));
        }
        let parts = text.rsplit_once(':');
        let parts = parts.and_then(|(host, port)| Some((host, port.parse().ok()?)));
        match parts {
            Some((host, port)) => Ok(Self::Tcp(host.trim_matches(['[', ']']).to_owned(), port)),
            None => Err("HOST:PORT or unix:PATH is expected".to_owned()),
        }
    }
}

/// A running relay. It ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct Relay(JoinHandle<Infallible>);

impl Drop for Relay {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Relay {
    /// Listens at `socket`, in place of what a card before this one has left there.
    pub fn start(
        runtime: &Handle,
        socket: &Path,
        addresses: Vec<Address>,
        lost: watch::Receiver<bool>,
    ) -> io::Result<Self> {
        match std::fs::remove_file(socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let _inside = runtime.enter();
        let listener = UnixListener::bind(socket)?;
        Ok(Self(runtime.spawn(accept(listener, addresses, lost))))
    }
}

async fn accept(listener: UnixListener, addresses: Vec<Address>, lost: watch::Receiver<bool>) -> Infallible {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        let accepted = listener.accept().await;
        while connections.try_join_next().is_some() {}
        if let Ok((server, _)) = accepted {
            connections.spawn(carry(server, addresses.clone(), lost.clone()));
        }
    }
}

/// One connection of the server, until either side ends it or the storage is lost.
async fn carry(mut server: UnixStream, addresses: Vec<Address>, mut lost: watch::Receiver<bool>) {
    if *lost.borrow() {
        return;
    }
    let both_ways = async {
        let Some(mut storage) = reach(&addresses).await else {
            return;
        };
        // Either side may go at any time; the other one learns it by its closed connection.
        copy_bidirectional(&mut server, &mut storage).await.ok();
    };
    tokio::select! {
        () = both_ways => {}
        _ = lost.wait_for(|lost| *lost) => {}
    }
}

/// Both kinds of stream.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

async fn reach(addresses: &[Address]) -> Option<Box<dyn Stream>> {
    for address in addresses {
        let reached: io::Result<Box<dyn Stream>> = match address {
            Address::Tcp(host, port) => TcpStream::connect((host.as_str(), *port))
                .await
                .and_then(|stream| {
                    stream.set_nodelay(true)?;
                    Ok(Box::new(stream) as Box<dyn Stream>)
                }),
            Address::Unix(path) => UnixStream::connect(path)
                .await
                .map(|stream| Box::new(stream) as _),
        };
        match reached {
            Ok(stream) => return Some(stream),
            Err(error) => eprintln!("cannot reach the storage at {address:?}: {error}"),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn addresses() {
        assert_eq!("unix:/run/s".parse(), Ok(Address::Unix("/run/s".into())));
        assert_eq!("[::1]:10809".parse(), Ok(Address::Tcp("::1".into(), 10809)));
        assert!("storage".parse::<Address>().is_err());
    }

    #[tokio::test]
    async fn what_is_lost_breaks_and_comes_back() {
        let storage = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = storage.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = storage.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.unwrap();
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("relay");
        let (lose, lost) = watch::channel(false);
        // The first path is dead.
        let addresses = vec![
            Address::Unix("/nonexistent".into()),
            Address::Tcp("127.0.0.1".into(), port),
        ];
        let relay = Relay::start(&Handle::current(), &socket, addresses, lost).unwrap();
        let talk = async || -> io::Result<Vec<u8>> {
            let mut stream = UnixStream::connect(&socket).await?;
            stream.write_all(b"hello").await?;
            let mut heard = vec![0; 5];
            stream.read_exact(&mut heard).await?;
            Ok(heard)
        };
        assert_eq!(talk().await.unwrap(), b"hello");
        let mut open = UnixStream::connect(&socket).await.unwrap();
        open.write_all(b"x").await.unwrap();
        assert_eq!(open.read_u8().await.unwrap(), b'x');
        lose.send(true).unwrap();
        assert_eq!(open.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(talk().await.is_err());
        lose.send(false).unwrap();
        assert_eq!(talk().await.unwrap(), b"hello");
        drop(relay);
    }
}
