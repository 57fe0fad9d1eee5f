//! What the kernel of the installed system says of its network, held against what was given.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::wiring::{Kind, Wanted, Wiring};

/// Looks at the answers of `ip -json`: `-details address` and `route`, both families.
pub fn check(wiring: Wiring, macs: &[String], addresses: &str, routes: &[&str]) -> Result<()> {
    let links = list(addresses)?;
    let mut before = None;
    for wanted in wiring.wanted() {
        let link = find(&links, wanted.address)?;
        let name = link["ifname"].as_str().unwrap_or_default();
        check_link(link, &wanted, &links, macs, before)
            .with_context(|| format!("interface {name} with {}", wanted.address))?;
        before = link["ifname"].as_str();
    }
    let mut all = Vec::new();
    for text in routes {
        all.extend(list(text)?);
    }
    for (to, via) in wiring.routes() {
        let there = all
            .iter()
            .any(|route| route["dst"] == to && route["gateway"] == via);
        ensure!(there, "there is no route to {to} by {via}: {}", routes.join(" "));
    }
    Ok(())
}

fn check_link(
    link: &Value,
    wanted: &Wanted,
    links: &[Value],
    macs: &[String],
    before: Option<&str>,
) -> Result<()> {
    if let Some(name) = wanted.name {
        ensure!(link["ifname"] == name, "it is not called {name}");
    }
    ensure!(link["mtu"] == wanted.mtu, "MTU {}", link["mtu"]);
    ensure!(
        has(link, wanted.address6),
        "it has no {}: {}",
        wanted.address6,
        link["addr_info"]
    );
    let kind = &link["linkinfo"];
    match wanted.kind {
        Kind::Card => ensure!(kind["info_kind"].is_null(), "it is a {}", kind["info_kind"]),
        Kind::Vlan(id) => {
            ensure!(kind["info_kind"] == "vlan", "it is a {}", kind["info_kind"]);
            ensure!(kind["info_data"]["id"] == id, "VLAN {}", kind["info_data"]["id"]);
            ensure!(link["link"].as_str() == before, "it is on {}", link["link"]);
        }
        Kind::Bond(mode) => {
            ensure!(kind["info_kind"] == "bond", "it is a {}", kind["info_kind"]);
            ensure!(
                kind["info_data"]["mode"] == mode,
                "mode {}",
                kind["info_data"]["mode"]
            );
            let mut members: Vec<&str> = links
                .iter()
                .filter(|member| member["master"] == link["ifname"])
                // Members carry the bond's address; their own is told when it is another.
                .filter_map(|member| member["permaddr"].as_str().or(member["address"].as_str()))
                .collect();
            members.sort_unstable();
            ensure!(members == macs, "its members are {members:?}");
        }
    }
    Ok(())
}

fn list(text: &str) -> Result<Vec<Value>> {
    // ip prints nothing at all where there is nothing.
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).with_context(|| format!("ip printed no JSON: {text}"))
}

fn find<'a>(links: &'a [Value], address: &str) -> Result<&'a Value> {
    match links.iter().find(|link| has(link, address)) {
        Some(link) => Ok(link),
        None => {
            let all: Vec<String> = links
                .iter()
                .map(|link| format!("{}: {}", link["ifname"], link["addr_info"]))
                .collect();
            bail!("no interface has {address}: {}", all.join("; "))
        }
    }
}

fn has(link: &Value, address: &str) -> bool {
    let addresses = link["addr_info"].as_array();
    addresses.is_some_and(|all| all.iter().any(|one| one["local"] == address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(mode: &str, second: &str) -> String {
        serde_json::json!([
            { "ifname": "nic0", "mtu": 9000, "address": "52:54:00:77:00:10", "master": "bond0", "addr_info": [] },
            { "ifname": "nic1", "mtu": 9000, "address": "52:54:00:77:00:10", "permaddr": second, "master": "bond0", "addr_info": [] },
            { "ifname": "bond0", "mtu": 9000, "linkinfo": { "info_kind": "bond", "info_data": { "mode": mode } },
              "addr_info": [{ "local": "10.77.0.60" }, { "local": "fd77::60" }] },
            { "ifname": "bond0.100", "link": "bond0", "mtu": 9000,
              "linkinfo": { "info_kind": "vlan", "info_data": { "id": 100 } },
              "addr_info": [{ "local": "10.78.0.60" }, { "local": "fd78::60" }] },
        ])
        .to_string()
    }

    #[test]
    fn what_differs_is_found() {
        let macs = ["52:54:00:77:00:10", "52:54:00:77:01:10"].map(str::to_owned);
        let routes = r#"[{"dst":"default","gateway":"10.77.0.1"},{"dst":"default","gateway":"fd77::1"},
            {"dst":"192.0.2.0/24","gateway":"10.78.0.1"},{"dst":"2001:db8:77::/48","gateway":"fd78::1"}]"#;
        let ask = |links: &str, routes: &str| check(Wiring::Bond, &macs, links, &[routes]);
        let right = links("active-backup", "52:54:00:77:01:10");
        ask(&right, routes).unwrap();
        for (spoilt, why) in [
            (links("balance-rr", "52:54:00:77:01:10"), "mode"),
            (links("active-backup", "52:54:00:77:02:10"), "members"),
            (right.replace("9000", "1500"), "MTU"),
            (
                right.replace("10.78.0.60", "10.78.0.61"),
                "no interface has 10.78.0.60",
            ),
            (right.replace("\"id\":100", "\"id\":101"), "VLAN"),
        ] {
            let error = format!("{:#}", ask(&spoilt, routes).unwrap_err());
            assert!(error.contains(why), "{why}: {error}");
        }
        let error = ask(&right, "").unwrap_err().to_string();
        assert!(error.contains("no route to default"), "{error}");
    }
}
