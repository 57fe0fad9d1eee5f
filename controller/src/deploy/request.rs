//! What a caller asks for, and every reason why it cannot work. Pure: all facts come in as values.

use std::{borrow::Cow, fmt};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use imprint_hardware::{
    disk::{DiskPlan, DiskRule},
    matching::Reason,
    model::HardwareModel,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    disk_choice::{self, NoDisk, Unsuited},
    disk_policy::{self, DiskPolicy},
    finish_options::{self, FinishOptions},
    fit, hostname,
    image_rules::{self, Chosen, ImageRefusal},
    image_users::{self, ImageUsers},
    model_rules, network_config, network_nics,
    seed_place::{self, Sealed},
    user_data,
};
use crate::{
    api::rest::problem::Problem,
    catalog::ImageDisk,
    inventory::{Inventory, InventoryError, Node, NodeState},
};

/// A deployment to be made.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeployRequest {
    /// Id, name, UUID, serial number or MAC address of the node.
    pub node: String,
    /// Id or name of the image; empty when a family is given, or for a reinstallation with the same one.
    #[serde(default)]
    pub image: String,
    /// The family whose newest active image is deployed.
    #[serde(default)]
    pub family: Option<String>,
    /// Which disk of an image that has several.
    #[serde(default)]
    pub role: Option<String>,
    /// Rule that names the disk (`transport=nvme,size>=400GB`), or root device hints of Ironic or Metal3 as JSON or YAML;
    /// empty: for a system the one that servers of the node's hardware model start from, else the only one.
    #[serde(default)]
    pub disk: Option<String>,
    /// Id or name of the volume that the image goes onto instead of a disk. An SDI card shows it to the node, if none does yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume: Option<String>,
    /// As what the card shows it: `virtio-blk` (default) or `nvme`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_kind: Option<String>,
    /// What a system has left on the volume stays, and becomes this node's: nothing is streamed, and no image has to be named.
    /// Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_content: Option<bool>,
    /// cloud-init user-data, at most 64 KiB. Deleted from the controller as soon as it is on the disk.
    #[serde(default)]
    pub user_data: Option<String>,
    /// The same in base64, for what is not text: user-data that is packed by gzip.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_base64: Option<String>,
    /// cloud-init network-config, version 2, or OpenStack's network_data.json; empty: DHCP on the boot interface. Deleted like
    /// `user_data`.
    #[serde(default)]
    pub network_config: Option<String>,
    /// Host name; empty: the node's name.
    #[serde(default)]
    pub hostname: Option<String>,
    /// `network-first` (default), `disk-first` or `next-boot-only`.
    #[serde(default)]
    pub boot_order: Option<String>,
    /// What becomes of users that the image brings: `keep`, `remove-keys`, `lock-passwords` or `remove-access` (both). Default: the
    /// image's property `image_users`, else `keep`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_users: Option<String>,
    /// Grow the last partition and its file system; default true.
    #[serde(default)]
    pub grow_root: Option<bool>,
    /// The form of cloud-init's seed: `nocloud` or `config-drive`. Default: the image's property `data_source`, else `nocloud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_source: Option<String>,
    /// Give the image's file systems UUIDs of their own; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fresh_uuids: Option<bool>,
    /// Added to the command line of the installed system's kernels, each as one word: `console=ttyS1,115200`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kernel_arguments: Vec<String>,
    /// `firmware`: the serial console that the server's firmware names (ACPI's SPCR) becomes one of the installed system, unless
    /// `kernel_arguments` or the image name one. Default: `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
    /// Where no root file system of the image can be written, put cloud-init's seed on a partition of its own; such a system makes
    /// no report of its first boot. Default: as the image's facts say (LUKS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_partition: Option<bool>,
    /// Make a system of it; false writes the image's bytes and nothing else. Default true.
    #[serde(default)]
    pub finish: Option<bool>,
    /// Overwrite a node that is active; default false. Without an image, a family or a volume: with the image of its last
    /// installation, onto the same disk.
    #[serde(default)]
    pub reinstall: Option<bool>,
    /// Deploy an image that was captured from another model of server; default false.
    #[serde(default)]
    pub allow_unverified: Option<bool>,
    /// Disks whose content may go though it belongs to others: serial number, WWN, NGUID, EUI-64 or volume id of each.
    #[serde(default)]
    pub wipe: Vec<String>,
    /// Only tell what would be done: 200 with the plan, and nothing is begun. Default false.
    #[serde(default)]
    pub dry_run: bool,
}

