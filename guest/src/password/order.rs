//! Whether an order is to be carried out.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use imprint_proto::{
    agent::v1::{PasswordOrder, PasswordReset},
    password_order::{MAX_PASSWORD_ORDER, PASSWORD_RESET, signed_bytes},
};
use prost::Message as _;
use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_CHACHA20_POLY1305 as SUITE,
    hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey},
};
use zeroize::Zeroizing;

/// Orders that were carried out in this run of the plugin; more are not kept, and then no more are taken.
const MAX_ORDERS: usize = 1024;
/// Longest password, in bytes.
const MAX_PASSWORD: usize = 512;

/// Who the orders of this system are for.
#[derive(Debug, Clone)]
pub struct Standing {
    /// The controller's id of this node.
    pub node_id: String,
    /// The deployment that put this system here.
    pub deployment_id: String,
    /// The kernel's random boot id.
    pub boot_id: String,
    /// Ed25519 public keys of the controller.
    pub order_keys: Vec<Vec<u8>>,
}

/// An order that may be carried out.
pub struct Opened {
    /// Its id.
    pub order_id: String,
    /// Whose password.
    pub user: String,
    /// The new one.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened")
            .field("order_id", &self.order_id)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Why an order is not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody who may has signed these bytes.
    #[error("the order is not signed by the controller of this deployment")]
    Signature,
    /// Signed, but not an order.
    #[error("the order cannot be read")]
    Malformed,
    /// For another machine.
    #[error("the order is for another node")]
    OtherNode,
    /// For what was on this machine before.
    #[error("the order is for another deployment of this node")]
    OtherDeployment,
    /// Sealed to a key that is gone.
    #[error("the order is for another boot or another run of the plugin; ask again")]
    OtherBoot,
    /// Too late.
    #[error("the order has expired by this system's clock")]
    Expired,
    /// Once is enough.
    #[error("the order has been carried out already, or one that is newer")]
    Repeated,
    /// The sealed text.
    #[error("the sealed password cannot be opened")]
    Sealed,
    /// The password.
    #[error("the password is empty, too long, or has characters that no log-in takes")]
    Password,
    /// Somebody goes on and on.
    #[error("too many orders in one run of the plugin")]
    TooMany,
    /// The system's random source or crypto library.
    #[error("cannot make a key")]
    Key,
}

/// The key that orders are sealed to, and what was carried out with it.
pub struct Orders {
    standing: Standing,
    public_key: Vec<u8>,
    private_key: HpkePrivateKey,
    done: BTreeSet<String>,
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders")
            .field("standing", &self.standing)
            .field("done", &self.done)
            .finish_non_exhaustive()
    }
}

impl Orders {
    /// Makes a key, which is in this process's memory alone.
    ///
    /// # Errors
    /// When the crypto library cannot.
    pub fn new(standing: Standing) -> Result<Self, Refusal> {
        let (public_key, private_key) = SUITE.generate_key_pair().map_err(|_| Refusal::Key)?;
        Ok(Self {
            standing,
            public_key: public_key.0,
            private_key,
            done: BTreeSet::new(),
        })
    }

    /// What orders are sealed to.
    #[must_use]
    pub fn sealing_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Checks and opens an order. One that was opened is not opened again, whatever becomes of it. The answer begins with
    /// its id, empty where there is none to read; also for one that is refused, so that its sender can be told.
    pub fn open(
        &mut self,
        reset: &PasswordReset,
        now_unix_seconds: i64,
    ) -> (String, Result<Opened, Refusal>) {
        if reset.order.len() > MAX_PASSWORD_ORDER {
            return (String::new(), Err(Refusal::Malformed));
        }
        // Nothing is believed of it before its signature has been verified; the id is for the answer alone.
        let order = PasswordOrder::decode(reset.order.as_slice());
        let id = order
            .as_ref()
            .map(|order| order.order_id.clone())
            .unwrap_or_default();
        let opened = match (self.is_signed(reset), order) {
            (false, _) => Err(Refusal::Signature),
            (true, Err(_)) => Err(Refusal::Malformed),
            (true, Ok(order)) => self.open_signed(order, now_unix_seconds),
        };
        (id, opened)
    }

