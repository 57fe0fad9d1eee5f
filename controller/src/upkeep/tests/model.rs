//! Imports, deletions, deployments and garbage collection in any order, step by step, with crashes at every step.
//!
//! Every step is a production function that is one transaction, or holds the store's guard; whatever the machine does in
//! between, it does in some order of these. After each step everything that an image or a running deployment needs is
//! there, byte for byte.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
};

use imprint_image::{
    CHUNK_BYTES, Digest, PackRef,
    write::{ArtifactWriter, KnownChunk, PackSink, WriteOptions},
};
use proptest::{prelude::*, test_runner::TestRunner};

use super::*;
use crate::{
    catalog::{
        Content, Finished, GcPlan, ImageState, KnownChunks, NewDisk, NewImage, Removal, Source, Visibility,
    },
    store::StoredObject,
    upkeep::pack::{self, Reference},
};

const LETTERS: u8 = 4;
const CHUNKS: usize = 3;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// An import of these letters begins, in one of three projects; public ones are the platform's.
    Begin {
        letters: [u8; CHUNKS],
        project: usize,
        public: bool,
    },
    /// The n-th import goes on.
    Import(usize),
    /// The n-th import ends with the controller; what it noted is swept later.
    Crash(usize),
    /// What a crashed import left is swept.
    Sweep,
    Delete(usize),
    Deploy(usize),
    EndDeployment(usize),
    /// The collector looks, or takes the next object.
    Collect,
    /// The collector dies between the database and the store.
    CrashCollector,
}

fn step() -> impl Strategy<Value = Step> {
    let letters = proptest::array::uniform3(0..LETTERS);
    prop_oneof![
        3 => (letters, 0..3_usize, any::<bool>())
            .prop_map(|(letters, project, public)| Step::Begin { letters, project, public }),
        12 => (0..3_usize).prop_map(Step::Import),
        1 => (0..3_usize).prop_map(Step::Crash),
        1 => Just(Step::Sweep),
        3 => (0..8_usize).prop_map(Step::Delete),
        2 => (0..8_usize).prop_map(Step::Deploy),
        2 => (0..8_usize).prop_map(Step::EndDeployment),
        8 => Just(Step::Collect),
        1 => Just(Step::CrashCollector),
    ]
}

#[derive(Default)]
struct Packs(VecDeque<(Digest, Vec<u8>)>);

impl PackSink for &mut Packs {
    fn put_pack(&mut self, digest: Digest, bytes: Vec<u8>) -> std::io::Result<()> {
        self.0.push_back((digest, bytes));
        Ok(())
    }
}

/// An import on its way.
struct Import {
    id: String,
    image: Image,
    content: Vec<u8>,
    chunks: KnownChunks,
    /// Chunks that were looked up.
    known: HashMap<Digest, Option<KnownChunk>>,
    /// What is still to be written, once everything was looked up.
    made: Option<(Manifest, Packs)>,
}

