//! Against a disk that keeps the rules of the security feature set.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    target::{Target as _, faulty::FaultyTarget},
    wipe::control::tests::control,
};

#[derive(Debug, Default)]
struct State {
    /// Word 128.
    flags: u16,
    password: Option<Vec<u8>>,
    prepared: bool,
    fails: bool,
    told: Vec<u8>,
}

/// A disk in RAM with ATA security.
#[derive(Debug, Clone)]
pub(in crate::wipe) struct Disk {
    disk: Arc<FaultyTarget>,
    state: Arc<Mutex<State>>,
}

const SUPPORTED: u16 = 1;
const ENABLED: u16 = 1 << 1;
const LOCKED_BIT: u16 = 1 << 2;
const FROZEN: u16 = 1 << 3;
const ENHANCED: u16 = 1 << 5;

impl Disk {
    pub(in crate::wipe) fn over(disk: Arc<FaultyTarget>) -> Self {
        let state = State {
            flags: SUPPORTED | ENHANCED,
            ..State::default()
        };
        Disk {
            disk,
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> &Self {
        change(&mut self.state.lock().unwrap());
        self
    }

    pub(in crate::wipe) fn freeze(&self) -> &Self {
        self.change(|state| state.flags |= FROZEN)
    }
}

impl AtaPort for Disk {
    fn command(&self, command: u8, data: Data<'_>, _: Duration) -> io::Result<Answer> {
        let mut state = self.state.lock().unwrap();
        state.told.push(command);
        let aborted = Ok(Answer {
            status: 0x51,
            error: 0x04,
        });
        let password = |block: &Block| block[2..34].to_vec();
        match (command, data) {
            (IDENTIFY, Data::In(page)) => {
                page[164..166].copy_from_slice(&2_u16.to_le_bytes());
                page[178..180].copy_from_slice(&0x8100_u16.to_le_bytes());
                page[256..258].copy_from_slice(&state.flags.to_le_bytes());
            }
            _ if state.flags & FROZEN != 0 => return aborted,
            (SET_PASSWORD, Data::Out(block)) if state.flags & LOCKED_BIT == 0 => {
                state.password = Some(password(block));
                state.flags |= ENABLED;
            }
            (ERASE_PREPARE, Data::None) => state.prepared = true,
            (ERASE_UNIT, Data::Out(block)) => {
                let right = state.password == Some(password(block));
                if !std::mem::take(&mut state.prepared) || !right || state.fails {
                    return aborted;
                }
                self.disk.zero(0, self.disk.len()).unwrap();
                state.password = None;
                state.flags &= !(ENABLED | LOCKED_BIT);
            }
            (DISABLE_PASSWORD, Data::Out(block)) if state.password == Some(password(block)) => {
                state.password = None;
                state.flags &= !ENABLED;
            }
            (UNLOCK, Data::Out(block)) if state.password == Some(password(block)) => {
                state.flags &= !LOCKED_BIT;
            }
            _ => return aborted,
        }
        Ok(Answer {
            status: 0x50,
            error: 0,
        })
    }
}

fn disk() -> (Disk, Arc<FaultyTarget>) {
    let disk = Arc::new(FaultyTarget::filled(1 << 20, 0xA5));
    (Disk::over(Arc::clone(&disk)), disk)
}

#[test]
fn both_erasures_leave_no_password() {
    for method in [WipeMethod::AtaEnhancedSecureErase, WipeMethod::AtaSecureErase] {
        let (port, disk) = disk();
        let (control, _seen, _stop) = control(1 << 20);
        let ata = Ata(port.clone());
        assert!(ata.offers(&control).methods.contains(&method));
        ata.erase(method, &control).unwrap();
        assert!(disk.content().iter().all(|byte| *byte == 0));
        assert_eq!(port.state.lock().unwrap().password, None);
        assert_eq!(control.commands().last().unwrap().code, 0x5000);
    }
}

#[test]
fn frozen_and_missing_security_are_named() {
    let (port, _) = disk();
    let (control, _seen, _stop) = control(1 << 20);
    let ata = Ata(port.freeze().clone());
    let offers = ata.offers(&control);
    assert!(offers.methods.is_empty() && offers.passed_over[0].reason.contains("frozen"));
    assert!(
        ata.erase(WipeMethod::AtaSecureErase, &control)
            .unwrap_err()
            .to_string()
            .contains("frozen")
    );
    assert!(
        !port.state.lock().unwrap().told.contains(&SET_PASSWORD),
        "nothing is tried"
    );
    port.change(|state| state.flags = SUPPORTED);
    let offers = ata.offers(&control);
    assert_eq!(offers.methods, [WipeMethod::AtaSecureErase]);
    port.change(|state| state.flags = 0);
    assert_eq!(ata.offers(&control).passed_over.len(), 2);
}

#[test]
fn a_failed_erasure_leaves_the_disk_unlocked() {
    let (port, _) = disk();
    let (control, _seen, _stop) = control(1 << 20);
    port.change(|state| state.fails = true);
    let error = Ata(port.clone())
        .erase(WipeMethod::AtaSecureErase, &control)
        .unwrap_err();
    assert!(
        matches!(&error, EraseError::Refused { cause } if cause.contains("aborted")),
        "{error}"
    );
    let state = port.state.lock().unwrap();
    assert_eq!((state.password.as_ref(), state.flags & ENABLED), (None, 0));
}

#[test]
fn a_lock_of_an_interrupted_wipe_is_opened_and_no_other() {
    let (port, _) = disk();
    let (control, _seen, _stop) = control(1 << 20);
    let ata = Ata(port.clone());
    let locked = |password: &[u8]| {
        let mut whole = password.to_vec();
        whole.resize(32, 0);
        port.change(|state| {
            state.flags |= ENABLED | LOCKED_BIT;
            state.password = Some(whole);
        });
    };
    locked(PASSWORD);
    ata.erase(WipeMethod::AtaSecureErase, &control).unwrap();
    locked(b"another");
    let error = ata.erase(WipeMethod::AtaSecureErase, &control).unwrap_err();
    assert!(error.to_string().contains("password of its own"), "{error}");
}

#[test]
fn times_are_read_in_both_forms() {
    assert_eq!(time(0), None);
    assert_eq!(time(0x0002), Some(Duration::from_secs(240)));
    assert_eq!(time(0x8100), Some(Duration::from_secs(256 * 120)));
}
