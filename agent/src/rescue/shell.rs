//! Root's login shell in a rescue: it decides whether this connection may have one, then becomes it.
//!
//! The ssh server asks for nothing but the password, which several connections may know in the same moment. Which of them was
//! first is written down here, under a lock, before anything of the client's is run.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
};

use super::{
    Place,
    log::{self, Said},
    password::Password,
};

/// What the program is called as a login shell.
const NAME: &str = "rescue-shell";
/// The state folder of the agent, as its service has it.
const STATE: &str = "/run/imprint";
const BUSYBOX: &str = "/usr/bin/busybox";
/// Whole programs first, then busybox's own.
const PATH: &str = "/usr/sbin:/usr/bin:/usr/lib/imprint/rescue";

/// Whether this program was started as root's login shell.
#[must_use]
pub fn is_meant(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file.strip_prefix('-').unwrap_or(file) == NAME
}

/// Becomes a shell, or says why not.
#[must_use]
pub fn run(name: &str, arguments: impl Iterator<Item = std::ffi::OsString>) -> ExitCode {
    let place = Place::below(Path::new("/"), Path::new(STATE));
    let process = nix::unistd::getppid().as_raw();
    match may_enter(&place, u32::try_from(process).unwrap_or(0)) {
        Ok(true) => {}
        Ok(false) => {
            eprintln!(
                "This one-time password was used already. `imprint rescue NODE --new-password` makes another one."
            );
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("Nobody can be let in: {error}");
            return ExitCode::FAILURE;
        }
    }
    let login = name.starts_with('-');
    if login {
        println!("{}", greeting(&place));
    }
    let mut shell = Command::new(BUSYBOX);
    shell
        .arg0(if login { "-sh" } else { "sh" })
        .args(arguments)
        .env("PATH", PATH)
        .env("SHELL", "/usr/bin/sh")
        .env("PS1", "rescue:\\w# ");
    let error = shell.exec();
    eprintln!("There is no shell: {error}");
    ExitCode::FAILURE
}

/// Whether the connection of this process may have a shell: with a key always, with the password if it was the first.
fn may_enter(place: &Place, process: u32) -> std::io::Result<bool> {
    let said = log::let_in(&fs::read_to_string(place.log())?, process);
    match said {
        Some(Said::ByKey { .. }) => Ok(true),
        Some(_) => Password::of(place).claim(&connection(&place.root, process)),
        None => Ok(false),
    }
}

/// What tells the process of a connection from every other one of this boot.
fn connection(root: &Path, process: u32) -> String {
    let stat = fs::read_to_string(root.join(format!("proc/{process}/stat"))).unwrap_or_default();
    // The 22nd value is when it was started; the second one, in parentheses, may hold anything.
    let started = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(19))
        .unwrap_or("?");
    format!("{process} {started}")
}

fn greeting(place: &Place) -> String {
    let left = super::server::seconds_left(place).map_or(String::new(), |seconds| {
        format!(" It ends by itself in {} min.", seconds / 60)
    });
    format!(
        "\nThis is the ramdisk of Imprint: a rescue.{left}\nNo disk is mounted; what you change on them is yours. What is changed here is \
         gone at the end.\nlsblk shows the disks, mount /dev/… /mnt takes one; `imprint rescue NODE --end` ends the rescue.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_a_shell_by_its_name_alone() {
        for (name, shell) in [
            ("-rescue-shell", true),
            ("rescue-shell", true),
            ("/usr/lib/imprint/rescue-shell", true),
            ("/usr/bin/imprint-agent", false),
            ("-sh", false),
        ] {
            assert_eq!(is_meant(name), shell, "{name}");
        }
    }

    #[test]
    fn the_first_connection_by_password_and_every_one_by_key() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::below(folder.path(), &folder.path().join("state"));
        fs::create_dir_all(&place.folder).unwrap();
        fs::create_dir_all(folder.path().join("etc")).unwrap();
        assert!(may_enter(&place, 1).is_err(), "no log, no shell");
        let line =
            |process: u32, how: &str| format!("[{process}] Nov 22 13:00:00 {how} from 10.0.0.9:5{process}\n");
        let password = "Password auth succeeded for 'root'";
        let log = [
            line(300, password),
            line(301, password),
            line(
                302,
                "Pubkey auth succeeded for 'root' with ssh-ed25519 key SHA256:a",
            ),
            line(303, "Bad password attempt for 'root'"),
        ];
        fs::write(place.log(), log.concat()).unwrap();
        Password::of(&place).set("$6$a$b", 1).unwrap();
        let enters = |process| may_enter(&place, process).unwrap();
        assert!(enters(302) && enters(300) && enters(300));
        assert!(!enters(301) && !enters(303) && !enters(1));
        assert!(enters(302));
    }

    #[test]
    fn a_connection_is_its_process_and_when_that_began() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("proc/300")).unwrap();
        let values: Vec<String> = (3..=52).map(|n| format!("v{n}")).collect();
        fs::write(
            folder.path().join("proc/300/stat"),
            format!("300 (drop) bear) {}\n", values.join(" ")),
        )
        .unwrap();
        assert_eq!(connection(folder.path(), 300), "300 v22");
        assert_eq!(connection(folder.path(), 301), "301 ?");
    }
}
