use axum::body::to_bytes;
use axum::http::Request;
use jiff::SignedDuration;
use tempfile::TempDir;
use tower::ServiceExt;

use super::*;
use crate::app::App;
use crate::boot::facts::{BootAction, BootFacts};
use crate::boot::identity_initrd::{IDENTITY_PATH, tests::read};
use crate::boot::site::{Asked, decide_for_test};
use crate::boot::tokens::BootTokens;
use crate::clock::Clock;
use crate::config::Config;
use imprint_hardware::model::LocalBoot;
use imprint_proto::agent::v1::Fingerprint;

const MAC: &str = "52:54:00:00:00:01";
const ASK: &str = "/boot/node.ipxe?mac=52:54:00:00:00:01&uuid=00112233-4455-6677-8899-aabbccddeeff&serial=CZ%2042&platform=efi";

struct Lab {
    dir: TempDir,
    clock: Clock,
    tokens: BootTokens,
    asked: Asked,
    site: BootSite,
}

struct Answer {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The text of a script, which is never cached.
    fn script(&self) -> &str {
        assert_eq!(self.status, 200);
        assert_eq!(self.headers["content-type"], "text/plain; charset=utf-8");
        assert_eq!(self.headers["cache-control"], "no-store");
        assert!(self.text().starts_with("#!ipxe\n"), "{}", self.text());
        self.text()
    }
}

impl Lab {
    async fn new(action: Result<BootAction, String>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fake("2026-01-01T00:00:00Z".parse().unwrap());
        let app = App::for_test_with(Config::loopback(dir.path().join("data")), clock.clone()).await;
        let (decide, asked) = decide_for_test(action);
        let site = BootSite::for_test(dir.path(), &app, decide);
        Self {
            dir,
            clock,
            tokens: app.boot_tokens.clone(),
            asked,
            site,
        }
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

    async fn get(&self, path: &str) -> Answer {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router(self.site.clone()).oneshot(request).await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: to_bytes(response.into_body(), 1 << 24).await.unwrap().to_vec(),
        }
    }

    /// Asks what to boot; answers the path of the identity in the script.
    async fn identity_path(&self) -> String {
        let answer = self.get(ASK).await;
        let base = "initrd --name identity.img http://10.0.0.1:8080";
        let line = answer.script().lines().find_map(|l| l.strip_prefix(base));
        line.unwrap().split(' ').next().unwrap().to_owned()
    }

    fn write(&self, path: &str, content: &[u8]) {
        std::fs::write(self.dir.path().join(path), content).unwrap();
    }

