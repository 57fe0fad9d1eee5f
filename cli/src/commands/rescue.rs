//! `imprint rescue`: one request, and the wait until somebody can get in. The password is printed before that wait, so that
//! it is not lost when the wait is interrupted.

use std::{
    io::Read as _,
    path::Path,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};

use crate::{
    answer::{Deployment, read},
    arguments::RescueArguments,
    client::Client,
    fault::Fault,
    measure,
    output::{self, Output},
};

/// How often the controller is asked.
const ASK_APART: Duration = Duration::from_secs(2);
/// A controller that restarts is back by then.
const UNREACHABLE: Duration = Duration::from_secs(15 * 60);
/// More than any public key has.
const MAX_KEY_FILE: u64 = 16 << 10;

pub async fn run(client: &Client, arguments: RescueArguments, output: &Output) -> Result<(), Fault> {
    let node = arguments.node.as_str();
    if arguments.end {
        return end(client, &arguments, output).await;
    }
    let answer = if arguments.new_password {
        client
            .post(&["v1", "nodes", node, "rescue", "password"], &Map::new(), None)
            .await?
    } else {
        let mut body = Map::new();
        body.insert("ssh_keys".into(), keys(&arguments.ssh_key)?.into());
        if let Some(life) = arguments.life {
            body.insert("life_seconds".into(), life.as_secs().into());
        }
        client.post(&["v1", "nodes", node, "rescue"], &body, None).await?
    };
    if !output.is_json() {
        output.line(&Value::Null, || secret(&answer, node, output))?;
    }
    let (newest, waited) = if arguments.no_wait {
        (answer.clone(), Ok(()))
    } else {
        if access(&answer).is_none() && !output.is_json() {
            output::say(
                "Waiting until the server has booted the ramdisk; `imprint why` says what it does …\n",
            );
        }
        let done = |rescue: &Value| access(rescue).is_some();
        wait(client, &answer, arguments.timeout, done).await
    };
    let mut result = newest.clone();
    if let (Some(result), Some(password)) = (result.as_object_mut(), answer.get("password")) {
        result.insert("password".to_owned(), password.clone());
    }
    output.result(&result, || way_in(&newest))?;
    waited?;
    let rescue: Deployment = read(&newest);
    if rescue.state == "running" {
        return Ok(());
    }
    let problem = rescue.problem.unwrap_or_default();
    Err(Fault::local(
        format!("The rescue of {node} has ended ({})", rescue.state),
        problem.cause,
        format!(
            "{} `imprint events --node {node}` shows what has happened.",
            problem.remedy
        ),
    ))
}

async fn end(client: &Client, arguments: &RescueArguments, output: &Output) -> Result<(), Fault> {
    let node = arguments.node.as_str();
    let answer = client.delete(&["v1", "nodes", node, "rescue"]).await?;
    let (newest, waited) = if arguments.no_wait {
        (answer, Ok(()))
    } else {
        wait(client, &answer, arguments.timeout, |_| false).await
    };
    let rescue: Deployment = read(&newest);
    output.result(&newest, || match rescue.state.as_str() {
        "running" => format!("The rescue of {node} is to end; `imprint why {node}` says how far it is.\n"),
        "succeeded" => format!("The rescue of {node} has ended; the server restarts.\n"),
        "cancelled" => format!("The rescue of {node} was cancelled; the node is what it was before.\n"),
        _ => String::new(),
    })?;
    waited?;
    match (rescue.state.as_str(), rescue.problem) {
        ("failed", problem) => {
            let problem = problem.unwrap_or_default();
            Err(Fault::local(
                format!("The rescue of {node} has failed"),
                problem.cause,
                problem.remedy,
            ))
        }
        _ => Ok(()),
    }
}

