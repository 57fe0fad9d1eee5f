//! The systemd units, judged by systemd itself. Where the machine has no `systemd-analyze`, only their text is looked at.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Worst exposure that is allowed, in tenths: 0 is best, 100 worst.
const THRESHOLD: u32 = 30;

/// A unit, as a copy whose programs exist on this machine.
struct Unit {
    name: String,
    text: String,
    copy: PathBuf,
}

fn units(folder: &Path) -> Vec<Unit> {
    let systemd = Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd");
    let mut units = Vec::new();
    for place in ["controller", "guest", "ramdisk"] {
        for entry in fs::read_dir(systemd.join(place)).expect("the folder of units") {
            let path = entry.expect("an entry").path();
            let file = path.file_name().expect("a name").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("a unit");
            let copy = folder.join(place).join(&file);
            fs::create_dir_all(folder.join(place)).expect("a folder");
            fs::write(&copy, with_programs_of_this_machine(&text)).expect("a copy");
            units.push(Unit {
                name: format!("{place}/{file}"),
                text,
                copy,
            });
        }
    }
    assert!(units.len() >= 3, "units are missing");
    units
}

/// Our programs are not installed where the tests run; systemd would complain about that alone.
fn with_programs_of_this_machine(unit: &str) -> String {
    let mut copy = String::new();
    for line in unit.lines() {
        match line.split_once('=') {
            Some((key, command)) if key.starts_with("Exec") => {
                let prefix: String = command
                    .chars()
                    .take_while(|sign| "-@:+!".contains(*sign))
                    .collect();
                let arguments = command.split_once(' ').map_or("", |(_, arguments)| arguments);
                copy.push_str(&format!("{key}={prefix}/bin/true {arguments}\n"));
            }
            _ => copy.push_str(&format!("{line}\n")),
        }
    }
    copy
}

/// None where there is no `systemd-analyze`.
fn analyze(arguments: &[&str], unit: &Path) -> Option<Output> {
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(unit).env("SYSTEMD_PAGER", "cat");
    match command.output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => panic!("systemd-analyze cannot be started: {error}"),
    }
}

#[test]
fn systemd_understands_every_line_of_the_units() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for unit in units(folder.path()) {
        let Some(output) = analyze(&["verify", "--man=no"], &unit.copy) else {
            return;
        };
        // An unknown key is a warning and no failure.
        let said = String::from_utf8_lossy(&output.stderr);
        let about: Vec<&str> = said.lines().filter(|line| line.contains(".service")).collect();
        assert!(
            output.status.success() && about.is_empty(),
            "{}: {said}",
            unit.name
        );
    }
}

#[test]
fn services_on_servers_that_stay_are_confined() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let threshold = format!("--threshold={THRESHOLD}");
    // The agent is alone in its ramdisk, and disks, mounts and firmware are its work.
    for unit in units(folder.path())
        .iter()
        .filter(|unit| !unit.name.starts_with("ramdisk/"))
    {
        let Some(output) = analyze(&["security", "--offline=true", &threshold], &unit.copy) else {
            return;
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let verdict = said
            .lines()
            .find(|line| line.contains("exposure level"))
            .unwrap_or(&said);
        assert!(
            output.status.success() && verdict.contains("exposure level"),
            "{}: {verdict}",
            unit.name
        );
    }
}

#[test]
fn nothing_waits_by_the_deprecated_unit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for unit in units(folder.path()) {
        let depends = unit
            .text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .any(|line| line.contains("systemd-udev-settle.service"));
        assert!(!depends, "{} pulls in systemd-udev-settle.service", unit.name);
    }
}
