//! The cable of a node, where something is wrong with it: a relay on loopback that can be slow, or carry nothing at all
//! without telling either end.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};
use tokio_util::sync::{CancellationToken, DropGuard};

const PIECE: usize = 16 << 10;

/// A cable. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Cable {
    address: SocketAddr,
    carries: watch::Sender<bool>,
    _end: DropGuard,
}

impl Cable {
    /// To a server; each piece of data takes `delay` longer.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(server: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let carries = watch::Sender::new(true);
        let end = CancellationToken::new();
        let (carried, ended) = (carries.subscribe(), end.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = accept(&listener, server, delay, &carried, &ended) => {}
            }
        });
        Ok(Self {
            address,
            carries,
            _end: end.drop_guard(),
        })
    }

    /// Where the node dials.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on nothing passes; nobody is told.
    pub fn pull(&self) {
        self.carries.send_replace(false);
    }

    /// All passes again, also what has waited.
    pub fn plug_in(&self) {
        self.carries.send_replace(true);
    }
}

async fn accept(
    listener: &TcpListener,
    server: SocketAddr,
    delay: Duration,
    carried: &watch::Receiver<bool>,
    ended: &CancellationToken,
) {
    loop {
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (carried, ended) = (carried.clone(), ended.clone());
        tokio::spawn(async move {
            let mut waiting = carried.clone();
            let carry = async {
                waiting.wait_for(|carries| *carries).await.ok()?;
                let far = TcpStream::connect(server).await.ok()?;
                let (from_near, to_near) = near.into_split();
                let (from_far, to_far) = far.into_split();
                // Either direction's end is the end of both, as when a machine is gone.
                tokio::select! {
                    () = pump(from_near, to_far, delay, carried.clone()) => {}
                    () = pump(from_far, to_near, delay, carried.clone()) => {}
                }
                Some(())
            };
            tokio::select! {
                () = ended.cancelled() => {}
                _ = carry => {}
            }
        });
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    delay: Duration,
    mut carried: watch::Receiver<bool>,
) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match from.read(&mut piece).await {
            Ok(read) if read > 0 => read,
            // An end waits as data does: nobody hears of it while nothing passes.
            _ => {
                let _open = carried.wait_for(|carries| *carries).await;
                return;
            }
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if carried.wait_for(|carries| *carries).await.is_err() || to.write_all(&piece[..read]).await.is_err()
        {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_sent_while_the_cable_was_out_arrives_afterwards() {
        let server = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let cable = Cable::to(server.local_addr().unwrap(), Duration::ZERO)
            .await
            .unwrap();
        let mut node = TcpStream::connect(cable.address()).await.unwrap();
        let (mut far, _) = server.accept().await.unwrap();
        let mut got = [0; 3];
        node.write_all(b"one").await.unwrap();
        far.read_exact(&mut got).await.unwrap();
        cable.pull();
        node.write_all(b"two").await.unwrap();
        drop(node);
        let silent = tokio::time::timeout(Duration::from_millis(50), far.read_exact(&mut got)).await;
        assert!(silent.is_err(), "nothing passes, and no end is told");
        cable.plug_in();
        far.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, b"two");
        assert_eq!(far.read(&mut got).await.unwrap(), 0);
    }
}