    fn is_signed(&self, reset: &PasswordReset) -> bool {
        let message = signed_bytes(&reset.order);
        self.standing.order_keys.iter().any(|key| {
            UnparsedPublicKey::new(&ED25519, key)
                .verify(&message, &reset.signature)
                .is_ok()
        })
    }

    fn open_signed(&mut self, order: PasswordOrder, now: i64) -> Result<Opened, Refusal> {
        self.check(&order, now)?;
        let password = self.unseal(&order)?;
        self.done.insert(order.order_id.clone());
        Ok(Opened {
            order_id: order.order_id,
            user: order.user,
            password,
        })
    }

    fn check(&self, order: &PasswordOrder, now: i64) -> Result<(), Refusal> {
        let standing = &self.standing;
        if order.order_id.is_empty() || order.user.is_empty() {
            return Err(Refusal::Malformed);
        }
        if order.node_id != standing.node_id {
            return Err(Refusal::OtherNode);
        }
        if order.deployment_id != standing.deployment_id {
            return Err(Refusal::OtherDeployment);
        }
        if order.boot_id != standing.boot_id || order.sealing_key != self.public_key {
            return Err(Refusal::OtherBoot);
        }
        if order.expires_at.is_none_or(|end| end.seconds <= now) {
            return Err(Refusal::Expired);
        }
        // Ids rise: an order that is older than the last one comes from somebody who has kept it.
        if self
            .done
            .last()
            .is_some_and(|last| order.order_id.as_str() <= last.as_str())
        {
            return Err(Refusal::Repeated);
        }
        if self.done.len() >= MAX_ORDERS {
            return Err(Refusal::TooMany);
        }
        Ok(())
    }

