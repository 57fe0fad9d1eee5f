//! Rescues: somebody works in the ramdisk of a node, by ssh, until he says that he is done or the time is over.
//!
//! The password is made here and told once. Its hash is kept with the rescue, as long as it may still let somebody in: not
//! after it has, not after a restart of the server in mid-rescue, and not after the end.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use imprint_proto::agent::v1 as wire;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Deployments,
    advance::{message, tell},
    decide::Agent,
    error::DeployError,
    intake::clip,
    record::{Deployment, running_of},
    state::{Phase, Purpose},
    taken::{Former, Terms},
};
use crate::{
    api::rest::problem::Problem,
    boot::RESCUE_IMAGE,
    events::{Change, DatabaseError, doing},
    identity::{Caller, PasswordError, new_password, sha512_crypt},
    inventory::Node,
};

/// Seconds until a rescue ends by itself when nobody says otherwise.
const DEFAULT_LIFE: u32 = 4 * 3600;
const MIN_LIFE: u32 = 300;
const MAX_LIFE: u32 = 7 * 24 * 3600;
const MAX_KEYS: usize = 16;
/// Bytes of a key: RSA of 8192 bits has less.
const MAX_KEY: usize = 2048;
/// Kinds of keys that the ssh server of the ramdisk knows.
const KEY_KINDS: [&str; 7] = [
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
];
const MAX_ADDRESSES: usize = 32;

/// A rescue that is asked for.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescueRequest {
    /// Public keys that are let in besides the one-time password, and more than once; each a line of `authorized_keys`
    /// without options. At most 16.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// After which it ends by itself: 300 to 604800, 14400 (4 hours) when it is left out.
    #[serde(default)]
    pub life_seconds: Option<u32>,
}

/// How to get in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RescueAccess {
    /// Where the ssh server listens; the address that reaches the controller comes first.
    pub addresses: Vec<String>,
    /// The server's key of this boot: `ssh-ed25519 AAAA…`.
    pub host_key: String,
    /// Its fingerprint as ssh shows it: `SHA256:…`.
    pub host_key_fingerprint: String,
    /// The newest one-time password is good no more: it has let somebody in, or was guessed at too often.
    pub password_used: bool,
}

/// What a rescue was asked for, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RescueTerms {
    /// What the password of its ssh session is compared with: `crypt` of SHA-512, `$6$…`. Empty: none is good any more.
    pub password_hash: String,
    /// Counts the passwords, from 1.
    #[serde(default)]
    pub password_number: u32,
    /// Public keys that are let in as well, as in `authorized_keys`.
    pub ssh_keys: Vec<String>,
    /// When it ends by itself.
    pub until: Timestamp,
    /// Set as long as the ssh server listens.
    #[serde(default)]
    pub access: Option<RescueAccess>,
    /// The node before.
    pub former: Former,
}

impl RescueTerms {
    /// As the agent is told it.
    pub(super) fn task(&self, rescue_id: &str, now: Timestamp) -> wire::RescueTask {
        let left = self.until.duration_since(now).as_secs();
        wire::RescueTask {
            rescue_id: rescue_id.to_owned(),
            password_hash: self.password_hash.clone(),
            password_number: self.password_number,
            ssh_keys: self.ssh_keys.clone(),
            until: Some(prost_types::Timestamp {
                seconds: self.until.as_second(),
                nanos: self.until.subsec_nanosecond(),
            }),
            remaining_seconds: u32::try_from(left.max(0)).unwrap_or(u32::MAX),
        }
    }
}

/// A rescue, and the password that was made for it.
#[derive(Debug)]
pub struct Rescue {
    /// As it is kept.
    pub deployment: Deployment,
    /// Good for one login as root; told here and nowhere else.
    pub password: OneTimePassword,
}

/// A secret that shows nothing of itself.
pub struct OneTimePassword(pub Zeroizing<String>);

impl std::fmt::Debug for OneTimePassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

impl Deployments {
    /// Takes a node so that somebody can work in its ramdisk.
    pub async fn begin_rescue(
        &self,
        by: &Caller,
        wanted: &str,
        request: &RescueRequest,
    ) -> Result<Rescue, DeployError> {
        let ssh_keys = keys(&request.ssh_keys).map_err(DeployError::BadTerms)?;
        let life = request.life_seconds.unwrap_or(DEFAULT_LIFE);
        if !(MIN_LIFE..=MAX_LIFE).contains(&life) {
            return Err(DeployError::BadTerms(format!(
                "a rescue of {life} seconds cannot be had, it lasts {MIN_LIFE} (5 minutes) to {MAX_LIFE} (7 days)"
            )));
        }
        // Who may not see the node learns nothing of the ramdisk either.
        self.nodes.find(&by.viewer(), wanted).await?;
        let image = self.ramdisk_dir.join(RESCUE_IMAGE);
        if let Err(error) = tokio::fs::metadata(&image).await {
            tracing::error!(path = %image.display(), %error, "the initrd of rescues is not there");
            return Err(DeployError::Fault(Box::new(not_built())));
        }
        let (password, hash) = password()?;
        let until = self.clock.now() + SignedDuration::from_secs(i64::from(life));
        let terms = |node: &Node| {
            Terms::Rescue(RescueTerms {
                password_hash: hash.to_string(),
                password_number: 1,
                ssh_keys,
                until,
                access: None,
                former: Former::of(node),
            })
        };
        let deployment = self.take_node(by, wanted, Purpose::Rescue, terms).await?;
        Ok(Rescue { deployment, password })
    }