struct World {
    _dir: tempfile::TempDir,
    app: App,
    projects: Vec<String>,
    imports: Vec<Import>,
    crashed: Vec<String>,
    images: Vec<Image>,
    deployments: Vec<String>,
    plan: VecDeque<Removal>,
    /// Manifests whose frames were proven, with the packs that they name: objects are named by their content and never
    /// changed, so that from then on it is enough that they are there.
    proven: HashMap<Digest, Vec<PackRef>>,
    begun: usize,
    finished: usize,
    removed: usize,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = App::for_test(dir.path()).await;
        // Files are younger than the clock of the test otherwise.
        let_time_pass(&app);
        let mut projects = vec![PLATFORM.to_owned()];
        for name in ["a", "b"] {
            projects.push(crate::testing::project(&app, name).await);
        }
        Self {
            _dir: dir,
            app,
            projects,
            imports: Vec::new(),
            crashed: Vec::new(),
            images: Vec::new(),
            deployments: Vec::new(),
            plan: VecDeque::new(),
            proven: HashMap::new(),
            begun: 0,
            finished: 0,
            removed: 0,
        }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Begin {
                letters,
                project,
                public,
            } => self.begin(letters, project, public).await,
            Step::Import(n) if n < self.imports.len() => self.import(n).await,
            Step::Crash(n) if n < self.imports.len() => {
                let import = self.imports.remove(n);
                self.app.catalog.abandon_image(&import.image.id).await.unwrap();
                self.crashed.push(import.id);
            }
            Step::Sweep => {
                if let Some(id) = self.crashed.pop() {
                    self.sweep(&id).await;
                }
            }
            Step::Delete(n) if n < self.images.len() => {
                let image = self.images.remove(n);
                delete(&self.app, &image).await;
            }
            Step::Deploy(n) if n < self.images.len() => {
                let image = &self.images[n];
                let mut connection = self.app.db.acquire().await.unwrap();
                let manifest = &image.disks[0].manifest;
                let content = crate::catalog::Catalog::content_of(&mut connection, &image.id, manifest).await;
                assert_eq!(content.unwrap(), Content::Whole);
                drop(connection);
                self.deployments.push(deploy(&self.app, image).await);
            }
            Step::EndDeployment(n) if n < self.deployments.len() => {
                let id = self.deployments.remove(n);
                end_deployment(&self.app, &id).await;
            }
            Step::Collect => self.collect().await,
            Step::CrashCollector => {
                if let Some(removal) = self.plan.pop_front() {
                    let _nobody_writes = self.app.store.removing().await;
                    self.app.catalog.release(&removal.object, None).await.unwrap();
                }
                self.plan.clear();
            }
            _ => {}
        }
    }

    async fn begin(&mut self, letters: [u8; CHUNKS], project: usize, public: bool) {
        if self.imports.len() == 3 {
            return;
        }
        self.begun += 1;
        let public = public && project == 0;
        let role = if project == 0 { Role::Admin } else { Role::Member };
        let by = Caller::for_test(&self.projects[project], role);
        let spec = ImageSpec {
            visibility: public.then_some(Visibility::Public),
            ..ImageSpec::named(format!("image-{}", self.begun))
        };
        let new = NewImage {
            spec: &spec,
            by: &by,
            source: Source::Upload,
            source_reference: "",
            idempotency_key: None,
        };
        let catalog = &self.app.catalog;
        let image = catalog.begin_image(&new, ImageState::Importing).await.unwrap();
        let id = format!("import-{}", self.begun);
        let content = letters
            .iter()
            .flat_map(|letter| vec![letter + 1; CHUNK_BYTES as usize])
            .collect();
        self.imports.push(Import {
            chunks: KnownChunks::new(catalog.clone(), &by.project_id, &id),
            id,
            image,
            content,
            known: HashMap::new(),
            made: None,
        });
    }

    async fn import(&mut self, n: usize) {
        let (catalog, store) = (self.app.catalog.clone(), self.app.store.clone());
        let import = &mut self.imports[n];
        let Some((manifest, packs)) = &mut import.made else {
            // The writer asks for one chunk after the other, and so do we.
            for chunk in import.content.chunks(CHUNK_BYTES as usize) {
                let plain = Digest::of(chunk);
                if !import.known.contains_key(&plain) {
                    let found = import.chunks.find(&plain).await.unwrap();
                    import.known.insert(plain, found);
                    return;
                }
            }
            let known = |plain: &Digest| import.known.get(plain).copied().flatten();
            let options = WriteOptions {
                known: &known,
                threads: 1.try_into().unwrap(),
                ..WriteOptions::default()
            };
            let mut packs = Packs::default();
            let mut writer = ArtifactWriter::new(&mut packs, options);
            let manifest = writer.import_stream(&mut &import.content[..]).unwrap();
            import.made = Some((manifest, packs));
            return;
        };
        if let Some((digest, bytes)) = packs.0.pop_front() {
            let _nobody_sweeps = store.writing().await;
            let object = StoreObject::Pack(digest);
            catalog
                .write_noted(&store, &import.id, &object, bytes.into())
                .await
                .unwrap();
            return;
        }
        let alone = store.removing().await;
        let project = import.image.project_id.clone();
        let known = catalog
            .known_manifest(&project, &manifest.image_digest)
            .await
            .unwrap();
        let fresh = known.is_none();
        let key = match known {
            Some((key, _)) => key,
            None => {
                let signed = self.app.authority.sign_manifest(manifest);
                let object = StoreObject::Manifest(signed.manifest_digest());
                let content = signed.encode().into();
                catalog
                    .write_noted(&store, &import.id, &object, content)
                    .await
                    .unwrap();
                signed.manifest_digest().to_string()
            }
        };
        let disk = NewDisk {
            role: "system",
            manifest,
            manifest_digest: key.clone(),
            key,
            fresh,
            wrapped_key: None,
            findings: None,
        };
        let done = Finished {
            image_id: &import.image.id,
            import_id: &import.id,
            source_format: "raw",
            disks: &[disk],
        };
        let image = catalog.finish_image(&done).await.unwrap();
        drop(alone);
        self.images.push(image);
        let id = self.imports.remove(n).id;
        self.finished += 1;
        self.sweep(&id).await;
    }

    async fn sweep(&self, id: &str) {
        self.app.catalog.sweep(&self.app.store, id).await.unwrap();
    }

    async fn collect(&mut self) {
        match self.plan.pop_front() {
            Some(removal) => self.removed += usize::from(self.app.upkeep.take(&removal).await.unwrap()),
            None => {
                let (_, GcPlan { remove, missing, .. }) =
                    self.app.upkeep.survey(Some(Duration::ZERO)).await.unwrap();
                assert!(missing.is_empty(), "{missing:?}");
                self.plan = remove.into();
            }
        }
    }

    /// Everything that is needed is there and right.
    async fn check(&mut self) {
        for row in self.app.catalog.stored_manifests(None).await.unwrap() {
            let object = StoreObject::Manifest(row.manifest);
            if let Some(packs) = self.proven.get(&row.manifest) {
                self.app.store.size(&object).await.unwrap();
                for pack in packs {
                    let there = self.app.store.size(&StoreObject::Pack(pack.digest)).await;
                    assert_eq!(there.unwrap(), pack.size_bytes);
                }
                continue;
            }
            let content = self.app.store.get(&object, MAX_MANIFEST_BYTES).await.unwrap();
            let manifest =
                SignedManifest::open(&content, &self.app.authority.manifest_public_keys()).unwrap();
            for (n, wanted) in manifest.packs.iter().enumerate() {
                let chunks = manifest.chunks.iter().filter(|chunk| chunk.pack as usize == n);
                let references: Vec<_> = chunks
                    .map(|chunk| Reference {
                        offset: chunk.offset,
                        bytes: chunk.frame_bytes,
                        frame: chunk.frame,
                    })
                    .collect();
                let object = StoreObject::Pack(wanted.digest);
                let content = self.app.store.get(&object, wanted.size_bytes).await.unwrap();
                let judged = pack::judge(&wanted.digest, &content, &references, None);
                assert!(judged.fault.is_none() && !judged.hits, "{judged:?}");
            }
            self.proven.insert(row.manifest, manifest.packs);
        }
        for image in &self.images {
            assert!(self.app.store.size(&key_of(image)).await.is_ok());
        }
    }

    /// When all is over and nobody needs anything, nothing is left.
    async fn end(&mut self) {
        while !self.imports.is_empty() {
            self.import(0).await;
        }
        for id in std::mem::take(&mut self.crashed) {
            self.sweep(&id).await;
        }
        self.plan.clear();
        self.proven.clear();
        self.check().await;
        for image in std::mem::take(&mut self.images) {
            delete(&self.app, &image).await;
        }
        for id in std::mem::take(&mut self.deployments) {
            end_deployment(&self.app, &id).await;
        }
        self.collect().await;
        while !self.plan.is_empty() {
            self.collect().await;
        }
        use futures::TryStreamExt;
        let left: Vec<StoredObject> = self.app.store.list().try_collect().await.unwrap();
        assert!(left.is_empty(), "{left:?}");
        for table in ["manifests", "manifest_packs", "chunks", "pending_objects"] {
            let query = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            let rows: i64 = sqlx::query_scalar(query).fetch_one(&self.app.db).await.unwrap();
            assert_eq!(rows, 0, "{table}");
        }
    }
}

