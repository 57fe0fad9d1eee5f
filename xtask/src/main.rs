//! `cargo xtask`: everything a newcomer does with Imprint's sources. It prepares what is missing (Debian packages,
//! binaries, ramdisk, Debian image) and hands over to the lab, `imprint-lab`, which runs the virtual servers.

mod bench;
mod binaries;
mod fresh;
mod image;
mod lab;
mod network_tools;
mod packages;
mod python_tools;
mod ramdisk;
mod screen;
mod test;
mod tool;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

/// Build, try and test Imprint
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A virtual server from power-on to its own operating system, installing whatever that needs
    Demo(Demo),
    /// Formatting, clippy, unit and integration tests (the store's against s3s, a real S3 server), and network-boot deployments
    Test {
        /// Leave the network-boot deployments out
        #[arg(long)]
        no_lab: bool,
    },
    /// Builds kernel and initrd that servers boot over the network
    Ramdisk {
        /// Optimised binaries and the highest compression
        #[arg(long)]
        release: bool,
        /// Where to put them
        #[arg(long, value_name = "FOLDER", default_value = "target/ramdisk")]
        out: PathBuf,
    },
    /// Builds images of the lab: Debian with different networks, file systems and layouts
    Image {
        /// Which: debian12, or one of deb12-lvm, deb12-ifupdown-boot, deb12-nm-xfs, deb12-netplan-btrfs, trixie
        #[arg(default_value = "debian12")]
        names: Vec<String>,
    },
    /// Unpacks the programs that tests of network data ask (netplan, nmcli, ifup, cloud-init); none is installed
    NetworkTools,
    /// Installs the programs in Python that tests ask (pydpu, a client of SDI cards), in a place of their own
    PythonTools,
    /// Measurements against other tools
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Network-boot scenarios by hand
    #[command(subcommand)]
    Lab(Lab),
}

#[derive(Debug, Subcommand)]
enum Lab {
    /// Names of the scenarios, and what they show
    List,
    /// Runs scenarios by name
    Run {
        /// Names; or the sets `ci` (of every change), `matrix`, and `all`
        #[arg(required = true)]
        names: Vec<String>,
        /// How many at a time
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
    /// Debian systems of all network stacks, file systems, kinds of firmware, networks and forms of user-data, each installed
    /// over the network and checked over ssh: short for `lab run matrix`. Images are made when they are needed first
    Matrix {
        /// How many at a time
        #[arg(long, default_value_t = 1)]
        jobs: usize,
    },
}

/// Passed on to the lab, which checks the values.
#[derive(Debug, clap::Args)]
struct Demo {
    /// How many servers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    nodes: u8,
    /// Firmware of the servers
    #[arg(long, default_value = "uefi", value_parser = ["uefi", "bios"])]
    firmware: String,
    /// Their disks
    #[arg(long, default_value = "nvme", value_parser = ["nvme", "virtio", "sata", "scsi"])]
    disk: String,
    /// Leave all running at the end, and print how to use it, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Another image than Debian 12: raw, raw.gz, raw.xz, raw.zst or qcow2
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Memory of a server
    #[arg(long, value_name = "MIB", default_value_t = 1024)]
    memory: u32,
    /// Who hands out addresses: a foreign DHCP server that the controller works beside, or the controller
    #[arg(long, default_value = "proxy", value_parser = ["proxy", "own"])]
    dhcp: String,
    /// A server without a disk that runs from a volume of its SDI card: the controller prepares it, and nothing is streamed
    #[arg(long, conflicts_with_all = ["nodes", "disk", "firmware"])]
    sdi: bool,
}

impl Demo {
    fn arguments(&self) -> Result<Vec<String>> {
        let mut arguments = vec![
            format!("--memory={}", self.memory),
            format!("--dhcp={}", self.dhcp),
        ];
        if self.sdi {
            arguments.push("--sdi".to_owned());
        } else {
            arguments.extend([
                format!("--nodes={}", self.nodes),
                format!("--firmware={}", self.firmware),
                format!("--disk={}", self.disk),
            ]);
        }
        if self.keep {
            arguments.push("--keep".to_owned());
        }
        if let Some(image) = &self.image {
            let image = image
                .canonicalize()
                .with_context(|| format!("cannot find {}", image.display()))?;
            arguments.push(format!("--image={}", image.display()));
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    screen::start();
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .context("xtask lies in no folder")?;
    match command {
        Command::Demo(demo) => {
            let arguments = demo.arguments()?;
            lab::prepare(source)?.become_lab("demo", &arguments)?;
        }
        Command::Test { no_lab } => return test::run(source, !no_lab),
        Command::Ramdisk { release, out } => {
            packages::install_missing()?;
            let folder = binaries::build_agent(source, release)?;
            let mut options = ramdisk::RamdiskOptions::new(
                source,
                folder.join("imprint-agent"),
                folder.join("imprint-guest"),
            );
            options.out_dir = out;
            if release {
                options.level = 19;
            }
            let files = ramdisk::build(&options)?;
            for file in [&files.vmlinuz, &files.initrd, &files.manifest] {
                println!("{}", file.display());
            }
            println!(
                "kernel {}, {} bytes in all, for machines with {} MiB of RAM or more",
                files.kernel_version, files.bytes, files.min_memory_mib
            );
        }
        Command::Image { names } => {
            packages::install_missing()?;
            let cache = source.join("target/lab-cache");
            for name in names {
                let variant = image::find(&name).with_context(|| {
                    let known: Vec<_> = image::ALL.iter().map(|variant| variant.name).collect();
                    format!("there is no image {name}, but {}", known.join(", "))
                })?;
                match image::build_variant(&cache, variant)? {
                    image::Built::Ready(path) => println!("{}", path.display()),
                    image::Built::NotOnMirror => println!(
                        "{name}: this machine's mirror has no Debian {}; left out",
                        variant.release.suite()
                    ),
                }
            }
        }
        Command::NetworkTools => println!("{}", network_tools::unpack(source)?.display()),
        Command::PythonTools => println!("{}", python_tools::install(source)?.display()),
        Command::Bench(bench) => return bench::run(source, &bench),
        Command::Lab(Lab::List) => lab::list(source)?,
        Command::Lab(Lab::Run { names, jobs }) => run_lab(source, names, jobs)?,
        Command::Lab(Lab::Matrix { jobs }) => run_lab(source, vec!["matrix".to_owned()], jobs)?,
    }
    Ok(true)
}

fn run_lab(source: &Path, names: Vec<String>, jobs: usize) -> Result<()> {
    packages::install_missing()?;
    python_tools::install(source)?;
    let lab = lab::prepare(source)?.with_images_of(source, &names)?;
    lab.become_lab("run", &[names, vec![format!("--jobs={jobs}")]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(line: &[&str]) -> Result<String> {
        let line = [&["cargo xtask", "demo"], line].concat();
        match Arguments::try_parse_from(line)?.command {
            Command::Demo(demo) => Ok(demo.arguments()?.join(" ")),
            other => panic!("not a demo: {other:?}"),
        }
    }

    #[test]
    fn the_lab_is_told_of_the_demo() {
        assert_eq!(
            demo(&[]).unwrap(),
            "--memory=1024 --dhcp=proxy --nodes=1 --firmware=uefi --disk=nvme"
        );
        assert_eq!(
            demo(&["--sdi", "--keep"]).unwrap(),
            "--memory=1024 --dhcp=proxy --sdi --keep"
        );
        for other in ["--nodes=2", "--disk=sata", "--firmware=bios"] {
            assert!(demo(&["--sdi", other]).is_err(), "{other}");
        }
    }
}
