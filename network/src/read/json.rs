//! JSON into a tree. Serde decides whether it is JSON; what is left is to find the lines.

use serde_json::Value as Json;

use super::tree::{BadText, MAX_DEPTH, MAX_VALUES, Tree, Value};

/// Reads a JSON text.
pub(super) fn read(text: &str) -> Result<Tree, BadText> {
    // Serde stops at 128 levels by itself.
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| {
        let said = error.to_string();
        // Its line is told apart.
        let what = said.split(" at line ").next().unwrap_or_default().to_owned();
        BadText::at(error.line(), what)
    })?;
    let mut scan = Scan {
        text,
        place: 0,
        line: 1,
        values: 0,
    };
    scan.value(0)
}

/// A walk through a text that is known to be JSON.
struct Scan<'a> {
    text: &'a str,
    place: usize,
    line: u32,
    values: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.place).copied()
    }

    /// Past white space, commas and colons, of which serde knows that they are in their places.
    fn skip(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\r' | b'\n' | b',' | b':')) = self.peek() {
            if byte == b'\n' {
                self.line = self.line.saturating_add(1);
            }
            self.place += 1;
        }
    }

    fn bad(&self, what: &str) -> BadText {
        BadText {
            line: Some(self.line),
            what: what.to_owned(),
        }
    }

    fn value(&mut self, depth: usize) -> Result<Tree, BadText> {
        self.skip();
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.bad(&format!("it has more than {MAX_VALUES} values")));
        }
        if depth > MAX_DEPTH {
            return Err(self.bad(&format!("it is more than {MAX_DEPTH} levels deep")));
        }
        let line = self.line;
        let value = match self.peek() {
            Some(b'{') => {
                self.place += 1;
                let mut entries: Vec<(String, Tree)> = Vec::new();
                while !self.closes(b'}')? {
                    let key = self.scalar()?;
                    let tree = self.value(depth + 1)?;
                    let Json::String(key) = key else {
                        return Err(self.bad("a key is no text"));
                    };
                    if entries.iter().any(|(other, _)| *other == key) {
                        let key: String = key.chars().take(64).collect();
                        return Err(self.bad(&format!("`{key}` is there twice")));
                    }
                    entries.push((key, tree));
                }
                Value::Map(entries)
            }
            Some(b'[') => {
                self.place += 1;
                let mut items = Vec::new();
                while !self.closes(b']')? {
                    items.push(self.value(depth + 1)?);
                }
                Value::List(items)
            }
            _ => match self.scalar()? {
                Json::Null => Value::Null,
                Json::String(text) => Value::Scalar(text),
                other => Value::Scalar(other.to_string()),
            },
        };
        Ok(Tree { line, value })
    }

    /// Whether the list or mapping ends here.
    fn closes(&mut self, end: u8) -> Result<bool, BadText> {
        self.skip();
        match self.peek() {
            None => Err(self.bad("it ends too early")),
            Some(byte) if byte == end => {
                self.place += 1;
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    /// A text, number or word.
    fn scalar(&mut self) -> Result<Json, BadText> {
        let rest: &'a str = self.text.get(self.place..).unwrap_or_default();
        let bytes = rest.as_bytes();
        let length = if bytes.first() == Some(&b'"') {
            let mut length = 1;
            while let Some(byte) = bytes.get(length) {
                length += match byte {
                    b'\\' => 2,
                    _ => 1,
                };
                if *byte == b'"' {
                    break;
                }
            }
            length
        } else {
            bytes
                .iter()
                .position(|byte| b" \t\r\n,:]}".contains(byte))
                .unwrap_or(bytes.len())
        };
        self.place += length.max(1);
        let word = rest.get(..length).unwrap_or_default();
        serde_json::from_str(word).map_err(|_| self.bad("a value cannot be read"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_json(tree: &Tree) -> Json {
        match &tree.value {
            Value::Null => Json::Null,
            Value::Scalar(text) => Json::String(text.clone()),
            Value::List(items) => items.iter().map(as_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, tree)| (key.clone(), as_json(tree)))
                .collect(),
        }
    }

    #[test]
    fn says_what_serde_says() {
        let text = "{\"a\" : [1, -2.5e3 ,\"x\\\"],}\\u00e9\\ud83d\\ude00\", null,\ntrue, {}, []],\n\n \"b\":{\"c\":\"\"}}";
        let tree = read(text).unwrap();
        let expected =
            serde_json::json!({"a": ["1", "-2500.0", "x\"],}é😀", null, "true", {}, []], "b": {"c": ""}});
        assert_eq!(as_json(&tree), expected);
        let Value::Map(entries) = &tree.value else {
            panic!()
        };
        assert_eq!(entries[1].1.line, 4);
        assert_eq!(read("{\n\"a\": }").unwrap_err().line, Some(2));
        assert_eq!(
            read("{\"a\": 1,\n\"a\": 2}").unwrap_err().what,
            "`a` is there twice"
        );
        assert!(read(&"[".repeat(100_000)).is_err());
        let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(read(&deep).unwrap_err().what.contains("levels"));
    }
}
