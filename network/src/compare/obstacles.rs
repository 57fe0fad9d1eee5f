//! What stands in the way of a network: links that the system's own programs leave as they are, although their files say
//! otherwise, since a link with the right name is there. Without them those programs begin from nothing.

use super::{Kernel, KernelLink, find, strangers};
use crate::{
    model::{Kind, Link, Network},
    name::LinkName,
};

/// Something to be done before the system brings its network up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Obstacle {
    /// A link of one's own making that is another than it is to be: it has to go.
    Remove {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
    },
    /// A member of a bond that is not to be one.
    Release {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
    },
    /// An interface that has another name than the one the system knows it by.
    Rename {
        /// Its number.
        index: u32,
        /// Its name.
        name: String,
        /// The right one.
        to: LinkName,
    },
}

/// What has to be cleared away, in the order in which it is to be done: what rests on others first.
#[must_use]
pub fn obstacles(network: &Network, kernel: &Kernel) -> Vec<Obstacle> {
    let mut found = Vec::new();
    for (name, link) in network.bottom_up().into_iter().rev() {
        let Some(there) = find(name, link, kernel) else {
            continue;
        };
        let (index, called) = (there.index, there.name.clone());
        if is_another(network, link, there, kernel) {
            found.push(Obstacle::Remove { index, name: called });
            continue;
        }
        if matches!(link.kind, Kind::Bond(_)) {
            let members = strangers(network, name, there, kernel).into_iter();
            found.extend(members.map(|member| Obstacle::Release {
                index: member.index,
                name: member.name.clone(),
            }));
        }
        let taken = || kernel.links.iter().any(|other| other.name == name.as_str());
        if link.nic().is_some_and(|nic| nic.rename) && called != name.as_str() && !taken() {
            found.push(Obstacle::Rename {
                index,
                name: called,
                to: name.clone(),
            });
        }
    }
    found
}

/// A link of the right name that can't become what it is to be.
fn is_another(network: &Network, link: &Link, there: &KernelLink, kernel: &Kernel) -> bool {
    let kind = |word: &str| there.kind.as_deref() == Some(word);
    match &link.kind {
        Kind::Nic(_) => false,
        Kind::Bond(bond) => !kind("bond") || there.bond_mode.is_some_and(|mode| mode != bond.mode),
        Kind::Bridge(_) => !kind("bridge"),
        Kind::Vlan(vlan) => {
            let below = network.links.get(&vlan.parent);
            let parent = below.and_then(|below| find(&vlan.parent, below, kernel));
            !kind("vlan")
                || there.vlan != Some(vlan.id)
                || parent.is_some_and(|parent| there.parent != Some(parent.index))
        }
    }
}
