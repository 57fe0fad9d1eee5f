//! Whatever qemu-img writes is read.

use super::made::*;
use super::*;

#[test]
fn each_format_gives_the_disk_that_qemu_img_was_given() {
    // The second size fills no block and no chunk.
    for size in [12 << 20, (9 << 20) + 3 * 512] {
        let disk = mixed_disk(size);
        for form in FORMS {
            let file = make(form, &disk);
            for declared in [None, Some(form.format)] {
                let opened =
                    open_bytes(&file, declared).unwrap_or_else(|error| panic!("{form:?}: {error:?}"));
                assert_eq!(opened.format, form.format, "{form:?}");
                assert_eq!(opened.source.disk_size_bytes(), Some(size as u64), "{form:?}");
                let plain = if declared.is_some() {
                    read_all(opened)
                } else {
                    read_sparse(opened)
                };
                assert!(plain.unwrap() == disk, "{form:?} of {size} bytes, {declared:?}");
            }
        }
    }
}

#[test]
fn an_empty_disk_is_one_hole() {
    for form in FORMS {
        let options = form.options.concat();
        if options.contains("fixed") || options.contains("static") {
            continue;
        }
        let file = make(form, &vec![0; 40 << 20]);
        let mut source = open_bytes(&file, None).unwrap().source;
        assert_eq!(source.disk_size_bytes(), Some(40 << 20));
        assert_eq!(source.skip_zeros().unwrap(), 40 << 20, "{form:?}");
        assert_eq!(source.read(&mut [0; 10]).unwrap(), 0);
    }
}

/// The geometry of the old times holds no disk of any size: qemu-img makes it larger unless it is told not to.
#[test]
fn a_vhd_rounded_up_to_its_geometry_has_the_size_that_it_says() {
    let disk = mixed_disk((9 << 20) + 3 * 512);
    for options in [&[][..], &["-o", "subformat=fixed"]] {
        let form = Form {
            format: Format::Vhd,
            driver: "vpc",
            options,
        };
        let plain = read_all(open_bytes(&make(form, &disk), None).unwrap()).unwrap();
        assert!(plain.len() >= disk.len() && plain.len().is_multiple_of(512));
        assert!(plain[..disk.len()] == disk);
        assert!(plain[disk.len()..].iter().all(|byte| *byte == 0));
    }
}

#[test]
fn sectors_that_a_vhd_never_wrote_are_zero_whatever_lies_there() {
    let mut disk = vec![MARK; 4 << 20];
    let form = FORMS[3];
    let mut file = make(form, &disk);
    let first = usize::try_from(u32::from_be_bytes(file[1536..1540].try_into().unwrap())).unwrap() * 512;
    assert_eq!(file[first], 0xFF, "a bitmap of written sectors");
    // Of the first block, sectors 1 and 8.
    file[first] = 0xBF;
    file[first + 1] = 0x7F;
    disk[512..1024].fill(0);
    disk[8 * 512..9 * 512].fill(0);
    assert!(read_all(open_bytes(&file, None).unwrap()).unwrap() == disk);
    assert!(read_sparse(open_bytes(&file, None).unwrap()).unwrap() == disk);
    // And the whole block.
    file[first..first + 512].fill(0);
    disk[..2 << 20].fill(0);
    let mut opened = open_bytes(&file, None).unwrap();
    assert_eq!(opened.source.skip_zeros().unwrap(), 2 << 20);
    assert!(read_all(open_bytes(&file, None).unwrap()).unwrap() == disk);
}

/// As VMware writes streams: markers before everything, and the grain directory known by the footer only.
#[test]
fn a_vmdk_stream_with_a_footer_is_read() {
    let disk = mixed_disk((3 << 20) + 5 * 512);
    let file = vmdk_stream(&disk);
    let opened = open_bytes(&file, None).unwrap();
    assert_eq!(opened.format, Format::Vmdk);
    assert!(read_all(opened).unwrap() == disk);
    assert!(read_sparse(open_bytes(&file, None).unwrap()).unwrap() == disk);
    for cut in [512, 1024, 1536, 4096, file.len() / 2] {
        let error = message(&refusal(&file[..file.len() - cut]));
        assert!(
            error.contains("the footer") && error.contains("cut off"),
            "{error}"
        );
    }
}

fn vmdk_stream(disk: &[u8]) -> Vec<u8> {
    const GRAIN: usize = 64 << 10;
    let sectors = disk.len() / 512;
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n\
         RDONLY {sectors} SPARSE \"call-me-stream.vmdk\"\nddb.adapterType = \"lsilogic\"\n"
    );
    let header = |directory: u64| {
        let mut header = vec![0; 512];
        header[..4].copy_from_slice(b"KDMV");
        header[4] = 3;
        header[8..12].copy_from_slice(&0x0003_0001u32.to_le_bytes());
        header[12..20].copy_from_slice(&(sectors as u64).to_le_bytes());
        header[20..28].copy_from_slice(&128u64.to_le_bytes());
        header[28..36].copy_from_slice(&1u64.to_le_bytes());
        header[36..44].copy_from_slice(&2u64.to_le_bytes());
        header[44..48].copy_from_slice(&512u32.to_le_bytes());
        header[56..64].copy_from_slice(&directory.to_le_bytes());
        header[64..72].copy_from_slice(&128u64.to_le_bytes());
        header[73..79].copy_from_slice(b"\n \r\n\x01\0");
        header
    };
    let marker = |sectors: u64, kind: u32| {
        let mut marker = vec![0; 512];
        marker[..8].copy_from_slice(&sectors.to_le_bytes());
        marker[12..16].copy_from_slice(&kind.to_le_bytes());
        marker
    };
    let mut file = header(u64::MAX);
    file.extend(descriptor.as_bytes());
    file.resize(128 * 512, 0);
    let mut table = vec![0; 512 * 4];
    for (number, grain) in disk.chunks(GRAIN).enumerate() {
        if grain.iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut whole = grain.to_vec();
        whole.resize(GRAIN, 0);
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&whole).unwrap();
        let packed = encoder.finish().unwrap();
        let sector = u32::try_from(file.len() / 512).unwrap();
        table[number * 4..][..4].copy_from_slice(&sector.to_le_bytes());
        file.extend((number as u64 * 128).to_le_bytes());
        file.extend(u32::try_from(packed.len()).unwrap().to_le_bytes());
        file.extend(packed);
        file.resize(file.len().next_multiple_of(512), 0);
    }
    file.extend(marker(4, 1));
    let table_sector = u32::try_from(file.len() / 512).unwrap();
    file.extend(table);
    file.extend(marker(1, 2));
    let directory = (file.len() / 512) as u64;
    file.extend(table_sector.to_le_bytes());
    file.resize(file.len().next_multiple_of(512), 0);
    file.extend(marker(1, 3));
    file.extend(header(directory));
    file.extend(marker(0, 0));
    file
}
