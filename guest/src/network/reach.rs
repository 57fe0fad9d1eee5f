//! Who can be reached: the gateways, by what the kernel has learned of them, and the controller, by a connection that is
//! closed at once. Asked only when something differs; a network that is right is not disturbed.

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use imprint_network::{
    Network,
    compare::Kernel,
    model::{MAIN_TABLE, Route},
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::kernel::Socket;
use crate::config::GuestConfig;

/// A neighbour that is there answers in milliseconds; the kernel asks three times, a second apart.
const PATIENCE: Duration = Duration::from_millis(3500);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// Most gateways that are asked.
const MAX_GATEWAYS: usize = 4;
/// Nobody listens there: any packet makes the kernel look for the neighbour.
const DISCARD: u16 = 9;
const CONFIG: &str = "etc/imprint/guest.json";

/// Who was reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reach {
    /// Gateways of default routes, and whether each answers.
    pub gateways: Vec<(IpAddr, bool)>,
    /// The controller, and whether it takes connections; none where no controller is known.
    pub controller: Option<(String, bool)>,
}

impl Reach {
    /// Whether there was somebody to ask, and nobody was reached.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        let mut all = self
            .gateways
            .iter()
            .map(|(_, answers)| answers)
            .chain(self.controller.iter().map(|(_, reached)| reached))
            .peekable();
        all.peek().is_some() && all.all(|reached| !reached)
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        for (gateway, answers) in &self.gateways {
            let what = if *answers { "answers" } else { "does not answer" };
            said.push(format!("gateway {gateway} {what}"));
        }
        if let Some((controller, reached)) = &self.controller {
            let what = if *reached { "is reached" } else { "is not reached" };
            said.push(format!("controller {controller} {what}"));
        }
        if said.is_empty() {
            return f.write_str("nobody to ask");
        }
        f.write_str(&said.join(", "))
    }
}

/// Asks all at once.
pub async fn ask(root: &Path, network: &Network, kernel: Option<&Kernel>) -> Reach {
    let known = gateways(network, kernel);
    let gateways = stream::iter(known)
        .map(|(gateway, link)| async move { (gateway, answers(gateway, link).await) })
        .buffered(MAX_GATEWAYS)
        .collect();
    let controller = async {
        let place = controller(root)?;
        let connected = timeout(PATIENCE, TcpStream::connect(&place)).await;
        Some((place, matches!(connected, Ok(Ok(_)))))
    };
    let (gateways, controller) = tokio::join!(gateways, controller);
    Reach { gateways, controller }
}

/// Gateways of the default routes that there are, and of those that there are to be; with the number of the link where
/// it is known.
fn gateways(network: &Network, kernel: Option<&Kernel>) -> Vec<(IpAddr, u32)> {
    let there = kernel.into_iter().flat_map(|kernel| &kernel.routes);
    let there = there
        .filter(|route| route.to.prefix_len() == 0 && route.table == MAIN_TABLE)
        .filter_map(|route| Some((route.via?, route.link)));
    let wanted = network.links.values().flat_map(|link| &link.ip.routes);
    let wanted = wanted
        .filter(|route| route.is_default())
        .filter_map(|route: &Route| Some((route.via?, 0)));
    let mut seen = BTreeSet::new();
    there
        .chain(wanted)
        .filter(|(gateway, _)| seen.insert(*gateway))
        .take(MAX_GATEWAYS)
        .collect()
}

/// Host and port of the controller.
fn controller(root: &Path) -> Option<String> {
    let url = GuestConfig::load(&root.join(CONFIG)).ok()?.controller_url;
    let uri: tonic::transport::Uri = url.parse().ok()?;
    Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(443)))
}

