//! The way from the pieces of a file to a disk, without a source: pieces of any size, units of any size, decoders in
//! any order.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use tokio::sync::watch;

use super::*;
use crate::{source::http_client_trusting, stream::WriterChoice, target::faulty::FaultyTarget};

const DISK: usize = 16 << 20;

/// What becomes of a file that comes in these pieces, or why nothing does.
pub(super) fn paint(
    file: &[u8],
    format: Format,
    piece: usize,
    decoders: usize,
    proof: RawProof,
) -> Result<(Vec<u8>, u64), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let painting = async {
        let disk = Arc::new(FaultyTarget::filled(DISK as u64, 0xA5));
        let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&disk);
        let run = run(target, decoders, proof);
        let (events, mut inbox) = mpsc::unbounded_channel();
        let (mut intake, crew) = run.start(format, events).unwrap();
        crew.stage.open();
        let mut fed = Ok(true);
        for piece in file.chunks(piece) {
            fed = intake.piece(Bytes::copy_from_slice(piece)).await;
            if !matches!(fed, Ok(true)) {
                break;
            }
        }
        let fed = match fed {
            Ok(true) => intake.end().await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        let mut painted = None;
        if let Err(error) = fed {
            return Err(whole(&error));
        }
        while let Some(event) = inbox.recv().await {
            match event {
                Event::Painted(whole) => painted = Some(whole),
                Event::Failed(error) => return Err(whole(&error)),
                Event::Zeroed(_) => {}
                other => panic!("{other:?}"),
            }
        }
        let painted = painted.ok_or("it ended early")?;
        let meter = &run.claim.meter;
        let done = meter.written.load(Relaxed) + meter.zeroed.load(Relaxed);
        assert_eq!(done, painted.handed_on);
        let len = painted.image_bytes;
        let verified = Verified::plain(&[0; 32]);
        painted.head.release(&*disk, verified, &false.into()).unwrap();
        Ok((disk.content(), len))
    };
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), painting)
            .await
            .expect("it ends")
    })
}

fn whole(error: &Ended) -> String {
    crate::source::whole_cause(error)
}

fn run(target: Arc<dyn Target>, decoders: usize, proof: RawProof) -> Run {
    // Small enough that units have to wait for each other.
    let options = WriteOptions {
        max_memory_bytes: 12 << 20,
        workers: Some(decoders),
        writer: WriterChoice::Threads,
        ..WriteOptions::default()
    };
    let (progress, _) = watch::channel(WriteProgress::default());
    let (notes, _) = mpsc::unbounded_channel();
    let patience = options.disk_patience;
    let claim = Claim::new(Arc::clone(&target), progress, notes.clone(), patience);
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let request = RawRequest {
        source: Location::File(PathBuf::from("nowhere")),
        client: http_client_trusting(rustls::RootCertStore::empty()).unwrap(),
        proof,
        target,
        options,
    };
    Run {
        request,
        claim,
        notes,
        cancel: CancellationToken::new(),
    }
}

/// Bytes without a pattern.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new()
        .update(&seed.to_le_bytes())
        .finalize_xof()
        .fill(&mut bytes);
    bytes
}

/// What a part of a disk may hold.
#[derive(Debug, Clone, Copy)]
enum Stuff {
    Zeroes,
    Noise(u64),
    Pattern(u8),
}

/// A part of a disk in a frame of its own.
#[derive(Debug, Clone)]
struct FramePlan {
    stuff: Vec<(Stuff, usize)>,
    level: i32,
    checksum: bool,
    size_known: bool,
    window_log: Option<u32>,
    skippable: bool,
}

impl FramePlan {
    fn content(&self) -> Vec<u8> {
        let mut content = Vec::new();
        for &(stuff, len) in &self.stuff {
            match stuff {
                Stuff::Zeroes => content.resize(content.len() + len, 0),
                Stuff::Noise(seed) => content.extend(noise(seed, len)),
                Stuff::Pattern(byte) => {
                    content.extend((0..len).map(|at| byte.wrapping_add((at / 700) as u8)));
                }
            }
        }
        content
    }

