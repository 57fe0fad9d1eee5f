//! `imprint model …`

use std::{
    io::{self, Read},
    path::Path,
};

use serde_json::{Map, Value};

use crate::{
    arguments::ModelCommand,
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

/// The longest model that is sent; the controller takes less.
const MAX_MODEL: u64 = 1 << 20;

pub async fn run(client: &Client, command: ModelCommand, output: &Output) -> Result<(), Fault> {
    match command {
        ModelCommand::List => {
            let models = client.list(&["v1", "models"], &[]).await?;
            let list = models.clone();
            output.result(&Value::Array(models), || {
                output::render(&mut table::models(&list))
            })
        }
        ModelCommand::Show { model } => {
            let model = client.get(&["v1", "models", &model], &[]).await?;
            output.result(&model, || text(&model, "document"))
        }
        ModelCommand::Apply { file } => {
            let body = Map::from_iter([("document".to_owned(), read(&file)?.into())]);
            let applied = client.post(&["v1", "models"], &body, None).await?;
            output.result(&applied, || {
                let (name, version) = (text(&applied["model"], "name"), &applied["model"]["version"]);
                match text(&applied["change"], "summary").as_str() {
                    "" => format!("{name} has version {version} already\n"),
                    summary => format!("{name} has version {version} now: {summary}\n"),
                }
            })
        }
        ModelCommand::Delete { model } => {
            let deleted = client.delete(&["v1", "models", &model]).await?;
            output.result(&deleted, || format!("{} was deleted\n", text(&deleted, "name")))
        }
        ModelCommand::Suggest { node } => {
            let suggested = client
                .get(&["v1", "nodes", &node, "model-suggestion"], &[])
                .await?;
            output.result(&suggested, || text(&suggested, "document"))
        }
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}

fn read(path: &Path) -> Result<String, Fault> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().take(MAX_MODEL).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(MAX_MODEL).read_to_string(&mut text))
    };
    read.map_err(|error| Fault::unreadable(path, &error))?;
    Ok(text)
}
