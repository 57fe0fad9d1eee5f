//! os-release(5): a file of shell assignments, read without a shell.

/// The value of `PRETTY_NAME`.
pub(super) fn pretty_name(text: &str) -> Option<String> {
    let value = text
        .lines()
        .rev()
        .find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?;
    Some(unquote(value)).filter(|name| !name.is_empty())
}

/// Takes off quotes and the backslashes that os-release(5) allows inside of double quotes.
fn unquote(value: &str) -> String {
    let value = value.trim();
    if let Some(inner) = value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        return inner.to_owned();
    }
    let inner = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => plain.extend(characters.next()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_quoting() {
        for (text, expected) in [
            (
                "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"",
                Some("Debian GNU/Linux 12 (bookworm)"),
            ),
            ("ID=x\nPRETTY_NAME='Single'\n", Some("Single")),
            ("PRETTY_NAME=Bare", Some("Bare")),
            (r#"PRETTY_NAME="a \"b\" \$c""#, Some("a \"b\" $c")),
            // As a shell would: the last assignment wins.
            ("PRETTY_NAME=one\nPRETTY_NAME=two", Some("two")),
            ("NAME=none", None),
            ("PRETTY_NAME=\"\"", None),
            ("PRETTY_NAME=\"", Some("\"")),
        ] {
            assert_eq!(pretty_name(text).as_deref(), expected, "{text}");
        }
    }
}
