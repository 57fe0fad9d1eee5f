use std::io::Write;

use flate2::write::GzEncoder;
use liblzma::stream::{LzmaOptions, Stream};
use liblzma::write::XzEncoder;

use super::*;
use crate::facts::tests::fixture::cpio;

fn names(bytes: &[u8]) -> Result<Initramfs, Fault> {
    read(bytes, &mut (1 << 30))
}

fn main_archive() -> Vec<u8> {
    cpio(&[
        ("usr/", b""),
        (
            "usr/lib/modules/6.1/kernel/drivers/nvme/host/nvme-core.ko",
            &[1; 5000],
        ),
        ("lib/modules/6.1/kernel/drivers/ata/ahci.ko.xz", b"abc"),
        ("./usr/lib/modules/6.1/kernel/drivers/net/ixgbe.ko.zst", b"a"),
        ("usr/lib/modules/6.1/modules.dep", b"text"),
        ("usr/lib/firmware/intel/ice/ddp/ice.pkg", b"x"),
        ("usr/lib/dracut/modules.txt", b""),
    ])
}

fn early_archive() -> Vec<u8> {
    cpio(&[("kernel/x86/microcode/AuthenticAMD.bin", &[2; 700])])
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn xz(plain: &[u8]) -> Vec<u8> {
    let mut encoder = XzEncoder::new(Vec::new(), 1);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn lzma(plain: &[u8]) -> Vec<u8> {
    let stream = Stream::new_lzma_encoder(&LzmaOptions::new_preset(1).unwrap()).unwrap();
    let mut encoder = XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// As `lz4 -l` writes it, in blocks much smaller than its own so that there are several.
fn lz4(plain: &[u8]) -> Vec<u8> {
    let mut packed = vec![0x02, 0x21, 0x4C, 0x18];
    for block in plain.chunks(3000) {
        let block = lz4_flex::block::compress(block);
        packed.extend_from_slice(&(block.len() as u32).to_le_bytes());
        packed.extend_from_slice(&block);
    }
    packed
}

fn expect(bytes: &[u8], compression: &[&str]) {
    let found = names(bytes).unwrap();
    assert_eq!(found.compression, compression);
    assert_eq!(found.modules, ["ahci", "ixgbe", "nvme_core"], "{compression:?}");
    assert_eq!(found.firmware, ["intel/ice/ddp/ice.pkg"]);
    assert_eq!(found.made_by.as_deref(), Some("dracut"));
    assert_eq!(found.microcode.is_empty(), compression.len() == 1);
}

#[test]
fn every_compression_with_and_without_microcode_in_front() {
    type Pack = fn(&[u8]) -> Vec<u8>;
    let packs: [(&str, Pack); 6] = [
        ("none", <[u8]>::to_vec),
        ("gzip", gzip),
        ("xz", xz),
        ("lzma", lzma),
        ("zstd", |plain| zstd::encode_all(plain, 1).unwrap()),
        ("lz4", lz4),
    ];
    for (name, pack) in packs {
        let main = pack(&main_archive());
        expect(&main, &[name]);
        expect(&[early_archive(), main.clone()].concat(), &["none", name]);
        // Zeros between and behind, in any number.
        let padded = [early_archive(), vec![0; 70_000], main, vec![0; 1000]].concat();
        expect(&padded, &["none", name]);
    }
}

#[test]
fn what_follows_a_compressed_archive_is_read_too() {
    let bytes = [gzip(&early_archive()), vec![0; 3], xz(&main_archive())].concat();
    expect(&bytes, &["gzip", "xz"]);
    // Two archives inside one compression.
    let bytes = gzip(&[early_archive(), main_archive()].concat());
    let found = names(&bytes).unwrap();
    assert_eq!((found.microcode.len(), found.modules.len()), (1, 3));
}

#[test]
fn bytes_behind_the_archives_are_noted() {
    let found = names(&[main_archive(), b"#BOOTCONFIG\n".to_vec()].concat()).unwrap();
    assert_eq!(found.notes.len(), 1);
    assert_eq!(found.modules.len(), 3);
}

#[test]
fn what_cannot_be_read_says_why() {
    let reason = |bytes: &[u8]| names(bytes).unwrap_err().reason();
    assert!(reason(b"").contains("empty"));
    assert!(reason(&[0; 5000]).contains("empty"));
    assert!(reason(b"no archive at all").contains("no archive"));
    assert!(reason(b"BZh91AY&SY").contains("no reader for bzip2"));
    assert!(reason(b"\x89LZO\0\r\n").contains("no reader for lzo"));
    let archive = main_archive();
    assert!(reason(&archive[..4000]).contains("ends before its trailer"));
    let packed = gzip(&archive);
    assert!(reason(&packed[..packed.len() / 2]).contains("damaged"));
    assert!(reason(&gzip(b"no archive")).contains("no archive"));
    let mut wrong = archive.clone();
    wrong[54] = b'+';
    assert!(reason(&wrong).contains("no number"));
    let mut wrong = archive;
    wrong[94..102].copy_from_slice(b"FFFFFFFF");
    assert!(reason(&wrong).contains("a name that is too long"));
}

#[test]
fn a_bomb_is_stopped_at_its_limit() {
    let bomb = cpio(&[("lib/modules/bomb.ko", &vec![0; 64 << 20])]);
    for packed in [gzip(&bomb), xz(&bomb), zstd::encode_all(&bomb[..], 1).unwrap()] {
        assert!(packed.len() < 1 << 20);
        let mut left = 1 << 20;
        let met = read(&packed[..], &mut left).unwrap_err();
        assert!(matches!(met, Fault::Limit(_)), "{met}");
    }
}

#[test]
fn mutated_archives_are_read_or_refused() {
    let sound = [early_archive(), lz4(&main_archive())].concat();
    let mut bytes = sound.clone();
    let mut seed = 0x9E37_79B9_u32;
    let mut refused = 0;
    for _ in 0..2000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let at = seed as usize % bytes.len();
        bytes[at] = (seed >> 24) as u8;
        refused += usize::from(read(&bytes[..], &mut (16 << 20)).is_err());
        bytes[at] = sound[at];
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn names_without_measure_are_refused() {
    let long = format!("lib/firmware/{}", "x".repeat(4000));
    let names_of: Vec<String> = (0..1200).map(|number| format!("{long}{number}")).collect();
    let files: Vec<(&str, &[u8])> = names_of.iter().map(|name| (name.as_str(), &b""[..])).collect();
    let met = names(&cpio(&files)).unwrap_err();
    assert!(matches!(met, Fault::Limit(_)), "{met}");
    // The same name again and again is one name.
    let same: Vec<(&str, &[u8])> = (0..1200).map(|_| (long.as_str(), &b""[..])).collect();
    assert_eq!(names(&cpio(&same)).unwrap().firmware.len(), 1);
}
