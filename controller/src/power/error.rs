//! Why a management controller does not do what it is asked.

use super::{BootTarget, bmc::Switch};

/// What goes wrong between the controller and a BMC. No variant holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BmcError {
    /// No connection, no answer in time, or answers of a service that is not ready.
    #[error("the BMC at {address} does not answer: {said}")]
    Silent {
        /// Where it was asked.
        address: String,
        /// What the last try came to.
        said: String,
    },
    /// Its certificate is not the one that is trusted.
    #[error(
        "the BMC at {address} shows the certificate {fingerprint}, which is not trusted{}",
        because(said)
    )]
    Certificate {
        /// Where it was asked.
        address: String,
        /// SHA-256 over the certificate it has shown, hex.
        fingerprint: String,
        /// What is wrong with it; empty: it is another one than was expected.
        said: String,
    },
    /// User or password is wrong.
    #[error("the BMC at {address} does not take user {user} with this password")]
    Credentials {
        /// Where it was asked.
        address: String,
        /// Who was to be let in.
        user: String,
    },
    /// The user may not do that.
    #[error("the BMC at {address} does not let user {user} do this: {call}")]
    Forbidden {
        /// Where it was asked.
        address: String,
        /// Who asked.
        user: String,
        /// What was asked.
        call: String,
    },
    /// It says no.
    #[error("the BMC at {address} refuses {call} ({status}): {said}")]
    Refused {
        /// Where it was asked.
        address: String,
        /// What was asked.
        call: String,
        /// Its HTTP status, or exit code of ipmitool.
        status: i32,
        /// Its reason in words.
        said: String,
    },
    /// It sends its callers elsewhere.
    #[error("the BMC at {address} sends its callers to {to}")]
    Elsewhere {
        /// Where it was asked.
        address: String,
        /// Where it sends them.
        to: String,
    },
    /// An answer without what it must have.
    #[error("the BMC at {address} answers {call} with {what}")]
    Strange {
        /// Where it was asked.
        address: String,
        /// What was asked.
        call: String,
        /// What is strange.
        what: String,
    },
    /// It manages several systems, or none.
    #[error("the BMC at {address} manages {}", systems(found))]
    Systems {
        /// Where it was asked.
        address: String,
        /// Paths of its systems.
        found: Vec<String>,
    },
    /// It manages another server.
    #[error("the BMC at {address} manages another server: {theirs}; the node is {ours}")]
    OtherServer {
        /// Where it was asked.
        address: String,
        /// What it manages.
        theirs: String,
        /// What the node is.
        ours: String,
    },
    /// It cannot change the power like this.
    #[error("the BMC at {address} cannot {switch}; it can {}", listed(allowed))]
    Switch {
        /// Where it was asked.
        address: String,
        /// What was asked.
        switch: Switch,
        /// What it can.
        allowed: Vec<String>,
    },
    /// It cannot have the server boot this.
    #[error(
        "the BMC at {address} cannot have the server boot {target} once; it has {}",
        listed(allowed)
    )]
    Target {
        /// Where it was asked.
        address: String,
        /// What was asked.
        target: BootTarget,
        /// What it can.
        allowed: Vec<String>,
    },
    /// It has nothing of this kind.
    #[error("the BMC at {address} has no {what}")]
    Lacks {
        /// Where it was asked.
        address: String,
        /// What it lacks.
        what: &'static str,
    },
    /// A program of this host.
    #[error("ipmitool cannot be used: {0}")]
    Tool(String),
    /// What is set up does not work.
    #[error("{0}")]
    Setup(String),
    /// The kept password cannot be opened.
    #[error("the password of the BMC cannot be had: {0}")]
    Secret(String),
}

fn because(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!(": {said}")
    }
}

fn listed(words: &[String]) -> String {
    if words.is_empty() {
        "nothing".to_owned()
    } else {
        words.join(", ")
    }
}

fn systems(found: &[String]) -> String {
    match found {
        [] => "no system".to_owned(),
        several => format!(
            "{} systems, none of which is the node for certain: {}",
            several.len(),
            several.join(", ")
        ),
    }
}

impl BmcError {
    /// What an operator can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Silent { .. } => {
                "Check the BMC's address and its network, and that its Redfish or IPMI service is switched on. A BMC that \
                 hangs is restarted in its own web page, or by taking the server off the mains."
                    .to_owned()
            }
            Self::Certificate { fingerprint, .. } => format!(
                "Compare the fingerprint with what the BMC's own web page shows. If it is the same, trust it: imprint node \
                 set-bmc … --fingerprint {fingerprint}; or give the CA that has signed it (--bmc-ca)."
            ),
            Self::Credentials { .. } => {
                "Give the right user and password: imprint node set-bmc. It is not tried again by itself: many BMCs lock \
                 a user out."
                    .to_owned()
            }
            Self::Forbidden { .. } => {
                "Give the user the role Operator or Administrator in the BMC's own web page.".to_owned()
            }
            Self::Refused { .. } => {
                "Change what the BMC names; its own log may say more. An update of its firmware helps with many faults."
                    .to_owned()
            }
            Self::Elsewhere { .. } => {
                "Give the address that it names, if it is the BMC's: imprint node set-bmc.".to_owned()
            }
            Self::Strange { .. } => {
                "Check that the address is that of a BMC with Redfish, and update its firmware; use IPMI if it has no \
                 Redfish (imprint node set-bmc --kind ipmi)."
                    .to_owned()
            }
            Self::Systems { .. } => "Name the system: imprint node set-bmc … --system ID.".to_owned(),
            Self::OtherServer { .. } => {
                "Give the address of this server's BMC. If it is this one, and only calls the server something else, say so: \
                 --quirk other-identity=true."
                    .to_owned()
            }
            Self::Switch { switch: Switch::ShutDown, .. } => "Switch it off by force (--force).".to_owned(),
            Self::Switch { .. } => "Update the BMC's firmware, or power the server by hand.".to_owned(),
            Self::Target { .. } => {
                "Use another boot target (imprint node set-bmc … --boot), or put the network first in the server's boot \
                 order and say so: --quirk no-boot-override=true."
                    .to_owned()
            }
            Self::Lacks { .. } => "Do it by hand, or in the BMC's own web page.".to_owned(),
            Self::Tool(_) => "Install ipmitool on the controller's host (apt-get install ipmitool).".to_owned(),
            Self::Setup(_) => "Change it: imprint node set-bmc.".to_owned(),
            Self::Secret(_) => {
                "Give the password again (imprint node set-bmc), or restore identity/image-keys of the data folder from the \
                 backup that belongs to the database."
                    .to_owned()
            }
        }
    }

    /// Whether it can go better later, without anything being changed.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 409 | 429 | 500..=599),
            _ => false,
        }
    }
}
