//! `imprint match …`

use serde_json::Value;

use crate::{
    arguments::{MatchArguments, word},
    client::Client,
    fault::Fault,
    output::Output,
    table,
};

pub async fn run(client: &Client, asked: MatchArguments, output: &Output) -> Result<(), Fault> {
    match &asked.node {
        Some(node) => of_node(client, node, &asked, output).await,
        None => of_image(client, &asked, output).await,
    }
}

async fn of_node(client: &Client, node: &str, asked: &MatchArguments, output: &Output) -> Result<(), Fault> {
    let intent = asked.intent.as_ref().map(word);
    let mut query = vec![("limit", if asked.all { "1000" } else { "50" })];
    query.extend(asked.family.as_deref().map(|family| ("family", family)));
    query.extend(asked.image.as_deref().map(|image| ("image", image)));
    query.extend(intent.as_deref().map(|intent| ("intent", intent)));
    query.extend(asked.all.then_some(("all", "true")));
    let answer = client.get(&["v1", "nodes", node, "match"], &query).await?;
    output.result(&answer, || table::of_node(&answer))
}

async fn of_image(client: &Client, asked: &MatchArguments, output: &Output) -> Result<(), Fault> {
    let image = asked.image.as_deref().unwrap_or_default();
    let verdict = asked.verdict.as_ref().map(word);
    let mut whole: Option<Value> = None;
    let mut after = String::new();
    loop {
        let mut query = vec![("page_size", if asked.all { "1000" } else { "100" })];
        query.extend(verdict.as_deref().map(|verdict| ("verdict", verdict)));
        query.extend((!after.is_empty()).then_some(("page_token", after.as_str())));
        let mut page = client.get(&["v1", "images", image, "match"], &query).await?;
        let next = page["next_page_token"].as_str().map(str::to_owned);
        match &mut whole {
            None => whole = Some(page),
            Some(whole) => {
                if let (Value::Array(items), Value::Array(more)) = (&mut whole["items"], page["items"].take())
                {
                    items.extend(more);
                }
                whole["next_page_token"] = page["next_page_token"].take();
            }
        }
        match next {
            Some(next) if asked.all && next != after => after = next,
            _ => break,
        }
    }
    let whole = whole.unwrap_or_default();
    output.result(&whole, || table::of_image(&whole))
}
