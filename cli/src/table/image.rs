//! Images and families.

use comfy_table::Table;
use serde_json::Value;

use super::{Facts, Moment, align_right, columns, or_dash, plain};
use crate::{
    answer::{Family, Image},
    measure,
};

/// All images.
pub fn images(images: &[Image], moment: &Moment) -> Table {
    // Few catalogues sell anything.
    let priced = images.iter().any(|image| !image.price.is_null());
    let mut titles = vec![
        "NAME",
        "FAMILY",
        "KIND",
        "SYSTEM",
        "VISIBILITY",
        "STATE",
        "DISK",
        "STORED",
        "CREATED",
        "ID",
    ];
    if priced {
        titles.insert(9, "PRICE");
    }
    let mut table = columns(&titles);
    for image in images {
        let mut row = vec![
            plain(&image.name),
            or_dash(image.family.as_deref()),
            or_dash(Some(&image.kind)),
            or_dash(Some(&system(image))),
            or_dash(Some(&image.visibility)),
            or_dash(Some(&state(image))),
            measure::bytes(image.disk_size_bytes),
            measure::bytes(image.stored_bytes),
            image
                .created_at
                .map_or_else(|| "-".into(), |at| measure::age(at, moment.now)),
            plain(&image.id),
        ];
        if priced {
            row.insert(9, or_dash(Some(&price(&image.price))));
        }
        table.add_row(row);
    }
    align_right(&mut table, 6, 8);
    table
}

fn state(image: &Image) -> String {
    if image.damaged {
        format!("{}, damaged", image.state)
    } else {
        image.state.clone()
    }
}

fn system(image: &Image) -> String {
    let words = [&image.os_distribution, &image.os_version, &image.architecture];
    let words: Vec<&str> = words
        .into_iter()
        .map(String::as_str)
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// All families.
pub fn families(families: &[Family], moment: &Moment) -> Table {
    let mut table = columns(&[
        "FAMILY", "NEWEST", "VERSION", "BUILT", "UPDATES", "IMAGES", "PROJECT",
    ]);
    for family in families {
        table.add_row([
            plain(&family.family),
            or_dash(family.newest_name.as_deref()),
            or_dash(family.newest_version.as_deref()),
            match (&family.newest_build_date, family.newest_created_at) {
                (Some(date), _) => plain(date),
                (None, Some(at)) => measure::age(at, moment.now),
                (None, None) => "-".into(),
            },
            or_dash(family.update_policy.as_deref()),
            family.images.to_string(),
            plain(&family.project_id),
        ]);
    }
    align_right(&mut table, 5, 6);
    table
}

/// One image.
pub fn image(image: &Image, moment: &Moment) -> Facts {
    let mut facts = Facts::default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let yes = |yes: bool| if yes { "yes" } else { "" };
    facts.add("name", image.name.as_str());
    facts.add("id", image.id.as_str());
    facts.add("family", text(&image.family));
    facts.add("version", text(&image.version));
    facts.add("description", image.description.as_str());
    facts.add("kind", image.kind.as_str());
    facts.add("state", state(image));
    facts.add("because", image.state_reason.as_str());
    facts.add("use instead", text(&image.replacement));
    for planned in &image.transitions {
        facts.time(&format!("{} from", planned.to_state), planned.at, moment);
    }
    facts.add("visibility", image.visibility.as_str());
    facts.add("project", image.project_id.as_str());
    facts.add("made by", image.created_by.as_str());
    facts.add("region", image.region.as_str());
    facts.add("system", system(image));
    facts.add("boots with", image.boot_modes.join(" "));
    facts.add("for", image.target.as_str());
    facts.add("certified for", image.certified_for.join(", "));
    facts.add("digest", image.image_digest.as_str());
    facts.add(
        "disk",
        format!(
            "{} ({} bytes)",
            measure::bytes(image.disk_size_bytes),
            image.disk_size_bytes
        ),
    );
    if image.disks.len() > 1 {
        for disk in &image.disks {
            facts.add(
                "disk",
                format!("{}: {}", disk.role, measure::bytes(disk.disk_size_bytes)),
            );
        }
    }
    for (name, bytes) in [
        ("least disk", image.min_disk_bytes),
        ("least memory", image.min_memory_bytes),
    ] {
        if bytes > 0 {
            facts.add(name, measure::bytes(bytes));
        }
    }
    facts.add("sector", format!("{} bytes", image.logical_sector_bytes));
    facts.add("data", measure::bytes(image.data_bytes));
    facts.add("stored", measure::bytes(image.stored_bytes));
    facts.add("encrypted", yes(image.encrypted));
    facts.add("protected", yes(image.protected));
    facts.add("not the newest", yes(image.exclude_from_latest));
    facts.add("format", image.source_format.as_str());
    facts.add("source", image.source.as_str());
    facts.add("from", image.source_reference.as_str());
    facts.add("captured on", image.source_model.as_str());
    facts.add("parent", text(&image.parent_id));
    facts.add("publisher", image.publisher.as_str());
    facts.add("licence", license(&image.license));
    facts.add("price", price(&image.price));
    facts.add("tags", image.tags.join(", "));
    for (key, value) in &image.properties {
        facts.add(
            "property",
            format!("{key}={}", value.as_str().unwrap_or_default()),
        );
    }
    facts.time("created", image.created_at, moment);
    facts
}

fn license(license: &Value) -> String {
    let Some(name) = license["name"].as_str() else {
        return String::new();
    };
    let mut words = vec![name];
    if license["included"] == true {
        words.push("included");
    }
    if license["required"] == true {
        words.push("bring your own");
    }
    words.extend(license["reference"].as_str().filter(|text| !text.is_empty()));
    words.join(", ")
}

pub fn price(price: &Value) -> String {
    match (
        price["amount"].as_str(),
        price["currency"].as_str(),
        price["per"].as_str(),
    ) {
        (Some(amount), Some(currency), Some(per)) => format!("{amount} {currency} per {per}"),
        _ => String::new(),
    }
}
