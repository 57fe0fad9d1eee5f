//! The table of what is accepted and what is refused: a test for each row, with files made by real tools.

use super::made::*;
use super::spots::{Spots, vhdx_item};
use super::*;
use crate::facts;
use crate::source::{ContainerError, Qcow2Error};

fn qcow2(disk: &[u8]) -> Vec<u8> {
    make(FORMS[14], disk)
}

#[test]
fn good_files_under_their_own_names_are_accepted_with_their_size() {
    let disk = marked_disk();
    for form in FORMS {
        let opened = open_bytes(&make(form, &disk), Some(form.format)).unwrap();
        assert_eq!(
            opened.source.disk_size_bytes(),
            Some(disk.len() as u64),
            "{form:?}"
        );
    }
}

#[test]
fn a_qcow2_with_a_backing_file_is_refused_by_name() {
    let made = create(&["-f", "qcow2", "-b", "base.raw", "-F", "raw"]);
    let error = refusal_of(&made, Some(Format::Qcow2));
    assert!(
        matches!(&error, SourceError::Qcow2(Qcow2Error::BackingFile { name }) if name == "base.raw"),
        "{error:?}"
    );
    assert!(message(&error).contains("qemu-img convert"), "{error}");
}

#[test]
fn a_qcow2_with_an_external_data_file_is_refused_by_name() {
    let error = refusal(&create(&["-f", "qcow2", "-o", "data_file=data.raw"]));
    assert!(
        matches!(error, SourceError::Qcow2(Qcow2Error::ExternalDataFile)),
        "{error:?}"
    );
}

#[test]
fn a_qcow2_with_a_luks_payload_is_refused_by_name() {
    // The method in the header of a file that is sound otherwise; `qcow2::tests` lets qemu-img encrypt one.
    let mut made = qcow2(&marked_disk());
    made[35] = 2;
    let error = refusal(&made);
    assert!(
        matches!(
            error,
            SourceError::Qcow2(Qcow2Error::Encrypted { name: "LUKS", .. })
        ),
        "{error:?}"
    );
    let luks = [&b"LUKS\xBA\xBE\0\x02"[..], &[0; 4096]].concat();
    let error = message(&refusal(&luks));
    assert!(error.contains("luks") && error.contains("decrypt it"), "{error}");
}

#[test]
fn a_qcow2_as_raw_is_refused_by_name() {
    let error = refusal_of(&qcow2(&marked_disk()), Some(Format::Raw));
    assert!(
        matches!(
            error,
            SourceError::Mismatch {
                declared: Format::Raw,
                detected: Format::Qcow2
            }
        ),
        "{error}"
    );
}

#[test]
fn zeros_as_qcow2_are_refused_by_name() {
    let error = refusal_of(&vec![0; 1 << 20], Some(Format::Qcow2));
    assert!(
        matches!(
            error,
            SourceError::Mismatch {
                declared: Format::Qcow2,
                detected: Format::Raw
            }
        ),
        "{error}"
    );
}

#[test]
fn a_qed_as_qcow2_is_refused_by_name() {
    let error = refusal_of(&make(FORMS[10], &marked_disk()), Some(Format::Qcow2));
    assert!(
        matches!(
            error,
            SourceError::Mismatch {
                declared: Format::Qcow2,
                detected: Format::Qed
            }
        ),
        "{error}"
    );
}

#[test]
fn every_format_declared_as_another_is_refused_by_name() {
    for form in FORMS {
        let file = make(form, &marked_disk());
        for other in FORMS.iter().map(|form| form.format).chain([Format::Raw]) {
            if other != form.format {
                let error = refusal_of(&file, Some(other));
                assert!(
                    matches!(error, SourceError::Mismatch { declared, detected }
                        if declared == other && detected == form.format),
                    "{error}"
                );
            }
        }
    }
}

#[test]
fn a_container_with_a_boot_sector_is_refused_by_name() {
    for form in FORMS {
        let mut file = make(form, &marked_disk());
        if form.options.concat().contains("fixed,force_size") {
            continue; // A raw disk with a footer: a boot sector is what it should have.
        }
        file[510..512].copy_from_slice(&[0x55, 0xAA]);
        let error = refusal_of(&file, Some(form.format));
        let named = message(&error);
        assert!(
            matches!(error, SourceError::Polyglot { first, .. } if first == form.format),
            "{error:?}"
        );
        assert!(named.contains("a raw disk with an MBR"), "{named}");
    }
}

#[test]
fn two_containers_in_one_file_are_refused_by_name() {
    let footer = make(FORMS[4], &marked_disk());
    let footer = &footer[footer.len() - 512..];
    for form in FORMS.into_iter().filter(|form| form.format != Format::Vhd) {
        let file = [&make(form, &marked_disk())[..], footer].concat();
        let error = refusal(&file);
        assert!(
            matches!(error, SourceError::Polyglot { first, second: "vhd" } if first == form.format),
            "{error:?}"
        );
    }
}

