//! `/etc/resolv.conf`, for systems whose network files have no effect on name servers by themselves.

use std::collections::BTreeSet;

use super::{HEADER, Rendered};
use crate::model::Network;

/// Most name servers that the C library asks.
const MAX_SERVERS: usize = 3;

/// Writes one if the network names servers or domains.
pub(super) fn render(network: &Network, rendered: &mut Rendered) {
    let mut seen = BTreeSet::new();
    let servers: Vec<_> = network
        .links
        .values()
        .flat_map(|link| &link.ip.servers)
        .filter(|server| seen.insert(**server))
        .collect();
    let mut seen = BTreeSet::new();
    let search: Vec<&str> = network
        .links
        .values()
        .flat_map(|link| &link.ip.search)
        .map(String::as_str)
        .filter(|domain| seen.insert(*domain))
        .collect();
    if servers.is_empty() && search.is_empty() {
        return;
    }
    if servers.len() > MAX_SERVERS {
        rendered.warn(format!(
            "{} name servers are given, and the system asks the first {MAX_SERVERS}",
            servers.len()
        ));
    }
    let mut text = HEADER.to_owned();
    for server in servers.iter().take(MAX_SERVERS) {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() {
        text.push_str(&format!("search {}\n", search.join(" ")));
    }
    rendered.add("etc/resolv.conf", 0o644, text);
}
