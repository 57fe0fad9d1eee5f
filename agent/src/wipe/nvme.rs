//! NVMe: Sanitize and Format NVM with secure erase (NVM Express Base Specification 2.0, 5.24 and 5.14; NVM Command Set).
//!
//! Sanitize is of the whole NVM subsystem, so it is used only where the namespace that is to be wiped is the only one. It goes on
//! over resets and losses of power, can't be stopped, and is watched in log page 0x81. Format is of one namespace, unless the
//! controller says that it formats all of them, and one command that takes as long as it takes.

mod status;

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use imprint_proto::agent::v1::WipeMethod;

use self::status::{SanitizeLog, SanitizeState, words};
use super::{
    control::Control,
    firmware::{EraseError, Firmware, Offers, name},
};
use crate::sys::nvme::Admin;

const PAGE: usize = 4096;
const ALL_NAMESPACES: u32 = u32::MAX;
/// For commands that are answered at once.
const SHORT: Duration = Duration::from_secs(30);
/// A format of a large disk without crypto erase writes all of it.
const FORMAT_LIMIT: Duration = Duration::from_secs(4 * 3600);
/// A sanitize whose share does not change for so long is given up ...
const SANITIZE_PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// ... or for so long as the disk itself says that all takes.
const LONGEST_ESTIMATE: Duration = Duration::from_secs(24 * 3600);
/// The log can't be read while the controller resets itself.
const LOG_PATIENCE: Duration = Duration::from_secs(300);

const STUCK: &str =
    "power-cycle the server and wipe again: a sanitize goes on with power; if it stays so, destroy the disk";

/// A namespace, as far as commands to it go.
pub trait NvmePort: Send + Sync + fmt::Debug {
    /// Its number.
    ///
    /// # Errors
    /// When it is no namespace.
    fn namespace(&self) -> io::Result<u32>;
    /// Sends an admin command and gives its status; 0 is success.
    ///
    /// # Errors
    /// When it has no answer.
    fn admin(&self, command: &Admin, data: &mut [u8]) -> io::Result<u16>;
}

/// An NVMe disk.
#[derive(Debug)]
pub struct Nvme<P>(pub P);

/// What Identify says of controller and namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Abilities {
    block_erase: bool,
    crypto_erase: bool,
    format: bool,
    format_crypto: bool,
    /// Format or its erasure is of all namespaces.
    format_is_of_all: bool,
    /// The lower word of Format: the layout that the namespace has, without erasure.
    layout: u32,
    /// It is the only namespace of the subsystem.
    alone: bool,
}

