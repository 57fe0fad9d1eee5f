//! The operator's hands and eyes: the real `imprint` binary for what an operator does, plain REST for the questions
//! that a test asks several times a second.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::controller::Controller;
use crate::process::{self, Answer, Service};

/// An operator with the admin's token.
#[derive(Debug, Clone)]
pub struct Cli {
    binary: PathBuf,
    folder: PathBuf,
    url: String,
    token: String,
    ca: PathBuf,
    header: PathBuf,
    token_file: PathBuf,
}

/// What is to be deployed.
#[derive(Debug, Clone, Default)]
pub struct Order {
    /// Id or name of the image; empty: the one that is on the volume.
    pub image: String,
    /// Rule for the disk; none: the only one.
    pub disk: Option<String>,
    /// Volume of the node's SDI card that it goes to, by id or name; none: a disk.
    pub volume: Option<String>,
    /// What the server is to take the volume for, as the CLI spells it; none: what that takes by itself.
    pub volume_kind: Option<&'static str>,
    /// Whether the system on the volume stays.
    pub keep_content: bool,
    /// cloud-init user-data.
    pub user_data: Option<String>,
}

impl Order {
    /// Its part of the arguments of `imprint deploy` that needs no files.
    fn arguments(&self) -> Vec<String> {
        let volume_kind = self.volume_kind.map(str::to_owned);
        let image = Some(self.image.clone()).filter(|image| !image.is_empty());
        let mut arguments = Vec::new();
        for (name, value) in [
            ("--image", image),
            ("--disk", self.disk.clone()),
            ("--volume", self.volume.clone()),
            ("--volume-kind", volume_kind),
        ] {
            if let Some(value) = value {
                arguments.extend([name.to_owned(), value]);
            }
        }
        if self.keep_content {
            arguments.push("--keep-content".to_owned());
        }
        arguments
    }
}

