//! One disk, from what it can do to the last sample.

use imprint_proto::agent::v1::{Disk, WipeCertificate, WipeMethod, WipePolicy};

use super::{
    certificate,
    control::{Control, IO_PATIENCE},
    device::Device,
    draft::{Draft, Drafts},
    fault::WipeFault,
    firmware::{EraseError, Firmware, name, passed_over},
    overwrite::{self, Zeroes},
    samples::{self, Expected},
    sampling::{SamplePlan, Seed, merged},
};
use crate::target::{END_BYTES, Target, Zeroed};

/// What is to be done to one disk.
#[derive(Debug)]
pub(super) struct DiskWipe {
    pub disk: Disk,
    pub policy: WipePolicy,
    pub released: Vec<String>,
    pub drafts: Option<Drafts>,
}

/// The content is gone, as far as the method says.
struct Erased {
    method: WipeMethod,
    plan: SamplePlan,
    expected: Expected,
    zeroes: Zeroes,
}

impl DiskWipe {
    /// Wipes and proves it.
    pub(super) fn run(
        &self,
        open: impl FnOnce() -> Result<Device, WipeFault>,
        control: &Control,
    ) -> WipeCertificate {
        let mut certificate = certificate::begun(&self.disk, self.policy);
        certificate.released.clone_from(&self.released);
        let result = open().and_then(|device| self.on(&device, &mut certificate, control));
        match result {
            Ok(Some(earlier)) => return earlier,
            Ok(None) => certificate::close(&mut certificate, &Ok(())),
            Err(fault) => certificate::close(&mut certificate, &Err(fault)),
        }
        certificate.commands = control.commands();
        certificate
    }

    /// The certificate of an earlier agent, when it was done already.
    fn on(
        &self,
        device: &Device,
        certificate: &mut WipeCertificate,
        control: &Control,
    ) -> Result<Option<WipeCertificate>, WipeFault> {
        if device.target.len() != self.disk.size_bytes {
            let bytes = |bytes: u64| format!("{bytes} bytes");
            return Err(WipeFault::Another {
                before: bytes(self.disk.size_bytes),
                now: bytes(device.target.len()),
            });
        }
        let identity = device.target.identity();
        let draft = self.drafts.as_ref().and_then(|drafts| drafts.load(&identity));
        let earlier = draft.as_ref().and_then(|draft| draft.certificate.clone());
        if let Some(earlier) = earlier.filter(|earlier| earlier.wiped) {
            return Ok(Some(earlier));
        }
        let erased = self.erase(device, draft, certificate, control)?;
        certificate.method = erased.method.into();
        certificate.bytes_overwritten += erased.zeroes.written;
        certificate.bytes_zeroed += erased.zeroes.by_command;
        device.forget_cache();
        if matches!(erased.expected, Expected::Changed(_)) {
            self.clear(device, &ends(device.target.len()), certificate, control)?;
        }
        self.prove(device, &erased, certificate, control)?;
        if let Err(error) = device.target.reread_partitions() {
            tracing::warn!(%error, "the kernel still shows partitions of a wiped disk");
        }
        if let Some(drafts) = &self.drafts {
            let mut done = certificate.clone();
            certificate::close(&mut done, &Ok(()));
            done.commands = control.commands();
            let draft = Draft {
                certificate: Some(done),
                ..Draft::default()
            };
            drafts.save(&identity, draft);
        }
        Ok(None)
    }

    fn erase(
        &self,
        device: &Device,
        draft: Option<Draft>,
        certificate: &mut WipeCertificate,
        control: &Control,
    ) -> Result<Erased, WipeFault> {
        let target = &*device.target;
        if let Some(firmware) = device.firmware.as_deref() {
            let settled = firmware.settle(control)?;
            if self.policy == WipePolicy::Auto {
                if let Some(erased) = continued(settled, draft, target) {
                    return Ok(erased);
                }
                if let Some(erased) = self.by_itself(firmware, target, certificate, control)? {
                    return Ok(erased);
                }
            }
        } else if self.policy == WipePolicy::Auto {
            let reason = "a disk of this kind is not known to erase itself";
            for method in [WipeMethod::NvmeSanitizeBlock, WipeMethod::AtaEnhancedSecureErase] {
                certificate.passed_over.push(passed_over(method, reason));
            }
        }
        let zeroed = |method, zeroes| -> Result<Erased, WipeFault> {
            Ok(Erased {
                method,
                plan: plan(seed()?, target),
                expected: Expected::Zeroes,
                zeroes,
            })
        };
        match self.policy {
            WipePolicy::Unspecified => Err(WipeFault::Policy(self.policy.into())),
            WipePolicy::Auto | WipePolicy::Overwrite => {
                let method = WipeMethod::Overwrite;
                certificate.method = method.into();
                control.begin(name(method), IO_PATIENCE, false);
                zeroed(method, overwrite::overwrite(target, control)?)
            }
            WipePolicy::Discard => {
                certificate.method = WipeMethod::ZeroCommand.into();
                control.begin(name(WipeMethod::ZeroCommand), IO_PATIENCE, false);
                let zeroes = overwrite::by_command(target, control)?;
                let method = match zeroes.written {
                    0 => WipeMethod::ZeroCommand,
                    _ => {
                        let reason = "the disk has no command for zeroes; they were written";
                        certificate
                            .passed_over
                            .push(passed_over(WipeMethod::ZeroCommand, reason));
                        WipeMethod::Overwrite
                    }
                };
                zeroed(method, zeroes)
            }
            WipePolicy::Quick => {
                certificate.method = WipeMethod::Quick.into();
                let ranges = signature_ranges(device);
                self.clear(device, &ranges, certificate, control)?;
                Ok(Erased {
                    method: WipeMethod::Quick,
                    plan: SamplePlan::of_ranges(seed()?, &ranges, block(target)),
                    expected: Expected::Zeroes,
                    zeroes: Zeroes::default(),
                })
            }
        }
    }

