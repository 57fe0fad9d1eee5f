//! Builds Imprint's binaries with cargo.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Result;

use crate::{screen, tool};

/// The target named in `.cargo/config.toml`: everything is static.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// All that a lab runs or puts into machines.
const PACKAGES: &[&str] = &[
    "imprint-controller",
    "imprint-agent",
    "imprint-guest",
    "imprint-cli",
    "imprint-tests",
];

/// Builds everything a lab needs; answers the folder with the binaries.
pub fn build_all(source: &Path, release: bool) -> Result<PathBuf> {
    build(source, PACKAGES, release)
}

/// The same, where all tests have been built: with the same features of what all depend on, so that nothing but the programs
/// themselves is made.
pub fn build_all_beside_tests(source: &Path) -> Result<PathBuf> {
    screen::step("Building the binaries");
    tool::run_visible(cargo(source).args(["build", "--workspace", "--bins", "--tests"]))?;
    Ok(source.join("target").join(TARGET).join("debug"))
}

/// Builds what goes into the ramdisk.
pub fn build_agent(source: &Path, release: bool) -> Result<PathBuf> {
    build(source, &["imprint-agent", "imprint-guest"], release)
}

/// Builds the agent as it is shipped.
pub fn build_shipped_agent(source: &Path) -> Result<PathBuf> {
    build_optimised(source, &["--package", "imprint-agent", "--bins"], "imprint-agent")
}

/// Builds the controller as it is shipped.
pub fn build_shipped_controller(source: &Path) -> Result<PathBuf> {
    build_optimised(
        source,
        &["--package", "imprint-controller", "--bins"],
        "imprint-controller",
    )
}

/// Builds what fills and asks a catalogue, optimised as the controller is that is shipped, or as it is built for tests.
pub fn build_catalogue(source: &Path, optimised: bool) -> Result<PathBuf> {
    let (program, arguments) = (
        "examples/catalogue",
        ["--package", "imprint-controller", "--example", "catalogue"],
    );
    if optimised {
        return build_optimised(source, &arguments, program);
    }
    screen::step(&format!("Building {program}"));
    tool::run_visible(cargo(source).arg("build").args(arguments))?;
    Ok(source.join("target").join(TARGET).join("debug").join(program))
}

/// Builds what compares images with nodes, optimised or as it is built for tests. Together with the controller, so that both
/// take the same build of what they depend on.
pub fn build_fleet(source: &Path, optimised: bool) -> Result<PathBuf> {
    let (program, arguments) = (
        "examples/fleet",
        [
            "--package",
            "imprint-controller",
            "--package",
            "imprint-hardware",
            "--example",
            "fleet",
        ],
    );
    if optimised {
        return build_optimised(source, &arguments, program);
    }
    screen::step(&format!("Building {program}"));
    tool::run_visible(cargo(source).arg("build").args(arguments))?;
    Ok(source.join("target").join(TARGET).join("debug").join(program))
}

/// Builds the simulator of fleets, optimised or as it is built for tests.
pub fn build_fleet_simulator(source: &Path, optimised: bool) -> Result<PathBuf> {
    if optimised {
        let arguments = ["--package", "imprint-tests", "--bin", "imprint-fleet"];
        return build_optimised(source, &arguments, "imprint-fleet");
    }
    Ok(build_all(source, false)?.join("imprint-fleet"))
}

/// Builds the guest plugin as it is shipped, and what measures it; the measure comes first.
pub fn build_guest_costs(source: &Path) -> Result<(PathBuf, PathBuf)> {
    let guest = ["--package", "imprint-guest", "--bins", "--example", "costs"];
    let costs = build_optimised(source, &guest, "examples/costs")?;
    let plugin = source.join("target").join(TARGET).join("release/imprint-guest");
    Ok((costs, plugin))
}

/// Builds what the bench measures with.
pub fn build_yardstick(source: &Path) -> Result<PathBuf> {
    build_optimised(
        source,
        &["--package", "xtask", "--example", "yardstick"],
        "examples/yardstick",
    )
}

fn build_optimised(source: &Path, arguments: &[&str], program: &str) -> Result<PathBuf> {
    screen::step(&format!("Building {program}, optimised"));
    tool::run_visible(cargo(source).args(["build", "--release"]).args(arguments))?;
    Ok(source.join("target").join(TARGET).join("release").join(program))
}

fn build(source: &Path, packages: &[&str], release: bool) -> Result<PathBuf> {
    screen::step("Building the binaries");
    let mut cargo = cargo(source);
    cargo.args(["build", "--bins"]);
    for package in packages {
        cargo.args(["--package", package]);
    }
    if release {
        cargo.arg("--release");
    }
    tool::run_visible(&mut cargo)?;
    Ok(source
        .join("target")
        .join(TARGET)
        .join(if release { "release" } else { "debug" }))
}

/// cargo in the source folder, without this run's own settings.
pub fn cargo(source: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(source).stdin(Stdio::null());
    // Set by `cargo xtask` for this program alone; passed on, they would make everything be built anew.
    for name in ["CARGO_MANIFEST_DIR", "CARGO_PKG_NAME", "CARGO_PKG_VERSION"] {
        cargo.env_remove(name);
    }
    cargo
}
