//! Arguments for the kernels of the installed system, in every place that its command line comes from: the loader's files as
//! they are now, and what the system makes them of later.

use super::{
    FinishError, Layout, Places,
    confined::{ConfinedError, ConfinedRoot, Kind},
    family::{self, Form},
    fresh::{self, KERNELS, MAX_FILE},
};

/// Adds arguments that are not there yet; the answer is notes.
///
/// # Errors
/// See [`FinishError`].
pub(super) fn add(
    places: &Places,
    layout: &Layout,
    arguments: &[String],
) -> Result<Vec<String>, FinishError> {
    if arguments.is_empty() {
        return Ok(Vec::new());
    }
    let (mut changed, mut known, mut sealed) = (Vec::new(), false, Vec::new());
    let mut edit = |root: &ConfinedRoot, path: String, form: Form, text: &str| -> Result<(), ConfinedError> {
        let (text, has_place) = added(form, text, arguments);
        known |= has_place;
        if let Some(text) = text {
            root.replace(&path, text.as_bytes())?;
            changed.push(path);
        }
        Ok(())
    };
    let mut look = |root: &ConfinedRoot, is_root: bool| -> Result<(), ConfinedError> {
        for pattern in KERNELS.iter().flat_map(|path| fresh::patterns(path, is_root)) {
            let found = fresh::matching(root, pattern)?;
            sealed.extend(found);
        }
        Ok(())
    };
    visit(places, layout, false, &mut edit, &mut look)?;
    let words = arguments.join(" ");
    let mut notes = Vec::new();
    if !changed.is_empty() {
        changed.dedup();
        notes.push(format!(
            "kernel arguments {words} were added in {}",
            changed.join(", ")
        ));
    } else if !known {
        notes.push(format!(
            "kernel arguments {words} have no effect: no file with a command line is known in this image"
        ));
    }
    if !sealed.is_empty() {
        notes.push(format!(
            "kernel arguments {words} do not reach {}: its command line is part of the kernel image",
            sealed.join(", ")
        ));
    }
    Ok(notes)
}

/// Whether a command line names a console, besides these.
///
/// # Errors
/// See [`FinishError`].
pub(super) fn names_console(places: &Places, layout: &Layout, but: &[String]) -> Result<bool, FinishError> {
    let mut found = false;
    let mut read = |_: &ConfinedRoot, _: String, _: Form, text: &str| {
        found |= has_console(text, but);
        Ok(())
    };
    visit(places, layout, true, &mut read, &mut |_, _| Ok(()))?;
    Ok(found)
}

fn has_console(text: &str, but: &[String]) -> bool {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines
        .flat_map(words)
        .any(|word| word.starts_with("console=") && !but.iter().any(|ours| ours == word))
}

type Edit<'a> = dyn FnMut(&ConfinedRoot, String, Form, &str) -> Result<(), ConfinedError> + 'a;
type Look<'a> = dyn FnMut(&ConfinedRoot, bool) -> Result<(), ConfinedError> + 'a;

/// Goes through every file with a command line, and then once through the file system it is on.
fn visit(
    places: &Places,
    layout: &Layout,
    read_only: bool,
    file: &mut Edit<'_>,
    system: &mut Look<'_>,
) -> Result<(), FinishError> {
    let active = layout.activate(places)?;
    for (node, kind, is_root) in fresh::file_systems(layout) {
        let edited = fresh::with(places, layout, (&node, kind, is_root), read_only, |root| {
            for place in &family::common().command_lines {
                for pattern in place.paths.iter().flat_map(|path| fresh::patterns(path, is_root)) {
                    for path in fresh::matching(root, pattern)? {
                        // A link leads to another file of the list, or to none of these.
                        if root.kind(&path)? != Some(Kind::File) {
                            continue;
                        }
                        // What is no text, or too long, is none of these either.
                        let text = root.read(&path, MAX_FILE).ok().flatten();
                        if let Some(text) = text.and_then(|bytes| String::from_utf8(bytes).ok()) {
                            file(root, path, place.form, &text)?;
                        }
                    }
                }
            }
            system(root, is_root)
        });
        match edited {
            // What can't be mounted holds none of these files for the firmware either.
            Err(FinishError::Mount { .. }) if !is_root => {}
            edited => edited?,
        }
    }
    active.end().map_err(FinishError::Volumes)
}

