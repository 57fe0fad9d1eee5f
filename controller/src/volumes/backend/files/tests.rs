use std::{
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    sync::atomic::{AtomicUsize, Ordering},
};

use imprint_image::export::ExportError;

use super::*;

const GIB: u64 = 1 << 30;

struct Folder {
    dir: tempfile::TempDir,
    backend: FilesBackend,
}

impl Folder {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let backend = FilesBackend::open(&dir.path().join("volumes")).unwrap();
        Self { dir, backend }
    }

    fn files(&self, folder: &str) -> Vec<String> {
        names_in(&self.dir.path().join("volumes").join(folder)).unwrap()
    }

    fn export(&self, name: &str) -> File {
        let path = self.backend.0.exports.join(name);
        File::options().read(true).write(true).open(path).unwrap()
    }
}

fn disk() -> Vec<u8> {
    let mut disk = vec![0; 3 << 20];
    disk[..4096].fill(1);
    disk[2 << 20..][..100].fill(2);
    disk
}

fn filled(bytes: Vec<u8>) -> Fill {
    Box::new(move |out| {
        out.write_all(&bytes)
            .map_err(|source| ExportError::Write { offset: 0, source })
    })
}

#[tokio::test]
async fn a_volume_has_its_size_and_takes_no_room() {
    let folder = Folder::new();
    // More than the file system has.
    folder.backend.create("v1", 4096 * GIB).await.unwrap();
    let made = folder.export("v1").metadata().unwrap();
    assert_eq!((made.len(), made.mode() & 0o777), (4096 * GIB, 0o600));
    assert!(made.blocks() * 512 < 1 << 20, "{}", made.blocks());
    assert_eq!(folder.backend.list().await.unwrap(), ["v1"]);
    // Asked again after a crash, it is made again.
    folder.backend.create("v1", GIB).await.unwrap();
    assert_eq!(folder.export("v1").metadata().unwrap().len(), GIB);
    for _ in 0..2 {
        folder.backend.delete("v1").await.unwrap();
        assert!(folder.backend.list().await.unwrap().is_empty());
    }
    assert!(folder.files("parts").is_empty());
}

#[tokio::test]
async fn clones_begin_with_their_base_and_are_their_own() {
    let folder = Folder::new();
    let backend = &folder.backend;
    backend.write_base("b", filled(disk())).await.unwrap();
    assert_eq!(backend.bases().await.unwrap(), ["b"]);
    for name in ["v1", "v2"] {
        backend.clone_base("b", name, GIB).await.unwrap();
    }
    folder.export("v1").write_all_at(b"changed", 0).unwrap();
    backend.delete_base("b").await.unwrap();
    backend.delete_base("b").await.unwrap();
    assert!(backend.bases().await.unwrap().is_empty());
    let other = folder.export("v2");
    let mut begins = vec![0xff; disk().len() + 4096];
    other.read_exact_at(&mut begins, 0).unwrap();
    assert!(begins[..disk().len()] == disk() && begins[disk().len()..] == [0; 4096]);
    let meta = other.metadata().unwrap();
    assert_eq!(meta.len(), GIB);
    assert!(meta.blocks() * 512 < 1 << 20, "{}", meta.blocks());
    assert!(folder.files("parts").is_empty());
}

#[tokio::test]
async fn a_base_is_written_once_however_many_want_it() {
    let folder = Folder::new();
    let writes = Arc::new(AtomicUsize::new(0));
    let all = (0..8).map(|number| {
        let (backend, writes) = (folder.backend.clone(), Arc::clone(&writes));
        tokio::spawn(async move {
            let fill: Fill = Box::new(move |out| {
                writes.fetch_add(1, Ordering::Relaxed);
                filled(disk())(out)
            });
            backend.write_base("b", fill).await.unwrap();
            backend
                .clone_base("b", &format!("v{number}"), 3 << 20)
                .await
                .unwrap();
        })
    });
    futures::future::try_join_all(all).await.unwrap();
    assert_eq!(writes.load(Ordering::Relaxed), 1);
    assert_eq!(folder.files("exports").len(), 8);
}

#[tokio::test]
async fn what_fails_leaves_nothing_and_says_what_to_do() {
    let folder = Folder::new();
    let backend = &folder.backend;
    let full: Fill = Box::new(|out| {
        out.write_all(b"half").unwrap();
        let source = io::ErrorKind::StorageFull.into();
        Err(ExportError::Write { offset: 4, source })
    });
    let error = backend.write_base("b", full).await.unwrap_err();
    assert!(
        error.is_full() && error.remedy().contains("Make room"),
        "{error:?}"
    );
    backend.write_base("b", filled(disk())).await.unwrap();
    let small = backend.clone_base("b", "v1", 1 << 20).await.unwrap_err();
    assert!(matches!(small, BackendError::TooSmall { .. }), "{small:?}");
    let none = backend.clone_base("c", "v1", GIB).await.unwrap_err();
    assert!(none.to_string().contains("c.raw"), "{none}");
    // No file is as long as that.
    let long = backend.create("v1", 1 << 63).await.unwrap_err();
    assert!(
        !long.remedy().is_empty() && long.to_string().contains("v1"),
        "{long}"
    );
    assert!(folder.files("exports").is_empty() && folder.files("parts").is_empty());
    assert_eq!(folder.files("bases"), ["b.raw"]);
}

#[tokio::test]
async fn what_a_crash_left_is_removed_at_the_start() {
    let folder = Folder::new();
    folder.backend.create("v1", 512).await.unwrap();
    std::mem::forget(folder.backend.0.part().unwrap());
    assert_eq!(folder.files("parts").len(), 1);
    let path = folder.dir.path().join("volumes");
    let again = FilesBackend::open(&path).unwrap();
    assert!(folder.files("parts").is_empty());
    assert_eq!(again.list().await.unwrap(), ["v1"]);
    let mode = fs::metadata(&again.0.exports).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // A file in its place is no folder.
    let file = folder.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let error = FilesBackend::open(&file).unwrap_err();
    assert!(matches!(error, BackendError::File { .. }), "{error:?}");
}