    fn asked(&self) -> Vec<BootFacts> {
        self.asked.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn the_start_script_is_the_same_for_all() {
    let lab = Lab::ramdisk().await;
    let answer = lab.get("/boot/start.ipxe").await;
    assert_eq!(answer.script(), lab.site.scripts.start());
    assert!(
        answer
            .text()
            .contains("chain --replace http://10.0.0.1:8080/boot/node.ipxe?mac=${netX/mac}&")
    );
    assert!(lab.asked().is_empty());
}

#[tokio::test]
async fn a_machine_that_shall_be_written_to_boots_the_ramdisk() {
    let lab = Lab::ramdisk().await;
    let answer = lab.get(ASK).await;
    let script = answer.script();
    assert!(
        script.contains("\nkernel http://10.0.0.1:8080/ramdisk/vmlinuz initrd=initrd.img "),
        "{script}"
    );
    assert!(script.contains(" BOOTIF=01-52-54-00-00-00-01 "), "{script}");
    assert!(
        script.contains("boots the ramdisk: deployment of debian-12\n"),
        "{script}"
    );
    let facts = BootFacts::parse(MAC, "00112233-4455-6677-8899-aabbccddeeff", "CZ 42", "efi").unwrap();
    assert_eq!(lab.asked(), [facts]);
}

#[tokio::test]
async fn a_machine_with_nothing_to_do_boots_its_disk() {
    let reason = "it is active".to_owned();
    let lab = Lab::new(Ok(BootAction::LocalDisk {
        reason,
        how: LocalBoot::Exit,
    }))
    .await;
    for (platform, end) in [("efi", "\nexit 1\n"), ("pcbios", "\nexit\n")] {
        let answer = lab
            .get(&format!("/boot/node.ipxe?mac={MAC}&platform={platform}"))
            .await;
        assert!(answer.script().ends_with(end), "{platform}: {}", answer.text());
        assert!(!answer.text().contains("identity"));
    }
}

#[tokio::test]
async fn a_machine_waits_while_nobody_can_decide() {
    let lab = Lab::new(Err("the database\nis ${locked}".to_owned())).await;
    let answer = lab.get(ASK).await;
    assert!(
        answer
            .script()
            .contains("\necho Imprint: the database.is ..locked.\n"),
        "{}",
        answer.text()
    );
    assert!(
        answer
            .text()
            .contains("chain --replace http://10.0.0.1:8080/boot/start.ipxe")
    );
}

#[tokio::test]
async fn values_that_are_commands_are_refused() {
    let lab = Lab::ramdisk().await;
    for value in [
        "x%0Aboot",
        "x%0D%0Aexit",
        "${net0/ip}",
        "$%7Buuid%7D",
        "x%20||%20reboot",
        "x%20%26%26%20exit",
    ] {
        for query in [
            format!("mac={MAC}{value}"),
            format!("mac={value}"),
            format!("mac={MAC}&uuid={value}"),
            format!("mac={MAC}&serial={value}"),
            format!("mac={MAC}&platform={value}"),
        ] {
            // `{`, `}` and `|` are no characters of a URI; who sends them raw is refused by the server's parser.
            let query = query.replace('{', "%7B").replace('}', "%7D").replace('|', "%7C");
            let answer = lab.get(&format!("/boot/node.ipxe?{query}")).await;
            assert_eq!(answer.status, 400, "{query}: {}", answer.text());
            assert!(!answer.text().contains("#!ipxe"), "{query}");
            assert!(
                !answer.text().contains("boot\n") && !answer.text().contains('$'),
                "{query}"
            );
        }
    }
    assert_eq!(lab.asked(), []);
}

#[tokio::test]
async fn values_that_are_only_odd_do_not_keep_a_machine_from_booting() {
    let lab = Lab::ramdisk().await;
    for serial in [
        "To%20be%20filled%20by%20O.E.M.",
        "%FF%FF",
        "%01",
        "$5%22",
        "a|b%26c%23",
    ] {
        let serial = serial.replace('|', "%7C");
        let answer = lab
            .get(&format!("/boot/node.ipxe?mac={MAC}&uuid=junk&serial={serial}"))
            .await;
        assert!(answer.script().contains("/ramdisk/vmlinuz"), "{serial}");
    }
    let asked = lab.asked();
    assert_eq!(asked.len(), 5);
    assert!(asked.iter().all(|facts| facts.smbios_uuid.is_none()));
    let serials: Vec<Option<&str>> = asked.iter().map(|f| f.serial.as_deref()).collect();
    assert_eq!(serials, [None, None, None, None, Some("a|b&c#")]);
}

#[tokio::test]
async fn a_machine_without_a_usable_address_is_told_so_on_its_screen() {
    let lab = Lab::ramdisk().await;
    for mac in ["", "mac=", "mac=ff:ff:ff:ff:ff:ff", "mac=80:00:02:08:fe:80:00:01"] {
        let answer = lab.get(&format!("/boot/node.ipxe?{mac}")).await;
        assert!(
            answer.script().contains("is not a MAC address"),
            "{}",
            answer.text()
        );
        assert!(!answer.text().contains("identity"), "{}", answer.text());
    }
    assert_eq!(lab.asked(), []);
}

#[tokio::test]
async fn the_identity_is_one_private_file() {
    let lab = Lab::ramdisk().await;
    let path = lab.identity_path().await;
    let answer = lab.get(&path).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.body.len() % 4096, 0);
    let entries = read(&answer.body);
    let (name, mode, content) = entries.last().unwrap();
    assert_eq!((name.as_str(), *mode), (IDENTITY_PATH, 0o100_600));
    assert_eq!(IDENTITY_PATH, "etc/imprint/identity.json");
    let json: serde_json::Value = serde_json::from_slice(content).unwrap();
    let token = json["boot_token"].as_str().unwrap().to_owned();
    let expected = serde_json::json!({
        "version": 1,
        "controller_url": "https://10.0.0.1:8443",
        "ca_pem": "the CA\n",
        "manifest_keys": ["ab".repeat(32)],
        "boot_token": token,
        "issued_at": "2026-01-01T00:00:00Z",
        "node_hint": MAC,
    });
    assert_eq!(json, expected);
    assert!(!path.contains(&token));

    // A broken download is repeated; a used token is gone.
    assert_eq!(lab.get(&path).await.body, answer.body);
    let machine = Fingerprint {
        macs: vec![MAC.to_owned()],
        ..Fingerprint::default()
    };
    lab.tokens.redeem_by_anybody(&token, &machine).await.unwrap();
    assert_eq!(lab.get(&path).await.status, 404);
}

#[tokio::test]
async fn only_a_live_nonce_has_an_identity() {
    let lab = Lab::ramdisk().await;
    let replaced = lab.identity_path().await;
    let newer = lab.identity_path().await;
    assert_ne!(replaced, newer);
    assert_eq!(lab.get(&newer).await.status, 200);
    let unknown = format!("/boot/identity/{}", "0".repeat(64));
    for path in [
        &replaced,
        &unknown,
        &format!("{newer}0"),
        "/boot/identity/",
        "/boot/identity/..",
    ] {
        let answer = lab.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.len() < 200);
    }
    lab.clock.advance(SignedDuration::from_secs(900));
    assert_eq!(lab.get(&newer).await.status, 404, "expired");
}