    fn encode(&self) -> Vec<u8> {
        use std::io::Write;
        let content = self.content();
        let mut file = Vec::new();
        if self.skippable {
            file.extend([0x5A, 0x2A, 0x4D, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5]);
        }
        let mut encoder = zstd::stream::write::Encoder::new(file, self.level).unwrap();
        encoder.include_checksum(self.checksum).unwrap();
        if let Some(log) = self.window_log {
            encoder.window_log(log).unwrap();
        }
        if self.size_known {
            encoder.set_pledged_src_size(Some(content.len() as u64)).unwrap();
        }
        encoder.write_all(&content).unwrap();
        encoder.finish().unwrap()
    }
}

fn stuff() -> impl Strategy<Value = (Stuff, usize)> {
    let kind = prop_oneof![
        3 => Just(Stuff::Zeroes),
        2 => (0..3_u64).prop_map(Stuff::Noise),
        1 => any::<u8>().prop_map(Stuff::Pattern),
    ];
    let len = prop_oneof![
        0..5000_usize,
        (0..40_usize).prop_map(|pages| pages * 4096),
        0..900_000_usize
    ];
    (kind, len)
}

fn frame() -> impl Strategy<Value = FramePlan> {
    (
        prop::collection::vec(stuff(), 0..5),
        prop_oneof![Just(1), Just(3), Just(7)],
        any::<bool>(),
        any::<bool>(),
        prop_oneof![Just(None), (10..20_u32).prop_map(Some)],
        any::<bool>(),
    )
        .prop_map(
            |(stuff, level, checksum, size_known, window_log, skippable)| FramePlan {
                stuff,
                level,
                checksum,
                size_known,
                window_log,
                skippable,
            },
        )
}

/// The disk that must come out.
fn expected(content: &[u8]) -> Vec<u8> {
    let mut disk = vec![0xA5; DISK];
    disk[..content.len()].copy_from_slice(content);
    let padded = content.len().next_multiple_of(512);
    disk[content.len()..padded].fill(0);
    disk
}

fn first_difference(got: &[u8], expected: &[u8]) -> Option<usize> {
    got.iter()
        .zip(expected)
        .position(|(got, expected)| got != expected)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_frames_in_any_pieces_give_the_same_disk(
        frames in prop::collection::vec(frame(), 1..7),
        piece in prop_oneof![Just(1 << 20), 1..70_000_usize],
        decoders in 1..5_usize,
        proven in any::<bool>(),
    ) {
        let content: Vec<u8> = frames.iter().flat_map(FramePlan::content).collect();
        prop_assume!(!content.is_empty() && content.len() <= DISK);
        let file: Vec<u8> = frames.iter().flat_map(FramePlan::encode).collect();
        let proof = if proven { RawProof::Sha256([0; 32]) } else { RawProof::Unverified };
        let (disk, len) = paint(&file, Format::RawZstd, piece, decoders, proof).unwrap();
        prop_assert_eq!(len, content.len() as u64);
        prop_assert_eq!(first_difference(&disk, &expected(&content)), None);
    }

    #[test]
    fn damage_is_found_by_the_checksum_or_does_none(
        frames in prop::collection::vec(frame(), 1..4),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        cut in any::<bool>(),
    ) {
        let mut frames = frames;
        frames.iter_mut().for_each(|frame| frame.checksum = true);
        let content: Vec<u8> = frames.iter().flat_map(FramePlan::content).collect();
        let mut file: Vec<u8> = frames.iter().flat_map(FramePlan::encode).collect();
        let place = place.index(file.len());
        if cut {
            file.truncate(place);
        } else {
            file[place] ^= 1 << bit;
        }
        if let Ok((disk, len)) = paint(&file, Format::RawZstd, 50_000, 2, RawProof::Unverified) {
            // Whole frames are left, or what was hit carries no data.
            let len = usize::try_from(len).unwrap();
            prop_assert_eq!(first_difference(&disk, &expected(&content[..len])), None);
            if cut {
                let ends = frames.iter().scan(0, |end, frame| {
                    *end += frame.content().len();
                    Some(*end)
                });
                prop_assert!(ends.into_iter().any(|end| end == len));
            } else {
                prop_assert_eq!(len, content.len());
            }
        }
    }
}