impl<P: NvmePort> Nvme<P> {
    fn ask(&self, opcode: u8, namespace: u32, cdw10: u32, data: &mut [u8]) -> Result<(), String> {
        let command = Admin {
            opcode,
            namespace,
            cdw10,
            cdw11: 0,
            timeout: SHORT,
        };
        match self.0.admin(&command, data) {
            Ok(0) => Ok(()),
            Ok(status) => Err(words(status)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn identify(&self, what: u32, namespace: u32) -> Result<[u8; PAGE], String> {
        const IDENTIFY: u8 = 0x06;
        let mut page = [0; PAGE];
        self.ask(IDENTIFY, namespace, what, &mut page)?;
        Ok(page)
    }

    fn log(&self) -> Result<SanitizeLog, String> {
        const GET_LOG_PAGE: u8 = 0x02;
        const SANITIZE_STATUS: u32 = 0x81;
        const BYTES: usize = 512;
        let mut page = [0; BYTES];
        let double_words = u32::try_from(BYTES / 4 - 1).unwrap_or(0);
        self.ask(
            GET_LOG_PAGE,
            ALL_NAMESPACES,
            double_words << 16 | SANITIZE_STATUS,
            &mut page,
        )?;
        Ok(SanitizeLog::read(&page))
    }

    fn abilities(&self) -> Result<Abilities, String> {
        const OF_NAMESPACE: u32 = 0x00;
        const OF_CONTROLLER: u32 = 0x01;
        const ACTIVE: u32 = 0x02;
        const ALLOCATED: u32 = 0x10;
        let number = self.0.namespace().map_err(|error| error.to_string())?;
        let controller = self.identify(OF_CONTROLLER, 0)?;
        let namespace = self.identify(OF_NAMESPACE, number)?;
        let manages_namespaces = u16::from_le_bytes([controller[256], controller[257]]) & 1 << 3 != 0;
        let holds_only = |list: u32| self.identify(list, 0).is_ok_and(|list| only(&list, number));
        // Namespaces that no controller shows are erased by a sanitize, too.
        let alone = holds_only(ACTIVE) && (!manages_namespaces || holds_only(ALLOCATED));
        Ok(read(&controller, &namespace, alone))
    }

    /// Waits until the log shows the end of a sanitize.
    fn watch(&self, control: &Control) -> Result<SanitizeLog, EraseError> {
        let mut unread: Option<Instant> = None;
        loop {
            match self.log() {
                Ok(log) => {
                    unread = None;
                    match log.state {
                        SanitizeState::InProgress => control.share(log.progress),
                        _ => return Ok(log),
                    }
                }
                Err(cause) => {
                    let since = *unread.get_or_insert_with(Instant::now);
                    if since.elapsed() >= LOG_PATIENCE {
                        return Err(EraseError::Stuck {
                            cause: format!(
                                "the sanitize log could not be read for {} s: {cause}",
                                LOG_PATIENCE.as_secs()
                            ),
                            remedy: STUCK,
                        });
                    }
                }
            }
            if control.pause() {
                return Err(EraseError::Cancelled);
            }
        }
    }

    fn sanitize(&self, method: WipeMethod, control: &Control) -> Result<(), EraseError> {
        const SANITIZE: u8 = 0x84;
        const EXIT_FAILURE_MODE: u32 = 1;
        /// A failed one may be left without another one that succeeds.
        const UNRESTRICTED: u32 = 1 << 3;
        let action = action(method);
        let estimate = self.log().ok().and_then(|log| log.estimate(action));
        let patience = estimate.map_or(SANITIZE_PATIENCE, |estimate| {
            (estimate * 2).clamp(SANITIZE_PATIENCE, LONGEST_ESTIMATE)
        });
        let label = name(method);
        control.begin(label, patience, true);
        let began = Instant::now();
        let command = |cdw10: u32| Admin {
            opcode: SANITIZE,
            namespace: 0,
            cdw10,
            cdw11: 0,
            timeout: SHORT,
        };
        self.tell(label, &command(action | UNRESTRICTED), began, control)?;
        let log = self.watch(control)?;
        let told = log.words();
        control.command(&format!("{label}: its end"), log.status, &told, began);
        match log.state {
            SanitizeState::Succeeded if log.action == action => Ok(()),
            SanitizeState::Failed => {
                let left = self.tell(
                    "NVMe sanitize, exit failure mode",
                    &command(EXIT_FAILURE_MODE),
                    Instant::now(),
                    control,
                );
                match left {
                    Ok(()) => Err(EraseError::refused(format!("{label}: {told}"))),
                    Err(_) => Err(EraseError::Stuck {
                        cause: format!("{label}: {told}; the disk stays in that state"),
                        remedy: "destroy the disk: it can neither be written nor has it erased itself",
                    }),
                }
            }
            _ => Err(EraseError::refused(format!(
                "{label}: the log tells of none that succeeded: {told}"
            ))),
        }
    }

    fn format(&self, method: WipeMethod, control: &Control) -> Result<(), EraseError> {
        const FORMAT: u8 = 0x80;
        const USER_DATA: u32 = 1 << 9;
        const CRYPTO: u32 = 2 << 9;
        let abilities = self.abilities().map_err(EraseError::refused)?;
        let namespace = self
            .0
            .namespace()
            .map_err(|error| EraseError::refused(error.to_string()))?;
        let erasure = if method == WipeMethod::NvmeFormatCrypto {
            CRYPTO
        } else {
            USER_DATA
        };
        let command = Admin {
            opcode: FORMAT,
            namespace,
            cdw10: abilities.layout | erasure,
            cdw11: 0,
            timeout: FORMAT_LIMIT,
        };
        control.begin(name(method), FORMAT_LIMIT + SHORT, true);
        self.tell(name(method), &command, Instant::now(), control)
    }

    fn tell(
        &self,
        label: &str,
        command: &Admin,
        began: Instant,
        control: &Control,
    ) -> Result<(), EraseError> {
        match self.0.admin(command, &mut []) {
            Ok(status) => {
                let answer = words(status);
                control.command(label, status, &answer, began);
                if status == 0 {
                    Ok(())
                } else {
                    Err(EraseError::refused(format!("{label}: {answer}")))
                }
            }
            Err(error) => {
                let answer = format!("no answer: {error}");
                control.command(label, u16::MAX, &answer, began);
                Err(EraseError::refused(format!("{label}: {answer}")))
            }
        }
    }
}

impl<P: NvmePort> Firmware for Nvme<P> {
    fn settle(&self, control: &Control) -> Result<Option<WipeMethod>, EraseError> {
        match self.log() {
            Ok(log) if log.state == SanitizeState::InProgress => {
                let patience = log.estimate(log.action).map_or(SANITIZE_PATIENCE, |estimate| {
                    (estimate * 2).clamp(SANITIZE_PATIENCE, LONGEST_ESTIMATE)
                });
                control.begin("a sanitize that was begun before", patience, true);
                let began = Instant::now();
                let end = self.watch(control)?;
                control.command(
                    "NVMe sanitize that was begun before: its end",
                    end.status,
                    &end.words(),
                    began,
                );
                Ok((end.state == SanitizeState::Succeeded)
                    .then(|| method_of(end.action))
                    .flatten())
            }
            // A disk without the log has no sanitize.
            _ => Ok(None),
        }
    }

    fn offers(&self, _: &Control) -> Offers {
        const NOT_SUPPORTED: &str = "the disk does not support it";
        const NOT_ALONE: &str = "it would erase other namespaces, too";
        let mut offers = Offers::default();
        let abilities = match self.abilities() {
            Ok(abilities) => abilities,
            Err(cause) => {
                let reason = format!("the disk does not say what it supports: {cause}");
                for method in METHODS {
                    offers.judge(method, Some(&reason));
                }
                return offers;
            }
        };
        let judge = |supported: bool, spreads: bool| match (supported, spreads && !abilities.alone) {
            (false, _) => Some(NOT_SUPPORTED),
            (true, true) => Some(NOT_ALONE),
            (true, false) => None,
        };
        for method in METHODS {
            let against = match method {
                WipeMethod::NvmeSanitizeBlock => judge(abilities.block_erase, true),
                WipeMethod::NvmeSanitizeCrypto => judge(abilities.crypto_erase, true),
                WipeMethod::NvmeFormatCrypto => judge(
                    abilities.format && abilities.format_crypto,
                    abilities.format_is_of_all,
                ),
                _ => judge(abilities.format, abilities.format_is_of_all),
            };
            offers.judge(method, against);
        }
        offers
    }

    fn erase(&self, method: WipeMethod, control: &Control) -> Result<(), EraseError> {
        match method {
            WipeMethod::NvmeSanitizeBlock | WipeMethod::NvmeSanitizeCrypto => self.sanitize(method, control),
            WipeMethod::NvmeFormat | WipeMethod::NvmeFormatCrypto => self.format(method, control),
            _ => Err(EraseError::refused(format!("{} is not of NVMe", name(method)))),
        }
    }
}

/// The best first.
const METHODS: [WipeMethod; 4] = [
    WipeMethod::NvmeSanitizeBlock,
    WipeMethod::NvmeSanitizeCrypto,
    WipeMethod::NvmeFormat,
    WipeMethod::NvmeFormatCrypto,
];

const BLOCK_ERASE: u32 = 2;
const CRYPTO_ERASE: u32 = 4;

fn action(method: WipeMethod) -> u32 {
    if method == WipeMethod::NvmeSanitizeCrypto {
        CRYPTO_ERASE
    } else {
        BLOCK_ERASE
    }
}

fn method_of(action: u32) -> Option<WipeMethod> {
    match action {
        BLOCK_ERASE => Some(WipeMethod::NvmeSanitizeBlock),
        CRYPTO_ERASE => Some(WipeMethod::NvmeSanitizeCrypto),
        _ => None,
    }
}

/// A list of namespaces, four bytes each, up to the first zero: whether it is this one alone.
fn only(list: &[u8; PAGE], number: u32) -> bool {
    let word = |at: usize| u32::from_le_bytes([list[at], list[at + 1], list[at + 2], list[at + 3]]);
    word(0) == number && word(4) == 0
}

fn read(controller: &[u8; PAGE], namespace: &[u8; PAGE], alone: bool) -> Abilities {
    let commands = u16::from_le_bytes([controller[256], controller[257]]);
    let sanitize = controller[328];
    let format = controller[524];
    let (layout, protection) = (u32::from(namespace[26]), u32::from(namespace[29]));
    Abilities {
        crypto_erase: sanitize & 1 != 0,
        block_erase: sanitize & 1 << 1 != 0,
        format: commands & 1 << 1 != 0,
        format_crypto: format & 1 << 2 != 0,
        format_is_of_all: format & 0b11 != 0,
        // FLBAS: index 3:0 and 6:5, metadata in line 4. DPS: type 2:0, place 3. CDW10: LBAF 3:0, MSET 4, PI 7:5, PIL 8, LBAFU 13:12.
        layout: layout & 0x1f
            | (layout >> 5 & 0b11) << 12
            | (protection & 0b111) << 5
            | (protection >> 3 & 1) << 8,
        alone,
    }
}

#[cfg(test)]
pub(super) mod tests;
