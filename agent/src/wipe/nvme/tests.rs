//! Against a controller that does what the specification says, or does not.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    target::{Target as _, faulty::FaultyTarget},
    wipe::control::tests::control,
};

/// How the controller misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::wipe) struct Manner {
    /// Says that it is done, and has done nothing.
    pub lies: bool,
    /// The sanitize fails.
    pub fails: bool,
    /// The failure can't be left.
    pub keeps_failing: bool,
    /// Never ends.
    pub hangs: bool,
}

#[derive(Debug, Default)]
struct State {
    manner: Manner,
    /// Bits of SANICAP.
    sanitize: u8,
    format: bool,
    fna: u8,
    namespaces: Vec<u32>,
    running: Option<u32>,
    last: u32,
    status: u16,
    steps: u16,
    told: Vec<(u8, u32)>,
}

/// A controller in front of a disk in RAM.
#[derive(Debug, Clone)]
pub(in crate::wipe) struct Controller {
    disk: Arc<FaultyTarget>,
    state: Arc<Mutex<State>>,
}

impl Controller {
    /// One that can do everything.
    pub(in crate::wipe) fn over(disk: Arc<FaultyTarget>) -> Self {
        Controller {
            disk,
            state: Arc::new(Mutex::new(State {
                sanitize: 0b11,
                format: true,
                fna: 1 << 2,
                namespaces: vec![1],
                ..State::default()
            })),
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> &Self {
        change(&mut self.state.lock().unwrap());
        self
    }

    pub(in crate::wipe) fn behave(&self, manner: Manner) -> &Self {
        self.change(|state| state.manner = manner)
    }

    pub(in crate::wipe) fn without_sanitize(&self) -> &Self {
        self.change(|state| state.sanitize = 0)
    }

    /// As if an earlier agent had begun it.
    pub(in crate::wipe) fn begin(&self, action: u32) {
        self.change(|state| (state.running, state.last, state.status) = (Some(action), action, 2));
    }

    pub(in crate::wipe) fn told(&self, opcode: u8) -> Vec<u32> {
        let state = self.state.lock().unwrap();
        let of = state.told.iter().filter(|(told, _)| *told == opcode);
        of.map(|(_, word)| *word).collect()
    }

    fn clear(&self) {
        // A block erase leaves what the flash is without charge.
        let mut ones = crate::target::AlignedBuf::new(1 << 20);
        ones.fill(0xFF);
        for offset in (0..self.disk.len()).step_by(1 << 20) {
            self.disk.write_at(&ones, offset).unwrap();
        }
    }
}

impl NvmePort for Controller {
    fn namespace(&self) -> io::Result<u32> {
        Ok(1)
    }

    fn admin(&self, command: &Admin, data: &mut [u8]) -> io::Result<u16> {
        let mut state = self.state.lock().unwrap();
        state.told.push((command.opcode, command.cdw10));
        match (command.opcode, command.cdw10 & 0xFF) {
            (0x06, 0x00) => data[26] = 0x02,
            (0x06, 0x01) => {
                data[256] = u8::from(state.format) << 1 | 1 << 3;
                data[328] = state.sanitize;
                data[524] = state.fna;
            }
            (0x06, 0x02 | 0x10) => {
                for (place, number) in data.chunks_exact_mut(4).zip(&state.namespaces) {
                    place.copy_from_slice(&number.to_le_bytes());
                }
            }
            (0x02, 0x81) => {
                assert_eq!((command.namespace, data.len()), (u32::MAX, 512));
                state.steps += 1;
                if let Some(action) = state.running
                    && state.steps >= 3
                    && !state.manner.hangs
                {
                    state.running = None;
                    state.status = if state.manner.fails { 3 } else { 1 };
                    state.last = action;
                    if !state.manner.fails && !state.manner.lies {
                        self.clear();
                    }
                }
                let share = if state.running.is_some() {
                    state.steps.saturating_mul(0x4000)
                } else {
                    u16::MAX
                };
                data[..2].copy_from_slice(&share.to_le_bytes());
                data[2..4].copy_from_slice(&state.status.to_le_bytes());
                data[4..8].copy_from_slice(&state.last.to_le_bytes());
                data[12..20].fill(0xFF);
            }
            (0x84, word) => match word & 0b111 {
                1 if state.manner.keeps_failing => return Ok(0x01C),
                1 => state.status = 0,
                action => {
                    (state.running, state.last) = (Some(action), action);
                    (state.status, state.steps) = (2, 0);
                }
            },
            (0x80, _) if state.format => {
                if !state.manner.lies {
                    self.clear();
                }
            }
            _ => return Ok(0x001),
        }
        Ok(0)
    }
}

fn disk() -> (Controller, Arc<FaultyTarget>) {
    let disk = Arc::new(FaultyTarget::filled(4 << 20, 0xA5));
    (Controller::over(Arc::clone(&disk)), disk)
}

#[test]
fn a_sanitize_is_watched_to_its_end() {
    let (controller, disk) = disk();
    let (control, seen, _stop) = control(4 << 20);
    let nvme = Nvme(controller.clone());
    assert_eq!(nvme.offers(&control).methods, METHODS);
    nvme.erase(WipeMethod::NvmeSanitizeBlock, &control).unwrap();
    assert!(disk.content().iter().all(|byte| *byte == 0xFF));
    assert_eq!(controller.told(0x84), [0b1010], "block erase, unrestricted");
    assert!(seen.borrow()[0].done > 0 && seen.borrow()[0].by_itself);
    let commands = control.commands();
    assert_eq!((commands.len(), commands[1].code), (2, 1));
    assert_eq!(commands[1].answer, "succeeded (status 0x0001)");

    nvme.erase(WipeMethod::NvmeSanitizeCrypto, &control).unwrap();
    assert_eq!(controller.told(0x84)[1], 0b1100);
}

#[test]
fn a_failure_is_left_or_is_final() {
    let (controller, _) = disk();
    let (control, _seen, _stop) = control(4 << 20);
    let fails = Manner {
        fails: true,
        ..Manner::default()
    };
    let nvme = Nvme(controller.behave(fails).clone());
    let error = nvme.erase(WipeMethod::NvmeSanitizeBlock, &control).unwrap_err();
    assert!(
        matches!(&error, EraseError::Refused { cause } if cause.contains("failed")),
        "{error}"
    );
    assert_eq!(controller.told(0x84), [0b1010, 1], "the failure mode is left");
    controller.behave(Manner {
        keeps_failing: true,
        ..fails
    });
    let error = nvme.erase(WipeMethod::NvmeSanitizeBlock, &control).unwrap_err();
    assert!(matches!(error, EraseError::Stuck { .. }), "{error}");
}

#[test]
fn a_cancel_ends_the_watch_and_not_the_sanitize() {
    let (controller, _) = disk();
    let (control, _seen, stop) = control(4 << 20);
    controller.behave(Manner {
        hangs: true,
        ..Manner::default()
    });
    stop.pull();
    let error = Nvme(controller)
        .erase(WipeMethod::NvmeSanitizeBlock, &control)
        .unwrap_err();
    assert_eq!(error, EraseError::Cancelled);
    assert!(error.to_string().contains("goes on"));
}

#[test]
fn one_that_was_begun_before_is_waited_for() {
    let (controller, disk) = disk();
    let (control, _seen, _stop) = control(4 << 20);
    let nvme = Nvme(controller.clone());
    assert_eq!(nvme.settle(&control).unwrap(), None);
    controller.begin(CRYPTO_ERASE);
    assert_eq!(
        nvme.settle(&control).unwrap(),
        Some(WipeMethod::NvmeSanitizeCrypto)
    );
    assert!(disk.content().iter().all(|byte| *byte == 0xFF));
    assert!(controller.told(0x84).is_empty(), "nothing was begun anew");
}

#[test]
fn other_namespaces_are_not_erased_along() {
    let (controller, _) = disk();
    let (control, _seen, _stop) = control(4 << 20);
    controller.change(|state| state.namespaces = vec![1, 2]);
    let nvme = Nvme(controller.clone());
    let offers = nvme.offers(&control);
    assert_eq!(
        offers.methods,
        [WipeMethod::NvmeFormat, WipeMethod::NvmeFormatCrypto]
    );
    assert!(
        offers
            .passed_over
            .iter()
            .all(|passed| passed.reason.contains("other namespaces"))
    );
    controller.change(|state| state.fna = 0b011);
    assert!(nvme.offers(&control).methods.is_empty());
    controller.change(|state| (state.format, state.sanitize, state.fna) = (false, 0, 0));
    let offers = nvme.offers(&control);
    assert_eq!((offers.methods.len(), offers.passed_over.len()), (0, 4));
    assert!(
        offers
            .passed_over
            .iter()
            .all(|passed| passed.reason.contains("not support"))
    );
}

#[test]
fn a_format_keeps_the_layout_and_asks_for_the_erasure() {
    let (controller, disk) = disk();
    let (control, _seen, _stop) = control(4 << 20);
    let nvme = Nvme(controller.clone());
    nvme.erase(WipeMethod::NvmeFormat, &control).unwrap();
    nvme.erase(WipeMethod::NvmeFormatCrypto, &control).unwrap();
    assert_eq!(controller.told(0x80), [0x202, 0x402]);
    assert!(disk.content().iter().all(|byte| *byte == 0xFF));
    // Index 0x25, metadata in line, protection of type 1 at the front.
    let mut namespace = [0; PAGE];
    (namespace[26], namespace[29]) = (0b0101_0101, 0b1001);
    assert_eq!(read(&[0; PAGE], &namespace, true).layout, 0b10_0001_0011_0101);
    controller.change(|state| state.format = false);
    let error = nvme.erase(WipeMethod::NvmeFormat, &control).unwrap_err();
    assert!(error.to_string().contains("invalid opcode"), "{error}");
}