impl fmt::Debug for DeployRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeployRequest")
            .field("node", &self.node)
            .field("image", &self.image)
            .field("family", &self.family)
            .field("disk", &self.disk)
            .field("volume", &self.volume)
            .field("wipe", &self.wipe)
            .field("dry_run", &self.dry_run)
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}

/// One reason why a deployment cannot work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The image itself is against it.
    Image(ImageRefusal),
    /// The image does not fit the node's hardware, or nobody knows.
    Fit(Reason),
    /// Something else of what the request names: it is not there, or may not be used.
    Other(Box<Problem>),
    /// The node's state does not allow it.
    NodeState(String, NodeState),
    /// The node runs a system, and nobody said that it may go.
    Active(String),
    /// The disk rule cannot be read.
    DiskRule(String),
    /// It is not clear which volume is meant, or how.
    Volume(String),
    /// The rule names no disk, or several.
    NoDisk(NoDisk),
    /// What may be wiped is not said in names of disks.
    Wipe(String),
    /// The image does not fit.
    TooSmall(Unsuited),
    /// The sectors differ.
    Sectors(Unsuited),
    /// user-data is not what cloud-init reads.
    UserData(String),
    /// Network data that no server's network can be made of.
    NetworkConfig(String),
    /// Not a host name.
    Hostname(String),
    /// Not an order.
    BootOrder(String),
    /// Not a policy for the users of an image.
    ImageUsers(String),
    /// Not a form of cloud-init's seed.
    DataSource(String),
    /// What a kernel's command line cannot hold.
    KernelArguments(String),
    /// Not a choice of consoles.
    Console(String),
    /// The root of the image cannot be written.
    Sealed(Sealed),
    /// Data for a system that will not be made.
    NothingToFinish,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(refusal) => refusal.fmt(f),
            Self::Fit(reason) => f.write_str(&reason.text),
            Self::NodeState(name, state) => write!(
                f,
                "Node {name} is {state}; only an available or failed node can be deployed."
            ),
            Self::Active(name) => write!(
                f,
                "Node {name} is active: a new deployment would overwrite its system."
            ),
            Self::NoDisk(found) => f.write_str(&capital(&found.text)),
            Self::Volume(fault) => f.write_str(&capital(fault)),
            Self::Wipe(fault) => write!(f, "It is not clear what may be wiped: {fault}."),
            Self::DiskRule(fault) => f.write_str(&capital(fault)),
            Self::TooSmall(found) | Self::Sectors(found) => f.write_str(&capital(&found.text)),
            Self::Other(problem) => f.write_str(&problem.detail),
            Self::UserData(fault) => write!(f, "The user-data cannot be used: {fault}."),
            Self::NetworkConfig(fault) => write!(f, "The network-config cannot be used: {fault}."),
            Self::Hostname(fault) => write!(f, "The host name cannot be used: {fault}."),
            Self::BootOrder(given) => write!(f, "`{given}` is not a boot order."),
            Self::ImageUsers(given) => write!(f, "`{given}` is not a policy for the users of an image."),
            Self::DataSource(given) => write!(f, "`{given}` is not a data source."),
            Self::KernelArguments(fault) => write!(f, "The kernel arguments cannot be used: {fault}."),
            Self::Console(given) => write!(f, "`{given}` is not a choice of consoles."),
            Self::Sealed(sealed) => f.write_str(&sealed.cause()),
            Self::NothingToFinish => f.write_str(
                "User-data, network-config, host name and other wishes for the system have no place to go with `finish: false`.",
            ),
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

