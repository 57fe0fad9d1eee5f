//! ATA: the security feature set's erasure (ATA/ATAPI Command Set 4, 4.18 and 7.40 to 7.45).
//!
//! It needs a password, which the erasure takes away again. When power fails in between, the disk stays locked with it, so it is no
//! secret but a constant that is documented (docs/wipe.md): everybody can unlock such a disk, and the next wipe does.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use imprint_proto::agent::v1::WipeMethod;

use super::{
    control::Control,
    firmware::{EraseError, Firmware, Offers, name},
};
use crate::sys::ata::{Answer, Block, Data};

/// The password of an erasure on its way; the rest of its 32 bytes is zero.
pub const PASSWORD: &[u8; 12] = b"imprint-wipe";

const IDENTIFY: u8 = 0xEC;
const SET_PASSWORD: u8 = 0xF1;
const UNLOCK: u8 = 0xF2;
const ERASE_PREPARE: u8 = 0xF3;
const ERASE_UNIT: u8 = 0xF4;
const DISABLE_PASSWORD: u8 = 0xF6;
const SHORT: Duration = Duration::from_secs(30);
/// Disks that say 508 minutes mean "longer".
const LONGEST: Duration = Duration::from_secs(48 * 3600);
const UNTOLD: Duration = Duration::from_secs(12 * 3600);

const LOCKED: &str =
    "power-cycle the server and wipe again; the password is in docs/wipe.md, for tools such as hdparm";

/// A disk, as far as ATA commands to it go.
pub trait AtaPort: Send + Sync + fmt::Debug {
    /// Sends a command and waits for it.
    ///
    /// # Errors
    /// When it has no answer.
    fn command(&self, command: u8, data: Data<'_>, timeout: Duration) -> io::Result<Answer>;
}

/// An ATA disk.
#[derive(Debug)]
pub struct Ata<P>(pub P);

/// What IDENTIFY DEVICE says of security.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Security {
    supported: bool,
    /// A password is set.
    enabled: bool,
    locked: bool,
    frozen: bool,
    /// Too many wrong passwords since power came.
    exhausted: bool,
    enhanced: bool,
    erase_time: Option<Duration>,
    enhanced_time: Option<Duration>,
}

impl Security {
    fn read(page: &Block) -> Self {
        let word = |index: usize| u16::from_le_bytes([page[2 * index], page[2 * index + 1]]);
        let security = word(128);
        let flag = |bit: u16| security & 1 << bit != 0;
        Security {
            supported: flag(0) && word(82) & 1 << 1 != 0,
            enabled: flag(1),
            locked: flag(2),
            frozen: flag(3),
            exhausted: flag(4),
            enhanced: flag(5),
            erase_time: time(word(89)),
            enhanced_time: time(word(90)),
        }
    }

    /// Why nothing can be erased.
    fn against(self) -> Option<&'static str> {
        if !self.supported {
            Some("the disk does not support it")
        } else if self.frozen {
            Some(
                "the firmware of the server has frozen the disk's security; a disk that gets its power later is not frozen",
            )
        } else if self.exhausted {
            Some("too many wrong passwords; the disk takes none until it loses power")
        } else {
            None
        }
    }
}

/// Two minutes each, in 8 bits, or in 15 when the highest one says so. 0 says nothing.
fn time(word: u16) -> Option<Duration> {
    let units = if word & 0x8000 == 0 {
        word & 0xFF
    } else {
        word & 0x7FFF
    };
    (units > 0).then(|| Duration::from_secs(u64::from(units) * 120))
}

/// The block that goes with a password.
fn block(enhanced: bool) -> Block {
    let mut block = [0; 512];
    // Bit 0 clear: the user's password, not the master's.
    block[0] = u8::from(enhanced) << 1;
    block[2..2 + PASSWORD.len()].copy_from_slice(PASSWORD);
    block
}

