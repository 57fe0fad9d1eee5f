mod formats;
mod made;
mod refusal_table;
mod spoiled;
mod spots;

use std::io::Write;

use super::*;
use crate::CHUNK_BYTES;

fn file_with(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

fn open_bytes(bytes: &[u8], declared: Option<Format>) -> Result<Opened, SourceError> {
    open(file_with(bytes), declared, &Limits::default())
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(b"disk")
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// Something that looks like a disk: noise, a hole, text.
fn disk() -> Vec<u8> {
    [noise(300_000), vec![0; 2_000_000], b"text ".repeat(50_000)].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd_frame(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 1).unwrap()
}

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

type Compress = fn(&[u8]) -> Vec<u8>;
const COMPRESSIONS: [(Format, Compress); 4] = [
    (Format::RawGzip, gzip),
    (Format::RawXz, xz),
    (Format::RawZstd, zstd_frame),
    (Format::RawBzip2, bzip2),
];

fn read_all(opened: Opened) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut source = opened.source;
    source.read_to_end(&mut out)?;
    Ok(out)
}

/// The typed error behind an error of `read`.
fn typed(error: &io::Error) -> &SourceError {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref())
        .unwrap_or_else(|| panic!("{error:?}"))
}

#[test]
fn each_compression_gives_the_disk() {
    for (format, compress) in COMPRESSIONS {
        let opened = open_bytes(&compress(&disk()), None).unwrap();
        assert_eq!(opened.format, format);
        assert!(read_all(opened).unwrap() == disk(), "{format}");
    }
    let opened = open_bytes(&disk(), Some(Format::Raw)).unwrap();
    assert!(read_all(opened).unwrap() == disk());
}

