//! Tables of shared images, quotas and usage.

use comfy_table::Table;
use jiff::Timestamp;

use super::{Moment, align_right, columns, or_dash, plain};
use crate::{
    answer::{Condition, Entitlement, Invitation, Member, Price, Quota, QuotaUse, Usage, UsageRecord},
    measure,
};

fn age(at: Option<Timestamp>, moment: &Moment) -> String {
    at.map_or_else(|| "-".into(), |at| measure::age(at, moment.now))
}

/// Whom an image is shared with.
pub fn members(members: &[Member], moment: &Moment) -> Table {
    let mut table = columns(&["PROJECT", "STATE", "INVITED", "ID"]);
    for member in members {
        table.add_row([
            plain(&member.project),
            plain(&member.state),
            age(member.created_at, moment),
            plain(&member.project_id),
        ]);
    }
    table
}

/// Images that others offer.
pub fn invitations(invitations: &[Invitation]) -> Table {
    let mut table = columns(&["IMAGE", "FROM", "STATE", "SYSTEM", "DISK", "ID"]);
    for invitation in invitations {
        let system = format!("{} {}", invitation.os_distribution, invitation.os_version);
        table.add_row([
            plain(&invitation.image_name),
            plain(&invitation.owner),
            plain(&invitation.state),
            or_dash(Some(system.trim())),
            measure::bytes(invitation.disk_size_bytes),
            plain(&invitation.image_id),
        ]);
    }
    align_right(&mut table, 4, 5);
    table
}

/// Who may use a paid image.
pub fn entitlements(entitlements: &[Entitlement], moment: &Moment) -> Table {
    let mut table = columns(&["PROJECT", "GIVEN BY", "SINCE", "ID"]);
    for entitlement in entitlements {
        table.add_row([
            plain(&entitlement.project),
            plain(&entitlement.granted_by),
            age(entitlement.created_at, moment),
            plain(&entitlement.project_id),
        ]);
    }
    table
}

/// Whether an image can be deployed.
pub fn conditions(conditions: &[Condition]) -> Table {
    let mut table = columns(&["CONDITION", "HOLDS", "DETAIL", "REMEDY"]);
    for condition in conditions {
        table.add_row([
            plain(&condition.condition),
            if condition.holds { "yes" } else { "no" }.into(),
            plain(&condition.detail),
            plain(&condition.remedy),
        ]);
    }
    table
}

/// What a project may keep.
pub fn quota(quota: &Quota) -> Table {
    let mut table = columns(&["OF", "WHAT", "USED", "RESERVED", "LIMIT"]);
    let mut row = |of: String, what: &str, used: &QuotaUse, show: &dyn Fn(u64) -> String| {
        let limit = used.limit.map_or_else(|| "-".to_owned(), show);
        table.add_row([of, what.to_owned(), show(used.used), show(used.reserved), limit]);
    };
    row(
        "project".to_owned(),
        "bytes",
        &quota.stored_bytes,
        &measure::bytes,
    );
    for user in &quota.users {
        row(plain(&user.user), "private images", &user.images, &|count| {
            count.to_string()
        });
    }
    align_right(&mut table, 2, 5);
    table
}

fn price(price: &Price) -> String {
    plain(&format!("{} {}/{}", price.amount, price.currency, price.per))
}

/// What usage comes to.
pub fn usage(usage: &Usage) -> Table {
    let mut table = columns(&[
        "IMAGE",
        "PROJECT",
        "GIB HOURS",
        "AS IF UNSHARED",
        "SERVERS",
        "PAID",
    ]);
    for line in &usage.items {
        let paid: Vec<String> = line
            .charges
            .iter()
            .map(|charge| format!("{} x {}", charge.deployments, price(&charge.price)))
            .collect();
        let name = match line.image_name.as_str() {
            "" => &line.image_id,
            name => name,
        };
        table.add_row([
            plain(name),
            plain(&line.project_id),
            plain(&line.deduplicated_gib_hours),
            plain(&line.logical_gib_hours),
            line.servers.to_string(),
            or_dash(Some(&paid.join(", "))),
        ]);
    }
    table.add_row([
        "all".to_owned(),
        String::new(),
        plain(&usage.deduplicated_gib_hours),
        plain(&usage.logical_gib_hours),
        usage
            .items
            .iter()
            .map(|line| line.servers)
            .sum::<u64>()
            .to_string(),
        String::new(),
    ]);
    align_right(&mut table, 2, 5);
    table
}

/// The records that bills are made of.
pub fn usage_records(records: &[UsageRecord], moment: &Moment) -> Table {
    let mut table = columns(&[
        "ID", "KIND", "PROJECT", "IMAGE", "BEGINS", "ENDS", "STORED", "PRICE",
    ]);
    let time = |at: Option<Timestamp>| at.map_or_else(|| "-".into(), |at| measure::time(at, &moment.zone));
    for record in records {
        table.add_row([
            record.id.to_string(),
            plain(&record.kind),
            plain(&record.project_id),
            plain(&record.image_id),
            time(record.begins_at),
            time(record.ends_at),
            match record.kind.as_str() {
                "storage" => measure::bytes(record.deduplicated_bytes),
                _ => "-".into(),
            },
            record.price.as_ref().map_or_else(|| "-".into(), price),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::answer::read;

    #[test]
    fn limits_and_bills_are_shown() {
        let shown = quota(&read(&json!({
            "stored_bytes": {"used": 1 << 30, "reserved": 0, "limit": null},
            "users": [{"user": "alice", "images": {"used": 48, "reserved": 1, "limit": 50}}],
        })))
        .to_string();
        for part in ["1.0 GiB", "alice", "48", "50"] {
            assert!(shown.contains(part), "{shown}");
        }
        let shown = usage(&read(&json!({
            "items": [{"image_id": "01X", "servers": 2, "charges": [
                {"price": {"amount": "0.05", "currency": "EUR", "per": "deployment"}, "deployments": 2}]}],
        })))
        .to_string();
        for part in ["01X", "2 x 0.05 EUR/deployment", "all"] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}
