use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::app::App;
use crate::boot::facts::{BootAction, BootFacts};
use crate::boot::identity_initrd::{IDENTITY_PATH, tests::read};
use crate::boot::site::{Asked, decide_for_test};
use crate::clock::Clock;
use crate::config::Config;

const ASK: &str = "/boot/node/52:54:00:00:00:01/00112233-4455-6677-8899-aabbccddeeff/CZ 42/7";

struct Lab {
    dir: TempDir,
    site: BootSite,
    asked: Asked,
}

impl Lab {
    async fn new(action: Result<BootAction, String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fake("2026-01-01T00:00:00Z".parse().unwrap());
        let app = App::for_test_with(Config::loopback(dir.path().join("data")), clock).await;
        let (decide, asked) = decide_for_test(action);
        let mut site = BootSite::for_test(dir.path(), &app, decide);
        site.uefi_loader = UefiLoader::Shim {
            shim: dir.path().join("shim"),
            grub: dir.path().join("grub"),
        };
        Self { dir, site, asked }
    }

    async fn ramdisk() -> Self {
        let reason = "deployment of debian-12".to_owned();
        Self::new(Ok(BootAction::Ramdisk {
            reason,
            kernel_arguments: vec!["nomodeset".to_owned()],
            rescue: false,
        }))
        .await
    }

    fn write(&self, path: &str, content: &[u8]) {
        std::fs::write(self.dir.path().join(path), content).unwrap();
    }

    /// What a client gets; `None` when it is refused.
    async fn get(&self, name: &str) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = socket.local_addr().unwrap();
        let tftp = Tftp::new(Arc::new(self.site.clone()), socket).await.unwrap();
        let task = tokio::spawn(tftp.serve());
        let name = name.to_owned();
        let got = tokio::task::spawn_blocking(move || download(server, &name, 1024))
            .await
            .unwrap();
        task.abort();
        got
    }

    async fn script(&self, name: &str) -> String {
        String::from_utf8(self.get(name).await.unwrap()).unwrap()
    }
}

/// A minimal TFTP client; `None` when the server says no.
fn download(server: SocketAddr, name: &str, block: usize) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!("\0\x01{name}\0octet\0blksize\0{block}\0");
    socket.send_to(request.as_bytes(), server).unwrap();
    let (mut content, mut packet) = (Vec::new(), [0u8; 2048]);
    loop {
        let (length, peer) = socket.recv_from(&mut packet).unwrap();
        match packet[1] {
            6 => drop(socket.send_to(&[0, 4, 0, 0], peer).unwrap()),
            3 => {
                content.extend_from_slice(&packet[4..length]);
                socket.send_to(&[0, 4, packet[2], packet[3]], peer).unwrap();
                if length - 4 < block {
                    return Some(content);
                }
            }
            _ => return None,
        }
    }
}

#[tokio::test]
async fn files_come_whole_also_large_ones() {
    let lab = Lab::ramdisk().await;
    let large: Vec<u8> = (0..MAX_WHOLE + 1025)
        .map(|i| u8::try_from(i % 251).unwrap())
        .collect();
    lab.write("ramdisk/vmlinuz", b"kernel");
    lab.write("ramdisk/initrd.img", &large);
    lab.write("ramdisk/rescue.img", b"rescue");
    lab.write("ipxe/snponly.efi", &large[..3000]);
    lab.write("shim", b"shim");
    lab.write("grub", b"GRUB");
    lab.write("firmware.img", b"firmware");
    for (name, content) in [
        ("snponly.efi", &large[..3000]),
        ("/shimx64.efi", b"shim"),
        ("grubx64.efi", b"GRUB"),
        ("/ramdisk/vmlinuz", b"kernel"),
        ("/ramdisk/initrd.img", &large),
        ("/ramdisk/rescue.img", b"rescue"),
        ("/boot/extra/0", b"firmware"),
    ] {
        assert!(lab.get(name).await.as_deref() == Some(content), "{name}");
    }
}

#[tokio::test]
async fn nothing_else_is_served() {
    let mut lab = Lab::ramdisk().await;
    for name in ["secret", "ramdisk/ramdisk.json", "ipxe/ipxe.iso"] {
        lab.write(name, b"secret");
    }
    for name in [
        "ipxe.iso",
        "undionly.kpxe",
        "../../etc/shadow",
        "/etc/passwd",
        "sub/undionly.kpxe",
        "",
        "ramdisk/ramdisk.json",
        "ramdisk/../secret",
        "boot/extra/1",
        "boot/extra/-1",
        "boot/identity/",
        "boot/identity/../../secret",
        "grub/x86_64-efi/command.lst",
    ] {
        assert_eq!(lab.get(name).await, None, "{name}");
    }
    lab.site.uefi_loader = UefiLoader::Ipxe;
    lab.write("ramdisk/vmlinuz", b"kernel");
    for name in ["shimx64.efi", "grub/grub.cfg", "ramdisk/vmlinuz", ASK] {
        assert_eq!(lab.get(name).await, None, "{name}: only with shim");
    }
    assert!(lab.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn grub_is_led_to_its_identity() {
    let lab = Lab::ramdisk().await;
    let start = lab.script("/grub/grub.cfg").await;
    assert!(
        start.contains("source \"/boot/node/$net_default_mac/$uuid/$serial\"\n"),
        "{start}"
    );
    let script = lab.script(ASK).await;
    assert!(script.contains("BOOTIF=01-52-54-00-00-00-01 "), "{script}");
    assert!(script.contains(" nomodeset; then\n"), "{script}");
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let facts = BootFacts::parse("52:54:00:00:00:01", uuid, "CZ 42/7", "efi").unwrap();
    assert_eq!(*lab.asked.lock().unwrap(), [facts]);
    let path = script
        .split_whitespace()
        .find(|word| word.starts_with("/boot/identity/"));
    let path = path.unwrap().trim_end_matches(';');
    let entries = read(&lab.get(path).await.unwrap());
    assert_eq!(entries.last().unwrap().0, IDENTITY_PATH);
}

#[tokio::test]
async fn every_answer_has_a_script() {
    let local = BootAction::LocalDisk {
        reason: "it is active".to_owned(),
        how: imprint_hardware::model::LocalBoot::Exit,
    };
    for (action, name, expected) in [
        (Ok(local), ASK, "boots its local disk: it is active\"\nif search "),
        (
            Err("the database is locked".to_owned()),
            ASK,
            "the database is locked\"\nsleep ",
        ),
        (Err(String::new()), "/boot/node/nonsense", "is not a MAC address"),
        (Err(String::new()), "/boot/node/", "is not a MAC address"),
    ] {
        let script = Lab::new(action).await.script(name).await;
        assert!(script.contains(expected), "{script}");
    }
    let lab = Lab::ramdisk().await;
    assert_eq!(lab.get("/boot/node/52:54:00:00:00:01//a${b}").await, None);
}
