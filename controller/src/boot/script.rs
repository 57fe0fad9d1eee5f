//! The iPXE scripts. Pure: typed parts in, text out.
//!
//! A script never dead-ends: every download has a fall-back, and a machine that gets no answer for a while leaves to
//! its local disk, which is safe at any time because a disk that is being written cannot boot.

use url::Url;

use imprint_hardware::model::{LocalBoot, usable_argument};

use super::facts::{BootFacts, Platform};

/// Console on screen and first serial port; a panic restarts the machine, so that nobody has to; a GPT is found also while the
/// agent keeps its disk from booting.
const FIXED_ARGUMENTS: &str = "console=tty0 console=ttyS0,115200 quiet panic=30 gpt";
/// The initrd of rescues: an ssh server and tools, which no other machine is given.
pub const RESCUE_IMAGE: &str = "rescue.img";
/// Tells the agent that it was given that initrd.
pub const RESCUE_ARGUMENT: &str = "imprint.rescue";
/// Attempts of `start.ipxe`, five seconds apart, before the machine leaves to its local disk.
const ATTEMPTS: usize = 24;
/// Longest text of the controller's that is shown on a machine's screen.
const MAX_ECHO: usize = 160;

/// A value that cannot stand in a script.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// An argument of the kernel.
    #[error(
        "boot.kernel_args: {argument:?} cannot be passed on by iPXE; use printable ASCII without spaces, `${{`, `&&`, `||` or a leading `#`"
    )]
    KernelArgument {
        /// As configured.
        argument: String,
    },
    /// The base URL.
    #[error(
        "boot.public_url: {url} cannot be used by iPXE; use http://HOST[:PORT] without query and without `$`"
    )]
    Url {
        /// As configured.
        url: String,
    },
}

/// What all scripts of a controller share, checked once.
#[derive(Debug, Clone)]
pub struct Scripts {
    base: String,
    kernel_arguments: Vec<String>,
    extra_initrds: usize,
}

impl Scripts {
    /// Checks the parts that come from the configuration.
    pub fn new(
        public_url: &Url,
        kernel_arguments: &[String],
        extra_initrds: usize,
    ) -> Result<Self, ScriptError> {
        let base = public_url.as_str().trim_end_matches('/').to_owned();
        let plain = base.bytes().all(|b| b.is_ascii_graphic() && b != b'$');
        let clean = public_url.query().is_none() && public_url.fragment().is_none() && public_url.has_host();
        if public_url.scheme() != "http" || !plain || !clean {
            return Err(ScriptError::Url {
                url: public_url.to_string(),
            });
        }
        if let Some(argument) = kernel_arguments.iter().find(|a| !usable_argument(a)) {
            return Err(ScriptError::KernelArgument {
                argument: argument.clone(),
            });
        }
        Ok(Self {
            base,
            kernel_arguments: kernel_arguments.to_vec(),
            extra_initrds,
        })
    }

    /// Base of all URLs, without a trailing slash.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// `start.ipxe`: the same for every machine; asks for the script of this one.
    pub fn start(&self) -> String {
        let base = &self.base;
        let enough = "x".repeat(ATTEMPTS);
        format!(
            "#!ipxe
# The same for every machine: asks the controller what this one shall boot.
set attempt x
:ask
echo Imprint: ${{netX/mac}} asks {base} what to boot
chain --replace {base}/boot/node.ipxe?mac=${{netX/mac}}&uuid=${{uuid}}&serial=${{serial:uristring}}&platform=${{platform}} || goto retry
:retry
iseq ${{attempt}} {enough} && goto local ||
set attempt ${{attempt}}x
echo Imprint: no answer from the controller, asking again in 5 seconds
sleep 5
goto ask
:local
echo Imprint: the controller does not answer, leaving to the local disk
iseq ${{platform}} efi && goto local_efi ||
exit
:local_efi
exit 1
"
        )
    }