/// A text with the arguments, if it has not all of them, and whether it has a place for them.
fn added(form: Form, text: &str, arguments: &[String]) -> (Option<String>, bool) {
    match form {
        Form::DefaultGrub => default_grub(text, arguments),
        Form::GrubMenu => lines(text, |line| {
            let mut words = line.split_whitespace();
            let is_kernel = matches!(words.next(), Some("linux" | "linuxefi" | "linux16"));
            // A test of the memory has no use for them.
            let is_kernel = is_kernel && words.next().is_some_and(|path| !path.contains("memtest"));
            is_kernel.then(|| appended(line, arguments))
        }),
        Form::BootLoaderSpec => lines(text, |line| {
            line.starts_with("options")
                .then(|| appended(line, arguments))
                .filter(|_| line[7..].starts_with([' ', '\t']))
        }),
        Form::Extlinux => lines(text, |line| {
            let first = line.split_whitespace().next().unwrap_or_default();
            first
                .eq_ignore_ascii_case("append")
                .then(|| appended(line, arguments))
        }),
        Form::Plain => {
            let line = appended(text.trim_end(), arguments);
            (line.map(|line| format!("{line}\n")), true)
        }
    }
}

/// Changes the lines that `edit` has an opinion about.
fn lines(text: &str, edit: impl Fn(&str) -> Option<Option<String>>) -> (Option<String>, bool) {
    let (mut out, mut known, mut changed) = (String::with_capacity(text.len()), false, false);
    for line in text.split_inclusive('\n') {
        let (content, end) = line
            .strip_suffix('\n')
            .map_or((line, ""), |content| (content, "\n"));
        let edited = edit(content);
        known |= edited.is_some();
        let edited = edited.flatten();
        changed |= edited.is_some();
        out.push_str(edited.as_deref().unwrap_or(content));
        out.push_str(end);
    }
    (changed.then_some(out), known)
}

/// The line with what it lacks at its end; none when it lacks nothing.
fn appended(line: &str, arguments: &[String]) -> Option<String> {
    let missing = missing(line, arguments);
    let old = line.trim_end();
    let blank = if old.is_empty() { "" } else { " " };
    (!missing.is_empty()).then(|| format!("{old}{blank}{}", missing.join(" ")))
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\''))
}

fn missing<'a>(line: &str, arguments: &'a [String]) -> Vec<&'a str> {
    let there: Vec<&str> = words(line).collect();
    let missing = arguments.iter().map(String::as_str);
    missing.filter(|argument| !there.contains(argument)).collect()
}

