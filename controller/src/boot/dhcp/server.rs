//! The sockets around [`super::reply`], and the store of leases.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use jiff::Timestamp;
use socket2::{Domain, Protocol, Socket, Type};
use sqlx::{Row, SqlitePool};
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::leases::Lease;
use super::{LeaseTable, Port, Reply, Request, Settings, reply};
use crate::boot::facts::MacAddress;
use crate::clock::Clock;

/// Larger than any packet that [`Request::parse`] looks at.
const RECEIVE_BUFFER: usize = 2048;

/// The DHCP service, bound and with its leases loaded.
#[derive(Debug)]
pub struct DhcpServer {
    settings: Settings,
    leases: LeaseTable,
    db: SqlitePool,
    clock: Clock,
}

/// A UDP socket on `port` of one interface only: the controller may run another DHCP server's client, or another
/// server, on the others.
pub fn bind(interface: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into())?;
    UdpSocket::from_std(socket.into())
}

impl DhcpServer {
    /// A service with the leases that the database remembers.
    pub async fn new(
        settings: Settings,
        mut leases: LeaseTable,
        db: SqlitePool,
        clock: Clock,
    ) -> Result<Self, sqlx::Error> {
        for row in sqlx::query("SELECT address, mac, expires_at FROM dhcp_leases")
            .fetch_all(&db)
            .await?
        {
            let address = u32::try_from(row.try_get::<i64, _>("address")?).map(Ipv4Addr::from);
            let mac = row.try_get::<String, _>("mac")?.parse::<MacAddress>();
            let expires_at = Timestamp::from_millisecond(row.try_get("expires_at")?);
            if let (Ok(address), Ok(mac), Ok(expires_at)) = (address, mac, expires_at) {
                leases.restore(Lease::stored(address, mac, expires_at));
            }
        }
        Ok(Self {
            settings,
            leases,
            db,
            clock,
        })
    }

    /// Serves until `shutdown`. `pxe` is the socket of port 4011, which only a proxy needs.
    pub async fn serve(mut self, dhcp: UdpSocket, pxe: Option<UdpSocket>, shutdown: CancellationToken) {
        let mut first = [0u8; RECEIVE_BUFFER];
        let mut second = [0u8; RECEIVE_BUFFER];
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                got = dhcp.recv_from(&mut first) => self.handle(Port::Dhcp, &dhcp, got, &first).await,
                got = receive(pxe.as_ref(), &mut second) => if let Some(pxe) = &pxe {
                    self.handle(Port::Pxe, pxe, got, &second).await;
                },
            }
        }
    }

    async fn handle(
        &mut self,
        port: Port,
        socket: &UdpSocket,
        got: io::Result<(usize, SocketAddr)>,
        buffer: &[u8],
    ) {
        let (packet, source) = match got {
            Ok((length, SocketAddr::V4(source))) => (&buffer[..length.min(buffer.len())], source),
            Ok(_) => return,
            Err(error) => {
                // A pending ICMP error of an earlier reply, or the interface went down for a moment.
                tracing::debug!(%error, "cannot receive a DHCP packet");
                return tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        let Some(request) = Request::parse(packet) else {
            return;
        };
        let Some(answer) = self.decide(port, source, &request) else {
            return;
        };
        if let (Some(address), "ack") = (answer.address, answer.kind)
            && let Err(error) = self.store(address).await
        {
            // Unstored, the address could go to another machine after a restart. The client asks again.
            tracing::error!(mac = %request.mac(), %address, %error, "cannot store a DHCP lease, so it is not given");
            return;
        }
        send(socket, &request, &answer).await;
    }

    fn decide(&mut self, port: Port, source: SocketAddrV4, request: &Request) -> Option<Reply> {
        reply(
            &self.settings,
            port,
            source,
            request,
            &mut self.leases,
            self.clock.now(),
        )
    }

    async fn store(&self, address: Ipv4Addr) -> Result<(), sqlx::Error> {
        let Some(lease) = self.leases.get(address) else {
            return Ok(());
        };
        let Some(mac) = &lease.mac else { return Ok(()) };
        let number = i64::from(u32::from(address));
        let mut tx = self.db.begin_with("BEGIN IMMEDIATE").await?;
        sqlx::query("DELETE FROM dhcp_leases WHERE mac = ? OR address = ?")
            .bind(mac.as_str())
            .bind(number)
            .execute(&mut *tx)
            .await?;
        sqlx::query("INSERT INTO dhcp_leases (address, mac, expires_at) VALUES (?, ?, ?)")
            .bind(number)
            .bind(mac.as_str())
            .bind(lease.expires_at.as_millisecond())
            .execute(&mut *tx)
            .await?;
        tx.commit().await
    }
}

async fn receive(socket: Option<&UdpSocket>, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
    match socket {
        Some(socket) => socket.recv_from(buffer).await,
        None => std::future::pending().await,
    }
}

async fn send(socket: &UdpSocket, request: &Request, answer: &Reply) {
    match socket.send_to(&answer.bytes, answer.to).await {
        Ok(_) => tracing::info!(
            mac = %request.mac(),
            client = ?request.boot_client(),
            kind = answer.kind,
            address = answer.address.map(tracing::field::display),
            boot_file = answer.boot_file.as_deref(),
            "DHCP answer"
        ),
        Err(error) => {
            tracing::warn!(mac = %request.mac(), to = %answer.to, %error, "cannot send a DHCP answer");
        }
    }
}
