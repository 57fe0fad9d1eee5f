//! `imprint volume …`

use serde_json::{Map, Value, json};

use crate::{
    arguments::{NewVolume, VolumeCommand},
    client::Client,
    fault::Fault,
    output::{self, Output},
    table,
};

pub async fn run(client: &Client, command: VolumeCommand, output: &Output) -> Result<(), Fault> {
    match command {
        VolumeCommand::List => {
            let volumes = client.list(&["v1", "volumes"], &[]).await?;
            let rows = volumes.clone();
            output.result(&Value::Array(volumes), || {
                output::render(&mut table::volumes(&rows))
            })
        }
        VolumeCommand::Show { volume } => show(&client.get(&["v1", "volumes", &volume], &[]).await?, output),
        VolumeCommand::Create { new } => {
            show(&client.post(&["v1", "volumes"], &body(*new), None).await?, output)
        }
        VolumeCommand::Attach {
            volume,
            node,
            kind,
            function,
        } => {
            let mut body = Map::new();
            body.insert("node".into(), node.into());
            body.insert("kind".into(), kind.as_str().into());
            if let Some(number) = function {
                body.insert("function".into(), json!({ "physical": number }));
            }
            let path = ["v1", "volumes", volume.as_str(), "attach"];
            show(&client.post(&path, &body, None).await?, output)
        }
        VolumeCommand::Detach {
            volume,
            force,
            abandon,
        } => {
            let path = ["v1", "volumes", volume.as_str(), "detach"];
            let body = Map::from_iter([
                ("force".to_owned(), force.into()),
                ("abandon".to_owned(), abandon.into()),
            ]);
            show(&client.post(&path, &body, None).await?, output)
        }
        VolumeCommand::Delete { volume } => {
            let deleted = client.delete(&["v1", "volumes", &volume]).await?;
            output.result(&deleted, || {
                let name = deleted["name"].as_str().unwrap_or(&volume);
                let what = if deleted["backend"].is_null() {
                    "forgotten"
                } else {
                    "deleted"
                };
                format!("{name} was {what}\n")
            })
        }
        VolumeCommand::Orphans => {
            let orphans = client.get(&["v1", "volumes", "orphans"], &[]).await?;
            output.result(&orphans, || table::orphans(&orphans))
        }
    }
}

/// None: the controller makes the volume.
fn backing(new: &NewVolume) -> Option<Value> {
    match (&new.subsystem, &new.card_name, &new.serial, &new.wwn) {
        (Some(subsystem), ..) => Some(json!({
            "type": "nvme-tcp", "subsystem": subsystem, "namespace": new.namespace, "addresses": new.address,
        })),
        (None, Some(name), ..) => Some(json!({ "type": "named", "name": name })),
        (None, None, None, None) => None,
        (None, None, serial, wwn) => Some(json!({ "type": "static", "serial": serial, "wwn": wwn })),
    }
}

fn body(new: NewVolume) -> Map<String, Value> {
    let backing = backing(&new);
    let mut body = Map::new();
    body.insert("name".into(), new.name.into());
    let texts = [("from_image", new.from_image), ("role", new.role)];
    for (key, text) in texts {
        if let Some(text) = text {
            body.insert(key.into(), text.into());
        }
    }
    if let Some(bytes) = new.size {
        body.insert("size_bytes".into(), bytes.into());
    }
    if let Some(backing) = backing {
        body.insert("backing".into(), backing);
    }
    let limits = json!({ "kiops": new.kiops, "mb_per_s": new.mb_per_s });
    body.insert("limits".into(), limits);
    if let Some(project) = new.project {
        body.insert("project".into(), project.into());
    }
    body
}

fn show(volume: &Value, output: &Output) -> Result<(), Fault> {
    output.result(volume, || table::volume(volume).render())
}