impl Refusal {
    /// The stable slug.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Image(refusal) => refusal.kind(),
            Self::Fit(reason) => fit::kind(reason),
            Self::Other(problem) => problem.kind,
            Self::NodeState(..) => "node-not-available",
            Self::Active(_) => "node-active",
            Self::DiskRule(_) => "bad-disk-rule",
            Self::NoDisk(_) => "no-such-disk",
            Self::Volume(_) => "bad-volume",
            Self::Wipe(_) => "bad-wipe",
            Self::TooSmall(_) => "image-larger-than-disk",
            Self::Sectors(_) => "sector-size-differs",
            Self::UserData(_) => "bad-user-data",
            Self::NetworkConfig(_) => "bad-network-config",
            Self::Hostname(_) => "bad-hostname",
            Self::BootOrder(_) => "bad-boot-order",
            Self::ImageUsers(_) => "bad-image-users",
            Self::DataSource(_) => "bad-data-source",
            Self::KernelArguments(_) => "bad-kernel-arguments",
            Self::Console(_) => "bad-console",
            Self::Sealed(_) => "root-not-writable",
            Self::NothingToFinish => "nothing-to-finish",
        }
    }

    /// The kind, for people.
    #[must_use]
    pub fn title(&self) -> &'static str {
        match self {
            Self::Image(refusal) => refusal.title(),
            Self::Fit(reason) => fit::title(reason),
            Self::Other(problem) => problem.title,
            Self::NodeState(..) => "The node is not available",
            Self::Active(_) => "The node runs a system",
            Self::DiskRule(_) => "The disk rule cannot be understood",
            Self::NoDisk(_) => "The rule does not name exactly one disk",
            Self::Volume(_) => "The wish for a volume cannot be understood",
            Self::Wipe(_) => "The names of disks to be wiped cannot be used",
            Self::TooSmall(_) => "The image is larger than the disk",
            Self::Sectors(_) => "The sector sizes differ",
            Self::UserData(_) => "The user-data cannot be used",
            Self::NetworkConfig(_) => "The network-config cannot be used",
            Self::Hostname(_) => "The host name cannot be used",
            Self::BootOrder(_) => "The boot order is not known",
            Self::ImageUsers(_) => "The policy for the users of the image is not known",
            Self::DataSource(_) => "The data source is not known",
            Self::KernelArguments(_) => "The kernel arguments cannot be used",
            Self::Console(_) => "The choice of consoles is not known",
            Self::Sealed(_) => "The root of the image cannot be written",
            Self::NothingToFinish => "There is nothing to finish",
        }
    }

    /// What the caller can do.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Image(refusal) => refusal.remedy(),
            Self::Fit(reason) => reason.remedy.clone(),
            Self::Other(problem) => problem.remedy.clone(),
            Self::NodeState(name, NodeState::Discovered | NodeState::Enrolled) => {
                format!("Approve it first: imprint node approve {name}.")
            }
            Self::NodeState(name, _) => {
                format!("Wait for the running deployment or cancel it; imprint why {name} says what it does.")
            }
            Self::Active(_) => {
                "Repeat with --reinstall if the system may go (API: `\"reinstall\": true`).".to_owned()
            }
            Self::DiskRule(_) => "Write conditions like transport=nvme,size>=400GB; docs/disk-rules.md has all fields and operators.".to_owned(),
            Self::NoDisk(found) => found.remedy.clone(),
            Self::Volume(_) => "Name either a volume, with kind virtio-blk or nvme, or a disk.".to_owned(),
            Self::Wipe(_) => {
                "Name each disk by its serial number, WWN, NGUID, EUI-64 or volume id.".to_owned()
            }
            Self::TooSmall(_) => "Choose a larger disk or a smaller image.".to_owned(),
            Self::Sectors(_) => "Choose an image made for this sector size, or another disk.".to_owned(),
            Self::UserData(_) => {
                "Correct the user-data; `cloud-init schema -c FILE` checks it too.".to_owned()
            }
            Self::NetworkConfig(_) => {
                "Correct the network-config; version 2 of cloud-init's format is taken, and OpenStack's network_data.json."
                    .to_owned()
            }
            Self::Hostname(_) => {
                "Use labels of letters, digits and inner hyphens, joined by dots.".to_owned()
            }
            Self::BootOrder(_) => "Use network-first, disk-first or next-boot-only.".to_owned(),
            Self::ImageUsers(_) => {
                "Use keep, remove-keys, lock-passwords or remove-access, in the request or in the image's property image_users."
                    .to_owned()
            }
            Self::DataSource(_) => {
                "Use nocloud or config-drive, in the request or in the image's property data_source.".to_owned()
            }
            Self::KernelArguments(_) => {
                "Give each argument by itself, without blanks, quotes and dollar signs.".to_owned()
            }
            Self::Console(_) => {
                "Use firmware or none; a console by its name goes to kernel_arguments (console=ttyS1,115200).".to_owned()
            }
            Self::Sealed(sealed) => sealed.remedy().to_owned(),
            Self::NothingToFinish => "Leave them out, or leave out `finish: false`.".to_owned(),
        }
    }

    /// Every disk of the machine with the reasons, when it is about the choice of one.
    #[must_use]
    pub fn disks(&self) -> &[imprint_hardware::disk::Verdict] {
        match self {
            Self::NoDisk(found) => &found.verdicts,
            Self::TooSmall(found) | Self::Sectors(found) => &found.verdicts,
            _ => &[],
        }
    }

    /// 409 for a state that may change by itself, 422 for a request that has to change.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Image(refusal) => refusal.status(),
            Self::Other(problem) => problem.status,
            Self::NodeState(..) | Self::Active(_) => StatusCode::CONFLICT,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        }
    }
}