#[test]
fn a_vmdk_descriptor_of_another_kind_is_refused_by_name() {
    for kind in ["monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"] {
        let error = refusal(&create(&["-f", "vmdk", "-o", &format!("subformat={kind}")]));
        assert!(
            matches!(&error, SourceError::Container(ContainerError::Kind { kind: got, .. }) if got == kind),
            "{error:?}"
        );
        let text = message(&error);
        assert!(
            text.contains(kind) && text.contains("qemu-img convert -f vmdk"),
            "{text}"
        );
    }
    let cowd = refusal(&[&b"COWD\x01"[..], &[0; 4096]].concat());
    assert!(
        matches!(cowd, SourceError::Container(ContainerError::Kind { .. })),
        "{cowd:?}"
    );
}

/// Puts another descriptor of the same length into a monolithicSparse file.
fn described(from: &str, to: &str) -> Vec<u8> {
    let mut file = make(FORMS[0], &marked_disk());
    let end = 21 * 512;
    let text = String::from_utf8(file[512..end].to_vec()).unwrap();
    assert!(text.contains(from), "{text}");
    let mut text = text.replacen(from, to, 1).into_bytes();
    text.resize(end - 512, 0);
    file[512..end].copy_from_slice(&text);
    file
}

#[test]
fn a_vmdk_with_extents_outside_is_refused_by_name() {
    type Check = fn(&ContainerError) -> bool;
    let cases: [(&str, &str, Check); 9] = [
        (
            "SPARSE \"",
            "SPARSE \"/etc/",
            |e| matches!(e, ContainerError::NamesFile { name, .. } if name == "/etc/disk.img"),
        ),
        ("SPARSE \"", "SPARSE \"..\\", |e| {
            matches!(e, ContainerError::NamesFile { .. })
        }),
        (
            "SPARSE \"disk",
            "FLAT \"disk",
            |e| matches!(e, ContainerError::Kind { kind, .. } if kind.contains("FLAT")),
        ),
        ("\nRW", "\nRW 63 SPARSE \"a.vmdk\"\nRW", |e| {
            matches!(e, ContainerError::Extents { got: 2, .. })
        }),
        ("\nRW", "\n#", |e| {
            matches!(e, ContainerError::Extents { got: 0, .. })
        }),
        (
            "monolithicSparse",
            "vmfsSparse",
            |e| matches!(e, ContainerError::Kind { kind, .. } if kind == "vmfsSparse"),
        ),
        ("parentCID=ffffffff", "parentCID=01234567", |e| {
            matches!(e, ContainerError::Parent { .. })
        }),
        (
            "createType",
            "parentFileNameHint=\"base.vmdk\"\ncreateType",
            |e| matches!(e, ContainerError::Parent { parent, .. } if parent == "base.vmdk"),
        ),
        (
            "createType",
            "changeTrackPath=\"x-ctk.vmdk\"\ncreateType",
            |e| matches!(e, ContainerError::NamesFile { name, .. } if name == "x-ctk.vmdk"),
        ),
    ];
    for (from, to, check) in cases {
        let error = refusal(&described(from, to));
        let SourceError::Container(error) = error else {
            panic!("{to}: {error:?}");
        };
        assert!(check(&error), "{to}: {error:?}");
    }
    let error = refusal(&described("RW ", "RW 1"));
    assert!(message(&error).contains("the sectors of the extent"), "{error:?}");
    // The same text without the disk.
    let sparse = make(FORMS[0], &marked_disk());
    let error = refusal(sparse[512..21 * 512].split(|byte| *byte == 0).next().unwrap());
    assert!(
        matches!(error, SourceError::Container(ContainerError::NamesFile { .. })),
        "{error:?}"
    );
}

#[test]
fn a_difference_to_another_image_is_refused_by_name() {
    for format in ["qed", "qcow", "vmdk"] {
        let base = if format == "vmdk" { "vmdk" } else { "raw" };
        let made = if format == "vmdk" {
            described("parentCID=ffffffff", "parentCID=01234567")
        } else {
            create(&["-f", format, "-b", "base.raw", "-F", base])
        };
        let error = refusal_of(&made, Some(format.parse().unwrap()));
        let text = message(&error);
        assert!(
            matches!(error, SourceError::Container(ContainerError::Parent { .. })),
            "{text}"
        );
        assert!(
            text.contains("stand alone") && text.contains("; convert it"),
            "{text}"
        );
    }
    let mut vhd = make(FORMS[3], &marked_disk());
    let end = vhd.len() - 512;
    for at in [0, end] {
        vhd[at + 63] = 4;
    }
    vhd[512 + 64..512 + 72].copy_from_slice(b"\0b\0a\0s\0e");
    seal_vhd(&mut vhd);
    let mut vdi = make(FORMS[8], &marked_disk());
    vdi[0x4C] = 4;
    let mut linked = make(FORMS[8], &marked_disk());
    linked[0x1A8] = 1;
    let mut vhdx = make(FORMS[6], &marked_disk());
    let parameters = vhdx_item(&vhdx, &[0x37, 0x67, 0xA1, 0xCA]);
    vhdx[parameters + 4] |= 2;
    for file in [vhd, vdi, linked, vhdx] {
        let error = refusal(&file);
        assert!(
            matches!(error, SourceError::Container(ContainerError::Parent { .. })),
            "{error:?}"
        );
    }
}

