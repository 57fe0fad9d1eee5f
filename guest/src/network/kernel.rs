//! What the kernel has, by netlink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::TryStreamExt as _;
use imprint_network::{
    MacAddress,
    compare::{Kernel, KernelLink, KernelRoute, Obstacle},
    model::BondMode,
};
use ipnet::IpNet;
use rtnetlink::{
    Handle, LinkUnspec, RouteMessageBuilder,
    packet_route::{
        AddressFamily,
        address::{AddressAttribute, AddressMessage},
        link::{InfoBond, InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        route::{RouteAddress, RouteAttribute, RouteMessage},
    },
};

/// The kernel cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No socket.
    #[error("cannot open a netlink socket")]
    Socket(#[source] std::io::Error),
    /// No answer.
    #[error("cannot read {what}")]
    Ask {
        /// What was asked for.
        what: &'static str,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
    /// A link can't be changed.
    #[error("cannot {operation} {link}")]
    Change {
        /// What was to be done.
        operation: &'static str,
        /// The link.
        link: String,
        /// Why.
        #[source]
        source: rtnetlink::Error,
    },
}

/// Reads links, addresses and routes of this network namespace.
///
/// # Errors
/// When the kernel can't be asked.
pub async fn read() -> Result<Kernel, KernelError> {
    let socket = Socket::open()?;
    ask(&socket.handle).await
}

/// A socket and the task that serves it, which ends with it.
pub(super) struct Socket {
    pub(super) handle: Handle,
    task: tokio::task::JoinHandle<()>,
}

impl Socket {
    pub(super) fn open() -> Result<Self, KernelError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(KernelError::Socket)?;
        let task = tokio::spawn(connection);
        Ok(Self { handle, task })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Clears away what stands in the way of the network. What can't be cleared away is told, and is left.
///
/// # Errors
/// How the first one failed.
pub async fn clear(obstacles: &[Obstacle]) -> Result<(), KernelError> {
    if obstacles.is_empty() {
        return Ok(());
    }
    let socket = Socket::open()?;
    let mut first = Ok(());
    for obstacle in obstacles {
        match one(&socket.handle, obstacle).await {
            Ok(()) => tracing::info!("cleared away: {obstacle:?}"),
            Err(failure) => {
                tracing::warn!("{}", crate::chain(&failure));
                first = first.and(Err(failure));
            }
        }
    }
    first
}

async fn one(handle: &Handle, obstacle: &Obstacle) -> Result<(), KernelError> {
    let set = |message| handle.link().set(message).execute();
    let (operation, link, done) = match obstacle {
        Obstacle::Remove { index, name } => ("remove", name, handle.link().del(*index).execute().await),
        Obstacle::Release { index, name } => {
            let free = LinkUnspec::new_with_index(*index).nocontroller().build();
            ("release", name, set(free).await)
        }
        Obstacle::Rename { index, name, to } => {
            // Older kernels rename nothing that is up.
            let down = LinkUnspec::new_with_index(*index).down().build();
            let called = LinkUnspec::new_with_index(*index).name(to.as_str()).build();
            let done = match set(down).await {
                Ok(()) => set(called).await,
                failed => failed,
            };
            ("rename", name, done)
        }
    };
    done.map_err(|source| KernelError::Change {
        operation,
        link: link.clone(),
        source,
    })
}

async fn ask(handle: &Handle) -> Result<Kernel, KernelError> {
    let failed = |what| move |source| KernelError::Ask { what, source };
    let mut kernel = Kernel::default();
    let mut links = handle.link().get().execute();
    while let Some(message) = links.try_next().await.map_err(failed("links"))? {
        kernel.links.push(link(&message));
    }
    let mut addresses = handle.address().get().execute();
    while let Some(message) = addresses.try_next().await.map_err(failed("addresses"))? {
        let owner = kernel
            .links
            .iter_mut()
            .find(|link| link.index == message.header.index);
        if let (Some(owner), Some(address)) = (owner, address(&message)) {
            owner.addresses.push(address);
        }
    }
    for request in [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ] {
        let mut routes = handle.route().get(request).execute();
        while let Some(message) = routes.try_next().await.map_err(failed("routes"))? {
            kernel.routes.extend(route(&message));
        }
    }
    Ok(kernel)
}

fn mac(bytes: &[u8]) -> Option<MacAddress> {
    bytes.try_into().ok().map(MacAddress::new)
}

fn link(message: &LinkMessage) -> KernelLink {
    let flags = message.header.flags;
    let mut link = KernelLink {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        ..KernelLink::default()
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::PermAddress(bytes) => link.permanent_mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(*index),
            LinkAttribute::Link(index) => link.parent = Some(*index),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Vlan(infos)) => {
                            link.vlan = infos.iter().find_map(|info| match info {
                                InfoVlan::Id(id) => Some(*id),
                                _ => None,
                            });
                        }
                        LinkInfo::Data(InfoData::Bond(infos)) => {
                            link.bond_mode = infos.iter().find_map(|info| match info {
                                InfoBond::Mode(mode) => BondMode::from_word(&mode.to_string()),
                                _ => None,
                            });
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link
}

fn address(message: &AddressMessage) -> Option<IpNet> {
    // On links between two points the other end is the address, and one's own is the local one.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    let any = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    });
    IpNet::new(local.or(any)?, message.header.prefix_len).ok()
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn route(message: &RouteMessage) -> Option<KernelRoute> {
    let everything = match message.header.address_family {
        AddressFamily::Inet => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AddressFamily::Inet6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let (mut to, mut via, mut link, mut metric) = (everything, None, None, 0);
    let mut table = u32::from(message.header.table);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => to = ip(address)?,
            RouteAttribute::Gateway(address) => via = ip(address),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::Priority(priority) => metric = *priority,
            RouteAttribute::Table(number) => table = *number,
            _ => {}
        }
    }
    Some(KernelRoute {
        to: IpNet::new(to, message.header.destination_prefix_length).ok()?,
        via,
        link: link?,
        metric,
        table,
    })
}
