//! What is written of each case, for each system: checked in under `snapshots`, and read by people before machines do.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::PathBuf};

use imprint_network::{Format, Network, Rendered, read, render};

fn cases() -> Vec<(String, Network)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut cases: Vec<(String, Network)> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let network = read(&fs::read(&path).unwrap())
                .unwrap_or_else(|refused| panic!("{name}: {refused}"))
                .network;
            (name, network)
        })
        .collect();
    cases.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(cases.len() >= 8, "a case is missing");
    cases
}

fn shown(rendered: &Rendered) -> String {
    let mut out = String::new();
    for file in &rendered.files {
        out.push_str(&format!("=== {} {:04o}\n{}", file.path, file.mode, file.content));
    }
    for warning in &rendered.warnings {
        out.push_str(&format!("=== warning: {warning}\n"));
    }
    out
}

#[test]
fn rendered_files() {
    for (name, network) in cases() {
        for format in Format::ALL {
            let rendered = render(&network, format);
            insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
                insta::assert_snapshot!(format!("{name}__{}", format.word()), shown(&rendered));
            });
        }
    }
}

/// Reading what is written for cloud-init, or for netplan, gives the same network.
#[test]
fn cases_survive_the_way_out_and_back() {
    for (name, network) in cases() {
        for format in [Format::CloudInit, Format::Netplan] {
            let files = render(&network, format).files;
            let again =
                read(files[0].content.as_bytes()).unwrap_or_else(|refused| panic!("{name}: {refused}"));
            assert_eq!(again.network, network, "{name}");
        }
    }
}