/// A request that was found good, with everything that was left out filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub disk: ImageDisk,
    pub warnings: Vec<String>,
    pub rule: DiskRule,
    /// Name of the hardware model whose rule it is.
    pub rule_model: Option<String>,
    pub disk_policy: DiskPolicy,
    /// Unknown for a node whose disks nobody has seen.
    pub disk_plan: Option<DiskPlan>,
    pub hostname: String,
    pub boot_order: &'static str,
    pub image_users: ImageUsers,
    /// Seconds that this kind of server takes longer than others to ask what to boot.
    pub boot_seconds: u32,
    pub grow_root: bool,
    pub finish: bool,
    pub options: FinishOptions,
}

/// The node of a request, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server<'a> {
    pub node: &'a Node,
    pub inventory: Option<&'a Inventory>,
    pub model: Option<&'a HardwareModel>,
}

/// The user-data of a request as bytes.
pub(super) fn user_data_of(request: &DeployRequest) -> Result<Cow<'_, [u8]>, Refusal> {
    let text = request.user_data.as_deref().unwrap_or_default();
    let packed = request.user_data_base64.as_deref().unwrap_or_default();
    match (text, packed) {
        (text, "") => Ok(Cow::Borrowed(text.as_bytes())),
        ("", packed) => STANDARD
            .decode(packed.trim())
            .map(Cow::Owned)
            .map_err(|error| Refusal::UserData(format!("it is not base64: {error}"))),
        _ => Err(Refusal::UserData(
            "it is given twice, as text and in base64".to_owned(),
        )),
    }
}