/// The newest answer, when the rescue has ended or is `done`, or the wait is over.
async fn wait(
    client: &Client,
    begun: &Value,
    timeout: Option<Duration>,
    done: impl Fn(&Value) -> bool,
) -> (Value, Result<(), Fault>) {
    let id = read::<Deployment>(begun).id;
    let mut newest = begun.clone();
    let began = Instant::now();
    let mut heard = Instant::now();
    loop {
        if done(&newest) || read::<Deployment>(&newest).state != "running" {
            return (newest, Ok(()));
        }
        if timeout.is_some_and(|timeout| began.elapsed() >= timeout) {
            return (newest, Err(Fault::TimedOut));
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_APART) => {}
            _ = tokio::signal::ctrl_c() => return (newest, Err(Fault::Interrupted)),
        }
        match client.get(&["v1", "deployments", &id], &[]).await {
            Ok(answer) => {
                newest = answer;
                heard = Instant::now();
            }
            Err(fault) if fault.is_transient() && heard.elapsed() < UNREACHABLE => {}
            Err(fault) => return (newest, Err(fault)),
        }
    }
}

/// How to get in, as far as it is known.
fn access(rescue: &Value) -> Option<&Value> {
    rescue.get("rescue_access").filter(|access| !access.is_null())
}

fn secret(answer: &Value, node: &str, output: &Output) -> String {
    let password = answer["password"].as_str().unwrap_or_default();
    let until = answer["rescue_until"].as_str().and_then(|text| text.parse().ok());
    let until = until.map_or_else(String::new, |at| measure::time(at, &output.moment().zone));
    format!(
        "One-time password of root: {password}\n  It is shown once and good for one login; `imprint rescue {node} --new-password` makes \
         another.\nThe rescue ends by itself: {until}\n  Before that: imprint rescue {node} --end"
    )
}

fn way_in(rescue: &Value) -> String {
    let Some(access) = access(rescue) else {
        return String::new();
    };
    let addresses = access["addresses"].as_array().into_iter().flatten();
    let mut text: String = addresses
        .filter_map(Value::as_str)
        .map(|address| format!("ssh root@{address}\n"))
        .collect();
    if text.is_empty() {
        text.push_str("The server has no address that is known here; look at its console.\n");
    }
    let fingerprint = access["host_key_fingerprint"].as_str().unwrap_or_default();
    text.push_str(&format!("Host key (ED25519): {fingerprint}\n"));
    text
}

/// The keys of all files, a line each.
fn keys(files: &[impl AsRef<Path>]) -> Result<Vec<String>, Fault> {
    let mut keys = Vec::new();
    for path in files {
        let path = path.as_ref();
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(MAX_KEY_FILE).read_to_string(&mut text))
            .map_err(|error| Fault::unreadable(path, &error))?;
        if text.contains("PRIVATE KEY") {
            return Err(Fault::local(
                format!("{} is a private key", path.display()),
                "A private key must stay where it is.",
                format!("Name the public one, most likely {}.pub.", path.display()),
            ));
        }
        let lines = text.lines().map(str::trim);
        keys.extend(
            lines
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .map(str::to_owned),
        );
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_private_ones_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        std::fs::write(&path, "# mine\nssh-ed25519 AAAA me\n\n ssh-rsa BBBB\n").unwrap();
        assert_eq!(keys(&[&path, &path]).unwrap().len(), 4);
        assert_eq!(keys(&[&path]).unwrap()[0], "ssh-ed25519 AAAA me");
        std::fs::write(&path, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        let fault = keys(&[&path]).unwrap_err().text();
        assert!(fault.contains("id.pub"), "{fault}");
        assert!(keys(&[folder.path().join("none")]).is_err());
    }

    #[test]
    fn the_way_in_names_each_address_and_the_key() {
        let rescue = serde_json::json!({"rescue_access": {
            "addresses": ["10.0.0.5", "fd00::5"], "host_key_fingerprint": "SHA256:abc"}});
        assert_eq!(
            way_in(&rescue),
            "ssh root@10.0.0.5\nssh root@fd00::5\nHost key (ED25519): SHA256:abc\n"
        );
        assert_eq!(way_in(&serde_json::json!({"rescue_access": null})), "");
    }
}
