//! `imprint image share …` and what else is between projects.

use serde_json::{Map, Value, json};

use crate::{
    answer::{Entitlement, Invitation, Member, Preflight, read},
    arguments::{Audience, Publish, SharingCommand},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

use super::import::license;

pub async fn run(client: &Client, command: SharingCommand, output: &Output) -> Result<(), Fault> {
    match command {
        SharingCommand::Share { image, projects } => {
            let body = Map::from_iter([("projects".to_owned(), json!(projects))]);
            let path = ["v1", "images", image.as_str(), "members"];
            let answer = client.post(&path, &body, None).await?;
            members(&answer["items"], output)
        }
        SharingCommand::Unshare { image, project } => {
            let path = ["v1", "images", image.as_str(), "members", project.as_str()];
            let removed = client.delete(&path).await?;
            output.result(&removed, || {
                let removed: Member = read(&removed);
                format!("{image} is no longer shared with {}\n", removed.project)
            })
        }
        SharingCommand::Members { image } => {
            let all = client.list(&["v1", "images", &image, "members"], &[]).await?;
            members(&Value::Array(all), output)
        }
        SharingCommand::Invitations { state } => {
            let query: Vec<_> = state.iter().map(|state| ("state", state.as_str())).collect();
            let all = client.list(&["v1", "invitations"], &query).await?;
            let rows: Vec<Invitation> = all.iter().map(read).collect();
            output.result(&Value::Array(all), || {
                output::render(&mut table::invitations(&rows))
            })
        }
        SharingCommand::Accept { image } => answer(client, &image, "accepted", output).await,
        SharingCommand::Reject { image } => answer(client, &image, "rejected", output).await,
        SharingCommand::Publish(publish) => {
            let path = ["v1", "images", publish.image.as_str(), "publish"];
            let published = client.post(&path, &terms(&publish), None).await?;
            visibility(&published, output)
        }
        SharingCommand::Unpublish { image } => {
            let path = ["v1", "images", image.as_str(), "unpublish"];
            let private = client.post(&path, &Map::new(), None).await?;
            visibility(&private, output)
        }
        SharingCommand::Entitle { image, project } => {
            let path = ["v1", "images", image.as_str(), "entitlements", project.as_str()];
            let given = client.put(&path, &Map::new()).await?;
            output.result(&given, || {
                let given: Entitlement = read(&given);
                format!("{} may use {image}\n", given.project)
            })
        }
        SharingCommand::Disentitle { image, project } => {
            let path = ["v1", "images", image.as_str(), "entitlements", project.as_str()];
            let taken = client.delete(&path).await?;
            output.result(&taken, || {
                let taken: Entitlement = read(&taken);
                format!("{} may no longer use {image}\n", taken.project)
            })
        }
        SharingCommand::Entitlements { image } => {
            let all = client
                .list(&["v1", "images", &image, "entitlements"], &[])
                .await?;
            let rows: Vec<Entitlement> = all.iter().map(read).collect();
            output.result(&Value::Array(all), || {
                output::render(&mut table::entitlements(&rows, &output.moment()))
            })
        }
        SharingCommand::Preflight { image, node, role } => {
            let query: Vec<_> = [("node", node.as_deref()), ("role", role.as_deref())]
                .into_iter()
                .filter_map(|(name, value)| Some((name, value?)))
                .collect();
            let found = client.get(&["v1", "images", &image, "preflight"], &query).await?;
            let preflight: Preflight = read(&found);
            output.result(&found, || {
                let conditions = output::render(&mut table::conditions(&preflight.conditions));
                match table::price(&preflight.price) {
                    price if price.is_empty() => conditions,
                    price => format!("{conditions}price: {price}\n"),
                }
            })?;
            verdict(&preflight)
        }
    }
}

fn members(all: &Value, output: &Output) -> Result<(), Fault> {
    let rows: Vec<Member> = all.as_array().into_iter().flatten().map(read).collect();
    output.result(all, || {
        output::render(&mut table::members(&rows, &output.moment()))
    })
}

async fn answer(client: &Client, image: &str, state: &str, output: &Output) -> Result<(), Fault> {
    let body = Map::from_iter([("state".to_owned(), state.into())]);
    let path = ["v1", "images", image, "members", "own"];
    let answered = client.put(&path, &body).await?;
    output.result(&answered, || format!("{image} is {state}\n"))
}

fn visibility(image: &Value, output: &Output) -> Result<(), Fault> {
    output.result(image, || {
        let text = |key: &str| image[key].as_str().unwrap_or_default().to_owned();
        format!("{} is {}\n", text("name"), text("visibility"))
    })
}

fn terms(publish: &Publish) -> Map<String, Value> {
    let to = match publish.to {
        Audience::Public => "public",
        Audience::Community => "community",
        Audience::Marketplace => "marketplace",
    };
    let mut body = Map::from_iter([
        ("to".to_owned(), json!(to)),
        ("free".to_owned(), json!(publish.free)),
    ]);
    if let Some(publisher) = &publish.publisher {
        body.insert("publisher".into(), json!(publisher));
    }
    if !publish.certified_for.is_empty() {
        body.insert("certified_for".into(), json!(publish.certified_for));
    }
    if let Some(price) = &publish.price {
        body.insert("price".into(), price.clone());
    }
    if let Some(name) = &publish.license {
        body.insert(
            "license".into(),
            license(name, publish.license_required, publish.license_url.as_deref()),
        );
    }
    body
}

/// What a program goes by.
fn verdict(preflight: &Preflight) -> Result<(), Fault> {
    if preflight.ready {
        return Ok(());
    }
    let against = preflight.conditions.iter().filter(|condition| !condition.holds);
    let (details, remedies): (Vec<&str>, Vec<&str>) = against
        .map(|condition| (condition.detail.as_str(), condition.remedy.as_str()))
        .unzip();
    Err(Fault::local(
        "The image cannot be deployed as things are",
        details.join(" "),
        remedies.join(" "),
    ))
}