    /// Makes another password for a rescue that runs; the former one is good no more.
    pub async fn new_rescue_password(&self, by: &Caller, wanted: &str) -> Result<Rescue, DeployError> {
        let (password, hash) = password()?;
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let mut change = self.events.begin_by(by.author()).await?;
        let running = running_of(change.connection(), &node.id).await?;
        let Some(mut deployment) = running.filter(|it| it.cancel_requested_at.is_none()) else {
            return Err(DeployError::NotRescued(node.name));
        };
        let Some(Terms::Rescue(terms)) = &mut deployment.terms else {
            return Err(DeployError::NotRescued(node.name));
        };
        terms.password_hash = hash.to_string();
        terms.password_number = terms.password_number.saturating_add(1);
        let number = terms.password_number;
        if let Some(access) = &mut terms.access {
            access.password_used = false;
        }
        self.keep_terms(&mut change, &deployment).await?;
        let text = format!(
            "{} asked for a new password for the rescue of {}.",
            by.name, node.name
        );
        tell(
            &mut change,
            &deployment,
            "node.rescue.password",
            text,
            json!({ "number": number }),
        )
        .await?;
        change.commit().await?;
        let has_task = matches!(
            self.hub.agent(&deployment.node_id, &deployment.task_id),
            Agent::Connected {
                busy: false,
                task_sent: true,
                cancel_sent: false
            }
        );
        // An agent that is away is told when it calls.
        if has_task && deployment.phase == Phase::AgentWorks {
            let task = self.task_of(&deployment, "").await?;
            self.hub.send(
                &deployment.node_id,
                message(wire::controller_message::Message::Task(task)),
            );
        }
        let deployment = self.read(&deployment.id).await?;
        Ok(Rescue { deployment, password })
    }

    /// Ends the rescue of a node.
    pub async fn end_rescue(&self, by: &Caller, wanted: &str) -> Result<Deployment, DeployError> {
        let node = self.nodes.find(&by.viewer(), wanted).await?;
        let mut connection = self.db.acquire().await.map_err(doing("look for the rescue"))?;
        let running = running_of(&mut connection, &node.id).await?;
        drop(connection);
        match running.filter(|it| it.purpose == Purpose::Rescue) {
            Some(deployment) => self.cancel(by, &deployment.id).await,
            None => Err(DeployError::NotRescued(node.name)),
        }
    }

    /// The agent has said how to get in, or that somebody is in.
    pub(super) async fn note_access(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
        report: &wire::RescueReport,
    ) -> Result<(), DeployError> {
        let Some(Terms::Rescue(terms)) = &mut deployment.terms else {
            return Ok(());
        };
        let before = terms.clone();
        let addresses = report.addresses.iter().take(MAX_ADDRESSES);
        let used = report.password_used >= terms.password_number;
        terms.access = Some(RescueAccess {
            addresses: addresses
                .filter_map(|address| address.parse::<IpAddr>().ok())
                .map(|address| address.to_string())
                .collect(),
            host_key: clip(&report.host_key),
            host_key_fingerprint: clip(&report.host_key_fingerprint),
            password_used: used,
        });
        if used {
            terms.password_hash.clear();
        }
        if before != *terms {
            self.keep_terms(change, deployment).await?;
        }
        Ok(())
    }

    /// The server was restarted in mid-rescue: its next ramdisk has another host key, and a password that may have been used
    /// must not let anybody in again.
    pub(super) async fn forget_access(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
    ) -> Result<(), DeployError> {
        let Some(Terms::Rescue(terms)) = &mut deployment.terms else {
            return Ok(());
        };
        if terms.access.take().is_none() {
            return Ok(());
        }
        terms.password_hash.clear();
        self.keep_terms(change, deployment).await?;
        let text =
            "The server was restarted in mid-rescue: its host key changes, and the one-time password is good no more; another \
             one can be asked for (imprint rescue NODE --new-password)."
                .to_owned();
        tell(change, deployment, "node.rescue.restarted", text, json!({})).await?;
        Ok(())
    }

