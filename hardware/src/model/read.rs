//! From TOML to a model.

use std::str::FromStr;

use toml::de::DeTable;

use super::{
    Condition, HardwareModel, ModelErrors, ModelNeeds, PciPattern, Quirks, SCHEMA, TextFact, TextPattern,
    arguments::{MAX_ARGUMENT, MAX_ARGUMENTS, usable_argument},
    fields::{At, Problems, Section},
    module_name,
};
use crate::{disk::DiskRule, size::read_size};

/// The longest document.
const MAX_TEXT: usize = 64 * 1024;
const MAX_DESCRIPTION: usize = 1024;
const MAX_LIST: usize = 64;
const MAX_BOOT_SECONDS: u32 = 7200;
const ARCHITECTURES: [&str; 5] = ["x86_64", "aarch64", "riscv64", "ppc64le", "s390x"];

pub(super) fn read(text: &str) -> Result<HardwareModel, ModelErrors> {
    let mut problems = Problems::new(text);
    if text.len() > MAX_TEXT {
        problems.add(0, format!("it is longer than {MAX_TEXT} bytes"), "Write less.");
        problems.into_result()?;
        return Err(ModelErrors(Vec::new()));
    }
    let (document, faults) = DeTable::parse_recoverable(text);
    for fault in faults {
        let at = fault.span().map_or(0, |span| span.start);
        problems.add(
            at,
            format!("this is not TOML: {}", fault.message()),
            "Correct the line.",
        );
    }
    let mut top = Section::new(document.get_ref(), "", 0);
    schema(&mut top, &mut problems);
    let name = name(&mut top, &mut problems);
    let version = top.number("version", &mut problems);
    if version.as_ref().is_none_or(|version| version.value == 0) {
        let at = version.as_ref().map_or(0, |version| version.at);
        problems.add(
            at,
            "the model has no version",
            "Write `version = 1`, and raise it with each change.",
        );
    }
    let description = top.text("description", &mut problems);
    if let Some(long) = description.as_ref().filter(|d| d.value.len() > MAX_DESCRIPTION) {
        problems.add(
            long.at,
            format!("`description` is longer than {MAX_DESCRIPTION} bytes"),
            "Write less.",
        );
    }
    let approve = top.flag("approve", &mut problems).unwrap_or(false);
    let conditions = match top.section("match", &mut problems) {
        Some(section) => conditions(section, &mut problems),
        None => {
            problems.add(
                0,
                "there is no section [match]",
                "Say which servers are of this model.",
            );
            Vec::new()
        }
    };
    let needs = top.section("needs", &mut problems);
    let needs = needs
        .map(|section| needs_of(section, &mut problems))
        .unwrap_or_default();
    let boot = top.section("disks", &mut problems);
    let boot = boot.and_then(|section| boot_rule(section, &mut problems));
    let ramdisk = top.section("ramdisk", &mut problems);
    let ramdisk_arguments = ramdisk
        .map(|section| ramdisk_of(section, &mut problems))
        .unwrap_or_default();
    let quirks = top.section("quirks", &mut problems);
    let quirks = quirks
        .map(|section| quirks_of(section, &mut problems))
        .unwrap_or_default();
    top.end(&mut problems);
    problems.into_result()?;
    Ok(HardwareModel {
        name,
        version: version.map_or(1, |version| version.value),
        description: description.map(|d| d.value).unwrap_or_default(),
        approve,
        conditions,
        needs,
        boot,
        ramdisk_arguments,
        quirks,
    })
}

fn schema(top: &mut Section<'_, '_>, problems: &mut Problems<'_>) {
    let remedy = format!("Write `schema = {SCHEMA}` in the first line.");
    match top.number("schema", problems) {
        Some(found) if found.value == SCHEMA => {}
        Some(found) => problems.add(found.at, format!("schema {} is not known", found.value), remedy),
        None => problems.add(0, "the version of the schema is missing", remedy),
    }
}

