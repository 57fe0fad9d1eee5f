//! What a certificate says in words, and how it begins.

use imprint_proto::agent::v1::{Disk, WipeCertificate, WipeExpectation, WipeMethod, WipePolicy, WipeSamples};
use jiff::Timestamp;

use super::{
    fault::WipeFault,
    firmware::name,
    samples::{Expected, Found},
    sampling::SamplePlan,
};
use crate::session::backoff::chain;

/// Of a disk that nothing was done to yet.
#[must_use]
pub fn begun(disk: &Disk, policy: WipePolicy) -> WipeCertificate {
    WipeCertificate {
        disk: Some(disk.clone()),
        policy: policy.into(),
        started_at: Some(now()),
        agent_version: crate::VERSION.to_owned(),
        ..WipeCertificate::default()
    }
}

/// The end: wiped, or why not.
pub fn close(certificate: &mut WipeCertificate, result: &Result<(), WipeFault>) {
    certificate.ended_at = Some(now());
    certificate.wiped = result.is_ok();
    match result {
        Ok(()) => statement(certificate.method()).clone_into(&mut certificate.statement),
        Err(fault) => {
            "The disk is not wiped.".clone_into(&mut certificate.statement);
            certificate.cause = chain(fault);
            fault.remedy().clone_into(&mut certificate.remedy);
        }
    }
}

/// What samples have shown.
#[must_use]
pub fn samples(plan: &SamplePlan, expected: &Expected, found: &Found) -> WipeSamples {
    let (expectation, planted) = match expected {
        Expected::Zeroes => (WipeExpectation::Zeroes, 0),
        Expected::Changed(before) => (WipeExpectation::Changed, before.planted),
    };
    WipeSamples {
        seed: plan.seed().to_vec(),
        count: u32::try_from(plan.samples().len()).unwrap_or(u32::MAX),
        bytes: plan.bytes(),
        places_digest: plan.digest().to_vec(),
        expected: expectation.into(),
        as_expected: found.as_expected,
        planted,
        wrong_at_bytes: found.wrong.as_ref().map(super::samples::Wrong::offset),
    }
}

/// One line for people: "sda (ST4000, serial Z1, 4.0 TB): ATA secure erase, 130 samples as expected".
#[must_use]
pub fn line(certificate: &WipeCertificate) -> String {
    let disk = certificate.disk.clone().unwrap_or_default();
    let title = imprint_hardware::facts::Disk::from(disk).title();
    if !certificate.wiped {
        return format!("{title}: not wiped: {}", certificate.cause);
    }
    let samples = certificate
        .samples
        .as_ref()
        .map_or(0, |samples| samples.as_expected);
    format!(
        "{title}: {}, {samples} samples as expected",
        name(certificate.method())
    )
}

/// What a method proves, and what not.
fn statement(method: WipeMethod) -> &'static str {
    match method {
        WipeMethod::Quick => {
            "Signatures and both ends of the disk and of its partitions are gone. All other content is still there and can be read."
        }
        WipeMethod::ZeroCommand => {
            "The disk was told to make every addressable byte zero and guarantees it; samples and both ends read as zero. Spare and \
             replaced blocks, which no command reads, may still hold something."
        }
        WipeMethod::Overwrite => {
            "Zeroes were written over every addressable byte and flushed; samples and both ends read as zero. Spare and replaced \
             blocks, which no command reads, may still hold something."
        }
        WipeMethod::AtaSecureErase => {
            "The disk says that it has erased all of its user data; samples do not hold what they held, and both ends are zero. Blocks \
             that it had replaced before may still hold something."
        }
        WipeMethod::AtaEnhancedSecureErase => {
            "The disk says that it has erased all of its user data, replaced blocks among them; samples do not hold what they held, \
             and both ends are zero."
        }
        WipeMethod::NvmeFormat | WipeMethod::NvmeFormatCrypto => {
            "The disk says that it has erased all user data of the namespace; samples do not hold what they held, and both ends are \
             zero."
        }
        WipeMethod::NvmeSanitizeBlock | WipeMethod::NvmeSanitizeCrypto => {
            "The disk says that it has erased all user data everywhere, caches and spare blocks among them; samples do not hold what \
             they held, and both ends are zero."
        }
        WipeMethod::Unspecified => "The disk is not wiped.",
    }
}

fn now() -> prost_types::Timestamp {
    let now = Timestamp::now();
    prost_types::Timestamp {
        seconds: now.as_second(),
        nanos: now.subsec_nanosecond(),
    }
}
