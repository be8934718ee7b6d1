//! The event stream format, read in whatever pieces the network delivers (WHATWG HTML, "Server-sent events").
//!
//! Kept: the data of each event and whether it was named `error`. Names, ids and retry times mean nothing to an upstream's answer.

/// Room that the buffers keep between events, so that one huge event does not cost memory until the answer ends.
const KEPT_BYTES: usize = 16 * 1024;

/// One event: its `data` lines joined by line feeds.
pub(super) struct Event<'a> {
    pub data: &'a [u8],
    /// Named `error`.
    pub is_error: bool,
}

/// An event grew over the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

/// Takes time linear in the bytes, also when they come one by one, and memory for one event of at most `limit` bytes.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct EventDecoder {
    limit: usize,
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The data of the event that has not ended yet, or of the one handed out last.
    data: Vec<u8>,
    has_data: bool,
    is_error: bool,
    /// The event in `data` was handed out and makes room with the next call.
    handed_out: bool,
    /// The last byte was CR: an LF that follows, perhaps in the next read, belongs to it.
    after_cr: bool,
    first_line: bool,
    recognized: bool,
}

impl EventDecoder {
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: Vec::new(),
            has_data: false,
            is_error: false,
            handed_out: false,
            after_cr: false,
            first_line: true,
            recognized: false,
        }
    }

    /// The next event that ends within `input`, which is shortened by what was read. `None` when all of it was.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Event<'_>>, TooLarge> {
        self.make_room();
        while let Some(&first) = input.first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                *input = &input[1..];
                continue;
            }
            let Some(end) = input.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
                self.hold(input)?;
                *input = &[];
                break;
            };
            let (piece, rest) = input.split_at(end);
            self.after_cr = rest[0] == b'\r';
            *input = &rest[1..];
            if self.end_line(piece)? {
                return Ok(Some(self.hand_out()));
            }
        }
        Ok(None)
    }

    /// The event that the end of the body leaves without its blank line. It may be a part of one.
    pub fn finish(&mut self) -> Option<Event<'_>> {
        self.make_room();
        let _ = self.end_line(&[]);
        self.has_data.then(|| self.hand_out())
    }

    /// True when a comment or a known field was seen: the body is an event stream.
    pub fn is_recognized(&self) -> bool {
        self.recognized
    }

    fn hand_out(&mut self) -> Event<'_> {
        self.handed_out = true;
        Event {
            data: &self.data,
            is_error: self.is_error,
        }
    }

    fn make_room(&mut self) {
        if std::mem::take(&mut self.handed_out) {
            self.data.clear();
            self.data.shrink_to(KEPT_BYTES);
            self.has_data = false;
            self.is_error = false;
        }
    }

    fn hold(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        let is_comment = self.line.first().or(piece.first()) == Some(&b':');
        if is_comment {
            // Its colon is all that must be remembered: a comment may be endless.
            self.line.clear();
            self.line.push(b':');
            return Ok(());
        }
        self.check(piece.len())?;
        self.line.extend_from_slice(piece);
        Ok(())
    }

    fn check(&self, more: usize) -> Result<(), TooLarge> {
        if self.data.len() + self.line.len() + more > self.limit {
            return Err(TooLarge);
        }
        Ok(())
    }

    /// True when the line, whose last piece this is, ends an event.
    fn end_line(&mut self, piece: &[u8]) -> Result<bool, TooLarge> {
        if self.line.is_empty() {
            self.check(piece.len())?;
            return Ok(self.take_line(piece));
        }
        self.hold(piece)?;
        let mut line = std::mem::take(&mut self.line);
        let ends_event = self.take_line(&line);
        line.clear();
        line.shrink_to(KEPT_BYTES);
        self.line = line;
        Ok(ends_event)
    }

    fn take_line(&mut self, mut line: &[u8]) -> bool {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.is_error &= self.has_data;
            return self.has_data;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let (field, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push(b'\n');
                }
                self.data.extend_from_slice(value);
            }
            b"event" => self.is_error = value == b"error",
            b"" | b"id" | b"retry" => {}
            _ => return false,
        }
        self.recognized = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(pieces: &[&[u8]]) -> Vec<(String, bool)> {
        let mut decoder = EventDecoder::new(1 << 20);
        let mut events = Vec::new();
        for &(mut piece) in pieces {
            while let Some(event) = decoder.next(&mut piece).unwrap() {
                events.push((
                    String::from_utf8_lossy(event.data).into_owned(),
                    event.is_error,
                ));
            }
        }
        if let Some(event) = decoder.finish() {
            events.push((
                format!("{}$", String::from_utf8_lossy(event.data)),
                event.is_error,
            ));
        }
        events
    }

    fn texts(stream: &str) -> Vec<String> {
        decode(&[stream.as_bytes()])
            .into_iter()
            .map(|(text, _)| text)
            .collect()
    }

    #[test]
    fn every_legal_framing_gives_the_same_data() {
        for (stream, expected) in [
            ("data: a\n\ndata: b\n\n", vec!["a", "b"]),
            ("data: a\r\n\r\ndata: b\r\n\r\n", vec!["a", "b"]),
            ("data: a\r\rdata: b\r\r", vec!["a", "b"]),
            ("data: a\r\n\ndata: b\n\r\n", vec!["a", "b"]),
            ("\u{feff}data: a\n\n", vec!["a"]),
            ("data:a\n\ndata:  a\n\n", vec!["a", " a"]),
            ("data: a\n: note\ndata: b\n\n", vec!["a\nb"]),
            ("data\n\ndata:\n\ndata: \n\n", vec!["", "", ""]),
            (
                ": hi\n\n\n\nid: 7\nretry: 1\nevent: message\ndata: a\n\n",
                vec!["a"],
            ),
            ("nonsense\ndata : no\n data: no\ndata: a\n\n", vec!["a"]),
            ("data: a\n\ndata: [DONE]", vec!["a", "[DONE]$"]),
            ("data: a\n\ndata: [DONE]\n", vec!["a", "[DONE]$"]),
            ("data: a\n\n: the end", vec!["a"]),
            ("", vec![]),
        ] {
            assert_eq!(texts(stream), expected, "{stream:?}");
        }
    }

    #[test]
    fn only_the_event_named_error_is_one() {
        let events = decode(&[
            b"event: error\n\nevent: error\ndata: a\n\ndata: b\n\nevent: message\ndata: c\n\n",
        ]);
        let errors: Vec<_> = events.iter().map(|(_, is_error)| *is_error).collect();
        assert_eq!(errors, [true, false, false]);
    }

    #[test]
    fn an_event_over_the_limit_is_refused_before_it_is_held() {
        let mut decoder = EventDecoder::new(100);
        assert!(decoder.next(&mut &b"data: "[..]).unwrap().is_none());
        let mut held = 0;
        while decoder.next(&mut &[b'x'; 10][..]).is_ok() {
            held += 10;
        }
        assert_eq!(held, 90);

        let mut decoder = EventDecoder::new(100);
        let mut lines = b"data: 0123456789\n".repeat(20);
        lines.extend(b"\n");
        assert!(decoder.next(&mut &lines[..]).is_err());
    }

    #[test]
    fn an_endless_comment_costs_no_memory() {
        let mut decoder = EventDecoder::new(100);
        decoder.next(&mut &b":"[..]).unwrap();
        for _ in 0..1000 {
            decoder.next(&mut &[b'x'; 1000][..]).unwrap();
        }
        assert!(decoder.line.capacity() < 100, "{}", decoder.line.capacity());
        let mut rest = &b"\ndata: a\n\n"[..];
        assert_eq!(decoder.next(&mut rest).unwrap().unwrap().data, b"a");
    }

    #[test]
    fn a_huge_event_gives_its_memory_back() {
        let mut decoder = EventDecoder::new(1 << 21);
        let event = [b"data: ".to_vec(), vec![b'x'; 1 << 20], b"\n\n".to_vec()].concat();
        let (mut head, mut tail) = event.split_at(1000);
        assert!(decoder.next(&mut head).unwrap().is_none());
        assert_eq!(
            decoder.next(&mut tail).unwrap().unwrap().data.len(),
            1 << 20
        );
        decoder.next(&mut &b"data: b\n\n"[..]).unwrap();
        assert!(decoder.data.capacity() + decoder.line.capacity() <= 2 * KEPT_BYTES);
    }

    proptest! {
        #[test]
        fn cutting_the_stream_anywhere_changes_nothing(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just("data: "), Just("data:"), Just("data"), Just("event: error"), Just("event"), Just(": c"), Just("漢"),
                    Just("\n"), Just("\r"), Just("\r\n"), Just("\n\n"), Just("x"), Just(" "), Just(":"), Just("[DONE]"), Just("\u{feff}"),
                ],
                0..60,
            ),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let stream = parts.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]).collect();
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            prop_assert_eq!(decode(&pieces), decode(&[&stream]));
            prop_assert_eq!(decode(&bytes), decode(&[&stream]));
        }
    }
}