#[tokio::test]
async fn files_come_whole_and_with_their_length() {
    let lab = Lab::ramdisk().await;
    let large: Vec<u8> = (0..700_001u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    lab.write("ramdisk/vmlinuz", b"kernel");
    lab.write("ramdisk/initrd.img", &large);
    lab.write("ipxe/snponly.efi", b"loader");
    lab.write("firmware.img", b"firmware");
    for (path, content) in [
        ("/ramdisk/vmlinuz", b"kernel".as_slice()),
        ("/ramdisk/initrd.img", &large),
        ("/ipxe/snponly.efi", b"loader"),
        ("/boot/extra/0", b"firmware"),
    ] {
        let answer = lab.get(path).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(
            answer.headers["content-length"],
            content.len().to_string(),
            "{path}"
        );
        assert_eq!(
            answer.headers["content-type"], "application/octet-stream",
            "{path}"
        );
        assert!(answer.body == content, "{path}");
    }
}

#[tokio::test]
async fn nothing_else_is_served() {
    let lab = Lab::ramdisk().await;
    for name in [
        "secret",
        "ramdisk/ramdisk.json",
        "ramdisk/secret",
        "ipxe/ipxe.iso",
    ] {
        lab.write(name, b"secret");
    }
    for path in [
        "/ipxe/..%2Fsecret",
        "/ipxe/%2e%2e%2fsecret",
        "/ipxe/../secret",
        "/ipxe/..%2framdisk%2fsecret",
        "/ipxe/snponly.efi%2F..%2F..%2Fsecret",
        "/ipxe/%2Fetc%2Fpasswd",
        "/ipxe/snponly.efi%00",
        "/ipxe/..",
        "/ipxe/ipxe.iso",
        "/ipxe/",
        "/ramdisk/..%2Fsecret",
        "/ramdisk/../secret",
        "/ramdisk/secret",
        "/ramdisk/ramdisk.json",
        "/boot/extra/1",
        "/boot/extra/-1",
        "/boot/extra/..%2Fsecret",
        "/",
        "/v1/nodes",
    ] {
        let answer = lab.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(!answer.text().contains("secret"), "{path}");
    }
}

#[tokio::test]
async fn a_missing_ramdisk_says_how_to_make_it() {
    let lab = Lab::ramdisk().await;
    let answer = lab.get("/ramdisk/vmlinuz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("cargo xtask ramdisk"));
}

#[tokio::test]
async fn a_cd_is_of_one_server_and_read_in_ranges() {
    let lab = Lab::ramdisk().await;
    let facts = BootFacts::parse(MAC, "", "", "").unwrap();
    let own = vec!["nomodeset".to_owned()];
    let issued = lab.tokens.issue_for_media(&facts, own.clone()).await.unwrap();
    let path = format!("/boot/media/{}.iso", issued.nonce);
    assert_eq!(lab.get(&path).await.status, 503, "nobody has built the CD");
    let roomy = r#"{"version":1,"bytes":90000,"areas":{"identity.img":{"offset":2048,"bytes":65536},"node.cfg":{"offset":69632,"bytes":2048}}}"#;
    lab.write("ramdisk/media.json", roomy.as_bytes());
    lab.write("ramdisk/media.iso", &[7; 90000]);
    let whole = lab.get(&path).await;
    assert_eq!((whole.status, whole.body.len()), (200, 90000));
    assert_eq!(whole.headers["accept-ranges"], "bytes");
    assert_eq!(whole.headers["cache-control"], "no-store");
    let entries = read(&whole.body[2048..2048 + 65536]);
    let (_, _, json) = entries.iter().find(|(name, ..)| name == IDENTITY_PATH).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(json).unwrap();
    assert_eq!(identity["boot_token"], issued.token.as_str());
    let script = lab.site.scripts.grub_media(&facts, &own);
    assert!(whole.body[69632..].starts_with(script.as_bytes()));
    assert!(
        whole.body[..2048]
            .iter()
            .chain(&whole.body[71680..])
            .all(|byte| *byte == 7)
    );

    let ask = async |range: &str| {
        let request = Request::get(&path)
            .header("range", range)
            .body(Body::empty())
            .unwrap();
        let response = router(lab.site.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        (
            status,
            headers,
            to_bytes(response.into_body(), 1 << 20).await.unwrap(),
        )
    };
    let (status, headers, part) = ask("bytes=2000-4095").await;
    assert_eq!((status, &part[..]), (206, &whole.body[2000..4096]));
    assert_eq!(headers["content-range"], "bytes 2000-4095/90000");
    let (status, headers, _) = ask("bytes=90000-").await;
    assert_eq!(
        (status, headers["content-range"].to_str().unwrap()),
        (416, "bytes */90000")
    );

    // The identity of a network boot is no CD, and a CD that was used is gone.
    let nonce = lab.identity_path().await;
    let nonce = nonce.rsplit('/').next().unwrap();
    assert_eq!(lab.get(&format!("/boot/media/{nonce}.iso")).await.status, 404);
    assert_eq!(
        lab.get(&path).await.status,
        404,
        "the same server was given a newer token"
    );
    assert_eq!(lab.get("/boot/media/x").await.status, 404);
}

#[tokio::test]
async fn a_cd_waits_as_long_as_a_deployment() {
    let lab = Lab::ramdisk().await;
    let facts = BootFacts::parse(MAC, "", "", "").unwrap();
    let issued = lab.tokens.issue_for_media(&facts, Vec::new()).await.unwrap();
    lab.clock.advance(SignedDuration::from_secs(1799));
    assert!(lab.tokens.pending(&issued.nonce).is_some());
    lab.clock.advance(SignedDuration::from_secs(2));
    assert!(lab.tokens.pending(&issued.nonce).is_none());
}
