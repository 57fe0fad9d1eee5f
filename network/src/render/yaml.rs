//! YAML as it is written: two spaces a level, every text in quotes.

/// A value to write.
#[derive(Debug, Clone)]
pub(super) enum Yaml {
    /// A number, or `true` and `false`.
    Word(String),
    /// Text, which is quoted: `52:54:00:12:34:56` is a number to some readers.
    Text(String),
    /// A sequence.
    List(Vec<Yaml>),
    /// A mapping.
    Map(Vec<(String, Yaml)>),
}

impl Yaml {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is mapped over values and references"
    )]
    pub(super) fn word(value: impl ToString) -> Self {
        Self::Word(value.to_string())
    }

    #[expect(
        clippy::needless_pass_by_value,
        reason = "it is mapped over values and references"
    )]
    pub(super) fn text(value: impl ToString) -> Self {
        Self::Text(value.to_string())
    }

    pub(super) fn texts<T: ToString>(values: impl IntoIterator<Item = T>) -> Self {
        Self::List(values.into_iter().map(Self::text).collect())
    }

    /// The text of a document.
    pub(super) fn document(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, 0);
        out
    }

    fn write(&self, out: &mut String, level: usize) {
        match self {
            Self::Word(_) | Self::Text(_) => {
                out.push_str(&self.scalar());
                out.push('\n');
            }
            Self::List(items) => {
                for item in items {
                    indent(out, level);
                    out.push_str("- ");
                    // A mapping begins in the line of its dash.
                    let mut inner = String::new();
                    item.write(&mut inner, level + 1);
                    out.push_str(inner.trim_start_matches(' '));
                }
            }
            Self::Map(entries) => {
                for (key, value) in entries {
                    indent(out, level);
                    out.push_str(&quoted_if_odd(key));
                    out.push(':');
                    match value {
                        Self::List(items) if items.is_empty() => out.push_str(" []\n"),
                        Self::Map(entries) if entries.is_empty() => out.push_str(" {}\n"),
                        Self::List(_) | Self::Map(_) => {
                            out.push('\n');
                            value.write(out, level + 1);
                        }
                        Self::Word(_) | Self::Text(_) => {
                            out.push(' ');
                            out.push_str(&value.scalar());
                            out.push('\n');
                        }
                    }
                }
            }
        }
    }

    fn scalar(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(text) => quoted(text),
            Self::List(_) | Self::Map(_) => String::new(),
        }
    }
}

fn indent(out: &mut String, level: usize) {
    out.extend(std::iter::repeat_n("  ", level));
}

/// JSON's quotes are YAML's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn quoted_if_odd(key: &str) -> String {
    const TYPED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    let plain = key
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && key.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && !TYPED.contains(&key.to_ascii_lowercase().as_str());
    if plain { key.to_owned() } else { quoted(key) }
}
