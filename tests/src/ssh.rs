//! The proof that an installed system is one: a log-in over ssh with the key that went in through cloud-init.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{interrupt, process};

/// The user that the lab's user-data makes.
pub const USER: &str = "lab";

/// A key pair for one run.
#[derive(Debug, Clone)]
pub struct SshKey {
    path: PathBuf,
    /// The line for authorized_keys.
    pub public: String,
}

impl SshKey {
    /// Makes a key pair.
    pub fn generate(folder: &Path) -> Result<Self> {
        let path = folder.join("id_lab");
        let mut keygen = Command::new("ssh-keygen");
        keygen
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "imprint-lab", "-f"])
            .arg(&path);
        process::run(&mut keygen, Duration::from_secs(10))?;
        let public = fs::read_to_string(path.with_extension("pub")).context("ssh-keygen made no key")?;
        Ok(Self {
            path,
            public: public.trim().to_owned(),
        })
    }

    /// cloud-config that makes the lab's user with this key and leaves a mark that user-data was used.
    pub fn user_data(&self) -> String {
        format!(
            "#cloud-config\nusers:\n  - name: {USER}\n    sudo: ALL=(ALL) NOPASSWD:ALL\n    shell: /bin/bash\n    \
             ssh_authorized_keys:\n      - {}\nruncmd:\n  - [touch, /run/lab-user-data]\n",
            self.public
        )
    }

    /// The command that logs in, for people.
    pub fn command_line(&self, address: &str) -> Vec<String> {
        let mut line = vec!["ssh".to_owned(), "-i".to_owned(), self.path.display().to_string()];
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        ] {
            line.extend(["-o".to_owned(), option.to_owned()]);
        }
        line.push(format!("{USER}@{address}"));
        line
    }

    /// Runs a command in the installed system as soon as sshd lets us in.
    pub fn run(&self, address: &str, command: &str, patience: Duration) -> Result<String> {
        let line = self.command_line(address);
        let mut last = String::new();
        let ran = interrupt::until(&format!("ssh to {address}"), patience, || {
            let mut ssh = Command::new(&line[0]);
            ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=5"])
                .args(&line[1..])
                .arg(command);
            let answer = process::ask(&mut ssh, patience.max(Duration::from_secs(60)))?;
            if answer.success {
                return Ok(Some(answer.out));
            }
            last = answer.err;
            // 255 is ssh's own: not connected or not let in yet.
            if answer.code != Some(255) {
                anyhow::bail!("`{command}` failed in the installed system: {}", last.trim());
            }
            interrupt::pause(Duration::from_millis(500))?;
            Ok(None)
        });
        ran.with_context(|| format!("ssh said: {}", last.trim()))
    }
}
