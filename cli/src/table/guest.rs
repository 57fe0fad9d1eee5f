//! Tables of guest plugins.

use super::*;
use crate::answer::{Guest, PasswordReset};

/// The plugin of a server.
pub fn guest(guest: &Guest, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("connected", if guest.connected { "yes" } else { "no" });
    facts.add("version", guest.version.as_str());
    facts.add("deployment", guest.deployment_id.as_str());
    facts.add("boot", guest.boot_id.as_str());
    let whole = match guest.drift.len() {
        0 => "as installed".to_owned(),
        _ => guest.drift.join("; "),
    };
    facts.add("files", whole);
    facts.time("first boot", guest.created_at, moment);
    facts.time("last seen", guest.last_seen_at, moment);
    facts
}

/// Orders to set a password.
pub fn password_resets(orders: &[PasswordReset], moment: &Moment) -> Table {
    let mut table = columns(&["ID", "USER", "STATE", "BY", "ASKED", "REASON"]);
    for order in orders {
        table.add_row([
            plain(&order.id),
            plain(&order.user),
            plain(&order.state),
            plain(&order.requested_by),
            order
                .created_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            or_dash(Some(&order.reason)),
        ]);
    }
    table
}
