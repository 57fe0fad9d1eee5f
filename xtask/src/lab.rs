//! Prepares what the lab needs and starts `imprint-lab`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};

use crate::fresh::is_fresh;
use crate::image::Built;
use crate::ramdisk::{self, RamdiskOptions};
use crate::{binaries, image, packages, screen};

/// What `imprint-lab` is started with.
#[derive(Debug)]
pub struct Prepared {
    program: PathBuf,
    parts: Vec<String>,
}

/// Packages, binaries, ramdisk and Debian image: whatever is missing is made.
pub fn prepare(source: &Path) -> Result<Prepared> {
    prepare_with(source, |source| binaries::build_all(source, false))
}

/// The same, with binaries that `build` makes; answers their folder.
pub fn prepare_with(source: &Path, build: fn(&Path) -> Result<PathBuf>) -> Result<Prepared> {
    if !nix::unistd::geteuid().is_root() {
        bail!("the lab needs root: it makes network namespaces and taps; run it as root or with sudo");
    }
    packages::install_missing()?;
    let cache = source.join("target/lab-cache");
    // The image is mostly download and unpacking, the binaries are mostly compiling.
    let image = thread::Builder::new().name("debian-image".to_owned());
    let image = image
        .spawn(move || image::build(&cache))
        .context("cannot start a thread")?;
    let built = build(source).and_then(|folder| ramdisk(source, &folder).map(|ramdisk| (folder, ramdisk)));
    let image = image
        .join()
        .map_err(|_| anyhow!("building the Debian image has panicked"))?;
    let (folder, ramdisk) = built?;
    let parts = [
        ("--debian", image?),
        ("--ramdisk", ramdisk),
        ("--binaries", folder.clone()),
        ("--target", source.join("target")),
    ];
    Ok(Prepared {
        program: folder.join("imprint-lab"),
        parts: parts
            .into_iter()
            .flat_map(|(name, path)| [name.to_owned(), path.display().to_string()])
            .collect(),
    })
}

/// The ramdisk of a lab is packed often and travels over no slow network.
const QUICK_LEVEL: u8 = 3;

/// The lab's own ramdisk, made anew when anything in it has changed.
fn ramdisk(source: &Path, binaries: &Path) -> Result<PathBuf> {
    let mut options = RamdiskOptions::new(
        source,
        binaries.join("imprint-agent"),
        binaries.join("imprint-guest"),
    );
    options.out_dir = source.join("target/lab-cache/ramdisk");
    options.level = QUICK_LEVEL;
    let recipe = source.join("ramdisk");
    let units = source.join("systemd");
    let builder = source.join("xtask/src/ramdisk");
    let sources = [
        options.agent_binary.as_path(),
        options.guest_binary.as_path(),
        recipe.as_path(),
        units.as_path(),
        builder.as_path(),
    ];
    // ramdisk.json is written last.
    if !is_fresh(&options.out_dir.join("ramdisk.json"), &sources)? {
        ramdisk::build(&options)?;
    }
    Ok(options.out_dir)
}

impl Prepared {
    /// Makes the images that scenarios need beside the everyday one.
    pub fn with_images_of(mut self, source: &Path, names: &[String]) -> Result<Self> {
        let needed = crate::tool::output(Command::new(&self.program).arg("variants").args(names))?;
        let cache = source.join("target/lab-cache");
        for name in needed.lines() {
            let variant = image::find(name).with_context(|| format!("there is no image {name}"))?;
            match image::build_variant(&cache, variant)? {
                Built::Ready(path) => self
                    .parts
                    .extend(["--variant".to_owned(), format!("{name}={}", path.display())]),
                Built::NotOnMirror => {
                    screen::step(&format!(
                        "Image {name}: this machine's mirror has no Debian {}; its scenarios are left out",
                        variant.release.suite()
                    ));
                    self.parts.extend(["--without".to_owned(), name.to_owned()]);
                }
            }
        }
        Ok(self)
    }

    /// `imprint-lab` with a command and the prepared parts.
    pub fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg(verb).args(&self.parts);
        command
    }

    /// Becomes `imprint-lab`, so that Ctrl-C reaches it and nothing else.
    pub fn become_lab(&self, verb: &str, arguments: &[String]) -> Result<()> {
        let error = self.command(verb).args(arguments).exec();
        Err(anyhow!(error).context(format!("cannot start {}", self.program.display())))
    }
}

/// `imprint-lab list` needs nothing prepared but itself.
pub fn list(source: &Path) -> Result<()> {
    let mut cargo = binaries::cargo(source);
    crate::tool::run_visible(cargo.args([
        "run",
        "--quiet",
        "--package",
        "imprint-tests",
        "--bin",
        "imprint-lab",
        "--",
        "list",
    ]))
}
