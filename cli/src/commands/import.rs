//! `imprint image import`

use futures::{StreamExt as _, TryStreamExt as _};
use reqwest::Body;
use serde_json::{Map, Value, json};

use crate::{
    arguments::ImportArguments,
    client::Client,
    fault::Fault,
    job_wait, live, measure,
    output::{self, Output},
    source::{self, Trouble},
    upload,
};

/// Files from this size on are sent in pieces.
const IN_PIECES: u64 = 64 << 20;

/// Imports, and gives the image; or the job, when nobody waits for it.
pub async fn run(client: &Client, arguments: &ImportArguments, output: &Output) -> Result<Imported, Fault> {
    let controller_only = ["oci://", "s3://"]
        .iter()
        .any(|scheme| arguments.source.starts_with(scheme));
    if arguments.by_controller || controller_only {
        return by_controller(client, arguments, output).await;
    }
    let path = std::path::Path::new(&arguments.source);
    let regular = std::fs::metadata(path).ok().filter(|about| about.is_file());
    let image = match regular {
        Some(about) if about.len() >= IN_PIECES => in_pieces(client, path, arguments, output).await?,
        _ => at_once(client, arguments, output).await?,
    };
    Ok(Imported::Image(image))
}

/// What came of an import.
#[derive(Debug)]
pub enum Imported {
    /// The image, which can be used.
    Image(Value),
    /// The job that goes on.
    Job(Value),
}

/// What the image is to be, as the API has it.
fn spec(arguments: &ImportArguments) -> Map<String, Value> {
    let mut spec = Map::new();
    let mut put = |name: &str, value: Value| {
        if !value.is_null() {
            spec.insert(name.to_owned(), value);
        }
    };
    put("name", json!(arguments.name));
    for (name, value) in [
        ("kind", &arguments.kind),
        ("family", &arguments.family),
        ("version", &arguments.version),
        ("description", &arguments.description),
        ("os_distribution", &arguments.os),
        ("os_version", &arguments.os_version),
        ("architecture", &arguments.arch),
        ("boot_modes", &arguments.boot),
        ("target", &arguments.target),
        ("visibility", &arguments.visibility),
        ("parent", &arguments.parent),
    ] {
        put(name, json!(value));
    }
    put("min_disk_bytes", json!(arguments.min_disk));
    put("min_memory_bytes", json!(arguments.min_memory));
    if !arguments.tags.is_empty() {
        put("tags", json!(arguments.tags));
    }
    if arguments.protected {
        put("protected", json!(true));
    }
    if !arguments.certified_for.is_empty() {
        put("certified_for", json!(arguments.certified_for));
    }
    if !arguments.properties.is_empty() {
        let pairs = arguments.properties.iter();
        let pairs = pairs.map(|(key, value)| (key.clone(), json!(value)));
        put("properties", Value::Object(pairs.collect()));
    }
    if let Some(name) = &arguments.license {
        put(
            "license",
            license(name, arguments.license_required, arguments.license_url.as_deref()),
        );
    }
    if arguments.encrypt || arguments.no_encrypt {
        put("encrypt", json!(arguments.encrypt));
    }
    spec
}

/// A licence, as the API has it.
pub(super) fn license(name: &str, required: bool, reference: Option<&str>) -> Value {
    json!({ "name": name, "included": !required, "required": required, "reference": reference.unwrap_or_default() })
}

/// What is known of the file, as the API has it.
fn file(arguments: &ImportArguments, sha256: Option<[u8; 32]>) -> Map<String, Value> {
    let mut file = Map::new();
    file.insert("format".to_owned(), json!(arguments.format));
    if let Some(sha256) = sha256 {
        file.insert("sha256".to_owned(), json!(hex::encode(sha256)));
    }
    if let Some(bytes) = arguments.sector_size {
        file.insert("logical_sector_bytes".to_owned(), json!(bytes));
    }
    file
}

