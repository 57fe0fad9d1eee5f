//! Tables of the artifact store.

use std::fmt::Write as _;

use super::plain;
use crate::{
    answer::{DamagedImage, DamagedObject, GcReport, StoreFigures, VerifyReport},
    measure,
};

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string cannot fail.
    writeln!(text, "{name:<10}  {value}").ok();
}

/// `imprint store show`
pub fn store(figures: &StoreFigures) -> String {
    let mut text = String::new();
    line(&mut text, "Store", &plain(&figures.place));
    let objects = format!(
        "{} in {} objects, {} of them packs",
        measure::bytes(figures.bytes),
        figures.objects,
        figures.packs
    );
    line(&mut text, "Holds", &objects);
    let images = format!(
        "{} with {} of data, {} compressed",
        figures.images,
        measure::bytes(figures.data_bytes),
        measure::bytes(figures.image_bytes)
    );
    line(&mut text, "Images", &images);
    line(
        &mut text,
        "Sharing",
        &format!(
            "{:.2} bytes of images for each byte of packs",
            figures.dedup_ratio
        ),
    );
    let unused = format!(
        "{} in {} objects",
        measure::bytes(figures.unused_bytes),
        figures.unused_objects
    );
    line(&mut text, "Unused", &unused);
    if let Some(free) = figures.free_bytes {
        line(&mut text, "Free", &measure::bytes(free));
    }
    damage(&mut text, &figures.damaged, &figures.damaged_images);
    text
}

/// `imprint store verify`
pub fn verification(report: &VerifyReport) -> String {
    let mut text = String::new();
    let read = format!(
        "{}: {} manifests, {} packs, {} frames",
        measure::bytes(report.bytes),
        report.manifests,
        report.packs,
        report.frames
    );
    line(&mut text, "Read", &read);
    line(&mut text, "Damaged", &report.damaged_objects.to_string());
    if report.healed > 0 {
        line(&mut text, "Mended", &report.healed.to_string());
    }
    damage(&mut text, &report.damaged, &report.images);
    text
}

fn damage(text: &mut String, objects: &[DamagedObject], images: &[DamagedImage]) {
    for object in objects {
        line(
            text,
            "Object",
            &format!("{}: {}", plain(&object.object), plain(&object.cause)),
        );
    }
    for image in images {
        let hit = format!(
            "{} ({}): {} of its objects are damaged or missing",
            plain(&image.name),
            plain(&image.id),
            image.damaged_objects
        );
        line(text, "Image", &hit);
    }
}

/// `imprint store gc`
pub fn collection(report: &GcReport) -> String {
    let mut text = String::new();
    let removed = format!(
        "{} in {} packs and {} manifests; {} of them left by a crash",
        measure::bytes(report.bytes),
        report.packs,
        report.manifests,
        report.orphans
    );
    line(
        &mut text,
        if report.dry_run { "Would go" } else { "Removed" },
        &removed,
    );
    if report.young > 0 {
        let young = format!(
            "{} in {} objects that nobody needs, but new",
            measure::bytes(report.young_bytes),
            report.young
        );
        line(&mut text, "Kept", &young);
    }
    if report.missing > 0 {
        let missing = format!(
            "{} objects that images need; `imprint store verify` names the images",
            report.missing
        );
        line(&mut text, "Missing", &missing);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_damaged_is_named_with_the_images_it_hits() {
        let report: VerifyReport = serde_json::from_value(serde_json::json!({
            "manifests": 2, "packs": 3, "frames": 40, "bytes": 1048576, "damaged_objects": 1,
            "damaged": [{"object": "packs/1f", "cause": "1 of its 20 frames are damaged, the first one at byte 7"}],
            "images": [{"id": "01J", "name": "debian\u{1b}[2J", "damaged_objects": 1}],
        }))
        .unwrap();
        let text = verification(&report);
        assert!(text.contains("1.0 MiB: 2 manifests, 3 packs, 40 frames"));
        assert!(text.contains("packs/1f: 1 of its 20 frames are damaged"));
        assert!(text.contains("(01J): 1 of its objects") && !text.contains('\u{1b}'));
    }

    #[test]
    fn a_dry_run_says_so() {
        let report = GcReport {
            dry_run: true,
            packs: 2,
            bytes: 2 << 20,
            missing: 1,
            ..GcReport::default()
        };
        let text = collection(&report);
        assert!(
            text.starts_with("Would go") && text.contains("2.0 MiB in 2 packs") && text.contains("Missing")
        );
        assert!(collection(&GcReport::default()).starts_with("Removed"));
    }
}
