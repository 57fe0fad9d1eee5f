//! `imprint node …` and `imprint why`

use serde_json::{Map, Value};

use super::{console, power};
use crate::{
    answer::{Node, WipeCertificate, read},
    arguments::NodeCommand,
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn run(client: &Client, command: NodeCommand, output: &Output) -> Result<(), Fault> {
    match command {
        NodeCommand::List { state } => {
            let query: Vec<_> = state
                .as_deref()
                .map(|state| ("state", state))
                .into_iter()
                .collect();
            let nodes = client.list(&["v1", "nodes"], &query).await?;
            let rows: Vec<Node> = nodes.iter().map(read).collect();
            output.result(&Value::Array(nodes), || {
                output::render(&mut table::nodes(&rows, &output.moment()))
            })
        }
        NodeCommand::Show { node } => show(&client.get(&["v1", "nodes", &node], &[]).await?, output),
        NodeCommand::Announce {
            name,
            mac,
            uuid,
            serial,
        } => {
            let mut body = Map::new();
            body.insert("name".into(), name.into());
            body.insert("macs".into(), mac.into());
            body.insert("smbios_uuid".into(), uuid.into());
            body.insert("serial".into(), serial.into());
            show(&client.post(&["v1", "nodes"], &body, None).await?, output)
        }
        NodeCommand::Maintenance { node, reason, end } => {
            let path = ["v1", "nodes", node.as_str(), "maintenance"];
            let changed = if end {
                client.delete(&path).await?
            } else {
                let body = Map::from_iter([("reason".to_owned(), reason.into())]);
                client.put(&path, &body).await?
            };
            show(&changed, output)
        }
        NodeCommand::Retire { node } => {
            let path = ["v1", "nodes", node.as_str(), "retire"];
            show(&client.post(&path, &Map::new(), None).await?, output)
        }
        NodeCommand::Wipes { node, disk } => {
            let asked = [("node", node.as_deref()), ("disk", disk.as_deref())];
            let query: Vec<_> = asked
                .into_iter()
                .filter_map(|(key, value)| value.map(|value| (key, value)))
                .collect();
            let wipes = client.list(&["v1", "wipe-certificates"], &query).await?;
            let rows: Vec<WipeCertificate> = wipes.iter().map(read).collect();
            output.result(&Value::Array(wipes), || {
                output::render(&mut table::wipes(&rows, &output.moment()))
            })
        }
        NodeCommand::Delete { node } => {
            let deleted = client.delete(&["v1", "nodes", &node]).await?;
            output.result(&deleted, || {
                let name = deleted["name"].as_str().unwrap_or(&node);
                format!("{name} was deleted\n")
            })
        }
        NodeCommand::Assign { node, project } => {
            let body = Map::from_iter([("project".to_owned(), project.into())]);
            show(
                &client.put(&["v1", "nodes", &node, "project"], &body).await?,
                output,
            )
        }
        NodeCommand::SetCard {
            node,
            address,
            none: _,
        } => {
            let body = Map::from_iter([("address".to_owned(), address.into())]);
            let card = client.put(&["v1", "nodes", &node, "card"], &body).await?;
            output.result(&card, || match card["address"].as_str() {
                Some(address) => format!("the SDI card of {node} is at {address}\n"),
                None => format!("{node} has no SDI card\n"),
            })
        }
        NodeCommand::Console { node } => console::run(client, &node, output).await,
        NodeCommand::Confirm { node } => {
            let path = ["v1", "nodes", &node, "confirm"];
            show(&client.post(&path, &Map::new(), None).await?, output)
        }
        NodeCommand::SetBmc { new } => power::set_bmc(client, *new, output).await,
        NodeCommand::Bmc { node, hardware } => power::bmc(client, &node, hardware, output).await,
        NodeCommand::Media {
            node,
            image,
            ramdisk,
            eject: _,
        } => power::media(client, &node, image, ramdisk, output).await,
        NodeCommand::Power { wanted } => power::power(client, wanted, output).await,
        NodeCommand::Approve { node, name } => {
            let mut body = Map::new();
            if let Some(name) = name {
                body.insert("name".into(), name.into());
            }
            show(
                &client
                    .post(&["v1", "nodes", &node, "approve"], &body, None)
                    .await?,
                output,
            )
        }
    }
}

fn show(node: &Value, output: &Output) -> Result<(), Fault> {
    output.result(node, || table::node(&read(node), &output.moment()).render())
}

pub async fn why(client: &Client, node: &str, output: &Output) -> Result<(), Fault> {
    let why = client.get(&["v1", "nodes", node, "why"], &[]).await?;
    output.result(&why, || table::why(&read(&why), &output.moment()).render())
}
