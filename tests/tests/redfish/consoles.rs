//! The serial console of a server by Serial over LAN: `ipmitool` reads it from `ipmi_sim`, which has it from the server.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imprint_controller::logs;
use imprint_controller::power::NewBmc;
use imprint_tests::redfish::Oddities;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::ipmi::{Sim, until_answered};
use super::site::{DEPLOYMENT, Site, bmc, known, no_session_is_left};

/// A server that writes on its serial port, to whoever listens.
async fn chatty_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut port, _)) = listener.accept().await {
            // It does not know whether somebody reads.
            while port
                .write_all(b"\x1b[1m[    0.42] Booting\x1b[0m from ~.the network\r\n")
                .await
                .is_ok()
            {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    });
    address
}

fn log(site: &Site) -> String {
    let path = site
        .app
        .config
        .data_dir
        .join("logs")
        .join(format!("{DEPLOYMENT}.log"));
    fs::read_to_string(path).unwrap_or_default()
}

/// Waits until the log of the deployment has these words so many times.
async fn log_has(site: &Site, words: &str, times: usize) -> String {
    for _ in 0..600 {
        let log = log(site);
        if log.matches(words).count() >= times {
            return log;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("`{words}` is not in: {}", log(site));
}

/// Somebody else who reads the console until he is killed.
fn somebody_reads(sim: &Sim) -> Child {
    Command::new("ipmitool")
        .args(["-I", "lanplus", "-H", "127.0.0.1", "-U", "admin", "-E", "-C", "3"])
        .args(["-p", &sim.port.to_string(), "sol", "activate"])
        .env("IPMITOOL_PASSWORD", "secret")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_a_server_writes_is_in_the_log_of_its_deployment_and_the_console_is_free_then() {
    let sim = Sim::with(&format!("sol \"tcp:{}\" 115200\n", chatty_server().await));
    let site = Site::build().await;
    let writer = tokio::spawn(logs::run(site.app.clone()));
    let with_console = |user: &str, password: &str| NewBmc {
        serial_over_lan: true,
        ..sim.known(user, password)
    };
    site.has(with_console("admin", "secret")).await;
    until_answered(&site).await;

    // What runs on a node on hold is nobody's yet.
    site.set("INSERT INTO node_holds (node_id, taken_at, since) SELECT id, 0, 0 FROM nodes WHERE ?1 <> ''")
        .await;
    site.deployment_runs("agent-works").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut other = somebody_reads(&sim);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        other.try_wait().unwrap().is_none(),
        "the console of a node on hold is read"
    );
    // With a farewell, so that the console is free.
    drop(other.stdin.take());
    other.wait().unwrap();
    assert_eq!(log(&site), "");
    site.set("DELETE FROM node_holds WHERE ?1 <> ''").await;

    let kept = log_has(&site, "Booting", 20).await;
    let lines: Vec<&str> = kept.lines().collect();
    assert!(
        lines
            .iter()
            .all(|line| line.ends_with("info  console: [    0.42] Booting from ~.the network")),
        "{kept}"
    );

    // A password that is wrong is said, and tried once: BMCs lock users out.
    site.has(with_console("admin", "wrong")).await;
    let kept = log_has(&site, "does not take user admin", 1).await;
    assert!(!kept.contains("wrong"), "{kept}");
    assert!(kept.contains("imprint node set-bmc"), "{kept}");
    // Who puts it right does not have to begin anew.
    let before = kept.matches("Booting").count();
    site.has(with_console("admin", "secret")).await;
    let kept = log_has(&site, "Booting", before + 20).await;
    assert_eq!(kept.matches("(the console is not read").count(), 1, "{kept}");

    // With the deployment the session ends, and others can read.
    site.set("UPDATE deployments SET state = 'succeeded' WHERE id = ?1")
        .await;
    let mut other = None;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut reader = somebody_reads(&sim);
        tokio::time::sleep(Duration::from_millis(700)).await;
        if reader.try_wait().unwrap().is_none() {
            other = Some(reader);
            break;
        }
    }
    let mut other = other.expect("the console is not free");
    // And who is first is not thrown out.
    site.set("UPDATE deployments SET state = 'running' WHERE id = ?1")
        .await;
    log_has(&site, "already active on another session", 1).await;
    assert!(other.try_wait().unwrap().is_none(), "who was first is thrown out");
    other.kill().unwrap();
    other.wait().unwrap();

    site.app.shutdown.cancel();
    writer.await.unwrap();
}

#[tokio::test]
async fn the_console_of_another_server_is_not_read() {
    let (served, _) = bmc(true, Oddities::default()).await;
    let site = Site::build().await;
    let writer = tokio::spawn(logs::run(site.app.clone()));
    site.set("UPDATE nodes SET smbios_uuid = '4c4c4544-0000-0000-0000-000000000000', serial = 'LAB-OTHER' WHERE ?1 <> ''").await;
    let with_console = NewBmc {
        serial_over_lan: true,
        ..known(&served)
    };
    site.has(with_console).await;
    site.deployment_runs("agent-works").await;
    let kept = log_has(&site, "(the console is not read: ", 1).await;
    assert!(kept.contains("another server"), "{kept}");
    no_session_is_left(&served).await;

    site.app.shutdown.cancel();
    writer.await.unwrap();
}