/// The last assignment counts; a text without one gets it.
fn default_grub(text: &str, arguments: &[String]) -> (Option<String>, bool) {
    const NAME: &str = "GRUB_CMDLINE_LINUX=";
    let starts = text.match_indices(NAME).map(|(at, _)| at);
    let starts = starts.filter(|at| *at == 0 || text.as_bytes()[at - 1] == b'\n');
    let Some(start) = starts.last() else {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        return (
            Some(format!("{text}{end}{NAME}\"{}\"\n", arguments.join(" "))),
            true,
        );
    };
    let value = start + NAME.len();
    let rest = &text[value..];
    let quote = rest.chars().next().filter(|first| matches!(first, '"' | '\''));
    let length = match quote {
        Some(quote) => rest[1..].find(quote).map(|end| end + 1),
        None => Some(rest.find(char::is_whitespace).unwrap_or(rest.len())),
    };
    // A quote that is never closed: nobody knows what that means.
    let Some(length) = length else {
        return (None, false);
    };
    let old = rest[..length].trim_start_matches(['"', '\'']);
    let missing = missing(old, arguments);
    if missing.is_empty() {
        return (None, true);
    }
    let quote = quote.unwrap_or('"');
    let blank = if old.is_empty() || old.ends_with(' ') {
        ""
    } else {
        " "
    };
    let end = value + length + usize::from(rest[length..].starts_with(quote));
    let text = format!(
        "{}{quote}{old}{blank}{}{quote}{}",
        &text[..value],
        missing.join(" "),
        &text[end..]
    );
    (Some(text), true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(form: Form, text: &str) -> (Option<String>, bool) {
        let arguments = ["console=ttyS1,115200".to_owned(), "quiet".to_owned()];
        let (new, known) = added(form, text, &arguments);
        if let Some(new) = &new {
            assert_eq!(
                added(form, new, &arguments),
                (None, true),
                "a second time changes nothing"
            );
        }
        (new, known)
    }

    #[test]
    fn every_form_gets_what_it_lacks() {
        const BOTH: &str = "console=ttyS1,115200 quiet";
        for (form, before, after) in [
            (Form::DefaultGrub, "A=1\nGRUB_CMDLINE_LINUX=\"\"\nB=2\n", format!("A=1\nGRUB_CMDLINE_LINUX=\"{BOTH}\"\nB=2\n")),
            (
                Form::DefaultGrub,
                "#GRUB_CMDLINE_LINUX=\"x\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"a\"\nGRUB_CMDLINE_LINUX='crashkernel=1G quiet'",
                "#GRUB_CMDLINE_LINUX=\"x\"\nGRUB_CMDLINE_LINUX_DEFAULT=\"a\"\n\
                 GRUB_CMDLINE_LINUX='crashkernel=1G quiet console=ttyS1,115200'"
                    .to_owned(),
            ),
            (Form::DefaultGrub, "GRUB_CMDLINE_LINUX=ro\n", format!("GRUB_CMDLINE_LINUX=\"ro {BOTH}\"\n")),
            (Form::DefaultGrub, "A=1", format!("A=1\nGRUB_CMDLINE_LINUX=\"{BOTH}\"\n")),
            (
                Form::GrubMenu,
                "menuentry 'linux' {\n\tlinux\t/vmlinuz root=UUID=1 ro  quiet\n\tinitrd /i\n}\n\tlinux16 /memtest86+.bin\n",
                "menuentry 'linux' {\n\tlinux\t/vmlinuz root=UUID=1 ro  quiet console=ttyS1,115200\n\tinitrd /i\n}\n\tlinux16 \
                 /memtest86+.bin\n"
                    .to_owned(),
            ),
            (
                Form::BootLoaderSpec,
                "title T\noptions $kernelopts\nlinux /v\n",
                format!("title T\noptions $kernelopts {BOTH}\nlinux /v\n"),
            ),
            (Form::Extlinux, "  APPEND root=/dev/sda1\n", format!("  APPEND root=/dev/sda1 {BOTH}\n")),
            (Form::Plain, "root=UUID=1 ro\n", format!("root=UUID=1 ro {BOTH}\n")),
            (Form::Plain, "", format!("{BOTH}\n")),
        ] {
            assert_eq!(add(form, before), (Some(after), true), "{form:?} {before}");
        }
    }

    #[test]
    fn what_has_no_command_line_is_left() {
        for (form, text) in [
            (
                Form::GrubMenu,
                "search.fs_uuid 1-2 root\nconfigfile $prefix/grub.cfg\n",
            ),
            (Form::BootLoaderSpec, "title T\nefi /shell.efi\noptionsx y\n"),
            (Form::Extlinux, "default linux\n"),
            (Form::DefaultGrub, "GRUB_CMDLINE_LINUX=\"never closed\n"),
        ] {
            assert_eq!(add(form, text), (None, false), "{text}");
        }
    }

    #[test]
    fn consoles_of_the_image_are_seen() {
        let ours = ["console=tty0".to_owned(), "console=ttyS1,115200".to_owned()];
        for (text, has) in [
            ("GRUB_CMDLINE_LINUX=\"quiet console=ttyS0\"\n", true),
            ("\tlinux /vmlinuz ro console=hvc0\n", true),
            ("options root=UUID=1 console=ttyS1,9600", true),
            // Ours, of a time before.
            (
                "GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS1,115200\"\n",
                false,
            ),
            (
                "#GRUB_CMDLINE_LINUX=\"console=ttyS0\"\nterminal_output console\n",
                false,
            ),
            ("netconsole=@/eth0 quiet", false),
        ] {
            assert_eq!(has_console(text, &ours), has, "{text}");
        }
    }
}