/// Whether a neighbour answers: a packet makes the kernel look for it, and its table says what came of that.
async fn answers(gateway: IpAddr, link: u32) -> bool {
    if send(gateway, link).await.is_err() {
        return false;
    }
    let Ok(socket) = Socket::open() else {
        return false;
    };
    let neighbours = socket.handle.neighbours();
    let begun = Instant::now();
    let mut asked_again = false;
    loop {
        let table: Result<Vec<NeighbourMessage>, _> = neighbours.get().execute().try_collect().await;
        let entry = table.ok().and_then(|table| {
            let mut entries = table.into_iter();
            entries.find(|entry| is_of(entry, gateway) && (link == 0 || entry.header.ifindex == link))
        });
        let state = entry
            .as_ref()
            .map_or(NeighbourState::None, |entry| entry.header.state);
        match (state, entry) {
            (NeighbourState::Reachable | NeighbourState::Permanent | NeighbourState::Noarp, _) => {
                return true;
            }
            (NeighbourState::Failed, _) => return false,
            // The kernel would believe for five seconds in what it knew before.
            (NeighbourState::Stale | NeighbourState::Delay, Some(entry)) if !asked_again => {
                asked_again = true;
                let again = neighbours
                    .add(entry.header.ifindex, gateway)
                    .state(NeighbourState::Probe)
                    .replace()
                    .execute();
                if let Err(error) = again.await {
                    tracing::debug!("the kernel does not ask {gateway} again: {error}");
                }
            }
            _ => {}
        }
        if begun.elapsed() > PATIENCE {
            return false;
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn is_of(entry: &NeighbourMessage, gateway: IpAddr) -> bool {
    entry.attributes.iter().any(|attribute| match attribute {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => IpAddr::V4(*address) == gateway,
        NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => IpAddr::V6(*address) == gateway,
        _ => false,
    })
}

async fn send(gateway: IpAddr, link: u32) -> std::io::Result<()> {
    let (from, to): (SocketAddr, SocketAddr) = match gateway {
        IpAddr::V4(_) => ((Ipv4Addr::UNSPECIFIED, 0).into(), (gateway, DISCARD).into()),
        IpAddr::V6(address) => (
            (Ipv6Addr::UNSPECIFIED, 0).into(),
            SocketAddrV6::new(address, DISCARD, 0, link).into(),
        ),
    };
    UdpSocket::bind(from).await?.send_to(&[0], to).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_off_is_who_reaches_nobody() {
        let gateway = |answers| vec![(IpAddr::from([192, 0, 2, 1]), answers)];
        let controller = |reached| Some(("c:8443".to_owned(), reached));
        for (gateways, controller, cut_off, said) in [
            (vec![], None, false, "nobody to ask"),
            (gateway(false), None, true, "gateway 192.0.2.1 does not answer"),
            (gateway(true), None, false, "gateway 192.0.2.1 answers"),
            (
                vec![],
                controller(false),
                true,
                "controller c:8443 is not reached",
            ),
            (
                gateway(false),
                controller(true),
                false,
                "gateway 192.0.2.1 does not answer, controller c:8443 is reached",
            ),
            (
                gateway(true),
                controller(false),
                false,
                "gateway 192.0.2.1 answers, controller c:8443 is not reached",
            ),
        ] {
            let reach = Reach { gateways, controller };
            assert_eq!(reach.is_cut_off(), cut_off, "{said}");
            assert_eq!(reach.to_string(), said);
        }
    }

    #[test]
    fn gateways_that_there_are_to_be_are_asked_too() {
        let text = "version: 2\nethernets: {a: {addresses: [192.0.2.5/24], routes: [{to: default, via: 192.0.2.1}, {to: 10.0.0.0/8, via: 192.0.2.9}]}}\n";
        let network = imprint_network::read(text.as_bytes()).unwrap().network;
        assert_eq!(gateways(&network, None), [("192.0.2.1".parse().unwrap(), 0)]);
        let route = |to: &str, via: &str, table| imprint_network::compare::KernelRoute {
            to: to.parse().unwrap(),
            via: via.parse().ok(),
            link: 7,
            metric: 0,
            table,
        };
        let kernel = Kernel {
            routes: vec![
                route("0.0.0.0/0", "192.0.2.1", MAIN_TABLE),
                route("::/0", "fe80::1", MAIN_TABLE),
                route("0.0.0.0/0", "192.0.2.77", 5),
                route("0.0.0.0/0", "", MAIN_TABLE),
            ],
            ..Kernel::default()
        };
        let expected: [(IpAddr, u32); 2] =
            [("192.0.2.1".parse().unwrap(), 7), ("fe80::1".parse().unwrap(), 7)];
        assert_eq!(gateways(&network, Some(&kernel)), expected);
    }
}