    fn unseal(&self, order: &PasswordOrder) -> Result<Zeroizing<String>, Refusal> {
        let plain = SUITE
            .open(
                &EncapsulatedSecret(order.encapsulated_key.clone()),
                PASSWORD_RESET.as_bytes(),
                order.order_id.as_bytes(),
                &order.ciphertext,
                &self.private_key,
            )
            .map(Zeroizing::new)
            .map_err(|_| Refusal::Sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| Refusal::Password)?;
        if text.is_empty() || text.len() > MAX_PASSWORD || text.chars().any(char::is_control) {
            return Err(Refusal::Password);
        }
        Ok(Zeroizing::new(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use imprint_proto::agent::v1::PasswordOrder;
    use rustls::crypto::hpke::HpkePublicKey;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    struct Controller(Ed25519KeyPair);

    impl Controller {
        fn sign(&self, order: &PasswordOrder) -> PasswordReset {
            let order = order.encode_to_vec();
            let signature = self.0.sign(&signed_bytes(&order)).as_ref().to_vec();
            PasswordReset { order, signature }
        }
    }

    fn rig() -> (Controller, Orders) {
        let controller = Controller(Ed25519KeyPair::generate().unwrap());
        let orders = Orders::new(Standing {
            node_id: "NODE".into(),
            deployment_id: "DEPLOY".into(),
            boot_id: "boot".into(),
            order_keys: vec![vec![0; 32], controller.0.public_key().as_ref().to_vec()],
        })
        .unwrap();
        (controller, orders)
    }

    fn order(orders: &Orders, id: &str, password: &str) -> PasswordOrder {
        let key = HpkePublicKey(orders.sealing_key().to_vec());
        let (sealed, ciphertext) = SUITE
            .seal(
                PASSWORD_RESET.as_bytes(),
                id.as_bytes(),
                password.as_bytes(),
                &key,
            )
            .unwrap();
        PasswordOrder {
            order_id: id.into(),
            node_id: "NODE".into(),
            deployment_id: "DEPLOY".into(),
            boot_id: "boot".into(),
            user: "root".into(),
            expires_at: Some(prost_types::Timestamp {
                seconds: NOW + 60,
                nanos: 0,
            }),
            sealing_key: orders.sealing_key().to_vec(),
            encapsulated_key: sealed.0,
            ciphertext,
        }
    }

    #[test]
    fn an_order_is_opened_once() {
        let (controller, mut orders) = rig();
        let reset = controller.sign(&order(&orders, "B", "päss word"));
        let opened = orders.open(&reset, NOW).1.unwrap();
        assert_eq!(
            (
                opened.order_id.as_str(),
                opened.user.as_str(),
                opened.password.as_str()
            ),
            ("B", "root", "päss word")
        );
        assert!(!format!("{opened:?}").contains("word"));
        assert_eq!(orders.open(&reset, NOW).1.unwrap_err(), Refusal::Repeated);
        let older = controller.sign(&order(&orders, "A", "x"));
        assert_eq!(orders.open(&older, NOW).1.unwrap_err(), Refusal::Repeated);
        let newer = controller.sign(&order(&orders, "C", "x"));
        assert!(orders.open(&newer, NOW).1.is_ok());
    }

    #[test]
    fn everything_that_is_not_for_us_is_refused() {
        type Change = fn(&mut PasswordOrder);
        let cases: [(Change, Refusal); 9] = [
            (|o| o.node_id = "OTHER".into(), Refusal::OtherNode),
            (|o| o.deployment_id = "OLD".into(), Refusal::OtherDeployment),
            (|o| o.boot_id = "before".into(), Refusal::OtherBoot),
            (|o| o.sealing_key = vec![1; 32], Refusal::OtherBoot),
            (
                |o| {
                    o.expires_at = Some(prost_types::Timestamp {
                        seconds: NOW,
                        nanos: 0,
                    });
                },
                Refusal::Expired,
            ),
            (|o| o.expires_at = None, Refusal::Expired),
            (|o| o.ciphertext[0] ^= 1, Refusal::Sealed),
            (|o| o.encapsulated_key = vec![9; 32], Refusal::Sealed),
            (|o| o.user.clear(), Refusal::Malformed),
        ];
        for (change, refusal) in cases {
            let (controller, mut orders) = rig();
            let mut changed = order(&orders, "A", "pw");
            change(&mut changed);
            // Signed after the change: the signature alone does not protect.
            assert_eq!(
                orders.open(&controller.sign(&changed), NOW).1.unwrap_err(),
                refusal
            );
        }
        // A password that was sealed under another id.
        let (controller, mut orders) = rig();
        let mut moved = order(&orders, "A", "pw");
        moved.order_id = "B".into();
        assert_eq!(
            orders.open(&controller.sign(&moved), NOW).1.unwrap_err(),
            Refusal::Sealed
        );
        for bad in ["", "two\nlines", &"x".repeat(513)] {
            let reset = controller.sign(&order(&orders, "A", bad));
            assert_eq!(orders.open(&reset, NOW).1.unwrap_err(), Refusal::Password);
        }
    }

    #[test]
    fn no_byte_can_be_changed_after_signing() {
        let (controller, mut orders) = rig();
        let reset = controller.sign(&order(&orders, "A", "pw"));
        for position in 0..reset.order.len() {
            let mut changed = reset.clone();
            changed.order[position] ^= 1;
            assert_eq!(orders.open(&changed, NOW).1.unwrap_err(), Refusal::Signature);
        }
        for position in 0..reset.signature.len() {
            let mut changed = reset.clone();
            changed.signature[position] ^= 1;
            assert_eq!(orders.open(&changed, NOW).1.unwrap_err(), Refusal::Signature);
        }
        let (stranger, _) = rig();
        let foreign = stranger.sign(&order(&orders, "A", "pw"));
        assert_eq!(orders.open(&foreign, NOW).1.unwrap_err(), Refusal::Signature);
        let (id, opened) = orders.open(&reset, NOW);
        assert!(id == "A" && opened.is_ok());
    }
}
