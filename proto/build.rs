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
    "imprint/v1/power.proto",
    "imprint/v1/rescues.proto",
    "imprint/v1/store.proto",
    "imprint/v1/sharing.proto",
    "imprint/v1/tenants.proto",
    "imprint/v1/volumes.proto",
    "imprint/v1/webhooks.proto",
];

/// What SDI cards speak. Not among the descriptors: the controller asks with it and serves none of it.
const OPI_FILES: &[&str] = &[
    "opi/storage/v1/common.proto",
    "opi/storage/v1/nvme.proto",
    "opi/storage/v1/nvme_remote.proto",
    "opi/storage/v1/virtio_blk.proto",
];

/// Messages with secrets; what they show of themselves is in `src/redacted.rs`.
const SECRETS: [&str; 11] = [
    ".imprint.agent.v1.ImageSource",
    ".imprint.agent.v1.CloudInitSeed",
    ".imprint.agent.v1.GuestPlan",
    ".imprint.agent.v1.RescueTask",
    ".imprint.v1.ResetPasswordRequest",
    ".imprint.v1.ResetPasswordResponse",
    ".imprint.v1.RescueResponse",
    ".imprint.v1.CreateWebhookResponse",
    ".imprint.v1.SetBmcRequest",
    ".opi_api.storage.v1.NvmeSubsystemSpec",
    ".opi_api.storage.v1.TcpController",
];

/// Secrets that are not written down with the rest of their message.
const NOT_KEPT: [&str; 2] = [
    ".opi_api.storage.v1.NvmeSubsystemSpec.psk",
    ".opi_api.storage.v1.TcpController.psk",
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
        .codec_path("crate::codec::SmallBuffers")
        // They are the largest, and rare: each session has room for a message of its agent.
        .boxed(".imprint.agent.v1.AgentMessage.message.inventory")
        .boxed(".imprint.agent.v1.AgentMessage.message.outcome")
        .compile_fds(descriptors)?;
    let package = ".opi_api.storage.v1";
    let mut opi = tonic_prost_build::configure()
        .skip_debug(SECRETS)
        // The card of the tests keeps its books as JSON.
        .type_attribute(package, "#[derive(serde::Serialize, serde::Deserialize)]")
        .message_attribute(package, "#[serde(default)]");
    for secret in NOT_KEPT {
        opi = opi.field_attribute(secret, "#[serde(skip)]");
    }
    opi.compile_fds(protox::compile(OPI_FILES, ["proto"])?)?;
    Ok(())
}
