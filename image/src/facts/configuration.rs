//! The small text files that say how a system is set up: os-release, fstab, the boot loader's command lines.

use super::fault::Fault;
use super::model::{CommandLine, Distribution, FstabEntry};
use super::tree::Tree;

/// No such file is larger.
pub(super) const MAX_TEXT_BYTES: u64 = 1 << 20;
const MAX_LINES: usize = 1000;
/// No kernel takes a longer command line.
const MAX_COMMAND_LINE_BYTES: usize = 8192;

/// os-release.
pub(super) fn distribution(tree: &Tree<'_>) -> Result<Distribution, Fault> {
    for path in ["/etc/os-release", "/usr/lib/os-release"] {
        if let Some(text) = tree.text_if_there(path, MAX_TEXT_BYTES)? {
            return Ok(parse_os_release(&text));
        }
    }
    Err(Fault::NotFound("/etc/os-release".to_owned()))
}

fn parse_os_release(text: &str) -> Distribution {
    let field = |name: &str| assignment(text, name).filter(|value| !value.is_empty());
    Distribution {
        id: field("ID").unwrap_or_else(|| "linux".to_owned()),
        id_like: field("ID_LIKE")
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        version_id: field("VERSION_ID"),
        pretty_name: field("PRETTY_NAME"),
    }
}

/// The last `name=value` of a file that a shell could read, without its quotes.
fn assignment(text: &str, name: &str) -> Option<String> {
    let mut values = text.lines().filter_map(|line| {
        let (key, value) = line.trim_start().split_once('=')?;
        (key == name).then(|| unquote(value.trim()))
    });
    values.next_back()
}

fn unquote(value: &str) -> String {
    let Some(quote) = value.chars().next().filter(|first| matches!(first, '"' | '\'')) else {
        return value.to_owned();
    };
    let mut text = String::new();
    let mut letters = value.chars().skip(1);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quote == '"' => text.extend(letters.next()),
            _ if letter == quote => break,
            _ => text.push(letter),
        }
    }
    text
}

/// `/etc/fstab`; empty when there is none.
pub(super) fn fstab(tree: &Tree<'_>) -> Result<Vec<FstabEntry>, Fault> {
    let text = tree.text_if_there("/etc/fstab", MAX_TEXT_BYTES)?;
    Ok(parse_fstab(&text.unwrap_or_default()))
}

fn parse_fstab(text: &str) -> Vec<FstabEntry> {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let entries = lines.filter_map(|line| {
        let mut fields = line.split_whitespace().map(str::to_owned);
        Some(FstabEntry {
            device: fields.next()?.replace('"', ""),
            path: fields.next()?.replace("\\040", " "),
            kind: fields.next()?,
            options: fields.next().unwrap_or_else(|| "defaults".to_owned()),
        })
    });
    entries.take(MAX_LINES).collect()
}

/// Where command lines are written, below `boot`, which is `/boot` of a system or a boot partition's root.
pub(super) fn command_lines(
    tree: &Tree<'_>,
    boot: &str,
    whole_system: bool,
) -> Result<Vec<CommandLine>, Fault> {
    let mut lines = Vec::new();
    let mut take = |path: &str, found: Vec<String>| {
        for mut line in found {
            line.truncate(line.floor_char_boundary(MAX_COMMAND_LINE_BYTES));
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let known = lines
                .iter()
                .any(|old: &CommandLine| old.path == path && old.arguments == arguments);
            if !arguments.is_empty() && !known && lines.len() < MAX_LINES {
                lines.push(CommandLine {
                    path: path.to_owned(),
                    arguments,
                });
            }
        }
    };
    if whole_system {
        let path = "/etc/default/grub";
        if let Some(text) = tree.text_if_there(path, MAX_TEXT_BYTES)? {
            take(path, vec![default_grub(&text)]);
        }
        for name in tree.names("/etc/default/grub.d", |name| name.ends_with(".cfg"))? {
            let path = format!("/etc/default/grub.d/{name}");
            take(&path, vec![default_grub(&tree.text(&path, MAX_TEXT_BYTES)?)]);
        }
        let path = "/etc/kernel/cmdline";
        if let Some(text) = tree.text_if_there(path, MAX_TEXT_BYTES)? {
            take(path, text.lines().map(str::to_owned).collect());
        }
    }
    for name in ["grub/grub.cfg", "grub2/grub.cfg"] {
        let path = format!("{boot}/{name}");
        if let Some(text) = tree.text_if_there(&path, MAX_TEXT_BYTES)? {
            take(&path, grub_cfg(&text));
        }
    }
    let folder = format!("{boot}/loader/entries");
    for name in tree.names(&folder, |name| name.ends_with(".conf"))? {
        let path = format!("{folder}/{name}");
        take(&path, loader_entry(&tree.text(&path, MAX_TEXT_BYTES)?));
    }
    Ok(lines)
}

