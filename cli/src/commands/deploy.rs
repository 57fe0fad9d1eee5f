//! `imprint deploy`: one request for each server, then, if asked, the wait for all.

use std::{path::Path, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value};
use ulid::Ulid;

use super::plan;
use crate::{
    answer::{Batch, Deployment, read},
    arguments::{BootOrder, Console, DataSource, DeployArguments, ImageUsers, ReinstallArguments},
    client::Client,
    fault::Fault,
    output::{self, Output},
    wait::{self, Awaited},
};

/// The limit of the API, told before anything is sent.
const MAX_USER_DATA: u64 = 64 << 10;
const TRIES: u32 = 4;

pub async fn run(client: &Client, arguments: DeployArguments, output: &Output) -> Result<(), Fault> {
    let request = request(&arguments)?;
    if arguments.dry_run {
        return dry_run(client, &arguments.nodes, &request, output).await;
    }
    if arguments.at_once.is_some() || arguments.stop_after.is_some() {
        return as_batch(client, arguments, request, output).await;
    }
    let begin = async |node: &str| {
        let mut body = request.clone();
        body.insert("node".into(), node.into());
        post_once(client, &["v1", "deployments"], &body).await
    };
    let begun = begin_all(&arguments.nodes, "deployment", begin, output).await?;
    begun
        .finish(client, arguments.wait, arguments.timeout, output)
        .await
}

/// `imprint reinstall`: what is not said is as it was in the last installation.
pub async fn reinstall(client: &Client, arguments: ReinstallArguments, output: &Output) -> Result<(), Fault> {
    let mut request = Map::new();
    request.insert("reinstall".into(), true.into());
    let network = arguments.network.as_deref().map(text_file).transpose()?;
    let texts = [
        ("image", arguments.image),
        ("family", arguments.family),
        ("disk", arguments.disk),
        ("network_config", network),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            request.insert(key.into(), text.into());
        }
    }
    if let Some(path) = &arguments.user_data {
        put_user_data(&mut request, path)?;
    }
    let begin = async |node: &str| {
        let mut body = request.clone();
        body.insert("node".into(), node.into());
        post_once(client, &["v1", "deployments"], &body).await
    };
    let begun = begin_all(&arguments.nodes, "reinstallation", begin, output).await?;
    begun
        .finish(client, arguments.wait, arguments.timeout, output)
        .await
}

/// One request for all: the controller lets some run at a time.
async fn as_batch(
    client: &Client,
    arguments: DeployArguments,
    mut request: Map<String, Value>,
    output: &Output,
) -> Result<(), Fault> {
    request.insert("node".into(), "".into());
    let mut body = Map::new();
    body.insert("nodes".into(), arguments.nodes.into());
    body.insert("deployment".into(), request.into());
    body.insert("at_once".into(), arguments.at_once.into());
    body.insert("stop_after".into(), arguments.stop_after.into());
    let answer = post_once(client, &["v1", "batches"], &body).await?;
    let batch: Batch = read(&answer);
    for refused in &batch.refused {
        output::say(&format!(
            "{}: {} {}",
            refused.node, refused.detail, refused.remedy
        ));
    }
    let all_began = if batch.refused.is_empty() {
        Ok(())
    } else {
        Err(Fault::NotAllSucceeded)
    };
    if !arguments.wait {
        let id = batch.id;
        output.result(&answer, || {
            format!("batch {id} has begun; look at it with: imprint batch show {id}\n")
        })?;
        return all_began;
    }
    let mut awaited = Vec::with_capacity(batch.nodes.len());
    for node in batch.nodes {
        awaited.push(Awaited {
            label: node.node,
            deployment: client
                .get(&["v1", "deployments", &node.deployment_id], &[])
                .await?,
        });
    }
    wait::for_all(client, awaited, arguments.timeout, output)
        .await
        .and(all_began)
}

/// What was begun on several servers.
pub struct Begun {
    noun: &'static str,
    started: Vec<Awaited>,
    /// Some server was refused, which was told.
    incomplete: bool,
}

/// Begins the same on each server. What is refused is told; with one server it is the fault of the command.
pub async fn begin_all(
    nodes: &[String],
    noun: &'static str,
    begin: impl AsyncFn(&str) -> Result<Value, Fault>,
    output: &Output,
) -> Result<Begun, Fault> {
    let mut begun = Begun {
        noun,
        started: Vec::new(),
        incomplete: false,
    };
    for node in nodes {
        match begin(node).await {
            Ok(deployment) => begun.started.push(Awaited {
                label: node.clone(),
                deployment,
            }),
            // One server has one fault: it is the command's, without a headline for each.
            Err(fault) if nodes.len() == 1 => return Err(fault),
            Err(fault) => {
                begun.incomplete = true;
                let text = if output.is_json() {
                    format!("{}\n", fault.json())
                } else {
                    fault.text()
                };
                output::say(&format!("{node}: {text}"));
            }
        }
    }
    Ok(begun)
}

