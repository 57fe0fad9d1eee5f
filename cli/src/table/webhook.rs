//! Tables of webhooks.

use super::*;
use crate::answer::Webhook;

/// All webhooks.
pub fn webhooks(webhooks: &[Webhook], moment: &Moment) -> Table {
    let mut table = columns(&["NAME", "STATE", "KINDS", "DELIVERED", "LAST", "REFUSED", "URL"]);
    for webhook in webhooks {
        table.add_row([
            plain(&webhook.name),
            plain(&webhook.state),
            kinds(webhook),
            webhook.delivered.to_string(),
            webhook
                .delivered_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            webhook.failed_attempts.to_string(),
            plain(&webhook.url),
        ]);
    }
    align_right(&mut table, 3, 4);
    table
}

fn kinds(webhook: &Webhook) -> String {
    match webhook.kinds.is_empty() {
        true => "all".into(),
        false => plain(&webhook.kinds.join(" ")),
    }
}

/// One webhook.
pub fn webhook(webhook: &Webhook, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    facts.add("name", webhook.name.as_str());
    facts.add("id", webhook.id.as_str());
    facts.add("url", webhook.url.as_str());
    facts.add("kinds", kinds(webhook));
    facts.add("project", webhook.project_id.as_deref().unwrap_or_default());
    facts.add("state", webhook.state.as_str());
    facts.add("why", webhook.why.as_str());
    facts.add("cursor", webhook.cursor.to_string());
    facts.add("delivered", webhook.delivered.to_string());
    facts.time("last one", webhook.delivered_at, moment);
    if webhook.failed_attempts > 0 {
        facts.add("refused", format!("{} times in a row", webhook.failed_attempts));
        facts.time("since", webhook.failing_since, moment);
        facts.add("last error", webhook.last_error.as_str());
    }
    facts.time("made", webhook.created_at, moment);
    facts
}
