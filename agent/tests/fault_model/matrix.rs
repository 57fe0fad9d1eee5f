//! Each fault alone: what it is, and how the write ends.

use std::{io::ErrorKind, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, stream};
use imprint_agent::{
    source::{PackSource, http_client_trusting},
    stream::{Delta, FailureKind, WriteOptions, WriteProgress, WriteRequest, write_image},
    target::{
        Operation, Target,
        faulty::{DiskFault, FaultyTarget, Rule},
    },
};
use rcgen::{CertificateParams, KeyPair};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    case::{Case, EAGAIN, EINTR, EIO, ENODEV, ENOSPC, LONG_STALL, What, stall},
    image::{Form, Old, artifact, old_disk, paint},
    judge::judge,
    leaks::{alone, no_thread_is_left, runtime},
    run::run,
    server::Fault,
};

/// How a row ends: well, or with this kind of failure and these words in its cause.
type End = Result<(), (FailureKind, &'static str)>;

const GOES_ON: End = Ok(());

fn disk(operation: Operation, chunk: u64, skip: u32, times: u32, fault: DiskFault) -> Case {
    let rule = Rule {
        operation,
        place: (chunk << 20) + 7,
        skip,
        times,
        fault,
    };
    Case {
        disk_faults: vec![rule],
        ..Case::sound()
    }
}

fn write_fault(fault: DiskFault) -> Case {
    disk(Operation::Write, 4, 0, 1, fault)
}

fn source(fault: Fault) -> Case {
    Case {
        source_faults: vec![(1, fault)],
        connections: 1,
        ..Case::sound()
    }
}

fn endless(fault: Fault) -> Case {
    Case {
        endless: Some((1, fault)),
        connections: 1,
        ..Case::sound()
    }
}

/// The first answer breaks off, the second one is faulty.
fn plain(form: Form, faults: &[Fault]) -> Case {
    Case {
        what: What::Plain(form),
        source_faults: faults.iter().copied().enumerate().collect(),
        ..Case::sound()
    }
}

fn rows() -> Vec<(&'static str, Case, End)> {
    use DiskFault::{Errno, Flip, Short};
    use FailureKind::{Corrupt, Disk, ReadBack, Source};
    use Operation::{Flush, Read, Write, Zero};
    const EVER: u32 = u32::MAX;
    let read_back = |case| Case {
        read_back: true,
        ..case
    };
    let delta = |case| Case {
        delta: Delta::Auto,
        old: Old::Older(0b10),
        ..case
    };
    let two_stores = |case| Case {
        second_store: true,
        ..case
    };
    let slow_zeroes = |case| Case {
        zero_command: false,
        ..case
    };
    let rotating = |case| Case {
        rotates: true,
        ..case
    };
    let damaged = Case {
        damaged: Some(3),
        ..Case::sound()
    };
    vec![
        ("nothing", Case::sound(), GOES_ON),
        ("nothing, a plain image", plain(Form::Zstd, &[]), GOES_ON),
        // The disk, writing.
        ("a short write", write_fault(Short(70_000)), GOES_ON),
        (
            "short writes of the head",
            disk(Write, 0, 0, 3, Short(4096)),
            GOES_ON,
        ),
        ("a signal", write_fault(Errno(EINTR)), GOES_ON),
        ("a busy disk", disk(Write, 4, 0, 3, Errno(EAGAIN)), GOES_ON),
        ("EIO", write_fault(Errno(EIO)), Err((Disk, "cannot write"))),
        (
            "EIO on a disk that rotates",
            rotating(write_fault(Errno(EIO))),
            Err((Disk, "cannot write")),
        ),
        (
            "EIO once",
            disk(Write, 6, 0, 1, Errno(EIO)),
            Err((Disk, "Input/output error")),
        ),
        ("ENOSPC", write_fault(Errno(ENOSPC)), Err((Disk, "No space left"))),
        (
            "the disk is gone",
            write_fault(Errno(ENODEV)),
            Err((Disk, "No such device")),
        ),
        (
            "EIO at the head",
            disk(Write, 0, 0, EVER, Errno(EIO)),
            Err((Disk, "cannot write")),
        ),
        ("a short stall", write_fault(stall(100)), GOES_ON),
        (
            "a long stall",
            write_fault(DiskFault::Stall(LONG_STALL)),
            Err((Disk, "has not answered")),
        ),
        (
            "a long stall at the head",
            disk(Write, 0, 0, 1, DiskFault::Stall(LONG_STALL)),
            Err((Disk, "has not answered")),
        ),
        (
            "a long stall in a flush",
            disk(Flush, 0, 1, 1, DiskFault::Stall(LONG_STALL)),
            Err((Disk, "has not answered")),
        ),
        ("lies, nobody looks", write_fault(Flip), GOES_ON),
        (
            "lies, read back",
            read_back(write_fault(Flip)),
            Err((ReadBack, "at chunk 4")),
        ),
        (
            "lies at the head, read back",
            read_back(disk(Write, 0, 0, 1, Flip)),
            Err((ReadBack, "at chunk 0")),
        ),
        // The disk, else.
        (
            "the ends cannot be cleared",
            disk(Zero, 0, 0, EVER, Errno(EIO)),
            Err((Disk, "cannot zero")),
        ),
        (
            "a hole cannot be zeroed",
            disk(Zero, 2, 0, 1, Errno(EIO)),
            Err((Disk, "cannot zero")),
        ),
        (
            "a hole cannot be written",
            slow_zeroes(disk(Zero, 2, 0, 1, Errno(EIO))),
            Err((Disk, "cannot zero")),
        ),
        (
            "the first flush fails",
            disk(Flush, 0, 0, 1, Errno(EIO)),
            Err((Disk, "cannot flush")),
        ),
        (
            "the flush before the head fails",
            disk(Flush, 0, 1, 1, Errno(EIO)),
            Err((Disk, "cannot flush")),
        ),
        (
            "the flush behind the head fails",
            disk(Flush, 0, 3, 1, Errno(EIO)),
            Err((Disk, "cannot flush")),
        ),
        (
            "no flush ever",
            disk(Flush, 0, 0, EVER, Errno(EIO)),
            Err((Disk, "cannot flush")),
        ),
        (
            "cannot be read, delta",
            delta(disk(Read, 3, 0, EVER, Errno(EIO))),
            GOES_ON,
        ),
        ("reads wrong, delta", delta(disk(Read, 3, 0, EVER, Flip)), GOES_ON),
        (
            "the head cannot be read, delta",
            delta(disk(Read, 0, 0, EVER, Errno(EIO))),
            GOES_ON,
        ),
        (
            "cannot be read back",
            read_back(disk(Read, 3, 0, EVER, Errno(EIO))),
            Err((Disk, "cannot read")),
        ),
        (
            "reads wrong, read back",
            read_back(disk(Read, 3, 0, 1, Flip)),
            Err((ReadBack, "at chunk 3")),
        ),
        // The source, in passing.
        ("wrong bytes once", source(Fault::Flip), GOES_ON),
        ("a byte short once", source(Fault::Short), GOES_ON),
        ("500", source(Fault::Status(500, 0)), GOES_ON),
        (
            "503, come back in a second",
            source(Fault::Status(503, 1)),
            GOES_ON,
        ),
        ("429", source(Fault::Status(429, 0)), GOES_ON),
        ("reset before the answer", source(Fault::Reset(0)), GOES_ON),
        ("reset in mid-body", source(Fault::Reset(300_000)), GOES_ON),
        ("ends in mid-body", source(Fault::Cut(300_000)), GOES_ON),
        ("ends in mid-head", source(Fault::HalfHead), GOES_ON),
        ("no HTTP", source(Fault::Garbage), GOES_ON),
        ("silence in mid-body", source(Fault::Stall(300_000)), GOES_ON),
        ("no answer", source(Fault::Silence), GOES_ON),
        ("a slow drip", source(Fault::Drip), GOES_ON),
        ("leaves a kept connection", source(Fault::Leave), GOES_ON),
        ("no length", source(Fault::Chunked), GOES_ON),
        // The source, for good.
        (
            "wrong bytes always",
            damaged.clone(),
            Err((Corrupt, "came wrong 2 times")),
        ),
        (
            "404",
            source(Fault::Status(404, 0)),
            Err((Source, "answered 404")),
        ),
        (
            "403",
            source(Fault::Status(403, 0)),
            Err((Source, "answered 403")),
        ),
        (
            "a byte too many",
            source(Fault::Long),
            Err((Source, "longer than")),
        ),
        (
            "200 instead of 206",
            source(Fault::Whole),
            Err((Source, "does not serve parts")),
        ),
        (
            "another range",
            source(Fault::WrongRange),
            Err((Source, "sent the range")),
        ),
        (
            "another size",
            source(Fault::OtherSize),
            Err((Source, "expected 1")),
        ),
        (
            "another content",
            source(Fault::Changed),
            Err((Corrupt, "came wrong 2 times")),
        ),
        (
            "503 for ever",
            endless(Fault::Status(503, 0)),
            Err((Source, "gave up")),
        ),
        (
            "resets for ever",
            endless(Fault::Reset(0)),
            Err((Source, "gave up")),
        ),
        (
            "silence for ever",
            endless(Fault::Silence),
            Err((Source, "gave up")),
        ),
        // With another store.
        ("wrong bytes always, another store", two_stores(damaged), GOES_ON),
        (
            "404, another store",
            two_stores(source(Fault::Status(404, 0))),
            GOES_ON,
        ),
        (
            "another content, another store",
            two_stores(source(Fault::Changed)),
            GOES_ON,
        ),
        (
            "503 for ever, another store",
            two_stores(endless(Fault::Status(503, 0))),
            GOES_ON,
        ),
        // Plain images.
        (
            "plain: EIO",
            Case {
                what: What::Plain(Form::Raw),
                ..write_fault(Errno(EIO))
            },
            Err((Disk, "cannot write")),
        ),
        (
            "plain: a short write",
            Case {
                what: What::Plain(Form::Raw),
                ..write_fault(Short(70_000))
            },
            GOES_ON,
        ),
        (
            "plain: reset in mid-body",
            plain(Form::ZstdFrames, &[Fault::Reset(2_000_000)]),
            GOES_ON,
        ),
        (
            "plain: 503, then reset",
            plain(Form::Gzip, &[Fault::Status(503, 0), Fault::Reset(900_000)]),
            GOES_ON,
        ),
        (
            "plain: silence in mid-body",
            plain(Form::Xz, &[Fault::Stall(900_000)]),
            GOES_ON,
        ),
        (
            "plain: 404",
            plain(Form::Raw, &[Fault::Status(404, 0)]),
            Err((Source, "answered 404")),
        ),
        (
            "plain: wrong bytes",
            plain(Form::Raw, &[Fault::Flip]),
            Err((Corrupt, "SHA-256")),
        ),
        (
            "plain: cut short",
            plain(Form::Raw, &[Fault::Short]),
            Err((Corrupt, "SHA-256")),
        ),
        (
            "plain: changes after a break",
            plain(Form::Zstd, &[Fault::Reset(2_000_000), Fault::Changed]),
            Err((Source, "")),
        ),
        (
            "plain: no parts after a break",
            plain(Form::Raw, &[Fault::Reset(2_000_000), Fault::Whole]),
            Err((Source, "does not serve parts")),
        ),
        (
            "plain: another range after a break",
            plain(Form::Raw, &[Fault::Reset(2_000_000), Fault::WrongRange]),
            Err((Source, "sent the range")),
        ),
    ]
}

async fn check(case: &Case, expected: End) -> Result<()> {
    let ended = run(case).await?;
    judge(case, &ended)?;
    let met = !ended.all_fired.is_empty() || !ended.met.is_empty() || case.damaged.is_some();
    let any = !case.disk_faults.is_empty() || !case.source_faults.is_empty() || case.endless.is_some();
    ensure!(met == any || case.damaged.is_some(), "the fault was not met");
    match (expected, &ended.result) {
        (Ok(()), Ok(())) => Ok(()),
        (Err((kind, words)), Err(failure)) => {
            ensure!(
                failure.kind == kind && failure.cause.contains(words),
                "{failure:?}"
            );
            Ok(())
        }
        (_, result) => bail!("it ended with {result:?}"),
    }
}

#[test]
fn each_fault_alone_ends_as_it_should() {
    let _alone = alone();
    let runtime = runtime();
    let wrong: Vec<String> = runtime.block_on(async {
        // Most of them wait most of the time.
        let checked = stream::iter(rows()).map(|(name, case, expected)| async move {
            let checked = check(&case, expected).await.with_context(|| name);
            checked.err().map(|error| format!("{error:#}"))
        });
        let checked = checked.buffer_unordered(4);
        checked.filter_map(|wrong| async { wrong }).collect().await
    });
    drop(runtime);
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    no_thread_is_left().unwrap();
}

/// Accepts connections, and shows them a certificate that nobody knows.
fn strange_server() -> std::net::SocketAddr {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the process.
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            match connection.complete_io(&mut stream) {
                Ok(_) => panic!("the client trusts anybody"),
                Err(error) => assert_ne!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_a_strange_certificate_gets_no_request_and_is_named() {
    let trusted = CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let url = format!("https://{}/", strange_server());
    let packs = PackSource::http(&url.parse().unwrap(), http_client_trusting(roots).unwrap());

    let image = paint(&Case::sound().pieces, 512);
    let (manifest, _) = artifact(&image);
    let disk = Arc::new(FaultyTarget::holding(old_disk(Old::Dirt, &image, 512)));
    let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(&disk);
    let request = WriteRequest {
        manifest,
        packs,
        target,
        // It would be asked for ten minutes, were it a fault that can pass.
        options: WriteOptions::default(),
    };
    let (progress, _newest) = watch::channel(WriteProgress::default());
    let (notes, _heard) = mpsc::unbounded_channel();
    let writing = write_image(request, progress, notes, CancellationToken::new());
    let failure = tokio::time::timeout(Duration::from_secs(60), writing)
        .await
        .expect("a stranger is not asked again")
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Source);
    assert!(failure.cause.to_lowercase().contains("certificate"), "{failure}");
    assert!(
        failure.remedy.contains("authority that signed"),
        "{}",
        failure.remedy
    );
    assert!(failure.head_cleared);
    assert!(disk.content()[..1 << 20].iter().all(|&byte| byte == 0));
}