#[test]
fn an_encrypted_qcow_is_refused_by_name() {
    let mut qcow = make(FORMS[12], &marked_disk());
    qcow[39] = 1;
    let text = message(&refusal(&qcow));
    assert!(text.contains("qcow") && text.contains("encrypted"), "{text}");
}

#[test]
fn a_vhdx_whose_log_must_be_replayed_is_refused_by_name() {
    let mut vhdx = make(FORMS[6], &marked_disk());
    for header in [64 << 10, 128 << 10] {
        vhdx[header + 48] = 1;
    }
    seal_vhdx(&mut vhdx);
    let text = message(&refusal(&vhdx));
    assert!(
        text.contains("its log has to be replayed") && text.contains("qemu-img check -r all"),
        "{text}"
    );
}

#[test]
fn an_iso_is_named_and_refused_with_a_remedy() {
    let mut iso = vec![0; 1 << 20];
    iso[0x8000..0x8006].copy_from_slice(b"\x01CD001");
    let mut hybrid = iso.clone();
    hybrid[510..512].copy_from_slice(&[0x55, 0xAA]);
    for (file, declared) in [(&iso, None), (&iso, Some(Format::Iso)), (&hybrid, None)] {
        let error = refusal_of(file, declared);
        assert!(
            matches!(
                error,
                SourceError::Unsupported {
                    format: Format::Iso,
                    ..
                }
            ),
            "{error:?}"
        );
        let text = message(&error);
        assert!(text.contains("iso") && text.contains("install"), "{text}");
    }
    let error = refusal_of(&iso, Some(Format::Raw));
    assert!(matches!(error, SourceError::Mismatch { .. }), "{error:?}");
    let error = refusal(&gzip(&iso));
    assert!(matches!(error, SourceError::Nested { .. }), "{error:?}");
}

#[test]
fn mbr_0xee_with_odd_chs_is_accepted_as_raw_with_a_lint_note() {
    let sound = facts::tests::fixture::disk("label: gpt\nstart=1MiB, size=1MiB\n", 4, &[]);
    let notes = |disk: &Vec<u8>| {
        let findings = facts::lint(&facts::read(disk, None).unwrap());
        let odd = findings
            .into_iter()
            .filter(|finding| finding.code == "odd_partition_table");
        odd.map(|finding| finding.what).collect::<Vec<_>>()
    };
    assert_eq!(notes(&sound), [""; 0]);
    let mut disk = sound;
    assert_eq!(disk[450], 0xEE);
    // A cylinder, head and sector that no tool would write.
    disk[447..450].copy_from_slice(&[0xFF, 0x00, 0x01]);
    for declared in [None, Some(Format::Raw)] {
        let opened = open_bytes(&disk, declared).unwrap();
        assert_eq!(opened.format, Format::Raw);
        assert!(read_all(opened).unwrap() == disk);
    }
    let notes = notes(&disk);
    assert!(
        notes[0].contains("CHS address of its beginning is ff0001"),
        "{notes:?}"
    );
}

