//! YAML into a tree.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use super::tree::{BadText, MAX_DEPTH, MAX_VALUES, Tree, Value};

/// A sequence or mapping that is not complete.
struct Open {
    anchor: usize,
    line: u32,
    /// Key that waits for its value.
    key: Option<String>,
    content: Value,
}

/// Reads the first and only document.
pub(super) fn read(text: &str) -> Result<Tree, BadText> {
    let mut parser = Parser::new_from_str(text);
    let mut open: Vec<Open> = Vec::new();
    let mut anchors: BTreeMap<usize, Tree> = BTreeMap::new();
    let mut values = 0;
    let mut whole: Option<Tree> = None;
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| BadText::at(error.marker().line(), error.info()))?;
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        values += 1;
        let finished = match event {
            Event::DocumentStart(_) if whole.is_some() => {
                return Err(BadText::at(span.start.line(), "there is a second document"));
            }
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let value = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                (anchor, Tree { line, value })
            }
            Event::Alias(anchor) => {
                let tree = anchors.get(&anchor).ok_or_else(|| {
                    BadText::at(
                        span.start.line(),
                        "the alias stands for something that contains it",
                    )
                })?;
                values += tree.size();
                if values > MAX_VALUES {
                    return Err(too_many(span.start.line()));
                }
                (0, tree.clone())
            }
            Event::SequenceStart(anchor, _) => {
                begin(&mut open, anchor, line, Value::List(Vec::new()))?;
                continue;
            }
            Event::MappingStart(anchor, _) => {
                begin(&mut open, anchor, line, Value::Map(Vec::new()))?;
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(done) = open.pop() else {
                    return Err(BadText::at(span.start.line(), "an end without a beginning"));
                };
                let tree = Tree {
                    line: done.line,
                    value: done.content,
                };
                (done.anchor, tree)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => continue,
        };
        if values > MAX_VALUES {
            return Err(too_many(span.start.line()));
        }
        let (anchor, tree) = finished;
        if anchor > 0 {
            anchors.insert(anchor, tree.clone());
        }
        match open.last_mut() {
            Some(parent) => put(parent, tree)?,
            None => whole = Some(tree),
        }
    }
    whole.ok_or(BadText {
        line: None,
        what: "it is empty".to_owned(),
    })
}

fn begin(open: &mut Vec<Open>, anchor: usize, line: u32, content: Value) -> Result<(), BadText> {
    if open.len() >= MAX_DEPTH {
        return Err(BadText {
            line: Some(line),
            what: format!("it is more than {MAX_DEPTH} levels deep"),
        });
    }
    open.push(Open {
        anchor,
        line,
        key: None,
        content,
    });
    Ok(())
}

fn put(parent: &mut Open, tree: Tree) -> Result<(), BadText> {
    match &mut parent.content {
        Value::List(items) => items.push(tree),
        Value::Map(entries) => match parent.key.take() {
            Some(key) => entries.push((key, tree)),
            None => {
                let bad = |what: &str| BadText {
                    line: Some(tree.line),
                    what: what.to_owned(),
                };
                let key = match tree.value {
                    Value::Scalar(key) => key,
                    Value::Null => return Err(bad("a key is empty")),
                    Value::List(_) | Value::Map(_) => return Err(bad("a key is no word")),
                };
                if key == "<<" {
                    return Err(bad("merge keys (`<<`) are not read; write the settings out"));
                }
                if entries.iter().any(|(other, _)| *other == key) {
                    return Err(bad(&format!("`{}` is there twice", shown(&key))));
                }
                parent.key = Some(key);
            }
        },
        Value::Null | Value::Scalar(_) => {}
    }
    Ok(())
}

fn too_many(line: usize) -> BadText {
    BadText::at(line, format!("it has more than {MAX_VALUES} values"))
}

/// A key for a message: not its megabytes.
fn shown(key: &str) -> String {
    key.chars().take(64).collect()
}
