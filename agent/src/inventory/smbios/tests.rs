use proptest::prelude::*;

use super::*;

/// A structure: fields by offset, then strings.
fn part(kind: u8, length: u8, fields: &[(usize, &[u8])], strings: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0; usize::from(length)];
    (bytes[0], bytes[1]) = (kind, length);
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    for string in strings {
        bytes.extend(string.as_bytes());
        bytes.push(0);
    }
    bytes.extend(if strings.is_empty() { &[0, 0][..] } else { &[0] });
    bytes
}

fn server() -> Vec<u8> {
    let mut redfish = vec![NETWORK_INTERFACE, 3, 4, 0, 0, 1, 4, 91];
    let mut record = vec![0_u8; 91];
    record[50..56].copy_from_slice(&[1, 1, 169, 254, 1, 1]);
    redfish.extend(record);
    [
        part(
            0,
            0x18,
            &[(4, &[1, 2]), (8, &[3])],
            &["Dell Inc.", "1.6.5", "04/15/2022"],
        ),
        part(
            1,
            0x1B,
            &[
                (4, &[1, 2]),
                (7, &[3]),
                (0x19, &[4, 5]),
                (
                    8,
                    &[
                        0x44, 0x45, 0x4C, 0x4C, 0x4A, 0, 0x10, 0x50, 0x80, 0x4B, 0xB4, 0xC0, 0x4F, 0x4B,
                        0x34, 0x32,
                    ],
                ),
            ],
            &["Dell Inc. ", "PowerEdge R650", "JKPK423", "SKU=0912", "PowerEdge"],
        ),
        part(
            2,
            0x0F,
            &[(4, &[1, 2]), (7, &[3])],
            &["Dell Inc.", "0PYXKY", ".JKPK423."],
        ),
        part(3, 0x16, &[(5, &[0x97]), (7, &[1, 2])], &["JKPK423", "rack 7"]),
        part(
            4,
            0x30,
            &[(5, &[3]), (7, &[1]), (0x10, &[2]), (0x18, &[0x41])],
            &["Intel", "Xeon Gold 6330"],
        ),
        part(4, 0x30, &[(5, &[3]), (0x18, &[0])], &[]),
        part(
            17,
            0x5C,
            &[
                (0x0C, &[0xFF, 0x7F]),
                (0x10, &[1, 0, 0x1A]),
                (0x15, &3200_u16.to_le_bytes()),
                (0x17, &[2, 3, 0, 4]),
                (0x1C, &65_536_u32.to_le_bytes()),
                (0x20, &2933_u16.to_le_bytes()),
            ],
            &["A1", "Hynix", "80AD", "HMA82GR7"],
        ),
        part(17, 0x5C, &[(0x10, &[1]), (0x17, &[2])], &["A2", "NO DIMM"]),
        part(17, 0x5C, &[(0x0C, &[0x10, 0]), (0x12, &[9])], &["BIOS flash"]),
        part(38, 0x12, &[(4, &[1, 0x20])], &[]),
        part(42, 0x6F, &[(4, &redfish)], &[]),
        part(127, 4, &[], &[]),
        part(38, 0x12, &[], &["behind the end"]),
    ]
    .concat()
}

const NETWORK_INTERFACE: u8 = 0x40;

#[test]
fn a_servers_tables_are_read() {
    let found = parse(&server(), (3, 3));
    assert_eq!(found.firmware, ["Dell Inc.", "1.6.5", "04/15/2022"]);
    assert_eq!(
        found.system,
        ["Dell Inc.", "PowerEdge R650", "JKPK423", "SKU=0912", "PowerEdge"]
    );
    assert_eq!(found.uuid, "4c4c4544-004a-5010-804b-b4c04f4b3432");
    assert_eq!(found.board, ["Dell Inc.", "0PYXKY", ".JKPK423."]);
    assert_eq!(
        found.chassis,
        ["rack-mount", "JKPK423", "rack 7"],
        "with a lock's bit"
    );
    assert_eq!(
        (found.sockets, found.processor),
        (1, ["Intel".to_owned(), "Xeon Gold 6330".to_owned()])
    );
    let [full, empty] = &found.modules[..] else {
        panic!("a flash chip is no memory: {:?}", found.modules)
    };
    assert_eq!(
        (full.size_bytes, full.speed_mts, full.kind.as_str()),
        (64 << 30, 2933, "DDR4")
    );
    assert_eq!((full.slot.as_str(), full.part.as_str()), ("A1", "HMA82GR7"));
    assert_eq!(
        (empty.slot.as_str(), empty.size_bytes, empty.manufacturer.as_str()),
        ("A2", 0, "")
    );
    assert!(found.ipmi);
    assert_eq!(found.redfish, ["169.254.1.1".parse::<IpAddr>().unwrap()]);
}

#[test]
fn uuids_before_2_6_are_as_they_stand() {
    assert_eq!(
        parse(&server(), (2, 5)).uuid,
        "44454c4c-4a00-1050-804b-b4c04f4b3432"
    );
}

#[test]
fn versions_of_both_entry_points() {
    let cases: [(&[u8], (u8, u8)); 4] = [
        (b"_SM3_\x00\x18\x03\x04", (3, 4)),
        (b"_SM_\x00\x1f\x02\x08", (2, 8)),
        (b"_SM3_", (0, 0)),
        (b"", (0, 0)),
    ];
    for (entry, expected) in cases {
        assert_eq!(version(entry), expected);
    }
}

#[test]
fn days_are_put_in_order() {
    let cases = [
        ("04/15/2022", "2022-04-15"),
        ("4/15/22", "4/15/22"),
        ("2022", "2022"),
        ("", ""),
    ];
    for (given, shown) in cases {
        assert_eq!(date(given), shown);
    }
}

proptest! {
    #[test]
    fn no_table_makes_it_panic(table in proptest::collection::vec(any::<u8>(), 0..2048), major in 0..4_u8) {
        parse(&table, (major, 0));
    }

    /// Nearly right tables reach further than noise.
    #[test]
    fn no_damage_makes_it_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut table = server();
        for (at, byte) in changes {
            let at = at.index(table.len());
            table[at] = byte;
        }
        table.truncate(cut.index(table.len() + 1));
        let found = parse(&table, (3, 0));
        prop_assert!(found.modules.len() <= memory::MAX_MODULES);
    }
}
