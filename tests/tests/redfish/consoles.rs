//! The serial console of a server by Serial over LAN: `ipmitool` reads it from `ipmi_sim`, which has it from the server.

use std::fs;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use imprint_controller::logs;
use imprint_controller::power::NewBmc;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use super::ipmi::{Sim, until_answered};
use super::site::{NODE, Site};

const DEPLOYMENT: &str = "01JD3Y6N9M1V9S1M6V1M3B3W61";

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

async fn deployment_runs(site: &Site) {
    sqlx::query(
        "INSERT INTO deployments (id, node_id, state, phase, step, image_id, image_name, image_digest, manifest_digest,
             disk_size_bytes, logical_sector_bytes, disk_rule, hostname, boot_order, grow_root, finish, task_id,
             phase_since, moved_at, created_at)
         VALUES (?1, ?2, 'running', 'agent-works', 'write', '', '', '', '', 0, 512, '', '', '', 0, 0, ?1, 0, 0, 0)",
    )
    .bind(DEPLOYMENT)
    .bind(NODE)
    .execute(&site.app.db)
    .await
    .unwrap();
    set(site, "UPDATE nodes SET deployment_id = ?1").await;
}

async fn set(site: &Site, sql: &'static str) {
    sqlx::query(sql)
        .bind(DEPLOYMENT)
        .execute(&site.app.db)
        .await
        .unwrap();
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
    assert_eq!(log(&site), "");

    deployment_runs(&site).await;
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
    // Who puts it right does not have to begin anew.
    let before = kept.matches("Booting").count();
    site.has(with_console("admin", "secret")).await;
    let kept = log_has(&site, "Booting", before + 20).await;
    assert_eq!(kept.matches("(the console is not read").count(), 1, "{kept}");

    // With the deployment the session ends, and others can read.
    set(&site, "UPDATE deployments SET state = 'succeeded' WHERE id = ?1").await;
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
    set(&site, "UPDATE deployments SET state = 'running' WHERE id = ?1").await;
    log_has(&site, "already active on another session", 1).await;
    other.kill().unwrap();
    other.wait().unwrap();

    site.app.shutdown.cancel();
    writer.await.unwrap();
}