    /// Nobody gets in any more: nothing of the password is kept.
    pub(super) async fn forget_password(
        &self,
        change: &mut Change,
        deployment: &mut Deployment,
    ) -> Result<(), DeployError> {
        let Some(Terms::Rescue(terms)) = &mut deployment.terms else {
            return Ok(());
        };
        terms.password_hash.clear();
        terms.access = None;
        Ok(self.keep_terms(change, deployment).await?)
    }

    async fn keep_terms(&self, change: &mut Change, deployment: &Deployment) -> Result<(), DatabaseError> {
        // What stood there before may be a hash: it goes from the database's log, too.
        self.unscrubbed.store(true, std::sync::atomic::Ordering::SeqCst);
        sqlx::query("UPDATE deployments SET terms = ? WHERE id = ?")
            .bind(deployment.terms.as_ref().map(|terms| json!(terms).to_string()))
            .bind(&deployment.id)
            .execute(change.connection())
            .await
            .map_err(doing("keep what a rescue is"))?;
        Ok(())
    }
}

/// A password and its hash.
fn password() -> Result<(OneTimePassword, Zeroizing<String>), DeployError> {
    let no_random = |error: PasswordError| DeployError::Fault(Box::new(Problem::internal(&error)));
    let password = new_password().map_err(no_random)?;
    let hash = sha512_crypt(&password).map_err(no_random)?;
    Ok((OneTimePassword(password), hash))
}

fn not_built() -> Problem {
    Problem::new(
        StatusCode::CONFLICT,
        "rescue-not-built",
        "The controller has no ramdisk for rescues",
        format!("There is no {RESCUE_IMAGE} in the folder of the ramdisk (boot.ramdisk_dir)."),
        "Build the ramdisk again (`cargo xtask ramdisk`) and install vmlinuz, initrd.img and rescue.img together.",
    )
}

/// The keys as the agent gets them: kind and key alone.
fn keys(lines: &[String]) -> Result<Vec<String>, String> {
    if lines.len() > MAX_KEYS {
        return Err(format!(
            "{} ssh keys are given, at most {MAX_KEYS} are taken",
            lines.len()
        ));
    }
    lines.iter().zip(1..).map(|(line, n)| key(line, n)).collect()
}

fn key(line: &str, n: usize) -> Result<String, String> {
    let wrong =
        |why: &str| format!("ssh key {n} {why}; give a line as in ~/.ssh/id_ed25519.pub, without options");
    if line.contains("PRIVATE KEY") {
        return Err(wrong("is a private key, which must stay where it is"));
    }
    let mut words = line.split_whitespace();
    let (Some(kind), Some(text)) = (words.next(), words.next()) else {
        return Err(wrong("has no kind and key"));
    };
    if !KEY_KINDS.contains(&kind) {
        let kinds = KEY_KINDS.join(", ");
        return Err(wrong(&format!(
            "is of a kind that the ramdisk's ssh server does not know ({kinds})"
        )));
    }
    if text.len() > MAX_KEY {
        return Err(wrong(&format!(
            "has {} characters, at most {MAX_KEY} are taken",
            text.len()
        )));
    }
    let bytes = STANDARD.decode(text).map_err(|_| wrong("is no base64"))?;
    // The key says itself what kind it is: 4 bytes of length, then the word.
    let own = bytes
        .split_first_chunk::<4>()
        .and_then(|(length, rest)| rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?));
    if own != Some(kind.as_bytes()) {
        return Err(wrong("is damaged: it is not of the kind that its line says"));
    }
    Ok(format!("{kind} {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHSmuXoqzBQvQsXHAVxJ5S1n8v1NGVRrEjEwR2Q5P7Vk";

    #[test]
    fn keys_are_taken_without_what_stands_beside_them() {
        let lines = [format!("{GOOD} me@home"), format!("  {GOOD}\n")];
        assert_eq!(keys(&lines).unwrap(), [GOOD, GOOD]);
        for (bad, why) in [
            ("", "no kind"),
            ("ssh-ed25519", "no kind"),
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", "private key"),
            ("command=\"sh\" ssh-ed25519 AAAA", "does not know"),
            ("ssh-dss AAAA", "does not know"),
            ("ssh-ed25519 %%%", "no base64"),
            ("ssh-ed25519 AAAA", "damaged"),
            (&GOOD.replace("ssh-ed25519", "ssh-rsa"), "damaged"),
            (&format!("ssh-rsa {}", "A".repeat(4000)), "at most"),
        ] {
            let error = keys(&[bad.to_owned()]).unwrap_err();
            assert!(
                error.contains(why) && error.contains("ssh key 1"),
                "{bad}: {error}"
            );
        }
        assert!(
            keys(&vec![GOOD.to_owned(); 17])
                .unwrap_err()
                .contains("at most 16")
        );
    }
}
