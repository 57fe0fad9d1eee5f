//! The way of a machine from its firmware to its boot identity, as iPXE goes it: the scripts are read, their downloads
//! made. Kernel and ramdisk are left out: they are the same files for all, and there is nothing to run them on.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Client, Url};

use super::hardware::Hardware;

/// As in the kernel's initramfs: a path without the leading slash.
const IDENTITY: &str = "etc/imprint/identity.json";
/// Longer than any script or archive.
const MAX_BYTES: usize = 1 << 20;

/// What a boot script comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Kernel and ramdisk, with the identity from here.
    Ramdisk {
        /// Where the identity initrd is.
        identity: Url,
    },
    /// The next boot entry of the firmware.
    LocalDisk {
        /// In the controller's words.
        why: String,
    },
    /// The same question again.
    Again {
        /// How much later.
        after: Duration,
    },
}

/// Boot HTTP as firmware sees it.
#[derive(Debug, Clone)]
pub struct Firmware {
    client: Client,
    start: Url,
}

impl Firmware {
    /// Of the boot services at this address.
    ///
    /// # Errors
    /// When it is none.
    pub fn of(boot_url: &Url) -> Result<Self> {
        let client = Client::builder()
            .timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(64)
            .build()
            .context("cannot make a client")?;
        let start = boot_url
            .join("/boot/start.ipxe")
            .context("no address of boot services")?;
        Ok(Self { client, start })
    }

    /// Asks what to boot, from `start.ipxe` on.
    ///
    /// # Errors
    /// When there is no usable answer; a machine would try again.
    pub async fn ask(&self, hardware: &Hardware) -> Result<Script> {
        let start = self.text(self.start.clone()).await?;
        let ask = chained(&start, hardware)?;
        parse(&self.text(ask).await?)
    }

    /// The content of `identity.json`.
    ///
    /// # Errors
    /// When the archive can't be had or read.
    pub async fn identity(&self, from: &Url) -> Result<Vec<u8>> {
        let archive = self.bytes(from.clone()).await?;
        file_of(&archive, IDENTITY)?.with_context(|| format!("the identity initrd has no {IDENTITY}"))
    }

    async fn text(&self, from: Url) -> Result<String> {
        String::from_utf8(self.bytes(from).await?).context("a boot script is no text")
    }

    async fn bytes(&self, from: Url) -> Result<Vec<u8>> {
        let answer = self.client.get(from.clone()).send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        let answer = answer.with_context(|| format!("cannot fetch {}", from.path()))?;
        let bytes = answer.bytes().await.context("a download broke")?;
        ensure!(bytes.len() <= MAX_BYTES, "{} is too long", from.path());
        Ok(bytes.to_vec())
    }
}

/// The address that `start.ipxe` goes on with, with iPXE's settings of this machine in it.
fn chained(script: &str, hardware: &Hardware) -> Result<Url> {
    let line = script
        .lines()
        .find_map(|line| line.strip_prefix("chain --replace "));
    let template = line
        .and_then(|line| line.split_whitespace().next())
        .context("start.ipxe chains nothing")?;
    let fingerprint = hardware.fingerprint();
    let mut url = template.to_owned();
    for (setting, value) in [
        ("${netX/mac}", hardware.boot_mac()),
        ("${uuid}", &fingerprint.smbios_uuid),
        ("${serial:uristring}", &fingerprint.smbios_serial),
        ("${platform}", hardware.platform),
    ] {
        url = url.replace(setting, value);
    }
    ensure!(
        !url.contains("${"),
        "start.ipxe asks for a setting that is not known: {url}"
    );
    url.parse().context("start.ipxe chains no address")
}

