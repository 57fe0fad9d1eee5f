//! What the installed system says of itself, over ssh: one look gathers everything, since each costs seconds under emulation.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::wiring::Wiring;
use super::{LOOK, Row, form, kernel};
use crate::lab::Lab;
use crate::node::{Node, NodeSpec};
use crate::story::tell;

/// Run as root. The last stage of cloud-init and the look of the network's watch may still be under way when ssh answers.
const QUESTIONS: &str = r#"
section() { printf '\n=== %s\n' "$1"; }
for i in $(seq 200); do test -s /run/cloud-init/result.json && break; sleep 1; done
for i in $(seq 100); do systemctl list-jobs --no-legend | grep -q . || break; sleep 1; done
if test -s /etc/imprint/network.json; then
  for i in $(seq 150); do grep -q '"services"' /etc/imprint/network.json && break; sleep 1; done
fi
section hostname; hostname
section firmware; test -d /sys/firmware/efi && echo uefi || echo bios
section cloud-init; cloud-init status 2>&1
section result; cat /run/cloud-init/result.json
section failed; systemctl list-units --failed --no-legend --plain
section addresses; ip -json -details address
section routes; ip -json -4 route
section routes6; ip -json -6 route
section root; findmnt --bytes --noheadings --output FSTYPE,SIZE,SOURCE /
section mounted; findmnt --noheadings --raw --output TARGET
section fstab; findmnt --verify 2>&1; echo "exit $?"
section network; /opt/imprint/imprint-guest network status 2>&1; echo "exit $?"
section verify; /opt/imprint/imprint-guest verify 2>&1; echo "exit $?"
section host-keys; stat --format='%Y %n' /etc/ssh/ssh_host_*_key
section installed; stat --format=%Y /var/log/imprint-install.json
section machine-id; cat /etc/machine-id
section form; cat /etc/lab-form
section mark; test -e /run/lab-user-data && echo there
section secrets; grep -c report_token /etc/imprint/guest.json
section journal; journalctl --no-pager -b -p err -o cat | tail -20
true
"#;

/// Everything that every row has to show.
pub fn check(lab: &Lab, node: &Node, row: &Row, spec: &NodeSpec, address: &str) -> Result<()> {
    let command = format!("sudo sh -c '{}'", QUESTIONS.replace('\'', r"'\''"));
    let said = lab.key.run(address, &command, LOOK)?;
    let answers = Answers(sections(&said));
    tell("looked at from the inside");
    let problems: Vec<String> = [
        started(&answers, node, row),
        disk(&answers, row, spec),
        identity(&answers),
        plugin(&answers),
        kernel::check(
            row.wiring,
            &node.macs,
            answers.of("addresses"),
            &[answers.of("routes"), answers.of("routes6")],
        ),
    ]
    .into_iter()
    .filter_map(|looked| looked.err().map(|error| format!("{error:#}")))
    .collect();
    if !problems.is_empty() {
        bail!(
            "{}\n--- errors in the journal\n{}",
            problems.join("\n"),
            answers.of("journal")
        );
    }
    far_end(lab, row.wiring, address)
}

fn started(answers: &Answers, node: &Node, row: &Row) -> Result<()> {
    let hostname = answers.of("hostname");
    ensure!(hostname == node.name, "host name {hostname}");
    let firmware = row.firmware.boot_mode();
    ensure!(
        answers.of("firmware") == firmware,
        "booted by {}",
        answers.of("firmware")
    );
    let status = answers.of("cloud-init");
    ensure!(status.contains("status: done"), "cloud-init: {status}");
    let result: Value =
        serde_json::from_str(answers.of("result")).context("cloud-init's result is not JSON")?;
    let errors = result["v1"]["errors"].as_array();
    ensure!(errors.is_some_and(Vec::is_empty), "cloud-init: {result}");
    let failed = answers.of("failed");
    ensure!(failed.is_empty(), "failed units: {failed}");
    let proof = row.form.proof(&node.name);
    let found = answers.of("form");
    ensure!(found == proof, "{} has {found:?}, not {proof:?}", form::NAME_FILE);
    ensure!(answers.of("mark") == "there", "{} is not there", form::MARK);
    Ok(())
}

