//! One write: what, onto what, how, and what goes wrong.

use std::time::Duration;

use imprint_agent::{
    stream::Delta,
    target::{
        Operation,
        faulty::{DiskFault, Rule},
    },
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
};

use crate::{
    image::{Form, MIB, Old, Piece},
    server::Fault,
};

pub const EIO: i32 = 5;
pub const EINTR: i32 = 4;
pub const EAGAIN: i32 = 11;
pub const ENODEV: i32 = 19;
pub const ENOSPC: i32 = 28;

/// A stall that must be told as a hung disk, if patience is [`IMPATIENT`].
pub const LONG_STALL: Duration = Duration::from_millis(1500);
pub const IMPATIENT: Duration = Duration::from_millis(400);

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Artifact,
    Plain(Form),
}

/// What happens to the write from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    None,
    /// The agent dies once the disk was asked this often, and begins again with the journal.
    Restart(usize),
    /// An operator cancels it then.
    Cancel(usize),
}

#[derive(Debug, Clone)]
pub struct Case {
    pub what: What,
    pub pieces: Vec<Piece>,
    /// Bytes of the last chunk.
    pub last_bytes: usize,
    pub old: Old,
    /// Bytes of the disk behind the image.
    pub more: usize,
    pub rotates: bool,
    pub zero_command: bool,
    pub delta: Delta,
    pub read_back: bool,
    pub workers: usize,
    pub connections: usize,
    pub memory_mib: u64,
    pub interruption: Interruption,
    pub disk_faults: Vec<Rule>,
    /// By the number of the request.
    pub source_faults: Vec<(usize, Fault)>,
    /// From a request on.
    pub endless: Option<(usize, Fault)>,
    /// There is a second, healthy store.
    pub second_store: bool,
    /// The frame of the data chunk with this number (modulo their count) is damaged in the store.
    pub damaged: Option<usize>,
}

impl Case {
    /// A write of 6 MiB and a bit without any fault.
    pub fn sound() -> Self {
        Case {
            what: What::Artifact,
            pieces: vec![
                Piece::Noise(0),
                Piece::Noise(1),
                Piece::Zero,
                Piece::Half(2),
                Piece::Fill(3),
                Piece::Noise(1),
                Piece::Noise(4),
            ],
            last_bytes: 5 * 512,
            old: Old::Dirt,
            more: 5 << 18,
            rotates: false,
            zero_command: true,
            delta: Delta::Off,
            read_back: false,
            workers: 2,
            connections: 2,
            memory_mib: 32,
            interruption: Interruption::None,
            disk_faults: Vec::new(),
            source_faults: Vec::new(),
            endless: None,
            second_store: false,
            damaged: None,
        }
    }

    /// Nothing comes from a store for so long before it is given up.
    pub fn patience(&self) -> Duration {
        match self.endless {
            Some(_) => Duration::from_millis(700),
            None => Duration::from_secs(15),
        }
    }

    /// Patience with the disk is so short that a loaded machine alone can exhaust it.
    pub fn is_impatient(&self) -> bool {
        self.disk_faults
            .iter()
            .any(|rule| rule.fault == DiskFault::Stall(LONG_STALL))
    }
}

/// Any case of a signed image.
pub fn artifacts() -> impl Strategy<Value = Case> {
    (
        (image(), disk()),
        options(),
        interruption(),
        disk_faults(),
        source_faults(),
        (
            option::weighted(0.1, (0..4_usize, endless_fault())),
            prop::bool::weighted(0.2),
            option::weighted(0.1, 0..8_usize),
        ),
    )
        .prop_map(|(scene, how, interruption, disk_faults, source_faults, stores)| {
            let case = Case {
                interruption,
                disk_faults,
                source_faults,
                endless: stores.0,
                second_store: stores.1,
                damaged: stores.2,
                ..Case::sound()
            };
            set(case, scene, how)
        })
}

/// Any case of a plain image.
pub fn plain_images() -> impl Strategy<Value = Case> {
    let form = prop_oneof![
        Just(Form::Raw),
        Just(Form::Gzip),
        Just(Form::Xz),
        Just(Form::Zstd),
        Just(Form::ZstdFrames)
    ];
    (
        (image(), disk()),
        options(),
        interruption(),
        disk_faults(),
        source_faults(),
        (form, option::weighted(0.1, (0..3_usize, endless_fault()))),
    )
        .prop_map(
            |(scene, how, interruption, disk_faults, source_faults, (form, endless))| {
                let case = Case {
                    what: What::Plain(form),
                    // There is no journal to go on with.
                    interruption: match interruption {
                        Interruption::Restart(after) => Interruption::Cancel(after),
                        other => other,
                    },
                    disk_faults,
                    source_faults,
                    endless,
                    ..Case::sound()
                };
                set(case, scene, how)
            },
        )
}

type Scene = ((Vec<Piece>, usize), (Old, usize, bool, bool));
type How = (Delta, bool, usize, usize, u64);

fn set(case: Case, scene: Scene, how: How) -> Case {
    let ((pieces, last_bytes), (old, more, rotates, zero_command)) = scene;
    let (delta, read_back, workers, connections, memory_mib) = how;
    Case {
        pieces,
        last_bytes,
        old,
        more,
        rotates,
        zero_command,
        delta,
        read_back,
        workers,
        connections,
        memory_mib,
        ..case
    }
}

