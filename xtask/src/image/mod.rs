//! The lab's operating system images: real Debian systems with cloud-init and sshd on GPT disks that boot under BIOS and
//! UEFI. Which there are is said in [`variant`]. They are assembled from a root folder without grub-install, the everyday one
//! without loop devices or mounts as well, so that nothing has to be undone when its build is interrupted. The results are
//! cached by a hash of their recipe.

mod boot_sector;
mod disk;
mod file_system;
mod layout;
mod rootfs;
mod variant;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub use rootfs::Contents;
pub use variant::{ALL, DEBIAN12, Variant, find};

use crate::{packages, screen};

/// Everything that decides what the images contain. A change of any of these files makes new images.
const RECIPE: &[(&str, &str)] = &[
    ("cloud.cfg", include_str!("../../image/cloud.cfg")),
    ("left-out.txt", include_str!("../../image/left-out.txt")),
    ("packages.txt", include_str!("../../image/packages.txt")),
    ("rootfs.rs", include_str!("rootfs.rs")),
    ("disk.rs", include_str!("disk.rs")),
    ("layout.rs", include_str!("layout.rs")),
    ("file_system.rs", include_str!("file_system.rs")),
    ("boot_sector.rs", include_str!("boot_sector.rs")),
];

/// A file of the recipe.
fn recipe(name: &str) -> &'static str {
    RECIPE
        .iter()
        .find(|(file, _)| *file == name)
        .map(|(_, text)| *text)
        .expect("names are constants of RECIPE")
}

/// What came of an image that was asked for.
#[derive(Debug)]
pub enum Built {
    /// Here it is.
    Ready(PathBuf),
    /// The mirror of this machine has no such release.
    NotOnMirror,
}

/// Builds the everyday image unless the cache has it; answers where it is.
pub fn build(cache: &Path) -> Result<PathBuf> {
    let image = place(cache, &DEBIAN12);
    if !is_there(&image) {
        make(cache, &DEBIAN12, &image)?;
    }
    Ok(image)
}

/// Builds an image unless the cache has it.
pub fn build_variant(cache: &Path, variant: &Variant) -> Result<Built> {
    let image = place(cache, variant);
    if is_there(&image) {
        return Ok(Built::Ready(image));
    }
    packages::install_missing_of(file_system::packages(variant.root))?;
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    if variant.release != DEBIAN12.release && !rootfs::on_mirror(variant.release, cache)? {
        return Ok(Built::NotOnMirror);
    }
    make(cache, variant, &image)?;
    Ok(Built::Ready(image))
}

fn place(cache: &Path, variant: &Variant) -> PathBuf {
    cache.join(format!("{}-{}.raw", variant.name, recipe_id(variant)))
}

fn is_there(image: &Path) -> bool {
    image.exists() && facts_path(image).exists()
}

fn make(cache: &Path, variant: &Variant, image: &Path) -> Result<()> {
    let work = cache.join(format!("building-{}-{}", variant.name, recipe_id(variant)));
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()))?;
    }
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let built = assemble(cache, variant, &work, image);
    let cleared = fs::remove_dir_all(&work).with_context(|| format!("cannot clear {}", work.display()));
    built?;
    cleared?;
    remove_others(cache, image)
}

/// Images of earlier recipes and of variants that are no more, which nothing else would ever remove.
fn remove_others(cache: &Path, image: &Path) -> Result<()> {
    for entry in fs::read_dir(cache).with_context(|| format!("cannot list {}", cache.display()))? {
        let path = entry
            .with_context(|| format!("cannot list {}", cache.display()))?
            .path();
        let outdated = match (image_name(&path), image_name(image)) {
            (Some(other), Some(own)) if other == own => path.file_stem() != image.file_stem(),
            (Some(other), _) => find(other).is_none(),
            (None, _) => false,
        };
        if outdated {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// The variant's name in a file name of `NAME-HASH.raw` or `NAME-HASH.json`.
fn image_name(path: &Path) -> Option<&str> {
    let end = path.extension()?.to_str()?;
    let (name, id) = path.file_stem()?.to_str()?.rsplit_once('-')?;
    let is_id = id.len() == 16 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && matches!(end, "raw" | "json")).then_some(name)
}

fn assemble(cache: &Path, variant: &Variant, work: &Path, image: &Path) -> Result<()> {
    let name = variant.name;
    screen::step(&format!(
        "Image {name}: root file system (about 2 minutes, kept for the next time)"
    ));
    let root = work.join("root");
    let debs = cache.join(variant.release.debs());
    let kernel = rootfs::build(&root, work, &debs, &Contents::lab(variant))?;
    screen::step(&format!("Image {name}: disk"));
    let unfinished = work.join("disk.raw");
    let size = disk::assemble(&root, variant, work, &unfinished)?;
    fs::rename(&unfinished, image).with_context(|| format!("cannot place {}", image.display()))?;
    let facts = format!(
        "{{\"recipe\":\"{}\",\"os\":\"debian\",\"os_version\":\"{}\",\"kernel\":\"{kernel}\",\
         \"disk_size_bytes\":{size},\"user\":\"none\",\"boot\":[\"bios\",\"uefi\"]}}\n",
        recipe_id(variant),
        variant.release.version()
    );
    fs::write(facts_path(image), facts).context("cannot write the image's facts")
}

/// Builds another root folder than the lab's; `debs` keeps downloaded packages.
pub fn build_root(root: &Path, work: &Path, debs: &Path, contents: &Contents) -> Result<()> {
    rootfs::build(root, work, debs, contents).map(drop)
}

/// Puts a root folder onto a disk of its own; answers the disk's size.
pub fn assemble_disk(root: &Path, root_mib: u64, work: &Path, out: &Path) -> Result<u64> {
    let variant = Variant { root_mib, ..DEBIAN12 };
    disk::assemble(root, &variant, work, out)
}

/// Where the root file system of such a disk begins.
pub const ROOT_OFFSET: u64 = layout::AFTER_ESP_MIB << 20;

fn facts_path(image: &Path) -> PathBuf {
    image.with_extension("json")
}

fn recipe_id(variant: &Variant) -> String {
    // All that there is to know of the variant, by its words for the programmer.
    let variant = format!("{variant:?}");
    let files = RECIPE.iter().flat_map(|(name, text)| [*name, *text]);
    fingerprint(files.chain(["variant", &variant]))
}

/// FNV-1a over the files of a recipe: a name for a cache entry, nothing that has to withstand an attack.
pub fn fingerprint<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in texts.flat_map(str::bytes) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_outdated_goes_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("imprint-images-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (new, old) = ("00112233445566ff", "ffeeddccbbaa0011");
        let stay = [
            format!("debian12-{new}.raw"),
            format!("debian12-{new}.json"),
            format!("deb12-nm-xfs-{old}.raw"),
            "debian12-notes.raw".to_owned(),
            format!("bench-{old}.txt"),
        ];
        let go = [
            format!("debian12-{old}.raw"),
            format!("debian12-{old}.json"),
            format!("deb11-gone-{old}.raw"),
        ];
        for name in stay.iter().chain(&go) {
            fs::write(folder.join(name), "").unwrap();
        }
        remove_others(&folder, &folder.join(&stay[0])).unwrap();
        assert!(stay.iter().all(|name| folder.join(name).exists()));
        assert!(!go.iter().any(|name| folder.join(name).exists()));
        fs::remove_dir_all(&folder).unwrap();
    }
}
