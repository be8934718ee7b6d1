//! A reader of server-sent events that keeps what it saw and assembles the text as the contract says.
#![allow(dead_code, reason = "no test binary uses all of it")]

use super::PATIENCE;
use serde_json::Value;
use std::collections::VecDeque;
use tokio::time::timeout;

/// One frame of a stream: everything up to a blank line.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    /// The number that the id is, or ends in.
    pub id: Option<u64>,
    /// The id as it came.
    pub whole_id: Option<String>,
    pub event: Option<String>,
    pub data: Option<Value>,
    pub retry: Option<u64>,
    pub comment: Option<String>,
}

pub struct Events {
    response: reqwest::Response,
    buffer: Vec<u8>,
    /// So much of the buffer holds no blank line: a frame of megabytes is looked through once, not with every piece that comes.
    looked_through: usize,
    frames: VecDeque<Frame>,
    /// Every byte that came.
    pub raw: Vec<u8>,
}

impl Events {
    pub fn new(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self {
            response,
            buffer: Vec::new(),
            looked_through: 0,
            frames: VecDeque::new(),
            raw: Vec::new(),
        }
    }

    /// The next frame of any kind; `None` when the server ended the stream, or the connection was cut.
    pub async fn next_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return Some(frame);
            }
            let piece = timeout(PATIENCE, self.response.chunk())
                .await
                .expect("a frame in time");
            let Ok(piece) = piece else {
                // Cut, maybe in the middle of a frame.
                return None;
            };
            let Some(piece) = piece else {
                assert!(
                    self.buffer.is_empty(),
                    "every frame ends with a blank line: {:?}",
                    self.buffer
                );
                return None;
            };
            self.raw.extend_from_slice(&piece);
            self.buffer.extend_from_slice(&piece);
            while let Some(end) = self.buffer[self.looked_through..]
                .windows(2)
                .position(|two| two == b"\n\n")
            {
                let end = self.looked_through + end + 2;
                let frame: Vec<u8> = self.buffer.drain(..end).collect();
                self.looked_through = 0;
                self.frames
                    .push_back(parse(std::str::from_utf8(&frame).expect("UTF-8")));
            }
            self.looked_through = self.buffer.len().saturating_sub(1);
        }
    }

    /// The next event with a name, heartbeats aside.
    pub async fn next(&mut self) -> Option<Frame> {
        let named = async {
            loop {
                let frame = self.next_frame().await?;
                if frame.event.as_deref().is_some_and(|event| event != "ping") {
                    return Some(frame);
                }
            }
        };
        // Heartbeats would keep a test alive that waits in vain.
        timeout(PATIENCE, named).await.expect("an event in time")
    }

    /// The next event must be this one.
    pub async fn expect(&mut self, event: &str) -> Frame {
        let frame = self
            .next()
            .await
            .unwrap_or_else(|| panic!("the stream ended before `{event}`"));
        assert_eq!(frame.event.as_deref(), Some(event), "{frame:?}");
        frame
    }

    /// Reads on into `reader` until the text it has assembled is at least this long.
    pub async fn read_until(&mut self, reader: &mut Reader, bytes: usize) {
        while reader.text.len() < bytes {
            reader.take(&self.next().await.expect("more events"));
        }
    }

    /// Reads to the end of the stream.
    pub async fn read_to_end(&mut self, reader: &mut Reader) {
        while let Some(frame) = self.next().await {
            reader.take(&frame);
        }
    }
}

fn parse(frame: &str) -> Frame {
    let mut parsed = Frame::default();
    for line in frame.lines().filter(|line| !line.is_empty()) {
        match line.split_once(": ").unwrap_or((line, "")) {
            ("", comment) => parsed.comment = Some(comment.to_owned()),
            ("id", id) => {
                let number = id.rsplit('-').next().unwrap_or(id);
                parsed.id = Some(number.parse().expect("a number"));
                parsed.whole_id = Some(id.to_owned());
            }
            ("event", event) => parsed.event = Some(event.to_owned()),
            ("data", data) => parsed.data = Some(serde_json::from_str(data).expect("JSON")),
            ("retry", retry) => parsed.retry = Some(retry.parse().expect("a number")),
            (field, _) => panic!("unknown field {field:?}"),
        }
    }
    parsed
}

/// What a client keeps: its position and the text it has assembled.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Reader {
    pub position: u64,
    pub text: String,
    pub reasoning: String,
    pub gaps: usize,
    pub done: Option<Value>,
}

impl Reader {
    pub fn take(&mut self, frame: &Frame) {
        let data = frame.data.as_ref().expect("every event has data");
        let text = |name: &str| data[name].as_str().unwrap_or_default();
        if let Some(id) = frame.id {
            let is_snapshot = frame.event.as_deref() == Some("snapshot");
            // After a crash the end stands far behind what was saved.
            let is_recovered = frame.event.as_deref() == Some("done")
                && id == self.position + continuo::model::LOST_POSITIONS;
            assert!(
                is_snapshot || is_recovered || id == self.position + 1,
                "position {id} after {}",
                self.position
            );
            self.position = id;
        }
        assert!(self.done.is_none(), "{frame:?} after the terminal event");
        match frame.event.as_deref().expect("a name") {
            "delta" => self.text.push_str(text("text")),
            "reasoning" => self.reasoning.push_str(text("text")),
            "gap" => {
                self.gaps += 1;
                self.text.clear();
                self.reasoning.clear();
            }
            "snapshot" => {
                text("text").clone_into(&mut self.text);
                text("reasoning").clone_into(&mut self.reasoning);
            }
            "done" => self.done = Some(data.clone()),
            _ => {}
        }
    }

    pub fn outcome(&self) -> &str {
        self.done
            .as_ref()
            .and_then(|done| done["outcome"].as_str())
            .expect("a terminal event")
    }
}