    /// The best that the disk can do; none when it can do nothing.
    fn by_itself(
        &self,
        firmware: &dyn Firmware,
        target: &dyn Target,
        certificate: &mut WipeCertificate,
        control: &Control,
    ) -> Result<Option<Erased>, WipeFault> {
        let offers = firmware.offers(control);
        certificate.passed_over.extend(offers.passed_over);
        for method in offers.methods {
            let plan = plan(seed()?, target);
            control.begin("noting and planting samples", IO_PATIENCE, false);
            let go_on = || {
                control.moved();
                !control.is_cancelled()
            };
            let before = samples::prepare(target, &plan, go_on)?.ok_or(WipeFault::Cancelled)?;
            if !before.tells_something() {
                let reason = "nothing on the disk could be noted or planted, so nothing would show it";
                certificate.passed_over.push(passed_over(method, reason));
                continue;
            }
            if let Some(drafts) = &self.drafts {
                let mut draft = Draft {
                    method: method.into(),
                    ..Draft::default()
                };
                draft.set_before(plan.seed(), &before);
                drafts.save(&target.identity(), draft);
            }
            certificate.method = method.into();
            match firmware.erase(method, control) {
                Ok(()) => {
                    return Ok(Some(Erased {
                        method,
                        plan,
                        expected: Expected::Changed(before),
                        zeroes: Zeroes::default(),
                    }));
                }
                Err(EraseError::Refused { cause }) => {
                    certificate.passed_over.push(passed_over(method, &cause));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(None)
    }

    /// Zeroes over some ranges, on the disk for certain.
    fn clear(
        &self,
        device: &Device,
        ranges: &[(u64, u64)],
        certificate: &mut WipeCertificate,
        control: &Control,
    ) -> Result<(), WipeFault> {
        control.begin("clearing signatures", IO_PATIENCE, false);
        for (start, end) in merged(ranges) {
            if control.is_cancelled() {
                return Err(WipeFault::Cancelled);
            }
            match device.target.zero(start, end - start)? {
                Zeroed::ByCommand => certificate.bytes_zeroed += end - start,
                Zeroed::ByWriting => certificate.bytes_overwritten += end - start,
            }
            control.moved();
        }
        device.target.flush()?;
        Ok(())
    }

    /// Samples, and the look that a system would take.
    fn prove(
        &self,
        device: &Device,
        erased: &Erased,
        certificate: &mut WipeCertificate,
        control: &Control,
    ) -> Result<(), WipeFault> {
        control.begin("reading samples back", IO_PATIENCE, false);
        let count = erased.plan.samples().len().max(1);
        let mut read = 0_usize;
        let go_on = |_: &_| {
            control.share(u16::try_from(read * usize::from(u16::MAX) / count).unwrap_or(u16::MAX));
            control.moved();
            read += 1;
            !control.is_cancelled()
        };
        let found = samples::check(&*device.target, &erased.plan, &erased.expected, go_on)
            .ok_or(WipeFault::Cancelled)?;
        certificate.samples = Some(certificate::samples(&erased.plan, &erased.expected, &found));
        if let Some(wrong) = found.wrong {
            return Err(WipeFault::of_sample(erased.method, wrong));
        }
        let left = device.signatures()?;
        if left.is_empty() {
            return Ok(());
        }
        let kinds: Vec<_> = left.into_iter().map(|content| content.kind).collect();
        Err(WipeFault::Signatures {
            found: kinds.join(", "),
        })
    }
}

/// What an earlier agent of this boot began, and noted before, has come to its end meanwhile.
fn continued(settled: Option<WipeMethod>, draft: Option<Draft>, target: &dyn Target) -> Option<Erased> {
    let (method, draft) = (settled?, draft?);
    let plan = plan(draft.seed()?, target);
    let before = draft.before();
    let fits = draft.method == i32::from(method) && before.units.len() == plan.samples().len();
    (fits && before.tells_something()).then(|| Erased {
        method,
        plan,
        expected: Expected::Changed(before),
        zeroes: Zeroes::default(),
    })
}

fn block(target: &dyn Target) -> u64 {
    target.logical_block().get().into()
}

fn plan(seed: Seed, target: &dyn Target) -> SamplePlan {
    SamplePlan::new(seed, target.len(), block(target))
}

fn seed() -> Result<Seed, WipeFault> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed).map_err(|_| WipeFault::Agent)?;
    Ok(seed)
}

/// Both ends of a disk or partition of this size.
fn ends(len: u64) -> [(u64, u64); 2] {
    let head = END_BYTES.min(len);
    [(0, head), (len.saturating_sub(END_BYTES).max(head), len)]
}

/// Both ends of the disk and of each partition, in whole blocks.
fn signature_ranges(device: &Device) -> Vec<(u64, u64)> {
    let (len, block) = (device.target.len(), block(&*device.target));
    let mut ranges = ends(len).to_vec();
    for (start, end) in device.partitions() {
        ranges.extend(ends(end - start).map(|(from, to)| (start + from, start + to)));
    }
    let whole = |(start, end): (u64, u64)| (start / block * block, end.next_multiple_of(block).min(len));
    merged(&ranges.into_iter().map(whole).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests;
