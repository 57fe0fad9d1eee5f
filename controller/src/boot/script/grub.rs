//! The same in GRUB's words, for machines with Secure Boot: the GRUB that Debian signs has no HTTP, so that kernel and
//! initrds come by TFTP, as everything here does. What the kernel is started with is the same as with iPXE.
//!
//! GRUB's variable `root` is the TFTP server it came from, and names without a device are taken from there.

use super::{ATTEMPTS, RESCUE_ARGUMENT, RESCUE_IMAGE, Scripts, echo};
use crate::boot::facts::BootFacts;

/// Where GRUB looks for its configuration when it was loaded over the network.
pub const CONFIGURATION: &str = "grub/grub.cfg";
/// What the names of the machines' own scripts begin with: MAC address, UUID and serial number follow.
pub const NODE: &str = "boot/node/";

/// Starts what firmware would start of the first disk that has the removable path, and ends if there is none. What is started
/// is told that it came from `root`, and looks for its own files there.
const LOCAL: &str = "if search --no-floppy --file --set=root /EFI/BOOT/BOOTX64.EFI; then
  if chainloader /EFI/BOOT/BOOTX64.EFI; then
    boot
  fi
fi
exit
";

impl Scripts {
    /// `grub.cfg`: the same for every machine; asks for the script of this one.
    pub fn grub_start(&self) -> String {
        let attempts: Vec<String> = (1..=ATTEMPTS).map(|n| n.to_string()).collect();
        let attempts = attempts.join(" ");
        format!(
            "# The same for every machine: asks the controller what this one shall boot.
set timeout=0
smbios --type 1 --get-uuid 8 --set uuid
smbios --type 1 --get-string 7 --set serial
for attempt in {attempts}; do
  echo \"Imprint: $net_default_mac asks what to boot\"
  source \"/{NODE}$net_default_mac/$uuid/$serial\"
  echo \"Imprint: no answer from the controller, asking again in 5 seconds\"
  sleep 5
done
echo \"Imprint: the controller does not answer, leaving to the local disk\"
{LOCAL}"
        )
    }

    /// Loads kernel, ramdisk and the identity initrd of `nonce`. When that fails, the start script asks again.
    pub fn grub_ramdisk(
        &self,
        facts: &BootFacts,
        nonce: &str,
        own: &[String],
        rescue: bool,
        reason: &str,
    ) -> String {
        let mac = facts.mac.as_str();
        let bootif = mac.replace(':', "-");
        let arguments = self.arguments(own, rescue, quoted);
        let mut initrds = String::from("/ramdisk/initrd.img");
        for n in 0..self.extra_initrds {
            initrds.push_str(&format!(" /boot/extra/{n}"));
        }
        if rescue {
            initrds.push_str(&format!(" /ramdisk/{RESCUE_IMAGE}"));
        }
        let reason = echo(reason);
        format!(
            "echo \"Imprint: {mac} boots the ramdisk: {reason}\"
if linux /ramdisk/vmlinuz BOOTIF=01-{bootif} {arguments}; then
  if initrd {initrds} /boot/identity/{nonce}; then
    boot
  fi
fi
echo \"Imprint: cannot load kernel and ramdisk\"
"
        )
    }

    /// What GRUB does on a CD that was made for a machine.
    pub fn grub_media(&self, facts: &BootFacts, own: &[String]) -> String {
        let arguments = self.arguments(own, false, quoted);
        let rescue = if own.iter().any(|argument| argument == RESCUE_ARGUMENT) {
            format!(" /imprint/{RESCUE_IMAGE}")
        } else {
            String::new()
        };
        format!(
            "echo \"Imprint: {mac} boots the ramdisk from its CD\"
if linux /imprint/vmlinuz {arguments}; then
  if initrd /imprint/initrd.img{rescue} /imprint/identity.img; then
    boot
  fi
fi
echo \"Imprint: cannot load kernel and ramdisk\"
sleep 30
exit
",
            mac = facts.mac.as_str(),
        )
    }
}