impl Begun {
    /// Waits for all, or says what has begun.
    pub async fn finish(
        self,
        client: &Client,
        wait: bool,
        timeout: Option<Duration>,
        output: &Output,
    ) -> Result<(), Fault> {
        let all_started = if self.incomplete {
            Err(Fault::NotAllSucceeded)
        } else {
            Ok(())
        };
        if wait {
            return wait::for_all(client, self.started, timeout, output)
                .await
                .and(all_started);
        }
        let noun = self.noun;
        let lines: String = self
            .started
            .iter()
            .map(|Awaited { label, deployment }| {
                let id = read::<Deployment>(deployment).id;
                format!("{label}  {noun} {id} has begun; follow it with: imprint watch {label}\n")
            })
            .collect();
        let created = self
            .started
            .into_iter()
            .map(|awaited| awaited.deployment)
            .collect();
        output.result(&Value::Array(created), || lines)?;
        all_started
    }
}

/// The plan for each server; nothing is begun.
async fn dry_run(
    client: &Client,
    nodes: &[String],
    request: &Map<String, Value>,
    output: &Output,
) -> Result<(), Fault> {
    let mut plans = Vec::new();
    for node in nodes {
        let mut body = request.clone();
        body.insert("node".into(), node.as_str().into());
        plans.push(client.post(&["v1", "deployments"], &body, None).await?);
    }
    let lines = plans.iter().map(plan::lines).collect::<Vec<_>>();
    output.result(&Value::Array(plans), || lines.join("\n"))
}

/// Everything of the request but the server.
fn request(arguments: &DeployArguments) -> Result<Map<String, Value>, Fault> {
    if arguments.nodes.len() > 1 && arguments.hostname.is_some() {
        return Err(Fault::local(
            "One host name for several servers",
            "--hostname can be given with one server only",
            "Leave it out: each server gets its own name.",
        ));
    }
    if arguments.nodes.len() > 1 && arguments.volume.is_some() {
        return Err(Fault::local(
            "One volume for several servers",
            "--volume can be given with one server only",
            "Deploy each server by itself, onto a volume of its own.",
        ));
    }
    let mut body = Map::new();
    let texts = [
        ("image", arguments.image.clone()),
        ("family", arguments.family.clone()),
        ("role", arguments.role.clone()),
        ("disk", arguments.disk.clone()),
        ("volume", arguments.volume.clone()),
        (
            "volume_kind",
            arguments.volume_kind.map(|kind| kind.as_str().into()),
        ),
        (
            "network_config",
            arguments.network.as_deref().map(text_file).transpose()?,
        ),
        ("hostname", arguments.hostname.clone()),
        (
            "boot_order",
            arguments.boot_order.map(|order| match order {
                BootOrder::NetworkFirst => "network-first".into(),
                BootOrder::DiskFirst => "disk-first".into(),
                BootOrder::NextBootOnly => "next-boot-only".into(),
            }),
        ),
        (
            "image_users",
            arguments.image_users.map(|policy| match policy {
                ImageUsers::Keep => "keep".into(),
                ImageUsers::RemoveKeys => "remove-keys".into(),
                ImageUsers::LockPasswords => "lock-passwords".into(),
                ImageUsers::RemoveAccess => "remove-access".into(),
            }),
        ),
        (
            "data_source",
            arguments.data_source.map(|source| match source {
                DataSource::Nocloud => "nocloud".into(),
                DataSource::ConfigDrive => "config-drive".into(),
            }),
        ),
        (
            "console",
            arguments.console.map(|console| match console {
                Console::None => "none".into(),
                Console::Firmware => "firmware".into(),
            }),
        ),
    ];
    for (key, text) in texts {
        if let Some(text) = text {
            body.insert(key.into(), text.into());
        }
    }
    if let Some(path) = &arguments.user_data {
        put_user_data(&mut body, path)?;
    }
    if !arguments.wipe.is_empty() {
        body.insert("wipe".into(), arguments.wipe.clone().into());
    }
    if arguments.keep_content {
        body.insert("keep_content".into(), true.into());
    }
    if arguments.dry_run {
        body.insert("dry_run".into(), true.into());
    }
    if arguments.fresh_uuids {
        body.insert("fresh_uuids".into(), true.into());
    }
    if !arguments.kernel_argument.is_empty() {
        body.insert(
            "kernel_arguments".into(),
            arguments.kernel_argument.clone().into(),
        );
    }
    if let Some(wanted) = arguments.seed_partition {
        body.insert("seed_partition".into(), wanted.into());
    }
    if arguments.no_finish {
        body.insert("finish".into(), false.into());
    }
    if arguments.reinstall {
        body.insert("reinstall".into(), true.into());
    }
    if arguments.allow_unverified {
        body.insert("allow_unverified".into(), true.into());
    }
    Ok(body)
}