/// Both variables of `/etc/default/grub` together: what a normal start gets.
fn default_grub(text: &str) -> String {
    let always = assignment(text, "GRUB_CMDLINE_LINUX").unwrap_or_default();
    let normally = assignment(text, "GRUB_CMDLINE_LINUX_DEFAULT").unwrap_or_default();
    format!("{always} {normally}")
}

/// What `linux` commands give to kernels, without the kernel's path.
fn grub_cfg(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter_map(|line| {
        let (command, rest) = line.split_once(char::is_whitespace)?;
        let kernel = matches!(command, "linux" | "linux16" | "linuxefi");
        let (_, arguments) = rest.trim().split_once(char::is_whitespace)?;
        kernel.then(|| arguments.to_owned())
    });
    lines.take(MAX_LINES).collect()
}

/// The `options` of a boot loader entry.
fn loader_entry(text: &str) -> Vec<String> {
    let options = text.lines().filter_map(|line| {
        let (key, value) = line.trim().split_once(char::is_whitespace)?;
        (key == "options").then(|| value.to_owned())
    });
    let all: Vec<String> = options.collect();
    vec![all.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_has_quotes_of_both_kinds() {
        let text = "PRETTY_NAME=\"A \\\"fine\\\" system\"\nID=rocky\nID_LIKE='rhel centos'\n#VERSION_ID=1\nVERSION_ID=\"9.4\"\n";
        let distribution = parse_os_release(text);
        assert_eq!(distribution.id, "rocky");
        assert_eq!(distribution.id_like, ["rhel", "centos"]);
        assert_eq!(distribution.version_id.as_deref(), Some("9.4"));
        assert_eq!(distribution.pretty_name.as_deref(), Some("A \"fine\" system"));
        assert_eq!(parse_os_release("").id, "linux");
    }

    #[test]
    fn fstab_lines_may_be_short_and_commented() {
        let entries = parse_fstab(
            "# a comment\nUUID=1 / ext4 errors=remount-ro 0 1\n\n/dev/sdb1 /my\\040data xfs\nbroken\n",
        );
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].options, "errors=remount-ro");
        assert_eq!(
            (&*entries[1].path, &*entries[1].options),
            ("/my data", "defaults")
        );
    }

    #[test]
    fn command_lines_come_from_every_loader() {
        let grub = "menuentry 'x' {\n\tlinux\t/vmlinuz-6.1 root=UUID=1 ro console=ttyS0\n\tinitrd /x\n}\n";
        assert_eq!(grub_cfg(grub), ["root=UUID=1 ro console=ttyS0"]);
        assert_eq!(
            default_grub("GRUB_CMDLINE_LINUX=\"console=ttyS0\"\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n"),
            "console=ttyS0 quiet"
        );
        assert_eq!(
            loader_entry("title x\noptions root=UUID=1\noptions ro\n"),
            ["root=UUID=1 ro"]
        );
    }
}
