//! Models that come with the controller: the files of `controller/models/`.

use std::sync::LazyLock;

use imprint_hardware::model::HardwareModel;

/// The documents.
pub(super) const DOCUMENTS: [&str; 4] = [
    include_str!("../../models/nvme-mellanox.toml"),
    include_str!("../../models/qemu-q35.toml"),
    include_str!("../../models/raid-broadcom.toml"),
    include_str!("../../models/sdi-dpu.toml"),
];

/// The models with their documents.
pub(super) fn all() -> &'static [(HardwareModel, &'static str)] {
    static MODELS: LazyLock<Vec<(HardwareModel, &'static str)>> = LazyLock::new(|| {
        let read = |text: &&'static str| HardwareModel::read(text).ok().map(|model| (model, *text));
        DOCUMENTS.iter().filter_map(read).collect()
    });
    &MODELS
}