fn parse(script: &str) -> Result<Script> {
    ensure!(script.starts_with("#!ipxe"), "not a script of iPXE");
    let word_after = |prefix: &str| {
        let line = script.lines().find_map(|line| line.strip_prefix(prefix));
        line.and_then(|line| line.split_whitespace().next())
    };
    if let Some(identity) = word_after("initrd --name identity.img ") {
        ensure!(
            word_after("kernel ").is_some(),
            "a script with an identity and no kernel"
        );
        let identity = identity.parse().context("the identity has no usable address")?;
        return Ok(Script::Ramdisk { identity });
    }
    if script.lines().any(|line| line == "exit" || line == "exit 1") {
        let said = script
            .lines()
            .find_map(|line| line.strip_prefix("echo Imprint: "));
        let why = said.unwrap_or_default().to_owned();
        return Ok(Script::LocalDisk { why });
    }
    match word_after("sleep ").and_then(|seconds| seconds.parse().ok()) {
        Some(seconds) => Ok(Script::Again {
            after: Duration::from_secs(seconds),
        }),
        None => bail!("a script that leads nowhere"),
    }
}

/// A file of a newc archive (kernel: Documentation/driver-api/early-userspace/buffer-format.rst).
fn file_of(archive: &[u8], wanted: &str) -> Result<Option<Vec<u8>>> {
    let mut rest = archive;
    loop {
        ensure!(rest.starts_with(b"070701"), "the initrd is no newc archive");
        let field = |place: usize| -> Result<usize> {
            let digits = rest
                .get(6 + 8 * place..14 + 8 * place)
                .context("the initrd is cut off")?;
            let digits = std::str::from_utf8(digits).context("the initrd has a broken header")?;
            usize::from_str_radix(digits, 16).context("the initrd has a broken header")
        };
        let (size, name_length) = (field(6)?, field(11)?);
        let data = (110 + name_length).next_multiple_of(4);
        let name = rest
            .get(110..(110 + name_length).saturating_sub(1))
            .context("the initrd is cut off")?;
        if name == b"TRAILER!!!" {
            return Ok(None);
        }
        let content = rest.get(data..data + size).context("the initrd is cut off")?;
        if name == wanted.as_bytes() {
            return Ok(Some(content.to_vec()));
        }
        rest = rest
            .get((data + size).next_multiple_of(4)..)
            .context("the initrd is cut off")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_as_ipxe_would() {
        let hardware = Hardware::made(1, 2);
        let start = "#!ipxe\n:ask\nchain --replace http://h:8080/boot/node.ipxe?mac=${netX/mac}&uuid=${uuid}&serial=${serial:uristring}&platform=${platform} || goto retry\n";
        let url = chained(start, &hardware).unwrap();
        let pairs: Vec<_> = url.query_pairs().collect();
        assert_eq!(pairs[0].1, hardware.boot_mac());
        assert_eq!(pairs[1].1, hardware.fingerprint().smbios_uuid);
        assert!(chained("#!ipxe\nchain --replace http://h/?a=${other}\n", &hardware).is_err());

        let ramdisk = "#!ipxe\nkernel http://h/vmlinuz a=b || goto failed\ninitrd --name identity.img http://h/boot/identity/ab || goto failed\nboot\n:failed\nsleep 5\n";
        let identity = "http://h/boot/identity/ab".parse().unwrap();
        assert_eq!(parse(ramdisk).unwrap(), Script::Ramdisk { identity });
        let local = parse("#!ipxe\necho Imprint: 02 boots its local disk: it is active\nexit 1\n").unwrap();
        assert!(matches!(local, Script::LocalDisk { why } if why.ends_with("it is active")));
        let again = parse("#!ipxe\n:again\nsleep 15\nchain --replace http://h || goto again\n").unwrap();
        assert!(matches!(again, Script::Again { after } if after.as_secs() == 15));
        assert!(parse("<html>").is_err() && parse("#!ipxe\n").is_err());
    }

    #[test]
    fn a_broken_archive_is_an_error() {
        for bytes in [&b""[..], b"070701", b"garbage", &[b'0'; 200]] {
            assert!(file_of(bytes, IDENTITY).is_err());
        }
    }
}
