//! `imprint webhook …`

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{
    answer::{Webhook, read},
    arguments::{NewWebhook, WebhookCommand},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

const PATH: [&str; 2] = ["v1", "webhooks"];

pub async fn run(client: &Client, command: WebhookCommand, output: &Output) -> Result<(), Fault> {
    let webhook = match command {
        WebhookCommand::Add(new) => return add(client, new, output).await,
        WebhookCommand::List => {
            let webhooks = client.list(&PATH, &[]).await?;
            let rows: Vec<Webhook> = webhooks.iter().map(read).collect();
            return output.result(&Value::Array(webhooks), || {
                output::render(&mut table::webhooks(&rows, &output.moment()))
            });
        }
        WebhookCommand::Test { webhook } => return test(client, &webhook, output).await,
        WebhookCommand::Show { webhook } => client.get(&["v1", "webhooks", &webhook], &[]).await?,
        WebhookCommand::Enable { webhook, skip_missed } => {
            let body = Map::from_iter([("skip_missed".to_owned(), skip_missed.into())]);
            let path = ["v1", "webhooks", &webhook, "enable"];
            client.post(&path, &body, None).await?
        }
        WebhookCommand::Disable { webhook } => {
            let path = ["v1", "webhooks", &webhook, "disable"];
            client.post(&path, &Map::new(), None).await?
        }
        WebhookCommand::Delete { webhook } => {
            let deleted = client.delete(&["v1", "webhooks", &webhook]).await?;
            return output.result(&deleted, || {
                format!("{} was deleted\n", read::<Webhook>(&deleted).name)
            });
        }
    };
    output.result(&webhook, || facts(&webhook, output))
}

fn facts(webhook: &Value, output: &Output) -> String {
    table::webhook(&read(webhook), &output.moment()).render()
}

/// The secret is the result; what else is to be known goes where progress goes.
async fn add(client: &Client, new: NewWebhook, output: &Output) -> Result<(), Fault> {
    let mut body = Map::new();
    body.insert("name".into(), new.name.into());
    body.insert("url".into(), new.target.into());
    body.insert("kinds".into(), new.kinds.into());
    if let Some(project) = new.project {
        body.insert("project".into(), project.into());
    }
    if let Some(after) = new.after {
        body.insert("after".into(), after.into());
    }
    let made = client.post(&PATH, &body, None).await?;
    if !output.is_json() {
        output::say(&facts(&made, output));
    }
    let secret = Zeroizing::new(made["secret"].as_str().unwrap_or_default().to_owned());
    output.result(&made, || format!("{}\n", secret.as_str()))
}

async fn test(client: &Client, webhook: &str, output: &Output) -> Result<(), Fault> {
    let path = ["v1", "webhooks", webhook, "test"];
    let answer = client.post(&path, &Map::new(), None).await?;
    let taken = answer["delivered"] == Value::Bool(true);
    output.result(&answer, || match taken {
        true => format!("taken in {} ms\n", answer["duration_ms"]),
        false => String::new(),
    })?;
    if taken {
        return Ok(());
    }
    Err(Fault::local(
        "The test message was not taken",
        answer["error"]
            .as_str()
            .unwrap_or("no reason is known")
            .to_owned(),
        "Check the URL, and that the receiver answers with 2xx within 15 seconds and without a redirect.",
    ))
}
