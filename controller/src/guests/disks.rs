//! What works with the disks of an installed system, asked of its plugin.

use std::time::Duration;

use imprint_proto::agent::v1::{GuestDisk, GuestDisks, GuestOrder, LookAtDisks, guest_order};
use tokio::time::timeout;
use ulid::Ulid;

use super::{GuestSeat, Guests};

/// Reading sysfs takes milliseconds.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// What is taken of an answer.
const MAX_DISKS: usize = 256;

impl Guests {
    /// The disks of the system on a node with what works with each, as its plugin sees them now. `None`: no plugin is connected, or it
    /// is one that does not answer this.
    pub async fn disks(&self, node_id: &str) -> Option<Vec<GuestDisk>> {
        let reachable = self.hub.reach(node_id)?;
        let order_id = Ulid::generate().to_string();
        let answer = self.hub.look(node_id, &order_id);
        let order = Box::new(GuestOrder {
            message: Some(guest_order::Message::LookAtDisks(LookAtDisks {
                order_id: order_id.clone(),
            })),
        });
        let asked = async {
            reachable.outbox.send(order).await.ok()?;
            answer.await.ok()
        };
        let answered = timeout(ANSWER_LIMIT, asked).await;
        self.hub.looked(&order_id);
        answered.ok().flatten()
    }

    /// Takes an answer; one that nobody of this node was asked for is left aside.
    pub fn take_disks(&self, seat: &GuestSeat, mut told: GuestDisks) {
        told.disks.truncate(MAX_DISKS);
        self.hub.tell(&seat.node_id, &told.order_id, told.disks);
    }
}
