//! The controller's own back-end of volumes: files served by a real nbdkit, read by QEMU's client of NBD.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod site;

use imprint_controller::volumes::VolumeState;
use site::Site;

const GIB: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_of_a_size_is_there_over_nbd() {
    let site = Site::build().await;
    let made = site.make("scratch", 20 * GIB).await;
    assert_eq!(made.state, VolumeState::Available);
    assert_eq!(site.size_over_nbd(&made).await, 20 * GIB);
    site.io(&made, &["write -P 7 19G 64k"]);
    site.io(&made, &["read -P 7 19G 64k", "read -P 0 0 1M"]);
    let other = site.make("other", GIB).await;
    site.io(&other, &["read -P 0 0 1M"]);
    site.app.volumes.delete(&site.by, "scratch").await.unwrap();
    assert!(!site.is_served(&made));
    assert!(site.is_served(&other));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_comes_back_and_ends_with_the_controller() {
    let site = Site::build().await;
    let made = site.make("scratch", GIB).await;
    site.size_over_nbd(&made).await;
    site.io(&made, &["write -P 9 0 4k", "flush"]);
    let first = site.server_pid();
    site.kill_server(first);
    assert_eq!(site.size_over_nbd(&made).await, GIB);
    assert_ne!(site.server_pid(), first);
    site.io(&made, &["read -P 9 0 4k"]);
    let last = site.server_pid();
    site.end().await;
    assert!(!site::runs(last));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_from_an_image_has_its_bytes_over_nbd() {
    let site = Site::build().await;
    let disk = site.folder_of("disk.raw");
    site::write_disk(&disk);
    site.import("golden", &disk).await;
    let asked = site.make_from("root", "golden", None).await;
    assert_eq!(asked.state, VolumeState::Preparing);
    let root = site.until_available("root").await;
    let length = std::fs::metadata(&disk).unwrap().len();
    assert_eq!(site.size_over_nbd(&root).await, length);
    site.compare(&disk, &root);
    let large = site.make_from("large", "golden", Some(GIB)).await;
    site.until_available("large").await;
    assert_eq!(site.size_over_nbd(&large).await, GIB);
    // What is behind the image is full of zeros, and a volume is its own.
    site.io(&large, &["write -P 5 0 1M", "read -P 0 512M 1M"]);
    site.compare(&disk, &root);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_dies_while_it_prepares_begins_anew() {
    let mut site = Site::build().await;
    let disk = site.folder_of("disk.raw");
    site::write_disk(&disk);
    site.import("golden", &disk).await;
    site.stop_driving().await;
    site.make_from("root", "golden", None).await;
    std::fs::write(site.folder_of("parts").join("half"), "half").unwrap();
    let site = site.restart().await;
    let root = site.until_available("root").await;
    site.size_over_nbd(&root).await;
    site.compare(&disk, &root);
    assert_eq!(std::fs::read_dir(site.folder_of("parts")).unwrap().count(), 0);
}