fn name(top: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> String {
    const FORM: &str =
        "Use 1 to 64 lower-case letters, digits, dots and hyphens, beginning with a letter or digit.";
    let Some(found) = top.text("name", problems) else {
        problems.add(0, "the model has no name", "Write `name = \"maker-product\"`.");
        return String::new();
    };
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    let begins = found.value.starts_with(|c: char| c.is_ascii_alphanumeric());
    if found.value.len() > 64 || !begins || !found.value.chars().all(good) {
        let shown: String = found.value.chars().take(64).collect();
        problems.add(found.at, format!("`{shown}` cannot be the name of a model"), FORM);
    }
    found.value
}

fn conditions(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<Condition> {
    let mut found = Vec::new();
    for fact in TextFact::ALL {
        let patterns = bounded(section.texts(fact.key(), problems), fact.key(), problems);
        if !patterns.is_empty() {
            let patterns = patterns.iter().map(|pattern| TextPattern::new(&pattern.value));
            found.push(Condition::Text(fact, patterns.collect()));
        }
    }
    if let Some(architecture) = section.text("architecture", problems) {
        if !ARCHITECTURES.contains(&architecture.value.as_str()) {
            problems.add(
                architecture.at,
                format!("`{}` is not an architecture", architecture.value),
                format!("Use one of {}.", ARCHITECTURES.join(", ")),
            );
        }
        found.push(Condition::Architecture(architecture.value));
    }
    for id in bounded(section.texts("pci", problems), "pci", problems) {
        found.extend(pci(&id, problems).map(Condition::Pci));
    }
    for mut nics in section.sections("nics", "match.nics", problems) {
        let driver = nics
            .text("driver", problems)
            .map(|text| TextPattern::new(&text.value));
        let pci = nics.text("pci", problems).and_then(|id| pci(&id, problems));
        let count = nics.number("count", problems).map_or(1, |count| count.value);
        nics.end(problems);
        found.push(Condition::Nics { driver, pci, count });
    }
    for mut disks in section.sections("disks", "match.disks", problems) {
        let rule = disks.text("rule", problems);
        if rule.is_none() {
            problems.add(
                disks.at,
                "`match.disks` has no rule",
                "Write `rule = \"transport=nvme\"`.",
            );
        }
        let rule = rule.and_then(|rule| disk_rule(&rule, problems));
        let count = disks.number("count", problems).map_or(1, |count| count.value);
        disks.end(problems);
        found.extend(rule.map(|rule| Condition::Disks { rule, count }));
    }
    found.extend(size(&mut section, "memory_at_least", problems).map(Condition::MemoryAtLeast));
    found.extend(size(&mut section, "memory_at_most", problems).map(Condition::MemoryAtMost));
    if found.is_empty() {
        problems.add(
            section.at,
            "the section [match] has no condition, so it would be the model of every server",
            "Write at least `vendor` and `product`.",
        );
    }
    section.end(problems);
    found
}

fn needs_of(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> ModelNeeds {
    let drivers = bounded(section.texts("drivers", problems), "drivers", problems);
    let firmware = section.texts("firmware", problems);
    for mode in firmware
        .iter()
        .filter(|mode| !["uefi", "bios"].contains(&mode.value.as_str()))
    {
        problems.add(
            mode.at,
            format!("`{}` is not a firmware mode", mode.value),
            "Use uefi or bios.",
        );
    }
    let sectors = section.numbers("sector_sizes", problems);
    for sector in sectors
        .iter()
        .filter(|s| !s.value.is_power_of_two() || !(512..=65536).contains(&s.value))
    {
        problems.add(
            sector.at,
            format!("{} is not a sector size", sector.value),
            "Use 512, 4096, or both.",
        );
    }
    let arguments = arguments(&mut section, problems);
    let needs = ModelNeeds {
        drivers: drivers.iter().map(|driver| module_name(&driver.value)).collect(),
        firmware: values(firmware),
        secure_boot: section.flag("secure_boot", problems),
        sector_sizes: sectors.into_iter().map(|sector| sector.value).collect(),
        kernel_arguments: arguments,
        sdi: section.flag("sdi", problems).unwrap_or(false),
        guest_plugin: section.flag("guest_plugin", problems).unwrap_or(false),
    };
    section.end(problems);
    needs
}

fn ramdisk_of(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<String> {
    let arguments = arguments(&mut section, problems);
    section.end(problems);
    arguments
}

fn arguments(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Vec<String> {
    let found = section.texts("kernel_arguments", problems);
    let found = bounded(found, "kernel_arguments", problems);
    let mut bytes = 0;
    for argument in &found {
        bytes += argument.value.len() + 1;
        if argument.value.len() > MAX_ARGUMENT || !usable_argument(&argument.value) {
            let shown: String = argument.value.chars().take(40).collect();
            problems.add(
                argument.at,
                format!("`{shown}` cannot be passed to a kernel"),
                format!(
                    "Write one argument of at most {MAX_ARGUMENT} printable ASCII characters, without spaces, `${{`, `&&`, `||` or a leading `#`."
                ),
            );
        } else if bytes > MAX_ARGUMENTS && bytes - argument.value.len() - 1 <= MAX_ARGUMENTS {
            problems.add(
                argument.at,
                format!("the arguments are longer than {MAX_ARGUMENTS} bytes together"),
                "Write fewer.",
            );
        }
    }
    values(found)
}

fn boot_rule(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Option<DiskRule> {
    let rule = section.text("boot", problems);
    let rule = rule.and_then(|rule| disk_rule(&rule, problems));
    section.end(problems);
    rule
}

fn quirks_of(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Quirks {
    let boot_order = section.text("boot_order", problems);
    let local_boot = section.text("local_boot", problems);
    let quirks = Quirks {
        boot_order: boot_order.and_then(|text| word(&text, problems)),
        local_boot: local_boot.and_then(|text| word(&text, problems)),
        boot_seconds: boot_seconds(&mut section, problems),
    };
    section.end(problems);
    quirks
}

fn boot_seconds(section: &mut Section<'_, '_>, problems: &mut Problems<'_>) -> Option<u32> {
    let found = section.number("boot_seconds", problems)?;
    if found.value > MAX_BOOT_SECONDS {
        problems.add(
            found.at,
            format!("`quirks.boot_seconds` is more than {MAX_BOOT_SECONDS}"),
            "Write the seconds from power to the first request from the network.",
        );
    }
    Some(found.value)
}

fn word<T: FromStr<Err = crate::words::UnknownWord>>(
    text: &At<String>,
    problems: &mut Problems<'_>,
) -> Option<T> {
    match text.value.parse() {
        Ok(word) => Some(word),
        Err(error) => {
            let remedy = format!("Use one of {}.", error.known);
            problems.add(text.at, format!("`{}` is not a known quirk", error.word), remedy);
            None
        }
    }
}

fn pci(id: &At<String>, problems: &mut Problems<'_>) -> Option<PciPattern> {
    match id.value.parse() {
        Ok(pattern) => Some(pattern),
        Err(fault) => {
            problems.add(
                id.at,
                format!("`{}` {fault}", id.value),
                "`lspci -nn` shows the ids in brackets.",
            );
            None
        }
    }
}

fn disk_rule(text: &At<String>, problems: &mut Problems<'_>) -> Option<DiskRule> {
    match text.value.parse::<DiskRule>() {
        Ok(DiskRule { pick: Some(pick), .. }) => {
            let cause = format!(
                "the disk rule says `{}`, and here it names any number of disks",
                pick.word()
            );
            problems.add(text.at, cause, "Leave the word out.");
            None
        }
        Ok(rule) => Some(rule),
        Err(error) => {
            let remedy = "Write conditions like transport=nvme,size>=400GB.";
            problems.add(text.at, format!("the disk rule cannot be read: {error}"), remedy);
            None
        }
    }
}

fn size(section: &mut Section<'_, '_>, key: &'static str, problems: &mut Problems<'_>) -> Option<u64> {
    let text = section.text(key, problems)?;
    let size = read_size(&text.value);
    if size.is_none() {
        problems.add(
            text.at,
            format!("`{}` is not a size", text.value),
            "Write \"64GiB\".",
        );
    }
    size
}

fn bounded(list: Vec<At<String>>, key: &str, problems: &mut Problems<'_>) -> Vec<At<String>> {
    if let Some(extra) = list.get(MAX_LIST) {
        problems.add(
            extra.at,
            format!("`{key}` has more than {MAX_LIST} entries"),
            "Write fewer.",
        );
    }
    list
}

fn values(list: Vec<At<String>>) -> Vec<String> {
    list.into_iter().map(|item| item.value).collect()
}
