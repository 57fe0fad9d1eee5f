//! The plain HTTP port: bounded in connections, in the time a request may take to arrive, and in the time of its end.
//! Everybody on the boot network may call here.

use std::{sync::Arc, time::Duration};

use axum::Router;
use axum::extract::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::server::{Ended, drain::Open};

/// What strangers may use up.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Until a request's head is there; also how long a connection may be idle.
    pub head: Duration,
    /// For requests that are in work when the controller ends.
    pub last_words: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // A machine that boots has one or two.
            connections: 4096,
            head: Duration::from_secs(30),
            last_words: Duration::from_secs(5),
        }
    }
}

/// Serves until the controller ends.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: CancellationToken,
) -> Ended {
    let (open, slots) = (Open::default(), Arc::new(Semaphore::new(limits.connections)));
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of files or memory: others will end in a moment.
                tracing::warn!(%error, "boot HTTP cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(slot) = slots.clone().try_acquire_owned() else {
            tracing::warn!(%address, limit = limits.connections, "boot HTTP refuses a connection: too many are open");
            continue;
        };
        let (router, here, gently) = (router.clone(), open.clone(), shutdown.clone());
        open.connections.spawn(async move {
            tokio::select! {
                () = here.at_once.cancelled() => {}
                ended = connection(stream, router, &here, limits.head, gently) => {
                    if let Err(error) = ended {
                        tracing::debug!(%address, %error, "a connection to boot HTTP ended");
                    }
                }
            }
            drop(slot);
        });
    }
    drop(listener);
    open.end(limits.last_words).await
}

async fn connection(
    stream: TcpStream,
    router: Router,
    open: &Open,
    head: Duration,
    shutdown: CancellationToken,
) -> Result<(), hyper::Error> {
    let open = open.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (open, router) = (open.clone(), router.clone());
        async move { open.answer(router, request).await }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => ended,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    struct Port {
        address: std::net::SocketAddr,
        shutdown: CancellationToken,
        task: tokio::task::JoinHandle<Ended>,
    }

    async fn start(limits: Limits) -> Port {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let router = Router::new().route("/", get(async || "hello")).route(
            "/never",
            get(async || {
                let pieces = futures::stream::pending::<Result<Vec<u8>, std::io::Error>>();
                Body::from_stream(pieces)
            }),
        );
        let task = tokio::spawn(serve(listener, router, limits, shutdown.clone()));
        Port {
            address,
            shutdown,
            task,
        }
    }

    impl Port {
        async fn connect(&self) -> TcpStream {
            TcpStream::connect(self.address).await.unwrap()
        }

        async fn stop(self) -> Ended {
            self.shutdown.cancel();
            tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap()
        }
    }

    async fn ask(stream: &mut TcpStream, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut buffer = vec![0; 4096];
        let got = stream.read(&mut buffer).await.unwrap_or(0);
        String::from_utf8(buffer[..got].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn connections_are_bounded() {
        let limits = Limits {
            connections: 1,
            ..Limits::default()
        };
        let port = start(limits).await;
        let mut first = port.connect().await;
        assert!(ask(&mut first, "/").await.starts_with("HTTP/1.1 200"));
        let mut second = port.connect().await;
        assert_eq!(ask(&mut second, "/").await, "", "it is closed at once");
        drop(first);
        // The place is free again in a moment.
        let freed = async {
            loop {
                let mut third = port.connect().await;
                if ask(&mut third, "/").await.starts_with("HTTP/1.1 200") {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, freed).await.unwrap();
        assert_eq!(port.stop().await, Ended::Answered);
    }

    #[tokio::test]
    async fn a_request_that_does_not_come_ends_the_connection() {
        let limits = Limits {
            head: Duration::from_millis(200),
            ..Limits::default()
        };
        let port = start(limits).await;
        for said in ["", "GET / HTTP/1.1\r\nHost:"] {
            let mut slow = port.connect().await;
            slow.write_all(said.as_bytes()).await.unwrap();
            let mut rest = Vec::new();
            tokio::time::timeout(PATIENCE, slow.read_to_end(&mut rest))
                .await
                .expect("the server closes it")
                .unwrap();
        }
        port.stop().await;
    }

    #[tokio::test]
    async fn the_end_waits_for_nobody_for_ever() {
        let limits = Limits {
            last_words: Duration::from_millis(300),
            ..Limits::default()
        };
        let port = start(limits).await;
        let idle = port.connect().await;
        let mut endless = port.connect().await;
        assert!(ask(&mut endless, "/never").await.starts_with("HTTP/1.1 200"));
        assert_eq!(port.stop().await, Ended::Cut);
        drop(idle);
    }
}