/// Checks everything that can be known before a byte is written.
pub(super) fn check(
    request: &DeployRequest,
    server: Server<'_>,
    chosen: Option<Chosen<'_>>,
    against: Vec<Refusal>,
    disk_policy: DiskPolicy,
) -> Result<Checked, Vec<Refusal>> {
    let mut refusals = against;
    let Server {
        node,
        inventory,
        model,
    } = server;
    let mut disk_plan = None;
    let disk = chosen.and_then(|chosen| match image_rules::choose_disk(request, chosen) {
        Ok(disk) => Some(disk),
        Err(against) => {
            refusals.extend(against.into_iter().map(Refusal::Image));
            None
        }
    });
    refusals.extend(fit::refusals(request, chosen.and_then(|chosen| chosen.fit)));
    match node.state {
        NodeState::Available | NodeState::Failed => {}
        NodeState::Active if request.reinstall == Some(true) => {}
        NodeState::Active => refusals.push(Refusal::Active(node.name.clone())),
        state => refusals.push(Refusal::NodeState(node.name.clone(), state)),
    }
    if let Some(maintenance) = &node.maintenance {
        let error = InventoryError::InMaintenance {
            name: node.name.clone(),
            maintenance: maintenance.clone(),
        };
        refusals.push(Refusal::Other(Box::new(error.into())));
    }
    let finish = request.finish.unwrap_or(true);
    let user_data = user_data_of(request);
    let is_empty = user_data.as_ref().is_ok_and(|data| data.is_empty());
    let network = request.network_config.as_deref().unwrap_or_default();
    let asked_name = request.hostname.as_deref().filter(|name| !name.is_empty());
    let asked_users = request.image_users.as_deref().filter(|word| !word.is_empty());
    let property = |name: &str| {
        let image = chosen.map(|chosen| chosen.image)?;
        image.properties.get(name).map(String::as_str)
    };
    let of_image = property(finish_options::PROPERTY).filter(|_| finish);
    let mut options = finish_options::read(request, of_image).unwrap_or_else(|against| {
        refusals.extend(against);
        FinishOptions::default()
    });
    let asks = !is_empty
        || !network.is_empty()
        || asked_name.is_some()
        || asked_users.is_some()
        || finish_options::asks(request);
    if !finish && asks {
        refusals.push(Refusal::NothingToFinish);
    }
    refusals.extend(disk_policy::fault(&request.wipe).map(Refusal::Wipe));
    let rule = match disk_choice::read(request.disk.as_deref().unwrap_or_default()) {
        Ok(rule) => {
            let policy = disk_policy.to_policy();
            let image = chosen.map(|chosen| chosen.image);
            let found = model_rules::disk_rule(
                rule,
                model,
                image
                    .zip(disk.as_ref())
                    .is_some_and(|(image, disk)| image_rules::has_system(image, disk)),
            );
            match (inventory, image.zip(disk.as_ref())) {
                (Some(inventory), Some((image, disk))) => {
                    match disk_choice::find(&found.rule, image, disk, inventory, &policy) {
                        Ok(plan) => disk_plan = Some(plan),
                        Err(against) => refusals.extend(against.into_iter().map(|refusal| {
                            match (refusal, &found.model) {
                                (Refusal::NoDisk(none), Some(model)) => {
                                    Refusal::NoDisk(none.by_model(&found.rule, model))
                                }
                                (refusal, _) => refusal,
                            }
                        })),
                    }
                }
                // What the image would need is not known; which disk was meant, the request says.
                (Some(inventory), None) if !found.rule.terms.is_empty() => {
                    refusals.extend(disk_choice::find_any(&found.rule, inventory, &policy));
                }
                _ => {}
            }
            Some(found)
        }
        Err(refusal) => {
            refusals.push(refusal);
            None
        }
    };
    let mut warnings = Vec::new();
    match user_data {
        Ok(data) => {
            let found = user_data::look(&data);
            if !found.faults.is_empty() {
                refusals.push(Refusal::UserData(found.faults.join("; ")));
            }
            let ignored = found.warnings.into_iter();
            warnings.extend(ignored.map(|warning| format!("The user-data: {warning}.")));
        }
        Err(refusal) => refusals.push(refusal),
    }
    let network = network_config::check(network);
    refusals.extend(network.faults.into_iter().map(Refusal::NetworkConfig));
    let elsewhere = network
        .network
        .and_then(|network| network_nics::fault(&network, node, inventory));
    refusals.extend(elsewhere.map(Refusal::NetworkConfig));
    let weak = network.warnings.into_iter();
    warnings.extend(weak.map(|warning| format!("The network-config: {warning}.")));
    let hostname = asked_name.unwrap_or(&node.name).to_owned();
    refusals.extend(hostname::fault(&hostname).map(Refusal::Hostname));
    let boot_order = match model_rules::boot_order(request.boot_order.as_deref(), model) {
        Ok((order, warning)) => {
            warnings.extend(warning);
            Some(order)
        }
        Err(refusal) => {
            refusals.push(refusal);
            None
        }
    };
    let of_image = property(image_users::PROPERTY);
    let image_users = match asked_users.or(of_image).map(str::parse) {
        None => ImageUsers::Keep,
        Some(Ok(policy)) => policy,
        Some(Err(_)) => {
            let given = asked_users.or(of_image).unwrap_or_default();
            refusals.push(Refusal::ImageUsers(given.chars().take(40).collect()));
            ImageUsers::Keep
        }
    };
    if finish && is_empty && image_users != ImageUsers::Keep {
        warnings.push(format!(
            "Users of the image lose their access ({image_users}), and no user-data makes others: `imprint guest reset-password` gives \
             one of them a password."
        ));
    }
    if finish {
        let sealed = chosen.and_then(|chosen| chosen.sealed);
        match seed_place::decide(request, sealed, options.data_source, image_users) {
            Ok(place) => {
                options.seed_partition = place.partition;
                warnings.extend(place.warnings);
            }
            Err(sealed) => refusals.push(Refusal::Sealed(sealed)),
        }
    }
    fit::without_doubles(&mut refusals);
    if let Some(chosen) = chosen {
        warnings.splice(0..0, image_rules::warnings(chosen));
    }
    match (rule, boot_order, disk) {
        (Some(found), Some(boot_order), Some(disk)) if refusals.is_empty() => Ok(Checked {
            disk,
            warnings: with_disk(warnings, disk_plan.as_ref()),
            rule: found.rule,
            rule_model: found.model,
            disk_policy,
            disk_plan,
            hostname,
            boot_order,
            image_users,
            boot_seconds: model_rules::boot_seconds(model),
            grow_root: request.grow_root.unwrap_or(true),
            finish,
            options,
        }),
        _ => Err(refusals),
    }
}

fn with_disk(mut warnings: Vec<String>, plan: Option<&DiskPlan>) -> Vec<String> {
    let of_disk = plan.iter().flat_map(|plan| {
        let told = |warning| format!("The disk {}: {warning}.", plan.disk.disk);
        plan.warnings.iter().map(told)
    });
    warnings.extend(of_disk);
    warnings
}

#[cfg(test)]
mod tests;