fn disk(answers: &Answers, row: &Row, spec: &NodeSpec) -> Result<()> {
    let root = answers.of("root");
    let mut words = root.split_whitespace();
    let kind = words.next().unwrap_or_default();
    ensure!(kind == row.root, "the root is {kind}");
    let bytes: u64 = words
        .next()
        .unwrap_or_default()
        .parse()
        .context("findmnt told no size")?;
    ensure!(
        bytes > (spec.disks[0].size_mib << 20) * 8 / 10,
        "the root was not grown: {bytes} bytes"
    );
    let mounted: Vec<&str> = answers.of("mounted").lines().collect();
    for place in row.mounted {
        ensure!(mounted.contains(place), "{place} is not mounted: {mounted:?}");
    }
    let fstab = answers.of("fstab");
    ensure!(fstab.ends_with("exit 0"), "fstab: {fstab}");
    Ok(())
}

fn identity(answers: &Answers) -> Result<()> {
    let installed: i64 = answers
        .of("installed")
        .parse()
        .context("no time of the installation")?;
    let keys: Vec<&str> = answers.of("host-keys").lines().collect();
    ensure!(!keys.is_empty(), "there are no host keys");
    for key in keys {
        let made = key
            .split_whitespace()
            .next()
            .and_then(|time| time.parse::<i64>().ok());
        ensure!(
            made.is_some_and(|made| made >= installed),
            "a host key is older than the installation: {key}"
        );
    }
    let id = answers.of("machine-id");
    ensure!(
        id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "machine-id {id:?}"
    );
    Ok(())
}

fn plugin(answers: &Answers) -> Result<()> {
    for name in ["network", "verify"] {
        let said = answers.of(name);
        ensure!(said.ends_with("exit 0"), "imprint-guest {name}: {said}");
    }
    ensure!(
        answers.of("secrets") == "0",
        "the report token is still in /etc/imprint/guest.json"
    );
    Ok(())
}

/// Packets of the full size to the far end of the VLAN, in both families, none of them in pieces.
fn far_end(lab: &Lab, wiring: Wiring, address: &str) -> Result<()> {
    if !wiring.has_vlan() {
        return Ok(());
    }
    // Not every Debian lets users ping.
    let ping = |head: u32, to: &str| {
        let size = wiring.mtu() - head - 8;
        format!("sudo ping -n -q -c 3 -i 0.3 -W 5 -M do -s {size} {to}")
    };
    let command = format!(
        "{} && {}",
        ping(20, &crate::far_end::ADDRESS.to_string()),
        ping(40, &crate::far_end::ADDRESS6.to_string())
    );
    let said = lab
        .key
        .run(address, &command, LOOK)
        .context("the far end of the VLAN")?;
    let answered = said.matches(" 0% packet loss").count();
    ensure!(answered == 2, "the far end of the VLAN: {said}");
    tell("packets of 9000 bytes come back from the VLAN, IPv4 and IPv6");
    Ok(())
}

struct Answers(BTreeMap<String, String>);

impl Answers {
    fn of(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

fn sections(text: &str) -> BTreeMap<String, String> {
    text.split("\n=== ")
        .skip(1)
        .filter_map(|part| part.split_once('\n'))
        .map(|(name, body)| (name.trim().to_owned(), body.trim().to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let answers = Answers(sections(
            "noise\n=== failed\n\n=== fstab\nfine\nexit 0\n\n=== form\ngzip",
        ));
        assert_eq!(answers.of("failed"), "");
        assert_eq!(answers.of("fstab"), "fine\nexit 0");
        assert_eq!(answers.of("form"), "gzip");
        assert_eq!(answers.of("missing"), "");
    }
}
