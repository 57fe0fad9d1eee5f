//! The passive listener.

use std::{collections::BTreeMap, io, time::Duration};

use imprint_proto::agent::v1::LldpNeighbour;
use tokio::time::Instant;

use super::{MAX_FRAME, parse};
use crate::sys::packet;

/// Nobody can be listened to.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for what switches announce")]
pub struct ListenError(#[from] io::Error);

/// Listens on some NICs until each heard its neighbour or the time is over. The first that announces itself on a NIC
/// counts: a bridge of the switch's own making would pass on what others say.
///
/// # Errors
/// When the kernel gives no socket: without the right to, or without the module `af_packet`.
pub async fn listen(
    nics: &[String],
    patience: Duration,
) -> Result<BTreeMap<String, LldpNeighbour>, ListenError> {
    // A NIC that has gone meanwhile is no reason not to listen on the others.
    let by_index: BTreeMap<u32, &String> = nics
        .iter()
        .filter_map(|nic| Some((nix::net::if_::if_nametoindex(nic.as_str()).ok()?, nic)))
        .collect();
    let mut found = BTreeMap::new();
    if by_index.is_empty() {
        return Ok(found);
    }
    let indices: Vec<u32> = by_index.keys().copied().collect();
    let listener = packet::Listener::open(packet::LLDP, packet::LLDP_GROUP, &indices)?;
    let mut frame = vec![0; MAX_FRAME];
    let deadline = Instant::now() + patience;
    while found.len() < by_index.len() {
        let Ok(received) = tokio::time::timeout_at(deadline, listener.receive(&mut frame)).await else {
            break;
        };
        let (length, index) = match received {
            // A NIC that goes down says so once to its listeners.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENETDOWN) => continue,
            received => received?,
        };
        if let Some(nic) = by_index.get(&index)
            && let Some(neighbour) = parse(&frame[..length])
        {
            found.entry((*nic).clone()).or_insert(neighbour);
        }
    }
    Ok(found)
}