/// Runs steps in a world, and leaves it empty; how many imports came to their end.
async fn run_model(world: &mut World, steps: &[Step]) -> usize {
    world.finished = 0;
    for step in steps {
        world.step(*step).await;
        world.check().await;
    }
    let finished = world.finished;
    world.end().await;
    finished
}

fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap()
}

#[test]
fn nothing_that_is_needed_is_ever_removed() {
    let (runtime, spare) = (runtime(), RefCell::new(None));
    let config = ProptestConfig {
        cases: 12,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let steps = proptest::collection::vec(step(), 30..90);
    TestRunner::new(config)
        .run(&steps, |steps| {
            runtime.block_on(async {
                // A world that went wrong is not used again.
                let mut world = match spare.take() {
                    Some(world) => world,
                    None => World::new().await,
                };
                run_model(&mut world, &steps).await;
                spare.replace(Some(world));
            });
            Ok(())
        })
        .unwrap();
}

/// The orders that would go wrong without the pin, the second look, or the guard.
#[test]
fn known_dangers_are_none() {
    use Step::{Begin, Collect, Delete, Import};
    let begin = |letters| Begin {
        letters,
        project: 0,
        public: false,
    };
    let make = |letters| std::iter::once(begin(letters)).chain([Import(0); 6]);
    runtime().block_on(async {
        let mut world = World::new().await;
        // A chunk is found in the pack of an image that is deleted and collected before the import ends.
        for collected in [1, 2, 3, 5] {
            for looked_up in 0..5 {
                let mut steps: Vec<Step> = make([0, 1, 2]).collect();
                steps.push(begin([0, 1, 3]));
                steps.extend([Import(0)].repeat(looked_up));
                steps.push(Delete(0));
                steps.extend([Collect].repeat(collected));
                steps.extend([Import(0)].repeat(8));
                steps.extend([Collect].repeat(6));
                assert_eq!(run_model(&mut world, &steps).await, 2);
            }
        }
        // The same content comes again between the collector's look and its hand.
        for before in 0..7 {
            let mut steps: Vec<Step> = make([0, 1, 2]).collect();
            steps.extend([Delete(0), Collect, begin([0, 1, 2])]);
            steps.extend([Import(0)].repeat(before));
            steps.extend([Collect].repeat(3));
            steps.extend([Import(0)].repeat(8));
            steps.extend([Collect].repeat(6));
            assert_eq!(run_model(&mut world, &steps).await, 2);
        }
        assert!(world.removed > 0);
    });
}

/// The real imports on all threads, with collections and deletions beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn imports_deletions_and_collections_at_the_same_time() {
    let dir = tempfile::tempdir().unwrap();
    let app = App::for_test(dir.path()).await;
    let_time_pass(&app);
    let done = CancellationToken::new();
    let collecting = tokio::spawn({
        let (app, done) = (app.clone(), done.clone());
        async move {
            let mut removed = 0;
            while !done.is_cancelled() {
                let request = GcRequest {
                    dry_run: false,
                    grace: Some(Duration::ZERO),
                };
                let cancel = CancellationToken::new();
                let report = app.upkeep.collect(request, &|_, _, _| {}, &cancel).await.unwrap();
                assert_eq!(report.missing, 0);
                removed += report.packs;
            }
            removed
        }
    });
    let importing = (0..3_u64).map(|worker| {
        let app = app.clone();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            for round in 0..8_u64 {
                let seeds = [round % 3, worker, round % 2 + 10];
                let image = import(&app, &admin(), &format!("{worker}-{round}"), disk(&seeds)).await;
                if round % 2 == 0 {
                    delete(&app, &image).await;
                } else {
                    kept.push(image);
                }
            }
            kept.len()
        })
    });
    let kept: Vec<_> = futures::future::join_all(importing).await;
    assert!(kept.into_iter().all(|kept| kept.unwrap() == 4));
    done.cancel();
    collecting.await.unwrap();
    let report = verify(&app, None).await;
    assert_eq!(report.damaged_objects, 0);
    assert!(report.manifests >= 1 && app.upkeep.figures().await.unwrap().images == 12);
}