impl Cli {
    /// An operator of this controller. `folder` keeps the files that the operator passes.
    pub fn new(binary: &Path, controller: &Controller, folder: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            url: controller.url(),
            token: controller.token().to_owned(),
            ca: controller.ca_path(),
            header: controller.header_path(),
            token_file: controller.token_path(),
        }
    }

    /// The command with the environment that points it at the controller.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.envs(self.environment());
        command
    }

    /// That environment.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        [
            ("IMPRINT_URL", self.url.clone()),
            ("IMPRINT_TOKEN", self.token.clone()),
            ("IMPRINT_CA", self.ca.display().to_string()),
        ]
    }

    /// That environment with the token in a file instead, to be shown on a screen.
    pub fn environment_without_secret(&self) -> [(&'static str, String); 3] {
        let [url, _, ca] = self.environment();
        [
            url,
            ("IMPRINT_TOKEN_FILE", self.token_file.display().to_string()),
            ca,
        ]
    }

    /// Runs a command, whatever comes of it.
    pub fn ask(&self, arguments: &[&str]) -> Result<Answer> {
        process::ask(self.command().args(arguments), Duration::from_secs(300))
    }

    /// Runs a command that must succeed, and answers its JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let answer = self.ask(&[arguments, &["--output", "json"]].concat())?;
        if !answer.success {
            bail!("imprint {} failed: {}", arguments.join(" "), answer.err.trim());
        }
        let json = serde_json::from_str(&answer.out);
        json.with_context(|| format!("imprint {} printed no JSON: {}", arguments.join(" "), answer.out))
    }

    /// Imports an image file.
    pub fn import(&self, file: &Path, name: &str) -> Result<Value> {
        let file = file.to_str().context("a path that is not text")?;
        self.json(&["image", "import", file, "--name", name])
    }

    /// Takes a discovered node into service.
    pub fn approve(&self, node: &str, name: &str) -> Result<Value> {
        self.json(&["node", "approve", node, "--name", name])
    }

    /// Arguments of `imprint deploy`; the files it needs are written.
    pub fn deploy_arguments(&self, nodes: &[&str], order: &Order) -> Result<Vec<String>> {
        let mut arguments = vec!["deploy".to_owned()];
        arguments.extend(nodes.iter().map(|node| (*node).to_owned()));
        arguments.extend(order.arguments());
        if let Some(text) = &order.user_data {
            let file = self.folder.join("user-data.yaml");
            fs::write(&file, text).context("cannot write the user-data")?;
            arguments.extend(["--user-data".to_owned(), file.display().to_string()]);
        }
        Ok(arguments)
    }

    /// Starts a deployment and answers it.
    pub fn deploy(&self, node: &str, order: &Order) -> Result<Value> {
        let arguments = self.deploy_arguments(&[node], order)?;
        let started = self.json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())?;
        // One order may start several deployments; here it is one.
        Ok(match started {
            Value::Array(mut list) if list.len() == 1 => list.remove(0),
            other => other,
        })
    }

    /// Passes on what a serial port writes into a file, from its beginning and as it comes, until the answer is dropped.
    pub fn pass_console(&self, node: &str, serial: &Path) -> Result<[Service; 2]> {
        let (read, written) = std::io::pipe().context("cannot make a pipe")?;
        let mut tail = Command::new("tail");
        tail.args(["-c", "+1", "-F"]).arg(serial);
        let tail = Service::writing("tail", &mut tail, written, &self.folder.join("tail.log"))?;
        let mut pass = self.command();
        pass.args(["node", "console", node]).stdin(read);
        let pass = Service::start(
            "imprint node console",
            &mut pass,
            &self.folder.join("console.log"),
        )?;
        Ok([tail, pass])
    }

    /// What the controller says about a node's waiting, in the operator's words.
    pub fn why(&self, node: &str) -> String {
        match self.ask(&["why", node]) {
            Ok(answer) if answer.success => answer.out,
            Ok(answer) => answer.err,
            Err(error) => format!("{error:#}"),
        }
    }

    /// GET below /v1; none when there is no such thing.
    pub fn find(&self, path: &str) -> Result<Option<Value>> {
        let mut command = self.curl(path);
        let answer = process::ask(
            command.args(["--write-out", "\n%{http_code}"]),
            Duration::from_secs(30),
        )?;
        if !answer.success {
            bail!("GET {path}: {}", answer.err.trim());
        }
        let (body, status) = answer.out.rsplit_once('\n').context("curl printed no status")?;
        match status.trim() {
            "404" => Ok(None),
            "200" => serde_json::from_str(body)
                .map(Some)
                .with_context(|| format!("GET {path} answered no JSON: {body}")),
            other => bail!("GET {path} answered {other}: {body}"),
        }
    }

    /// GET below /v1.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.find(path)?.with_context(|| format!("there is no {path}"))
    }

    fn curl(&self, path: &str) -> Command {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(&self.ca);
        command
            .arg("--header")
            .arg(format!("@{}", self.header.display()))
            .arg(format!("{}/v1/{path}", self.url));
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_says_only_what_is_wanted() {
        let said = |order: Order| order.arguments().join(" ");
        let streamed = Order {
            image: "debian-12".to_owned(),
            ..Order::default()
        };
        assert_eq!(said(streamed.clone()), "--image debian-12");
        let onto = |image: &str| Order {
            image: image.to_owned(),
            volume: Some("boot".to_owned()),
            ..Order::default()
        };
        assert_eq!(
            said(Order {
                volume_kind: Some("nvme"),
                ..onto("debian-12")
            }),
            "--image debian-12 --volume boot --volume-kind nvme"
        );
        assert_eq!(said(onto("")), "--volume boot");
        assert_eq!(
            said(Order {
                keep_content: true,
                ..onto("")
            }),
            "--volume boot --keep-content"
        );
        assert_eq!(
            said(Order {
                disk: Some("serial=A".to_owned()),
                ..streamed
            }),
            "--image debian-12 --disk serial=A"
        );
    }
}