/// Leaves the network boot.
pub fn local_disk(facts: &BootFacts, reason: &str) -> String {
    let reason = echo(reason);
    format!(
        "echo \"Imprint: {} boots its local disk: {reason}\"\n{LOCAL}",
        facts.mac
    )
}

/// Leaves the network boot of a machine that could not even name its MAC address.
pub fn refused(reason: &str) -> String {
    format!("echo \"Imprint: {}\"\nsleep 10\n{LOCAL}", echo(reason))
}

/// Shows why there is no answer yet; the start script asks again.
pub fn again(reason: &str) -> String {
    format!("echo \"Imprint: {}\"\nsleep 10\n", echo(reason))
}

/// One word of GRUB's, whatever is in it.
fn quoted(argument: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"=,.:/_-@+%".contains(&b);
    if argument.bytes().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use url::Url;

    fn scripts() -> Scripts {
        let arguments = ["nomodeset".to_owned(), "dyndbg=\"file a.c +p\"".replace(' ', ",")];
        Scripts::new(&Url::parse("http://10.0.0.1:8080/").unwrap(), &arguments, 1).unwrap()
    }

    fn facts() -> BootFacts {
        BootFacts::parse("52:54:00:AA:00:01", "", "", "efi").unwrap()
    }

    #[test]
    fn everything_is_loaded_in_one_go_or_asked_for_again() {
        let own = ["a;reboot".to_owned(), "it's".to_owned(), "two words".to_owned()];
        let expected = "echo \"Imprint: 52:54:00:aa:00:01 boots the ramdisk: deployment of debian-12\"
if linux /ramdisk/vmlinuz BOOTIF=01-52-54-00-aa-00-01 console=tty0 console=ttyS0,115200 quiet panic=30 gpt nomodeset 'dyndbg=\"file,a.c,+p\"' 'a;reboot' 'it'\\''s'; then
  if initrd /ramdisk/initrd.img /boot/extra/0 /boot/identity/abc123; then
    boot
  fi
fi
echo \"Imprint: cannot load kernel and ramdisk\"
";
        let script = scripts().grub_ramdisk(&facts(), "abc123", &own, false, "deployment of debian-12");
        assert_eq!(script, expected);
        let rescue = scripts().grub_ramdisk(&facts(), "abc123", &[], true, "a rescue");
        assert!(
            rescue.contains("quiet panic=30 gpt imprint.rescue nomodeset")
                && rescue.contains(
                    "initrd /ramdisk/initrd.img /boot/extra/0 /ramdisk/rescue.img /boot/identity/abc123;"
                ),
            "{rescue}"
        );
    }

    #[test]
    fn a_cd_boots_what_is_on_it() {
        let own = ["a;reboot".to_owned(), "two words".to_owned()];
        let script = scripts().grub_media(&facts(), &own);
        assert!(script.contains(
            "if linux /imprint/vmlinuz console=tty0 console=ttyS0,115200 quiet panic=30 gpt nomodeset"
        ));
        assert!(
            script.contains(" 'a;reboot'; then\n") && !script.contains("two words"),
            "{script}"
        );
        assert!(script.contains("/imprint/initrd.img /imprint/identity.img"));
        let script = scripts().grub_media(&facts(), &["imprint.rescue".to_owned()]);
        assert!(
            script.contains(" imprint.rescue; then\n  if initrd /imprint/initrd.img /imprint/rescue.img /imprint/identity.img;"),
            "{script}"
        );
    }

    #[test]
    fn a_reason_cannot_add_commands() {
        for evil in ["x\nreboot", "\"; reboot", "$prefix", "`reboot`", "\\", "'"] {
            for script in [
                local_disk(&facts(), evil),
                again(evil),
                refused(evil),
                scripts().grub_ramdisk(&facts(), "abc", &[], false, evil),
            ] {
                let line = script.lines().next().unwrap();
                let said = line
                    .strip_prefix("echo \"")
                    .and_then(|rest| rest.strip_suffix('"'))
                    .unwrap();
                assert!(!said.contains(['"', '$', '`', '\\', '\'', '\n']), "{line}");
                assert!(!script.contains("reboot\n"), "{script}");
            }
        }
    }
}
