//! Stands between agent and server, counts, and drops all connections once at a certain byte.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// A running proxy; its threads end with the connections, its listener with this process.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    upstream: u16,
    /// Bytes from the server.
    passed: AtomicU64,
    drop_at: u64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Passes everything to `upstream` on loopback; when `drop_at` bytes have come from there, all connections that
    /// are open are reset.
    pub fn start(upstream: u16, drop_at: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
        let port = listener.local_addr().context("a listener has no address")?.port();
        let state = Arc::new(State {
            upstream,
            passed: AtomicU64::new(0),
            drop_at,
            open: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || {
                for client in listener.incoming().filter_map(io::Result::ok) {
                    let state = Arc::clone(&shared);
                    thread::spawn(move || {
                        // A broken connection is what this is for.
                        state.serve(&client).ok();
                    });
                }
            })
            .context("cannot start a thread")?;
        Ok(Self { port, state })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes that came from the server.
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::Relaxed)
    }
}

impl State {
    fn serve(&self, client: &TcpStream) -> io::Result<()> {
        let server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.upstream))?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            open.push(client.try_clone()?);
            open.push(server.try_clone()?);
        }
        let (mut requests, mut upstream) = (client.try_clone()?, server.try_clone()?);
        let upward = thread::spawn(move || {
            io::copy(&mut requests, &mut upstream).ok();
            upstream.shutdown(Shutdown::Write).ok();
        });
        let done = self.answer(&server, client);
        client.shutdown(Shutdown::Both).ok();
        server.shutdown(Shutdown::Both).ok();
        upward.join().ok();
        done
    }

    fn answer(&self, mut server: &TcpStream, mut client: &TcpStream) -> io::Result<()> {
        let mut block = vec![0; 128 << 10];
        loop {
            let read = server.read(&mut block)?;
            if read == 0 {
                return Ok(());
            }
            let before = self.passed.fetch_add(read as u64, Ordering::Relaxed);
            if before < self.drop_at && before + read as u64 >= self.drop_at {
                let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
                for stream in open.drain(..) {
                    // Those that are closed already are of no interest.
                    stream.shutdown(Shutdown::Both).ok();
                }
                return Ok(());
            }
            client.write_all(&block[..read])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_passes_but_what_is_dropped_once() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        thread::spawn(move || {
            for mut stream in server.incoming().filter_map(Result::ok) {
                stream.write_all(&[7; 1000]).unwrap();
            }
        });
        let proxy = Proxy::start(port, 500).unwrap();
        let fetch = || {
            let mut bytes = Vec::new();
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
            // Nothing comes of a connection that is dropped, or a reset.
            stream.read_to_end(&mut bytes).ok();
            bytes.len()
        };
        assert!(fetch() < 1000);
        assert_eq!(fetch(), 1000);
        assert_eq!(proxy.passed(), 2000);
    }
}