#[test]
fn frames_of_unknown_length_do_not_starve_each_other() {
    // Each becomes more than all buffers hold, and none says how much.
    let frames: Vec<_> = (0..3)
        .map(|seed| FramePlan {
            stuff: vec![(Stuff::Pattern(seed), 5 << 20), (Stuff::Noise(seed.into()), 100)],
            level: 1,
            checksum: false,
            size_known: false,
            window_log: Some(12),
            skippable: true,
        })
        .collect();
    let content: Vec<u8> = frames.iter().flat_map(FramePlan::content).collect();
    let file: Vec<u8> = frames.iter().flat_map(FramePlan::encode).collect();
    let (disk, _) = paint(&file, Format::RawZstd, 30_000, 3, RawProof::Unverified).unwrap();
    assert_eq!(first_difference(&disk, &expected(&content)), None);
}

#[test]
fn a_wrong_checksum_is_found_when_nothing_else_proves_the_image() {
    let mut file = FramePlan {
        stuff: vec![(Stuff::Noise(1), 300_000)],
        level: 1,
        checksum: true,
        size_known: true,
        window_log: None,
        skippable: false,
    }
    .encode();
    *file.last_mut().unwrap() ^= 1;
    let cause = paint(&file, Format::RawZstd, 1 << 20, 1, RawProof::Unverified).unwrap_err();
    assert!(cause.contains("wrong checksum"), "{cause}");
    // A digest over the file proves more than it.
    paint(&file, Format::RawZstd, 1 << 20, 1, RawProof::Sha256([0; 32])).unwrap();
}

#[test]
fn what_cannot_be_is_refused_with_its_cause() {
    let frame = zstd::encode_all(&noise(1, 70_000)[..], 1).unwrap();
    let with = |tail: &[u8]| [&frame, tail].concat();
    let bomb: Vec<u8> = {
        // One frame of zeroes, a TiB long: 2^23 blocks of one repeated byte.
        let mut file = vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0x58];
        for _ in 0..2000 {
            file.extend([0x02, 0x00, 0x10, 0x00]);
        }
        file
    };
    for (what, file, cause) in [
        (
            "text behind it",
            with(b"garbage"),
            "what follows its last zstd frame, at byte",
        ),
        ("zeroes behind it", with(&[0; 512]), "is no zstd frame"),
        (
            "a cut frame",
            frame[..frame.len() - 1].to_vec(),
            "ends within a zstd frame",
        ),
        ("a cut magic", with(&[0x28, 0xB5]), "ends within a zstd frame"),
        (
            "a cut skippable frame",
            with(&[0x50, 0x2A, 0x4D, 0x18, 9, 0, 0, 0, 1]),
            "",
        ),
        ("too much", bomb, "longer than the 16777216 bytes of the disk"),
        (
            "a dictionary",
            vec![0x28, 0xB5, 0x2F, 0xFD, 0x01, 0x58, 0x07, 0x01, 0, 0],
            "dictionary",
        ),
        (
            "a window of 2 GiB",
            vec![0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA8, 0x01, 0, 0],
            "needs 2048 MiB of memory",
        ),
        ("nothing", Vec::new(), "it is empty"),
    ] {
        let failed = paint(&file, Format::RawZstd, 1000, 2, RawProof::Unverified);
        let got = failed.expect_err(what);
        assert!(got.contains(cause), "{what}: {got}");
    }
}