    /// Loads kernel, ramdisk and the identity initrd of `nonce`. The machine's own arguments come last, and so win; what
    /// iPXE would not pass on as it is is left out.
    pub fn ramdisk(
        &self,
        facts: &BootFacts,
        nonce: &str,
        own: &[String],
        rescue: bool,
        reason: &str,
    ) -> String {
        let base = &self.base;
        let mac = facts.mac.as_str();
        let mut names = String::from("initrd=initrd.img");
        let mut downloads = format!("initrd --name initrd.img {base}/ramdisk/initrd.img || goto failed\n");
        for n in 0..self.extra_initrds {
            names.push_str(&format!(" initrd=extra{n}.img"));
            downloads.push_str(&format!(
                "initrd --name extra{n}.img {base}/boot/extra/{n} || goto failed\n"
            ));
        }
        if rescue {
            names.push_str(&format!(" initrd={RESCUE_IMAGE}"));
            downloads.push_str(&format!(
                "initrd --name {RESCUE_IMAGE} {base}/ramdisk/{RESCUE_IMAGE} || goto failed\n"
            ));
        }
        let bootif = mac.replace(':', "-");
        let arguments = self.arguments(own, rescue, str::to_owned);
        let reason = echo(reason);
        format!(
            "#!ipxe
echo Imprint: {mac} boots the ramdisk: {reason}
imgfree
kernel {base}/ramdisk/vmlinuz {names} initrd=identity.img BOOTIF=01-{bootif} {arguments} || goto failed
{downloads}initrd --name identity.img {base}/boot/identity/{nonce} || goto failed
boot || goto failed
:failed
echo Imprint: cannot load kernel and ramdisk, starting over in 5 seconds
imgfree
sleep 5
chain --replace {base}/boot/start.ipxe || goto failed
"
        )
    }

    /// The kernel's arguments, each as a `word` of the boot loader: those of all machines, then the machine's own.
    fn arguments(&self, own: &[String], rescue: bool, word: impl Fn(&str) -> String) -> String {
        let mut arguments = FIXED_ARGUMENTS.to_owned();
        if rescue {
            arguments.push(' ');
            arguments.push_str(RESCUE_ARGUMENT);
        }
        let own = own.iter().filter(|argument| usable_argument(argument));
        for argument in self.kernel_arguments.iter().chain(own) {
            arguments.push(' ');
            arguments.push_str(&word(argument));
        }
        arguments
    }

    /// Shows why there is no answer yet and asks again.
    pub fn again(&self, reason: &str) -> String {
        let base = &self.base;
        let reason = echo(reason);
        format!(
            "#!ipxe
:again
echo Imprint: {reason}
echo Imprint: asking again in 15 seconds
sleep 15
chain --replace {base}/boot/start.ipxe || goto again
"
        )
    }
}

/// Leaves the network boot.
///
/// UEFI takes a plain `exit` for a success and stops at its setup menu; a failure makes it go on to the next boot
/// entry. A BIOS goes on either way, but iPXE prints an error for the latter. Firmware that goes nowhere after that needs
/// iPXE to start the first disk: the boot sector of a BIOS, the removable path of UEFI. When that fails, iPXE ends.
pub fn local_disk(facts: &BootFacts, how: LocalBoot, reason: &str) -> String {
    let exit = match facts.platform {
        Platform::Efi => "exit 1",
        Platform::Pcbios => "exit",
    };
    let start = match how {
        LocalBoot::Exit => "",
        LocalBoot::Sanboot => "sanboot --no-describe --drive 0x80 ||\n",
    };
    format!(
        "#!ipxe\necho Imprint: {} boots its local disk: {}\n{start}{exit}\n",
        facts.mac,
        echo(reason)
    )
}

/// Leaves the network boot of a machine that could not even name its MAC address.
pub fn refused(reason: &str) -> String {
    format!(
        "#!ipxe
echo Imprint: {}
sleep 10
iseq ${{platform}} efi && goto local_efi ||
exit
:local_efi
exit 1
",
        echo(reason)
    )
}

/// Text for the screen: nothing that iPXE would expand, split or run.
fn echo(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || " .,:;()/+=@_-".contains(c);
    text.chars()
        .take(MAX_ECHO)
        .map(|c| if plain(c) { c } else { '.' })
        .collect()
}

pub mod grub;
#[cfg(test)]
mod tests;
