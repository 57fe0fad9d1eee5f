//! Server-sent events, as the HTML standard describes them, from pieces of any size.

/// More than any event of ours; a bound against a server that never ends a line.
const MAX_BYTES: usize = 4 << 20;

/// One event of the stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// The id to go on from after a reconnect; events without one leave the cursor where it is.
    pub id: Option<String>,
    /// What kind of event it is.
    pub event: String,
    /// The data, lines joined by newlines.
    pub data: String,
}

/// The stream has a line or an event without an end.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_BYTES} bytes")]
pub struct TooLong;

/// Takes pieces, gives events.
#[derive(Debug, Default)]
pub struct Parser {
    line: Vec<u8>,
    after_return: bool,
    begun: bool,
    current: ServerEvent,
    data_lines: usize,
}

impl Parser {
    /// Adds a piece and returns the events that it completes.
    pub fn push(&mut self, piece: &[u8]) -> Result<Vec<ServerEvent>, TooLong> {
        let mut complete = Vec::new();
        for &byte in piece {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    complete.extend(self.take_line(&String::from_utf8_lossy(&line)));
                }
                other => {
                    self.after_return = false;
                    if self.line.len() + self.current.data.len() >= MAX_BYTES {
                        return Err(TooLong);
                    }
                    self.line.push(other);
                }
            }
        }
        Ok(complete)
    }

    fn take_line(&mut self, line: &str) -> Option<ServerEvent> {
        let line = if self.begun {
            line
        } else {
            line.strip_prefix('\u{feff}').unwrap_or(line)
        };
        self.begun = true;
        if line.is_empty() {
            let event = std::mem::take(&mut self.current);
            return (std::mem::take(&mut self.data_lines) > 0).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if self.data_lines > 0 {
                    self.current.data.push('\n');
                }
                self.current.data.push_str(value);
                self.data_lines += 1;
            }
            "event" => value.clone_into(&mut self.current.event),
            "id" if !value.contains('\0') => self.current.id = Some(value.to_owned()),
            // Comments keep the connection alive; `retry` is ours to decide.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: Option<&str>, event: &str, data: &str) -> ServerEvent {
        ServerEvent {
            id: id.map(Into::into),
            event: event.into(),
            data: data.into(),
        }
    }

    const STREAM: &str = "\u{feff}: hello\n\nid: 7\nevent: node.discovered\ndata: {\"id\":7}\n\n\
        event:progress\r\ndata:one\r\ndata: two\r\n\r\nid: 9\n\ndata\n\nretry: 5\ndata: \u{e4}\rid:8\r\r";

    #[test]
    fn events_come_out_whole_whatever_the_pieces() {
        let expected = [
            event(Some("7"), "node.discovered", "{\"id\":7}"),
            event(None, "progress", "one\ntwo"),
            event(None, "", ""),
            event(Some("8"), "", "\u{e4}"),
        ];
        for size in [1, 2, 3, 7, 1000] {
            let mut parser = Parser::default();
            let mut events = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                events.extend(parser.push(piece).unwrap());
            }
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_is_refused() {
        let mut parser = Parser::default();
        assert_eq!(parser.push(&vec![b'x'; MAX_BYTES]), Ok(vec![]));
        assert_eq!(parser.push(b"y"), Err(TooLong));
    }
}