#[test]
fn several_members_or_frames_are_one_disk() {
    for (format, compress) in COMPRESSIONS {
        let (head, tail) = (noise(100_000), disk());
        let mut file = [compress(&head), compress(&tail)].concat();
        if format == Format::RawZstd {
            // As parallel compressors write it: a skippable frame in front.
            file.splice(0..0, [0x50, 0x2A, 0x4D, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
        }
        let opened = open_bytes(&file, Some(format)).unwrap();
        assert!(read_all(opened).unwrap() == [head, tail].concat(), "{format}");
    }
}

#[test]
fn a_cut_off_file_is_an_error_that_says_where() {
    for (format, compress) in COMPRESSIONS {
        let file = compress(&disk());
        for len in [file.len() - 1, file.len() - 4, file.len() / 2, 100_000] {
            let error = match open_bytes(&file[..len], None) {
                Ok(opened) => read_all(opened).unwrap_err(),
                Err(error) => error.into_io(),
            };
            let SourceError::Truncated { format: named, got } = typed(&error) else {
                panic!("{format} cut to {len}: {error:?}");
            };
            assert_eq!((*named, *got), (format, len as u64));
        }
    }
}

#[test]
fn a_damaged_file_is_an_error() {
    for (format, compress) in COMPRESSIONS {
        let mut file = compress(&disk());
        let middle = file.len() / 2;
        file[middle..middle + 2000].fill(0xA5);
        let damaged = match open_bytes(&file, None) {
            Ok(opened) => read_all(opened).is_err(),
            Err(_) => true,
        };
        // zstd has no checksum here; what decodes at all is caught by nobody but the decoder.
        assert!(damaged || format == Format::RawZstd, "{format}");
    }
    let mut file = gzip(&disk());
    let checksum = file.len() - 8;
    file[checksum] ^= 1;
    let error = read_all(open_bytes(&file, None).unwrap()).unwrap_err();
    assert!(
        matches!(
            typed(&error),
            SourceError::Damaged {
                format: Format::RawGzip,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_container_inside_of_a_compression_is_refused_by_name() {
    let qcow2 = [b"QFI\xFB\0\0\0\x03".to_vec(), vec![0; 4096]].concat();
    for (outer, compress) in COMPRESSIONS {
        let error = open_bytes(&compress(&qcow2), None).unwrap_err();
        assert!(
            matches!(error, SourceError::Nested { outer: named, inner: Format::Qcow2 } if named == outer),
            "{error}"
        );
        assert!(open_bytes(&compress(&compress(&qcow2)), None).is_err());
    }
}

#[test]
fn declared_and_detected_must_agree() {
    let qcow2 = [b"QFI\xFB\0\0\0\x03".to_vec(), vec![0; 4096]].concat();
    for (bytes, declared, detected) in [
        (&qcow2[..], Format::Raw, Format::Qcow2),
        (&vec![0; 4096], Format::Qcow2, Format::Raw),
        (
            &[b"QED\0".to_vec(), vec![0; 4096]].concat(),
            Format::Qcow2,
            Format::Qed,
        ),
        (&gzip(&disk()), Format::Raw, Format::RawGzip),
        (&gzip(&disk()), Format::RawXz, Format::RawGzip),
    ] {
        let error = open_bytes(bytes, Some(declared)).unwrap_err();
        assert!(
            matches!(error, SourceError::Mismatch { declared: d, detected: f } if (d, f) == (declared, detected)),
            "{error}"
        );
        assert!(error.to_string().contains(detected.name()));
    }
}

#[test]
fn formats_that_are_not_read_are_named_with_a_remedy() {
    let padded = |magic: &[u8]| [magic.to_vec(), vec![0; 4096]].concat();
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    for (bytes, name, remedy) in [
        (padded(b"LUKS\xBA\xBE"), "luks", "decrypt"),
        (padded(b"PK\x03\x04"), "zip", "unpack"),
        (tar, "tar", "unpack"),
    ] {
        let error = open_bytes(&bytes, None).unwrap_err();
        assert!(
            matches!(error, SourceError::Unsupported { .. }),
            "{name}: {error}"
        );
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(remedy), "{text}");
        assert!(text.contains("not supported yet by this version"), "{text}");
    }
    assert!(matches!(open_bytes(&[], None), Err(SourceError::Empty)));
    for (_, compress) in COMPRESSIONS {
        assert!(matches!(
            open_bytes(&compress(&[]), None),
            Err(SourceError::Empty)
        ));
    }
}

#[test]
fn content_that_fits_two_formats_is_refused() {
    let with = |magic: &[u8], at: usize, second: &[u8]| {
        let mut bytes = vec![0; 64 << 10];
        bytes[..magic.len()].copy_from_slice(magic);
        bytes[at..at + second.len()].copy_from_slice(second);
        bytes
    };
    let qcow2 = b"QFI\xFB\0\0\0\x03";
    let mut gzip_with_table = with(&[0x1F, 0x8B, 8], 510, &[0x55, 0xAA]);
    gzip_with_table[446 + 4] = 0x83;
    for bytes in [
        with(qcow2, 510, &[0x55, 0xAA]),
        with(qcow2, 512, b"EFI PART"),
        with(qcow2, 4096, b"EFI PART"),
        with(qcow2, 0x8001, b"CD001"),
        with(qcow2, (64 << 10) - 512, b"conectix"),
        with(b"KDMV", 0x40, &[0x7F, 0x10, 0xDA, 0xBE]),
        with(b"vhdxfile", 510, &[0x55, 0xAA]),
        with(b"conectix", 510, &[0x55, 0xAA]),
        gzip_with_table,
    ] {
        let error = open_bytes(&bytes, None).unwrap_err();
        assert!(matches!(error, SourceError::Polyglot { .. }), "{error}");
    }
    // A real disk with a file system that happens to have such bytes further on is just a disk.
    let raw = with(b"\xEB\x63\x90", 510, &[0x55, 0xAA]);
    assert_eq!(open_bytes(&raw, None).unwrap().format, Format::Raw);
}

#[test]
fn limits_on_size_and_growth_hold() {
    let small = Limits {
        max_disk_bytes: 1_000_000,
        ..Limits::default()
    };
    for (format, compress) in COMPRESSIONS {
        let opened = open(file_with(&compress(&disk())), None, &small).unwrap();
        let error = read_all(opened).unwrap_err();
        assert!(
            matches!(typed(&error), SourceError::TooLarge { limit: 1_000_000, .. }),
            "{format}: {error}"
        );
    }
    let error = open(file_with(&disk()), None, &small).unwrap_err();
    assert!(matches!(error, SourceError::TooLarge { .. }), "{error}");

    // 300 MiB of one letter are some ten kilobytes.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let block = vec![b'a'; 1 << 20];
    for _ in 0..300 {
        encoder.write_all(&block).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let mut source = open_bytes(&bomb, None).unwrap().source;
    let error = io::copy(&mut source, &mut io::sink()).unwrap_err();
    assert!(
        matches!(typed(&error), SourceError::Ratio { limit: 1000, .. }),
        "{error}"
    );
    let generous = Limits {
        max_ratio: 1_000_000,
        ..Limits::default()
    };
    let mut source = open(file_with(&bomb), None, &generous).unwrap().source;
    assert_eq!(io::copy(&mut source, &mut io::sink()).unwrap(), 300 << 20);
}

#[test]
fn holes_of_a_sparse_file_are_skipped() {
    let chunk = u64::from(CHUNK_BYTES);
    let file = tempfile::tempfile().unwrap();
    file.set_len(100 * chunk + 512).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"data", 50 * chunk + 700_000).unwrap();
    let mut source = RawFile::new(file, &Limits::default()).unwrap();
    assert_eq!(source.disk_size_bytes(), Some(100 * chunk + 512));
    assert_eq!(source.skip_zeros().unwrap(), 50 * chunk);
    let mut plain = vec![9; CHUNK_BYTES as usize];
    source.read_exact(&mut plain).unwrap();
    assert_eq!((&plain[700_000..700_004], plain[0]), (&b"data"[..], 0));
    assert_eq!(source.skip_zeros().unwrap(), 49 * chunk + 512);
    assert_eq!(source.skip_zeros().unwrap(), 0);
    assert_eq!(source.read(&mut plain).unwrap(), 0);
}

#[test]
fn names_round_trip() {
    for name in ["raw", "raw.gz", "raw.xz", "raw.zst", "qcow2", "vmdk"] {
        assert_eq!(name.parse::<Format>().unwrap().to_string(), name);
    }
    let error = "cow".parse::<Format>().unwrap_err();
    assert!(error.to_string().contains("\"cow\""), "{error}");
}