/// The size is the field that a size is read from; a disk larger than the file is not wrong as such.
#[test]
fn a_size_field_beyond_the_file_is_refused_by_name() {
    let disk = marked_disk();
    type Patch = fn(&mut Vec<u8>);
    let cases: [(usize, Patch); 9] = [
        (0, |file| {
            file[12..20].copy_from_slice(&(1u64 << 30).to_le_bytes());
        }),
        (0, |file| file[36..44].copy_from_slice(&u64::MAX.to_le_bytes())),
        (3, |file| vhd_size(file, 1 << 40)),
        (4, |file| vhd_size(file, 1 << 40)),
        (6, |file| {
            let size = vhdx_item(file, &[0x24, 0x42, 0xA5, 0x2F]);
            file[size..size + 8].copy_from_slice(&(1u64 << 40).to_le_bytes());
        }),
        (8, |file| {
            file[0x170..0x178].copy_from_slice(&(1u64 << 40).to_le_bytes());
        }),
        (8, |file| {
            file[0x170..0x178].copy_from_slice(&(1u64 << 40).to_le_bytes());
            file[0x180..0x184].copy_from_slice(&u32::MAX.to_le_bytes());
        }),
        (11, |file| {
            file[48..56].copy_from_slice(&(1u64 << 40).to_le_bytes());
        }),
        (12, |file| {
            file[24..32].copy_from_slice(&(1u64 << 40).to_be_bytes());
        }),
    ];
    for (number, patch) in cases {
        let mut file = make(FORMS[number], &disk);
        patch(&mut file);
        seal(FORMS[number].format, &mut file);
        let error = refusal_of(&file, Some(FORMS[number].format));
        let text = message(&error);
        assert!(matches!(error, SourceError::Container(_)), "{text}");
        assert!(
            text.contains("expected") || text.contains("lies already"),
            "{text}"
        );
    }
    // Beyond what is allowed at all: refused before any table.
    for (number, at, big) in [(8, 0x170, false), (10, 48, false), (12, 24, true)] {
        let mut file = make(FORMS[number], &disk);
        let size = 1u64 << 60;
        file[at..at + 8].copy_from_slice(&if big {
            size.to_be_bytes()
        } else {
            size.to_le_bytes()
        });
        let error = refusal(&file);
        assert!(
            matches!(error, SourceError::TooLarge { .. } | SourceError::Container(_)),
            "{error:?}"
        );
    }
}

fn vhd_size(file: &mut [u8], size: u64) {
    let end = file.len() - 512;
    file[end + 48..end + 56].copy_from_slice(&size.to_be_bytes());
    if file.starts_with(b"conectix") {
        file[48..56].copy_from_slice(&size.to_be_bytes());
    }
}

#[test]
fn a_truncated_file_of_any_kind_is_refused_by_name() {
    // So large that the last block of each is full: what is behind the end of the disk may be missing.
    let disk = mixed_disk(8 << 20);
    for form in FORMS {
        let file = make(form, &disk);
        for len in [
            100,
            1000,
            4096,
            file.len() / 4,
            file.len() / 2,
            file.len() - 300_000,
        ] {
            let error = refusal_of(&file[..len], Some(form.format));
            let text = message(&error);
            assert!(
                matches!(
                    error,
                    SourceError::Container(ContainerError::Truncated { .. })
                        | SourceError::Qcow2(Qcow2Error::Truncated { .. })
                        // A fixed VHD without its footer is a raw disk, and not what was declared.
                        | SourceError::Mismatch { declared: Format::Vhd, detected: Format::Raw }
                ),
                "{form:?} cut to {len}: {text}"
            );
            assert!(text.contains("cut off") || text.contains("declared as"), "{text}");
        }
    }
}

#[test]
fn cyclic_and_overlapping_tables_are_refused_by_name() {
    for number in [0, 3, 6, 8, 10, 12] {
        let form = FORMS[number];
        let sound = make(form, &marked_disk());
        let spots = Spots::of(form.format, &sound);
        let [first, second] = spots.used(&sound);
        let mut cases = vec![
            ("data twice", second, spots.entry(&sound, first), "lies already"),
            ("data out of the file", first, spots.far, "cut off"),
        ];
        if let Some(own) = spots.own {
            cases.push(("data in the table", first, own, "lies already"));
        }
        for (name, at, entry, expected) in cases {
            let mut file = sound.clone();
            spots.set(&mut file, at, entry);
            let text = message(&refusal(&file));
            assert!(text.contains(expected), "{form:?}, {name}: {text}");
        }
        if let Some((at, itself)) = spots.directory {
            let directory = Spots { table: at, ..spots };
            for (entry, place) in [(itself, 0), (spots.entry(&sound, 0), 1)] {
                let mut file = sound.clone();
                // The second table of what has one is the first.
                if place == 1 {
                    let first = directory.entry(&sound, 0);
                    if directory.entry(&sound, 1) == 0 {
                        continue;
                    }
                    directory.set(&mut file, 1, first);
                } else {
                    directory.set(&mut file, place, entry);
                }
                let text = message(&refusal(&file));
                assert!(
                    text.contains("lies already"),
                    "{form:?}, a table of tables: {text}"
                );
            }
        }
    }
    // Data that would lie in the header.
    let mut vdi = make(FORMS[8], &marked_disk());
    vdi[0x158..0x15C].fill(0);
    assert!(message(&refusal(&vdi)).contains("where the header lies already"));
    // A compressed grain that belongs to another place of the disk.
    let mut stream = make(FORMS[2], &marked_disk());
    let spots = Spots::of(Format::Vmdk, &stream);
    let [first, second] = spots.used(&stream);
    let entry = spots.entry(&stream, first);
    spots.set(&mut stream, second, entry);
    assert!(message(&refusal(&stream)).contains("another place of the disk"));
}