async fn by_controller(
    client: &Client,
    arguments: &ImportArguments,
    output: &Output,
) -> Result<Imported, Fault> {
    let mut source = match arguments.source.split_once("://") {
        Some(("oci", reference)) => json!({ "type": "oci", "reference": reference }),
        Some(("s3", object)) => {
            let (destination, key) = object.split_once('/').unwrap_or((object, ""));
            json!({ "type": "s3", "destination": destination, "key": key })
        }
        _ => json!({ "type": "url", "url": arguments.source }),
    };
    for (name, value) in [("credential", &arguments.credential), ("layer", &arguments.layer)] {
        if let Some(value) = value {
            source[name] = json!(value);
        }
    }
    let body = Map::from_iter([
        ("spec".to_owned(), Value::Object(spec(arguments))),
        (
            "file".to_owned(),
            Value::Object(file(arguments, arguments.sha256)),
        ),
        ("source".to_owned(), source),
    ]);
    let key = ulid::Ulid::generate().to_string();
    let job = client.post(&["v1", "imports"], &body, Some(&key)).await?;
    if !arguments.wait {
        return Ok(Imported::Job(job));
    }
    let job = job_wait::until_ended(client, job, arguments.timeout, output).await?;
    imported(client, &job).await.map(Imported::Image)
}

async fn in_pieces(
    client: &Client,
    path: &std::path::Path,
    arguments: &ImportArguments,
    output: &Output,
) -> Result<Value, Fault> {
    let request = |sha256| {
        let mut request = spec(arguments);
        request.extend(file(arguments, Some(sha256)));
        request
    };
    let upload = upload::File {
        path,
        label: &arguments.name,
        sha256: arguments.sha256,
    };
    let job = tokio::select! {
        job = upload.send(client, request, output) => job?,
        _ = tokio::signal::ctrl_c() => {
            if !output.is_json() {
                output::say("what was sent is kept for a day; the same command goes on with it\n");
            }
            return Err(Fault::Interrupted);
        }
    };
    let job = job_wait::until_ended(client, job, None, output).await?;
    imported(client, &job).await
}

/// The image that a job has made.
async fn imported(client: &Client, job: &Value) -> Result<Value, Fault> {
    let id = job["image_id"].as_str().unwrap_or_default();
    client.get(&["v1", "images", id], &[]).await
}

async fn at_once(client: &Client, arguments: &ImportArguments, output: &Output) -> Result<Value, Fault> {
    let source = source::open(&arguments.source).await?;
    let length = source.length;
    if !output.live {
        let size = length
            .map(|length| format!(" ({})", measure::bytes(length)))
            .unwrap_or_default();
        output::say(&format!("uploading {}{size}\n", source.name));
    }
    let bar = live::transfer(output.live, &arguments.name, length);
    let counting = bar.clone();
    let trouble = Trouble::default();
    let pieces = source
        .body(arguments.sha256, &trouble)
        .inspect_ok(move |piece| counting.inc(piece.len() as u64))
        .chain(futures::stream::once({
            let bar = bar.clone();
            async move {
                bar.set_message("sent; the controller finishes the conversion");
                Ok(Default::default())
            }
        }));
    let query = query(arguments);
    let query: Vec<_> = query
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let uploading = client.upload(&["v1", "images"], &query, Body::wrap_stream(pieces), length);
    let answer = tokio::select! {
        answer = uploading => answer,
        _ = tokio::signal::ctrl_c() => Err(Fault::Interrupted),
    };
    bar.finish_and_clear();
    // Where the source broke off, that is what happened, whatever became of the upload.
    answer.map_err(|fault| trouble.take().unwrap_or(fault))
}

/// The same as a query: lists are words joined by commas.
fn query(arguments: &ImportArguments) -> Vec<(String, String)> {
    // The digest is looked at on this side, before the last piece is sent.
    let mut all = spec(arguments);
    all.extend(file(arguments, None));
    all.into_iter()
        .map(|(name, value)| {
            let text = match value {
                Value::String(text) => text,
                Value::Array(words) => {
                    let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
                    words.join(",")
                }
                other => other.to_string(),
            };
            (name, text)
        })
        .collect()
}
