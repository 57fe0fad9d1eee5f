//! Generates the Rust code of the wire contracts.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "imprint/agent/v1/enrollment.proto",
    "imprint/agent/v1/inventory.proto",
    "imprint/agent/v1/session.proto",
    "imprint/agent/v1/task.proto",
    "imprint/agent/v1/firstboot.proto",
    "imprint/agent/v1/guest.proto",
    "imprint/v1/controller.proto",
    "imprint/v1/copies.proto",
    "imprint/v1/guests.proto",
    "imprint/v1/images.proto",
    "imprint/v1/imports.proto",
    "imprint/v1/jobs.proto",
    "imprint/v1/matching.proto",
    "imprint/v1/store.proto",
    "imprint/v1/sharing.proto",
    "imprint/v1/tenants.proto",
];

/// Messages with secrets; what they show of themselves is in `src/redacted.rs`.
const SECRETS: [&str; 5] = [
    ".imprint.agent.v1.ImageSource",
    ".imprint.agent.v1.CloudInitSeed",
    ".imprint.agent.v1.GuestPlan",
    ".imprint.v1.ResetPasswordRequest",
    ".imprint.v1.ResetPasswordResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    fs::write(
        PathBuf::from(env::var("OUT_DIR")?).join("imprint.bin"),
        descriptors.encode_to_vec(),
    )?;
    tonic_prost_build::configure()
        .skip_debug(SECRETS)
        .compile_fds(descriptors)?;
    Ok(())
}
