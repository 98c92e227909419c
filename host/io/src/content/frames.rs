//! Zstandard frames, several of them decompressed at once; their contents in order.
//!
//! What writes with several threads (`pzstd`, seekable archives) or appends to a file makes many frames. Where one frame ends is
//! known from its blocks' headers, without decompressing it. A frame that is large is decompressed as it is read, as every file
//! of one frame is.

use std::{
    collections::VecDeque,
    io::{self, BufReader, Cursor, Read},
    num::NonZero,
    thread,
};

use tokio::{runtime::Handle, task::JoinHandle};
use zstd::{stream::read::Decoder, zstd_safe};

use super::{DECODED, Stored};

/// The most stored bytes of a frame that is decompressed beside others.
const FRAME: usize = 4 << 20;
/// What of a frame is decompressed ahead of the reader.
const AHEAD: usize = 8 << 20;
/// The most frames that are under way at once.
const FRAMES: usize = 4;

/// The content of the frames of a file.
pub(super) struct Frames {
    io: Handle,
    stored: BufReader<Stored>,
    /// Stored bytes of frames that aren't under way yet.
    waiting: Vec<u8>,
    /// Frames under way, in order.
    ahead: VecDeque<JoinHandle<Frame>>,
    most: usize,
    /// The frame that is read now.
    now: Frame,
    /// What comes after the frames that could be told apart.
    rest: Option<Box<dyn Read + Send>>,
}

/// A frame: its first bytes, then what its decoder gives.
#[derive(Default)]
struct Frame {
    begin: Cursor<Vec<u8>>,
    failed: Option<io::Error>,
    more: Option<Box<dyn Read + Send>>,
}

impl Frame {
    fn decode(stored: Vec<u8>) -> Self {
        let mut frame = Self::default();
        let mut decoder = match Decoder::with_buffer(Cursor::new(stored)) {
            Ok(decoder) => decoder,
            Err(error) => return Self { failed: Some(error), ..frame },
        };
        let begin = frame.begin.get_mut();
        while begin.len() < AHEAD {
            let before = begin.len();
            begin.resize(before + DECODED, 0);
            let read = decoder.read(&mut begin[before..]);
            begin.truncate(before + read.as_ref().copied().unwrap_or_default());
            match read {
                Ok(0) => return frame,
                Ok(_) => {}
                Err(error) => return Self { failed: Some(error), ..frame },
            }
        }
        Self { more: Some(Box::new(decoder)), ..frame }
    }
}

impl Read for Frame {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.begin.read(into)?;
        match (read, self.failed.take(), &mut self.more) {
            (0, Some(error), _) => Err(error),
            (0, None, Some(more)) => more.read(into),
            (_, failed, _) => {
                self.failed = failed;
                Ok(read)
            }
        }
    }
}

impl Frames {
    /// The content of frames. `io` runs what is decompressed ahead; the content is read on one of its blocking threads.
    pub(super) fn new(io: Handle, stored: BufReader<Stored>) -> Self {
        let most = thread::available_parallelism().map_or(1, NonZero::get).min(FRAMES);
        let (waiting, ahead, now) = (Vec::new(), VecDeque::new(), Frame::default());
        Self { io, stored, waiting, ahead, most, now, rest: None }
    }

    /// Puts the next frame under way; false when there is none that could be told apart.
    fn begin(&mut self) -> bool {
        if self.rest.is_some() {
            return false;
        }
        let torn = loop {
            if let Ok(size) = zstd_safe::find_frame_compressed_size(&self.waiting)
                && size > 0
                && size <= self.waiting.len()
            {
                let behind = self.waiting.split_off(size);
                let frame = std::mem::replace(&mut self.waiting, behind);
                self.ahead.push_back(self.io.spawn_blocking(move || Frame::decode(frame)));
                return true;
            }
            let size = self.waiting.len();
            let more = if size < FRAME { size.max(super::STORED) as u64 } else { 0 };
            match self.stored.by_ref().take(more).read_to_end(&mut self.waiting) {
                Ok(0) => break None,
                Ok(_) => {}
                Err(error) => break Some(error),
            }
        };
        // A frame that is large, broken or cut short, or the end.
        if !self.waiting.is_empty() || torn.is_some() {
            let empty = BufReader::new(Stored(Box::new(io::empty())));
            let stored = std::mem::replace(&mut self.stored, empty);
            let begun = Cursor::new(std::mem::take(&mut self.waiting));
            self.rest = Some(match Decoder::new(begun.chain(Torn(torn)).chain(stored)) {
                Ok(decoder) => Box::new(decoder),
                Err(error) => Box::new(Torn(Some(error))),
            });
        }
        false
    }
}

impl Read for Frames {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            while self.ahead.len() < self.most && self.begin() {}
            match self.now.read(into)? {
                0 => {}
                read => return Ok(read),
            }
            match (self.ahead.pop_front(), &mut self.rest) {
                (Some(frame), _) => self.now = self.io.block_on(frame).map_err(io::Error::other)?,
                (None, Some(rest)) => return rest.read(into),
                (None, None) => return Ok(0),
            }
        }
    }
}

/// The error, if any, that ended the stored bytes.
struct Torn(Option<io::Error>);

impl Read for Torn {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}