impl<P: AtaPort> Ata<P> {
    fn security(&self) -> Result<Security, String> {
        let mut page = [0; 512];
        match self.0.command(IDENTIFY, Data::In(&mut page), SHORT) {
            Ok(answer) if answer.is_good() => Ok(Security::read(&page)),
            Ok(answer) => Err(said(answer)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn tell(
        &self,
        label: &str,
        command: u8,
        data: Data<'_>,
        timeout: Duration,
        control: &Control,
    ) -> Result<(), EraseError> {
        let began = Instant::now();
        match self.0.command(command, data, timeout) {
            Ok(answer) => {
                let told = said(answer);
                let code = u16::from_be_bytes([answer.status, answer.error]);
                control.command(label, code, &told, began);
                if answer.is_good() {
                    Ok(())
                } else {
                    Err(EraseError::refused(format!("{label}: {told}")))
                }
            }
            Err(error) => {
                let told = format!("no answer: {error}");
                control.command(label, u16::MAX, &told, began);
                Err(EraseError::refused(format!("{label}: {told}")))
            }
        }
    }

    /// After an erasure that failed: nobody shall find a disk that is locked.
    fn unlock(&self, failed: EraseError, control: &Control) -> EraseError {
        let after = match self.security() {
            Ok(security) => security,
            Err(_) => return failed,
        };
        if !after.enabled {
            return failed;
        }
        let mut done = Ok(());
        if after.locked {
            done = self.tell(
                "ATA SECURITY UNLOCK",
                UNLOCK,
                Data::Out(&block(false)),
                SHORT,
                control,
            );
        }
        let done = done.and_then(|()| {
            self.tell(
                "ATA SECURITY DISABLE PASSWORD",
                DISABLE_PASSWORD,
                Data::Out(&block(false)),
                SHORT,
                control,
            )
        });
        match done {
            Ok(()) => failed,
            Err(error) => EraseError::Stuck {
                cause: format!("{failed}; and the disk stays locked: {error}"),
                remedy: LOCKED,
            },
        }
    }
}

fn said(answer: Answer) -> String {
    const ABORTED: u8 = 0x04;
    let registers = format!("status {:#04x}, error {:#04x}", answer.status, answer.error);
    if answer.is_good() {
        format!("done ({registers})")
    } else if answer.error & ABORTED != 0 {
        format!("aborted ({registers})")
    } else {
        registers
    }
}

impl<P: AtaPort> Firmware for Ata<P> {
    /// An erasure that was interrupted does not go on by itself; the disk is locked, and the next one unlocks it.
    fn settle(&self, _: &Control) -> Result<Option<WipeMethod>, EraseError> {
        Ok(None)
    }

    fn offers(&self, _: &Control) -> Offers {
        let mut offers = Offers::default();
        let (enhanced, normal) = match self.security() {
            Ok(security) => {
                let against = security.against().map(str::to_owned);
                let lacks = (!security.enhanced).then(|| "the disk does not support it".to_owned());
                (against.clone().or(lacks), against)
            }
            Err(cause) => {
                let reason = format!("the disk does not say what it supports: {cause}");
                (Some(reason.clone()), Some(reason))
            }
        };
        offers.judge(WipeMethod::AtaEnhancedSecureErase, enhanced.as_deref());
        offers.judge(WipeMethod::AtaSecureErase, normal.as_deref());
        offers
    }

    fn erase(&self, method: WipeMethod, control: &Control) -> Result<(), EraseError> {
        let security = self.security().map_err(EraseError::refused)?;
        if let Some(reason) = security.against() {
            return Err(EraseError::refused(reason));
        }
        let enhanced = method == WipeMethod::AtaEnhancedSecureErase;
        let told = if enhanced {
            security.enhanced_time
        } else {
            security.erase_time
        };
        let limit = told.map_or(UNTOLD, |told| (told * 2 + Duration::from_secs(1800)).min(LONGEST));
        control.begin(name(method), limit + SHORT, true);
        // One that has a password may have it of a wipe that was interrupted.
        if !security.enabled {
            self.tell(
                "ATA SECURITY SET PASSWORD",
                SET_PASSWORD,
                Data::Out(&block(false)),
                SHORT,
                control,
            )?;
        }
        let label = if enhanced {
            "ATA SECURITY ERASE UNIT, enhanced"
        } else {
            "ATA SECURITY ERASE UNIT"
        };
        let erased = self
            .tell(
                "ATA SECURITY ERASE PREPARE",
                ERASE_PREPARE,
                Data::None,
                SHORT,
                control,
            )
            .and_then(|()| self.tell(label, ERASE_UNIT, Data::Out(&block(enhanced)), limit, control));
        if let Err(error) = erased {
            return Err(match security.enabled {
                // Somebody else's password: it is not for us to try it once more.
                true => EraseError::Stuck {
                    cause: format!("the disk has a password of its own: {error}"),
                    remedy: "unlock the disk with its password (hdparm --security-disable) and wipe again, or destroy it",
                },
                false => self.unlock(error, control),
            });
        }
        match self.security() {
            Ok(after) if !after.enabled => Ok(()),
            Ok(_) => Err(self.unlock(
                EraseError::refused(format!(
                    "{label}: the disk says that it is done and keeps its password"
                )),
                control,
            )),
            Err(cause) => Err(EraseError::Stuck {
                cause: format!("the disk does not answer after its erasure: {cause}"),
                remedy: LOCKED,
            }),
        }
    }
}

#[cfg(test)]
pub(super) mod tests;