fn image() -> impl Strategy<Value = (Vec<Piece>, usize)> {
    let piece = prop_oneof![
        2 => Just(Piece::Zero),
        4 => (0..6_u8).prop_map(Piece::Noise),
        1 => (0..3_u8).prop_map(Piece::Fill),
        1 => (0..3_u8).prop_map(Piece::Half),
    ];
    let last_bytes = prop_oneof![Just(MIB), (1..2048_usize).prop_map(|sectors| sectors * 512)];
    (vec(piece, 1..8), last_bytes)
}

fn disk() -> impl Strategy<Value = (Old, usize, bool, bool)> {
    let old = prop_oneof![
        3 => Just(Old::Dirt),
        1 => Just(Old::Zeroes),
        1 => Just(Old::Same),
        3 => any::<u8>().prop_map(Old::Older),
    ];
    let more = prop_oneof![Just(0), Just(512), Just(MIB), Just(5 << 18)];
    (old, more, prop::bool::weighted(0.2), prop::bool::weighted(0.8))
}

fn options() -> impl Strategy<Value = How> {
    (
        prop_oneof![Just(Delta::Auto), Just(Delta::Off)],
        any::<bool>(),
        1..4_usize,
        1..5_usize,
        prop_oneof![Just(10_u64), Just(24), Just(64)],
    )
}

fn interruption() -> impl Strategy<Value = Interruption> {
    prop_oneof![
        5 => Just(Interruption::None),
        2 => (1..12_usize).prop_map(Interruption::Restart),
        1 => (1..12_usize).prop_map(Interruption::Cancel),
    ]
}

fn disk_faults() -> impl Strategy<Value = Vec<Rule>> {
    // Sectors from the start of the disk; the run takes them modulo the disk.
    let place = || prop_oneof![Just(0_u64), 0..20_000_u64];
    let errno = prop_oneof![Just(EIO), Just(ENOSPC), Just(ENODEV)];
    let passing = (
        place(),
        0..2_u32,
        prop_oneof![
            (
                Just(Operation::Write),
                (0..300_000_usize).prop_map(DiskFault::Short)
            ),
            (Just(Operation::Write), Just(DiskFault::Errno(EINTR))),
            (Just(Operation::Write), Just(DiskFault::Errno(EAGAIN))),
            (Just(Operation::Write), Just(stall(60))),
            (Just(Operation::Zero), Just(stall(60))),
            (Just(Operation::Flush), Just(stall(60))),
            (Just(Operation::Read), Just(DiskFault::Errno(EIO))),
            (Just(Operation::Read), Just(DiskFault::Flip)),
        ],
        1..4_u32,
    );
    let lasting = (
        place(),
        0..3_u32,
        prop_oneof![
            4 => (Just(Operation::Write), errno.prop_map(DiskFault::Errno)),
            2 => (Just(Operation::Zero), Just(DiskFault::Errno(EIO))),
            2 => (Just(Operation::Flush), Just(DiskFault::Errno(EIO))),
            2 => (Just(Operation::Read), Just(DiskFault::Errno(EIO))),
            4 => (Just(Operation::Write), Just(DiskFault::Flip)),
            1 => (Just(Operation::Write), Just(DiskFault::Stall(LONG_STALL))),
            1 => (Just(Operation::Flush), Just(DiskFault::Stall(LONG_STALL))),
        ],
        prop_oneof![Just(1_u32), Just(u32::MAX)],
    );
    let rule = |(sector, skip, (operation, fault), times): (u64, u32, (Operation, DiskFault), u32)| Rule {
        operation,
        place: sector * 512 + 7,
        skip,
        // A stall for ever would be a test for ever.
        times: if matches!(fault, DiskFault::Stall(_)) {
            1
        } else {
            times
        },
        fault,
    };
    (
        vec(passing.prop_map(rule), 0..3),
        vec(lasting.prop_map(rule), 0..2),
    )
        .prop_map(|(mut all, lasting)| {
            all.extend(lasting);
            all
        })
}

pub fn stall(millis: u64) -> DiskFault {
    DiskFault::Stall(Duration::from_millis(millis))
}

fn source_faults() -> impl Strategy<Value = Vec<(usize, Fault)>> {
    let passing = prop_oneof![
        Just(Fault::Status(500, 0)),
        Just(Fault::Status(503, 0)),
        Just(Fault::Status(429, 0)),
        prop_oneof![Just(0), 1..1_500_000_usize].prop_map(Fault::Reset),
        (0..1_500_000_usize).prop_map(Fault::Cut),
        Just(Fault::HalfHead),
        Just(Fault::Garbage),
        (0..1_500_000_usize).prop_map(Fault::Stall),
        Just(Fault::Silence),
        Just(Fault::Drip),
        Just(Fault::Leave),
        Just(Fault::Chunked),
        Just(Fault::Flip),
        Just(Fault::Short),
    ];
    let lasting = prop_oneof![
        Just(Fault::Status(404, 0)),
        Just(Fault::Status(403, 0)),
        Just(Fault::Long),
        Just(Fault::Whole),
        Just(Fault::WrongRange),
        Just(Fault::OtherSize),
        Just(Fault::Changed),
    ];
    let passing = btree_map(0..6_usize, passing, 0..4);
    (passing, option::weighted(0.2, (0..6_usize, lasting))).prop_map(|(mut all, lasting)| {
        all.extend(lasting);
        all.into_iter().collect()
    })
}

fn endless_fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Status(503, 0)),
        Just(Fault::Reset(0)),
        Just(Fault::Silence),
        Just(Fault::Garbage),
    ]
}
