//! Runs one case, and tells all that can be judged.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use imprint_agent::{
    source::{HttpClient, PackSource, http_client_trusting},
    stream::{
        WriteFailure, WriteNote, WriteOptions, WriteProgress, WriteRequest,
        raw::{RawProof, RawRequest, write_raw},
        write_image,
    },
    target::{
        Target,
        faulty::{Asked, FaultyTarget, Rule},
    },
};
use imprint_image::Manifest;
use sha2::Digest as _;
use tokio::{
    sync::{mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    case::{Case, IMPATIENT, Interruption, What},
    image::{Objects, artifact, compress, old_disk, paint},
    server::{Met, Script, Server},
};

/// No case may take longer, however loaded the machine is.
const BOUND: Duration = Duration::from_secs(25);

/// What became of a case.
#[derive(Debug)]
pub struct Ended {
    pub result: Result<(), WriteFailure>,
    pub image: Vec<u8>,
    pub before: Vec<u8>,
    pub after: Vec<u8>,
    /// What the disk was asked, since the restart if there was one.
    pub asked: Vec<Asked>,
    /// What the disk was asked before the restart.
    pub asked_before: usize,
    /// Faults of the disk that struck since the restart, and all of them.
    pub fired: Vec<Rule>,
    pub all_fired: Vec<Rule>,
    /// Faults of the server that were met since the restart.
    pub met: Vec<Met>,
    pub cancelled: bool,
    pub notes: Vec<WriteNote>,
}

pub fn client() -> HttpClient {
    http_client_trusting(rustls::RootCertStore::empty()).unwrap()
}

/// What is written, ready to be served.
enum Subject {
    Artifact {
        manifest: Arc<Manifest>,
        packs: PackSource,
    },
    Plain {
        url: String,
        sha256: [u8; 32],
    },
}

pub async fn run(case: &Case) -> Result<Ended> {
    let mut image = paint(&case.pieces, case.last_bytes);
    if let What::Plain(_) = case.what {
        // A plain image may end anywhere.
        image.truncate(image.len() - 131);
    }
    let before = old_disk(case.old, &image, case.more);
    let disk = disk(case, &before);
    let (subject, server, _second) = subject(case, &image).await;
    let journal = tempfile::tempdir()?;
    let mut options = options(case);
    if case.what == What::Artifact {
        options.journal = Some(journal.path().join("journal"));
    }
    let (notes, mut heard) = mpsc::unbounded_channel();
    let cancel = CancellationToken::new();
    let write = || write(&subject, &disk, options.clone(), notes.clone(), cancel.clone());

    let mut result = None;
    let (mut asked_before, mut fired_before, mut met_before) = (0, 0, 0);
    match case.interruption {
        Interruption::None => {}
        Interruption::Restart(after) => {
            tokio::select! {
                ended = timeout(BOUND, write()) => result = Some(ended),
                () = asked(&disk, after) => {}
            }
            if result.is_none() {
                alone(&disk).await.context("after the agent died")?;
                asked_before = disk.asked().len();
                fired_before = disk.fired().len();
                met_before = server.met().len();
            }
        }
        Interruption::Cancel(after) => {
            let watching = async {
                asked(&disk, after).await;
                cancel.cancel();
                std::future::pending::<()>().await;
            };
            tokio::select! {
                ended = timeout(BOUND, write()) => result = Some(ended),
                () = watching => {}
            }
        }
    }
    let result = match result {
        Some(result) => result,
        None => timeout(BOUND, write()).await,
    };
    let result =
        result.map_err(|_| anyhow::anyhow!("the write hangs; the disk was asked {:?}", disk.asked()))?;

    let asked = disk.asked();
    let returned = disk.content();
    // Only a flush that hangs may keep a thread, and it changes nothing when it comes back.
    alone(&disk).await?;
    let later = disk.asked().split_off(asked.len());
    ensure!(
        later.iter().all(|asked| *asked == Asked::Flush),
        "the write had returned {result:?}, and then the disk was asked {later:?}"
    );
    let after = disk.content();
    ensure!(after == returned, "the disk changed after the end");
    ensure!(
        !journal.path().join("journal").exists(),
        "the journal outlives its write"
    );
    let mut told = Vec::new();
    while let Ok(note) = heard.try_recv() {
        told.push(note);
    }
    let all_fired = disk.fired();
    Ok(Ended {
        result,
        image,
        before,
        after,
        asked: asked[asked_before..].to_vec(),
        asked_before,
        fired: all_fired[fired_before..].to_vec(),
        all_fired,
        met: server.met().split_off(met_before),
        cancelled: cancel.is_cancelled(),
        notes: told,
    })
}

fn disk(case: &Case, before: &[u8]) -> Arc<FaultyTarget> {
    let mut disk = FaultyTarget::holding(before.to_vec());
    if case.rotates {
        disk = disk.rotating();
    }
    if !case.zero_command {
        disk = disk.without_zero_command();
    }
    for rule in &case.disk_faults {
        disk.inject(Rule {
            place: rule.place % before.len() as u64,
            ..*rule
        });
    }
    Arc::new(disk)
}

async fn subject(case: &Case, image: &[u8]) -> (Subject, Server, Option<Server>) {
    let script = Script {
        faults: case.source_faults.iter().copied().collect(),
        endless: case.endless,
    };
    let form = match case.what {
        What::Plain(form) => form,
        What::Artifact => {
            let (manifest, objects) = artifact(image);
            let mut first = objects.clone();
            if let Some(damaged) = case.damaged {
                damage(&manifest, &mut first, damaged);
            }
            let server = Server::start(first, script).await;
            let mut packs = server.packs();
            let mut second = None;
            if case.second_store {
                let healthy = Server::start(objects, Script::default()).await;
                packs = packs.or(&healthy.packs());
                second = Some(healthy);
            }
            return (Subject::Artifact { manifest, packs }, server, second);
        }
    };
    let file = compress(image, form);
    let sha256 = sha2::Sha256::digest(&file).into();
    let server = Server::start([("image".to_owned(), file.into())].into(), script).await;
    let url = server.url("image");
    (Subject::Plain { url, sha256 }, server, None)
}

/// Turns a bit in the frame of a chunk.
fn damage(manifest: &Manifest, objects: &mut Objects, damaged: usize) {
    let Some(chunk) = manifest.chunks.get(damaged % manifest.chunks.len().max(1)) else {
        return;
    };
    let pack = &manifest.packs[chunk.pack as usize];
    let object = objects.get_mut(&format!("packs/{}", pack.digest)).unwrap();
    let mut bytes = object.to_vec();
    bytes[usize::try_from(chunk.offset).unwrap() + chunk.frame_bytes as usize / 2] ^= 4;
    *object = bytes.into();
}

fn options(case: &Case) -> WriteOptions {
    WriteOptions {
        max_memory_bytes: case.memory_mib << 20,
        read_back: case.read_back,
        connections: case.connections,
        delta: case.delta,
        workers: Some(case.workers),
        patience: case.patience(),
        read_timeout: Duration::from_millis(400),
        disk_patience: if case.is_impatient() {
            IMPATIENT
        } else {
            Duration::from_secs(60)
        },
        ..WriteOptions::default()
    }
}

async fn write(
    subject: &Subject,
    disk: &Arc<FaultyTarget>,
    options: WriteOptions,
    notes: mpsc::UnboundedSender<WriteNote>,
    cancel: CancellationToken,
) -> Result<(), WriteFailure> {
    let (progress, _newest) = watch::channel(WriteProgress::default());
    let target: Arc<dyn Target> = Arc::<FaultyTarget>::clone(disk);
    match subject {
        Subject::Artifact { manifest, packs } => {
            let request = WriteRequest {
                manifest: Arc::clone(manifest),
                packs: packs.clone(),
                target,
                options,
            };
            let written = write_image(request, progress, notes, cancel).await?;
            assert_eq!(*written.verified.image_digest(), manifest.image_digest);
        }
        Subject::Plain { url, sha256 } => {
            let request = RawRequest {
                source: url.parse().unwrap(),
                client: client(),
                proof: RawProof::Sha256(*sha256),
                target,
                options,
            };
            let written = write_raw(request, progress, notes, cancel).await?;
            assert_eq!(written.sha256, *sha256);
        }
    }
    Ok(())
}

/// Waits until the disk was asked so often.
async fn asked(disk: &FaultyTarget, often: usize) {
    while disk.asked().len() < often {
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until nobody else holds the disk.
async fn alone(disk: &Arc<FaultyTarget>) -> Result<()> {
    let begun = Instant::now();
    while Arc::strong_count(disk) > 1 {
        ensure!(begun.elapsed() < BOUND, "somebody holds the disk for ever");
        sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}
