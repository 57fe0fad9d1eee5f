//! EFI load options: the value of a `Boot####` variable (UEFI specification, 3.1.3).

use super::device_path::{self, DevicePathError, Node};

/// The entry may be chosen by the firmware.
pub const ACTIVE: u32 = 1;
/// Longest variable that is read; real ones are below 4 KiB.
pub const MAX_OPTION_BYTES: usize = 64 << 10;

/// Why bytes are no load option.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LoadOptionError {
    /// Ends before all of its parts are there.
    #[error("the load option ends after {length} bytes, inside its {part}")]
    Short {
        /// Bytes that are there.
        length: usize,
        /// What is cut off.
        part: &'static str,
    },
    /// More than [`MAX_OPTION_BYTES`].
    #[error("the load option has {length} bytes, more than the {MAX_OPTION_BYTES} that are taken")]
    TooLong {
        /// Its length.
        length: usize,
    },
    /// The description is no UTF-16.
    #[error("the description is not UTF-16")]
    Description,
    /// The device path is broken.
    #[error("the device path is broken")]
    Path(#[from] DevicePathError),
}

/// One boot entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOption {
    /// [`ACTIVE`] and others.
    pub attributes: u32,
    /// What the firmware's menu shows.
    pub description: String,
    /// Where the program is.
    pub path: Vec<Node>,
    /// Arguments for the program, and further device paths of odd firmware: kept as they are.
    pub optional: Vec<u8>,
}

impl LoadOption {
    /// Reads the value of a `Boot####` variable.
    ///
    /// # Errors
    /// When it is none; firmware keeps broken ones at times, and they are to be left alone.
    pub fn decode(bytes: &[u8]) -> Result<Self, LoadOptionError> {
        let length = bytes.len();
        if length > MAX_OPTION_BYTES {
            return Err(LoadOptionError::TooLong { length });
        }
        let short = |part| LoadOptionError::Short { length, part };
        let (head, rest) = bytes.split_at_checked(6).ok_or_else(|| short("head"))?;
        let attributes = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let path_length = usize::from(u16::from_le_bytes([head[4], head[5]]));
        let units: Vec<u16> = rest
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .take_while(|unit| *unit != 0)
            .collect();
        let after = rest
            .get(units.len() * 2 + 2..)
            .ok_or_else(|| short("description"))?;
        let description = String::from_utf16(&units).map_err(|_| LoadOptionError::Description)?;
        let (path, optional) = after
            .split_at_checked(path_length)
            .ok_or_else(|| short("device path"))?;
        Ok(Self {
            attributes,
            description,
            path: device_path::decode(path)?,
            optional: optional.to_vec(),
        })
    }

    /// The value for a `Boot####` variable.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let path = device_path::encode(&self.path);
        let mut out = self.attributes.to_le_bytes().to_vec();
        out.extend_from_slice(&u16::try_from(path.len()).unwrap_or(u16::MAX).to_le_bytes());
        out.extend(
            self.description
                .encode_utf16()
                .chain(std::iter::once(0))
                .flat_map(u16::to_le_bytes),
        );
        out.extend_from_slice(&path);
        out.extend_from_slice(&self.optional);
        out
    }

    /// True when this entry boots from the network. The path says it; firmware that hides its NICs behind a path of
    /// its own says it in the description.
    #[must_use]
    pub fn is_network(&self) -> bool {
        let description = self.description.to_ascii_uppercase();
        device_path::is_network(&self.path)
            || ["PXE", "HTTP", "NETWORK"]
                .iter()
                .any(|word| description.contains(word))
    }
}

/// Reads a list of numbers, the value of `BootOrder`; an odd last byte is left out.
#[must_use]
pub fn decode_order(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect()
}

/// The value for `BootOrder`.
#[must_use]
pub fn encode_order(order: &[u16]) -> Vec<u8> {
    order.iter().copied().flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::finish::efi::device_path::{HardDrive, PartitionSignature};

    /// As `efibootmgr -c -d /dev/vda -p 15 -l '\EFI\debian\shimx64.efi' -L debian` writes it.
    const DEBIAN: &str = "010000006200640065006200690061006e00000004012a000f000000000800000000000000f8030000000000\
        0102030405060708090a0b0c0d0e0f100202040434005c004500460049005c00640065006200690061006e00\
        5c007300680069006d007800360034002e0065006600690000007fff0400";

    fn debian() -> LoadOption {
        LoadOption {
            attributes: ACTIVE,
            description: "debian".into(),
            path: vec![
                Node::HardDrive(HardDrive {
                    partition_number: 15,
                    start_lba: 2048,
                    size_lba: 0x3f800,
                    signature: PartitionSignature::Gpt([
                        1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
                    ]),
                }),
                Node::FilePath("\\EFI\\debian\\shimx64.efi".into()),
            ],
            optional: Vec::new(),
        }
    }

    #[test]
    fn encodes_the_golden_bytes_and_reads_them_back() {
        assert_eq!(hex::encode(debian().encode()), DEBIAN);
        assert_eq!(
            LoadOption::decode(&hex::decode(DEBIAN).unwrap()).unwrap(),
            debian()
        );
    }

    #[test]
    fn knows_network_entries_by_path_and_by_words() {
        let pxe = |description: &str, kind, subtype, data: Vec<u8>| LoadOption {
            attributes: ACTIVE,
            description: description.into(),
            path: vec![Node::Other { kind, subtype, data }],
            optional: Vec::new(),
        };
        assert!(pxe("onboard", 3, 12, vec![0; 23]).is_network(), "IPv4 node");
        assert!(
            pxe("legacy", 5, 1, vec![0x80, 0, 0, 0, 0]).is_network(),
            "BBS network"
        );
        assert!(
            pxe("UEFI PXEv4 (MAC:525400123456)", 4, 6, vec![]).is_network(),
            "firmware volume with a telling name"
        );
        assert!(!pxe("UEFI Misc Device", 1, 1, vec![0; 2]).is_network());
        assert!(!debian().is_network());
    }

    #[test]
    fn cut_off_options_are_refused_at_every_length() {
        let whole = hex::decode(DEBIAN).unwrap();
        for length in 0..whole.len() {
            assert!(LoadOption::decode(&whole[..length]).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic_and_come_out_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(option) = LoadOption::decode(&bytes) {
                prop_assert_eq!(LoadOption::decode(&option.encode()).unwrap(), option);
            }
        }

        #[test]
        fn broken_paths_inside_a_good_frame_never_panic(path in proptest::collection::vec(any::<u8>(), 0..120)) {
            let mut bytes = vec![1, 0, 0, 0];
            bytes.extend_from_slice(&u16::try_from(path.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(&[b'x', 0, 0, 0]);
            bytes.extend_from_slice(&path);
            if let Ok(option) = LoadOption::decode(&bytes) {
                prop_assert_eq!(LoadOption::decode(&option.encode()).unwrap(), option);
            }
        }

        #[test]
        fn orders_survive(order in proptest::collection::vec(any::<u16>(), 0..64)) {
            prop_assert_eq!(decode_order(&encode_order(&order)), order);
        }
    }
}