/// As text, or in base64 where it is packed.
fn put_user_data(body: &mut Map<String, Value>, path: &Path) -> Result<(), Fault> {
    match String::from_utf8(small_file(path)?) {
        Ok(text) => body.insert("user_data".into(), text.into()),
        Err(packed) => {
            let text = STANDARD.encode(packed.as_bytes());
            body.insert("user_data_base64".into(), text.into())
        }
    };
    Ok(())
}

fn text_file(path: &Path) -> Result<String, Fault> {
    String::from_utf8(small_file(path)?).map_err(|error| {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidData, error);
        Fault::unreadable(path, &error)
    })
}

fn small_file(path: &Path) -> Result<Vec<u8>, Fault> {
    let unreadable = |error| Fault::unreadable(path, &error);
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_USER_DATA {
        return Err(Fault::local(
            format!("{} is too large", path.display()),
            format!("{size} bytes; at most {MAX_USER_DATA} are delivered"),
            "Shorten it, or let it fetch the rest from a server of yours.",
        ));
    }
    std::fs::read(path).map_err(unreadable)
}

/// With a key of its own, so that a repeated request cannot begin a second deployment, or batch.
async fn post_once(client: &Client, path: &[&str], body: &Map<String, Value>) -> Result<Value, Fault> {
    let key = Ulid::generate().to_string();
    let mut tries = 0;
    loop {
        tries += 1;
        match client.post(path, body, Some(&key)).await {
            // The first request tells a wrong address; only a request that may have arrived is worth a repetition.
            Err(fault) if fault.is_transient() && tries < TRIES => {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use serde_json::json;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn body(line: &[&str]) -> Result<Value, String> {
        let line = ["imprint", "deploy"].iter().chain(line);
        let Command::Deploy(arguments) = Arguments::try_parse_from(line).unwrap().command else {
            panic!("the line is a deploy")
        };
        request(&arguments)
            .map(Value::Object)
            .map_err(|fault| fault.text())
    }

    #[test]
    fn only_what_was_said_is_sent() {
        assert_eq!(body(&["n", "--image", "i"]), Ok(json!({"image": "i"})));
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("user.yaml");
        std::fs::write(&file, "#cloud-config\n").unwrap();
        let path = file.to_str().unwrap();
        let everything = [
            "n",
            "--image",
            "i",
            "--disk",
            "serial=X",
            "--user-data",
            path,
            "--network",
            path,
            "--hostname",
            "h",
            "--boot-order",
            "disk-first",
            "--image-users",
            "remove-access",
            "--data-source",
            "config-drive",
            "--fresh-uuids",
            "--kernel-argument",
            "quiet",
            "--console",
            "firmware",
            "--seed-partition",
            "--no-finish",
            "--reinstall",
            "--allow-unverified",
            "--wipe",
            "A",
            "--wipe",
            "B",
            "--dry-run",
        ];
        assert_eq!(
            body(&everything),
            Ok(
                json!({"image": "i", "disk": "serial=X", "user_data": "#cloud-config\n",
                "network_config": "#cloud-config\n", "hostname": "h", "boot_order": "disk-first",
                "image_users": "remove-access", "data_source": "config-drive", "fresh_uuids": true,
                "kernel_arguments": ["quiet"], "console": "firmware", "seed_partition": true, "finish": false, "reinstall": true, "allow_unverified": true,
                "wipe": ["A", "B"], "dry_run": true})
            )
        );
        assert!(
            body(&["a", "b", "--image", "i", "--hostname", "h"])
                .unwrap_err()
                .contains("one server only")
        );
        std::fs::write(&file, [0x1f, 0x8b, 8]).unwrap();
        assert_eq!(
            body(&["n", "--image", "i", "--user-data", path]),
            Ok(json!({"image": "i", "user_data_base64": "H4sI"}))
        );
        assert!(body(&["n", "--image", "i", "--network", path]).is_err());
        std::fs::write(&file, "x".repeat(65_537)).unwrap();
        assert!(
            body(&["n", "--image", "i", "--user-data", path])
                .unwrap_err()
                .contains("at most 65536")
        );
        assert!(
            body(&["n", "--image", "i", "--user-data", "/nowhere"])
                .unwrap_err()
                .contains("/nowhere")
        );
    }
}
